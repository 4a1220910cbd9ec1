"""Figures of classifiers and of part segmentation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_QUANTILE = 1.959964  # of the normal distribution, for 95 %


def wilson(correct: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927).

    >>> [round(bound, 3) for bound in wilson(90, 100)]
    [0.826, 0.945]
    """
    share, square = correct / total, _QUANTILE**2
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = _QUANTILE * math.sqrt(share * (1 - share) / total + square / (4 * total**2)) / (1 + square / total)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def confusion_of(found: Tensor, wanted: Tensor, classes: int) -> Tensor:
    """Return how many objects (C, C) of each class (rows) were named as each class (columns)."""
    return torch.bincount(wanted * classes + found, minlength=classes * classes).reshape(classes, classes)


def classification(confusion: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """Return the figures of a confusion matrix (C, C). The accuracy of a class without objects is None."""
    correct, total = int(confusion.diagonal().sum()), int(confusion.sum())
    each = {
        name: float(row[k]) / int(row.sum()) if row.sum() else None
        for k, (name, row) in enumerate(zip(classes, confusion))
    }
    known = [share for share in each.values() if share is not None]
    return {
        "objects": total,
        "accuracy": correct / total,
        "accuracy_interval": list(wilson(correct, total)),
        "mean_class_accuracy": sum(known) / len(known),
        "accuracy_by_class": each,
        "confusion": confusion.tolist(),
    }


def part_iou(found: Tensor, wanted: Tensor, parts: Sequence[int]) -> float:
    """Return an object's mean IoU over the parts of its category, of parts (P,) at its points.

    A part that is neither there nor predicted counts 1 (Yi et al. 2016).
    """
    shares = []
    for part in parts:
        union = int(((found == part) | (wanted == part)).sum())
        shares.append(int(((found == part) & (wanted == part)).sum()) / union if union else 1.0)
    return sum(shares) / len(shares)


def segmentation(ious: Sequence[float], labels: Sequence[int], classes: Sequence[str]) -> dict[str, Any]:
    """Return the mean IoU over objects and over categories, of each object's IoU and category."""
    by_class = {}
    for k, name in enumerate(classes):
        own = [iou for iou, label in zip(ious, labels) if label == k]
        by_class[name] = sum(own) / len(own) if own else None
    known = [iou for iou in by_class.values() if iou is not None]
    return {
        "objects": len(ious),
        "instance_miou": sum(ious) / len(ious),
        "class_miou": sum(known) / len(known),
        "miou_by_class": by_class,
    }
