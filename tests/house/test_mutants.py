"""The list of mutants fits the code, and the script reports which are killed."""

import sys
from pathlib import Path

import pytest
from mutants import ROOT, Mutant, judge, read_mutants


@pytest.mark.parametrize("mutant", read_mutants(), ids=str)
def test_a_mutation_still_fits_and_names_tests_that_are_there(mutant: Mutant) -> None:
    mutant.text(ROOT)
    file, _, name = mutant.tests.partition("::")
    assert (ROOT / file).exists()
    assert not name or f"def {name}(" in (ROOT / file).read_text("utf-8")


@pytest.mark.slow
def test_a_mutation_survives_what_does_not_look_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setenv("PYTHONPATH", "")
    for folder in ("qsep", "separation", "tests"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    root = tmp_path / "root"
    (root / "qsep" / "__init__.py").touch()
    (root / "separation" / "value.py").write_text("HALF = 0.5\nTHIRD = 0.3\n")
    (root / "tests" / "test_half.py").write_text(
        "from pathlib import Path\n\ndef test_half():\n"
        "    assert Path('separation/value.py').read_text().startswith('HALF = 0.5')\n"
    )
    mutants = [
        Mutant("separation/value.py", old, new, "tests/test_half.py")
        for old, new in (("0.5", "0.6"), ("0.3", "0.4"), ("0.7", "0.8"))
    ]
    verdicts = [verdict.partition(":")[0] for _, verdict in judge(mutants, root)]
    assert verdicts == ["killed", "survived", "outdated"]
    with pytest.raises(ValueError, match="fail without any mutant"):
        list(judge([Mutant("separation/value.py", "0.5", "0.6", "tests/test_absent.py")], root))
