"""A warning about frequencies that a model's sample rate cannot hold."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bulk.jobs import Job
    from .bulk.manifest import Row

log = logging.getLogger("qsep")

# The usual rates of music and video: what lies above 16 kHz there is hardly heard, and needs no warning.
USUAL_RATE = 48000
AUDIBLE_RATE = 32000  # models of lower rates lose what everybody hears


class LostBand:
    """Says once a run that targets lack the frequencies above half the model's sample rate."""

    def __init__(self, model: str, model_rate: int) -> None:
        """model: its name. model_rate: in Hz."""
        self.model, self.model_rate = model, model_rate
        self._is_said = False

    def look_at(self, rows: Iterable[Mapping[str, Any]], name: str) -> None:
        """rows: of one recording's results, with `sample_rate` unless it failed. name: of the recording."""
        rate = max((row.get("sample_rate", 0) for row in rows), default=0)
        if self._is_said or not loses_band(rate, self.model_rate):
            return
        self._is_said = True
        log.warning(
            "%s has a sample rate of %g kHz, but %s works at %g: targets hold nothing above %g kHz, "
            "where all sound stays in the residual (said once)",
            *(name, rate / 1000, self.model, self.model_rate / 1000, self.model_rate / 2000),
        )

    def watching(
        self, outcomes: Iterable[tuple[Job, list[Row]]]
    ) -> Iterator[tuple[Job, list[Row]]]:
        """The same outcomes; each is looked at once the next is wanted, when it has been reported."""
        for job, rows in outcomes:
            yield job, rows
            self.look_at(rows, job.path)


def loses_band(rate: int, model_rate: int) -> bool:
    """Whether a recording's targets lack frequencies that its user may want. rates in Hz."""
    return rate > model_rate and (rate > USUAL_RATE or model_rate < AUDIBLE_RATE)
