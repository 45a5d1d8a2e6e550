"""qsep.separation.api: what a user calls, with a tiny separator and an encoder by hashes."""

import logging
import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile
import torch
from tiny import StubConfig, StubEncoder, noise, text_of, tiny_separator
from tiny_settings import RATE

from qsep.queries.constraints import Constraints
from qsep.queries.interface import QueryEmbedding, TextQuery
from qsep.separation.api import Model, checkpoint_folder, load, separate_file
from qsep.separation.audio.arrays import as_rate
from qsep.separation.audio.reader import AudioError
from qsep.separation.published.installed import is_hub_name
from qsep.separation.storage import shipped
from qsep.separation.storage.checkpoint import describe, save_checkpoint


@pytest.fixture(name="model")
def model_by_hand() -> Model:
    return Model(tiny_separator(), StubEncoder(), "tiny")


@pytest.fixture(name="folder")
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint folder whose encoder is the stub."""
    monkeypatch.setenv("QSEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        "qsep.separation.storage.config.build_encoder",
        lambda _, config: StubEncoder(StubConfig(**config)),
    )
    separator = tiny_separator()
    description = describe("band_unet", separator, "stub", StubEncoder(), {})
    save_checkpoint(tmp_path / "model", description, separator.state_dict(), "# Card\n")
    return tmp_path / "model"


def directly(model: Model, mixture: np.ndarray, text: str) -> np.ndarray:
    """The target (c, t) by the separator alone, without chunks and resampling."""
    pooled = model.embed([TextQuery(text)]).pooled[None]
    with torch.inference_mode():
        separated = model.separator.separate(
            torch.from_numpy(mixture)[None], QueryEmbedding(pooled)
        )
    return separated.target[0, 0].numpy()


def test_separate_returns_the_separators_target_and_the_residual(model: Model) -> None:
    mixture = noise(2, 3001).numpy()
    result = model.separate(mixture, "a dog")
    np.testing.assert_allclose(result.target, directly(model, mixture, "a dog"), atol=1e-7)
    np.testing.assert_array_equal(result.residual, mixture - result.target)
    assert (result.query, result.sample_rate) == (TextQuery("a dog"), RATE)


@pytest.mark.parametrize("shape", [(997,), (1, 997), (2, 997)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_results_have_the_type_and_shape_of_the_input(
    model: Model, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    audio = noise(*shape).to(dtype)
    result = model.separate(audio, "a dog")
    for part in (result.target, result.residual):
        assert isinstance(part, torch.Tensor)
        assert (part.shape, part.dtype) == (audio.shape, dtype)
    expected = directly(model, audio.float().reshape(-1, 997).numpy(), "a dog").reshape(shape)
    precision = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
    # half an ulp of samples under 0.5, and 1e-6 for float32 sums in another order
    np.testing.assert_allclose(result.target.double(), expected, atol=precision / 4 + 1e-6, rtol=0)
    if dtype != torch.bfloat16:
        array = model.separate(audio.numpy(), "a dog")
        assert array.target.dtype == audio.numpy().dtype
        np.testing.assert_array_equal(array.target, result.target.numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_target_and_residual_sum_to_the_input(model: Model, dtype: type[np.floating]) -> None:
    audio = noise(2, 997).numpy().astype(dtype)
    result = model.separate(audio, "a dog", sample_rate=44100)
    # one rounding of values under 0.5
    np.testing.assert_allclose(
        result.target + result.residual, audio, atol=float(np.finfo(dtype).eps) / 2, rtol=0
    )


def test_the_input_is_not_modified_and_may_be_a_view(model: Model) -> None:
    audio = noise(997).numpy()
    backwards = audio[::-1]
    backwards.flags.writeable = False
    kept = backwards.copy()
    result = model.separate(backwards, "a dog")
    np.testing.assert_array_equal(result.target, model.separate(kept, "a dog").target)
    np.testing.assert_array_equal(backwards, kept)


def test_several_queries_share_one_analysis(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    audio, calls, separate = noise(997).numpy(), [], model.separator.separate

    def counted(mixture: torch.Tensor, queries: QueryEmbedding) -> Any:
        calls.append(queries.pooled.shape)
        return separate(mixture, queries)

    monkeypatch.setattr(model.separator, "separate", counted)
    results = model.separate(audio, ["a dog", TextQuery("rain")])
    assert calls == [(1, 2, 6)]
    assert [text_of(result.query) for result in results] == ["a dog", "rain"]
    for result in results:
        alone = model.separate(audio, result.query)
        np.testing.assert_allclose(result.target, alone.target, atol=1e-6)  # float32 sums


def test_a_list_of_one_query_gives_a_list(model: Model) -> None:
    results = model.separate(noise(997), ["a dog"])
    assert isinstance(results, list)
    assert len(results) == 1


def test_an_empty_list_of_queries_is_refused(model: Model) -> None:
    with pytest.raises(ValueError, match="no query given; say which sound"):
        model.separate(noise(997), [])


def test_level_is_the_targets_energy_relative_to_the_recordings(model: Model) -> None:
    audio = noise(2, 997).numpy()
    result = model.separate(audio, "a dog")
    # Without the channels' means: a recorder's DC offset is no sound.
    powers = [each.astype(float).var(axis=1).sum() for each in (result.target, audio)]
    expected = 10 * np.log10(powers[0] / powers[1])
    assert result.level_db == pytest.approx(expected, abs=1e-9)  # float64
    assert model.separate(np.zeros(997), "a dog").level_db == -np.inf


@pytest.mark.parametrize(
    ("audio", "fault"),
    [
        (np.zeros(0), r"\(t,\) or \(c, t\) with t >= 1, got \(0,\)"),
        (np.zeros((2, 0)), r"\(t,\) or \(c, t\) with t >= 1, got \(2, 0\)"),
        (np.zeros((1, 2, 9)), r"\(t,\) or \(c, t\) with t >= 1, got \(1, 2, 9\)"),
        (torch.zeros(()), r"\(t,\) or \(c, t\) with t >= 1, got \(\)"),
        (np.zeros(9, np.int16), "floating-point audio, full scale at 1, got int16"),
        (torch.zeros(9, dtype=torch.long), "floating-point audio, full scale at 1, got int64"),
        (np.zeros(9, complex), "floating-point audio, full scale at 1, got complex128"),
        (np.array([0, np.nan]), "holds NaN or infinite samples"),
        (np.array([0, -np.inf], np.float32), "holds NaN or infinite samples"),
        (np.array([0.0, -1.01e6]), r"the audio's peak is 1\.01e\+06; full scale is 1"),
        (np.zeros((997, 2)), r"c <= 64, got \(997, 2\); transpose an array \(t, c\)"),
    ],
)
def test_arrays_that_are_not_audio_are_refused(model: Model, audio: Any, fault: str) -> None:
    with pytest.raises(ValueError, match=rf"\A[^\n]*{fault}[^\n]*\Z"):
        model.separate(audio, "a dog")


@pytest.mark.parametrize("rate", [0, -44100, 44100.5, np.nan, np.inf])
def test_invalid_sample_rates_are_refused(model: Model, rate: float) -> None:
    with pytest.raises(ValueError, match=f"expected a sample rate in whole Hz.*, got {rate}"):
        model.separate(noise(997), "a dog", sample_rate=rate)  # type: ignore[call-overload]  # on purpose


def test_a_sample_rate_may_be_any_whole_number(model: Model) -> None:
    audio = noise(997).numpy()
    expected = model.separate(audio, "a dog", sample_rate=44100)
    loose: Any = (44100.0, np.int32(44100))  # whole numbers as floats, as arithmetic gives them
    for rate in loose:
        result = model.separate(audio, "a dog", sample_rate=rate)
        assert type(result.sample_rate) is int
        np.testing.assert_array_equal(result.target, expected.target)


def test_a_query_unlike_all_phrases_logs_a_warning_with_the_nearest_class(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    separator: Any = model.separator
    embedding = model.embed([TextQuery("a dog")]).pooled[0]
    phrases = torch.eye(7, 6)
    phrases[6] = embedding  # the book says kind 6 % 4 = 2
    separator.reader.store(phrases, torch.tensor([3, 3, 3, 3, 3, 3, 2]))
    model.separate(noise(997), "a dog")
    assert caplog.messages == []
    separator.reader.store(torch.cat([phrases[:6], -embedding[None]]), separator.reader.classes)
    with caplog.at_level(logging.WARNING, "qsep"):
        model.separate(noise(997), "a dog")
    (message,) = caplog.messages
    assert message.startswith("'a dog' is unlike every kind of sound that tiny knows")
    assert "the nearest is 'violin'" in message


@pytest.mark.parametrize(("cosine", "known"), [(0.5, False), (0.6, True)])
def test_a_query_is_known_from_a_cosine_of_055_to_the_nearest_phrase(
    model: Model, cosine: float, known: bool
) -> None:
    reader: Any = model.separator.phrase_book
    query = model.embed([TextQuery("a dog")]).pooled[0]
    across = torch.linalg.svd(query[None]).Vh[1]  # a unit vector at right angles to the query
    phrase = cosine * query + (1 - cosine**2) ** 0.5 * across
    reader.store(torch.cat([phrase[None], -query.expand(6, -1)]), torch.zeros(7, dtype=torch.long))
    familiarity = model.familiarity("a dog")
    assert familiarity is not None
    assert familiarity.known == known
    assert familiarity.similarity == pytest.approx(cosine, abs=1e-3)


def test_familiarity_is_the_cosine_to_the_nearest_phrase(model: Model) -> None:
    separator: Any = model.separator
    queries, books = model.embed([TextQuery("rain")]).pooled, separator.reader.phrases.float()
    known = separator.reader.classes < 3
    familiarity = model.familiarity("rain")
    assert familiarity is not None
    best = (queries @ books.T)[0].masked_fill(~known, -2)
    assert familiarity.similarity == pytest.approx(best.max().item(), abs=1e-3)  # a book in float16
    assert familiarity.kind == ("dog", "rain", "violin")[separator.reader.classes[best.argmax()]]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_saved_parts_of_a_file_sum_to_it_in_its_own_format(
    model: Model, tmp_path: Path, subtype: str
) -> None:
    source = tmp_path / "street scene.wav"
    soundfile.write(source, noise(997, 2).numpy(), 44100, subtype=subtype)
    paths = model.separate(source, "A dog, barking!").save(tmp_path / "out")
    names = ["street scene.a-dog-barking.wav", "street scene.a-dog-barking.residual.wav"]
    assert [path.name for path in paths] == names
    for path in paths:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.frames, info.subtype) == (
            44100,
            2,
            997,
            subtype,
        )
    target, residual, mixture = (soundfile.read(path)[0] for path in (*paths, source))
    tolerance = 0 if subtype.startswith("PCM") else 2.0**-25  # floats: one rounding under 0.5
    np.testing.assert_allclose(target + residual, mixture, atol=tolerance, rtol=0)
    assert 0 < np.square(target).sum() < np.square(mixture).sum()


def test_save_can_leave_out_the_residual(model: Model, tmp_path: Path) -> None:
    paths = model.separate(noise(997), "a dog").save(tmp_path, residual=False)
    assert [path.name for path in paths] == ["audio.a-dog.wav"]
    assert list(tmp_path.iterdir()) == paths


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_results_of_tensors_can_be_saved(model: Model, tmp_path: Path, dtype: torch.dtype) -> None:
    result = model.separate(noise(2, 997).to(dtype).requires_grad_(), "a dog")
    target = soundfile.read(result.save(tmp_path)[0], dtype="float32")[0].T
    np.testing.assert_array_equal(target, result.target.float())


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 192000])
@pytest.mark.parametrize("num_samples", [1, 2, 3, 1237])
def test_separating_a_file_to_files_equals_separate_and_save(
    model: Model, tmp_path: Path, rate: int, num_samples: int
) -> None:
    source = tmp_path / "a.wav"
    soundfile.write(source, noise(num_samples, 2).numpy(), rate, subtype="PCM_16")
    queries = [TextQuery("a dog"), TextQuery("rain")]
    (tmp_path / "b").mkdir()
    rows = separate_file(model, source, queries, tmp_path / "b", residual=True)
    for row, result in zip(rows, model.separate(source, queries), strict=True):
        for path, expected in zip(row["files"], result.save(tmp_path / "a"), strict=True):
            assert Path(path).read_bytes() == expected.read_bytes()
        assert row["seconds"] == num_samples / rate


def test_the_sample_rate_of_a_file_comes_from_the_file(model: Model, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(9), 44100)
    with pytest.raises(ValueError, match="sample_rate is the file's own"):
        model.separate(tmp_path / "a.wav", "a dog", sample_rate=44100)


def test_a_missing_file_is_named(model: Model, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"none\.wav does not exist: check the name"):
        model.separate(str(tmp_path / "none.wav"), "a dog")


def test_threads_get_the_results_of_sequential_calls(folder: Path) -> None:
    model = load(folder, device="cpu")
    audio = [noise(2, 3001, seed=seed).numpy() for seed in range(6)]
    words = ["a dog", "rain", "a violin", "a dog", "a bell", "rain"]
    collected: dict[int, np.ndarray] = {}

    def work(indices: range) -> None:
        for index in indices:
            collected[index] = model.separate(audio[index], words[index]).target

    threads = [threading.Thread(target=work, args=(range(start, 6, 2),)) for start in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    fresh = load(folder, device="cpu")
    for index in range(6):
        expected = fresh.separate(audio[index], words[index]).target
        np.testing.assert_array_equal(collected[index], expected)


def test_a_loaded_folder_gives_the_output_of_the_saved_network(folder: Path, model: Model) -> None:
    loaded = load(folder, device="cpu")
    audio = noise(2, 997).numpy()
    expected = model.separate(audio, "a dog").target
    target = loaded.separate(audio, "a dog").target
    # 1e-6: `load` folds batch norms into convolutions, whose sums are then rounded otherwise
    np.testing.assert_allclose(target, expected, atol=1e-6, rtol=0)
    assert (loaded.name, loaded.classes) == ("model", ("dog", "rain", "violin"))
    assert str(load(str(folder)).fingerprint).endswith("-stub")


def test_a_shipped_name_takes_precedence_over_files_in_the_working_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shipped, "CHECKPOINTS_DIR", folder.parent)
    (tmp_path / "elsewhere" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert checkpoint_folder("model") == folder
    assert checkpoint_folder("./model") == Path("model")
    assert checkpoint_folder(Path("model")) == Path("model")


def test_an_unknown_name_is_refused_with_those_shipped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "CHECKPOINTS_DIR", folder.parent)
    expected = r"\Aoboe: no such model\. Included are model; published are [^\n]*\Z"
    with pytest.raises(ValueError, match=expected):
        load("oboe")


@pytest.mark.parametrize("device", ["cuda:99", "toaster"])
def test_an_unavailable_device_is_named(folder: Path, device: str) -> None:
    with pytest.raises(ValueError, match=rf"\Adevice '{device}' cannot be used \([^\n]*\Z"):
        load(folder, device=device)


@pytest.mark.parametrize("query", [None, 3, b"rain", [3], ["rain", None]])
def test_what_is_no_query_is_refused_with_its_value(model: Model, query: Any) -> None:
    with pytest.raises(ValueError, match="expected a query as text"):
        model.separate(np.zeros((1, 100), np.float32), query, 8000)


@pytest.mark.parametrize("rate", ["16k", "16000", None, 0.5])
def test_what_is_no_sample_rate_is_refused_with_its_value(rate: Any) -> None:
    with pytest.raises(ValueError, match=f"expected a sample rate in whole Hz.* got {rate!r}"):
        as_rate(rate)


def test_negatives_are_texts_or_queries() -> None:
    with pytest.raises(ValueError, match="expected negatives as texts, got 3"):
        Constraints(negatives=cast(Any, [3]))


@pytest.mark.parametrize("name", ["../x", "./x", "x/..", ".x/y"])
def test_paths_are_no_names_of_the_hub(name: str) -> None:
    assert not is_hub_name(name)
    assert is_hub_name("a-b.c/x_1.y@main")
