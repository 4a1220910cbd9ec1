"""Splits of a bank's objects into those for training and those held out, so that none is in both."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass

from polyfield.errors import PolyfieldError, shown
from polyfield.process.bank import Bank

NAMES = ("train", "val", "test")
HELD_OUT = 0.2  # of each class, where the source has no split


@dataclass(frozen=True)
class Split:
    """Rows of a bank. `repeated` objects have the points of one that is held out, and are in no part."""

    train: list[int]
    val: list[int]
    test: list[int]
    repeated: list[int]

    def held_out(self, name: str | None = None) -> tuple[str, list[int]]:
        """Return the name and the rows of the objects to measure on: val, or test where there is no val, if None.

        Raises PolyfieldError for a name other than train, val, test and all, and where there are no such objects.
        """
        name = name or ("val" if self.val else "test")
        if name not in (*NAMES, "all"):
            raise PolyfieldError(f"--split {name!r:.80} is unknown; expected {', '.join(NAMES)} or all")
        rows = self.train + self.val + self.test if name == "all" else getattr(self, name)
        if not rows:
            raise PolyfieldError(f"--split {name}: the bank has no objects in this split; choose another")
        return name, sorted(rows)


def split_of(bank: Bank, seed: int) -> Split:
    """Return the split of all objects that have a class.

    The source's own split is taken where it has one. Else a fifth of each class is held out as val: the objects whose
    hash of name and seed is lowest. Objects with identical points are on the same side. Raises PolyfieldError where the
    objects have no classes, or nothing is left to train on or to hold out.
    """
    rows = [row for row, entry in enumerate(bank.entries) if entry.label is not None]
    if not rows:
        raise PolyfieldError(
            f"{shown(bank.path)}: the objects have no classes; fit a bank from a set with classes: folders CLASS/OBJECT, "
            "a labels.csv, or the array 'label' of an .npz file"
        )
    alike = defaultdict(list)
    for row in rows:
        alike[hashlib.sha256(bank.points([row]).contiguous().numpy().tobytes()).hexdigest()].append(row)
    groups = list(alike.values())
    own = any(bank.entries[row].split for row in rows)
    split = _of_source(bank, groups) if own else _by_hash(bank, groups, seed)
    if not split.train or not split.val + split.test:
        raise PolyfieldError(
            f"{shown(bank.path)}: {len(split.train)} objects to train on and {len(split.val + split.test)} held out; "
            "expected at least one of each; fit a bank from more objects, or from a set with other splits"
        )
    return split


def _of_source(bank: Bank, groups: list[list[int]]) -> Split:
    parts: dict[str, list[int]] = {name: [] for name in (*NAMES, "repeated")}
    for group in groups:
        names = [bank.entries[row].split or "train" for row in group]
        for row, name in zip(group, names):
            if name not in NAMES:
                raise PolyfieldError(
                    f"{shown(bank.path)}: {bank.entries[row].name!r:.80}: split is {name!r:.80}; expected {', '.join(NAMES)}"
                )
            parts["repeated" if name == "train" and set(names) != {"train"} else name].append(row)
    return Split(**{name: sorted(found) for name, found in parts.items()})


def _by_hash(bank: Bank, groups: list[list[int]], seed: int) -> Split:
    def order(group: list[int]) -> str:
        name = min(bank.entries[row].name for row in group)
        return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()

    train: list[int] = []
    val: list[int] = []
    by_class = defaultdict(list)
    for group in sorted(groups, key=order):
        by_class[bank.entries[group[0]].label].append(group)
    for found in by_class.values():
        wanted, taken = round(HELD_OUT * sum(map(len, found))), 0
        for group in found:
            (val if taken < wanted else train).extend(group)
            taken += len(group)
    return Split(sorted(train), sorted(val), [], [])
