"""File names of results, made from the recording's name and the query."""

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

    Case, white space and punctuation are dropped. If anything else is lost (accents, other scripts, emoji,
    slashes, length), a hash of the query follows, so that different queries have different slugs.
    """
    lower = re.sub("['\N{RIGHT SINGLE QUOTATION MARK}]", "", unicodedata.normalize("NFC", query))
    lower = lower.lower()
    plain = unicodedata.normalize("NFKD", lower).encode("ascii", "ignore").decode()
    words = "-".join(re.findall("[a-z0-9]+", plain))
    is_lossless = words == HARMLESS.sub("-", lower).strip("-")
    if is_lossless and 0 < len(words) <= MAX_BYTES and not RESERVED.fullmatch(words):
        return words
    # surrogatepass: command-line arguments may contain bytes that are not valid text.
    digest = hashlib.sha256(" ".join(lower.split()).encode("utf-8", "surrogatepass")).hexdigest()
    max_bytes = MAX_BYTES - HASH_LETTERS - 1
    if len(words) > max_bytes:
        words = words[: max_bytes + 1].rpartition("-")[0] or words[:max_bytes]
    return f"{words or 'query'}-{digest[:HASH_LETTERS]}"


def shortened(stem: str) -> str:
    """The stem; if a result's name would exceed 255 bytes, its beginning and a hash of the whole."""
    stored = stem.encode("utf-8", "surrogateescape")
    if len(stored) <= MAX_STEM_BYTES:
        return stem
    digest = hashlib.sha256(stored).hexdigest()[:HASH_LETTERS]
    beginning = stored[: MAX_STEM_BYTES - HASH_LETTERS - 1].decode("utf-8", "ignore")
    return f"{beginning}-{digest}"


def result_names(
    stem: str, query: str, residual: bool, common: bool = False, ending: str = "wav"
) -> list[str]:
    """Names of the target's file, STEM.QUERY.wav, and if `residual` of STEM.QUERY.residual.wav.

    common: whether all queries share one residual, STEM.residual.wav. ending: without the dot.
    """
    stem = shortened(stem)
    base = f"{stem}.{slug(query)}"
    rest = stem if common else base
    return [f"{base}.{ending}", f"{rest}.residual.{ending}"][: 1 + residual]
