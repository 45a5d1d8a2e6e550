"""File names of results: templates, and a query as part of a name."""

import hashlib
import os
import re
import string
import unicodedata
from dataclasses import dataclass

MAX_NAME_BYTES = 255  # of most file systems
MAX_BYTES = 60  # of a query
RESIDUAL = ".residual"
MAX_STEM_BYTES = MAX_NAME_BYTES - MAX_BYTES - len("..residual.flac")
MIN_STEM_BYTES = 32  # left for each {stem} of a template
RESERVED_BYTES = 20  # for ".residual", the index and the extension
HASH_LETTERS = 8  # 32 bits: two of 1,000 queries share one in one of 9,000 runs
RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d")  # devices on Windows, whatever the extension
FIELDS = ("stem", "query", "index", "ext")
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


def shortened(stem: str, max_bytes: int = MAX_STEM_BYTES) -> str:
    """The stem, or if it has more than max_bytes, its beginning and a hash of the whole."""
    stored = stem.encode("utf-8", "surrogateescape")
    if len(stored) <= max_bytes:
        return stem
    digest = hashlib.sha256(stored).hexdigest()[:HASH_LETTERS]
    beginning = stored[: max_bytes - HASH_LETTERS - 1].decode("utf-8", "ignore")
    return f"{beginning}-{digest}"


@dataclass(frozen=True)
class Naming:
    """How the files of results are named, and their format.

    template: a file name with the fields {stem} (of the recording), {query} (its `slug`), {index} (of the
    query, from 1) and {ext} (file_format). file_format: a key of `formats.FORMATS`.
    Raises ValueError for a template that is not a file name, or has other fields.
    """

    template: str = "{stem}.{query}.{ext}"
    file_format: str = "wav"

    def __post_init__(self) -> None:
        check_template(self.template)

    def result_names(
        self, stem: str, query: str, residual: bool, common: bool = False, index: int = 1
    ) -> list[str]:
        """Names of the target's file and, if `residual`, of the residual's.

        The residual is named as if its query were "QUERY.residual", or "residual" where it is common to all
        queries. A long stem is shortened so that the name has no more than 255 bytes.
        """
        words = slug(query)
        parts = [words, RESIDUAL[1:] if common else words + RESIDUAL][: 1 + residual]
        num_bytes = max(len(os.fsencode(self._filled("", part, index))) for part in parts)
        num_stems = max(self.template.count("{stem}"), 1)
        stem = shortened(stem, min(MAX_STEM_BYTES, (MAX_NAME_BYTES - num_bytes) // num_stems))
        return [self._filled(stem, part, index) for part in parts]

    def _filled(self, stem: str, query: str, index: int) -> str:
        return self.template.format(stem=stem, query=query, index=index, ext=self.file_format)


def check_template(template: str) -> None:
    """Raise ValueError unless the template is a file name with no fields but those of `Naming`."""
    expected = ", ".join(f"{{{field}}}" for field in FIELDS)
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"name {template!r}: {error}; a literal brace is doubled") from error
    for _, field, form, conversion in parts:
        if field is not None and (field not in FIELDS or form or conversion):
            shown = field + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            raise ValueError(f"name {template!r}: unknown field {{{shown}}}: expected {expected}")
    literal = "".join(text for text, *_ in parts)
    if re.search(r"[/\\\0]", literal):
        raise ValueError(f"name {template!r} is a path: use -o for the folder")
    if template.startswith("."):
        raise ValueError(f"name {template!r} begins with a dot: the files would be hidden")
    num_bytes = len(os.fsencode(literal)) + MAX_BYTES * template.count("{query}")
    if num_bytes + MIN_STEM_BYTES * template.count("{stem}") > MAX_NAME_BYTES - RESERVED_BYTES:
        raise ValueError(f"name {template!r} is too long: file names have up to 255 bytes")


DEFAULT_NAMING = Naming()
