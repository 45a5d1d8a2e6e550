"""`qsep separate` on folders and lists: results, the manifest, and going on after an interruption."""

import json
from pathlib import Path
from typing import Any

import pytest
from command import Run, names, record

from qsep.recipes.inference.bulk.jobs import Job, in_shard, merged, parse_shard
from qsep.recipes.inference.bulk.lists import read_list

TREE = ("a.wav", "deep/b.wav", "deep/er/c.flac")


@pytest.fixture
def tree(folder: Path) -> Path:
    """A folder of three recordings and other files."""
    for number, name in enumerate(TREE):
        (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        record(folder / "in" / name, 2001 + 100 * number)
    (folder / "in" / "notes.txt").write_text("none")
    record(folder / "in" / ".hidden.wav", 100)
    return folder / "in"


def rows(out: Path, name: str = "manifest.jsonl") -> list[dict[str, Any]]:
    """The manifest's rows of recordings."""
    lines = [json.loads(line) for line in (out / name).read_text("utf-8").splitlines()]
    return [line for line in lines if "run" not in line]


def test_a_tree_of_recordings_becomes_the_same_tree_of_results(
    qsep: Run, tiny_model: Path, tree: Path
) -> None:
    done = qsep("separate", "in", "-q", "rain", "-q", "dog", "-o", "out", "-m", tiny_model)
    assert done.code == 0, done.err
    assert names(tree.parent / "out") - {"manifest.jsonl"} == {
        f"{stem}.{query}.wav" for stem in ("a", "deep/b", "deep/er/c") for query in ("rain", "dog")
    }
    assert "qsep: 3 recordings done, 0 failed, 0 done before: out/manifest.jsonl" in done.err
    assert len(done.out.splitlines()) == 6
    queries = ("-q", "rain", "-q", "dog")
    single = qsep("separate", "in/deep/b.wav", *queries, "-o", "one", "-m", tiny_model)
    assert single.code == 0
    of_tree = (tree.parent / "out" / "deep" / "b.rain.wav").read_bytes()
    assert of_tree == (tree.parent / "one" / "b.rain.wav").read_bytes()


def test_the_manifest_maps_recordings_to_results(qsep: Run, tiny_model: Path, tree: Path) -> None:
    import hashlib

    qsep("separate", "in", "-q", "rain", "--residual", "-o", "out", "-m", tiny_model)
    out = tree.parent / "out"
    actual = {row["key"]: row for row in rows(out)}
    assert list(actual) == list(TREE)
    row = actual["deep/b.wav"]
    assert row["input"] == "in/deep/b.wav"
    assert row["query"] == "rain"
    assert row["sha256"] == hashlib.sha256((tree / "deep" / "b.wav").read_bytes()).hexdigest()
    assert row["seconds"] == 2101 / 8000
    assert row["model"] == tiny_model.name
    assert row["error"] is None
    for each, name in zip(row["outputs"], ("b.rain.wav", "b.rain.residual.wav"), strict=True):
        content = (out / "deep" / name).read_bytes()
        assert each == {
            "file": f"deep/{name}",
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }


def test_repeating_the_command_separates_only_the_remaining_recordings(
    qsep: Run, tiny_model: Path, tree: Path
) -> None:
    command = ("separate", "in", "-q", "rain", "-o", "out", "-m", tiny_model)
    out = tree.parent / "out"
    qsep(*command)
    before = (out / "a.rain.wav").stat().st_mtime_ns
    (out / "deep" / "b.rain.wav").unlink()
    record(tree / "deep" / "er" / "c.flac", 555)  # changed since
    record(tree / "d.wav", 300)
    again = qsep(*command)
    assert again.code == 0, again.err
    assert "3 recordings done, 0 failed, 1 done before" in again.err
    assert (out / "a.rain.wav").stat().st_mtime_ns == before
    assert [row["key"] for row in rows(out)][3:] == ["d.wav", "deep/b.wav", "deep/er/c.flac"]
    assert "0 recordings done, 0 failed, 4 done before" in qsep(*command).err


def test_results_of_other_settings_are_replaced_only_on_request(
    qsep: Run, tiny_model: Path, tree: Path
) -> None:
    command = ("separate", "in", "-q", "rain", "-o", "out", "-m", tiny_model)
    qsep(*command)
    other = qsep(*command, "--negative", "wind")
    assert other.code == 2
    assert "by another run or other settings: add --skip-existing or --overwrite" in other.error
    skipped = qsep(*command, "--negative", "wind", "--skip-existing")
    assert "0 recordings done, 0 failed, 3 done before" in skipped.err
    replaced = qsep(*command, "--negative", "wind", "--overwrite")
    assert "3 recordings done" in replaced.err


def test_files_of_other_programs_are_kept(qsep: Run, tiny_model: Path, tree: Path) -> None:
    out = tree.parent / "out"
    out.mkdir()
    (out / "a.rain.wav").write_text("mine")
    command = ("separate", "in", "-q", "rain", "-o", "out", "-m", tiny_model)
    assert "exists" in qsep(*command).error
    assert "no earlier qsep separate wrote it" in qsep(*command, "--overwrite").error
    assert qsep(*command, "--skip-existing").code == 0
    assert (out / "a.rain.wav").read_text() == "mine"


def test_a_bad_recording_gives_one_line_and_the_others_are_separated(
    qsep: Run, tiny_model: Path, tree: Path
) -> None:
    (tree / "bad.wav").write_bytes(b"RIFF nothing of the kind")
    command = ("separate", "in", "-q", "rain", "-o", "out", "-m", tiny_model, "--quiet")
    done = qsep(*command)
    assert done.code == 1
    assert "in/bad.wav" in done.error
    bad = [row for row in rows(tree.parent / "out") if row["error"]]
    assert [(row["key"], row["query"]) for row in bad] == [("bad.wav", "rain")]
    record(tree / "bad.wav", 400)  # repaired
    assert qsep(*command).code == 0
    assert (tree.parent / "out" / "bad.rain.wav").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "a.wav\tdog\ndeep/b.wav\n\na.wav\train\n"),
        ("list.csv", "query,input\ndog,a.wav\n,deep/b.wav\nrain,a.wav\n"),
        ("list.jsonl", '{"input": "a.wav", "query": ["dog", "rain"]}\n{"path": "deep/b.wav"}\n'),
    ],
)
def test_a_list_gives_each_recording_its_queries_or_the_common_ones(
    qsep: Run, tiny_model: Path, tree: Path, name: str, text: str
) -> None:
    (tree / name).write_text(text)
    command = ("separate", "--from", f"in/{name}", "-o", "out", "-m", tiny_model)
    assert "in/deep/b.wav has no query in the list" in qsep(*command).error
    assert qsep(*command, "-q", "wind").code == 0
    assert names(tree.parent / "out") - {"manifest.jsonl"} == {
        *("a.dog.wav", "a.rain.wav", "deep/b.wind.wav")
    }


