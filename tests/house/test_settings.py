"""qsep.queries.settings: numbers are checked where they enter, in every configuration."""

import importlib
import inspect
import math
import pkgutil
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

import pytest

import qsep.queries
import qsep.recipes
import qsep.separation
from qsep.queries.settings import configuration, range_of
from qsep.separation.components import build_separator


@configuration
class Layered:
    channels: tuple[int, ...] = (8, 16)
    mask_exponent: float = 1.0
    label: str = ""
    is_odd: bool = False

    def __post_init__(self) -> None:
        if self.label == "both":
            raise ValueError("the class's own check")


def test_values_in_range_are_kept_in_a_frozen_dataclass() -> None:
    config = Layered((1, 16384), 0.5, is_odd=True)
    assert (config.channels, config.mask_exponent, config.is_odd) == ((1, 16384), 0.5, True)
    assert config == Layered(channels=(1, 16384), mask_exponent=0.5, is_odd=True)
    with pytest.raises(AttributeError):
        config.label = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"mask_exponent": math.nan}, "mask_exponent is nan; expected a finite number"),
        ({"mask_exponent": -math.inf}, "mask_exponent is -inf; expected a finite number"),
        ({"mask_exponent": -1}, "mask_exponent is -1; expected more than 0 to 100"),
        ({"mask_exponent": 0}, "mask_exponent is 0; expected more than 0 to 100"),
        ({"channels": ()}, "channels has 0 items; expected 1 to 64"),
        ({"channels": (1,) * 65}, "channels has 65 items; expected 1 to 64"),
        ({"channels": (8, 0)}, "channels is 0; expected 1 to 16384"),
        ({"channels": (8, 10**5000)}, r"channels is over 1e\+15; expected 1 to 16384"),
        ({"label": "x" * 100_001}, "label is 100001 letters long"),
        ({"label": "both"}, "the class's own check"),
    ],
)
def test_values_out_of_range_are_refused_by_name(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Layered(**settings)


@configuration
class Spectral:
    window_samples: int = 320
    hop_samples: int = 320
    channels: tuple[int, ...] = (8, 16)
    blocks: tuple[int, ...] = (1, 2)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"blocks": (1, 2, 3)}, "channels has 2, blocks has 3 items; expected equal numbers"),
        ({"hop_samples": 321}, "hop_samples is 321; expected at most window_samples, which is 320"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(
    settings: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        Spectral(**settings)


def test_a_separator_of_which_no_network_can_be_made_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def build(config: Any) -> Any:
        raise IndexError("index 3 is out of bounds")

    monkeypatch.setattr("qsep.separation.models.convtasnet.build", build)
    with pytest.raises(ValueError, match=r"no convtasnet can be made of these .*IndexError: index"):
        build_separator("convtasnet", {"query_dim": 4})


def configurations() -> Iterator[Any]:
    """Every dataclass of the package that is called a configuration."""
    for package in (qsep.queries, qsep.separation, qsep.recipes):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith("__main__"):
                continue
            for name, cls in inspect.getmembers(importlib.import_module(module.name), is_dataclass):
                if name.endswith("Config") and cls.__module__ == module.name:
                    yield cls


def is_numeric(hint: Any) -> bool:
    return hint in (int, float) or any(is_numeric(option) for option in get_args(hint))


def test_every_configuration_is_checked_and_every_number_in_it_has_a_range() -> None:
    actual = list(configurations())
    assert len(actual) > 20
    assert [cls for cls in actual if not getattr(cls, "is_checked", False)] == []
    lacking = [
        (cls.__module__, item.name)
        for cls in actual
        for item in fields(cls)
        if is_numeric(get_type_hints(cls)[item.name]) and range_of(cls, item.name) is None
    ]
    assert lacking == []
