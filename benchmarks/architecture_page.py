"""docs/architectures.md: what each architecture is, when to choose it, and its measured results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.architectures import KINDS, grid
from benchmarks.report import table
from polyfield.fields import ARCHITECTURES, architecture
from polyfield.fields.architecture import Architecture

_HEAD = """# Architectures

`polyfield fit SOURCE --field NAME` selects the architecture, and `--options NAME VALUE ...` sets its options. Fields of all
architectures are queried, rendered and saved in the same way. The tables list the defaults for still scenes. For other sources,
polyfield adapts options that are not set. `python -m benchmarks --report` generates this page from `fields/architectures/` and
`benchmarks/results`.
"""
_MEASURED = """## At equal size and equal time

Each row is one fit by `polyfield fit SOURCE --field NAME --bytes N --seconds S`. Other options have their default values. The figures
are those of `polyfield eval`. Short fits favour architectures with a fused kernel. `cam` and `rbf` have none.
"""


def page(records: Sequence[dict[str, Any]]) -> str:
    """Return the page, from records of the kind `architectures`."""
    parts = [_HEAD, "| name | when to choose it |\n| --- | --- |\n"]
    kinds = [architecture(name) for name in ARCHITECTURES]
    parts[-1] += "".join(f"| [`{kind.name}`](#{kind.name}) | {kind.advice} |\n" for kind in kinds)
    if records:
        parts.append(_MEASURED)
        parts.append("![Pictures of every architecture's fields](architectures.jpg)\n")
        parts += [_measured(source, records) for source in KINDS]
    parts += [_described(kind) for kind in kinds]
    return "\n".join(part for part in parts if part)


def write(records: Sequence[dict[str, Any]], docs: Path) -> None:
    """Write the page and its picture into a folder."""
    (docs / "architectures.md").write_text(page(records))
    if records:
        grid(records, docs / "architectures.jpg")


def _measured(source: str, records: Sequence[dict[str, Any]]) -> str:
    found = [record for record in records if record["rows"][0]["source"] == source]
    if not found:
        return ""
    found.sort(key=lambda record: record["inputs"]["options"]["order"])
    rows = [{key: value for key, value in row.items() if key != "source"} for r in found for row in r["rows"]]
    notes = "".join(dict.fromkeys(f"* {note}\n" for record in found for note in record["notes"]))
    name = found[0]["inputs"]["options"]["of"]
    return f"### {source.capitalize()}: {name}\n\n{table(rows)}\n{notes}"


def _described(kind: Architecture) -> str:
    lines = []
    for field in dataclasses.fields(kind.options):
        names = field.metadata.get("names")
        allowed = (
            ", ".join(f"`{name}`" for name in names)
            if names
            else "{:,} to {:,}".format(*field.metadata["range"])
        )
        default = field.default if names else f"{field.default:,}"
        lines.append(f"| `{field.name}` | {field.metadata['about']} | {default} | {allowed} |\n")
    return (
        f"## {kind.name}\n\n{kind.advice} `--bytes` sets `{kind.size_option}`.\n\n{kind.paper}.\n\n"
        f"| option | meaning | default | values |\n| --- | --- | --- | --- |\n{''.join(lines)}"
    )
