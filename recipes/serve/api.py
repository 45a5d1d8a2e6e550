"""The server's API: functions that Gradio serves as JSON over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .jobs import Answer, Jobs, Request, plain
from .messages import message_of


def file_data(path: Path) -> dict[str, Any]:
    """A file in Gradio's form, to which Gradio adds the address."""
    return {"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}


def uploaded(recording: Any, folder: Path) -> Path | None:
    """The file that a client uploaded; None unless it is a file in `folder`."""
    name = recording.get("path") if isinstance(recording, dict) else recording
    if not isinstance(name, str):
        return None
    path = Path(name).resolve()
    return path if path.is_relative_to(folder.resolve()) else None


def as_words(name: str, value: Any) -> list[str]:
    """A list of strings, without repetitions; ValueError for anything else."""
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(each, str) for each in words):
        raise ValueError(f"{name}: expected a list of words, as ['a dog barking']")
    return list(dict.fromkeys(words))


def as_count(value: Any) -> int:
    """A whole number; ValueError for anything else."""
    if isinstance(value, int):
        return value
    raise ValueError("candidates: expected a whole number")


class Api:
    """Endpoints. failure: makes the exception that carries a message to the client."""

    def __init__(self, jobs: Jobs, failure: Callable[[str], Exception]) -> None:
        self.jobs, self.failure = jobs, failure

    def separate(
        self,
        recording: dict,  # type: ignore[type-arg]  # as Gradio reads it
        sounds: list[str],
        not_wanted: list[str] | None = None,
        span: str = "",
        model: str = "",
        candidates: int = 1,
    ) -> dict:  # type: ignore[type-arg]
        """Separate each of the sounds, given in words, from an uploaded recording.

        span: the time in which the sounds may occur, as 3.2-5.0 or 0:03-1:05. model: "" for the default.
        candidates: number of samples that a generative model draws.
        """

        def work(path: Path | None) -> Answer:
            words = as_words("sounds", sounds), as_words("not_wanted", not_wanted or [])
            request = Request(*words, str(span or ""), str(model), as_count(candidates))
            return self.jobs.separate(path, request)

        return self._answer(recording, work)

    def find(self, recording: dict, model: str = "") -> dict:  # type: ignore[type-arg]
        """Detect every sound of a recording and separate each. model: "" for the default."""
        return self._answer(recording, lambda path: self.jobs.find(path, str(model)))

    def models(self) -> dict[str, list[str]]:
        """Names that `separate` and `find` accept as model, the default first."""
        return {"separate": list(self.jobs.models), "find": list(self.jobs.finders)}

    def _answer(self, recording: Any, work: Callable[[Path | None], Answer]) -> dict[str, Any]:
        path = uploaded(recording, self.jobs.folder)
        try:
            answer = work(path)
        except Exception as error:
            folders = [path.parent, self.jobs.folder] if path else [self.jobs.folder]
            raise self.failure(message_of(error, folders)) from None
        return plain(answer, file_data) | {"zip": file_data(answer.archive)}
