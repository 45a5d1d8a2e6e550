"""A page on which people compare two systems by ear, without knowing which is which.

The page is one file that works offline. Which system plays first is drawn item by item; the page and its
answers contain it only as a hash, which can be resolved only with both systems' sounds: see `preferences`.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray

from qsep.queries.files.json_files import json_content
from qsep.separation.audio.formats import ALIASES, FORMATS
from qsep.separation.audio.reader import AudioReader, read_from
from qsep.separation.storage.temporary import write_atomically

from .comparison import read_runs
from .page import as_url

TEMPLATE = Path(__file__).with_name("listening.html")
MAX_CHANNELS = 2
SHORT_SAMPLES = 1 << 14  # Chromium cannot play FLAC of a single frame (4,096 samples) from a page
LETTERS = "AB"
CODE_DIGITS = 16
ENDINGS = {f".{name}" for name in (*FORMATS, *ALIASES)}
MAX_DIFFERENCE_SECONDS = 0.1  # in length, beyond which listeners could tell the systems apart


@dataclass(frozen=True)
class Pair:
    """The same item by both systems. words: the query, or "". mixture: the recording, if known."""

    item: str
    first: Path
    second: Path
    words: str = ""
    mixture: Path | None = None


@dataclass(frozen=True)
class Pairs:
    """All items that both systems have. num_missing: items that only one of them has.

    identity: a hash of all sounds of both, which differs if the two are swapped.
    """

    pairs: tuple[Pair, ...]
    num_missing: int
    identity: str

    def code(self, item: str, letter: str) -> str:
        """The code in the page that means "this system (A or B) plays first in this item"."""
        return hashed(f"{self.identity}:{item}:{letter}")[:CODE_DIGITS]


def read_pairs(first: Path, second: Path, recordings: Path | None = None) -> Pairs:
    """The common items of two folders of results, by name, or of two runs that kept audio, by id.

    recordings: a folder with the recordings of results in folders; STEM.wav belongs to STEM.QUERY.wav.
    Raises ValueError if the two have nothing in common.
    """
    are_runs = [(folder / "summary.json").is_file() for folder in (first, second)]
    if are_runs[0] != are_runs[1]:
        raise ValueError(
            f"{first} and {second}: one is a folder of qsep evaluate, the other is not"
        )
    for folder in (first, second):
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder: name two folders of results")
    if first.resolve() == second.resolve():
        raise ValueError(f"{first} and {second} are the same folder: name two")
    pairs, num = _of_runs(first, second) if are_runs[0] else _of_folders(first, second, recordings)
    contents = [
        f"{pair.item}:{hashed(pair.first.read_bytes())}:{hashed(pair.second.read_bytes())}"
        for pair in pairs
    ]
    return Pairs(tuple(pairs), num - len(pairs), hashed("\n".join(contents)))


def hashed(content: str | bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def _of_runs(first: Path, second: Path) -> tuple[list[Pair], int]:
    runs = read_runs([first, second])
    if runs[0].identity["manifest_sha256"] != runs[1].identity["manifest_sha256"]:
        raise ValueError(f"{first} and {second} are runs over different mixtures")
    stems = []
    for run in runs:
        index = run.folder / "audio" / "audio.json"
        if not index.is_file():
            raise ValueError(f"{run.folder} kept no audio: evaluate with --keep-audio 50")
        stems.append(json_content(index))
    words = {row["id"]: str(row["query"]) for row in runs[0].rows}
    pairs = []
    for item in sorted(stems[0].keys() & stems[1].keys()):
        files = [
            run.folder / "audio" / f"{stem[item]}.estimate.flac"
            for run, stem in zip(runs, stems, strict=True)
        ]
        mixture = first / "audio" / f"{stems[0][item]}.mixture.flac"
        pairs.append(Pair(item, files[0], files[1], words.get(item, ""), mixture))
    if not pairs:
        raise ValueError(
            f"{first} and {second} kept the audio of no common item, only of their best and worst: "
            "evaluate both with a larger --keep-audio"
        )
    return pairs, len(stems[0].keys() | stems[1].keys())


def _of_folders(first: Path, second: Path, recordings: Path | None) -> tuple[list[Pair], int]:
    files = [_sounds(folder) for folder in (first, second)]
    mixtures = _sounds(recordings) if recordings else {}
    pairs = []
    for item in sorted(files[0].keys() & files[1].keys()):
        owners = [stem for stem in mixtures if f"{item}.".startswith(f"{stem}.")]
        owner = max(owners, key=len, default=None)
        mixture = mixtures[owner] if owner is not None else None
        words = item.removeprefix(f"{owner}.").replace("-", " ") if owner else ""
        pairs.append(Pair(item, files[0][item], files[1][item], words, mixture))
    if not pairs:
        raise ValueError(
            f"{first} ({len(files[0])} sounds) and {second} ({len(files[1])} sounds) have no file name in "
            "common"
        )
    return pairs, len(files[0].keys() | files[1].keys())


def _sounds(folder: Path) -> dict[str, Path]:
    """Sounds below a folder, but for residuals, by their path without the ending."""
    paths = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in ENDINGS)
    named = {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}
    return {name: path for name, path in named.items() if not name.endswith(".residual")}


def write_listening_page(
    pairs: Pairs,
    out: Path,
    number: int,
    seed: int,
    question: str,
    max_seconds: float,
    commit: Callable[[Path, Path], object] = os.replace,
) -> list[str]:
    """Write the page: up to `number` items, drawn and put in order by the seed. Returns warnings.

    Both sounds of an item get one gain, so that their levels stay comparable; of longer ones the first
    max_seconds are played. Raises AudioError for a sound that cannot be read.
    """
    generator = np.random.default_rng(seed)
    chosen = [pairs.pairs[index] for index in generator.permutation(len(pairs.pairs))[:number]]
    rows, warnings = [], []
    for row_number, pair in enumerate(chosen, start=1):
        letter = LETTERS[int(generator.integers(2))]
        sounds = [_read(path, max_seconds) for path in (pair.first, pair.second)]
        lengths = [waveform.shape[-1] / rate for waveform, rate in sounds]
        if abs(lengths[0] - lengths[1]) > MAX_DIFFERENCE_SECONDS:
            warnings.append(
                f"{pair.item}: {lengths[0]:.1f} s in A, {lengths[1]:.1f} s in B, which tells them apart"
            )
        mixture = [_read(pair.mixture, max_seconds)] if pair.mixture else []
        urls = _encoded([*(sounds if letter == "A" else sounds[::-1]), *mixture])
        rows.append(_row(row_number, len(chosen), pair, pairs.code(pair.item, letter), urls))
    text = Template(TEMPLATE.read_text("utf-8")).substitute(
        question=escape(question), rows="\n".join(rows), page=pairs.identity[:CODE_DIGITS]
    )
    write_atomically(out, lambda file: file.write_text(text, "utf-8", newline="\n"), commit)
    return warnings


def _read(path: Path, max_seconds: float) -> tuple[NDArray[np.floating], int]:
    with AudioReader(path) as reader:
        rate = reader.sample_rate
    return read_from(path, 0, max(1, round(max_seconds * rate)))[:MAX_CHANNELS], rate


def _encoded(sounds: Sequence[tuple[NDArray[np.floating], int]]) -> list[str]:
    """Data URLs of the sounds as 16-bit FLAC, or WAV where short, without tags, with one gain for all."""
    import soundfile

    shortest = min(waveform.shape[-1] for waveform, _ in sounds)
    gain = 1 / max(1.0, *(float(np.abs(waveform).max()) for waveform, _ in sounds))
    urls = []
    for waveform, rate in sounds:
        content = io.BytesIO()
        # All sounds of a row in one format: different formats would tell them apart.
        form = "WAV" if shortest < SHORT_SAMPLES else "FLAC"
        soundfile.write(content, gain * waveform.T, rate, "PCM_16", format=form)
        urls.append(as_url(f"audio/{form.lower()}", content.getvalue()))
    return urls


def _row(row_number: int, number: int, pair: Pair, code: str, urls: Sequence[str]) -> str:
    """HTML of an item. urls: of what is played first and second, and maybe of the recording."""
    words = f": “{escape(pair.words)}”" if pair.words else ""
    parts = [
        f'<section data-code="{code}" data-item="{escape(pair.item)}" aria-labelledby="row{row_number}">',
        f'<h2 id="row{row_number}">{row_number} of {number}{words}</h2>',
    ]
    names = ("First", "Second", "Recording")
    players = [
        f'<figure><figcaption id="{name}{row_number}">{name}</figcaption>'
        f'<audio controls preload="metadata" aria-labelledby="row{row_number} {name}{row_number}" '
        f'src="{url}"></audio></figure>'
        for name, url in zip(names, urls, strict=False)
    ]
    answers = [
        f'<label><input type="radio" name="answer{row_number}" value="{value}"> {label}</label>'
        for value, label in (
            ("first", "First"),
            ("second", "Second"),
            ("same", "No difference"),
        )
    ]
    # The recording comes first, so that listeners know what the query is to be found in.
    parts.append(f'<div class="players">{"".join([*players[2:], *players[:2]])}</div>')
    parts.append(
        f"<fieldset><legend>Which is better?</legend>{''.join(answers)}</fieldset></section>"
    )
    return "\n".join(parts)
