"""JSON files, strictly read and atomically written."""

from __future__ import annotations

import json
import math
import os
import re
from typing import Any

from polyfield.errors import PolyfieldError, shown
from polyfield.files.atomic import open_file, read_stream, write_bytes

LONGEST_JSON = 256 << 20  # bytes


def json_text(value: Any, where: str, indent: int | None = None) -> str:
    """Return plain data as JSON, keys in their order. Raises PolyfieldError for NaN and infinity."""
    try:
        return json.dumps(value, allow_nan=False, indent=indent)
    except ValueError as error:
        raise PolyfieldError(f"{where} cannot be written as JSON: {error}") from None


def json_file(value: Any, where: str) -> bytes:
    """Return the bytes of a JSON file: indented, with a newline at the end."""
    return (json_text(value, where, indent=2) + "\n").encode()


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write plain data as a JSON file, atomically."""
    write_bytes(path, json_file(value, shown(path)))


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return the plain data of a JSON file, read strictly: see `parse_json`."""
    with open_file(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > LONGEST_JSON:
            raise PolyfieldError(
                f"{shown(path)} has {size:,} bytes; expected at most {LONGEST_JSON:,} bytes of JSON"
            )
        return parse_json(read_stream(stream, size, shown(path)), shown(path))


def parse_json(data: bytes, where: str) -> Any:
    """Return the plain data of JSON bytes in UTF-8, with or without a byte order mark.

    Raises PolyfieldError, one line that begins with `where`, for invalid JSON, NaN, infinities, keys that
    occur twice in an object, and nesting that is too deep for the parser.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolyfieldError(f"{where}: line {line}: not UTF-8; save the file as UTF-8") from None
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_float=_float,
            parse_int=_whole,
            parse_constant=_constant,
        )
    except _Fault:
        raise PolyfieldError(f"{where}: {_first_fault(text)}") from None
    except json.JSONDecodeError as error:
        raise PolyfieldError(
            f"{where}: line {error.lineno}: not valid JSON: {error.msg.removesuffix(' at')}"
        ) from None
    except RecursionError:
        raise PolyfieldError(f"{where}: JSON nested too deeply to be read; flatten it") from None


class _Fault(Exception):
    """JSON that the parser's grammar accepts and this module refuses."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise _Fault
    return members


def _float(text: str) -> float:
    if math.isinf(value := float(text)):
        raise _Fault
    return value


def _whole(text: str) -> int:
    _float(text)  # thousands of digits are slow to parse, and overflow in later arithmetic
    return int(text)


def _constant(text: str) -> float:
    raise _Fault


_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKENS = re.compile(rf"({_STRING})\s*:|{_STRING}|[{{}}\[\],]|-?Infinity|NaN|-?\d[\d.eE+-]*")


def _first_fault(text: str) -> str:
    """Return the place and the kind of the first fault. The parser's hooks find a fault but not its place."""
    where: list[str | int] = []  # path to this token: keys of objects and indices of arrays
    open_objects: list[set[str] | None] = []  # the keys of each object so far, None for an array
    for token in _TOKENS.finditer(text):
        found, key = token[0], token[1]
        if key is not None:
            where[-1], keys = json.loads(key), open_objects[-1]
            assert keys is not None
            if where[-1] in keys:
                return (
                    f"line {_line(text, token)}: the key {key:.80} occurs twice in one object, at {_way(where)}; "
                    "remove one"
                )
            keys.add(str(where[-1]))
        elif found in "{[":
            open_objects.append(set() if found == "{" else None)
            where.append("" if found == "{" else 0)
        elif found in "}]":
            open_objects.pop()
            where.pop()
        elif found == ",":
            where[-1] = where[-1] + 1 if isinstance(where[-1], int) else where[-1]
        elif not found.startswith('"') and not math.isfinite(float(found)):
            at = f" at {_way(where)}" if where else ""
            return f"line {_line(text, token)}: found {found[:20]}{at}; expected a finite number"
    raise AssertionError("a fault that cannot be found again")


def _way(where: list[str | int]) -> str:
    """Return a path as text, for example frames[3].transform_matrix[0][1]."""
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step:.80}" for step in where)
    return shown(steps.removeprefix("."))


def _line(text: str, token: re.Match[str]) -> int:
    return text.count("\n", 0, token.start()) + 1
