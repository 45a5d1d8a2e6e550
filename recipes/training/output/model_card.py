"""The model card of a checkpoint."""

from __future__ import annotations

import csv
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

from qsep.queries.files.tables import as_table
from qsep.separation.storage.config import stored_classes
from qsep.separation.storage.model_card import (
    citation_section,
    use_by_example_section,
    use_section,
    with_header,
)

from ..config import LISTED, Recipe


def model_card(description: dict[str, Any], recipe: Recipe, recordings: Sequence[str]) -> str:
    """The card in Markdown with the hub's header: classes, usage, data, scores, limits, attribution.

    description: the checkpoint's config.json. recordings: from `training_recordings`.
    """
    model, provenance = description[recipe.part], description["provenance"]
    queried = ""
    if encoder := description.get("encoder"):
        queried = f", queried through `{encoder['kind']}` ({encoder['fingerprint']})"
    separates = recipe.part == "separator"
    known = stored_classes(description) if separates else ()
    lines = [
        f"# {recipe.card.get('title', recipe.name)}",
        "",
        f"A `{model['kind']}` {recipe.part.replace('_', ' ')} at {description['sample_rate']} Hz{queried}.",
        f"Made by `qsep train {recipe.name}`, seed {provenance['seed']}, "
        f"{provenance['step']} steps of {recipe.train.batch_size} mixtures.",
    ]
    if known:
        lines += ["", "## What it knows", "", *(f"- {name}" for name in known)]
    if separates:
        by_example = recipe.data.sounds == "speakers"
        use = use_by_example_section() if by_example else use_section(*known[:1])
        lines += ["", use.rstrip()]
    for heading in ("data", "scores", "limits", "licence"):
        if text := recipe.card.get(heading):
            lines += ["", f"## {heading.capitalize()}", "", text.strip()]
    if recordings:
        lines += ["", "## Recordings", "", *recordings]
    lines += ["", citation_section().rstrip()]
    return with_header(
        "\n".join(lines) + "\n",
        licence_id(recipe.card.get("licence", "")),
        [model["kind"]],
        recipe.card.get("results", []),
        separates,
    )


def licence_id(text: str) -> str:
    """The SPDX identifier that a licence's text begins with, in lower case: apache-2.0 of "Apache-2.0, …"."""
    return text.strip().partition(",")[0].partition(" ")[0].strip(".;").lower()


def training_recordings(recipe: Recipe) -> list[str]:
    """`attribution` of the recordings that a recipe trains on; empty for other material."""
    if recipe.data.sounds not in LISTED:
        return []
    folder, split = Path(recipe.data.folder), recipe.data.split
    if recipe.data.sounds != "speakers":
        return attribution(folder, split)
    labels = {*recipe.data.labels, *recipe.mix.get("backgrounds", ())}
    return attribution(folder, split, labels, recipe.mix.get("held_out", ()))


def attribution(
    folder: Path, split: str, labels: Container[str] | None = None, held_out: Container[str] = ()
) -> list[str]:
    """A line for each author and licence with the recordings' pages, from folder/clips.csv.

    labels: those in use, None for all. held_out: groups that are not.
    """
    works: dict[tuple[str, str], list[str]] = {}
    path = folder / "clips.csv"
    with path.open(newline="", encoding="utf-8-sig") as file, as_table(path):
        for row in csv.DictReader(file):
            used = labels is None or row["label"] in labels
            if (
                row["split"] == split
                and used
                and row.get("group") not in held_out
                and "author" in row
            ):
                key = row["author"] or "unknown", row["licence"]
                works.setdefault(key, []).append(row["url"] or row["file"])
    return [
        f"- {author} ({licence}): {', '.join(dict.fromkeys(pages))}"
        for (author, licence), pages in sorted(works.items())
    ]
