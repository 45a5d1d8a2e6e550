"""CLAP in LAION's layout gives LAION's embeddings, recorded from its own network.

Recorded values and keys: tests/parity (see take_laion_clap.py and filling.py there).
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from laion_checkpoints import State, as_laion, laion_state
from parity.filling import glide
from parity.recorded import FOLDER
from tiny_encoders import save_tokenizer

from qsep.queries.encoders import clap
from qsep.queries.encoders._laion_clap import convert
from qsep.queries.files import hub
from qsep.queries.interface import AudioQuery, TextQuery
from qsep.separation.components import build_encoder

RATE = 48000
# Unit vectors by two implementations in float32 differ by 8e-8; the wrong epsilon in RoBERTa makes 1e-5.
LIMIT = 1e-6


@pytest.fixture(name="plain", scope="module")
def plain_state() -> State:
    return laion_state("plain")


def as_audiosep(state: State, path: Path) -> Path:
    """Within a checkpoint of AudioSep: beside the separator, and with a buffer of older versions."""
    content = {f"query_encoder.model.{key}": value for key, value in state.items()}
    content["query_encoder.model.text_branch.embeddings.position_ids"] = torch.arange(40)[None]
    content["ss_model.base.pre_conv.weight"] = torch.ones(32, 1, 1, 1)
    torch.save({"state_dict": content, "epoch": 3}, path)
    return path


def encoder(path: Path) -> Any:
    words = save_tokenizer(path.parent / "words")
    return build_encoder("clap", {"checkpoint": str(path), "tokenizer": str(words)})


def difference(encoded: Any, name: str) -> float:
    """The largest to the recorded embeddings of a text, of 10 s and of 3.7 s of sound."""
    queries = [
        TextQuery("dog barking"),
        AudioQuery(glide(480000, RATE), sample_rate=RATE),
        AudioQuery(glide(177600, RATE), sample_rate=RATE),
    ]
    with np.load(FOLDER / "laion_clap.npz") as recorded:
        expected = np.stack([recorded[f"{name}/{case}"] for case in ("text", "long", "short")])
    pooled = encoded.encode(queries).pooled.numpy()
    return float(np.abs(pooled - expected).max())


@pytest.mark.parametrize("save", [as_laion, as_audiosep])
def test_embeddings_are_laions(
    save: Callable[[State, Path], Path], plain: State, tmp_path: Path
) -> None:
    assert difference(encoder(save(plain, tmp_path / "clap.pt")), "plain") < LIMIT


def test_with_feature_fusion_embeddings_are_laions(tmp_path: Path) -> None:
    built = encoder(as_laion(laion_state("fused"), tmp_path / "clap.pt"))
    assert difference(built, "fused") < LIMIT
    assert difference(built, "plain") > 1e-3


def test_an_encoder_carried_into_a_folder_gives_the_same_embeddings(
    plain: State, tmp_path: Path
) -> None:
    built = encoder(as_audiosep(plain, tmp_path / "audiosep.ckpt"))
    (tmp_path / "own").mkdir()
    settings = built.carry(tmp_path / "own")
    (tmp_path / "audiosep.ckpt").unlink()
    shutil.rmtree(tmp_path / "words")
    assert difference(build_encoder("clap", settings), "plain") < LIMIT


def test_a_tokenizer_is_fetched_only_when_needed(
    plain: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(repository: str, name: str) -> None:
        raise ValueError(f"{repository} cannot be fetched (no network)")

    monkeypatch.setattr(hub, "check_reachable", unreachable)
    monkeypatch.setattr(clap, "ROBERTA", "nobody/roberta-base")
    path = as_laion(plain, tmp_path / "clap.pt")
    encoder = build_encoder("clap", {"checkpoint": str(path)})
    (tmp_path / "own").mkdir()
    settings = encoder.carry(tmp_path / "own")
    assert settings == {"model": str(tmp_path / "own"), "tokenizer": "nobody/roberta-base"}
    with pytest.raises(ValueError, match="run 'hf download nobody/roberta-base'"):
        encoder.encode([TextQuery("dog")])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda s: s.pop("audio_branch.norm.weight"), "audio_encoder.norm.weight is missing"),
        (lambda s: s.update(surplus=torch.ones(3)), "surplus is not part of it"),
        (
            lambda s: s.update({"text_projection.0.bias": torch.ones(7)}),
            r"text_projection.linear1.bias is \(7,\), expected \(512,\)",
        ),
        (lambda s: s["logit_scale_a"].fill_(float("nan")), "logit_scale_a are not finite"),
        (
            lambda s: s.pop("text_projection.2.weight"),
            "not LAION's CLAP .*text_projection.2.weight",
        ),
        (lambda s: s.clear(), "holds no CLAP in LAION's layout"),
    ],
)
def test_weights_load_strictly(
    change: Callable[[State], Any], complaint: str, plain: State
) -> None:
    state = {key: value.clone() for key, value in plain.items()}
    change(state)
    with pytest.raises(ValueError, match=complaint):
        convert({f"module.{key}": value for key, value in state.items()}, "clap.pt")
