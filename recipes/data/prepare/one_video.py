"""Extracting from a video what training reads: its audio as WAV, and one small picture per second."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from qsep.separation.audio.ffmpeg import INSTALL_FFMPEG
from qsep.separation.audio.reader import AudioError, length_and_rate
from qsep.separation.storage.temporary import temporary_folder

from ..index import FRAMES_PER_SECOND
from ..walk import visible_files

if TYPE_CHECKING:
    from PIL.Image import Image

    from qsep.separation.storage.results import Results

SAMPLE_RATE = 16000
PICTURE_SIZE = 224  # input of CLIP's ViT-B/32 and of ResNets
SUFFIXES = {".mp4", ".m4v", ".webm", ".mkv", ".mov", ".avi", ".flv", ".3gp", ".mpg", ".mpeg", ".ts"}


class VideoError(ValueError):
    """Why a video cannot be used."""


def require_tools() -> None:
    """Raise ValueError, with the remedy, if Pillow or ffmpeg is not installed."""
    if find_spec("PIL") is None:
        raise ValueError("Pillow is needed for frames: pip install 'qsep[train]'")
    if not shutil.which("ffmpeg"):
        raise ValueError(f"ffmpeg is needed to read videos: {INSTALL_FFMPEG}")


def find_videos(folder: Path) -> list[Path]:
    """All videos below the folder by extension, sorted; links are followed, hidden files skipped.

    Raises ValueError if it is not a folder.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: give the folder of your videos")
    return sorted(path for path in visible_files(folder) if path.suffix.lower() in SUFFIXES)


def extract(video: Path, audio: Path, frames: Path, staging: Path, results: Results) -> int:
    """Write audio (16 kHz, mono, 16 bits) and frames (1 per second, 224 x 224); return the number of frames.

    Nothing is done if both exist: the folder of frames is written last, and atomically. staging: a folder for
    temporary files on the same disk. results: lists the audio, and what it holds must be ours; frames are
    replaced only with their audio. Raises VideoError for what ffmpeg cannot read, OSError for a full disk.
    """
    if audio.is_file() and frames.is_dir():
        return num_pictures(frames)
    with temporary_folder(staging) as workplace:
        run_ffmpeg(video, workplace)
        try:
            length_and_rate(workplace / "audio.wav")
        except AudioError:
            raise VideoError("no audio in it") from None
        if not num_pictures(workplace):
            raise VideoError("no pictures in it")
        pictures = workplace / "frames"
        pictures.mkdir()
        for picture in workplace.glob("*.jpg"):
            save_picture(picture, pictures / picture.name)
        audio.parent.mkdir(parents=True, exist_ok=True)
        frames.parent.mkdir(parents=True, exist_ok=True)
        if frames.is_dir():
            raise VideoError(f"{frames} exists without its audio: delete it")
        names = results.name_of(frames), results.name_of(audio)
        try:
            results.claim(*names)
        except ValueError as error:  # a link, or not what an earlier run wrote
            raise VideoError(str(error)) from error
        results.commit(workplace / "audio.wav", audio)
        os.replace(pictures, frames)
    return num_pictures(frames)


def num_pictures(folder: Path) -> int:
    """Number of JPEG files in the folder."""
    return sum(1 for _ in folder.glob("*.jpg"))


def run_ffmpeg(video: Path, folder: Path) -> None:
    """Write audio.wav, and 000001.jpg … in the video's size, into the folder.

    Raises VideoError if ffmpeg fails, OSError if the disk is full.
    """
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
        # Without the memory address of the demuxer.
        reason = re.sub(r"^\[.* @ 0x\w+\] ", "", lines[0])
        raise VideoError(f"ffmpeg reports: {reason}")


def save_picture(source: Path, target: Path) -> None:
    """Write a picture cropped by `centre_square`."""
    from PIL import Image

    with Image.open(source) as picture:
        centre_square(picture.convert("RGB")).save(target)


def centre_square(picture: Image) -> Image:
    """The picture scaled to a shorter side of 224 pixels and cropped to its centre, as for CLIP."""
    from PIL.Image import Resampling

    shorter = min(picture.size)
    width, height = (PICTURE_SIZE * side // shorter for side in picture.size)
    left, top = round((width - PICTURE_SIZE) / 2), round((height - PICTURE_SIZE) / 2)
    resized = picture.resize((width, height), Resampling.BICUBIC)
    return resized.crop((left, top, left + PICTURE_SIZE, top + PICTURE_SIZE))
