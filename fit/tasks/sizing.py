"""How large a field is: options that suit a source, and the largest field in so many bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from polyfield.errors import PolyfieldError
from polyfield.fields import FieldSpec
from polyfield.fields.registry import architecture, build, options_of


def suited(spec: FieldSpec, resolution: int | None, size: int | None, *, asked: bool = True) -> FieldSpec:
    """The spec with options for a source of so many pixels or voxels along its longest side, and the largest field that
    stores at most `size` bytes. Options that are given stay.

    Where even the smallest field takes more, raises PolyfieldError if it was asked for, and else takes that.
    """
    kind = architecture(spec.architecture)
    if resolution is not None:
        spec = replace(spec, options=kind.suited(resolution, spec.domain.dimensions) | spec.options)
    if size is None or kind.size_option in spec.options:
        if size is not None and stored_bytes(spec) > size:
            raise PolyfieldError(
                f"--size {size}: {spec.architecture} takes {stored_bytes(spec):,} bytes with these options; leave "
                f"{kind.size_option} out, or give more bytes"
            )
        return spec
    found = largest(spec, lambda larger: stored_bytes(larger) <= size)
    if found is None:
        found = with_size(spec, _sizes(spec)[0])
        if asked:
            raise PolyfieldError(
                f"--size {size}: the smallest {spec.architecture} takes {stored_bytes(found):,} bytes with these options"
            )
    return found


def largest(spec: FieldSpec, fits: Callable[[FieldSpec], bool]) -> FieldSpec | None:
    """The spec with the largest value of its size option with which it fits, or None if it does with none."""
    sizes = _sizes(spec)
    if not fits(with_size(spec, sizes[0])):
        return None
    low, high = 0, len(sizes) - 1
    while low < high:  # low fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(with_size(spec, sizes[middle])) else (low, middle - 1)
    return with_size(spec, sizes[low])


def stored_bytes(spec: FieldSpec) -> float:
    """Bytes of the field's parameters and buffers, or infinity where they are too many to build."""
    try:
        with torch.device("meta"):
            return build(spec).stored_bytes()
    except PolyfieldError:
        return float("inf")


def with_size(spec: FieldSpec, value: int) -> FieldSpec:
    """The spec with another value of the option that its architecture's size hangs on."""
    return replace(spec, options=spec.options | {architecture(spec.architecture).size_option: value})


def size_of(spec: FieldSpec) -> int:
    """The value of that option."""
    return getattr(options_of(spec.architecture, spec.options), architecture(spec.architecture).size_option)


def _sizes(spec: FieldSpec) -> range:
    """The values of that option that are looked at."""
    kind = architecture(spec.architecture)
    fields: dict[str, Any] = {field.name: field for field in dataclasses.fields(kind.Options)}
    least, most = fields[kind.size_option].metadata["range"]
    step, most = kind.size_step, min(most, kind.size_limit or most)
    return range(-(-least // step) * step, most + 1, step)
