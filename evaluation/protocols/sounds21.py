"""The sounds21 protocol: a manifest's mixtures, asked plainly, in other words, or in vain.

A manifest is a CSV with COLUMNS: paths under the data folder, lists joined by ";", times in
seconds; snr_db is the power of the target over that of each interferer.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsep.queries.interface import AudioQuery

from ..interface import Asked, Item

SAMPLE_RATE = 32000
Waveform = NDArray[np.float32]
COLUMNS = (
    *("id", "query", "seconds", "snr_db"),
    *("target", "target_start", "target_label"),
    *("interferers", "interferer_starts", "interferer_labels"),
)
KNOWN_MANIFESTS = {
    "43c015d897a3e4b42ec4cc819a06ad337b803952dda47dded0d642ab0dfdd3de": "sounds21-dev-2",
    "95b7d7dfa2490bbae99c7d775cd31a99f629524aaeda2c5d4d7bb60be2c96984": "sounds21-dev-3",
}
CUSTOM_MANIFEST = "custom manifest"
# plain: the manifest's query. wordings: held-out words for the same sound. examples: another
# recording of the same label out of the manifest, in place of words.
# absent: the manifest's query of a label that is not in the mixture, target silence.
# absent-wordings: a sound that is none of the 21, target silence.
CONDITIONS = ("plain", "wordings", "examples", "absent", "absent-wordings")
WORDINGS_FILE = Path(__file__).with_name("sounds21_wordings.toml")
# Wordings are listed from easy to hard; 5 is coprime to their 12, so that four items of a label
# span the list and twelve use all of it.
WORDING_STRIDE = 5


@dataclass(frozen=True)
class MixtureRow:
    """One line of a manifest. interferers: (path, start in seconds, label), one or more."""

    id: str
    query: str
    seconds: float
    target: tuple[str, float, str]
    interferers: tuple[tuple[str, float, str], ...]
    snr_db: float


@dataclass(frozen=True)
class Sounds21:
    """An ItemSet of one mixture a row."""

    name: str
    manifest_sha256: str
    condition: str
    data: Path
    rows: tuple[MixtureRow, ...]
    asked: tuple[Asked, ...]
    examples: tuple[str, ...] = ()

    @property
    def ids(self) -> list[str]:
        return [row.id for row in self.rows]

    @property
    def fingerprint(self) -> str:
        asked = json.dumps([self.manifest_sha256, self.condition, self.asked, *self.examples])
        return hashlib.sha256(asked.encode()).hexdigest()

    def render(self, index: int) -> Item:
        query, label, others = self.asked[index]
        row = self.rows[index]
        mixture, target, rest = render_mixture(row, self.data)
        if self.condition.startswith("absent"):
            target, rest = np.zeros_like(mixture), mixture
        example = AudioQuery(self.data / self.examples[index]) if self.examples else None
        return Item(
            row.id, query, label, mixture, target, rest, SAMPLE_RATE, others, example=example
        )


def load(manifest: Path | None, data: Path, condition: str = "plain") -> Sounds21:
    """Read a manifest and check that every file it names lies under data."""
    if condition not in CONDITIONS:
        raise ValueError(f"no condition is called {condition!r}; there are {', '.join(CONDITIONS)}")
    if manifest is None:
        raise ValueError("sounds21 has no manifest of its own: name one with --manifest")
    if not manifest.is_file():
        raise FileNotFoundError(f"{manifest}: no such manifest")
    content = manifest.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        rows = _read_rows(content.decode("utf-8"), manifest)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{manifest} is not a CSV file in UTF-8: {error}") from None
    _check_files(rows, data)
    name = KNOWN_MANIFESTS.get(sha256, CUSTOM_MANIFEST)
    examples = _examples(rows) if condition == "examples" else ()
    return Sounds21(name, sha256, condition, data, rows, _ask(rows, condition), examples)


def render_mixture(row: MixtureRow, data: Path) -> tuple[Waveform, Waveform, Waveform]:
    """Mixture, target and rest, each (t,) float32 at SAMPLE_RATE, equal to bench.py's.

    Each interferer is scaled to snr_db over the cut; all three are divided by the mixture's peak
    where that passes 1.
    """
    target = _cut(data / row.target[0], row.target[1], row.seconds)
    power = _power(target)
    rest = np.zeros_like(target)
    for path, start, _ in row.interferers:
        interferer = _cut(data / path, start, row.seconds)
        interferer_power = _power(interferer)
        if power == 0 or interferer_power == 0:
            silent = row.target[0] if power == 0 else path
            raise ValueError(f"{silent} is silent over the cut, so no SNR can be set")
        gain = np.sqrt(power / interferer_power / 10 ** (row.snr_db / 10))
        rest += (interferer * gain).astype(np.float32)
    mixture = target + rest
    peak = max(1.0, float(np.abs(mixture).max()))
    return mixture / peak, target / peak, rest / peak


def _cut(path: Path, start_seconds: float, seconds: float) -> Waveform:
    """Mono at SAMPLE_RATE from start_seconds on, zeros after the file's end."""
    import soundfile
    import soxr

    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = audio.mean(axis=1)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ")
    num_samples = round(seconds * SAMPLE_RATE)
    piece = mono[round(start_seconds * SAMPLE_RATE) :][:num_samples]
    return np.pad(piece, (0, num_samples - len(piece))).astype(np.float32)


def _power(waveform: Waveform) -> float:
    return float(np.mean(waveform.astype(np.float64) ** 2))


