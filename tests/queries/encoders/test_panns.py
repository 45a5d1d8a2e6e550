"""The tagger as query encoder: examples and class names become queries as in USS."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import noise, tiny_tagger
from tiny_encoders import save_tiny_panns

from qsep.queries.encoders.panns import Config, Panns, build, read_labels, without_silence
from qsep.queries.interface import AudioQuery, Query, TextQuery

RATE = 32000


@pytest.fixture(name="folder")
def released(tmp_path: Path) -> Path:
    """Cnn14.pth as PANNs release it, and AudioSet's list of labels beside it."""
    return save_tiny_panns(tmp_path)


def encoder(folder: Path, **settings: Any) -> Panns:
    return build(Config(str(folder / "Cnn14.pth"), **settings))


def example(num_samples: int, seed: int = 0, rate: int = RATE) -> AudioQuery:
    return AudioQuery(noise(num_samples, seed=seed).numpy(), sample_rate=rate)


@torch.inference_mode()
def probabilities(*segments: torch.Tensor) -> torch.Tensor:
    return tiny_tagger()(torch.stack(segments))[1]


def test_an_example_is_the_mean_over_its_two_second_segments_the_last_filled_from_its_start(
    folder: Path,
) -> None:
    samples = noise(2 * 64000 + 9600, seed=4)
    pooled = encoder(folder).encode([AudioQuery(samples.numpy(), sample_rate=RATE)]).pooled[0]
    last = torch.cat([samples[128000:], samples[: 64000 - 9600]])
    expected = probabilities(samples[:64000], samples[64000:128000], last).mean(dim=0)
    torch.testing.assert_close(pooled, expected, atol=1e-6, rtol=0)  # sums in another order


def test_examples_have_equal_weights_whatever_their_lengths(folder: Path) -> None:
    short, long = noise(16000, seed=5).numpy(), noise(150000, seed=6).numpy()
    panns = encoder(folder)
    both = panns.encode([AudioQuery(short, long, sample_rate=RATE)]).pooled[0]
    each = [panns.encode([AudioQuery(one, sample_rate=RATE)]).pooled[0] for one in (short, long)]
    torch.testing.assert_close(both, (each[0] + each[1]) / 2, atol=1e-7, rtol=0)
    assert (each[0] - each[1]).abs().max() > 1e-4


def test_several_queries_are_one_row_each(folder: Path) -> None:
    panns = encoder(folder)
    queries: list[Query] = [
        example(9000, seed=1),
        TextQuery("Sound 3, quiet"),
        example(9000, seed=2),
    ]
    pooled = panns.encode(queries).pooled
    assert pooled.shape == (3, 527)
    for row, query in enumerate(queries):
        assert torch.equal(pooled[row], panns.encode([query]).pooled[0])


@pytest.mark.parametrize("num_samples", [1, 100, 3201])
def test_the_shortest_examples_are_embedded(num_samples: int, folder: Path) -> None:
    pooled = encoder(folder).encode([example(num_samples)]).pooled
    assert ((pooled > 0) & (pooled < 1)).all()


