"""JSON as the standard has it: no NaN, no key twice, and every complaint says where.

Python's own reader takes NaN, Infinity and repeated keys without a word; files from elsewhere are read through here.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyfield.errors import PolyfieldError

LARGEST = 256 * 2**20  # bytes; a transforms.json of 100,000 frames has 80 MB


@dataclass(frozen=True)
class Record:
    """One JSON object and where it stands, for example 'scene/transforms.json: frames[3]'; null counts as absent."""

    values: dict[str, Any]
    where: str

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def fail(self, key: str, text: str) -> PolyfieldError:
        """The error to raise about `key`; `text` goes on after its name."""
        return PolyfieldError(f"{self.where}: {key} {text}")

    def number(self, key: str) -> float | None:
        """A finite number, or None where the key is absent."""
        value = self.values.get(key)
        return None if value is None else self._finite(key, value)

    def integer(self, key: str, smallest: int = 1) -> int | None:
        """A whole number, also written as 540.0, or None where the key is absent."""
        value = self.number(key)
        if value is not None and (value != int(value) or value < smallest):
            raise self.fail(key, f"is {self.values[key]!r}; expected a whole number of at least {smallest}")
        return None if value is None else int(value)

    def text(self, key: str) -> str | None:
        """A string that is not empty, or None where the key is absent."""
        value = self.values.get(key)
        if value is not None and (not isinstance(value, str) or not value):
            raise self.fail(key, f"is {brief(value)}; expected text")
        return value

    def flag(self, key: str) -> bool:
        """True or false; absent is false."""
        value = self.values.get(key, False) or False
        if not isinstance(value, bool) and value != 1:
            raise self.fail(key, f"is {brief(value)}; expected true or false")
        return bool(value)

    def numbers(self, key: str, count: int) -> list[float] | None:
        """A list of exactly `count` finite numbers, or None where the key is absent."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != count:
            raise self.fail(key, f"is {brief(value)}; expected a list of {count} numbers")
        return [self._finite(f"{key}[{i}]", item) for i, item in enumerate(value)]

    def texts(self, key: str) -> list[str] | None:
        """A list of strings, or None where the key is absent."""
        value = self.values.get(key)
        if value is not None and not (
            isinstance(value, list) and all(isinstance(item, str) for item in value)
        ):
            raise self.fail(key, f"is {brief(value)}; expected a list of file names")
        return value

    def records(self, key: str) -> list[Record]:
        """A list of at least one object, each with its place."""
        value = self.values.get(key)
        if not isinstance(value, list) or not value:
            found = "is missing" if value is None else f"is {brief(value)}"
            raise self.fail(key, f"{found}; expected a list of at least one object")
        for i, item in enumerate(value):
            if not isinstance(item, dict):
                raise self.fail(f"{key}[{i}]", f"is {brief(item)}; expected an object")
        return [Record(item, f"{self.where}: {key}[{i}]") for i, item in enumerate(value)]

    def matrix(self, key: str) -> list[list[float]] | None:
        """A list of rows of finite numbers, all as long, or None where the key is absent."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not value or not all(isinstance(row, list) for row in value):
            raise self.fail(key, f"is {brief(value)}; expected a list of rows of numbers")
        if len({len(row) for row in value}) != 1:
            raise self.fail(key, f"has rows of {', '.join(str(len(row)) for row in value[:8])} numbers")
        return [
            [self._finite(f"{key}[{i}][{j}]", item) for j, item in enumerate(row)]
            for i, row in enumerate(value)
        ]

    def _finite(self, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail(key, f"is {brief(value)}; expected a number")
        if abs(value) > 1e30:  # more than float32 holds with room to multiply
            raise self.fail(key, "is larger than 1e30; expected a number of a sane size")
        return float(value)


def brief(value: Any) -> str:
    """A found value in a few words, safe to print on one line."""
    if isinstance(value, dict | list):
        kind = "an object" if isinstance(value, dict) else "a list"
        return f"{kind} of {len(value)}" if value else f"{kind} of nothing"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def read_record(path: Path) -> Record:
    """The JSON object that a file holds; anything else on top is refused."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise PolyfieldError(f"{path}: holds {brief(value)}; expected a JSON object on top")
    return Record(value, str(path))


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises PolyfieldError, with file and line or key, on anything the standard forbids."""
    text = _read_text(path)
    odd: list[str] = []

    def parse_float(digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            odd.append(digits)
        return value

    def parse_constant(word: str) -> float:
        odd.append(word)
        return math.nan

    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_float=parse_float, parse_constant=parse_constant
        )
    except json.JSONDecodeError as error:
        raise PolyfieldError(
            f"{path}: line {error.lineno}, column {error.colno}: not JSON ({error.msg[0].lower()}{error.msg[1:]})"
        ) from None
    except RecursionError:
        raise PolyfieldError(f"{path}: lists or objects stand inside each other too deep to read") from None
    except _Twice as error:
        raise PolyfieldError(f"{path}: key {brief(error.key)} stands twice in one object; keep one") from None
    except ValueError:  # Python refuses to read numbers of thousands of digits
        raise PolyfieldError(
            f"{path}: holds a number of thousands of digits; expected JSON numbers"
        ) from None
    if odd:
        raise PolyfieldError(
            f"{path}: {_place_of_odd(value)} is {brief(odd[0])[1:-1]}; expected a finite number"
        )
    return value


class _Twice(Exception):
    def __init__(self, key: str) -> None:
        self.key = key


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Twice(key)
            seen.add(key)
    return result


def _place_of_odd(value: Any) -> str:
    """The path of the first number that is not finite, for example frames[3].transform_matrix[0][1]."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:  # a stack of its own: the file chooses the depth
        place, item = waiting.pop()
        if isinstance(item, float) and not math.isfinite(item):
            return place or "the value"
        if isinstance(item, dict):
            names = [key if key.isidentifier() else brief(key) for key in item]
            inner = [f"{place}.{name}" if place else name for name in names]
            waiting.extend(reversed(list(zip(inner, item.values()))))
        elif isinstance(item, list):
            waiting.extend(reversed([(f"{place}[{i}]", child) for i, child in enumerate(item)]))
    return "a number"


def _read_text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise PolyfieldError(f"{path}: {size} bytes is more than the {LARGEST} that a JSON file may have")
        data = path.read_bytes()
    except FileNotFoundError:
        raise PolyfieldError(f"{path}: no such file") from None
    except OSError as error:
        raise PolyfieldError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolyfieldError(f"{path}: line {line}: is not UTF-8 text (byte {error.start})") from None
    if not text.strip():
        raise PolyfieldError(f"{path}: is empty; expected JSON")
    return text
