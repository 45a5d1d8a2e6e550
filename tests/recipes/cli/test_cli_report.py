"""`qsep evaluate` and `qsep report` as a user types them."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command import Run, content, names

COLUMNS = (
    "id,query,seconds,snr_db,target,target_start,target_label,"
    "interferers,interferer_starts,interferer_labels\n"
)


@pytest.fixture
def manifest(folder: Path) -> Path:
    """Four mixtures of three labels in data, the last of which names a silent file."""
    (folder / "data").mkdir()
    rng = np.random.default_rng(8)
    for name in ("rain", "flute", "violin"):
        soundfile.write(folder / "data" / f"{name}.wav", rng.uniform(-0.4, 0.4, 9000), 32000)
    soundfile.write(folder / "data" / "silent.wav", np.zeros(9000), 32000)
    rows = [
        "m0,the rain,0.2,0,rain.wav,0,rain,flute.wav,0,flute",
        "m1,a flute,0.2,5,flute.wav,0,flute,rain.wav;violin.wav,0;0,rain;violin",
        "m2,a violin,0.2,-5,violin.wav,0,violin,rain.wav,0,rain",
        "m3,the rain,0.2,0,rain.wav,0,rain,silent.wav,0,flute",
    ]
    (folder / "m.csv").write_text(COLUMNS + "\n".join(rows) + "\n")
    return folder / "m.csv"


def evaluate(qsep: Run, out: str, *more: str | Path) -> int:
    arguments = ("sounds21", "--data", "data", "--manifest", "m.csv", "-o", out)
    return qsep("evaluate", *arguments, "--keep-audio", "1", *more).code


@pytest.mark.usefixtures("manifest")
def test_two_runs_become_a_page_a_table_and_a_list(
    qsep: Run, folder: Path, tiny_model: Path
) -> None:
    assert evaluate(qsep, "a", "-m", tiny_model) == 1  # m3 failed
    assert evaluate(qsep, "b", "-m", "irm", "--no-baselines") == 1
    for suffix in ("html", "md", "csv"):
        done = qsep("report", "a", "b", "-o", f"r.{suffix}")
        assert (done.code, done.out) == (0, f"report: r.{suffix}\n")
    page = (folder / "r.html").read_text()
    assert page.count("<audio") == 2 * 2 * 3
    for phrase in (
        *(">ideal binary mask<", "tiny: query by the label&#x27;s name", "irm is better"),
        *("m3: ValueError: silent.wav is silent", "3 of 4 items, 1 failed"),
        *("SI-SDRi [dB] by number of sources", "SI-SDRi [dB] by SNR"),
    ):
        assert phrase in page
    assert "| tiny | irm | SI-SDRi [dB] | 3 |" in (folder / "r.md").read_text()
    assert (folder / "r.csv").read_text().startswith("run,manifest,condition,group_by,")


@pytest.mark.usefixtures("manifest")
def test_a_condition_runs_any_model(qsep: Run, folder: Path, tiny_model: Path) -> None:
    assert evaluate(qsep, "a", "-m", tiny_model, "--condition", "negation") == 1
    summary = json.loads((folder / "a" / "summary.json").read_text())
    assert (summary["num_scored"], summary["num_failed"]) == (9, 3)
    assert set(summary["settings"]) == {
        *("everything except …", "all sounds but not …", "remove …"),
    }


@pytest.mark.usefixtures("manifest")
def test_the_number_of_workers_changes_no_file(qsep: Run, folder: Path, tiny_model: Path) -> None:
    for workers in ("1", "3"):
        evaluate(qsep, workers, "-m", tiny_model, "--workers", workers)
    assert content(folder / "1") == content(folder / "3")


@pytest.mark.usefixtures("manifest")
def test_overwriting_leaves_foreign_files_alone(qsep: Run, folder: Path) -> None:
    evaluate(qsep, "a", "-m", "irm", "--keep-audio", "2")
    (folder / "a" / "notes.txt").write_text("mine")
    evaluate(qsep, "a", "-m", "ibm", "--keep-audio", "0", "--overwrite")
    assert names(folder / "a") == {"items.csv", "summary.json", "notes.txt"}


@pytest.mark.usefixtures("manifest")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--condition", "loud"), "no condition is called 'loud'; there are plain, wordings"),
        (("fold",), "'fold': expected KEY=VALUE"),
        (("fold=1",), "sounds21 has no setting 'fold'"),
        (("--embedding", "minilm"), "reads no recordings"),
        (("--embedding", "clap:model=nowhere"), "CLAP model 'nowhere' is neither"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    qsep: Run, folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    command = ("evaluate", "sounds21", *arguments, "--data", "data", "--manifest", "m.csv")
    done = qsep(*command, "-o", "out", "-m", "irm")
    assert done.code == 2
    assert message in done.error
    assert not (folder / "out").exists()


def test_a_report_of_no_run_is_refused(qsep: Run, folder: Path) -> None:
    done = qsep("report", folder, "-o", "r.html")
    assert (done.code, "not a folder that `qsep evaluate` wrote" in done.error) == (2, True)
    assert names(folder) == set()
