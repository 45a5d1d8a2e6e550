"""The jobs of the server, requests and answers; the page and the API are elsewhere."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qsep.queries.constraints import Constraints
from qsep.queries.files.json_files import json_text
from qsep.queries.interface import Query, TextQuery, shortened
from qsep.separation.api import Model, load, separate_file
from qsep.separation.audio.file_names import DEFAULT_NAMING
from qsep.separation.audio.reader import BLOCK_SAMPLES, AudioReader

from ..inference.level_words import ABSENT_DB, finding_in_words
from .messages import collected_warnings, without_folders

if TYPE_CHECKING:
    from qsep.separation.detection.nodes import NodeSeparator

MODELS_KEPT = 2  # in memory, the latest used
Progress = Callable[[float], object]


@dataclass(frozen=True)
class Limits:
    """Limits of one job. seconds: of the recording; megabytes: of its file; sounds: queries, and as many
    negatives; letters: of each."""

    seconds: float = 600.0
    megabytes: int = 100
    sounds: int = 8
    letters: int = 300
    candidates: int = 8


@dataclass(frozen=True)
class Request:
    """sounds, not_wanted: queries and negatives, as text. span: the time in which the sounds may occur, as
    3.2-5.0 or 0:03-1:05, "" for the whole recording. model: "" for the default."""

    sounds: Sequence[str]
    not_wanted: Sequence[str] = ()
    span: str = ""
    model: str = ""
    candidates: int = 1

    def constraints(self) -> Constraints:
        """The constraints of all sounds; ValueError for an invalid span."""
        return Constraints(self.not_wanted, [self.span] if self.span.strip() else [])


@dataclass(frozen=True)
class Sound:
    """A separated sound. level_db: energy relative to the recording's, None if that is silent; about: how the
    words were read, or when the sound is active; rest: the file of the residual, None if not requested."""

    name: str
    level_db: float | None
    about: str
    target: Path
    rest: Path | None = None

    @property
    def level(self) -> str:
        """The level in words."""
        return finding_in_words(self.level_db)

    @property
    def likely_absent(self) -> bool:
        """Whether the sound is so quiet that it is probably not in the recording."""
        return self.level_db is None or self.level_db < ABSENT_DB


@dataclass(frozen=True)
class Answer:
    """notes: warnings; archive: all files as a zip; timeline: a picture of when each sound is active."""

    sounds: tuple[Sound, ...]
    notes: tuple[str, ...]
    archive: Path
    timeline: Path | None = None


@dataclass
class Jobs:
    """Runs jobs one at a time. Each answer's files are in a new folder under `folder`, which the caller
    empties.

    models: by the names that are shown, each with what `load` takes; finders: those of them that detect
    sounds. The first is the default.
    """

    folder: Path
    models: Mapping[str, str]
    finders: Sequence[str]
    device: str = "auto"
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self._one_at_a_time = threading.Lock()  # jobs on the device, as in Gradio's queue
        self.load = lru_cache(MODELS_KEPT)(lambda name: load(self.models[name], self.device))

    def separate(
        self, recording: Path | None, request: Request, progress: Progress | None = None
    ) -> Answer:
        """Separate each of the sounds. progress: called with the fraction that is done, 0 to 1.

        Raises ValueError or OSError for an invalid recording or request, before any work where possible.
        """
        path = self.checked(recording)
        self.check_words(request.sounds)
        self.check_words(request.not_wanted)
        queries = [TextQuery(words) for words in request.sounds]
        if not queries:
            raise ValueError("say which sound to take out, as: a dog barking")
        if both := [words for words in request.sounds if words in request.not_wanted]:
            raise ValueError(f"{both[0]!r} is wanted and not wanted: drop one")
        check_names(path.stem, queries)
        constraints = request.constraints()
        with self._one_at_a_time, collected_warnings() as warnings, self.new_folder() as out:
            model = self.model(request.model, request.candidates)
            for query in (*queries, *constraints.negatives):
                model.warn_if_unfamiliar(query)
            report = self.limited(progress)
            rows = separate_file(model, path, queries, out, True, report, constraints)
            sounds = [
                Sound(
                    row["query"],
                    row["level_db"],
                    reading_of(model, query),
                    *map(Path, row["files"]),
                )
                for query, row in zip(queries, rows, strict=True)
            ]
            return finished(out, path, sounds, self.notes(warnings))

    def find(
        self, recording: Path | None, model: str = "", progress: Progress | None = None
    ) -> Answer:
        """Detect what is in the recording and separate each sound. model: one of `finders`, "" the first."""
        from ..inference.auto import Task, separate_sounds
        from ..inference.output import Output

        path = self.checked(recording)
        if not self.finders:
            raise ValueError("no model here can detect sounds")
        model = model or self.finders[0]
        if model not in self.finders:
            raise ValueError(f"{shortened(model)!r} cannot detect sounds: {one_of(self.finders)}")
        with self._one_at_a_time, collected_warnings() as warnings, self.new_folder() as out:
            task = Task(Output(out), ("leaf",))
            report = self.limited(progress)
            summary = separate_sounds(self.finder(model), path, [path], task, report)
            task.summary(path).unlink()  # names folders of this machine; the zip has its own
            sounds = [
                Sound(each["name"], each["level_db"], described(each), Path(each["file"]))
                for each in sorted(summary["sounds"], key=lambda each: -(each["level_db"] or 0.0))
            ]
            timeline = task.picture(path) if task.picture(path).exists() else None
            return finished(out, path, sounds, self.notes(warnings), timeline)

    def checked(self, recording: Path | None) -> Path:
        """The recording, if it is usable and within the limits."""
        if recording is None:
            raise ValueError("give a recording first: upload one, record one, or use the example")
        if not recording.is_file():
            raise ValueError("the recording is no longer here: upload it again")
        if recording.stat().st_size > self.limits.megabytes * 1e6:
            raise ValueError(
                f"{recording.name} is larger than {self.limits.megabytes} MB: send a part of it, "
                "or use qsep separate, which has no limit"
            )
        self.check_length(recording)
        return recording

    def check_length(self, recording: Path) -> None:
        """ValueError for a recording longer than the limit; AudioError for one that cannot be read."""
        with AudioReader(recording, quiet=True) as reader:
            most = self.limits.seconds * reader.sample_rate
            num_samples = reader.claimed_samples
            if num_samples is None:
                num_samples = 0
                for block in reader.blocks(BLOCK_SAMPLES):
                    num_samples += block.shape[1]
                    if num_samples > most:
                        break
        if num_samples > most:
            raise ValueError(self.too_long(recording.name))

    def too_long(self, name: str) -> str:
        """The message for a recording longer than the limit."""
        return (
            f"{name} is longer than {self.limits.seconds:g} s: send a part of it, "
            "or use qsep separate, which has no limit"
        )

    def check_words(self, words: Sequence[str]) -> None:
        """ValueError for too many sounds or too long words."""
        if len(words) > self.limits.sounds:
            raise ValueError(f"{len(words)} sounds at once: at most {self.limits.sounds}")
        for each in words:
            if len(each) > self.limits.letters:
                raise ValueError(
                    f"{shortened(each)!r} has {len(each)} letters: at most {self.limits.letters}"
                )

    def model(self, name: str, candidates: int = 1) -> Model:
        """A loaded model by the name that people see; ValueError for a name or number that is not offered."""
        name = name or next(iter(self.models))
        if name not in self.models:
            raise ValueError(f"no model {shortened(name)!r} here: {one_of(list(self.models))}")
        if not 1 <= candidates <= self.limits.candidates:
            raise ValueError(f"{candidates} candidates: 1 to {self.limits.candidates}")
        model: Model = self.load(name)
        return model.best_of_n(candidates)

    def finder(self, name: str) -> NodeSeparator:
        """A loaded model that detects sounds."""
        from qsep.separation.detection.nodes import NodeSeparator

        return NodeSeparator(self.load(name))

    @contextmanager
    def new_folder(self) -> Iterator[Path]:
        """A new folder for an answer, removed after an error."""
        folder = self.folder / f"answer-{secrets.token_hex(8)}"
        folder.mkdir()
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def limited(self, progress: Progress | None) -> Callable[[float, float | None], None]:
        """The progress callback of `separate_file`; raises for recordings beyond the limit."""

        def report(seconds: float, claimed: float | None) -> None:
            if seconds > self.limits.seconds + 1:
                raise ValueError(self.too_long("the recording"))
            if progress and claimed:
                progress(min(seconds / claimed, 1.0))

        return report

    def notes(self, warnings: Sequence[str]) -> list[str]:
        """The different warnings, without folders."""
        return [without_folders(warning, [self.folder]) for warning in dict.fromkeys(warnings)]


def check_names(stem: str, queries: Sequence[Query]) -> None:
    """ValueError where two results would be one file."""
    owners: dict[str, str] = {}
    for query in queries:
        (name,) = DEFAULT_NAMING.result_names(stem, query.name, residual=False)
        if (other := owners.setdefault(name, query.name)) != query.name:
            raise ValueError(f"{other!r} and {query.name!r} would be one file: ask for one of them")


def one_of(names: Sequence[str]) -> str:
    """The remedy for a wrong choice."""
    return f"choose {' or '.join(names)}"


def reading_of(model: Model, query: Query) -> str:
    """How the model read the words, where it reads them as classes and knows them."""
    reading = model.read(query)
    return reading.line() if reading and reading.known else ""


def described(sound: dict[str, Any]) -> str:
    """When a sound is active, and the guess of a family's class, from `qsep auto`'s summary."""
    spans = ", ".join(f"{start:.1f}-{end:.1f}" for start, end in sound["spans"])
    guess = sound["guess"]
    perhaps = f"; perhaps {guess['name']} ({guess['probability']:.2f})" if guess else ""
    return f"probability {sound['probability']:.2f}, at {spans} s{perhaps}"


def finished(
    out: Path,
    recording: Path,
    sounds: Sequence[Sound],
    notes: Sequence[str],
    timeline: Path | None = None,
) -> Answer:
    """The answer, with all of its files in a zip."""
    archive = out / f"{recording.stem}.zip"
    files = [file for sound in sounds for file in (sound.target, sound.rest) if file]
    answer = Answer(tuple(sounds), tuple(notes), archive, timeline)
    text = json_text(plain(answer, lambda path: path.name), indent=1)
    with zipfile.ZipFile(archive, "w") as packed:  # stored: sound hardly shrinks
        for file in (*files, *([timeline] if timeline else [])):
            packed.write(file, file.name)
        packed.writestr(f"{recording.stem}.json", text + "\n")
    return answer


def plain(answer: Answer, file: Callable[[Path], Any]) -> dict[str, Any]:
    """As values for JSON. file: how a file is referred to."""
    return {
        "sounds": [
            {
                "name": sound.name,
                "level_db": sound.level_db,
                "level": sound.level,
                "likely_absent": sound.likely_absent,
                "about": sound.about,
                "target": file(sound.target),
                "rest": file(sound.rest) if sound.rest else None,
            }
            for sound in answer.sounds
        ],
        "notes": list(answer.notes),
        "timeline": file(answer.timeline) if answer.timeline else None,
    }


def in_lines(text: str | None) -> list[str]:
    """Sounds written one a line."""
    return list(dict.fromkeys(filter(None, (line.strip() for line in (text or "").splitlines()))))


def copied(path: Path, folder: Path) -> Path:
    """A copy for one visitor, of the same name."""
    return Path(shutil.copyfile(path, folder / re.sub(r"[^\w.-]", "_", path.name)))
