"""Runs of `queried` that start from released networks: which weights they take, and what these compute."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from parity.filling import fall, glide
from released_backbones import (
    DNR_CHANGES,
    SPEECH_WINDOW,
    htdemucs_package,
    mossformer2_state,
    tiger_speech_state,
    write_htdemucs,
    write_mossformer2,
    write_tiger_dnr,
    write_tiger_speech,
)
from tiny import StubEncoder, unit_vectors
from torch import Tensor
from training_run import state_of

from qsep.queries.interface import QueryEmbedding
from qsep.recipes.training.check import start_weights_exist
from qsep.recipes.training.config import recipe_from
from qsep.separation.components import build_separator
from qsep.separation.networks.composition import no_query
from qsep.separation.published.reader import convert_to_folder, load_published, read_converted

pytest.importorskip("lightning_fabric", reason="training needs pip install qsep[train]")

COMMON: dict[str, Any] = {
    "kind": "queried",
    "query_dim": StubEncoder().dim,
    "entry": {"kind": "film"},
}
TIGER: dict[str, Any] = {"kind": "tiger", "hidden_channels": 10, "num_levels": 4, "num_heads": 2}
TIGER |= {"key_channels": 3, "num_iterations": 2, "released_fusion": True}


def bands(scheme: str, window: int, width: int, **changes: Any) -> dict[str, Any]:
    analysis: dict[str, Any] = {
        "kind": "bands",
        "window_samples": window,
        "hop_samples": window // 4,
    }
    analysis |= {"scheme": scheme, "width": width, "readout": "linear", "released": True}
    return {
        "analysis": analysis | changes,
        "backbone": TIGER,
        "head": {"kind": "complex_mask", "sum_to_one": True},
    }


SEPARATORS: dict[str, dict[str, Any]] = {
    "tiger-dnr": COMMON | {"sample_rate": 44100} | bands("tiger-dnr", 1024, 12),
    "tiger-speech": COMMON | {"sample_rate": 16000} | bands("tiger", SPEECH_WINDOW, 12, shares=2),
    "mossformer2": COMMON
    | {
        "sample_rate": 16000,
        "analysis": {"kind": "filterbank", "num_filters": 16, "readout": "gated"},
        "backbone": {"kind": "mossformer2", "num_layers": 2},
        "head": {"kind": "magnitude_mask", "activation": "relu"},
    },
}


def write(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if name == "htdemucs":
        return write_htdemucs(folder / "tiny.th", htdemucs_package(), monkeypatch)
    writers: dict[str, Callable[[], Path]] = {
        "tiger-dnr": lambda: write_tiger_dnr(folder),
        "tiger-speech": lambda: write_tiger_speech(folder, tiger_speech_state()),
        "mossformer2": lambda: write_mossformer2(folder, mossformer2_state()),
    }
    return writers[name]()


def settings_for(name: str, path: Path) -> dict[str, Any]:
    if name != "htdemucs":
        return SEPARATORS[name]
    converted = read_converted(path).settings
    return COMMON | {
        "sample_rate": converted["sample_rate"],
        "num_channels": converted["num_channels"],
        "analysis": {"kind": "waveform"},
        "backbone": {"kind": "htdemucs"} | converted["network"],
        "head": {"kind": "waveform"},
    }


def started(run: Callable[..., Path], folder: Path, start: Path | str, settings: Any) -> Any:
    """The separator of a run that has not made a step."""
    effects = {"array": {"num_microphones": settings.get("num_channels", 1)}}
    run(folder, stop_after=0, separator=settings, start_from=str(start), mix=effects)
    separator = build_separator("queried", {k: v for k, v in settings.items() if k != "kind"})
    state = state_of(folder)
    separator.load_state_dict(state["model"])
    for name, value in state["ema"].items():
        assert torch.equal(value, state["model"][name])
    return separator.eval()


def sound(num_samples: int) -> Tensor:
    return torch.from_numpy(glide(num_samples, 16000) + 0.5 * fall(num_samples, 16000))[None]


@pytest.mark.parametrize("by_folder", [False, True])
@pytest.mark.parametrize("name", ["tiger-dnr", "tiger-speech", "mossformer2"])
def test_a_backbone_computes_at_first_what_the_released_one_does(
    name: str,
    by_folder: bool,
    run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    start = path = write(name, tmp_path, monkeypatch)
    if by_folder:
        start = tmp_path / "converted"
        convert_to_folder(path, start)
    separator = started(run, tmp_path / "run", start, SEPARATORS[name])
    released: Any = load_published(path, DNR_CHANGES if name == "tiger-dnr" else None)[0]
    analysis, backbone = (
        (released.networks[1].split, released.networks[1].separator)
        if name == "tiger-dnr"
        else (released.analysis, released.backbone)
    )
    pooled = QueryEmbedding(unit_vectors(1, separator.query_dim, seed=3))
    carrier = separator.analysis.carrier(sound(2400)[:, None])
    parts = torch.stack([carrier[:, 0].real, carrier[:, 0].imag], 1) if "tiger" in name else None
    with torch.inference_mode():
        features = analysis(parts) if name == "tiger-dnr" else analysis.features(carrier)
        assert torch.equal(separator.analysis.features(carrier), features)
        hidden = separator.backbone(features, separator.injector(pooled))
        expected = backbone(features, no_query)
    assert torch.equal(hidden, expected)
    assert hidden.abs().max() > 0.1
    lines = capsys.readouterr().out.splitlines()
    assert f"start from {start}: weights " in lines[0]
    total = sum(key.startswith("backbone.") for key in separator.state_dict())
    assert f"{total} of {total} of backbone" in lines[0]
    assert num_taken(lines[0], "entry") == 0


def num_taken(line: str, part: str) -> int:
    """How many weights of a part were taken."""
    (words,) = [words for words in line.rpartition("weights ")[2].split(", ") if part in words]
    return int(words.split()[0])


def test_outputs_of_htdemucs_start_as_the_mean_of_its_stems(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("htdemucs", tmp_path, monkeypatch)
    separator = started(run, tmp_path / "run", path, settings_for("htdemucs", path))
    released: Any = load_published(path)[0]
    mixture = torch.cat([sound(2003), sound(2003).flip(-1)])[None]
    pooled = QueryEmbedding(unit_vectors(1, separator.query_dim, seed=3))
    with torch.inference_mode():
        maps = separator.backbone(mixture[:, :, None], separator.injector(pooled))
        stems = released.network(mixture[:, :, None], no_query).unflatten(1, (3, 2))
    expected = stems.mean(dim=1)
    assert expected.abs().max() > 0.1
    # 1e-5: convolutions are linear; float32
    torch.testing.assert_close(maps[:, :2], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(maps[:, 2:], expected, atol=1e-5, rtol=1e-4)


def test_weights_that_do_not_fit_stay_fresh_and_are_named(
    run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write("mossformer2", tmp_path, monkeypatch)
    settings = SEPARATORS["mossformer2"] | {
        "sample_rate": 8000,
        "backbone": {"kind": "mossformer2", "num_layers": 3, "group_frames": 50},
    }
    run(tmp_path / "run", stop_after=0, separator=settings, start_from=str(path))
    lines = capsys.readouterr().out.splitlines()
    assert "not taken, of other shapes or names there: backbone.attentions.2." in lines[1]
    assert lines[2:5] == [
        "num_layers is 2 there, 3 here",
        "group_frames is 256 there, 50 here",
        "sample_rate is 16000 there, 8000 here",
    ]


def test_a_start_of_which_no_weight_fits_is_refused_in_one_line(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("mossformer2", tmp_path, monkeypatch)
    with pytest.raises(ValueError, match=r"\Atrain\.start_from: no weight of .*'num_layers': 2"):
        run(tmp_path / "run", separator=SEPARATORS["tiger-speech"], start_from=str(path))


def test_the_check_knows_names_and_files_without_fetching_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSEP_CACHE", str(tmp_path / "cache"))
    path = write("mossformer2", tmp_path, monkeypatch)

    def checked(start: object, kind: str = "queried") -> str:
        tables = {
            "separator": {"kind": kind},
            "encoder": {"kind": "minilm"},
            "data": {"sounds": "synthetic", "phrases": "sounds21"},
            "train": {"steps": 3, "start_from": str(start)},
        }
        return start_weights_exist(recipe_from(tables, "tiny"))

    assert checked("tiger-dnr") == "starts from tiger-dnr"
    assert checked(path) == f"starts from {path}"
    for start, kind, message in (
        (tmp_path / "absent.pt", "queried", "is not a checkpoint folder"),
        (path, "band_unet", "a start for queried separators alone"),
        ("tiger-dnr", "band_unet", "a start for queried separators alone"),
    ):
        with pytest.raises(ValueError, match=message):
            checked(start, kind)
    assert not (tmp_path / "cache").exists()
