"""Configurations: frozen dataclasses whose numbers are checked when they are constructed.

One table gives the range of a setting by its name, so that a name means the same everywhere. The check is in
the constructor, so it applies to TOML, JSON and Python alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, TypeVar, dataclass_transform, get_type_hints

T = TypeVar("T")

MAX_ITEMS, MAX_LETTERS = 100_000, 100_000  # of a list, of a text
MAX_STEPS = 1_000_000_000
MAX_SAMPLES = 1 << 24


@dataclass(frozen=True)
class Range:
    """low <= value <= high; low is excluded if `above`."""

    low: float
    high: float
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and not (self.above and value == self.low)

    def __str__(self) -> str:
        return f"{'more than ' if self.above else ''}{self.low:g} to {self.high:g}"


SHARE, COUNT, WEIGHT = Range(0, 1), Range(1, 65536), Range(0, 1e6)
CHANNELS, LAYERS = Range(1, 16384), Range(1, 256)  # more does not fit into memory

# Ranges by patterns of names: the first match applies, in every configuration; for lists, to each item.
RANGES = {
    "sample_rate": Range(1000, 768_000),
    "*_samples": Range(1, MAX_SAMPLES),
    "num_validation": Range(0, 1_000_000),
    "num_workers": Range(0, 1024),
    "num_phrases": Range(0, 1_000_000),
    "num_*_weights": WEIGHT,
    "num_steps": Range(1, 10_000),
    "num_blocks": LAYERS,
    "num_repeats": LAYERS,
    "num_layers": LAYERS,
    "num_*": COUNT,
    "batch_size": COUNT,
    "accumulate": COUNT,
    "max_absent": Range(0, 65536),
    "max_sources": COUNT,
    "max_tokens": Range(1, 65536),
    "skip_limit": Range(1, MAX_STEPS),
    "*_every": Range(1, MAX_STEPS),
    "steps": Range(0, MAX_STEPS),
    "*_steps": Range(0, MAX_STEPS),
    "*_start": Range(0, MAX_STEPS),
    "decay_end": Range(0, MAX_STEPS),
    "seed": Range(0, 2**63 - 1),
    "learning_rate": Range(0, 10),
    "warmup_stairs": Range(0, 10),
    "rate_decay": Range(0, 1, above=True),
    "weight_decay": Range(0, 10),
    "clip_norm": Range(0, 1e9, above=True),
    "betas": SHARE,
    "ema_decay": SHARE,
    "final_factor": Range(0, 10),
    "*_probability": SHARE,
    "probability": SHARE,
    "*_dropout": SHARE,
    "*_db": Range(-200, 200),
    "*_lufs": Range(-70, 0),
    "*_hz": Range(0, 768_000),
    "length_meters": Range(1, 100),  # images of larger rooms are too many
    "height_meters": Range(1, 100),
    "*_meters": Range(0, 1000),
    "*_mps": Range(0, 100),  # metres a second: the simulation is for sources slower than sound
    "max_peak": Range(0, 1000),
    "min_strength": SHARE,
    "max_stretch": Range(0, 0.4),
    "*_semitones": Range(0, 48),
    "gains": Range(0, 1000),
    "gamma": Range(-1000, 1000),  # of NIT's margin, which may have either sign
    "gamma_start": Range(-1000, 1000),
    "margin": Range(-1000, 1000),
    "kl_weight": WEIGHT,
    "*weight": WEIGHT,
    "sigma_min": SHARE,
    "shift": Range(0, 1000, above=True),
    "guidance": Range(0, 1000),
    "temperature": Range(0, 100),
    "compression": Range(0, 10, above=True),
    "mask_exponent": Range(0, 100, above=True),
    "query_noise": Range(0, 1000),
    "query_scale": Range(-1e6, 1e6),
    "start_padding": Range(0, 3600),
    "queries": WEIGHT,  # the odds of each kind
    "query_dim": Range(0, 65536),  # 0: no query
    "table_dim": Range(0, 65536),
    "dim": COUNT,
    "token_dim": Range(0, 65536),  # 0: the pooled vector is the only token
    "*_dim": COUNT,
    "segment_frames": Range(1, MAX_SAMPLES),
    "*_frames": Range(1, MAX_SAMPLES),
    "null_tokens": Range(0, 65536),
    "spare_channels": Range(0, 65536),
    "attention_free": Range(0, 65536),
    "*blocks": LAYERS,
    "channels": CHANNELS,
    "*_channels": CHANNELS,
    "*features": CHANNELS,
    "*_hidden": CHANNELS,
    "*_groups": COUNT,
    "looks": Range(1, 64),
    "shifts": Range(1, 64),
    "rates": Range(1, 1024),
    "*kernels": Range(1, 1024),
    "kernel": Range(1, 1024),
    "unfolded": Range(1, 1024),
    "dilations": Range(1, 1024),
    "periods": Range(1, 1024),
    "fft_sizes": Range(2, 65536),
    "hops": COUNT,
    "*_seconds": Range(0, 86400, above=True),
    "widths": COUNT,
    "width": CHANNELS,
    "bottleneck": Range(0, 16384),
    "*_factor": Range(1, 64),
    "growth": Range(1, 64),
    "shares": Range(1, 1024),
    "*_kernel": Range(1, 1024),
    "windows": COUNT,
    "window": COUNT,
    "depths": LAYERS,
    "rank": Range(0, 16384),
    "mask_width": CHANNELS,
    "drop": SHARE,
    "negative_only": SHARE,
    "*_share": SHARE,
    "*_fraction": SHARE,
    "separation": WEIGHT,
    "consistency": WEIGHT,
    "agreement": WEIGHT,
    "alike_cosine": Range(-1, 2),
}
MAX_LEVELS = 64
LEVELS = (  # lists with an entry for each level of a network
    "channels",
    "blocks",
    "rates",
    "kernels",
    "block_kernels",
    "dilations",
    "periods",
)
SAME_LENGTH = (  # lists whose items belong together
    ("channels", "blocks"),
    ("rates", "kernels"),
    ("fft_sizes", "hops", "windows"),
    ("depths", "num_heads"),
    ("stems", "outputs"),
)


@cache  # resolving a class's annotations takes longer than all the checks of its settings
def range_of(config: type, name: str) -> Range | None:
    """A setting's range, by Annotated[…, Range(…)] in the configuration or by RANGES; None if neither."""
    hint = get_type_hints(config, include_extras=True)[name]
    annotated = [item for item in getattr(hint, "__metadata__", ()) if isinstance(item, Range)]
    return annotated[0] if annotated else table_range(name)


