"""Checkpoints of AudioSep, USS and the DCASE 2024 baseline load as released, or one line says why not."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import Run, record
from released import Change, Release
from released_resunet30 import audiosep, original, released, releaser, stub_clap, uss  # noqa: F401
from tiny import (
    noise,
    tiny_tagger,
    unit_vectors,
    weights_of,
)
from torch import Tensor

from qsep.queries.encoders.clap import Clap
from qsep.queries.encoders.panns import Panns
from qsep.queries.interface import AudioQuery, QueryEmbedding, TextQuery
from qsep.separation.api import load
from qsep.separation.published.reader import convert_to_folder, load_published
from qsep.separation.storage.checkpoint import load_checkpoint

CLAP = "music_speech_audioset_epoch_15_esc_89.98.pt"


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as caught:
        load_published(path)
    return str(caught.value)


def write_labels(folder: Path) -> None:
    rows = [f'{index},/m/{index},"Sound {index}, quiet"' for index in range(527)]
    text = "\n".join(["index,mid,display_name", *rows]) + "\n"
    (folder / "class_labels_indices.csv").write_text(text)


@pytest.mark.parametrize(("weights", "query_dim"), [(uss, 527), (audiosep, 512)])
def test_it_separates_as_the_original(weights: Any, query_dim: int, release: Release) -> None:
    separator, encoder, config = load_published(release(weights()))
    expected = original(query_dim)
    assert separator.config == expected.config
    assert encoder.dim == query_dim
    assert config["sample_rate"] == 16000
    queries = QueryEmbedding(unit_vectors(2, 3, query_dim))
    mixture = noise(2, 1, 5000)
    with torch.inference_mode():
        target = separator.separate(mixture, queries).target
        assert torch.equal(target, expected.separate(mixture, queries).target)


def test_weights_alone_load_like_the_whole_checkpoint(release: Release, tmp_path: Path) -> None:
    torch.save(uss(), tmp_path / "pytorch_model.bin")
    direct, separator = load_published(release()), load_published(tmp_path / "pytorch_model.bin")
    expected = weights_of(direct[0])
    weights = weights_of(separator[0])
    assert all(torch.equal(weights[key], value) for key, value in expected.items())


def test_examples_are_embedded_by_its_own_tagger(release: Release) -> None:
    example = noise(1, 64000, seed=3)[0].numpy()
    _, encoder, _ = load_published(release())
    pooled = encoder.encode([AudioQuery(example, sample_rate=32000)]).pooled[0]
    with torch.inference_mode():
        expected = tiny_tagger()(torch.from_numpy(example)[None])[1][0]
    torch.testing.assert_close(pooled, expected, atol=1e-6, rtol=0)  # sums in another order


def test_converted_to_a_folder_it_keeps_its_tagger_and_labels(
    release: Release, tmp_path: Path
) -> None:
    path = release()
    write_labels(tmp_path)
    convert_to_folder(path, tmp_path / "ours")
    path.unlink()
    (tmp_path / "class_labels_indices.csv").unlink()
    (tmp_path / "ours").rename(tmp_path / "moved")
    separator, encoder, config = load_checkpoint(tmp_path / "moved")
    assert config["encoder"]["config"]["checkpoint"] == "./encoder/cnn14.safetensors"
    assert str(tmp_path) not in json.dumps(config)
    expected = original().state_dict()
    weights = weights_of(separator)
    assert all(torch.equal(weights[key], value) for key, value in expected.items())
    row = encoder.encode([TextQuery("sound 7, QUIET")]).pooled[0]
    assert row.nonzero().tolist() == [[7]]
    assert isinstance(encoder, Panns)
    tags = encoder.tag(noise(64000))[1]
    with torch.inference_mode():
        torch.testing.assert_close(tags, tiny_tagger()(noise(1, 64000))[1], atol=1e-6, rtol=0)


def test_the_command_line_converts_and_separates_with_either(
    qsep: Run, release: Release, tmp_path: Path
) -> None:
    path, recording = release(), record(tmp_path / "in.wav")
    write_labels(tmp_path)
    ours = tmp_path / "ours"
    done = qsep("models", "convert", path, "-o", ours)
    assert (done.code, done.out) == (0, f"checkpoint: {ours}\n"), done.err
    for model, out in ((path, "direct"), (ours, "folder")):
        done = qsep(
            "separate", recording, "-q", "Sound 7, quiet", "-m", model, "-o", tmp_path / out
        )
        assert done.code == 0, done.err
    name = "in.sound-7-quiet.wav"
    written = [(tmp_path / out / name).read_bytes() for out in ("direct", "folder")]
    assert written[0] == written[1]


@pytest.mark.parametrize("rate", [8000, 44100])
def test_any_rate_channels_and_a_tenth_of_a_second_give_sound(rate: int, release: Release) -> None:
    model = load(release(audiosep()), "cpu")
    recording = noise(2, rate // 10).numpy()
    result = model.separate(recording, "a dog barking", sample_rate=rate)
    assert result.target.shape == recording.shape
    np.testing.assert_allclose(result.target + result.residual, recording, atol=1e-7)
    assert result.level_db > -40


@pytest.mark.parametrize(("weights", "name"), [(uss, "Cnn14_mAP=0.431.pth"), (audiosep, CLAP)])
def test_a_missing_encoder_is_read_from_beside_the_file_or_named(
    weights: Any, name: str, release: Release, tmp_path: Path
) -> None:
    alone = {key: value for key, value in weights().items() if key.startswith("ss_model.")}
    path = release(alone)
    assert f"has no query encoder; put {name} beside it" in refusal(path)
    torch.save({"epoch": 1, "model": tiny_tagger().state_dict()}, tmp_path / name)
    assert load_published(path)[1].dim == (527 if weights is uss else 512)


def laion() -> tuple[dict[str, Tensor], Any]:
    """A small CLAP under LAION's names, and its text branch: RoBERTa, as transformers has it."""
    from transformers import ClapAudioConfig, ClapAudioModel, RobertaConfig, RobertaModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        text = RobertaModel(
            RobertaConfig(
                vocab_size=9,
                hidden_size=64,
                num_hidden_layers=2,
                num_attention_heads=1,
                intermediate_size=37,
                max_position_embeddings=20,
                type_vocab_size=1,
                layer_norm_eps=1e-5,
            )
        ).eval()
        audio = ClapAudioModel(
            ClapAudioConfig(
                patch_embeds_hidden_size=4,
                depths=[1] * 4,
                num_attention_heads=[1] * 4,
                hidden_size=32,
            )
        )
        weights = {f"text_branch.{key}": value for key, value in text.state_dict().items()}
        for tower, width in (("text", 64), ("audio", 32)):
            for layer, num_in in ((0, width), (2, 512)):
                weights[f"{tower}_projection.{layer}.weight"] = 0.1 * torch.randn(512, num_in)
                weights[f"{tower}_projection.{layer}.bias"] = 0.1 * torch.randn(512)
    state = audio.state_dict()
    for key, value in state.items():
        name = key.replace("audio_encoder.batch_norm.", "audio_branch.bn0.")
        name = name.replace("audio_encoder.", "audio_branch.")
        for ours, theirs in (
            ("layernorm_before", "norm1"),
            ("layernorm_after", "norm2"),
            ("attention.output.dense", "attn.proj"),
            ("attention.self.", "attn."),
            ("intermediate.dense", "mlp.fc1"),
            ("output.dense", "mlp.fc2"),
        ):
            name = name.replace(ours, theirs)
        if ".attn.query." in name:
            parts = [state[key.replace("query", part)] for part in ("query", "key", "value")]
            weights[name.replace("query", "qkv")] = torch.cat(parts)
        elif ".attn.key." not in name and ".attn.value." not in name:
            weights[name] = value
    weights |= {"logit_scale_a": torch.tensor(3.0), "logit_scale_t": torch.tensor(3.0)}
    weights["audio_branch.spectrogram_extractor.stft.conv_real.weight"] = torch.ones(3, 1, 4)
    weights["text_transform.sequential.0.weight"] = torch.ones(512, 512)
    return weights, text


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4, "dog": 5, "barking": 6}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


