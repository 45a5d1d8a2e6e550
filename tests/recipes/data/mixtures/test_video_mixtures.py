"""Items of videos: cut, drawn and queried as Dong et al. (2023) do, a function of their number alone."""

import logging
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from prepared import prepared_folder, write_index
from tiny import text_of

from qsep.queries.interface import ImageQuery, MixedQuery, Query, TextQuery
from qsep.queries.media import read_picture
from qsep.recipes.data.index import VideoClip, read_index
from qsep.recipes.data.mixtures.videos import (
    QueryChooser,
    VideoMixConfig,
    VideoMixtures,
    read_cut,
    training_picks,
    validation_picks,
)
from qsep.recipes.data.wording import PhraseBook, book_of_labels

RATE = 1000
LABELS = ("dog", "rain", "violin")
TRAIN = (("dog", 9), ("rain", 8), ("dog", 7), ("violin", 12))
VAL = (("rain", 8), ("violin", 11), ("dog", 9))
CONFIG = VideoMixConfig(segment_samples=101, num_sources=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_folder(tmp_path_factory.mktemp("prepared"), RATE, TRAIN, VAL)


def mixtures(
    folder: Path,
    queries: str | tuple[float, ...] = "text",
    validation: bool = False,
    book: PhraseBook | None = None,
    batch_size: int = 2,
    config: VideoMixConfig = CONFIG,
) -> VideoMixtures:
    chooser = QueryChooser(queries, seed=5, batch_size=batch_size, validation=validation)
    clips = read_index(folder, "val" if validation else "train")
    book = book or book_of_labels(LABELS)
    return VideoMixtures(folder, clips, book, config, chooser, RATE, 5, validation)


def ramp(path: Path, num_samples: int, rate: int = 1000) -> Path:
    """Samples 1, 2, 3 … of 32768."""
    soundfile.write(path, np.arange(1, num_samples + 1, dtype=np.int16), rate, subtype="PCM_16")
    return path


# By hand, at 10 Hz: 7 samples around the centre c are those from c - 3 up to c + 2, and a zero.
@pytest.mark.parametrize(
    ("num_samples", "centre_seconds", "expected"),
    [
        (20, 1.0, [8, 9, 10, 11, 12, 13, 0]),
        (20, 1.09, [8, 9, 10, 11, 12, 13, 0]),  # the centre is rounded down
        (20, 0.1, [0, 0, 1, 2, 3, 4, 0]),
        (20, 1.9, [17, 18, 19, 20, 0, 0, 0]),
        (20, 2.2, [20, 0, 0, 0, 0, 0, 0]),
        (7, 0.3, [1, 2, 3, 4, 5, 6, 0]),  # as long as the cut: not repeated
        (3, 0.5, [3, 1, 2, 3, 1, 2, 0]),  # shorter: repeated three times
        (6, 0.9, [1, 2, 3, 4, 5, 6, 0]),
    ],
)
def test_segments_are_cut_as_in_the_paper(
    tmp_path: Path, num_samples: int, centre_seconds: float, expected: list[int]
) -> None:
    actual = read_cut(ramp(tmp_path / "ramp.wav", num_samples), centre_seconds / 100, 7)
    assert actual.dtype == np.float32
    assert (actual * 32768).tolist() == expected


def test_channels_are_averaged(tmp_path: Path) -> None:
    stereo = np.array([[100, 300], [0, 50], [8, 8]], np.int16)
    soundfile.write(tmp_path / "stereo.wav", stereo, 1000, subtype="PCM_16")
    assert (read_cut(tmp_path / "stereo.wav", 0.001, 3) * 32768).tolist() == [200, 25, 0]


@pytest.mark.parametrize(("num_samples", "message"), [(0, "no audio"), (20, "ends before")])
def test_a_recording_without_the_cut_is_refused(
    tmp_path: Path, num_samples: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_cut(ramp(tmp_path / "ramp.wav", num_samples), 0.023, 7)


def test_every_epoch_goes_through_all_clips_in_another_order(folder: Path) -> None:
    clips = read_index(folder, "train")
    orders = []
    for epoch in range(6):
        draws = range(4 * epoch, 4 * epoch + 4)
        firsts = [training_picks(clips, CONFIG, 5, draw)[0].clip.audio for draw in draws]
        assert sorted(firsts) == [clip.audio for clip in clips]
        orders.append(tuple(firsts))
    assert len(set(orders)) > 1


def test_the_other_clips_of_a_mixture_are_different_ones_equally_often(folder: Path) -> None:
    clips = read_index(folder, "train")
    others: Counter[tuple[str, str]] = Counter()
    for draw in range(2000):
        chosen = [pick.clip.audio for pick in training_picks(clips, CONFIG, 5, draw)]
        assert len(set(chosen)) == 3
        others.update((chosen[0], other) for other in chosen[1:])
    assert len(others) == 12
    # 4000 draws over 12 pairs: 333 with a standard deviation of 13
    assert min(others.values()) > 280
    assert max(others.values()) < 390


def test_training_centres_keep_three_frames_from_either_end() -> None:
    clips = [VideoClip(f"{index}.wav", f"{index}", 9, "dog") for index in range(3)]
    picks = [pick for draw in range(200) for pick in training_picks(clips, CONFIG, 1, draw)]
    assert {pick.centre for pick in picks} == {4, 5, 6}
    gains = [pick.gain for pick in picks]
    assert 0.5 <= min(gains) < 0.51
    assert 1.49 < max(gains) <= 1.5


@pytest.mark.parametrize(("num_frames", "centre"), [(4, 2), (5, 3), (6, 3), (7, 4)])
def test_a_clip_no_longer_than_the_margins_is_cut_in_its_middle(
    num_frames: int, centre: int
) -> None:
    clips = [VideoClip(f"{index}.wav", f"{index}", num_frames, "dog") for index in range(3)]
    picks = [pick for draw in range(30) for pick in training_picks(clips, CONFIG, 1, draw)]
    assert {pick.centre for pick in picks} == {centre}


def test_validation_mixtures_are_those_of_the_authors(folder: Path) -> None:
    clips = read_index(folder, "val")
    state = random.getstate()
    for row in range(3):
        random.seed(row)
        expected = [row, *random.sample([index for index in range(3) if index != row], 2)]
        picks = validation_picks(clips, CONFIG, row)
        assert [pick.clip for pick in picks] == [clips[index] for index in expected]
        assert [pick.centre for pick in picks] == [
            clips[index].num_frames // 2 for index in expected
        ]
        assert validation_picks(clips, CONFIG, row + 3) == picks  # the list begins anew
    random.setstate(state)


def test_a_source_is_its_cut_times_its_gain_clipped_and_divided_by_their_number(
    folder: Path,
) -> None:
    data = mixtures(folder)
    sources, queries, _ = data[3]
    assert sources.shape == (3, 1, 101)
    clipped = 0
    for index, pick in enumerate(data.picks(3)):
        whole, _ = soundfile.read(folder / pick.clip.audio)
        centre = int((pick.centre - 0.5) * RATE)
        loud = whole[centre - 50 : centre + 50] * pick.gain
        clipped += int((abs(loud) > 1).sum())
        expected = np.append(loud.clip(-1, 1) / 3, 0)
        assert sources[index, 0].numpy() == pytest.approx(expected, abs=1e-7)  # float32 roundings
        assert queries[index] == TextQuery(pick.clip.label)
    assert clipped


def test_validation_sources_are_as_recorded(folder: Path) -> None:
    data = mixtures(folder, validation=True)
    sources, queries, _ = data[1]
    whole, _ = soundfile.read(folder / "audio/v1.wav")  # 11 frames: cut around 4.5 s
    assert sources[0, 0, :100].numpy() == pytest.approx(whole[4450:4550] / 3, abs=1e-7)
    assert queries[0] == TextQuery("violin")


def test_an_item_depends_on_seed_and_number_alone(folder: Path) -> None:
    kind = (0.2, 0.4, 0.4)
    forwards = [mixtures(folder, kind)[draw] for draw in range(9)]
    data = mixtures(folder, kind)
    backwards = [data[draw] for draw in reversed(range(9))][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert one[0].equal(other[0])
        assert one[1:] == other[1:]
    assert len({item[2] for item in forwards}) == 9


def test_a_mixture_is_the_sum_of_its_sources(folder: Path) -> None:
    data = mixtures(folder)
    batch = data.collate([data[0], data[7]])
    assert batch.sources.shape == (2, 3, 1, 101)
    assert batch.mixture.equal(batch.sources[:, 0] + batch.sources[:, 1] + batch.sources[:, 2])
    assert batch.sample_rate == RATE


def frames_of(folder: Path, data: VideoMixtures, draw: int) -> list[ImageQuery]:
    """The centre and its neighbours, of each source."""
    return [
        ImageQuery(
            *(folder / pick.clip.frames / f"{pick.centre + step:06d}.jpg" for step in (-1, 0, 1))
        )
        for pick in data.picks(draw)
    ]


def test_pictures_are_the_frame_at_the_centre_and_its_neighbours(folder: Path) -> None:
    data = mixtures(folder, "image")
    assert data[2][1] == frames_of(folder, data, 2)


def pixels_of(query: Query | None) -> np.ndarray:
    """Of all frames of a picture query, (frames, height, width, 3)."""
    assert isinstance(query, ImageQuery)
    return np.stack([np.asarray(read_picture(media), float) for media in query.frames])


def test_one_frame_alone_is_that_at_the_centre(folder: Path) -> None:
    data = mixtures(folder, "image", config=replace(CONFIG, num_frames=1))
    middle = [ImageQuery(folder / p.clip.frames / f"{p.centre:06d}.jpg") for p in data.picks(2)]
    assert data[2][1] == middle
    with pytest.raises(ValueError, match="num_frames is 2; expected an odd number up to 7"):
        VideoMixConfig(num_frames=2)


def test_the_mean_of_the_pictures_is_a_query_for_the_whole_mixture(folder: Path) -> None:
    config = replace(CONFIG, mixed_pictures=True)
    data, plain = mixtures(folder, "image", config=config), mixtures(folder, "image")
    sources, queries, _ = data[2]
    assert sources.shape == (4, 1, 101)
    assert torch.equal(sources[:3], plain[2][0])
    assert sources[3].abs().max() == 0
    assert queries[:3] == plain[2][1]
    *pictures, mixed = (pixels_of(query) for query in queries)
    np.testing.assert_allclose(mixed, np.mean(pictures, axis=0), atol=0.5)  # rounded
    batch = data.collate([data[2], data[3]])
    assert batch.queried_whole().tolist() == [[False] * 3 + [True]] * 2
    assert torch.equal(batch.mixture, batch.sources.sum(dim=1))
    words = mixtures(folder, "text", config=config)
    assert words[2][1][3] is None  # words are not mixed
    assert not words.collate([words[2]]).queried_whole().any()


def test_mixed_queries_hold_words_and_pictures(folder: Path) -> None:
    data = mixtures(folder, "mixed")
    labels = [pick.clip.label for pick in data.picks(2)]
    pairs = zip(labels, frames_of(folder, data, 2), strict=True)
    assert data[2][1] == [MixedQuery(label, frames) for label, frames in pairs]


def test_hybrid_training_queries_by_image_at_even_steps_and_by_text_at_odd_ones(
    folder: Path,
) -> None:
    data = mixtures(folder, "hybrid", batch_size=3)
    kinds = [{type(query) for query in data[draw][1]} for draw in range(9)]
    assert kinds == [{ImageQuery}] * 3 + [{TextQuery}] * 3 + [{ImageQuery}] * 3


def test_hybrid_validation_queries_by_image(folder: Path) -> None:
    data = mixtures(folder, "hybrid", validation=True)
    assert {type(query) for draw in range(3) for query in data[draw][1]} == {ImageQuery}


def test_each_items_modality_is_drawn_by_its_odds() -> None:
    chooser = QueryChooser((1, 2, 3), seed=2, batch_size=4, validation=False)
    counts = Counter(chooser.modality(draw) for draw in range(3000))
    # standard deviations of 20, 26 and 27
    assert counts["text"] == pytest.approx(500, abs=80)
    assert counts["image"] == pytest.approx(1000, abs=100)
    assert counts["mixed"] == pytest.approx(1500, abs=110)


def test_queries_may_be_wordings_of_a_phrase_book(folder: Path) -> None:
    phrases: dict[str, tuple[str, ...]] = {
        label: (f"a {label}", f"some {label}") for label in LABELS
    }
    data = mixtures(folder, book=PhraseBook(LABELS, LABELS, phrases, ()))
    texts = {text_of(query) for draw in range(40) for query in data[draw][1]}
    assert texts == {f"{article} {label}" for article in ("a", "some") for label in LABELS}


def test_text_queries_need_no_pictures(tmp_path: Path) -> None:
    folder = prepared_folder(tmp_path, RATE, TRAIN, VAL)
    for picture in (tmp_path / "preprocessed").rglob("*.jpg"):
        picture.unlink()
    for empty in (tmp_path / "preprocessed").iterdir():
        empty.rmdir()
    assert mixtures(folder)[0][0].any()
    assert mixtures(folder, (1.0, 0.0, 0.0))[0][0].any()
    with pytest.raises(ValueError, match=r"4 of the files listed are missing, first preproc.*/t0;"):
        mixtures(folder, "image")


@pytest.mark.parametrize("file", ["audio/t1.wav", "preprocessed/t1/000004.jpg"])
def test_an_unreadable_item_is_silent_and_unqueried(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str
) -> None:
    data = mixtures(prepared_folder(tmp_path, RATE, TRAIN, VAL), "image")
    draw = next(
        draw
        for draw in range(99)
        if any(pick.clip.audio.endswith("t1.wav") for pick in data.picks(draw))
    )
    assert data[draw][0].any()
    if file.endswith("wav"):
        (tmp_path / file).write_bytes(b"RIFF")
    else:
        (tmp_path / file).unlink()
    with caplog.at_level(logging.WARNING):
        sources, queries, _ = data[draw]
    assert not sources.any()
    assert queries == [None] * 3
    assert file in caplog.text


def test_a_missing_recording_is_refused_before_training(tmp_path: Path) -> None:
    folder = prepared_folder(tmp_path, RATE, TRAIN, VAL)
    (folder / "audio/t2.wav").unlink()
    with pytest.raises(ValueError, match=r"1 of the files listed are missing, first audio/t2\.wav"):
        mixtures(folder)


def test_another_rate_is_refused(folder: Path) -> None:
    chooser = QueryChooser("text", 0, 2, validation=False)
    clips = read_index(folder, "train")
    with pytest.raises(
        ValueError, match="prepared at 1000 Hz, but the separator works at 16000 Hz"
    ):
        VideoMixtures(folder, clips, book_of_labels(LABELS), CONFIG, chooser, 16000, 0, False)


def test_a_label_without_wordings_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"without wordings in the phrase book: \['violin'\]"):
        mixtures(folder, book=book_of_labels(("dog", "rain")))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pictures", "data.queries is 'pictures'; expected text, image, mixed, hybrid, or three"),
        ((1.0, 2.0), r"data.queries is \[1.0, 2.0\]; expected the frequencies"),
        ((1.0, -2.0, 3.0), "expected the frequencies of text, image and mixed"),
        ((0.0, 0.0, 0.0), "expected the frequencies of text, image and mixed"),
    ],
)
def test_queries_of_no_known_kind_are_refused(kind: str | tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QueryChooser(kind, 0, 2, validation=False)


def test_an_index_comes_back_as_it_was_written(tmp_path: Path) -> None:
    clips = (
        VideoClip("audio/a, b.wav", "preprocessed/a, b", 12, "dog"),
        VideoClip("audio/ü.wav", "preprocessed/ü", 4, 'police car "(siren)"'),
    )
    write_index(tmp_path / "train.csv", clips)
    assert read_index(tmp_path, "train") == clips
    assert read_index(tmp_path, "train", ["dog"]) == clips[:1]


def test_an_index_has_the_papers_form(tmp_path: Path) -> None:
    write_index(
        tmp_path / "train.csv", [VideoClip("audio/a.wav", "preprocessed/a", 12, "dog barking")]
    )
    assert (tmp_path / "train.csv").read_text() == "audio/a.wav,preprocessed/a,12,dog barking\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("audio/a.wav,a,12\n", r"train\.csv: expected rows of audio, .*; got audio/a\.wav,a,12"),
        ("audio/a.wav,a,many,dog\n", "number of frames, label; got audio/a.wav,a,many,dog"),
        ("audio/a.wav,a,3,dog\n", "audio/a.wav has 3 frames; at least 4 are needed"),
        ("\n", "the list is empty"),
    ],
)
def test_an_index_of_another_form_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "train.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_index(tmp_path, "train")


def test_a_folder_without_the_index_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"val\.csv: no such file; `qsep data prepare` makes it"):
        read_index(tmp_path, "val")
