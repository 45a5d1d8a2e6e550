"""Which labels may meet in a mixture: never the same one twice, nor one that another contains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np


class Meetings:
    """The relations between labels.

    families: labels by family; those of which fewer than two are known are left out. overlaps: labels that
    contain the ones listed with them, as a drum kit its drums. never_mixed, kin: for each label those that it
    does not meet, and those with which it shares a family; itself among both.
    """

    def __init__(
        self,
        labels: Sequence[str],
        families: Mapping[str, Sequence[str]],
        overlaps: Mapping[str, Sequence[str]],
    ) -> None:
        self.labels, known = tuple(labels), set(labels)
        self.families = {
            name: present for name, members in families.items()
            if len(present := [label for label in members if label in known]) > 1
        }  # fmt: skip
        self.never_mixed: dict[str, set[str]] = {label: {label} for label in labels}
        for whole, parts in overlaps.items():
            for part in parts:
                self.never_mixed.setdefault(whole, {whole}).add(part)
                self.never_mixed.setdefault(part, {part}).add(whole)
        self.kin = {label: {label} for label in labels}
        for members in self.families.values():
            for label in members:
                self.kin[label] |= set(members)

    def barred(self, used: Iterable[str]) -> set[str]:
        """The labels that may not be mixed with all of those in use; labels unknown here bar themselves."""
        return set().union(*(self.never_mixed.get(label, {label}) for label in used))

    def unused(self, used: Sequence[str]) -> list[str]:
        """The labels that may be mixed with all of those in use."""
        barred = self.barred(used)
        return [label for label in self.labels if label not in barred]

    def another(self, used: Sequence[str], pool: Sequence[str], rng: np.random.Generator) -> str:
        """A random unused label of the pool or, if it has none, of all; there must be one."""
        unused = dict.fromkeys(self.unused(used))
        choices = [label for label in pool if label in unused] or list(unused)
        return choices[rng.integers(len(choices))]

    def chosen(self, order: Sequence[str], number: int, of_one_family: bool) -> list[str]:
        """The first labels of an order that may meet: `number` of them, or fewer if there are no more.

        of_one_family: those that are kin of the first come before others.
        """
        if of_one_family:
            order = sorted(order, key=lambda label: label not in self.kin[order[0]])
        chosen: list[str] = []
        for label in order:
            if len(chosen) < number and label not in self.barred(chosen):
                chosen.append(label)
        return chosen
