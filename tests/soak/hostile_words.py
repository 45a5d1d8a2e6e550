"""Texts, lists and configurations that hypothesis draws: used, or refused by a ValueError or OSError."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from qsep.evaluation.protocols import load_items
from qsep.queries.constraints import Constraints, Span
from qsep.queries.interface import TextQuery
from qsep.queries.reading.grammar import parse
from qsep.recipes.inference.bulk.lists import read_list
from qsep.recipes.inference.bulk.manifest import Manifest
from qsep.recipes.training.check import check
from qsep.recipes.training.config import read_recipe
from qsep.recipes.training.toml_text import toml_text
from qsep.separation.audio.file_names import MAX_BYTES, slug
from qsep.separation.inference.time_spans import allowed
from qsep.separation.storage.checkpoint import load_checkpoint
from qsep.separation.storage.results import LISTING, Results, is_inside, read_listing

from .commands import MIXTURES, Workshop
from .forked import forked

NUM_EXAMPLES = 40  # of a trial
MAX_MEMORY = 3 * 2**30  # bytes that a configuration may claim

WORDS = st.sampled_from(
    ["a dog", "not", "rain", "without", "everything but", "and", ",", "the drums", "or", "no", "-q"]
)
TEXTS = st.one_of(st.text(), st.lists(WORDS, max_size=30).map(" ".join), st.text(" \t\n.,'\"-"))
TIMES = st.one_of(
    st.floats(allow_nan=True).map(str),
    st.from_regex(r"\d{1,3}(:\d{1,3}){0,3}(\.\d{0,3})?", fullmatch=True),
    st.sampled_from(["", "0", "1e9", "-1", "0:00", "9" * 400]),
)
SPANS = st.one_of(st.text(), st.tuples(TIMES, TIMES).map("-".join))
NUMBERS = st.one_of(
    st.integers(), st.floats(), st.sampled_from([0, -1, 1, 2**31, 10**30, 1e308, -0.0, 65536])
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
CELLS = st.one_of(
    st.text(max_size=12),
    NUMBERS.map(str),
    st.sampled_from(["", "../a.wav", "/etc/passwd", "hum0.wav"]),
)

LISTS = st.one_of(
    st.binary(max_size=200),
    st.lists(VALUES, max_size=4).map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
    st.lists(
        st.dictionaries(
            st.sampled_from(["input", "path", "query", "run", "key", "outputs", "command", "file"]),
            VALUES | st.sampled_from(["a.wav", "../a.wav", "/a.wav", "a\0.wav"]),
        ),
        max_size=4,
    ).map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
    st.lists(st.lists(CELLS, max_size=4).map(",".join), max_size=5).map(
        lambda lines: "\n".join(["input,query", *lines]).encode("utf-8", "surrogatepass")
    ),
)


class Part:
    """NUM_EXAMPLES of one kind in each trial."""

    name = "hostile_words"
    num_trials = 140

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.kinds: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], None]]] = {
            "spans": (SPANS, self.spans),
            "queries": (TEXTS, self.queries),
            "lists": (st.tuples(st.sampled_from(["txt", "csv", "jsonl"]), LISTS), self.lists),
            "mixtures": (st.lists(st.lists(CELLS, max_size=11), max_size=4), self.mixtures),
            "bulk manifests": (LISTS, self.bulk_manifests),
            "recipes": (st.tuples(st.randoms(use_true_random=False), VALUES), self.recipes),
            "config.json": (st.tuples(st.randoms(use_true_random=False), VALUES), self.configs),
        }

    def trial(self, number: int, rng: np.random.Generator) -> str:
        kind = list(self.kinds)[number % len(self.kinds)]
        strategy, check_one = self.kinds[kind]
        drawn = int(rng.integers(2**32))

        @seed(drawn)
        @settings(
            max_examples=NUM_EXAMPLES,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def each(value: Any) -> None:
            check_one(value)

        def work() -> int:
            each()
            return 0

        ended = forked(work, self.workshop.folder, max_bytes=MAX_MEMORY)
        assert ended.code == 0, (
            f"{kind}: exit code {ended.code}:\n{ended.err[-3000:]}{ended.out[-500:]}"
        )
        return f"{kind} (of {NUM_EXAMPLES})"

    def spans(self, text: str) -> None:
        span = used_or_refused(lambda: Span.parse(text))
        if span is not None:
            again = Span.parse(str(span))
            np.testing.assert_allclose([again.start, again.end], [span.start, span.end], rtol=1e-5)
            used_or_refused(lambda: allowed(Constraints(spans=[span], not_spans=["1-2"])))

    def queries(self, text: str) -> None:
        query = used_or_refused(lambda: TextQuery(text))
        if query is None:
            return
        name = slug(query.text)
        assert 0 < len(name.encode()) <= MAX_BYTES
        assert is_inside(name)
        assert "/" not in name
        parse(query.text, {"a dog", "rain", "the drums", "the", "without"}.__contains__)

    def lists(self, content: tuple[str, bytes]) -> None:
        path = self.workshop.folder / f"list.{content[0]}"
        path.write_bytes(content[1])
        jobs = used_or_refused(lambda: list(read_list(path)), path.name)
        for job in jobs or ():
            assert job.folder == "." or is_inside(job.folder), job

    def mixtures(self, rows: list[list[str]]) -> None:
        path = self.workshop.folder / "drawn.csv"
        text = "\n".join([MIXTURES, *(",".join(row) for row in rows)]) + "\n"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))

        def render() -> None:
            items = load_items("sounds150", self.workshop.folder / "corpus", path)
            for index in range(len(items.ids)):
                assert np.isfinite(items.render(index).mixture).all()

        used_or_refused(render)

    def bulk_manifests(self, content: bytes) -> None:
        folder = self.workshop.folder / "drawn manifest"
        folder.mkdir(exist_ok=True)
        (folder / "manifest.jsonl").write_bytes(content)
        (folder / LISTING).write_bytes(content)
        manifest = Manifest(Results(folder, "separate", shared=True), "settings")
        assert not manifest.is_done("0.wav", "rain", self.workshop.folder / "in" / "0.wav")
        for files in read_listing(folder / LISTING).values():
            assert all(map(is_inside, files))

    def recipes(self, change: tuple[Any, Any]) -> None:
        path = self.workshop.folder / "drawn.toml"
        tables = read_recipe(str(self.workshop.folder / "recipe.toml"))[1]
        try:
            text = toml_text(changed(tables, *change))
        except TypeError:  # TOML has no null
            return
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        recipe = used_or_refused(lambda: read_recipe(str(path))[0])
        if recipe is not None:
            assert all("\n" not in finding.text for finding in check(recipe))

    def configs(self, change: tuple[Any, Any]) -> None:
        folder = self.workshop.folder / "tiny"
        drawn = self.workshop.folder / "drawn model"
        drawn.mkdir(exist_ok=True)
        if not (drawn / "model.safetensors").exists():
            (drawn / "model.safetensors").symlink_to(folder / "model.safetensors")
        config = json.loads((folder / "config.json").read_text())
        (drawn / "config.json").write_text(json.dumps(changed(config, *change)), "utf-8")
        used_or_refused(lambda: load_checkpoint(drawn), "drawn model")


def used_or_refused(call: Callable[[], Any], about: str = "") -> Any:
    """What the call returns; None if it refuses in one line that holds `about`."""
    try:
        return call()
    except (ValueError, OSError) as error:
        refusal = str(error)
    assert refusal, "an error without a message"
    assert about in refusal, f"{about} is not named: {refusal}"
    return None


def changed(content: dict[str, Any], random: Any, value: Any) -> dict[str, Any]:
    """The tables with one value, at any depth, replaced or, one time in eight, removed."""
    table = content
    while True:
        key = random.choice(sorted(table))
        if isinstance(table[key], dict) and table[key] and random.random() < 0.9:
            table = table[key]
            continue
        if random.random() < 0.125:
            del table[key]
        elif isinstance(table[key], list) and table[key] and random.random() < 0.5:
            table[key][random.randrange(len(table[key]))] = value
        else:
            table[key] = value
        return content
