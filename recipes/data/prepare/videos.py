"""Training data from a folder of videos: audio, frames, index files, and a report of unusable videos.

As in Dong et al. (2023), clips of MUSIC (Zhao et al. 2018) need more than 5 frames and are split 80/20; those
of VGGSound (Chen et al. 2020) need more than 8 and are split 90/10.
"""

from __future__ import annotations

import csv
import io
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from qsep.queries.files.json_files import json_content
from qsep.queries.files.tables import as_table
from qsep.queries.files.threads import in_order
from qsep.separation.storage.csv_cells import inert
from qsep.separation.storage.results import Results
from qsep.separation.storage.temporary import temporary_folder

from ..index import VideoClip, index_text, read_index
from .one_video import VideoError, extract, find_videos, require_tools

COMMAND = "data prepare"  # in the folder's listing
SHUFFLE_SEED = 1234
YOUTUBE_ID_LENGTH = 11
PROBLEMS = {
    "missing": "listed, but the video does not exist",
    "unlisted": "a video that is not in the list",
    "duplicate": "another file of the same video",
    "broken": "cannot be read",
    "short": "too few frames",
}


@dataclass(frozen=True)
class Rules:
    """Clips need more than min_frames frames; validation_share of them go to validation."""

    min_frames: int
    validation_share: float


RULES = {"music": Rules(5, 0.2), "vggsound": Rules(8, 0.1)}


@dataclass(frozen=True)
class Job:
    """A video to prepare. name: of its files in the prepared folder, without extension. test: held out."""

    video: Path
    name: str
    label: str
    test: bool = False


@dataclass
class Plan:
    """jobs: by name. faults: (file or name, key of PROBLEMS, remark)."""

    jobs: dict[str, Job] = field(default_factory=dict)
    faults: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, job: Job) -> None:
        """Add a job, or a fault if its name is taken."""
        if job.name in self.jobs:
            self.faults.append((str(job.video), "duplicate", str(self.jobs[job.name].video)))
        else:
            self.jobs[job.name] = job


@dataclass(frozen=True)
class Prepared:
    """clips: number in each index file. problems: number of each of PROBLEMS, listed in the file `report`."""

    clips: dict[str, int]
    problems: dict[str, int]
    report: Path


def prepare(
    dataset: str,
    folder: Path,
    out: Path,
    listing: Path | None = None,
    held_out: Sequence[Path] = (),
    num_jobs: int = 1,
    progress: Callable[[float, float], object] | None = None,
) -> Prepared:
    """Extract the videos in `folder` to `out`; a repeated run continues an interrupted one.

    dataset: "music" or "vggsound". listing: VGGSound's vggsound.csv (default: the one in the folder) or
    MUSIC's JSON (default: none; missing videos are then not reported). held_out: index files whose videos
    go to the test split. num_jobs: videos in parallel. progress: called with (videos done, videos in all).
    Raises ValueError if no video is usable; report.csv says why; and if `out` is not ours (see `Results`).
    """
    rules = RULES.get(dataset)
    if rules is None:
        raise ValueError(f"{dataset!r} is not a known data set: expected {' or '.join(RULES)}")
    require_tools()
    results = Results(out, COMMAND)
    videos = find_videos(folder)
    if not videos:
        raise ValueError(f"{folder}: no videos in it")
    tested = {Path(clip.audio).stem for path in held_out for clip in listed_clips(path)}
    if dataset == "music":
        plan = plan_music(videos, listing, tested)
    else:
        plan = plan_vggsound(videos, listing or folder / "vggsound.csv", tested)
    clips = extract_all(plan, results, rules, num_jobs, progress)
    report = write_report(results, plan.faults)
    if not clips:
        raise ValueError(f"{folder}: none of {len(videos)} videos can be used; {report} says why")
    held = [clips[name] for name in sorted(clips) if plan.jobs[name].test]
    rest = [clips[name] for name in sorted(clips) if not plan.jobs[name].test]
    train, val = split(rest, rules.validation_share)
    index = {"train": train, "val": val} | ({"test": held} if held else {})
    for name, rows in index.items():
        results.write_text(f"{name}.csv", index_text(rows))
    problems = Counter(problem for _, problem, _ in plan.faults)
    return Prepared({name: len(rows) for name, rows in index.items()}, dict(problems), report)


def listed_clips(path: Path) -> Iterable[VideoClip]:
    """The clips of an index file."""
    return read_index(path.parent, path.name.removesuffix(".csv"))


