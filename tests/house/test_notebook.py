"""The tutorial runs unchanged, without a network, and its page shows its outputs."""

import base64
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
from repository import ROOT

NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"
SHOWN = {"a person talking": "speech", "a flute": "flute", "rain": "rain"}


def stored() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(NOTEBOOK.read_text("utf-8"))
    return content


def printed(notebook: Any) -> str:
    outputs = (each for cell in notebook["cells"] for each in cell.get("outputs", ()))
    return "".join("".join(each.get("text", "")) for each in outputs)


@pytest.mark.slow  # a minute: a kernel, torch, and five separations
def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="pip install 'qsep[notebook]'")
    nbformat = pytest.importorskip("nbformat", reason="pip install 'qsep[notebook]'")
    pytest.importorskip("ipykernel", reason="pip install 'qsep[notebook]'")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("QSEP_CACHE", str(tmp_path / "cache"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    text = printed(notebook)
    gains = dict(re.findall(r"^(\w+) +SDR .* improvement +([+-][\d.]+) dB$", text, re.MULTILINE))
    assert set(gains) == set(SHOWN.values())
    assert all(float(gain) > 1 for gain in gains.values()), gains
    for query in SHOWN:
        assert re.search(rf"^{query}: -?[\d.]+ dB, .+ of the", text, re.MULTILINE)
    assert "before 5.4 s: peak 0.0; after: 0." in text
    written = {path.name for path in (tmp_path / "tutorial-output").glob("*.wav")}
    assert written == {"scene.a-flute.wav", "scene.a-flute.residual.wav"}


def test_the_stored_notebook_was_run_from_top_to_bottom() -> None:
    cells = [cell for cell in stored()["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds == {"stream", "display_data"}
    assert NOTEBOOK.stat().st_size < 700_000  # sounds are not stored in it
    assert not re.search(r"(?<![\w.])/(?:home|root|tmp|work|Users)/", printed(stored()))


def test_the_page_of_the_notebook_shows_code_results_and_pictures(tmp_path: Path) -> None:
    script = NOTEBOOK.with_name("_notebook.py")
    spec = importlib.util.spec_from_file_location("_notebook", script)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    png = base64.b64encode(b"\x89PNG").decode()
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["1\n"]},
        {"output_type": "stream", "name": "stdout", "text": ["2\n"]},
        {"output_type": "display_data", "data": {"image/png": png, "text/plain": "<Figure>"}},
        {"output_type": "display_data", "data": {"text/html": "<audio>", "text/plain": "<Audio>"}},
        {"output_type": "execute_result", "data": {"text/plain": ["3"]}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "words"]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": outputs},
    ]
    path = tmp_path / "small.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    page, pictures = module.notebook_page(path)
    assert page == (
        "# Title\nwords\n\n```python\nprint(1)\n```\n\n```text\n1\n2\n```\n\n"
        "![Output of the code above](small-1.png)\n\n```text\n3\n```\n"
    )
    assert pictures == {"small-1.png": b"\x89PNG"}
