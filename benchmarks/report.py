"""The report: Markdown tables of the records, a section for each kind."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

NOTES = Path(__file__).parent / "notes.md"  # written by hand; the end of the report

# Kind -> its heading, and the explanation of its rows.
SECTIONS = {
    "limits": (
        "This machine's limits",
        "Rates of all threads together, by instruction set. An update reads and writes.",
    ),
    "kernels": (
        "The kernels",
        (
            "Throughput of operations: the PyTorch reference, and the native kernels by instruction set. `to table` and "
            "`to points` are gradients with respect to the table and to the points."
        ),
    ),
    "network": (
        "Hash grid and network",
        (
            "A hash grid and a network, as separate operations, at random points. The grid has 8 levels of 4 features and at "
            "most 2^17 entries. The network has layers of 32, 64, 64 and 16 numbers. `and backward` is a forward and a "
            "backward pass. `eager` is the reference without torch.compile."
        ),
    ),
    "step": (
        "The training step",
        (
            "A hash grid of 2^17 entries per level. All implementations start from the same state. `share of limit` is the "
            "time of the step's arithmetic and table accesses at the limits, divided by the measured time of the "
            "step. The limits are measured in the same rounds; `step_seconds` in `benchmarks/limits.py` has the model. "
            "The three columns behind it are its parts. The reference's time does not include the occupancy grid."
        ),
    ),
    "fit": (
        "PSNR against training time",
        (
            "Each row is one fit. `frame, s` is the time to render a test view. `without stopping, s` is the time without "
            "early ray termination. `between them dB` is the PSNR between these two frames. `lost by stopping dB` is the "
            "test PSNR that early ray termination costs."
        ),
    ),
    "scene": (
        "Architectures on a scene",
        (
            "Each row is one fit of an architecture with its default options. Training dB is the PSNR of the training rays, "
            "averaged over a tenth of the fit. Architectures without a row have not been measured."
        ),
    ),
    "bits": (
        "8 bits",
        (
            "Fits of every architecture, and fits of as many steps with `--bits 8`. A file also holds the occupancy grid and "
            "the cameras."
        ),
    ),
    "pictures": (
        "Architectures on pictures",
        (
            "Each row is one fit per picture, for an architecture that can store pictures. Architectures without a row have "
            "not been measured."
        ),
    ),
    "crops": (
        "Crops of pictures at equal steps",
        (
            "An mlp with Fourier features, and cam with the same features; a hash grid, and rbf of the same size. "
            "`benchmarks/crops.py` has the options."
        ),
    ),
    "shape": (
        "Shapes",
        (
            "Each row is one fit of a hash grid. `seconds` is the training time and `of preparing` the preparation time in "
            "seconds. Chamfer distance and distance error are divided by the longest side of the shape's box. "
            "`fitting/tasks/shape_task.py` has the protocol."
        ),
    ),
    "photographs": ("Fits to photographs", "The fits to which conversions are compared."),
    "conversion": (
        "Conversions",
        (
            "Conversions between architectures. A student is compared with the lower of two values: the PSNR of its teacher, "
            "and the PSNR of a long fit of its own architecture to photographs."
        ),
    ),
    "learning": (
        "Active learning",
        "The levels of active learning, each alone and all together, with three seeds each.",
    ),
    "stages": ("Stages of a conversion", "Each choice of stages, in a short and in a long conversion."),
    "roundtrip": ("Round trips", "A field is converted to another architecture and back."),
    "erased": (
        "Erased boxes",
        "The student's opacity on rays that cross the erased box and no other occupied space.",
    ),
    "fused": (
        "Two halves into one",
        "Two half scenes are pasted together and converted. The whole scene is converted for comparison.",
    ),
    "recipes": (
        "Recipes of banks",
        "Unsigned distances of clouds. `process/quality.py` defines the Chamfer distance.",
    ),
    "banks": (
        "Sizes of banks",
        "Banks of several sizes with the recipe `fast`. The time is from the set to the bank's files.",
    ),
    "classifiers": (
        "Networks over a bank",
        (
            "All networks are trained on the same objects. `weights` reads only the networks behind the planes. `cloud` reads "
            "the points."
        ),
    ),
    "parts": ("Parts of shapes", "Procedural shapes with named parts, from `benchmarks/object_sets.py`."),
    "views": ("A bank of radiance", "Procedural shapes of five classes, rendered by pyrender."),
    "ngpc": (
        "Where the time of a frame goes",
        "Four applications with three encodings each, after Mubarik et al. 2023. `benchmarks/ngpc.py` says what is timed.",
    ),
}
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def report(records: Iterable[dict[str, Any]]) -> str:
    """All sections that there are records for, headed by what they were measured on."""
    records = list(records)
    parts = [
        "# Benchmarks\n",
        (
            "This page is generated by `python -m benchmarks --report` from the records in `benchmarks/results`. Speeds are "
            "medians of several rounds; in each round all contenders run in turn. Ratios compare figures of the same rounds. "
            "Fits are run once.\n"
        ),
    ]
    for machine in dict.fromkeys(_machine(record) for record in records):
        parts.append(f"Measured on {machine}.\n")
    for kind, (heading, words) in SECTIONS.items():
        parts += _section(heading, words, [record for record in records if record["kind"] == kind])
    if NOTES.exists():
        parts.append(NOTES.read_text())
    return "\n".join(parts)


def _section(heading: str, words: str, records: list[dict[str, Any]]) -> list[str]:
    if not records:
        return []
    parts = [f"## {heading}\n", f"{words}\n"]
    for scene in dict.fromkeys(_scene(record) for record in records):
        group = [record for record in records if _scene(record) == scene]
        group.sort(key=lambda record: record["inputs"]["options"].get("order", 0))
        parts += [f"### Scene {scene}\n"] if scene else []
        parts.append(table([row for record in group for row in record["rows"]]))
        notes = dict.fromkeys(note for record in group for note in record["notes"])
        made = sorted({f"{record['date']}, code {record['inputs']['code'][:8]}" for record in group})
        parts.append("".join(f"* {note}\n" for note in (*notes, f"measured {'; '.join(made)}")))
    return parts


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table; columns in the order in which they appear."""
    if not rows:
        return ""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---" if column == columns[0] else "---:" for column in columns]]
    lines += [[shown(column, row.get(column)) for column in columns] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def shown(column: str, value: Any) -> str:
    """A figure as its column's name asks: dB, shares, what happens a second, ratios."""
    if value is None or isinstance(value, str):
        return value or ""
    if column.endswith("dB"):
        return f"{value:.2f}"
    if "share" in column or column in ("of it multiply-adds", "reads", "updates"):
        return f"{value:.0%}"
    for size, prefix in _PREFIXES:
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g}"


def _machine(record: dict[str, Any]) -> str:
    found = record["inputs"]["machine"]
    sets = " and ".join(found["instruction_sets"])
    kernels = f"instruction sets {sets}" if sets else "no native kernels"
    on = f"{found['processor']} with {found['threads']} threads, {found['system']}"
    return f"{on}, {kernels}, torch {found['torch']}"


def _scene(record: dict[str, Any]) -> str:
    return record["inputs"]["options"].get("scene", "")