def table_range(name: str) -> Range | None:
    """The range of the first pattern in RANGES that matches the name, or None."""
    return next(
        (allowed for pattern, allowed in RANGES.items() if fnmatchcase(name, pattern)), None
    )


@dataclass_transform(frozen_default=True)
def configuration(cls: type[T]) -> type[T]:
    """Class decorator: a frozen dataclass that checks its settings at construction.

    Its constructor raises ValueError for settings out of range; a `__post_init__` of the class runs after.
    """
    post_init: Callable[[Any], None] | None = cls.__dict__.get("__post_init__")

    def check(self: Any) -> None:
        check_settings(self)
        if post_init is not None:
            post_init(self)

    cls.__post_init__ = check  # type: ignore[attr-defined]
    cls.is_checked = True  # type: ignore[attr-defined]
    return dataclass(frozen=True)(cls)


def check_settings(config: Any) -> None:
    """Raise ValueError for the first setting that is not finite, out of its range, or too long, and for
    settings that do not fit together."""
    settings = {item.name: getattr(config, item.name) for item in fields(config)}
    for name, value in settings.items():
        check_setting(type(config), name, value)
    for names in SAME_LENGTH:
        lengths = {n: len(settings[n]) for n in names if isinstance(settings.get(n), tuple)}
        if len(set(lengths.values())) > 1:
            described = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise ValueError(f"{described} items; expected equal numbers")
    hop, window = (settings.get(f"{name}_samples") for name in ("hop", "window"))
    if hop is not None and window is not None and hop > window:
        raise ValueError(
            f"hop_samples is {hop}; expected at most window_samples, which is {window}"
        )


def check_setting(config: type, name: str, value: Any) -> None:
    """As `check_settings`, of one setting of a configuration class; lists may be lists or tuples."""
    is_list = isinstance(value, (tuple, list))
    if is_list and name in LEVELS and not 0 < len(value) <= MAX_LEVELS:
        raise ValueError(f"{name} has {len(value)} items; expected 1 to {MAX_LEVELS}")
    allowed = None
    for number in numbers_in(value, name):
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(f"{name} is {number}; expected a finite number")
        allowed = allowed or range_of(config, name)
        if allowed is not None and number not in allowed:
            raise ValueError(f"{name} is {shortened(number)}; expected {allowed}")


def check_ascending(config: Any, names: Iterable[str]) -> None:
    """Raise ValueError for an interval that is not (lowest, highest), or empty if it may be."""
    for name in names:
        value = getattr(config, name)
        if len(value) not in (0, 2):
            raise ValueError(
                f"{name} has {len(value)} numbers; expected the lowest and the highest"
            )
        if value and value[0] > value[1]:
            raise ValueError(
                f"{name} is [{value[0]:g}, {value[1]:g}]; expected the smaller number first"
            )


def check_weights(config: Any, name: str) -> None:
    """Raise ValueError for relative frequencies of which none is more than 0."""
    if not any(getattr(config, name)):
        raise ValueError(f"{name} is {list(getattr(config, name))}; expected a number more than 0")


def numbers_in(value: Any, name: str) -> Iterable[float]:
    """The numbers in a setting, a number or nested lists; ValueError for too long texts and lists."""
    if isinstance(value, str) and len(value) > MAX_LETTERS:
        raise ValueError(f"{name} is {len(value)} letters long; expected {MAX_LETTERS} at most")
    if isinstance(value, bool):
        return
    if isinstance(value, (int, float)):
        yield value
    elif isinstance(value, (tuple, list)):
        if len(value) > MAX_ITEMS:
            raise ValueError(f"{name} has {len(value)} items; expected {MAX_ITEMS} at most")
        for item in value:
            yield from numbers_in(item, name)


def shortened(number: float) -> str:
    """A number for messages; integers of very many digits are abbreviated."""
    return (
        f"{number:.6g}" if isinstance(number, float) or abs(number) < 10**15 else f"over {10**15:g}"
    )
