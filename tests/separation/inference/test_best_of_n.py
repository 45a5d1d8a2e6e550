"""Several draws of a generative separator, judged, and the best kept."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import Run, record
from tiny import StubEncoder, noise, rng, tiny_separator, unit_vectors
from tiny_settings import QUERY_DIM, RATE
from torch import Tensor

from qsep.queries.cache import CachedEncoder
from qsep.queries.constraints import Constraints
from qsep.queries.interface import AudioQuery, Query, QueryEmbedding, QueryEncoder, TextQuery
from qsep.queries.media import read_recording
from qsep.separation.api import Model
from qsep.separation.inference.best_of_n import BestOfNSeparator, ByConsistency, ByEmbedding
from qsep.separation.inference.chunks import geometry
from qsep.separation.storage.checkpoint import describe, save_checkpoint


class Prefers:
    """Scores written down beforehand, (k, s)."""

    name = "list"

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores

    def __call__(self, mixture: Tensor, candidates: Tensor, sample_rate: int) -> Tensor:
        assert candidates.shape[:2] == self.scores.shape
        return self.scores


def random_queries(batch: int, num: int) -> QueryEmbedding:
    return QueryEmbedding(unit_vectors(batch, num, QUERY_DIM, seed=9))


@pytest.mark.parametrize("kind", ["flow_unet", "flowsep"])
@torch.inference_mode()
def test_each_query_gets_the_candidate_that_is_judged_best_drawn_from_its_number_as_seed(
    kind: str,
) -> None:
    separator = tiny_separator(kind)
    mixture, queries = noise(1, 2, 1500), random_queries(1, 3)
    scores = torch.tensor([[0.1, 0.9, 0.2], [0.3, 0.1, 0.1], [0.2, 0.1, 0.5], [0.0, 0.2, 0.3]])
    best = BestOfNSeparator(separator, 4, Prefers(scores))
    target = best.separate(mixture, queries).target[0]
    for query, seed in enumerate((1, 0, 2)):
        drawn = separator.separate(mixture, queries, rng(seed)).target[0, query]
        # Batched sums differ.
        torch.testing.assert_close(target[query], drawn, atol=1e-5, rtol=1e-3)
    assert [choice["candidate"] for choice in best.choices[0]] == [1, 0, 2]
    assert best.choices[0][1]["scores"] == pytest.approx([0.9, 0.1, 0.1, 0.2])


@pytest.mark.parametrize("kind", ["flow_unet", "flowsep"])
@torch.inference_mode()
def test_each_item_of_a_batch_starts_from_its_own_generator(kind: str) -> None:
    separator = tiny_separator(kind)
    mixture, queries = (
        noise(1, 1, 1500).expand(2, -1, -1),
        random_queries(1, 2).map(lambda e: e.expand(2, -1, -1)),
    )
    target = separator.separate(mixture, queries, [rng(3), rng(4)]).target
    for item, seed in enumerate((3, 4)):
        alone = separator.separate(mixture[:1], random_queries(1, 2), rng(seed)).target[0]
        torch.testing.assert_close(target[item], alone, atol=1e-5, rtol=1e-3)
    assert (target[0] - target[1]).abs().max() > 1e-3


def test_consistency_is_the_share_of_energy_no_louder_than_the_mixture() -> None:
    mixture = noise(2, RATE, seed=1)
    other = noise(2, RATE, seed=2)
    candidates = torch.stack([0.5 * mixture, 2 * mixture, 0.01 * other])[:, None]
    scores = ByConsistency()(mixture, candidates, RATE)
    assert scores.shape == (3, 1)
    assert scores[0, 0] == pytest.approx(1.0)
    assert scores[1, 0] == pytest.approx(0.25)  # |X|^2 of 4 |X|^2
    assert 0.99 < scores[2, 0] < 1


class AngleEncoder(QueryEncoder):
    """Embeds in the plane: words have an angle, recordings the ratio of two samples."""

    modalities: frozenset[type[Query]] = frozenset({TextQuery, AudioQuery})
    config: Any = None
    dim, fingerprint, unit_norm = 2, "hears", True

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        return QueryEmbedding(torch.stack([self.vector(query) for query in queries]))

    def vector(self, query: Query) -> Tensor:
        if isinstance(query, TextQuery):
            angle = torch.tensor(float(query.text))
            return torch.stack([angle.cos(), angle.sin()])
        assert isinstance(query, AudioQuery)
        return torch.from_numpy(read_recording(query.examples[0], RATE)[:2].copy())


def test_an_embedding_judges_by_cosine_to_each_query() -> None:
    candidates = torch.tensor([[3.0, 0.0], [0.0, 2.0], [1.0, 1.0]])[:, None, None].expand(
        3, 2, 1, 2
    )
    judge = ByEmbedding(AngleEncoder(), [TextQuery("0"), TextQuery("1.5707963"), TextQuery("7")])
    half = 0.5**0.5
    expected = torch.tensor([[1.0, 0.0], [0.0, 1.0], [half, half]])
    torch.testing.assert_close(judge(candidates[0, 0], candidates, RATE), expected)


def test_best_of_n_is_repeatable_and_one_candidate_changes_nothing() -> None:
    model = Model(tiny_separator("flow_unet"), StubEncoder(), "tiny", "weights")
    audio = noise(2, 3000).numpy()
    plain = model.separate(audio, "a dog").target
    assert np.array_equal(plain, model.best_of_n(1).separate(audio, "a dog").target)
    chosen = [model.best_of_n(5, "consistency").separate(audio, "a dog").target for _ in range(2)]
    assert np.array_equal(*chosen)
    assert model.best_of_n(5, "consistency").fingerprint != model.fingerprint == "weights"


def saved(folder: Path) -> Path:
    from qsep.separation.components import build_encoder

    encoder = build_encoder("labels", {"labels": ["dog", "rain", "sea", "a", "b", "c"]})
    separator = tiny_separator("flow_unet")
    description = describe("flow_unet", separator, "labels", encoder, {})
    save_checkpoint(folder, description, separator.state_dict(), "# Card\n")
    return folder


def test_the_choice_is_explained_in_json(qsep: Run, folder: Path) -> None:
    record(folder / "in.wav", 9000, RATE, num_channels=2)
    arguments = ["separate", "in.wav", "-q", "dog", "-q", "rain", "-m", saved(folder / "model")]
    outcome = qsep(*arguments, "--candidates", "3", "--judge", "consistency", "--json")
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    assert [row["candidates"]["num"] for row in rows] == [3, 3]
    for row in rows:
        (chunk,) = row["candidates"]["chunks"]
        assert len(chunk["scores"]) == 3
        assert chunk["scores"][chunk["candidate"]] == max(chunk["scores"])


def test_deterministic_models_and_unknown_judges_are_refused(
    qsep: Run, folder: Path, tiny_model: Path
) -> None:
    record(folder / "in.wav", 900, RATE)
    arguments = ["separate", "in.wav", "-q", "dog", "-m", tiny_model]
    assert "not generative" in qsep(*arguments, "--candidates", "2").error
    assert "'ears'" in qsep(*arguments, "--judge", "ears").error
    assert [path.name for path in folder.glob("*.wav")] == ["in.wav"]


def test_preparing_queries_frees_the_encoder_unless_it_is_the_judge(tmp_path: Path) -> None:
    encoder, query = StubEncoder(), TextQuery("rain")
    vars(encoder)["network"] = "large"
    cached = CachedEncoder(encoder, tmp_path / "cache.sqlite")
    model = Model(tiny_separator("flow_unet"), cached, "tiny")
    model.best_of_n(2).prepare_queries([query])
    assert "network" in vars(encoder)
    model.prepare_queries([query])
    assert "network" not in vars(encoder)
    assert encoder.calls == [["rain"]]


@pytest.mark.slow
def test_text_is_encoded_once_for_all_chunks_windows_and_candidates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("qsep.separation.inference.chunks.CHUNK_SECONDS", 1.0)
    separator, encoder = tiny_separator("flowsep"), StubEncoder()
    calls = []
    separator.unet.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    model = Model(separator, encoder, "tiny").best_of_n(2, "consistency")
    names = ["a dog", "rain"]
    cut = geometry(model.choosing_separator([TextQuery(name) for name in names], Constraints()))
    num_samples = 2 * cut.step + 100
    model.separate(noise(1, num_samples).numpy(), names, RATE)
    assert encoder.calls == [names]
    assert set(calls) == {2 * 2}  # candidates times queries, of one channel
    num_windows = num_samples / separator.cell_samples
    assert len(calls) > separator.config.sampling.num_steps * num_windows  # some of them twice