def _read_rows(text: str, manifest: Path) -> tuple[MixtureRow, ...]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    absent = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if absent:
        raise ValueError(f"{manifest} lacks the columns {', '.join(absent)}")
    rows = []
    for cells in reader:
        try:
            rows.append(_read_row(cells))
        except ValueError as error:
            raise ValueError(f"{manifest}, line {reader.line_num}: {error}") from None
    repeated = [item_id for item_id, n in Counter(row.id for row in rows).items() if n > 1]
    if repeated or not rows:
        raise ValueError(f"{manifest} " + (f"repeats id {repeated[0]}" if rows else "has no rows"))
    return tuple(rows)


def _read_row(cells: dict[str, str]) -> MixtureRow:
    if None in cells or None in cells.values():
        raise ValueError("expected as many cells as the header has")
    names, starts, labels = (
        cells[column].split(";")
        for column in ("interferers", "interferer_starts", "interferer_labels")
    )
    if not len(names) == len(starts) == len(labels):
        raise ValueError(
            f"{len(names)} interferers, {len(starts)} interferer_starts and "
            f"{len(labels)} interferer_labels; expected one of each per interferer"
        )
    seconds, snr_db = float(cells["seconds"]), float(cells["snr_db"])
    times = [float(start) for start in (cells["target_start"], *starts)]
    if not (0 < seconds < math.inf and all(0 <= time < math.inf for time in times)):
        raise ValueError(f"expected seconds > 0 and starts >= 0, got {seconds} and {times}")
    if not math.isfinite(snr_db):
        raise ValueError(f"expected a finite snr_db, got {snr_db}")
    return MixtureRow(
        cells["id"],
        cells["query"],
        seconds,
        (cells["target"], times[0], cells["target_label"]),
        tuple(zip(names, times[1:], labels, strict=True)),
        snr_db,
    )


def _check_files(rows: tuple[MixtureRow, ...], data: Path, num_shown: int = 20) -> None:
    paths = sorted({path for row in rows for path, _, _ in (row.target, *row.interferers)})
    missing = [path for path in paths if not (data / path).is_file()]
    if missing:
        more = f" and {len(missing) - num_shown} more" if len(missing) > num_shown else ""
        raise FileNotFoundError(
            f"{len(missing)} of the {len(paths)} files that the manifest names are not in {data}: "
            f"{', '.join(missing[:num_shown])}{more}"
        )


def _ask(rows: tuple[MixtureRow, ...], condition: str) -> tuple[Asked, ...]:
    """What is asked of each row, from the rows and the wordings file alone."""
    interferers = [tuple(label for _, _, label in row.interferers) for row in rows]
    if condition in ("plain", "wordings", "examples"):
        labels = [row.target[2] for row in rows]
        queries = _held_out(labels) if condition == "wordings" else [row.query for row in rows]
        return tuple(map(Asked, queries, labels, interferers))
    present = [(row.target[2], *others) for row, others in zip(rows, interferers, strict=True)]
    if condition == "absent":
        pairs = [_absent_label(row, rows) for row in rows]
    else:
        phrases = _wordings()["absent"]["phrases"]
        pairs = [(phrases[i % len(phrases)],) * 2 for i in range(len(rows))]
    return tuple(Asked(*pair, others) for pair, others in zip(pairs, present, strict=True))


def held_out_wordings() -> dict[str, list[str]]:
    """Twelve wordings of each label that no phrase book holds."""
    wordings: dict[str, list[str]] = _wordings()["wordings"]
    return wordings


def _held_out(labels: list[str]) -> list[str]:
    """A held-out wording for each label, another one whenever a label comes again."""
    wordings = held_out_wordings()
    unknown = set(labels) - wordings.keys()
    if unknown:
        raise ValueError(f"{WORDINGS_FILE} has no wordings for {', '.join(sorted(unknown))}")
    seen: Counter[str] = Counter()
    queries = []
    for label in labels:
        queries.append(wordings[label][WORDING_STRIDE * seen[label] % len(wordings[label])])
        seen[label] += 1
    return queries


def _wordings() -> dict[str, Any]:
    return tomllib.loads(WORDINGS_FILE.read_text(encoding="utf-8"))


def _examples(rows: tuple[MixtureRow, ...]) -> tuple[str, ...]:
    """For each row a file of its target's label that is not in it."""
    files: dict[str, set[str]] = {}
    for row in rows:
        for path, _, label in (row.target, *row.interferers):
            files.setdefault(label, set()).add(path)
    chosen = []
    for row in rows:
        heard = {path for path, _, _ in (row.target, *row.interferers)}
        candidates = sorted(files[row.target[2]] - heard)
        if not candidates:
            raise ValueError(
                f"the manifest has no other recording of {row.target[2]} than {row.id}'s"
            )
        chosen.append(candidates[_draw(row.id) % len(candidates)])
    return tuple(chosen)


def _draw(item_id: str) -> int:
    """A hash, not a generator: NumPy does not promise the same draws from one version to the next."""
    return int.from_bytes(hashlib.sha256(item_id.encode()).digest()[:8])


def _absent_label(row: MixtureRow, rows: tuple[MixtureRow, ...]) -> tuple[str, str]:
    queries = {other.target[2]: other.query for other in rows}
    present = {label for _, _, label in (row.target, *row.interferers)}
    candidates = sorted(queries.keys() - present)
    if not candidates:
        raise ValueError(f"{row.id} contains every label of the manifest, so none is absent")
    label = candidates[_draw(row.id) % len(candidates)]
    return queries[label], label
