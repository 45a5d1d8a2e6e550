"""Settings of the effects that every recipe's [mix] may have as tables; all are off by default."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

from qsep.queries.settings import SHARE, Range, check_ascending, configuration

Interval = tuple[float, float]
DEVICES = ("telephone", "mobile", "mp3", "vorbis", "clipping")


@configuration
class LevelConfig:
    """rule: "" keeps the levels that the sources were drawn with. "snr": the first source lies snr_db above
    the sum of the others, which keep their ratios. "loudness": each source has an integrated loudness within
    loudness_lufs. max_peak: sources are scaled together where the mixture would exceed it; 0 for no limit.
    """

    rule: str = ""
    snr_db: Interval = (-10.0, 10.0)
    loudness_lufs: Interval = (-35.0, -20.0)
    max_peak: float = 0.0

    def __post_init__(self) -> None:
        if self.rule not in ("", "snr", "loudness"):
            raise ValueError(f"rule is {self.rule!r}; expected '', 'snr' or 'loudness'")
        check_ascending(self, ("snr_db", "loudness_lufs"))


@configuration
class RoomConfig:
    """A rectangular room with one microphone, in which every source of a mixture has a place of its own.

    probability: that a mixture is in a room. length_meters: of both horizontal edges. distance_meters: from
    the microphone to a source. moving_probability: of each source, on a straight line at speed_mps metres a
    second.
    """

    probability: float = 0.0
    length_meters: Interval = (3.0, 10.0)
    height_meters: Interval = (2.4, 4.0)
    reverberation_seconds: Annotated[Interval, Range(0.02, 10)] = (0.1, 0.8)
    distance_meters: Interval = (0.5, 4.0)
    moving_probability: float = 0.0
    speed_mps: Interval = (0.3, 2.0)

    def __post_init__(self) -> None:
        names = ("length_meters", "height_meters", "reverberation_seconds", "distance_meters")
        check_ascending(self, (*names, "speed_mps"))


@configuration
class ArrayConfig:
    """num_microphones: in a line, for separators of so many channels. spacing_meters: between neighbours.

    In a mixture without a room each source is a plane wave from a side of its own.
    """

    num_microphones: int = 1
    spacing_meters: Annotated[Interval, Range(0.001, 2)] = (0.08, 0.2)

    def __post_init__(self) -> None:
        check_ascending(self, ("spacing_meters",))
        if self.num_microphones < 1:
            raise ValueError(f"num_microphones is {self.num_microphones}; expected 1 or more")


@configuration
class DeviceConfig:
    """Devices through which sounds were recorded or transmitted, see devices.py.

    source_probability: that a source has a device of its own. mixture_probability: that the whole mixture
    went through one; what the device adds that is not linear is then a source without a query, so that the
    sources still sum to the mixture. kinds: those to choose from, alike often. compression: of mp3 and
    vorbis, 0 (best) to 1 (smallest file). clip_db: threshold of clipping below the peak.
    """

    source_probability: float = 0.0
    mixture_probability: float = 0.0
    kinds: tuple[str, ...] = DEVICES
    compression: Annotated[Interval, SHARE] = (0.5, 1.0)
    clip_db: Interval = (3.0, 15.0)

    def __post_init__(self) -> None:
        check_ascending(self, ("compression", "clip_db"))
        if not self.kinds or set(self.kinds) - set(DEVICES):
            raise ValueError(
                f"kinds is {list(self.kinds)}; expected one or more of {list(DEVICES)}"
            )


@configuration
class BeatConfig:
    """probability: that a mixture's musical sources are in time with each other, see beats.py. min_strength:
    of a beat, 0 to 1, below which a source counts as without one. max_stretch: largest change of speed, as a
    share.
    """

    probability: float = 0.0
    min_strength: float = 0.3
    max_stretch: float = 0.12


@configuration
class QueryConfig:
    """Variations of queries in words, see queries.py.

    paraphrases: a TOML file of texts with lists of other wordings, by which a text is replaced with
    paraphrase_probability. template_probability: that a text of few words is put into a sentence.
    audio_probability: that the text is mixed with the sound itself, which has audio_share of the weight; the
    encoder must read both. drop_probability: that a query's embedding is zero, for guidance.
    """

    paraphrases: str = ""
    paraphrase_probability: float = 0.0
    template_probability: float = 0.0
    audio_probability: float = 0.0
    audio_share: Interval = (0.0, 1.0)
    drop_probability: float = 0.0

    def __post_init__(self) -> None:
        check_ascending(self, ("audio_share",))
        if self.paraphrase_probability and not self.paraphrases:
            raise ValueError("paraphrase_probability needs a file of paraphrases")


@configuration
class EffectsConfig:
    """One table of [mix] each, the same for every kind of data. They take effect in this order."""

    beats: BeatConfig = field(default_factory=BeatConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    room: RoomConfig = field(default_factory=RoomConfig)
    array: ArrayConfig = field(default_factory=ArrayConfig)
    levels: LevelConfig = field(default_factory=LevelConfig)
    queries: QueryConfig = field(default_factory=QueryConfig)

    def __post_init__(self) -> None:
        if self.array.num_microphones > 1 and self.device.mixture_probability:
            raise ValueError(
                "a device of the whole mixture has one channel: set device.mixture_probability=0 or "
                "array.num_microphones=1"
            )

    @property
    def active(self) -> bool:
        """Whether items are changed at all."""
        probabilities = (
            self.beats.probability,
            self.device.source_probability,
            self.device.mixture_probability,
            self.room.probability,
            self.levels.max_peak,
            self.queries.paraphrase_probability,
            self.queries.template_probability,
            self.queries.audio_probability,
        )
        several = self.array.num_microphones > 1
        return any(probabilities) or self.levels.rule != "" or several

    def for_validation(self) -> EffectsConfig:
        """The same levels and microphones, and nothing that augments."""
        return EffectsConfig(levels=self.levels, array=self.array)
