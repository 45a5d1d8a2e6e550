"""Items of protocols whose mixtures are files beside their sources: AudioSep's and USS's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsep.queries.interface import Query
from qsep.separation.audio.reader import read_mono

from ..interface import Figures, Item, ItemQuery, Publication
from ..metrics.sdr import uncentred_si_sdr
from .published import PublishedItems
from .recordings import check_files, combined_hash, read_list


class Pair(NamedTuple):
    """A mixture and its target source, files in the data folder; query and label as in Item."""

    mixture: str
    source: str
    query: str
    label: str


def premixed(
    name: str,
    manifest_sha256: str,
    condition: str,
    pairs: Sequence[Pair],
    data: Path,
    sample_rate: int,
    average: Callable[[Sequence[Mapping[str, Any]]], Figures],
    example: Callable[[Pair], Query | None] = lambda pair: None,
) -> PublishedItems:
    """The items of these pairs, read as mono at sample_rate in Hz; ids are the mixtures' file names.

    Each also gets the score uncentred_si_sdr. average: as in Publication. example: a query that replaces
    the words of a pair. Raises FileNotFoundError if files are missing.
    """
    check_files((file for pair in pairs for file in (pair.mixture, pair.source)), data)

    def make(index: int) -> Item:
        pair = pairs[index]
        mixture, target = (read_mono(data / file, sample_rate) for file in pair[:2])
        if mixture.shape != target.shape:
            raise ValueError(
                f"{pair.mixture} has {len(mixture)} samples and {pair.source} has {len(target)}"
            )
        return Item(
            pair.mixture,
            pair.query,
            pair.label,
            mixture,
            target,
            mixture - target,
            sample_rate,
            example=example(pair),
        )

    return PublishedItems(
        name=name,
        manifest_sha256=manifest_sha256,
        condition=condition,
        ids=tuple(pair.mixture for pair in pairs),
        item_queries=tuple(ItemQuery(pair.query, pair.label) for pair in pairs),
        make=make,
        publication=Publication(uncentred, average),
    )


def uncentred(item: Item, estimate: NDArray[np.float64]) -> dict[str, float | None]:
    """uncentred_si_sdr of an estimate (t,) in dB; no score if the target is silent."""
    if not item.target.any():
        return {}
    return {"uncentred_si_sdr": round(float(uncentred_si_sdr(estimate, item.target)), 6) + 0.0}


def class_folders(
    data: Path, folder: str, per_class: int, names: Mapping[str, str]
) -> tuple[list[Pair], str]:
    """Pairs from data/folder/WORD=CLASS/NAME,mixture.wav and NAME,source.wav, and a hash of their names.

    WORD is class_id or class. per_class: at most so many of each class, in the order of file names. names:
    of classes whose CLASS is a number. Raises ValueError for a class without a name or mixtures,
    FileNotFoundError if there are no such folders.
    """
    pairs = []
    for path in sorted((data / folder).glob("*=*")):
        key = path.name.partition("=")[2]
        label = names.get(key, key)
        mixtures = sorted(path.glob("*mixture.wav"))[:per_class]
        if not label or label.isdigit() or not mixtures:
            problem = "no *mixture.wav in it" if mixtures == [] else f"no name for class {key}"
            raise ValueError(f"{path}: {problem}")
        for mixture in mixtures:
            relative = mixture.relative_to(data).as_posix()
            source = re.sub(r"mixture\.wav$", "source.wav", relative)
            query = label.replace("_", " ")
            pairs.append(Pair(relative, source, query, label))
    if not pairs:
        raise FileNotFoundError(f"{data / folder}: no folders such as class_id=0 in it")
    return pairs, combined_hash(f"{pair.mixture} {pair.query}" for pair in pairs)


def class_names(path: Path) -> dict[str, str]:
    """Class names by number, from AudioSet's class_labels_indices.csv: index, mid, display_name."""
    rows, _ = read_list(path)
    return {row[0]: row[2] for row in rows[1:]}