@pytest.mark.parametrize("loaded_from", ["direct", "folder"])
def test_text_is_embedded_by_audioseps_own_clap(
    loaded_from: str, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real encoder
    clap, text = laion()
    write_tokenizer(tmp_path / "roberta-base")
    weights = released(original(512))
    path = release(weights | {f"query_encoder.model.{key}": value for key, value in clap.items()})
    if loaded_from == "direct":
        encoder = load_published(path)[1]
    else:
        convert_to_folder(path, tmp_path / "ours")
        path.unlink()
        encoder = load_checkpoint(tmp_path / "ours")[1]
    pooled = encoder.encode([TextQuery("a dog barking"), TextQuery("a cat")]).pooled
    for row, tokens in zip(pooled, ([0, 4, 5, 6, 2], [0, 4, 3, 2]), strict=True):
        with torch.inference_mode():  # Wu et al. 2023: two layers after RoBERTa's pooler, unit norm
            hidden = text(torch.tensor([tokens])).pooler_output
            for layer in ("text_projection.0", "text_projection.2"):
                hidden = hidden.relu() if layer.endswith("2") else hidden
                hidden = hidden @ clap[f"{layer}.weight"].T + clap[f"{layer}.bias"]
        # 1e-6: attention by another kernel
        torch.testing.assert_close(row, hidden[0] / hidden.norm(), atol=1e-6, rtol=0)


def test_a_converted_folder_holds_the_tokenizer_and_names_no_place_outside(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real encoder
    clap, _ = laion()
    write_tokenizer(tmp_path / "words")
    weights = released(original(512))
    path = release(weights | {f"query_encoder.model.{key}": value for key, value in clap.items()})
    words = {"tokenizer": str(tmp_path / "words")}
    convert_to_folder(path, tmp_path / "first", {"encoder": words})
    folder = {"checkpoint": "", "model": str(tmp_path / "first" / "encoder")} | words
    convert_to_folder(path, tmp_path / "second", {"encoder": folder})
    hub = {"checkpoint": "", "model": "laion/clap-htsat-unfused"} | words
    convert_to_folder(path, tmp_path / "third", {"encoder": hub})
    moved = (tmp_path / "second").rename(tmp_path / "moved")
    expected = load_checkpoint(tmp_path / "first")[1].encode([TextQuery("a dog")]).pooled
    for gone in ("words", "first/encoder"):
        shutil.rmtree(tmp_path / gone)
    assert torch.equal(load_checkpoint(moved)[1].encode([TextQuery("a dog")]).pooled, expected)
    third = load_checkpoint(tmp_path / "third")[1]
    assert isinstance(third, Clap)
    assert len(third.tokenizer("a dog")["input_ids"]) == 4
    for checkpoint in (moved, tmp_path / "third"):
        assert str(tmp_path) not in (checkpoint / "config.json").read_text()


FILM = "ss_model.film.encoder_block1->conv_block1->beta1.weight"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: w.pop("ss_model.base.bn0.bias"), "ss_model.base.bn0.bias is missing"),
        (lambda w: w.pop(FILM), "beta1.weight are missing"),
        (lambda w: w.update({FILM: torch.ones(2, 300)}), "made for queries of width 300"),
        (lambda w: w.update({"ss_model.base.bn0.weight": torch.ones(257)}), "257 frequency bins"),
        (lambda w: w.update({"ss_model.base.subband.weight": torch.ones(1)}), "subband.weight are"),
        (
            lambda w: w.update({"query_net.fc1.weight": torch.ones(1)}),
            "query_net.fc1.weight are not",
        ),
        (lambda w: w["ss_model.base.stft.conv_real.weight"].mul_(1.1), "not that of a Hann window"),
        (lambda w: w["ss_model.base.after_conv.bias"].fill_(torch.inf), "not finite"),
        (lambda w: w.pop("ss_model.base.pre_conv.weight"), "not the weights of a system"),
    ],
)
def test_weights_that_do_not_fit_are_named(change: Change, reason: str, release: Release) -> None:
    assert reason in refusal(release(change=change))