def test_a_list_with_a_query_for_each_recording_needs_no_other(
    qsep: Run, tiny_model: Path, tree: Path
) -> None:
    (tree / "list.csv").write_bytes(b"\xef\xbb\xbfinput , query\r\na.wav,rain\r\n")
    done = qsep("separate", "--from", "in/list.csv", "-o", "out", "-m", tiny_model)
    assert (done.code, names(tree.parent / "out")) == (0, {"a.rain.wav", "manifest.jsonl"})


def test_a_manifest_is_a_list_too(qsep: Run, tiny_model: Path, tree: Path) -> None:
    qsep("separate", "in", "-q", "rain", "-o", "out", "-m", tiny_model)
    text = (tree.parent / "out" / "manifest.jsonl").read_text()
    (tree.parent / "again.jsonl").write_text(text)
    jobs = list(read_list(tree.parent / "again.jsonl"))
    assert [(job.key, job.queries) for job in jobs] == [(f"in/{name}", ("rain",)) for name in TREE]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.txt", "../x.wav\n", "line 1: ../x.wav lies outside the list's folder"),
        ("l.txt", "a.wav\n/etc/x.wav\n", "line 2: /etc/x.wav lies outside"),
        ("l.csv", "name,query\na.wav,dog\n", "has no column input or path or file"),
        ("l.csv", "input,query,query\na.wav,dog,rain\n", "has several columns query: leave one"),
        ("l.jsonl", '{"input": "a.wav"}\n{"input"\n', "line 2 is not JSON"),
        ("l.jsonl", '{"query": "dog"}\n', "line 1: no path"),
        ("l.jsonl", '{"input": "a.wav", "query": [3]}\n', "line 1: expected a path"),
        ("l.txt", "a.wav\t \n", "line 1: an empty query"),
    ],
)
def test_errors_in_a_list_name_the_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        list(read_list(tmp_path / name))


def test_paths_outside_the_list_keep_all_their_folders(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "l.txt").write_text("/data/x/y.wav\n")
    (job,) = read_list(tmp_path / "here" / "l.txt", allow_outside=True)
    assert (job.path, job.folder, job.key) == ("/data/x/y.wav", "data/x", "data/x/y.wav")


def test_recordings_of_equal_names_get_different_result_files(
    qsep: Run, tiny_model: Path, tree: Path
) -> None:
    record(tree / "a.flac", 300)
    assert qsep("separate", "in", "-q", "rain", "-o", "out", "-m", tiny_model).code == 0
    paths = names(tree.parent / "out")
    assert {"a.wav/a.rain.wav", "a.flac/a.rain.wav", "deep/b.rain.wav"} <= paths


