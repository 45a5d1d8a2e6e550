"""The README's Python examples run unchanged, and the files that it names exist."""

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from repository import ROOT

README = (ROOT / "README.md").read_text("utf-8")


def test_the_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    waveform = rng.uniform(-0.1, 0.1, 4801).astype(np.float32)
    soundfile.write("street.wav", rng.uniform(-0.1, 0.1, (6400, 2)), 32000)
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert examples
    for example in examples:
        names: dict[str, Any] = {"waveform": waveform}
        exec(example, names)  # our own text
        assert names["result"].target.shape == (2, 6400)
        assert names["dog"].target.shape == names["rain"].residual.shape == (4801,)
    assert (tmp_path / "out" / "street.a-dog-barking.wav").is_file()


def test_the_figures_are_what_their_script_draws() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "_figure.py"))
    for name, theme in script["THEMES"].items():
        stored = (ROOT / "docs" / f"data-{name}.svg").read_text("utf-8")
        assert stored == script["figure"](theme)
        assert f"docs/data-{name}.svg" in README


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#:]+)\)|srcset=\"([^\"]+)\"", README))
def test_links_have_targets(target: tuple[str, str]) -> None:
    assert (ROOT / "".join(target)).exists()
