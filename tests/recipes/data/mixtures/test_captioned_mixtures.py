"""Mixtures of captioned mixtures: their sources, queries and known parts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from captioned_recipe import labelled_recordings, tiny_overrides
from parity.filling import glide
from tiny import text_of

from qsep.queries.encoders.joint import JointEncoder
from qsep.queries.interface import TextQuery
from qsep.recipes.data.captions.phrases import sound_phrases
from qsep.recipes.data.captions.scenes import (
    CaptionedScenes,
    LabelledScenes,
    Levels,
    divided,
    separable,
)
from qsep.recipes.data.captions.stored_phrases import phrase_parser
from qsep.recipes.data.mixtures.augment import AugmentConfig
from qsep.recipes.data.mixtures.captioned import CaptionedMixConfig, CaptionedMixtures
from qsep.recipes.data.mixtures.segments import CaptionedClip
from qsep.recipes.data.wording import PhraseBook, load_phrase_book
from qsep.recipes.training.build import build_book, build_data, build_query_encoder, build_task
from qsep.recipes.training.config import read_recipe
from qsep.recipes.training.query_batch import encode_batch

RATE = 8000
STILL = AugmentConfig(speed_probability=0, filter_probability=0, reverb_probability=0)
LABELS = ("bell", "dog", "hum", "rain", "violin")
BOOK = PhraseBook(
    LABELS,
    ("a bell ringing", "a dog barking", "a mains hum", "rain falling", "a violin"),
    {
        "bell": ("church bells ringing", "Ding-Dong"),
        "dog": ("a dog barking", "barks and growls", "cat"),
        "hum": ("a low hum",),
        "rain": ("heavy rain",),
        "violin": ("a violin", "fiddle with a bow"),
    },
    (),
)


def tones(num: int = 3) -> dict[str, list[np.ndarray]]:
    """Each label a frequency of its own, so that it can be found in a mixture: 200, 400, … Hz."""
    time = np.arange(6000) / RATE
    return {
        label: [
            np.sin(2 * np.pi * 200 * (index + 1) * time + seed).astype(np.float32)
            for seed in range(num)
        ]
        for index, label in enumerate(LABELS)
    }


def labels_in(waveform: torch.Tensor) -> set[str]:
    """Labels whose tone is loud in (t,)."""
    spectrum = np.abs(np.fft.rfft(waveform.numpy() * np.hanning(len(waveform))))
    bins = [round(200 * (index + 1) * len(waveform) / RATE) for index in range(len(LABELS))]
    return {
        label
        for label, index in zip(LABELS, bins, strict=True)
        if spectrum[index - 2 : index + 3].max() > 0.05 * spectrum.max()
    }


def called(query: Any) -> str:
    """The label whose wording a query is."""
    (label,) = [
        label
        for label, name in zip(LABELS, BOOK.names, strict=True)
        if query.text in (name, *(phrase.lower() for phrase in BOOK.phrases[label]))
    ]
    return label


def scenes(**changes: Any) -> LabelledScenes:
    alone = changes.pop("alone", tones())
    return LabelledScenes(alone, tones(), BOOK, 2, Levels(**changes), STILL, RATE)


def mixtures(**changes: Any) -> CaptionedMixtures:
    settings = {"segment_samples": 4000, "num_phrases": 2} | changes
    return CaptionedMixtures(scenes(), CaptionedMixConfig(**settings), RATE, seed=3)


def test_two_mixtures_of_two_sounds_and_their_four_parts_by_name() -> None:
    data = mixtures()
    batch = data.collate([data[draw] for draw in range(5)])
    assert batch.sources.shape == (5, 6, 1, 4000)
    assert torch.equal(batch.mixture, batch.sources.sum(dim=1))
    assert batch.part_of is not None
    assert batch.part_of.tolist() == [[-1, -1, 0, 0, 1, 1]] * 5
    assert not batch.sources[:, 2:].any()
    for item in range(5):
        names = set()
        for whole, parts in ((0, (2, 3)), (1, (4, 5))):
            labels = {called(batch.queries[item][part]) for part in parts}
            assert labels == labels_in(batch.sources[item, whole, 0])
            caption = batch.queries[item][whole]
            assert isinstance(caption, TextQuery)
            texts = [text_of(batch.queries[item][part]) for part in parts]
            assert sound_phrases(caption.text) == texts
            names |= labels
        assert len(names) == 4  # no label twice in an item


def test_without_phrases_only_captions_are_queries() -> None:
    data = mixtures(phrases=False)
    batch = data.collate([data[0], data[1]])
    assert batch.sources.shape[1] == 2
    assert batch.part_of is not None
    assert (batch.part_of == -1).all()
    assert batch.queried().all()


def test_a_share_of_the_items_are_mixtures_of_single_sounds_evenly_spread() -> None:
    data = mixtures(supervised_share=0.25)
    kinds = [data.config.supervised(draw) for draw in range(16)]
    assert sum(kinds[:8]) == sum(kinds[8:]) == 2
    draw = kinds.index(True)
    sources, queries, part_of, _ = data[draw]
    assert (part_of == -1).all()
    assert queries[2:] == [None] * 4
    for index in range(2):
        assert labels_in(sources[index, 0]) == {called(queries[index])}


def test_an_item_is_a_function_of_seed_and_draw() -> None:
    first, again = mixtures()[7], mixtures()[7]
    assert torch.equal(first[0], again[0])
    assert first[1] == again[1]
    assert not torch.equal(first[0], mixtures()[8][0])


def test_levels_lie_around_a_tenth_of_full_scale() -> None:
    rng = np.random.default_rng(0)
    levels = [
        20 * np.log10(np.sqrt(np.mean(waveform**2)))
        for _ in range(40)
        for waveform, _ in scenes(level_db=3.0).singles(2, 4000, rng)
    ]
    assert -23 - 0.1 < min(levels) < -22
    assert -18 < max(levels) < -17 + 0.1


def test_wordings_too_close_to_the_caption_are_left_out() -> None:
    kept = scenes().wordings
    assert kept["dog"] == ["a dog barking"]  # neither "barks and growls" nor "cat"
    assert kept["violin"] == ["a violin"]
    assert "ding-dong" in kept["bell"]
    assert separable(["a man"]) == []


def test_every_class_of_sounds21_keeps_some_wordings() -> None:
    book = load_phrase_book("sounds21")
    for label in book.labels:
        assert len(separable(book.phrases[label])) >= 10, label


def test_recordings_used_alone_are_in_no_mixture() -> None:
    takes = {"bell": 20, "dog": 5, "hum": 2}
    by_label = {label: [np.array(take) for take in range(num)] for label, num in takes.items()}
    alone, together = divided(by_label, 0.1)
    assert {label: len(actual) for label, actual in alone.items()} == {
        "bell": 2,
        "dog": 1,
        "hum": 1,
    }
    for label, recordings in by_label.items():
        assert sorted([*alone[label], *together[label]]) == recordings
    assert divided(by_label, 1.0) == (by_label, by_label)
    assert divided(by_label, 0.0) == ({}, by_label)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"supervised_share": 1.2}, "supervised_share is 1.2; expected 0 to 1"),
        ({"num_sounds": 0}, "num_sounds is 0; expected 1 to 65536"),
        ({"supervised_share": 0.5, "single_fraction": 0.0}, "needs single sounds"),
    ],
)
def test_invalid_settings_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        CaptionedMixConfig(**changes)


def test_mixtures_need_as_many_labels_as_they_hold() -> None:
    data = mixtures(num_mixtures=3)
    with pytest.raises(ValueError, match="6 different sounds are mixed, but there are 5"):
        data[0]


@pytest.fixture(name="captions")
def captioned_recordings(tmp_path: Path) -> Path:
    """Four captioned recordings, of two sounds each but for the last; train.json and dev.json."""
    captions = [
        "A dog barks and a man speaks",
        "Rain falling on a roof while thunder rumbles in the distance",
        "An engine idles, then a horn honks, a bell rings and birds chirp",
        "A baby crying",
        "A clock ticking",
    ]
    items = []
    for index, caption in enumerate(captions):
        soundfile.write(tmp_path / f"{index}.wav", glide(9000, RATE) * (0.2 + 0.1 * index), RATE)
        items.append({"wav": f"{index}.wav", "caption": caption})
    for split in ("train", "dev"):
        (tmp_path / f"{split}.json").write_text(json.dumps({"data": items}))
    return tmp_path


def test_recordings_with_captions_are_taken_as_they_are(captions: Path) -> None:
    clips = [
        CaptionedClip(item["wav"], (item["caption"],))
        for item in json.loads((captions / "train.json").read_text())["data"]
    ]
    source = CaptionedScenes(captions, clips, Levels(gains=(0.5, 0.5)), RATE)
    assert source.single == ("A baby crying", "A clock ticking")
    actual = source.mixtures(5, 8000, np.random.default_rng(0))
    assert {caption for _, caption in actual} == {clip.captions[0] for clip in clips}
    by_caption = {caption: waveform for waveform, caption in actual}
    loud, soft = by_caption["A clock ticking"], by_caption["A dog barks and a man speaks"]
    assert np.abs(loud).max() / np.abs(soft).max() == pytest.approx(3, rel=0.1)
    assert np.abs(loud).max() < 0.5 / 5


def test_a_caption_of_too_many_sounds_is_one_query(captions: Path) -> None:
    recipe, _ = read_recipe("bimodal", [f"data.folder={captions}", "mix.segment_samples=4000"])
    data: Any = build_data(recipe, build_book(recipe), RATE, validation=False)
    whole = "An engine idles, then a horn honks, a bell rings and birds chirp"
    items = [data[draw] for draw in range(20)]
    seen = False
    for _, queries, part_of, _ in items:
        for index in range(2):
            if queries[index] == TextQuery(whole):
                seen = True
                assert not (part_of == index).any()
            else:
                assert (part_of == index).sum() in (1, 2)
    assert seen


def test_phrases_from_a_file_replace_those_of_the_rules(captions: Path) -> None:
    whole = "An engine idles, then a horn honks, a bell rings and birds chirp"
    phrases = {whole: ["an engine", "a horn"], "A baby crying": ["a baby", "a room's hum"]}
    (captions / "phrases.json").write_text(json.dumps(phrases))
    recipe, _ = read_recipe("bimodal", [f"data.folder={captions}", "mix.segment_samples=4000"])
    data = build_data(recipe, build_book(recipe), RATE, validation=False)
    assert isinstance(data, CaptionedMixtures)
    assert isinstance(data.scenes, CaptionedScenes)
    assert data.scenes.single == ("A clock ticking",)
    assert data.scenes.parse("A dog barks and a man speaks") == ["a dog barks", "a man speaks"]
    parts = set()
    for _, queries, part_of, _ in (data[draw] for draw in range(20)):
        for index in range(2):
            if queries[index] == TextQuery(whole):
                slots = (part_of == index).nonzero()[:, 0].tolist()
                parts |= {text_of(queries[slot]) for slot in slots}
    assert parts == {"an engine", "a horn"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [("[]", "expected captions with lists"), ('{"a": []}', "caption 'a' has no phrases")],
)
def test_an_invalid_phrases_file_is_refused(content: str, reason: str, captions: Path) -> None:
    (captions / "phrases.json").write_text(content)
    with pytest.raises(ValueError, match=reason):
        phrase_parser(captions)


def test_the_recipe_on_sounds21_learns_from_parts_and_its_judge_is_its_encoder(
    tmp_path: Path,
) -> None:
    folder = labelled_recordings(tmp_path)
    recipe, _ = read_recipe("bimodal-sounds21", tiny_overrides(folder))
    _, encoder, cached = build_query_encoder(recipe)
    book = build_book(recipe)
    task = build_task(recipe, book, cached)
    data = build_data(recipe, book, 8000, validation=False)
    batch = data.collate([data[0], data[1]])
    queries = encode_batch(cached, batch.queries)
    generator = torch.Generator().manual_seed(0)
    task.model.train()
    terms = [set(task.loss(task.model, batch, queries, generator, None).terms) for _ in range(2)]
    assert terms == [{"separation"}, {"separation", "consistency", "agreement"}]
    assert isinstance(task.model.sound_encoder, JointEncoder)
    assert task.model.sound_encoder is encoder
    assert task.score(task.model, cached, build_data(recipe, book, 8000, True), 2).merits
