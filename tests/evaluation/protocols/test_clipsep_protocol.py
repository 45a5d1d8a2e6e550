"""qsep.evaluation.protocols.clipsep on a miniature folder, against museval on signals made here."""

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io.wavfile
import torch
from tiny import StubEncoder, tiny_separator

from qsep.evaluation.metrics.bss_scores import import_museval
from qsep.evaluation.protocols import load_items
from qsep.evaluation.run import Summary, evaluate
from qsep.queries.encoders import minilm
from qsep.queries.interface import TextQuery
from qsep.separation.api import Model
from qsep.separation.storage.checkpoint import describe, save_checkpoint

SPECTROGRAM = {
    "sample_rate": 16000,
    "window_samples": 1024,
    "hop_samples": 256,
    "num_rows": 24,
    "segment_frames": 256,
}
NUM_CLIPS, NUM_OTHERS = 3, 4
COLUMNS = (
    *("bss_sdr", "bss_isr", "bss_sir", "bss_sar"),
    *("mixture.bss_sdr", "mixture.bss_isr", "mixture.bss_sir"),
)
RATE = 16000
LENGTHS = (131072, 90001, 30011, 70003, 120000, 80000, 66001)  # the third is shorter than a cut
NUM_FRAMES = (8, 5, 3, 4, 7, 5, 4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips and four interferers: noise in differing bands, 16 bits, with index files."""
    folder = tmp_path_factory.mktemp("clipsep")
    rng = np.random.default_rng(3)
    rows = []
    for number, (length, num_frames) in enumerate(zip(LENGTHS, NUM_FRAMES, strict=True)):
        noise = np.convolve(rng.standard_normal(length), rng.standard_normal(5), "same")
        samples = np.round(3000 * noise).clip(-32768, 32767).astype(np.int16)
        scipy.io.wavfile.write(folder / f"{number}.wav", RATE, samples)
        rows.append((f"{number}.wav", f"frames/{number}", num_frames, f"label {number}"))
    write_list(folder / "first.csv", rows[:NUM_CLIPS])
    write_list(folder / "second.csv", rows[NUM_CLIPS:])
    return folder


def write_list(path: Path, rows: list[tuple[str, str, int, str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def items_of(data: Path, condition: str = "plain", **settings: str) -> Any:
    settings = {"interferers": str(data / "second.csv")} | settings
    return load_items("clipsep", data, data / "first.csv", condition, settings)


def model_of(kind: str = "clipsep", **changes: Any) -> Model:
    return Model(tiny_separator(kind, spectrogram=SPECTROGRAM, **changes), StubEncoder(), kind, "1")


def cut(data: Path, number: int) -> np.ndarray:
    """65,535 samples whose middle is that of frame n // 2 at one frame a second, by indices."""
    _, samples = scipy.io.wavfile.read(data / f"{number}.wav")
    centre = (NUM_FRAMES[number] // 2) * RATE - RATE // 2
    places = np.arange(centre - 32767, centre + 32768)
    repeats = 1 if len(samples) >= 65535 else 65535 // len(samples) + 1
    inside = (places >= 0) & (places < repeats * len(samples))
    inside[-1] = False  # the authors' cut ends a sample early
    return np.where(inside, samples[places % len(samples)], 0) / 32768


def mixed(data: Path, index: int) -> tuple[np.ndarray, np.ndarray]:
    """The two sources of an item."""
    random.seed(index)
    other = NUM_CLIPS + random.randint(0, NUM_OTHERS - 1)
    return cut(data, index) / 2, cut(data, other) / 2


HANN = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)


def transform(waveform: np.ndarray) -> np.ndarray:
    """(t,) to (f, n): frames every 256 samples, the first centred on the first sample."""
    padded = np.pad(waveform, 512)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 1024)[::256]
    return np.fft.rfft(frames * HANN).T


def inverse(spec: np.ndarray) -> np.ndarray:
    """(f, n) to the waveform closest to it, as far as the centre of its last frame."""
    frames = np.fft.irfft(spec.T) * HANN
    total, weight = np.zeros((2, 256 * (len(frames) - 1) + 1024))
    for number, frame in enumerate(frames):
        total[256 * number :][:1024] += frame
        weight[256 * number :][:1024] += HANN**2
    return total[512:-512] / weight[512:-512]


