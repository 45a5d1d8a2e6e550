"""qsep.queries: pictures, recordings and mixes as queries, their content, and their cache."""

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from tiny import StubEncoder
from tiny_encoders import pixels

from qsep.queries.cache import CachedEncoder
from qsep.queries.interface import (
    AudioQuery,
    ImageQuery,
    MixedQuery,
    Query,
    QueryEmbedding,
    QueryEncoder,
    TextQuery,
)
from qsep.queries.media import media_file, read_picture, read_recording, recording
from qsep.separation.audio.file_names import slug

DOG = TextQuery("a dog")
TONE = np.sin(np.arange(4000) / 30)


@pytest.fixture(name="sound")
def recorded(tmp_path: Path) -> Path:
    path = tmp_path / "bark one.wav"
    soundfile.write(path, TONE, 8000, subtype="FLOAT")
    return path


def test_queries_of_equal_content_are_equal(sound: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(sound, tmp_path / "other.wav"))
    assert AudioQuery(sound) == AudioQuery(str(copy))
    assert hash(AudioQuery(sound)) == hash(AudioQuery(copy))
    assert repr(AudioQuery(sound)) == repr(AudioQuery(copy))  # the cache's key
    assert ImageQuery(pixels(8, 9)) == ImageQuery(pixels(8, 9))


def test_queries_of_different_content_are_different(sound: Path, tmp_path: Path) -> None:
    before = AudioQuery(sound)
    soundfile.write(sound, 0.9 * TONE, 8000, subtype="FLOAT")
    queries = [
        before,
        AudioQuery(sound),
        AudioQuery(sound, sound),
        AudioQuery(TONE, sample_rate=8000),
        AudioQuery(TONE, sample_rate=16000),
        AudioQuery(TONE.astype(np.float32), sample_rate=8000),
        AudioQuery(TONE[None], sample_rate=8000),
        ImageQuery(pixels(8, 9)),
        ImageQuery(pixels(9, 8)),
        MixedQuery(DOG, before),
        MixedQuery(DOG, before, weights=(1, 2)),
        MixedQuery(before, DOG),
    ]
    assert len({repr(query) for query in queries}) == len(set(queries)) == len(queries)


def test_an_array_changed_later_changes_no_query() -> None:
    samples = TONE.copy()
    query = AudioQuery(samples, sample_rate=8000)
    samples[:] = 0
    assert query == AudioQuery(TONE, sample_rate=8000)
    np.testing.assert_allclose(read_recording(query.examples[0], 8000), TONE, atol=1e-7)


def test_results_are_named_after_the_files(sound: Path, tmp_path: Path) -> None:
    other = Path(shutil.copy(sound, tmp_path / "howl.wav"))
    assert AudioQuery(sound).name == "bark one"
    assert slug(AudioQuery(sound, other).name) == "bark-one-howl"
    assert slug(MixedQuery(DOG, AudioQuery(other)).name) == "a-dog-howl"
    names = {ImageQuery(pixels(8, width)).name for width in (9, 10)}
    assert len(names) == 2  # or two nameless queries would be written to one file


