"""Folders of prepared videos, as `qsep data prepare` makes them, out of noise and coloured squares."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from qsep.recipes.data.index import VideoClip, index_text


def prepared_clip(folder: Path, name: str, label: str, num_frames: int, rate: int) -> VideoClip:
    """num_frames seconds of noise and as many pictures, all different."""
    rng = np.random.default_rng(list(name.encode()))
    clip = VideoClip(f"audio/{name}.wav", f"preprocessed/{name}", num_frames, label)
    (folder / clip.audio).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / clip.audio, rng.uniform(-0.9, 0.9, num_frames * rate), rate)
    (folder / clip.frames).mkdir(parents=True)
    for frame in range(1, num_frames + 1):
        colour = rng.integers(256, size=3, dtype=np.uint8)
        picture = Image.fromarray(np.broadcast_to(colour, (224, 224, 3)).copy())
        picture.save(folder / clip.frames / f"{frame:06d}.jpg")
    return clip


def prepared_folder(
    folder: Path, rate: int, train: Sequence[tuple[str, int]], val: Sequence[tuple[str, int]]
) -> Path:
    """train, val: labels and numbers of frames of the clips t0, t1 …, v0, v1 …"""
    for split, rows in (("train", train), ("val", val)):
        clips = [
            prepared_clip(folder, f"{split[0]}{index}", label, num_frames, rate)
            for index, (label, num_frames) in enumerate(rows)
        ]
        write_index(folder / f"{split}.csv", clips)
    return folder


def write_index(path: Path, clips: Iterable[VideoClip]) -> None:
    path.write_text(index_text(clips), encoding="utf-8")
