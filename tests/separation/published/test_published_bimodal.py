"""Checkpoints of bi-modal separation load as released, or one line says why not."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Run
from laion_checkpoints import laion_state
from released import Change, Release, check_refusal, check_the_command_line, stored_transforms
from tiny import noise, tiny_separator, weights_of
from tiny_encoders import save_tokenizer
from torch import Tensor

from qsep.queries.interface import QueryEmbedding, TextQuery
from qsep.separation.published.converters.bimodal import published_modules
from qsep.separation.published.reader import convert_to_folder, load_published
from qsep.separation.storage.checkpoint import load_checkpoint

WINDOW = 1022
CHANNELS = [8, 8, 16, 16, 16, 24]  # deep, so that attention is to few places
CLAP_PREFIX = "module.net_clap.model.model."


def original(token_dim: int) -> Any:
    """A separator as the release would be converted to, with random weights."""
    spectrogram = {"sample_rate": 16000, "window_samples": WINDOW, "hop_samples": 256}
    return tiny_separator(
        "bimodal",
        query_dim=512,
        token_dim=token_dim,
        channels=CHANNELS,
        num_attentive=2,
        num_heads=8,
        spectrogram=spectrogram,
    )


def released(separator: Any) -> dict[str, Tensor]:
    """Its weights under the authors' keys, with those that they have and never use."""
    ours = separator.state_dict()
    weights = stored_transforms(WINDOW)
    for theirs, module in published_modules(len(CHANNELS), 2).items():
        if module is None:
            if theirs.endswith("ca_blocks.0.norm1"):
                weights |= {f"{theirs}.weight": torch.ones(3), f"{theirs}.bias": torch.ones(3)}
            continue
        for key, value in ours.items():
            if key.rpartition(".")[0] == module:
                weights[f"{theirs}.{key.rpartition('.')[2]}"] = value.clone()
    return {f"module.{key}": value for key, value in weights.items()}


@pytest.fixture(scope="module")
def clap() -> dict[str, Tensor]:
    """A small CLAP, all of LAION's keys."""
    return {f"{CLAP_PREFIX}{key}": value for key, value in laion_state("plain").items()}


@pytest.fixture(name="token_dim")
def width(clap: dict[str, Tensor]) -> int:
    return clap[f"{CLAP_PREFIX}text_branch.embeddings.word_embeddings.weight"].shape[1]


@pytest.fixture(name="release")
def releaser(tmp_path: Path, clap: dict[str, Tensor], token_dim: int) -> Release:
    """Writes a checkpoint with what else training keeps, beside it RoBERTa's tokenizer; returns its path."""

    def write(change: Change | None = None) -> Path:
        weights = released(original(token_dim)) | clap
        if change:
            change(weights)
        content = {"epoch": 7, "state_dict": weights, "best_sdr": 3.5, "history": {"val": []}}
        content |= {"optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]}}
        save_tokenizer(tmp_path / "roberta-base")
        torch.save(content, tmp_path / "model_weights.pth.tar")
        return tmp_path / "model_weights.pth.tar"

    return write


def test_it_separates_by_text_as_the_original(release: Release, token_dim: int) -> None:
    separator, encoder, config = load_published(release())
    expected = original(token_dim)
    assert config["separator"]["kind"] == "bimodal"
    assert separator.config.spectrogram == expected.config.spectrogram
    embedding = encoder.encode([TextQuery("dog barking"), TextQuery("a band")])
    assert embedding.tokens is not None
    assert embedding.tokens.shape == (2, 77, token_dim)
    queries = QueryEmbedding(embedding.pooled[None], embedding.tokens[None])
    mixture = noise(1, 1, 5001)
    with torch.inference_mode():
        target = separator.separate(mixture, queries).target
        assert torch.equal(target, expected.separate(mixture, queries).target)
    assert (target[:, 0] - target[:, 1]).abs().max() > 1e-6


def test_converted_and_moved_it_answers_as_the_released_file(
    release: Release, tmp_path: Path
) -> None:
    path = release()
    before = load_published(path)
    convert_to_folder(path, tmp_path / "ours")
    path.unlink()
    shutil.rmtree(tmp_path / "roberta-base")
    (tmp_path / "ours").rename(tmp_path / "moved")
    separator, encoder, _ = load_checkpoint(tmp_path / "moved")
    expected = weights_of(before[0])
    weights = weights_of(separator)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[key], value) for key, value in expected.items())
    assert encoder.encode([TextQuery("a dog")]).pooled.norm() == pytest.approx(1, abs=1e-6)


def test_the_command_line_converts_and_separates_with_either(
    qsep: Run, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSEP_CACHE", str(tmp_path / "cache"))
    check_the_command_line(qsep, release(), tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: w.pop("module.net_clap.fc.bias"), "module.net_clap.fc.bias is missing"),
        (lambda w: w.pop("module.net_clap.fc.weight"), "module.net_clap.fc.weight are missing"),
        (lambda w: w.update({"module.extra.weight": torch.ones(1)}), "module.extra.weight are not"),
        (
            lambda w: w.update({"module.net_sound.unet_block.upnorm.bias": torch.ones(1)}),
            "upnorm.bias are not part of bi-modal separation",
        ),
        (lambda w: w["module.net_synthesizer.scale"].fill_(torch.nan), "not finite"),
        (lambda w: w["module.stft.conv_real.weight"].mul_(1.1), "Hann window 1022 samples long"),
        (
            lambda w: [w.pop(key) for key in list(w) if key.startswith(CLAP_PREFIX)],
            "put music_audioset_epoch_15_esc_90.14.pt beside it",
        ),
    ],
)
def test_incompatible_files_are_named_in_one_line(
    change: Change, reason: str, release: Release
) -> None:
    check_refusal(release(change), reason)
