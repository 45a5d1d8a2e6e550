"""The CLAP encoder against transformers called by itself, with small checkpoints as it saves them."""

import logging
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sound_queries import RATE, audio, sound
from tiny_encoders import CLAP_WIDTH, save_clap, save_tokenizer
from torch import Tensor

from qsep.queries.files import hub
from qsep.queries.interface import AudioQuery, TextQuery
from qsep.recipes.training.build import build_book, build_query_encoder, build_task
from qsep.recipes.training.config import read_recipe
from qsep.separation.components import build_encoder

EXACT = 2e-6  # float32, unit vectors; padded there and not here


@pytest.fixture(name="folder", scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clap(tmp_path_factory.mktemp("clap"))


@pytest.fixture(name="clap", scope="module")
def loaded(folder: Path) -> Any:
    return build_encoder("clap", {"model": str(folder)})


@pytest.fixture(name="fused", scope="module")
def loaded_fused(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return build_encoder(
        "clap", {"model": str(save_clap(tmp_path_factory.mktemp("fused"), fused=True))}
    )


def by_hand(folder: Path, samples: NDArray[np.float32]) -> Tensor:
    """transformers' own chain for one recording of ten seconds or less at 48 kHz, unit norm."""
    from transformers import AutoFeatureExtractor, ClapModel

    model = ClapModel.from_pretrained(folder).eval()
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    features = extractor(samples, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        pooled = model.audio_model(**features).pooler_output
        projected = model.audio_projection(pooled)[0]
    return projected / projected.norm()


def test_text_is_encoded_as_transformers_encodes_it(folder: Path, clap: Any) -> None:
    from transformers import AutoTokenizer, ClapModel

    texts = ["dog", "a dog barking, and a band"]
    model = ClapModel.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model.text_projection(model.text_model(**tokens).pooler_output)
    expected = expected / expected.norm(dim=1, keepdim=True)
    pooled = clap.encode([TextQuery(text) for text in texts]).pooled
    assert pooled.shape == (2, CLAP_WIDTH)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, expected, atol=EXACT, rtol=0)
    assert (pooled[0] - pooled[1]).norm() > 0.1


@pytest.mark.parametrize("seconds", [10, 7.3, 3.1, 0.02])
def test_a_recording_is_encoded_as_transformers_encodes_it(
    seconds: float, folder: Path, clap: Any
) -> None:
    samples = sound(seconds)
    pooled = clap.encode([audio(samples), audio(np.stack([2 * samples, 0 * samples]))]).pooled
    expected = by_hand(folder, samples)
    torch.testing.assert_close(pooled, expected.expand(2, -1), atol=EXACT, rtol=0)


def test_different_recordings_have_different_embeddings(clap: Any) -> None:
    first, second = clap.encode([audio(sound(4)), audio(sound(4, seed=3))]).pooled
    assert (first - second).norm() > 0.02  # or the comparisons above could not fail


def test_recordings_are_resampled_to_48_khz(folder: Path, clap: Any, tmp_path: Path) -> None:
    samples = sound(6, 16000)
    soundfile.write(tmp_path / "x.wav", samples, 16000, subtype="FLOAT")
    pooled = clap.encode([AudioQuery(tmp_path / "x.wav"), audio(samples, rate=16000)]).pooled
    assert torch.equal(pooled[0], pooled[1])
    long_filter = torchaudio.functional.resample(
        torch.from_numpy(samples), 16000, RATE, lowpass_filter_width=128, rolloff=0.96
    )
    expected = by_hand(folder, long_filter.numpy())
    wrong = by_hand(folder, samples)
    # Two filters differ near 8 kHz. Were the rate taken for 48 kHz, it would be another sound.
    assert (pooled[0] - expected).norm() < 0.1 * (pooled[0] - wrong).norm()


def test_the_first_ten_seconds_of_a_longer_recording_are_the_query(
    clap: Any, fused: Any, caplog: pytest.LogCaptureFixture
) -> None:
    samples = sound(13.7)
    state = str(np.random.get_state(legacy=False))  # noqa: NPY002
    for encoder in (clap, fused):
        with caplog.at_level(logging.WARNING, "qsep"):
            pooled = encoder.encode(
                [audio(samples), audio(samples[: 10 * RATE]), audio(samples)]
            ).pooled
        assert torch.equal(pooled[0], pooled[1])
        assert torch.equal(pooled[0], pooled[2])
        assert "only its first 10 s are used" in caplog.text
    assert str(np.random.get_state(legacy=False)) == state  # noqa: NPY002


def test_models_with_feature_fusion_treat_short_clips_as_short(fused: Any) -> None:
    samples = sound(10)
    model, extractor = fused.network
    features = extractor(samples, sampling_rate=RATE, return_tensors="pt")["input_features"]
    with torch.no_grad():
        by_flag = [
            model.get_audio_features(features, is_longer=torch.tensor([[flag]])).pooler_output[0]
            for flag in (False, True)
        ]
    pooled = fused.encode([audio(samples)]).pooled[0]
    torch.testing.assert_close(pooled, by_flag[0], atol=EXACT, rtol=0)
    assert (by_flag[0] - by_flag[1]).norm() > 1e-3


def test_several_examples_are_averaged_and_brought_to_unit_norm(clap: Any) -> None:
    one, two, three = sound(2), sound(3, seed=1), sound(1, seed=2)
    rows = clap.encode([audio(one), audio(two), audio(three)]).pooled
    mean = rows.sum(dim=0)
    pooled = clap.encode([audio(one, two, three)]).pooled[0]
    torch.testing.assert_close(pooled, mean / mean.norm(), atol=EXACT, rtol=0)
    assert mean.norm() < 3 - 1e-4


def test_an_embedding_does_not_depend_on_the_other_queries(clap: Any) -> None:
    queries = [TextQuery("dog"), audio(sound(1)), TextQuery("a dog barking in the dark, far away")]
    together = clap.encode(queries).pooled
    for query, row in zip(queries, together, strict=True):
        assert torch.equal(clap.encode([query]).pooled[0], row)


def test_a_text_longer_than_the_network_reads_is_cut(clap: Any) -> None:
    # 40 positions, two of them before the first token: 38 tokens, of which two frame the text.
    pooled = clap.encode([TextQuery("d" * 36), TextQuery("d" * 99), TextQuery("d" * 35)]).pooled
    assert torch.equal(pooled[0], pooled[1])
    assert not torch.equal(pooled[0], pooled[2])


def test_silence_has_an_embedding(clap: Any) -> None:
    pooled = clap.encode([audio(np.zeros(9, np.float32))]).pooled
    assert math.isclose(float(pooled.norm()), 1, abs_tol=1e-6)


BUILD = """
import sys
from qsep.separation.components import build_component
import qsep.queries.encoders
found = build_component(qsep.queries.encoders, "clap", {})
print(found.dim, found.unit_norm, "transformers" in sys.modules)
"""


def test_building_it_imports_no_large_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUILD], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "512 True False\n"


def test_the_fingerprint_changes_with_every_setting_that_changes_embeddings(
    folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    other = save_clap(tmp_path / "other", seed=1)
    words = Path(shutil.copytree(folder, tmp_path / "words"))
    (words / "merges.txt").write_text("#version: 0.2\n")

    def fingerprint(**settings: str) -> str:
        text: str = build_encoder("clap", settings).fingerprint
        return text

    assert fingerprint(model=str(copy)) == fingerprint(model=str(folder))
    actual = [fingerprint(model=str(path)) for path in (folder, other, words)]
    actual += [fingerprint(), fingerprint(model="laion/larger_clap_general")]
    actual += [fingerprint(tokenizer="roberta-large")]
    assert len(set(actual)) == len(actual)


def test_the_tokenizer_may_be_in_another_folder(folder: Path, clap: Any, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(folder, tmp_path / "bare"))
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (bare / name).unlink()
    words = save_tokenizer(tmp_path / "words")
    encoder = build_encoder("clap", {"model": str(bare), "tokenizer": str(words)})
    query = TextQuery("a dog barking")
    assert torch.equal(encoder.encode([query]).pooled, clap.encode([query]).pooled)


def test_a_folder_without_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(folder, tmp_path / "bare"))
    (bare / "vocab.json").unlink()
    (bare / "merges.txt").unlink()
    encoder = build_encoder("clap", {"model": str(bare)})
    with pytest.raises(ValueError, match="its tokenizer's files are missing"):
        encoder.encode([TextQuery("dog")])
    encoder.encode([audio(sound(1))])  # needs none


def test_an_unavailable_model_gives_one_line_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreachable(repository: str, name: str) -> None:
        raise ValueError(f"{repository} cannot be fetched (no network)")

    monkeypatch.setattr(hub, "check_reachable", unreachable)
    with pytest.raises(ValueError) as caught:
        build_encoder("clap", {"model": "nobody/no-such-clap"}).encode([TextQuery("dog")])
    assert str(caught.value) == (
        "nobody/no-such-clap is not here: nobody/no-such-clap cannot be fetched (no network); run "
        "'hf download nobody/no-such-clap' with a network, or name a folder of it in the "
        "encoder's settings"
    )


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"model": "clap"}, "neither a folder nor a name on the hub"),
        ({"model": "./no/such/folder"}, "neither a folder nor a name on the hub"),
        ({"checkpoint": "nowhere.pt"}, "nowhere.pt: no such file"),
        ({"model": "."}, "not the folder of a CLAP model"),
    ],
)
def test_invalid_settings_are_refused(
    settings: dict[str, str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=complaint) as caught:
        build_encoder("clap", settings)
    assert "\n" not in str(caught.value)


def test_a_damaged_folder_gives_one_line(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="copy: damaged") as caught:
        build_encoder("clap", {"model": str(copy)}).encode([TextQuery("dog")])
    assert "\n" not in str(caught.value)


def test_a_folder_that_lacks_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    weights = load_file(copy / "model.safetensors")
    del weights["text_projection.linear2.bias"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"text_projection\.linear2\.bias are missing"):
        build_encoder("clap", {"model": str(copy)}).encode([TextQuery("dog")])


@pytest.mark.parametrize("name", ["clipsep-sounds21", "clipsep"])
def test_one_line_of_a_recipe_replaces_another_encoder_by_it(name: str) -> None:
    recipe, _ = read_recipe(name, ["encoder.kind=clap", "data.phrases=sounds21"])
    kind, _, cached = build_query_encoder(recipe)
    separator = build_task(recipe, build_book(recipe), cached).model
    assert (kind, separator.query_dim) == ("clap", 512)
