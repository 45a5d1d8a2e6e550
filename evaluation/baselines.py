"""Baselines scored beside a model: the unprocessed mixture, ideal masks, other queries."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .estimators.ideal_masks import IDEAL_MASKS
from .interface import Estimator, Item, ItemQuery
from .scores import BASELINES, Row, checked, sdr_scores


def score_baselines(item: Item, estimator: Estimator | None, random_query: str | None) -> Row:
    """SI-SDR and SDR in dB of each baseline: BASELINE_COLUMNS of an item whose target is not silent.

    estimator: what reads other queries of the item; None leaves out the baselines with other queries.
    random_query: a query of another label in place of the item's; None leaves it out.
    """
    estimates: dict[str, Any] = {"mixture": item.mixture}
    specs = IDEAL_MASKS["irm"].spectra(item)
    for name, mask in IDEAL_MASKS.items():
        estimates[name] = mask.masked(specs, len(item.mixture))
    label = item.label.replace("_", " ").strip()
    if estimator and random_query:
        estimates["random_query"] = estimator(replace(item, query=random_query, example=None))
    if estimator and label:
        estimates["label_query"] = estimator(replace(item, query=label, example=None))
    row: Row = {}
    for name, estimate in estimates.items():
        scores = sdr_scores(item, checked(item, estimate))
        row |= {f"{name}.{metric}": scores[metric] for metric in ("si_sdr", "sdr")}
    return row


def draw_query(item_id: str, label: str, item_queries: Sequence[ItemQuery]) -> str | None:
    """A query of another label than the item's, chosen by a hash of its id; None if there is none."""
    others = sorted({other.query for other in item_queries if other.label != label})
    # A hash: NumPy does not guarantee the same random stream across versions.
    draw = int.from_bytes(hashlib.sha256(f"random query {item_id}".encode()).digest()[:8])
    return others[draw % len(others)] if others else None


def baseline_rows(rows: Sequence[Row]) -> Mapping[str, list[Row]]:
    """SDRS in dB of each baseline that was scored, by its name: one row for each item that has it."""
    rows_of: dict[str, list[Row]] = {}
    for name in BASELINES:
        for row in rows:
            scores: Row = {}
            for metric in ("si_sdr", "sdr"):
                if (value := row[f"{name}.{metric}"]) is not None:
                    scores[metric] = value
                    scores[f"{metric}_i"] = value - row[f"mixture.{metric}"]
            if scores:
                rows_of.setdefault(name, []).append(scores)
    return rows_of
