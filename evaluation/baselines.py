"""What every table compares a model with: no separation, ideal masks, other queries."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .estimators.ideal_masks import IDEAL_MASKS
from .interface import Estimator, Item, ItemQuery
from .scores import BASELINES, Row, checked, sdr_scores


def score_baselines(item: Item, ask: Estimator | None, random_query: str | None) -> Row:
    """BASELINE_COLUMNS of an item whose target is not silent.

    ask: the model, or None for an estimator that reads no queries. random_query: what the model is
    asked instead of the item's query; None leaves that out.
    """
    estimates: dict[str, Any] = {"mixture": item.mixture}
    specs = IDEAL_MASKS["irm"].spectra(item)
    for name, oracle in IDEAL_MASKS.items():
        estimates[name] = oracle.masked(specs, len(item.mixture))
    label = item.label.replace("_", " ").strip()
    if ask and random_query:
        estimates["random_query"] = ask(replace(item, query=random_query, example=None))
    if ask and label:
        estimates["label_query"] = ask(replace(item, query=label, example=None))
    row: Row = {}
    for name, estimate in estimates.items():
        scores = sdr_scores(item, checked(item, estimate))
        row |= {f"{name}.{metric}": scores[metric] for metric in ("si_sdr", "sdr")}
    return row


def draw_query(item_id: str, label: str, asked: Sequence[ItemQuery]) -> str | None:
    """A query of another label than the item's, by a hash of its id; None if there is none."""
    others = sorted({other.query for other in asked if other.label != label})
    # A hash, not a generator: NumPy does not promise the same draws from one version to the next.
    draw = int.from_bytes(hashlib.sha256(f"random query {item_id}".encode()).digest()[:8])
    return others[draw % len(others)] if others else None


def baseline_rows(rows: Sequence[Row]) -> Mapping[str, list[Row]]:
    """SDRS of each baseline that was measured, one row for each row of a run that has it."""
    found: dict[str, list[Row]] = {}
    for name in BASELINES:
        for row in rows:
            scores: Row = {}
            for metric in ("si_sdr", "sdr"):
                if (value := row[f"{name}.{metric}"]) is not None:
                    scores[metric] = value
                    scores[f"{metric}_i"] = value - row[f"mixture.{metric}"]
            if scores:
                found.setdefault(name, []).append(scores)
    return found
