"""The smallest data on which each evaluation protocol runs, in the protocol's format."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from qsep.evaluation.items.manifest import COLUMNS


@dataclass(frozen=True)
class Miniature:
    """make: writes the recordings and lists into a folder and returns further arguments of `load`, by
    condition. patches: constants of the protocol's file, replaced for signals that are quick to score."""

    make: Callable[[Path], Mapping[str, dict[str, Any]]]
    patches: Mapping[str, Any] = field(default_factory=dict)


def sound(path: Path, seed: int, rate: int, num_samples: int = 2000, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = 0.1 * np.random.default_rng(seed).standard_normal((num_samples, channels))
    soundfile.write(path, noise.astype(np.float32), rate, subtype="FLOAT")


def table(path: Path, *rows: Sequence[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def audiosep(folder: Path) -> Mapping[str, dict[str, Any]]:
    rows: list[Sequence[object]] = [("index", "caption", "-", "-")]
    for index, caption in enumerate(("a dog", "rain", "a dog")):
        for seed, kind in enumerate(("mixture", "segment")):
            sound(folder / f"data/esc50/{kind}-{index}.wav", 2 * index + seed, 32000)
        rows.append((index, caption, "-", "-"))
    table(folder / "metadata/esc50_eval.csv", *rows)
    return {"plain": {"set": "esc50"}}


def bimodal(folder: Path) -> Mapping[str, dict[str, Any]]:
    names = ("/erhu/1.wav", "/tuba/2.wav", "/flute/3.wav")
    for seed, name in enumerate(names):
        sound(folder / f"audio{name}", seed, 16000, 20000)
    table(folder / "annotations/test.csv", *[(name, "frames", 1) for name in names])
    table(folder / "annotations/test_sep_2.csv", names[:2], names[1:])
    return {}


def clipsep(folder: Path) -> Mapping[str, dict[str, Any]]:
    rows = [(f"{n}.wav", f"frames/{n}", 4, f"label {n}") for n in range(5)]
    for seed, (name, frames, num_frames, _) in enumerate(rows):
        sound(folder / name, seed, 16000, 40000)
        (folder / frames).mkdir(parents=True)
        for number in range(num_frames + 1):  # named in queries, and read by encoders alone
            (folder / frames / f"{number:06d}.jpg").touch()
    first = table(folder / "first.csv", *rows[:2])
    second = table(folder / "second.csv", *rows[2:])
    lists = {"manifest": first, "interferers": str(second)}
    return {"plain": lists, "image": lists}


def dcase2024(folder: Path) -> Mapping[str, dict[str, Any]]:
    for name in (1, 2, 3):
        sound(folder / f"lass_validation/{name}.wav", name, 16000)
    header = ("source", "noise", "snr", "caption")
    mixtures = [(1, 2, -7, "a creaking door"), (3, 1, 12, "rain")]
    table(folder / "lass_synthetic_validation.csv", header, *mixtures)
    return {}


def dcase2026(folder: Path) -> Mapping[str, dict[str, Any]]:
    for seed, name in enumerate(("a_0", "a_1")):
        sound(folder / f"soundscape/{name}.wav", seed, 32000, channels=4)
    for seed, name in enumerate(("a_0_0_AlarmClock", "a_0_1_Speech", "a_0_2_AlarmClock")):
        sound(folder / f"oracle_target/{name}.wav", seed, 32000)
    return {}


def esc50(folder: Path) -> Mapping[str, dict[str, Any]]:
    header = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
    rows = []
    for number in range(4):
        name, category = (
            f"{number // 2 + 1}-{number}-A-{number % 2}.wav",
            ("dog", "rain")[number % 2],
        )
        sound(folder / "audio" / name, number, 44100)
        rows.append((name, number // 2 + 1, number % 2, category, "True", 7, "A"))
    table(folder / "meta/esc50.csv", header, *rows)
    return {}


def hive(folder: Path) -> Mapping[str, dict[str, Any]]:
    cut = {"chunk_start_second": 0, "chunk_end_second": 0.2, "crop_start_second": 0.01}
    cut |= {"crop_end_second": 0.11}
    entries = []
    for number, labels in enumerate((("Dog", "Rain"), ("Rain", "Flute", "Dog"))):
        sources = []
        for label in labels:
            sound(folder / f"ESC50/{label}.wav", len(label), 8000)
            sources.append(
                {"path": f"ESC50/{label}.wav", "label": label, "applied_weight": 0.5} | cut
            )
        entry = {"mix_id": number, "sample_rate": 8000, "target_duration": 0.1, "sources": sources}
        entries.append(entry | {"global_normalization_factor": 0.9})
    (folder / "list.json").write_text(json.dumps(entries))
    return {"plain": {"manifest": folder / "list.json"}}


def musdb18(folder: Path) -> Mapping[str, dict[str, Any]]:
    names = ("vocals", "drums", "bass", "other")
    for number in range(2):
        track = folder / f"test/track {number}"
        for seed, name in enumerate(names):
            sound(track / f"{name}.wav", 10 * number + seed, 8000, 17000, channels=2)
        mixture = sum(soundfile.read(track / f"{name}.wav")[0] for name in names)
        soundfile.write(track / "mixture.wav", mixture, 8000, subtype="FLOAT")
    return {}


def own(folder: Path) -> Mapping[str, dict[str, Any]]:
    rows: list[Sequence[object]] = [("file", "label", "split")]
    for number in range(5):
        label = ("bell", "dog", "kettle")[number % 3]
        sound(folder / f"{number}.wav", number, 16000)
        rows.append((f"{number}.wav", label, "dev"))
    sound(folder / "5.wav", 5, 16000)
    rows.append(("5.wav", "kettle", "dev"))
    table(folder / "clips.csv", *rows)
    (folder / "wordings.toml").write_text(
        '[wordings]\nbell = ["a small bell"]\ndog = ["Rex"]\nkettle = ["a kettle", "boiling"]\n'
        '[absent]\nphrases = ["an airship"]\n'
    )
    return {}


def corpus(folder: Path) -> Mapping[str, dict[str, Any]]:
    """Of sounds150 and sounds21, with labels that both have."""
    recordings = {"rain": "ab", "dog_bark": "cd", "flute": "ef"}
    for seed, name in enumerate("abcdef"):
        sound(folder / f"{name}.wav", seed, 32000)
    rows = []
    for number, (target, label, other, other_label) in enumerate(
        (
            ("a", "rain", "c", "dog_bark"),
            ("d", "dog_bark", "e", "flute"),
            ("f", "flute", "b", "rain"),
        )
    ):
        assert target in recordings[label]
        rows.append(
            {
                "id": f"m{number}",
                "query": label.replace("_", " "),
                "seconds": 0.05,
                "target": f"{target}.wav",
                "target_start": 0,
                "interferers": f"{other}.wav",
                "interferer_starts": "0.01",
                "snr_db": 3 * number,
                "target_label": label,
                "interferer_labels": other_label,
            }
        )
    path = folder / "mixtures.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    conditions = ("plain", "wordings", "examples", "absent", "absent-wordings")
    return {condition: {"manifest": path} for condition in conditions}


def speakers(folder: Path) -> Mapping[str, dict[str, Any]]:
    rows: list[Sequence[object]] = [("file", "label", "group", "seconds")]
    groups = (("man", "Al"), ("man", "Bo"), ("woman", "Cy"), ("woman", "Cy"))
    for number, (kind, group) in enumerate(groups):
        sound(folder / f"{number}.wav", number, 16000, 3200)
        rows.append((f"{number}.wav", kind, group, 0.2))
    list_of_speakers = {"manifest": table(folder / "speakers.csv", *rows)}
    return dict.fromkeys(("plain", "other", "absent"), list_of_speakers)


def uss(folder: Path) -> Mapping[str, dict[str, Any]]:
    for label in ("Cough", "Bass_drum"):
        for index in range(2):
            for seed, kind in enumerate(("mixture", "source")):
                name = f"class={label},index={index:03d},{kind}.wav"
                sound(folder / f"data/class={label}" / name, 2 * index + seed, 32000)
        sound(folder / f"train/{label}/a.wav", 9, 32000)
    data = {"data": folder / "data"}
    return {"plain": data, "examples": data | {"queries": str(folder / "train")}}


# A file in evaluation/protocols needs an entry here.
MINIATURES = {
    "audiosep": Miniature(audiosep),
    "bimodal": Miniature(bimodal, {"NUM_SAMPLES": 2000}),
    "clipsep": Miniature(clipsep, {"NUM_SAMPLES": 4095, "NUM_SCORED": 4080}),
    "dcase2024": Miniature(dcase2024),
    "dcase2026": Miniature(dcase2026),
    "esc50": Miniature(esc50),
    "hive": Miniature(hive),
    "musdb18": Miniature(musdb18, {"SAMPLE_RATE": 8000}),
    "own": Miniature(own, {"SECONDS": 0.05}),
    "sounds150": Miniature(corpus),
    "sounds21": Miniature(corpus),
    "speakers": Miniature(
        speakers, {"SECONDS": 0.1, "GAP_SECONDS": 0.01, "MIN_EXAMPLE_SECONDS": 0.05}
    ),
    "uss": Miniature(uss),
}
