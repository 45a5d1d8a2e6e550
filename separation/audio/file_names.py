"""How results are called: a query as part of a file name."""

import hashlib
import re
import unicodedata

MAX_BYTES = 60
MAX_STEM_BYTES = 255 - MAX_BYTES - len("..residual.flac")  # file systems take 255 in all
HASH_LETTERS = 8  # 32 bits: two of 1,000 queries share one in one of 9,000 runs
RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d")  # devices on Windows, whatever the extension
HARMLESS = re.compile(r"[\s.,;:!?\"-]+")


def slug(query: str) -> str:
    """The words of a query joined by "-": 1 to 60 bytes of a-z, 0-9 and "-", never a path.

    Case, white space and the punctuation of sentences go without trace. Where anything else was
    lost (accents, other scripts, emoji, slashes, length), a hash of the query follows, so that
    two queries share a slug only if they read the same.
    """
    spoken = re.sub("['\N{RIGHT SINGLE QUOTATION MARK}]", "", unicodedata.normalize("NFC", query))
    spoken = spoken.lower()
    plain = unicodedata.normalize("NFKD", spoken).encode("ascii", "ignore").decode()
    words = "-".join(re.findall("[a-z0-9]+", plain))
    kept_all = words == HARMLESS.sub("-", spoken).strip("-")
    if kept_all and 0 < len(words) <= MAX_BYTES and not RESERVED.fullmatch(words):
        return words
    # surrogatepass: a command line may hand over bytes that are not text
    digest = hashlib.sha256(" ".join(spoken.split()).encode("utf-8", "surrogatepass")).hexdigest()
    room = MAX_BYTES - HASH_LETTERS - 1
    if len(words) > room:
        words = words[: room + 1].rpartition("-")[0] or words[:room]
    return f"{words or 'query'}-{digest[:HASH_LETTERS]}"


def shortened(stem: str) -> str:
    """The stem, or where a result's name would pass 255 bytes its beginning and a hash of all of it."""
    stored = stem.encode("utf-8", "surrogateescape")
    if len(stored) <= MAX_STEM_BYTES:
        return stem
    digest = hashlib.sha256(stored).hexdigest()[:HASH_LETTERS]
    kept = stored[: MAX_STEM_BYTES - HASH_LETTERS - 1].decode("utf-8", "ignore")
    return f"{kept}-{digest}"


def result_names(
    stem: str, query: str, residual: bool, common: bool = False, ending: str = "wav"
) -> list[str]:
    """Of the target's file and, if asked for, the residual's; `common`: one residual of all queries."""
    stem = shortened(stem)
    base = f"{stem}.{slug(query)}"
    rest = stem if common else base
    return [f"{base}.{ending}", f"{rest}.residual.{ending}"][: 1 + residual]
