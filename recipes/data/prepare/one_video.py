"""One video to what training reads of it: its sound as a WAV file, and a small picture a second."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from qsep.separation.audio.ffmpeg import INSTALL_FFMPEG
from qsep.separation.audio.reader import AudioError, length_and_rate

from ..index import FRAMES_PER_SECOND

if TYPE_CHECKING:
    from PIL.Image import Image

SAMPLE_RATE = 16000
PICTURE_SIZE = 224  # what CLIP's ViT-B/32 and ResNets take
SUFFIXES = {".mp4", ".m4v", ".webm", ".mkv", ".mov", ".avi", ".flv", ".3gp", ".mpg", ".mpeg", ".ts"}


class VideoError(ValueError):
    """A video of which nothing can be used, and why."""


def require_tools() -> None:
    """Raise ValueError, with the remedy, for what is needed to read videos and is not installed."""
    if find_spec("PIL") is None:
        raise ValueError("frames are made with Pillow: pip install 'qsep[train]'")
    if not shutil.which("ffmpeg"):
        raise ValueError(f"ffmpeg is not there to read videos with: {INSTALL_FFMPEG}")


def find_videos(folder: Path) -> list[Path]:
    """All videos below the folder by their endings, links followed, hidden ones left out; sorted."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: name the one that your videos are in")
    found = []
    for root, subfolders, files in os.walk(folder, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        paths = [Path(root, name) for name in files if not name.startswith(".")]
        found += [path for path in paths if path.suffix.lower() in SUFFIXES]
    return sorted(found)


def extract(video: Path, audio: Path, frames: Path, staging: Path) -> int:
    """Write the sound (16 kHz, mono, 16 bits) and the frames (1 a second, 224 x 224); returns their number.

    What is there already is kept as it is: the folder of frames comes last, and whole. staging: a folder
    on the same disk. Raises VideoError for what ffmpeg cannot read, OSError for a full disk.
    """
    if audio.is_file() and frames.is_dir():
        return num_pictures(frames)
    with TemporaryDirectory(dir=staging) as temporary:
        workplace = Path(temporary)
        run_ffmpeg(video, workplace)
        try:
            length_and_rate(workplace / "audio.wav")
        except AudioError:
            raise VideoError("its sound is empty") from None
        if not num_pictures(workplace):
            raise VideoError("it has no pictures")
        pictures = workplace / "frames"
        pictures.mkdir()
        for picture in workplace.glob("*.jpg"):
            save_picture(picture, pictures / picture.name)
        audio.parent.mkdir(parents=True, exist_ok=True)
        frames.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(frames, ignore_errors=True)
        os.replace(workplace / "audio.wav", audio)
        os.replace(pictures, frames)
    return num_pictures(frames)


def num_pictures(folder: Path) -> int:
    return sum(1 for _ in folder.glob("*.jpg"))


def run_ffmpeg(video: Path, folder: Path) -> None:
    """audio.wav, and 000001.jpg … in their own size, into the folder."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1"]
    # Only local files, and "file:" so that no name is taken for an option or an address.
    command += ["-protocol_whitelist", "file", "-i", f"file:{video.absolute()}"]
    command += ["-map", "0:v:0", "-r", str(FRAMES_PER_SECOND), "-q:v", "2", "%06d.jpg"]
    command += ["-map", "0:a:0", "-ar", str(SAMPLE_RATE), "-ac", "1", "-c:a", "pcm_s16le"]
    command += ["audio.wav"]
    done = subprocess.run(command, cwd=folder, capture_output=True, stdin=subprocess.DEVNULL)
    complaint = done.stderr.decode(errors="replace").strip()
    if "No space left on device" in complaint:
        raise OSError(f"{folder.parent.parent}: no space left on device")
    if done.returncode:
        lines = complaint.splitlines() or [f"exit code {done.returncode}"]
        reason = re.sub(r"^\[.* @ 0x\w+\] ", "", lines[0])  # without the reader's address in memory
        raise VideoError(f"ffmpeg reports: {reason}")


def save_picture(source: Path, target: Path) -> None:
    from PIL import Image

    with Image.open(source) as picture:
        centre_square(picture.convert("RGB")).save(target)


def centre_square(picture: Image) -> Image:
    """The shorter side made 224 long, and the middle of the longer one: what CLIP was trained on."""
    from PIL.Image import Resampling

    shorter = min(picture.size)
    width, height = (PICTURE_SIZE * side // shorter for side in picture.size)
    left, top = round((width - PICTURE_SIZE) / 2), round((height - PICTURE_SIZE) / 2)
    resized = picture.resize((width, height), Resampling.BICUBIC)
    return resized.crop((left, top, left + PICTURE_SIZE, top + PICTURE_SIZE))
