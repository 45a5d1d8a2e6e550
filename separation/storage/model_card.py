"""Model cards: the Hugging Face hub's header, how to use the model, and what to cite."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

HEADER = re.compile(r"\A---\n.*?\n---\n+", re.DOTALL)
PLACEHOLDER = "FOLDER"  # for the model's folder or its name on the hub
KNOWN_LICENCES = {"apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-nc-4.0", "bsd-3-clause"}


def with_header(
    body: str,
    licence: str,
    tags: Iterable[str] = (),
    results: Iterable[Mapping[str, Any]] = (),
    separates: bool = True,
) -> str:
    """The card with the hub's YAML header, unchanged if it has one already.

    licence: an identifier of the hub, as apache-2.0, or words. results: rows with dataset, metric, value
    (a number) and optionally unit. separates: whether the model is a separator rather than a part of one.
    """
    if HEADER.match(body):
        return body
    from huggingface_hub import EvalResult, ModelCardData

    rows = [
        EvalResult(
            task_type="audio-to-audio",
            dataset_type=row["dataset"],
            dataset_name=row["dataset"],
            metric_type=row["metric"],
            metric_name=f"{row['metric']} ({row['unit']})" if row.get("unit") else row["metric"],
            metric_value=row["value"],
        )
        for row in results
    ]
    known = licence.lower() in KNOWN_LICENCES
    facts: dict[str, Any] = {
        "license": licence.lower() if known else "other",
        "license_name": None if known else licence or "unknown",
        "library_name": "qsep",
        "pipeline_tag": "audio-to-audio" if separates else None,
        "tags": list(dict.fromkeys(["audio", "sound-separation", *tags])),
        "metrics": sorted({row["metric"] for row in results}) or None,
    }
    if rows:
        facts |= {"model_name": title_of(body), "eval_results": rows}
    return f"---\n{ModelCardData(**facts).to_yaml()}\n---\n\n{body}"


def without_header(card: str) -> str:
    """The card without its YAML header."""
    return HEADER.sub("", card, count=1)


def licence_of(card: str) -> str:
    """The licence according to the header; empty without one."""
    header = HEADER.match(card)
    fields = dict(re.findall(r"^(license|license_name): (.+)$", header[0] if header else "", re.M))
    return fields.get("license_name") or fields.get("license", "")


def title_of(card: str) -> str:
    """The card's first heading; empty if it has none."""
    lines = without_header(card).splitlines()
    return next((line.lstrip("# ") for line in lines if line.startswith("# ")), "")


def use_section(query: str = "a dog barking") -> str:
    """A section on how to use the model, with FOLDER for its folder; `named` replaces that by a name."""
    return (
        "## Use\n\n"
        "```sh\n"
        "pip install 'qsep[torch]'\n"
        f'qsep separate recording.wav -q "{query}" -m {PLACEHOLDER}\n'
        "```\n\n"
        "```python\n"
        "import qsep\n\n"
        f'result = qsep.load("{PLACEHOLDER}").separate("recording.wav", "{query}")\n'
        'result.save("out")\n'
        "```\n"
    )


def use_by_example_section() -> str:
    """As `use_section`, for models that are queried by recordings alone."""
    return (
        "## Use\n\n"
        "```sh\n"
        "pip install 'qsep[torch]'\n"
        f"qsep separate talk.wav --query-audio voice.wav -m {PLACEHOLDER}\n"
        "```\n\n"
        "```python\n"
        "import qsep\n\n"
        f'model = qsep.load("{PLACEHOLDER}")\n'
        'result = model.separate("talk.wav", qsep.AudioQuery("voice.wav"))\n'
        'result.save("out")\n'
        "```\n"
    )


def named(card: str, name: str) -> str:
    """The card with the model's name instead of FOLDER."""
    card = card.replace(f"-m {PLACEHOLDER}\n", f"-m {name}\n")
    return card.replace(f'"{PLACEHOLDER}"', f'"{name}"')


def citation_section(paper: str = "") -> str:
    """A section on what to cite: the paper, or qsep itself."""
    if paper:
        return f"## Citation\n\n{paper}\n"
    return (
        "## Citation\n\n"
        "```bibtex\n"
        "@software{qsep,\n"
        "  title = {qsep: separating the sounds that a query names from a recording},\n"
        "  note = {Apache-2.0},\n"
        "}\n"
        "```\n"
    )
