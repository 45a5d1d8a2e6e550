"""The recipe bimodal-sounds21, made tiny, and recordings for it."""

from pathlib import Path

import numpy as np
import soundfile

from qsep.recipes.data.wording import load_phrase_book

RATE = 8000


def tiny_overrides(folder: Path) -> list[str]:
    spectrogram = (
        "{ sample_rate = 8000, window_samples = 62, hop_samples = 32, segment_frames = 32 }"
    )
    return [
        f"data.folder={folder}",
        "data.num_validation=2",
        "separator.channels=[4, 6, 8]",
        "separator.num_features=4",
        f"separator.spectrogram={spectrogram}",
        "separator.num_heads=2",
        "separator.weak.warmup_steps=1",
        "separator.weak.ramp_steps=0",
        "mix.segment_samples=6000",
        "train.batch_size=2",
    ]


def labelled_recordings(folder: Path) -> Path:
    """The folder, filled as sounds21: clips.csv, two recordings of six kinds in each split."""
    lines = ["file,label,split,licence,author,url"]
    kinds = ("dog_bark", "rain", "violin", "flute", "clock_tick", "baby_cry")
    known = [label for label in load_phrase_book("sounds21").labels if label in kinds]
    for index, label in enumerate(known):
        for split in ("train", "dev"):
            for take in range(2):
                name = f"{label}-{split}-{take}.wav"
                time = np.arange(9000) / RATE
                soundfile.write(
                    folder / name, 0.3 * np.sin(400 * (index + 1 + take / 3) * time), RATE
                )
                lines.append(f"{name},{label},{split},CC0,somebody,")
    assert len(known) >= 4
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    return folder
