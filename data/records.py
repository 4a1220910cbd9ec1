"""Records: JSON objects read key by key. Every error names the file, the key and the frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyfield.errors import PolyfieldError, shown
from polyfield.files.strict_json import read_json

LARGEST = 1e18  # of a number: its square still fits into float32


@dataclass(frozen=True)
class Record:
    """One JSON object and its place, for example 'scene/transforms.json: frames[3]'.

    null counts as absent.
    """

    values: dict[str, Any]
    where: str

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def fail(self, key: str, text: str) -> PolyfieldError:
        """Return the error to raise about `key`. `text` follows its name."""
        return PolyfieldError(f"{self.where}: {key} {text}")

    def number(self, key: str) -> float | None:
        """Return a finite number, or None if the key is absent."""
        value = self.values.get(key)
        return None if value is None else self._finite(key, value)

    def integer(self, key: str, smallest: int = 1) -> int | None:
        """Return a whole number, also written as 540.0, or None if the key is absent."""
        value = self.number(key)
        if value is not None and (value != int(value) or value < smallest):
            raise self.fail(key, f"is {self.values[key]!r}; expected a whole number of at least {smallest}")
        return None if value is None else int(value)

    def text(self, key: str) -> str | None:
        """Return a string that is not empty, or None if the key is absent."""
        value = self.values.get(key)
        if value is not None and (not isinstance(value, str) or not value):
            raise self.fail(key, f"is {brief(value)}; expected text")
        return value

    def flag(self, key: str) -> bool:
        """Return true or false; false if the key is absent."""
        value = self.values.get(key, False) or False
        if not isinstance(value, bool) and value != 1:
            raise self.fail(key, f"is {brief(value)}; expected true or false")
        return bool(value)

    def numbers(self, key: str, count: int) -> list[float] | None:
        """Return a list of exactly `count` finite numbers, or None if the key is absent."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != count:
            raise self.fail(key, f"is {brief(value)}; expected a list of {count} numbers")
        return [self._finite(f"{key}[{i}]", item) for i, item in enumerate(value)]

    def texts(self, key: str) -> list[str] | None:
        """Return a list of strings, or None if the key is absent."""
        value = self.values.get(key)
        if value is not None and not (
            isinstance(value, list) and all(isinstance(item, str) for item in value)
        ):
            raise self.fail(key, f"is {brief(value)}; expected a list of file names")
        return value

    def records(self, key: str) -> list[Record]:
        """Return a list of at least one object, each with its place."""
        value = self.values.get(key)
        if not isinstance(value, list) or not value:
            found = "is missing" if value is None else f"is {brief(value)}"
            raise self.fail(key, f"{found}; expected a list of at least one object")
        for i, item in enumerate(value):
            if not isinstance(item, dict):
                raise self.fail(f"{key}[{i}]", f"is {brief(item)}; expected an object")
        return [Record(item, f"{self.where}: {key}[{i}]") for i, item in enumerate(value)]

    def matrix(self, key: str) -> list[list[float]] | None:
        """Return a list of rows of finite numbers, all of one length, or None if the key is absent."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not value or not all(isinstance(row, list) for row in value):
            raise self.fail(key, f"is {brief(value)}; expected a list of rows of numbers")
        if len({len(row) for row in value}) != 1:
            raise self.fail(
                key,
                f"has rows of {', '.join(str(len(row)) for row in value[:8])} numbers; expected equal lengths",
            )
        return [
            [self._finite(f"{key}[{i}][{j}]", item) for j, item in enumerate(row)]
            for i, row in enumerate(value)
        ]

    def _finite(self, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail(key, f"is {brief(value)}; expected a number")
        if abs(value) > LARGEST:
            raise self.fail(key, f"is {brief(value)}; expected a magnitude of at most {LARGEST:g}")
        return float(value)


def brief(value: Any) -> str:
    """Return a value in a few words, safe to print on one line."""
    if isinstance(value, dict | list):
        kind = "an object" if isinstance(value, dict) else "a list"
        return f"{kind} of length {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def read_record(path: Path) -> Record:
    """Return the JSON object that a file holds. Raises PolyfieldError if the top value is not an object."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise PolyfieldError(f"{shown(path)} holds {brief(value)}; expected a JSON object at the top level")
    return Record(value, shown(path))