@pytest.mark.parametrize("out", ["in", "in/results"])
def test_results_in_the_folder_itself_are_not_separated_again(
    qsep: Run, tiny_model: Path, tree: Path, out: str
) -> None:
    command = ("separate", "in", "-q", "rain", "-m", tiny_model, "-o", out)
    assert "3 recordings done" in qsep(*command).err
    assert "0 recordings done, 0 failed, 3 done before" in qsep(*command).err


def test_shards_partition_the_recordings() -> None:
    jobs = [Job(f"in/{number}.wav") for number in range(1000)]
    parts = [[job for job in jobs if in_shard(job, (number, 3))] for number in (1, 2, 3)]
    actual = [job.path for part in parts for job in part]
    assert sorted(actual) == sorted(job.path for job in jobs)
    assert min(map(len, parts)) > 250  # of 333 on average
    elsewhere = [Job(f"/mnt/other/{number}.wav") for number in range(1000)]
    assert [in_shard(job, (2, 3)) for job in elsewhere] == [in_shard(job, (2, 3)) for job in jobs]
    for wrong in ("0/3", "4/3", "a", "1/", "-1/2"):
        with pytest.raises(ValueError, match="expected I/N"):
            parse_shard(wrong)


def test_each_part_has_a_manifest_and_all_count(qsep: Run, tiny_model: Path, tree: Path) -> None:
    command = ("separate", "in", "-q", "rain", "-o", "out", "-m", tiny_model)
    record(tree / "e.wav", 250)
    for part in ("1/2", "2/2"):
        assert qsep(*command, "--shard", part).code == 0
    out = tree.parent / "out"
    parts = [rows(out, f"manifest-{part}-of-2.jsonl") for part in (1, 2)]
    assert all(parts)
    assert sorted(row["key"] for part in parts for row in part) == sorted((*TREE, "e.wav"))
    assert "0 recordings done, 0 failed, 4 done before" in qsep(*command).err


def test_queries_of_one_recording_are_one_job() -> None:
    jobs = [Job("a.wav", ".", ("x",)), Job("./a.wav", ".", ("y", "x")), Job("b.wav")]
    assert merged(jobs) == [Job("a.wav", ".", ("x", "y")), Job("b.wav")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "-q", "x", "--workers", "2"), "nowhere does not exist"),
        (("empty", "-q", "x"), "empty holds no recordings"),
        (("-", "-q", "x", "--skip-existing"), "- is one recording"),
        (("--from", "none.txt", "-q", "x"), "none.txt: No such file"),
        (("-q", "x"), "no recording: name one"),
        (("in", "-q", "x", "--shard", "3/2"), "expected I/N"),
        (("in", "-q", "a dog", "-q", "A dog"), "would both be written to"),
    ],
)
def test_usage_errors_are_reported_before_any_work(
    qsep: Run, tree: Path, tiny_model: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tree.parent / "empty").mkdir()
    refused = qsep("separate", *arguments, "-o", "out", "-m", tiny_model)
    assert (refused.code, refused.out) == (2, "")
    assert message in refused.error
    assert names(tree.parent) - {f"in/{name}" for name in (*TREE, "notes.txt", ".hidden.wav")} == (
        set()
    )


def test_auto_also_walks_folders_and_continues_after_failures(
    qsep: Run, tiny_model: Path, tree: Path
) -> None:
    (tree / "bad.wav").write_bytes(b"none")
    command = ("auto", "in", "-o", "out", "-m", tiny_model, "--threshold", "1e-6")
    done = qsep(*command)
    assert done.code == 1
    assert "3 recordings done, 1 failed, 0 done before" in done.err
    out = tree.parent / "out"
    assert {"a.auto.json", "deep/b.auto.json", "deep/er/c.auto.json"} <= names(out)
    actual = {row["key"]: row for row in rows(out)}
    assert actual["bad.wav"]["error"]
    for name in TREE:
        stem = name.rpartition(".")[0]
        listed = {each["file"] for each in actual[name]["outputs"]}
        assert {f"{stem}.auto.json", f"{stem}.auto.png"} < listed <= names(out)
        assert actual[name]["sounds"]
        assert actual[name]["query"] is None
    (out / "deep" / "b.auto.json").unlink()  # as if killed before it was written
    (tree / "bad.wav").unlink()
    again = qsep(*command)
    assert "1 recordings done, 0 failed, 2 done before" in again.err
    (tree / "list.csv").write_text("input,query\na.wav,dog\n")
    refused = qsep("auto", "--from", "in/list.csv", "-o", "out", "-m", tiny_model)
    assert "qsep auto takes none" in refused.error
