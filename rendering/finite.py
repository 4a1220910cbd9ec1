"""The check that a field's values are finite before they are drawn: no picture shows NaN as if it were a value."""

from __future__ import annotations

from torch import Tensor

from polyfield.errors import PolyfieldError


def finite(values: Tensor) -> Tensor:
    """Return the values of a field. Raises PolyfieldError if any is NaN or infinite."""
    if not bool(values.isfinite().all()):
        raise not_finite()
    return values


def not_finite() -> PolyfieldError:
    """Return the error about a field with such values."""
    return PolyfieldError(
        "rendering: the field has values that are NaN or infinite; "
        "continue the fit from an earlier checkpoint with `polyfield resume RUN --generation STEP`"
    )
