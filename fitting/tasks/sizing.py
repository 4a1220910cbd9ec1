"""Sizing: options that suit a source, and the largest field within a number of bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from polyfield.errors import PolyfieldError
from polyfield.fields import FieldSpec
from polyfield.fields.architecture import Extent
from polyfield.fields.registry import architecture, build


def suited(
    spec: FieldSpec,
    resolution: int | None,
    size: int | None,
    *,
    asked: bool = True,
    times: int = 0,
) -> FieldSpec:
    """Return the spec with options that suit a source, of the largest field that stores at most `size` bytes.

    resolution counts pixels or voxels along the source's longest side, times are those of `Extent`. Options that are given stay. Where even the
    smallest field takes more, PolyfieldError is raised if the size was asked for, else the smallest is returned.
    """
    kind = architecture(spec.architecture)
    if resolution is not None:
        options = kind.suited(Extent(resolution, spec.meaning.axes, times))
        spec = replace(spec, options={**options, **spec.options})
    given = kind.size_option in spec.options
    with torch.device("meta"):
        build(
            spec if given else with_size(spec, _sizes(spec)[0])
        )  # what is wrong beside the size is said first
    if size is None or given:
        if size is not None and (taken := stored_bytes(spec)) > size:
            raise PolyfieldError(
                f"--bytes {size}: {spec.architecture} needs {taken:,} bytes with these options; "
                f"omit the option {kind.size_option!r}, or give more bytes"
            )
        return spec
    found = largest(spec, lambda larger: stored_bytes(larger) <= size)
    if found is None:
        found = with_size(spec, _sizes(spec)[0])
        if asked:
            raise PolyfieldError(
                f"--bytes {size}: the smallest {spec.architecture} needs {stored_bytes(found):,} bytes with these "
                "options; give at least that many bytes"
            )
    return found


def largest(spec: FieldSpec, fits: Callable[[FieldSpec], bool]) -> FieldSpec | None:
    """Return the spec with the largest value of its size option that fits, or None if none does."""
    sizes = _sizes(spec)
    if not fits(with_size(spec, sizes[0])):
        return None
    low, high = 0, len(sizes) - 1
    while low < high:  # low fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(with_size(spec, sizes[middle])) else (low, middle - 1)
    return with_size(spec, sizes[low])


def stored_bytes(spec: FieldSpec) -> float:
    """Return the bytes of the field in a file, or infinity where they are too many to build."""
    try:
        with torch.device("meta"):
            return build(spec).stored_bytes()
    except PolyfieldError:
        return float("inf")


def with_size(spec: FieldSpec, value: int) -> FieldSpec:
    """Return the spec with another value of its size option."""
    return replace(spec, options=spec.options | {architecture(spec.architecture).size_option: value})


def size_of(spec: FieldSpec) -> int:
    """Return the value of the size option."""
    kind = architecture(spec.architecture)
    return getattr(kind.parse(spec.options), kind.size_option)


def _sizes(spec: FieldSpec) -> range:
    """Return the values of the size option that the search tries."""
    kind = architecture(spec.architecture)
    fields: dict[str, Any] = {field.name: field for field in dataclasses.fields(kind.options)}
    least, most = fields[kind.size_option].metadata["range"]
    step, most = kind.size_step, min(most, kind.size_limit or most)
    return range(-(-least // step) * step, most + 1, step)
