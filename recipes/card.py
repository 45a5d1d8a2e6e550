"""The model card that goes with every checkpoint."""

from __future__ import annotations

from typing import Any

from .config import Recipe


def model_card(description: dict[str, Any], recipe: Recipe) -> str:
    """Markdown: what the model is, what it knows, how it was made, on which data."""
    separator, provenance = description["separator"], description["provenance"]
    known = separator["config"].get("concepts") or []
    lines = [
        f"# {recipe.card.get('title', recipe.name)}",
        "",
        f"A `{separator['kind']}` separator at {description['sample_rate']} Hz, queried through "
        f"`{description['encoder']['kind']}` ({description['encoder']['fingerprint']}).",
        f"Made by `qsep train {recipe.name}`, seed {provenance['seed']}, {provenance['step']} steps.",
    ]
    if known:
        lines += ["", "## What it knows", "", *(f"- {name}" for name in known)]
    for heading in ("data", "scores", "limits", "licence"):
        if text := recipe.card.get(heading):
            lines += ["", f"## {heading.capitalize()}", "", text.strip()]
    return "\n".join(lines) + "\n"
