"""`qsep separate` with recordings, pictures and mixes of them as queries."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from command import Run, content, names, record
from installed import import_open_clip
from PIL import Image
from tiny import tiny_separator
from tiny_encoders import CLAP_WIDTH, CLIP_WIDTH, clip_model, pixels, save_clap, save_clip_config

from qsep.queries.interface import AudioQuery, ImageQuery, MixedQuery, TextQuery
from qsep.recipes.cli.separate.queries import queries_from
from qsep.separation.api import load
from qsep.separation.components import build_encoder
from qsep.separation.storage.checkpoint import describe, load_checkpoint, save_checkpoint


def checkpoint(folder: Path, kind: str, settings: dict[str, Any], width: int) -> Path:
    encoder = build_encoder(kind, settings)
    separator = tiny_separator("clipsep", query_dim=width)
    provenance = {"recipe": "tests", "seed": 7, "step": 42}
    description = describe("clipsep", separator, kind, encoder, provenance)
    save_checkpoint(folder, description, separator.state_dict(), "# A tiny model\n")
    return folder


@pytest.fixture(name="clap_model", scope="module")
def by_clap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    settings = {"model": str(save_clap(root / "clap"))}
    return checkpoint(root / "separator", "clap", settings, CLAP_WIDTH)


@pytest.fixture(name="clip_model_folder", scope="module")
def by_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import_open_clip()
    root = tmp_path_factory.mktemp("models")
    torch.save(clip_model().state_dict(), root / "clip.pt")
    settings = {"model": str(save_clip_config(root)), "weights": str(root / "clip.pt")}
    return checkpoint(root / "separator", "clip", settings, CLIP_WIDTH)


@pytest.fixture
def examples(folder: Path) -> None:
    """a.wav to separate; bark.wav, howl.wav, dog.png and cat.png as queries."""
    record(folder / "a.wav", 3001, 8000)
    for name, pitch in (("bark", 30), ("howl", 11)):
        soundfile.write(folder / f"{name}.wav", 0.5 * np.sin(np.arange(4000) / pitch), 8000)
    for seed, name in enumerate(("dog", "cat")):
        Image.fromarray(pixels(40, 50, seed)).save(folder / f"{name}.png")


def target_of(model: Path, query: Any, folder: Path, *others: Any) -> Any:
    """The target in a.wav by the Python interface, as the command writes it with the other queries before it,
    which may change rounding."""
    result = load(model).separate(folder / "a.wav", [*others, query])[-1]
    return soundfile.read(result.save(folder.parent / "expected")[0])[0]


@pytest.mark.usefixtures("examples")
def test_recordings_of_one_flag_are_one_query(qsep: Run, clap_model: Path, folder: Path) -> None:
    outcome = qsep(
        *("separate", "a.wav", "-m", clap_model, "-o", "out", "-q", "rain"),
        *("--query-audio", "bark.wav", "--query-audio", "howl.wav", "--json"),
    )
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    assert names(folder / "out") == {"a.rain.wav", "a.bark-howl.wav"}
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    assert [row["query"] for row in rows] == ["rain", "bark, howl"]
    samples, _ = soundfile.read(folder / "out" / "a.bark-howl.wav")
    both = AudioQuery(folder / "bark.wav", folder / "howl.wav")
    np.testing.assert_array_equal(samples, target_of(clap_model, both, folder))
    assert (
        np.abs(samples - target_of(clap_model, AudioQuery(folder / "bark.wav"), folder)).max() > 0
    )


@pytest.mark.usefixtures("examples")
def test_pictures_of_one_flag_are_one_query(
    qsep: Run, clip_model_folder: Path, folder: Path
) -> None:
    arguments = ("separate", "a.wav", "-m", clip_model_folder, "-o", "out")
    outcome = qsep(*arguments, "--query-image", "dog.png", "--query-image", "cat.png")
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    assert names(folder / "out") == {"a.dog-cat.wav"}
    samples, _ = soundfile.read(folder / "out" / "a.dog-cat.wav")
    both = ImageQuery(folder / "dog.png", folder / "cat.png")
    np.testing.assert_array_equal(samples, target_of(clip_model_folder, both, folder))


@pytest.mark.usefixtures("examples")
def test_with_a_weight_examples_are_mixed_into_the_words(
    qsep: Run, clap_model: Path, folder: Path
) -> None:
    arguments = ("separate", "a.wav", "-m", clap_model, "-o", "out", "-q", "dog", "-q", "wolf")
    outcome = qsep(*arguments, "--query-audio", "howl.wav", "--mix-weight", "0.25")
    assert outcome.code == 0, outcome.err
    assert names(folder / "out") == {"a.dog-howl.wav", "a.wolf-howl.wav"}
    samples, _ = soundfile.read(folder / "out" / "a.wolf-howl.wav")
    howl = AudioQuery(folder / "howl.wav")
    dog, wolf = (MixedQuery(word, howl, weights=(0.75, 0.25)) for word in ("dog", "wolf"))
    np.testing.assert_array_equal(samples, target_of(clap_model, wolf, folder, dog))


@pytest.mark.usefixtures("examples")
def test_a_mix_lies_between_its_parts(clap_model: Path, folder: Path) -> None:
    howl, words = AudioQuery(folder / "howl.wav"), TextQuery("wolf")
    mixed = MixedQuery(words, howl, weights=(0.75, 0.25))
    text, audio, pooled = load(clap_model).embed([words, howl, mixed]).pooled
    mean = 0.75 * text + 0.25 * audio
    torch.testing.assert_close(pooled, mean / mean.norm(), atol=1e-6, rtol=0)  # float32


def test_examples_share_the_weight_of_a_mix(folder: Path) -> None:
    record(folder / "a.wav")
    Image.fromarray(pixels(8, 9)).save(folder / "dog.png")
    (query,) = queries_from(["dog"], [Path("dog.png")], [Path("a.wav")], 0.5)
    assert isinstance(query, MixedQuery)
    assert query.weights == (0.5, 0.25, 0.25)
    assert [part.kind for part in query.parts] == ["text", "image", "audio"]


@pytest.mark.usefixtures("examples")
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--query-image", "dog.png"), "reads audio and text, not image: use such a query"),
        (("-q", "dog", "--query-image", "dog.png", "--mix-weight", "0.5"), "not image"),
        (("--query-audio", "nowhere.wav"), "nowhere.wav: no such file"),
        (("--query-audio", "dog.png"), "dog.png is not audio that libsndfile or ffmpeg reads"),
        (("--query-audio", "howl.wav", "--mix-weight", "0.5"), "needs both -q and --query-audio"),
        (("-q", "dog", "--mix-weight", "0.5"), "needs both -q and --query-audio"),
        (("-q", "dog", "--query-audio", "howl.wav", "--mix-weight", "1.5"), "1.5 is not between"),
        (("-q", "dog", "--query-audio", "howl.wav", "--mix-weight", "nan"), "nan is not between"),
        (("-q", "howl", "--query-audio", "howl.wav"), "'howl' and 'howl' would both be written to"),
        ((), "say which sound to extract"),
    ],
)
def test_invalid_queries_give_one_line_and_no_file(
    arguments: tuple[str, ...], complaint: str, qsep: Run, clap_model: Path, folder: Path
) -> None:
    before = content(folder)
    outcome = qsep("separate", "a.wav", "-m", clap_model, "-o", "out", *arguments)
    assert outcome.code == 2
    assert complaint in outcome.error
    assert content(folder) == before


@pytest.mark.usefixtures("examples")
def test_a_model_that_reads_no_pictures_says_so(qsep: Run, tiny_model: Path, folder: Path) -> None:
    outcome = qsep("separate", "a.wav", "-m", tiny_model, "--query-image", "dog.png")
    assert outcome.code == 2
    assert "reads audio and text, not image" in outcome.error


@pytest.mark.usefixtures("examples")
def test_a_cached_query_loads_no_encoder(
    qsep: Run, clap_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("separate", "a.wav", "-m", clap_model, "-q", "dog", "--query-audio", "howl.wav")
    assert qsep(*arguments, "-o", "one").code == 0
    from qsep.queries.encoders.clap import Clap

    def refuse(self: Clap, queries: Any) -> None:
        raise AssertionError("the encoder is called again")

    monkeypatch.setattr(Clap, "encode", refuse)
    (folder / "howl.wav").rename(folder / "howl of a wolf.wav")
    arguments = (*arguments[:-1], "howl of a wolf.wav")
    assert qsep(*arguments, "-o", "two").code == 0
    one, two = content(folder / "one"), content(folder / "two")
    assert one["a.howl.wav"] == two["a.howl-of-a-wolf.wav"]


def test_an_encoder_of_another_width_is_refused(clap_model: Path, tmp_path: Path) -> None:
    separator = tiny_separator("clipsep", query_dim=CLAP_WIDTH + 1)
    config = json.loads((clap_model / "config.json").read_text())
    config["separator"]["config"]["query_dim"] = CLAP_WIDTH + 1
    save_checkpoint(tmp_path / "wrong", config, separator.state_dict(), "# wrong\n")
    with pytest.raises(ValueError, match=r"made for queries 21 wide, but clap-folder-\w+ gives 20"):
        load_checkpoint(tmp_path / "wrong")