def plan_music(videos: Sequence[Path], listing: Path | None, tested: set[str]) -> Plan:
    """The plan for MUSIC, where a video's label is the name of its folder."""
    plan = Plan()
    for video in videos:
        label = video.absolute().parent.name
        plan.add(Job(video, f"{label}/{video.stem}", label, video.stem in tested))
    if listing is not None:
        try:
            listed = json_content(listing)["videos"]
            names = [f"{label}/{video_id}" for label, ids in listed.items() for video_id in ids]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{listing}: not one of MUSIC's lists of videos ({error})") from error
        plan.faults += [(name, "missing", "") for name in names if name not in plan.jobs]
    return plan


def plan_vggsound(videos: Sequence[Path], listing: Path, tested: set[str]) -> Plan:
    """The plan for VGGSound: file names begin with YouTube ids; labels come from the list, without commas.

    Videos of the list's test split are held out.
    """
    listed = read_vggsound(listing)
    plan = Plan()
    for video in videos:
        video_id = video.stem if video.stem in listed else video.stem[:YOUTUBE_ID_LENGTH]
        if video_id not in listed:
            plan.faults.append((str(video), "unlisted", ""))
            continue
        label, part = listed[video_id]
        label = label.replace(", ", " ")
        name = f"{video_id[0]}/{video_id[1]}/{video_id}"
        plan.add(Job(video, name, label, part == "test" or video_id in tested))
    present = {Path(name).name for name in plan.jobs}
    plan.faults += [(video_id, "missing", "") for video_id in listed if video_id not in present]
    return plan


def read_vggsound(path: Path) -> dict[str, tuple[str, str]]:
    """(label, "train" or "test") by YouTube id, from rows of id, start in seconds, label, split.

    Raises ValueError for a missing or malformed list.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give VGGSound's vggsound.csv with --list")
    listed: dict[str, tuple[str, str]] = {}
    with path.open(newline="", encoding="utf-8-sig") as file, as_table(path):
        for row in csv.reader(file):
            if len(row) != 4 or len(row[0]) < 2 or row[3] not in ("train", "test"):
                raise ValueError(
                    f"{path}: expected rows of YouTube id, start, label, train or test; "
                    f"got {','.join(row)!r}"
                )
            listed[row[0]] = row[2], row[3]
    return listed


def extract_all(
    plan: Plan,
    results: Results,
    rules: Rules,
    num_jobs: int,
    progress: Callable[[float, float], object] | None,
) -> dict[str, VideoClip]:
    """Extract all videos: the usable clips by name. Faults of the others are added to the plan."""
    clips: dict[str, VideoClip] = {}

    def frames_of(job: Job) -> int | VideoError:
        audio = results.folder / f"audio/{job.name}.wav"
        frames = results.folder / "preprocessed" / job.name
        try:
            return extract(job.video, audio, frames, staging, results)
        except VideoError as error:
            return error

    with (
        temporary_folder(results.folder) as staging,
        closing(in_order(frames_of, plan.jobs.values(), num_jobs)) as extracted,
    ):
        for num_done, (job, result) in enumerate(extracted, start=1):
            if isinstance(result, VideoError):
                plan.faults.append((str(job.video), "broken", str(result)))
            elif result > rules.min_frames:
                clips[job.name] = VideoClip(
                    f"audio/{job.name}.wav", f"preprocessed/{job.name}", result, job.label
                )
            else:
                remark = f"{result} frames; more than {rules.min_frames} are needed"
                plan.faults.append((str(job.video), "short", remark))
            if progress:
                progress(num_done, len(plan.jobs))
    return clips


def split(
    clips: Sequence[VideoClip], validation_share: float
) -> tuple[list[VideoClip], list[VideoClip]]:
    """(train, validation), by Python's random.shuffle after random.seed(1234) as in the authors' code.

    They shuffle clips in the order in which their file system lists them, which cannot be reproduced; here
    clips are sorted by name.
    """
    shuffled = list(clips)
    random.Random(SHUFFLE_SEED).shuffle(shuffled)
    num_train = int(len(shuffled) * (1 - validation_share))
    return shuffled[:num_train], shuffled[num_train:]


def write_report(results: Results, faults: Iterable[tuple[str, str, str]]) -> Path:
    """Write report.csv, of (file or name, problem, remark), sorted by problem; returns its path."""
    by_problem = sorted((problem, name, remark) for name, problem, remark in faults)
    file = io.StringIO(newline="")
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(("file", "problem", "remark"))
    rows.writerows(inert((name, problem, remark)) for problem, name, remark in by_problem)
    text = file.getvalue().encode("utf-8", "backslashreplace")
    return results.write("report.csv", lambda temporary: temporary.write_bytes(text))