def test_weights_are_scaled_to_sum_to_one() -> None:
    assert MixedQuery("a dog", TextQuery("a cat")).weights == (0.5, 0.5)
    mixed = MixedQuery("a dog", "a cat", "rain", weights=(1, 0, 3))
    assert mixed.parts == (DOG, TextQuery("a cat"), TextQuery("rain"))
    assert mixed.weights == (0.25, 0, 0.75)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: ImageQuery(), "needs a picture"),
        (lambda: AudioQuery(), "needs a recording"),
        (lambda: ImageQuery("nowhere.png"), "nowhere.png: no such file"),
        (lambda: AudioQuery("."), "no such file"),
        (lambda: ImageQuery(pixels(8, 9)[..., 0]), "(height, width, 3) of uint8, got (8, 9)"),
        (lambda: ImageQuery(pixels(8, 9) / 255), "of float64"),
        (lambda: AudioQuery(TONE), "needs its sample_rate in Hz, got None"),
        (lambda: AudioQuery(TONE, sample_rate=0), "sample_rate in Hz, got 0"),
        (lambda: AudioQuery(np.arange(4), sample_rate=8000), "floating point"),
        (lambda: AudioQuery(TONE[:0], sample_rate=8000), "(t,) or (c, t)"),
        (lambda: AudioQuery(TONE / 0 * 0, sample_rate=8000), "NaN"),
        (lambda: AudioQuery(__file__, sample_rate=8000), "the file's own"),
        (lambda: MixedQuery(), "one part or more"),
        (lambda: MixedQuery(MixedQuery("a dog")), "none of them mixed"),  # type: ignore[arg-type]
        (lambda: MixedQuery("a", "b", weights=(1,)), "expected one each"),
        (lambda: MixedQuery("a", "b", weights=(1, -1)), "0 or more"),
        (lambda: MixedQuery("a", "b", weights=(0, 0)), "not all 0"),
        (lambda: MixedQuery("a", "b", weights=(1, float("nan"))), "0 or more"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_invalid_queries_are_refused_in_one_line(
    make: Callable[[], Query], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as caught:
        make()
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recording_is_the_mean_of_its_channels_at_the_requested_rate() -> None:
    time = np.arange(8000) / 8000
    channels = np.stack([np.sin(2 * np.pi * 440 * time), np.zeros(8000), 0.5 * np.ones(8000)])
    samples = read_recording(recording(channels, 8000), 48000)
    expected = (np.sin(2 * np.pi * 440 * np.arange(48000) / 48000) + 0.5) / 3
    assert samples.dtype == np.float32
    assert samples.shape == (48000,)
    # 1e-4: soxr's filter on 8 kHz; its ends ring
    np.testing.assert_allclose(samples[3000:-3000], expected[3000:-3000], atol=1e-4)


@pytest.mark.parametrize("from_file", [True, False])
def test_long_recordings_are_cut_to_their_start(
    from_file: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, 5000).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", samples, 1000, subtype="FLOAT")
    media = media_file(tmp_path / "long.wav") if from_file else recording(samples, 1000)
    with caplog.at_level(logging.WARNING, "qsep"):
        np.testing.assert_array_equal(read_recording(media, 1000), samples)
        np.testing.assert_array_equal(read_recording(media, 1000, 5), samples)
        assert caplog.messages == []
        np.testing.assert_array_equal(read_recording(media, 1000, 2.5), samples[:2500])
    assert caplog.messages == [f"{media.name}: only its first 2.5 s are used"]


@pytest.mark.parametrize("num_samples", [1, 2, 3])
def test_the_shortest_recording_keeps_a_sample(num_samples: int) -> None:
    samples = read_recording(recording(np.full(num_samples, 0.5), 192000), 8000)
    assert len(samples) >= 1
    assert np.isfinite(samples).all()


def test_an_unreadable_recording_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.mp3").write_text("these are words\n" * 9)
    with pytest.raises(ValueError, match=r"not audio that libsndfile reads: .*ffmpeg -i text\.mp3"):
        read_recording(media_file(tmp_path / "text.mp3"), 48000)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    with pytest.raises(ValueError, match="holds no audio"):
        read_recording(media_file(tmp_path / "empty.wav"), 48000)
    soundfile.write(tmp_path / "nan.wav", np.full(9, np.nan), 8000, subtype="FLOAT")
    with pytest.raises(ValueError, match="NaN"):
        read_recording(media_file(tmp_path / "nan.wav"), 48000)


def test_pictures_are_read_as_rgb_and_upright(tmp_path: Path) -> None:
    shown = pixels(6, 9)
    assert np.array_equal(np.asarray(read_picture(ImageQuery(shown).frames[0])), shown)
    # As a camera on its side saves it: "turn me clockwise".
    turned = Image.fromarray(np.rot90(shown))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(np.dstack([shown, np.full((6, 9), 7, np.uint8)])).save(tmp_path / "alpha.png")
    for name in ("turned.png", "alpha.png"):
        assert np.array_equal(np.asarray(read_picture(media_file(tmp_path / name))), shown)
    Image.fromarray(shown[..., 0]).save(tmp_path / "grey.png")
    grey = np.asarray(read_picture(media_file(tmp_path / "grey.png")))
    assert np.array_equal(grey, np.repeat(shown[..., :1], 3, axis=2))


@pytest.mark.parametrize("content", [b"no picture", b"\x89PNG\r\n\x1a\n cut short"])
def test_an_unreadable_picture_gives_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.png") as caught:
        read_picture(media_file(tmp_path / "x.png"))
    assert "\n" not in str(caught.value)


class NumberEncoder(QueryEncoder):
    """(1, n) for text of n letters, (10, 3) for any recording; calls: every list encoded."""

    config = None
    dim = 2
    modalities: frozenset[type[Query]] = frozenset({TextQuery, AudioQuery})
    fingerprint = "numbers"

    def __init__(self, unit_norm: bool = False) -> None:
        self.unit_norm = unit_norm
        self.calls: list[list[Query]] = []

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        self.calls.append(list(queries))
        rows = [
            [1, len(query.text)] if isinstance(query, TextQuery) else [10, 3] for query in queries
        ]
        return QueryEmbedding(torch.tensor(rows, dtype=torch.float32))


MIX = MixedQuery("four", AudioQuery(TONE, sample_rate=8000), weights=(3, 1))  # (3.25, 3.75)


def test_a_mix_is_the_weighted_mean_of_its_parts_embeddings(tmp_path: Path) -> None:
    cache = CachedEncoder(NumberEncoder(), tmp_path / "cache.sqlite")
    pooled = cache.encode([DOG, MIX, TextQuery("four")]).pooled
    assert pooled.dtype == torch.float32
    assert pooled.tolist() == [[1, 5], [3.25, 3.75], [1, 4]]


def test_a_mix_has_unit_norm_where_all_embeddings_have(tmp_path: Path) -> None:
    pooled = (
        CachedEncoder(NumberEncoder(unit_norm=True), tmp_path / "c.sqlite").encode([MIX]).pooled
    )
    norm = np.hypot(3.25, 3.75)
    np.testing.assert_allclose(pooled, [[3.25 / norm, 3.75 / norm]], rtol=1e-6)


def test_parts_of_a_mix_are_cached_on_disk(tmp_path: Path, sound: Path) -> None:
    path = tmp_path / "cache.sqlite"
    CachedEncoder(NumberEncoder(), path).encode([MIX, AudioQuery(sound)])
    encoder = NumberEncoder()
    copy = Path(shutil.copy(sound, tmp_path / "copy.wav"))
    other = MixedQuery("four", AudioQuery(copy), weights=(1, 1))
    assert CachedEncoder(encoder, path).encode([other, MIX]).pooled.tolist()[0] == [5.5, 3.5]
    assert encoder.calls == []


@pytest.mark.parametrize("mixed", [False, True])
def test_a_kind_that_the_encoder_does_not_read_is_refused(tmp_path: Path, mixed: bool) -> None:
    shown = ImageQuery(pixels(8, 9))
    cache = CachedEncoder(NumberEncoder(), tmp_path / "cache.sqlite")
    expected = "the query encoder numbers reads audio and text, not image: "
    with pytest.raises(ValueError, match=expected):
        cache.encode([DOG, MixedQuery("a dog", shown) if mixed else shown])
    with pytest.raises(ValueError, match="the query encoder stub reads text, not audio"):
        CachedEncoder(StubEncoder(), tmp_path / "cache.sqlite").encode([MIX])