def soft_mask(model: Model, mixture: np.ndarray, label: str) -> np.ndarray:
    """(f, n), by NumPy's transform and interpolation between rows."""
    spec = transform(mixture)
    bins = np.linspace(-1, 1, 24)
    linear = (21 ** ((bins + 1) / 2) - 11) / 10
    rows = [np.interp((linear + 1) / 2 * 512, np.arange(513), m) for m in np.abs(spec).T]
    queries = model.encoder.encode([TextQuery(label)])
    queries = type(queries)(queries.pooled[None])
    magnitude = torch.from_numpy(np.array(rows).T[None]).float() + 1e-10
    separator: Any = model.separator
    with torch.no_grad():
        if separator.query_dim:
            logits = separator.logits(magnitude.log(), queries)
        else:
            logits = separator.logits(magnitude.log())
        mask = logits.sigmoid()[0, 0].numpy()
    places = (2 * np.log(10 * np.linspace(-1, 1, 513) + 11) / np.log(21) - 1 + 1) / 2 * 23
    return np.array([np.interp(places, np.arange(24), column) for column in mask.T]).T


def separated(mixture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return inverse(mask * transform(mixture)).clip(-1, 1)


def bss(references: np.ndarray, estimates: np.ndarray) -> list[float]:
    """SDR, ISR, SIR, SAR of the first source over the whole signal."""
    ratios = import_museval().metrics.bss_eval(references[:, :65280], estimates[:, :65280], np.inf)
    return [ratio[0, 0] for ratio in ratios[:4]]


def by_hand(data: Path, masks: Any) -> np.ndarray:
    """(items, 4), of the estimates. masks: from a mixture and a label."""
    collected = []
    for index in range(NUM_CLIPS):
        references = np.stack(mixed(data, index))
        mixture = references.sum(axis=0)
        mask = masks(mixture, f"label {index}")
        estimates = np.stack([separated(mixture, mask), separated(mixture, 1 - mask)])
        collected.append(bss(references, estimates))
    return np.array(collected)


def scores(folder: Path) -> np.ndarray:
    with (folder / "items.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(row[name]) for name in COLUMNS] for row in rows])


def run(model: Any, items: Any, out: Path) -> Summary:
    summary = evaluate(model, items, out)
    assert not summary.failed
    return summary


def test_items_are_the_published_cuts_and_draws(data: Path) -> None:
    items = items_of(data)
    assert items.name == "custom lists"
    for index in range(NUM_CLIPS):
        item = items.render(index)
        target, rest = mixed(data, index)
        # 16-bit samples, halved: exact in float32
        assert np.array_equal(item.target, target)
        assert np.array_equal(item.rest, rest)
        assert item.query == item.label == f"label {index}"
        assert np.array_equal(item.mixture, (target + rest).astype(np.float32))


@pytest.fixture(scope="module")
def soft(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Summary, np.ndarray]:
    """A run of the plain protocol, and its scores."""
    out = tmp_path_factory.mktemp("soft")
    return run(model_of(), items_of(data), out), scores(out)


def test_scores_with_soft_masks_are_musevals(data: Path, soft: tuple[Summary, np.ndarray]) -> None:
    expected = by_hand(data, lambda mixture, label: soft_mask(model_of(), mixture, label))
    # float32 transforms there and here: 1e-6 of the mixture
    assert soft[1][:, :4] == pytest.approx(expected, abs=1e-3)


def test_the_mixture_is_scored_beside_the_model(
    data: Path, soft: tuple[Summary, np.ndarray]
) -> None:
    references = np.stack(mixed(data, 1))
    mixture = references.sum(axis=0)
    expected = bss(references, np.stack([mixture, mixture]))[:3]
    assert soft[1][1, 4:] == pytest.approx(expected, abs=1e-3)


def test_hard_masks_are_rounded_after_unwarping(
    data: Path, soft: tuple[Summary, np.ndarray], tmp_path: Path
) -> None:
    model = model_of()
    run(model, items_of(data, masks="hard"), tmp_path)
    expected = by_hand(data, lambda mixture, label: soft_mask(model, mixture, label) > 0.5)
    # a bin whose mask is 0.5 to float32's precision may fall to either side
    assert scores(tmp_path)[:, :4] == pytest.approx(expected, abs=0.05)
    assert np.abs(expected - soft[1][:, :4]).max(axis=1).min() > 0.1


def test_museval_as_backend_gives_the_same_scores(
    data: Path, soft: tuple[Summary, np.ndarray], tmp_path: Path
) -> None:
    run(model_of(), items_of(data, backend="museval"), tmp_path)
    assert scores(tmp_path) == pytest.approx(soft[1], abs=1e-3)


def test_figures_are_mean_standard_error_and_median(soft: tuple[Summary, np.ndarray]) -> None:
    figures, actual = soft[0].published, soft[1]
    names = {"SDR": 0, "SIR": 2, "SAR": 3, "SDR of the mixture": 4, "SIR of the mixture": 6}
    for name, column in names.items():
        values = actual[:, column]
        assert figures[f"{name}, mean"] == pytest.approx(values.mean(), abs=1e-9)
        error = np.sqrt(np.square(values - values.mean()).sum() / (len(values) - 1) / len(values))
        assert figures[f"{name}, standard error"] == pytest.approx(error, abs=1e-9)
        assert figures[f"{name}, median"] == pytest.approx(np.median(values), abs=1e-9)
    assert len(figures) == 15


def test_the_mixture_as_model_scores_as_the_mixture(data: Path, tmp_path: Path) -> None:
    run("mixture", items_of(data), tmp_path)
    with (tmp_path / "items.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name in ("bss_sdr", "bss_isr", "bss_sir"):
        assert [row[name] for row in rows] == [row[f"mixture.{name}"] for row in rows]


def test_noise_masks_are_added_only_on_request(data: Path, tmp_path: Path) -> None:
    write_list(tmp_path / "one.csv", [("0.wav", "frames/0", NUM_FRAMES[0], "label 0")])
    settings = {"interferers": str(data / "second.csv")}
    model = model_of("clipsep_nit", noise={"num_heads": 2, "keep_noise": True})

    def sdr_of(model: Model, noise: str) -> float:
        all_settings = settings | {"noise": noise}
        items = load_items("clipsep", data, tmp_path / "one.csv", "plain", all_settings)
        return run(model, items, tmp_path / model.name / noise).overall["bss_sdr"].mean

    def network_of(model: Model) -> torch.nn.Module:
        assert isinstance(model.separator, torch.nn.Module)
        return model.separator

    alone = []
    for head in range(2):
        single_head = model_of("clipsep_nit", noise={"num_heads": 1, "keep_noise": True})
        weights = network_of(model).state_dict()
        kept = {k: v for k, v in weights.items() if not k.startswith("noise_heads")}
        for name in ("weight", "bias"):
            kept[f"noise_heads.0.{name}"] = weights[f"noise_heads.{head}.{name}"]
        network_of(single_head).load_state_dict(kept)
        single_head.name = f"head {head}"
        alone.append(sdr_of(single_head, "all"))
    assert sdr_of(model, "best") == pytest.approx(max(alone), abs=2e-6)  # rounded to 1e-6
    assert abs(alone[0] - alone[1]) > 1e-4
    off = model_of("clipsep_nit", noise={"num_heads": 2, "keep_noise": False})
    network_of(off).load_state_dict(network_of(model).state_dict())
    off.name = "off"
    assert sdr_of(model, "off") == sdr_of(off, "off") != sdr_of(model, "all")


def test_pitseps_better_mask_of_two_is_an_oracle(data: Path, tmp_path: Path) -> None:
    """m and 1 - m, each scored by museval; the authors keep the better of an item's two."""
    model = model_of("pitsep", num_sources=2)

    def mask(mixture: np.ndarray, label: str) -> np.ndarray:
        return soft_mask(model, mixture, label)

    of_mask = by_hand(data, mask)
    of_rest = by_hand(data, lambda mixture, label: 1 - mask(mixture, label))
    better = np.where((of_mask[:, 0] >= of_rest[:, 0])[:, None], of_mask, of_rest)
    summary = run(model, items_of(data, noise="best"), tmp_path / "best")
    assert scores(tmp_path / "best")[:, :4] == pytest.approx(better, abs=1e-3)
    assert "oracle" in summary.run.model
    run(model, items_of(data), tmp_path / "off")
    assert scores(tmp_path / "off")[:, :4] == pytest.approx(of_mask, abs=1e-3)
    with pytest.raises(ValueError, match="noise=all: only CLIPSep-NIT has noise masks"):
        evaluate(model, items_of(data, noise="all"), tmp_path / "all")


def test_the_image_condition_queries_by_video_frames(data: Path, tmp_path: Path) -> None:
    from PIL import Image

    for index, num_frames in enumerate(NUM_FRAMES[:NUM_CLIPS]):
        (data / "frames" / str(index)).mkdir(parents=True, exist_ok=True)
        for offset in (-1, 0, 1):
            colour = (40 * index, 100 + 50 * offset, 7)
            name = f"{num_frames // 2 + offset:06d}.jpg"
            Image.new("RGB", (8, 6), colour).save(data / "frames" / str(index) / name)
    item = items_of(data, "image").render(1)
    frames = item.example.frames
    assert [frame.name for frame in frames] == ["000001", "000002", "000003"]


def test_missing_files_are_refused_or_skipped(data: Path, tmp_path: Path) -> None:
    rows = [("0.wav", "f", 8, "a"), ("gone.wav", "f", 8, "b"), ("2.wav", "f", 3, "c")]
    write_list(tmp_path / "some.csv", rows)
    settings = {"interferers": str(data / "second.csv")}
    with pytest.raises(FileNotFoundError, match=r"1 of the \d files .* gone\.wav"):
        load_items("clipsep", data, tmp_path / "some.csv", "plain", settings)
    items = load_items(
        "clipsep", data, tmp_path / "some.csv", "plain", settings | {"missing": "skip"}
    )
    assert list(items.ids) == ["0000", "0002"]
    assert items.condition == "text, 1 of 3 items left aside"
    assert np.array_equal(items.render(1).rest, mixed(data, 2)[1].astype(np.float32))


def test_silent_clips_are_left_out_and_counted(data: Path, tmp_path: Path) -> None:
    scipy.io.wavfile.write(tmp_path / "silent.wav", RATE, np.zeros(70000, np.int16))
    scipy.io.wavfile.write(tmp_path / "loud.wav", RATE, np.full(70000, 9, np.int16))
    write_list(tmp_path / "a.csv", [("loud.wav", "f", 4, "a"), ("loud.wav", "f", 4, "b")])
    write_list(tmp_path / "b.csv", [("silent.wav", "f", 4, "c")])
    settings = {"interferers": str(tmp_path / "b.csv")}
    items = load_items("clipsep", tmp_path, tmp_path / "a.csv", "plain", settings)
    summary = run(model_of(), items, tmp_path / "out")
    assert "bss_sdr" not in summary.overall
    assert not summary.published


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"masks": "round"}, "masks='round'; expected one of soft, hard"),
        ({"backend": "mir_eval"}, "backend='mir_eval'; expected one of qsep, museval"),
        ({"noise": "some"}, "noise='some'"),
        ({"interferers": ""}, "give both lists"),
    ],
)
def test_unknown_settings_are_refused(data: Path, settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        items_of(data, **settings)


def test_noise_masks_need_a_model_that_has_them(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only CLIPSep-NIT has"):
        evaluate(model_of(), items_of(data, noise="all"), tmp_path)


def test_the_command_scores_a_checkpoint(data: Path, tmp_path: Path, qsep: Any) -> None:
    separator = tiny_separator("clipsep", spectrogram=SPECTROGRAM, query_dim=384)
    encoder = minilm.build(minilm.Config())
    description = describe("clipsep", separator, "minilm", encoder, {})
    save_checkpoint(tmp_path / "model", description, separator.state_dict(), "# tiny\n")
    write_list(tmp_path / "one.csv", [("1.wav", "frames/1", NUM_FRAMES[1], "label 1")])
    common = ("--data", data, "--manifest", tmp_path / "one.csv", "-m", tmp_path / "model")
    lists = f"interferers={data / 'second.csv'}"
    options = ("--no-baselines", "--keep-audio", "0", "--workers", "1")
    outcomes = [
        qsep("evaluate", "clipsep", lists, *common, *options, *more, "-o", tmp_path / name)
        for name, more in {
            "plain": (),
            "other": ("--binary", "--backend", "museval"),
        }.items()
    ]
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert "SDR of the mixture, mean" in outcomes[0].out
    assert "hard masks" in outcomes[1].out
    plain, other = (scores(tmp_path / name) for name in ("plain", "other"))
    assert plain[0, 4:] == pytest.approx(other[0, 4:], abs=1e-3)  # the mixture, by either backend
    assert abs(plain[0, 0] - other[0, 0]) > 1e-3
