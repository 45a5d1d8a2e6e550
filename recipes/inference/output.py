"""How the results of a command are named, written and reported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath

from qsep.separation.audio.file_names import DEFAULT_NAMING, Naming
from qsep.separation.audio.formats import FORMATS, format_named


@dataclass(frozen=True)
class Output:
    """Where results go, in what form, and what is printed about them.

    folder: of the results; made when the first is written. residual: whether to write the residuals too.
    naming: file names and format. overwrite: replace results of earlier runs. json: print one JSON object
    per result, instead of a line for people. quiet: print errors only.
    """

    folder: Path
    residual: bool = False
    naming: Naming = DEFAULT_NAMING
    overwrite: bool = False
    json: bool = False
    quiet: bool = False


def is_file_name(out: Path) -> bool:
    """Whether `out` of -o names an audio file, not a folder.

    Raises ValueError for the ending of an audio format that results cannot have.
    """
    return not out.is_dir() and format_named(out.suffix) is not None


def naming_from(template: str | None, file_format: str | None) -> Naming:
    """What --name and --format say; the format may be left to the ending of the name.

    Raises ValueError for a bad template, an unknown format, and a format that contradicts the ending.
    """
    if file_format is not None and file_format not in FORMATS:
        raise ValueError(f"--format {file_format}: expected {', '.join(FORMATS)}")
    if template is None:
        return Naming(file_format=file_format or DEFAULT_NAMING.file_format)
    ending = PurePath(template).suffix
    if ending == ".{ext}":
        return Naming(template, file_format or DEFAULT_NAMING.file_format)
    implied = format_named(ending)
    if implied is None:
        raise ValueError(f"--name {template!r}: must end in .{{ext}} or .{', .'.join(FORMATS)}")
    if file_format not in (None, implied):
        raise ValueError(f"--format {file_format} contradicts the name {template!r}: leave one out")
    return Naming(template, implied)


def output_from(
    out: Path, template: str | None, file_format: str | None, num_results: int
) -> tuple[Path, Naming]:
    """The folder and the naming that -o, --name and --format ask for; -o may name the only result's file.

    Raises ValueError as `naming_from`, and for a file where there are several results.
    """
    if not is_file_name(out):
        return out, naming_from(template, file_format)
    if template is not None:
        raise ValueError(f"-o {out} already names the file: leave --name out, or give -o a folder")
    if num_results != 1:
        raise ValueError(
            f"-o {out} is one file, but there are {num_results} results: give -o a folder"
        )
    literal = out.name.replace("{", "{{").replace("}", "}}")
    return out.parent, naming_from(literal, file_format)


def bulk_naming(out: Path, template: str | None, file_format: str | None) -> Naming:
    """The naming for many recordings, each of which may be done in another run.

    Raises ValueError as `naming_from`, for a file as `out`, and for a template in which two recordings or
    queries share a name or a name depends on which queries are left to do.
    """
    if is_file_name(out):
        raise ValueError(f"-o {out} is one file: give -o a folder for folders and lists")
    naming = naming_from(template, file_format)
    needed = "{stem}" in naming.template and "{query}" in naming.template
    if not needed or "{index}" in naming.template:
        raise ValueError(
            f"--name {naming.template!r}: for folders and lists it needs {{stem}} and {{query}}, and "
            "cannot use {index}"
        )
    return naming