def test_examples_at_other_rates_are_resampled(folder: Path) -> None:
    time = np.arange(2 * 48000) / 48000
    panns = encoder(folder)
    tones = [0.5 * np.sin(2 * np.pi * 440 * time[:: 48000 // rate]) for rate in (48000, 16000)]
    embedding = [
        panns.encode([AudioQuery(tone, sample_rate=rate)]).pooled
        for tone, rate in zip(tones, (48000, 16000), strict=True)
    ]
    # What the filters' ends leave.
    torch.testing.assert_close(embedding[0], embedding[1], atol=1e-3, rtol=0)
    assert (panns.encode([example(64000)]).pooled - embedding[0]).abs().max() > 1e-2


def test_tenths_of_a_second_that_stay_silent_are_left_out() -> None:
    loud, faint = noise(3200, seed=1, scale=0.3), noise(3200, seed=2, scale=0.003)
    mixed = torch.cat([faint, loud, faint, -loud, faint[:1000]])
    assert torch.equal(without_silence(mixed), torch.cat([loud, -loud]))
    assert torch.equal(without_silence(torch.cat([faint, faint])), torch.cat([faint, faint]))


def test_the_network_runs_without_dropout_and_batch_statistics(folder: Path) -> None:
    panns = encoder(folder)
    embeddings, tags = panns.tag(noise(64001))
    assert embeddings.shape == (2, 9)
    assert tags.shape == (2, 527)
    torch.testing.assert_close(tags[:1], panns.tag(noise(64001)[:64000])[1], atol=0, rtol=0)
    assert embeddings.min() >= 0


def test_a_class_name_is_a_one_hot_embedding(folder: Path) -> None:
    pooled = encoder(folder).encode([TextQuery(" sound 526, QUIET ")]).pooled
    assert pooled.nonzero().tolist() == [[0, 526]]
    assert pooled.max() == 1


def test_another_word_is_refused_with_classes_that_hold_it(folder: Path) -> None:
    with pytest.raises(
        ValueError, match="'quiet' is not one of AudioSet's 527 classes, such as Sound 0, quiet"
    ):
        encoder(folder).encode([TextQuery("quiet")])


def test_the_embedding_output_reads_examples_alone(folder: Path) -> None:
    panns = encoder(folder, output="embedding")
    assert panns.dim == 2048
    assert panns.modalities == {AudioQuery}
    with pytest.raises(ValueError, match="reads audio, not text"):
        panns.encode([TextQuery("Sound 3, quiet")])


def test_the_fingerprint_tells_weights_outputs_and_labels_apart(folder: Path) -> None:
    fingerprints = {encoder(folder).fingerprint, encoder(folder, output="embedding").fingerprint}
    (folder / "class_labels_indices.csv").unlink()
    fingerprints.add(encoder(folder).fingerprint)
    state = torch.load(folder / "Cnn14.pth", weights_only=True)
    state["model"]["fc1.bias"] += 1
    torch.save(state, folder / "Cnn14.pth")
    fingerprints.add(encoder(folder).fingerprint)
    assert len(fingerprints) == 4


def test_building_does_not_read_the_weights(folder: Path) -> None:
    (folder / "Cnn14.pth").write_bytes(b"not weights")
    panns = encoder(folder)
    with pytest.raises(ValueError, match="cannot be read as weights alone"):
        panns.encode([example(9000)])


def test_without_a_list_beside_it_the_classes_are_audiosets(folder: Path) -> None:
    (folder / "class_labels_indices.csv").unlink()
    panns = encoder(folder)
    assert panns.encode([TextQuery("violin, fiddle")]).pooled[0].argmax() == 191
    with pytest.raises(ValueError, match=r"no\.csv: no such file; it has to name the tagger's"):
        encoder(folder, labels=str(folder / "no.csv")).encode([TextQuery("Violin, fiddle")])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b\n1,2\n", "expected columns index, mid, display_name"),
        ("index,mid,display_name\n0,/m/0,Speech\n", "expected the classes 0 to 526"),
        ("index,mid,display_name\nzero,/m/0,Speech\n", "expected columns"),
    ],
)
def test_a_list_of_something_else_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_labels(tmp_path / "labels.csv")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: w.pop("fc1.bias"), "fc1.bias is missing"),
        (lambda w: w.pop("conv_block5.conv2.weight"), "conv_block5.conv2.weight is missing"),
        (lambda w: w.update({"gru.weight": torch.ones(1)}), "gru.weight is not part of it"),
        (lambda w: w["fc1.bias"].fill_(torch.nan), "fc1.bias are not finite"),
        (lambda w: w["logmel_extractor.melW"].mul_(1.1), "its mel bands are not those of Cnn14"),
        (
            lambda w: w.update(
                {"spectrogram_extractor.stft.conv_real.weight": torch.ones(257, 1, 512)}
            ),
            "made for windows of 512 samples",
        ),
    ],
)
def test_weights_of_something_else_are_refused(change: Any, reason: str, folder: Path) -> None:
    content = torch.load(folder / "Cnn14.pth", weights_only=True)
    change(content["model"])
    torch.save(content, folder / "Cnn14.pth")
    with pytest.raises(ValueError, match=reason):
        encoder(folder).encode([example(9000)])


def test_missing_and_unknown_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Cnn14\.pth: no such file; give Cnn14's weights"):
        encoder(tmp_path)
    with pytest.raises(ValueError, match="output is 'logits'; expected one of probabilities, "):
        Config("x.pth", output="logits")
