"""How large a field is: options that suit a source, and the largest field in so many bytes."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import torch

from polyfield.errors import PolyfieldError
from polyfield.fields import FieldSpec
from polyfield.fields.registry import architecture, build, options_of


def suited(spec: FieldSpec, resolution: int | None, size: int | None) -> FieldSpec:
    """The spec with options for a source of so many pixels or voxels along its longest side, and the largest field that
    stores at most `size` bytes. Options that are given stay.

    Raises PolyfieldError where even the smallest field takes more.
    """
    kind = architecture(spec.architecture)
    if resolution is not None:
        spec = replace(spec, options=kind.suited(resolution) | spec.options)
    if size is None or kind.size_option in spec.options:
        if size is not None and stored_bytes(spec) > size:
            raise PolyfieldError(
                f"--size {size}: {spec.architecture} takes {stored_bytes(spec):,} bytes with these options; leave "
                f"{kind.size_option} out, or give more bytes"
            )
        return spec
    least, most = _range(spec)
    step = kind.size_step
    low, high = -(-least // step), most // step
    if stored_bytes(with_size(spec, low * step)) > size:
        raise PolyfieldError(
            f"--size {size}: the smallest {spec.architecture} takes {stored_bytes(with_size(spec, low * step)):,} "
            "bytes with these options"
        )
    while low < high:  # low fits
        middle = (low + high + 1) // 2
        fits = stored_bytes(with_size(spec, middle * step)) <= size
        low, high = (middle, high) if fits else (low, middle - 1)
    return with_size(spec, low * step)


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


def _range(spec: FieldSpec) -> tuple[int, int]:
    kind = architecture(spec.architecture)
    fields: dict[str, Any] = {field.name: field for field in dataclasses.fields(kind.Options)}
    least, most = fields[kind.size_option].metadata["range"]
    return max(least, 2), most
