"""The tensors of a fit's parts as one checkpoint, and the checks of a checkpoint's content."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from polyfield.errors import PolyfieldError

_RESTORE = "restore the files of the run, or begin a new run"


def check_tensors(found: dict[str, Tensor], expected: dict[str, set[str]]) -> None:
    """Refuse tensors of another field. `expected` are the allowed shapes of each, as text from `shape`."""
    for name in sorted(expected.keys() | found.keys()):
        if name not in expected:
            raise PolyfieldError(
                f"checkpoint: tensor {name:.80} does not belong to the field that config.json describes; {_RESTORE}"
            )
        wanted = " or ".join(sorted(expected[name]))
        if name not in found:
            raise PolyfieldError(
                f"checkpoint: tensor {name} is missing; expected {wanted} for the field that config.json describes; "
                f"{_RESTORE}"
            )
        if (there := shape(found[name])) not in expected[name]:
            raise PolyfieldError(
                f"checkpoint: tensor {name} is {there}; expected {wanted} for the field that config.json describes; "
                f"{_RESTORE}"
            )


def check_state(found: dict[str, Any], own: dict[str, Any], where: str = "") -> None:
    """Refuse a state that was edited: every value must have the type of the fit's own value."""
    for key, value in own.items():
        there: Any = found.get(key)
        name = f"{where}{key}"
        if type(there) is not type(value) or (isinstance(value, dict) and there.keys() != value.keys()):
            keys = f"an object with the keys {', '.join(value)}" if isinstance(value, dict) else None
            raise PolyfieldError(
                f"checkpoint: state.json: {name} is {there!r:.80}; expected {keys or type(value).__name__}; {_RESTORE}"
            )
        if isinstance(value, dict):
            check_state(there, value, f"{name}.")


def shape(tensor: Tensor) -> str:
    """Return the type and shape of a tensor as text."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def joined(**parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of all parts, each by its part's name and its own."""
    return {f"{part}.{name}": t for part, tensors in parts.items() for name, t in tensors.items()}


def part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return a part's tensors by their own names, without the part's name."""
    start = f"{name}."
    return {key.removeprefix(start): t for key, t in tensors.items() if key.startswith(start)}
