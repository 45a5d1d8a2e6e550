"""`qsep doctor` knows what each extra brings."""

import re
import tomllib

import pytest
from repository import ROOT

from qsep.recipes.cli.doctor import OPTIONAL
from qsep.separation import TORCH_EXTRA

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
FOR_DEVELOPERS = {"dev", "docs", "light", "torch"}


def distribution(requirement: str) -> str:
    match = re.match(r"[\w.-]+", requirement)
    assert match
    return match[0].lower().replace("-", "_")


@pytest.mark.parametrize("extra", sorted(EXTRAS.keys() - FOR_DEVELOPERS))
def test_each_extra_is_the_remedy_of_something(extra: str) -> None:
    listed = {distribution(requirement) for requirement in EXTRAS[extra]}
    remedied = [name for name, (_, remedy) in OPTIONAL.items() if f"qsep[{extra}]" in remedy]
    assert remedied
    assert {distribution(name) for name in remedied} <= listed


def test_messages_about_missing_modules_know_what_the_extra_torch_brings() -> None:
    assert set(TORCH_EXTRA) == {distribution(requirement) for requirement in EXTRAS["torch"]}
