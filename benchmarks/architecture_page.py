"""docs/architectures.md: what each architecture is, when to choose it, and its measured results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.architectures import KINDS, grid
from benchmarks.report import machine, table
from polyfield.fields import ARCHITECTURES, architecture
from polyfield.fields.architecture import Architecture

_HEAD = """# Architectures

`polyfield fit SOURCE --field NAME` selects the architecture, and `--options NAME VALUE ...` sets its options. With `--bytes N`,
polyfield sets one option so that the stored parameters and buffers take at most N bytes. The sections below name this option.
Fields of all architectures are queried, rendered and saved in the same way.

Most architectures store features at the nodes of grids, planes or lines. The features of a point are interpolated linearly.
In `mlp` and `cam`, the features are sines and cosines of the coordinates instead. The main network maps the features to the
value of the field. In a radiance field, it maps the features to a latent vector of 16 numbers. The first number gives the
density. The colour network maps the latent vector and the viewing direction to a colour. `voxels` has no network. It stores
values at the nodes and interpolates them: densities and spherical-harmonic coefficients in a radiance field, and values of the
field otherwise. Moving fields (moving scenes and videos) have time as an additional axis.

The tables of options list the defaults for still scenes. For other sources, some options have other defaults.

`python -m benchmarks --report` generates this page from `fields/architectures/` and `benchmarks/results`.
"""
_MEASURED = """## At equal size and equal time

Each row is one fit by `polyfield fit SOURCE --field NAME --bytes N --seconds S`. N and S are given below each table. Other
options have their default values, but the photographs of `lego` are downscaled by 4. `test dB` is the mean PSNR of the test
views, and `dB` is the PSNR of the image. `steps` is the number of training steps. `preparation, s` is the time before the first
training step. `bytes stored` counts the parameters and buffers of the field.

For `mlp`, `--bytes` tries only widths up to 64, and for `cp` only ranks up to 256, so that steps do not take too long. Their fields
may be much smaller than N bytes.
"""


def page(records: Sequence[dict[str, Any]]) -> str:
    """Return the page, from records of the kind `architectures`."""
    parts = [_HEAD, "| name | when to choose it |\n| --- | --- |\n"]
    kinds = [architecture(name) for name in ARCHITECTURES]
    parts[-1] += "".join(f"| [`{kind.name}`](#{kind.name}) | {kind.advice} |\n" for kind in kinds)
    if records:
        parts.append(_MEASURED)
    if _tiled(records):
        parts.append("![Renderings of every architecture's fields](architectures.jpg)\n")
    parts += [_measured(source, records) for source in KINDS]
    parts += [_described(kind) for kind in kinds]
    return "\n".join(part for part in parts if part)


def write(records: Sequence[dict[str, Any]], docs: Path) -> None:
    """Write the page and its picture into a folder."""
    (docs / "architectures.md").write_text(page(records))
    if _tiled(records):
        grid(records, docs / "architectures.jpg")


def _tiled(records: Sequence[dict[str, Any]]) -> bool:
    return any(record.get("tile") for record in records)


def _measured(source: str, records: Sequence[dict[str, Any]]) -> str:
    """Return the tables of a kind of source, one for each source."""
    parts = []
    found = [record for record in records if record["rows"][0]["source"] == source]
    for name in dict.fromkeys(record["inputs"]["options"]["of"] for record in found):
        group = [record for record in found if record["inputs"]["options"]["of"] == name]
        group.sort(key=lambda record: record["inputs"]["options"]["order"])
        rows = [{k: v for k, v in row.items() if k != "source"} for record in group for row in record["rows"]]
        notes = dict.fromkeys(note for record in group for note in record["notes"])
        notes |= dict.fromkeys(f"measured on {machine(record)}" for record in group)
        listed = "".join(f"* {note}\n" for note in notes)
        parts.append(f"### {source.capitalize()}: {name}\n\n{table(rows)}\n{listed}")
    return "\n".join(parts)


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
