"""The report: Markdown tables of the records, a section for each kind."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

NOTES = Path(__file__).parent / "notes.md"  # what people add: it ends the report

# Kind -> its heading, and what its rows say.
SECTIONS = {
    "limits": ("This machine's limits", "On all threads, by instruction set. Updates read and write."),
    "kernels": (
        "The kernels",
        "What each operation does a second: in plain PyTorch, and native by instruction set.",
    ),
    "network": (
        "Hash grid and network",
        "8 levels of 4 features in 2^17 entries, then a network of 32-64-64-16, on random points, one after the other.",
    ),
    "step": (
        "The training step",
        (
            "A hash grid of 2^17 entries a level, from one state for all forms. The share of the limit: the time that the "
            "step's arithmetic and table accesses take at the limits measured beside it, over the time of the whole "
            "step; `step_seconds` in `benchmarks/limits.py` has the model. The reference's time on the occupancy grid "
            "is not counted."
        ),
    ),
    "fit": (
        "dB against seconds",
        "Whole fits. Frames are test views; without stopping, rays go on where no light is.",
    ),
    "scene": (
        "Architectures on a scene",
        "Whole fits of every architecture as it comes. Training dB are those of the rays drawn, a mean over a tenth of the fit.",
    ),
    "bits": (
        "8 bits",
        (
            "Fits of every architecture, and fits of as many steps with `--bits 8`. A file also has the occupancy grid and the "
            "cameras."
        ),
    ),
    "pictures": ("Architectures on pictures", "Whole fits of every architecture that carries images."),
    "crops": (
        "Crops of pictures at equal steps",
        "An mlp of Fourier features and cam over the same; a hash grid and rbf in as many bytes. `benchmarks/crops.py` has the options.",
    ),
    "shape": (
        "Shapes",
        "Hash grids. Chamfer and distance errors are in longest sides of the shape's box; `fitting/tasks/shape_task.py` has the protocol.",
    ),
    "photographs": ("Fits to photographs", "What conversions are compared with: whole fits by `fit`."),
    "conversion": (
        "Conversions",
        "Every architecture into every other. The lower of teacher and long fit to photographs is what a student is compared with.",
    ),
    "learning": ("Active learning", "Levels of active learning alone and together, three seeds each."),
    "stages": ("Stages of a conversion", "At a short and a long budget."),
    "roundtrip": ("Round trips", "A field converted to another architecture and back."),
    "erased": ("Erased boxes", "Opacity on rays that cross an erased box and nothing else."),
    "fused": ("Two halves into one", "Two half scenes pasted together, beside the whole."),
    "recipes": (
        "Recipes of banks",
        "Unsigned distances of clouds. The chamfer distance is that of `process/quality.py`.",
    ),
    "banks": ("Sizes of banks", "By the fast recipe, from the set to the bank's files."),
    "classifiers": (
        "Networks over a bank",
        "Trained on the same objects. `weights` reads the networks behind the planes alone, `cloud` the points.",
    ),
    "parts": ("Parts of shapes", "Procedural shapes with named parts: `benchmarks/object_sets.py`."),
    "views": ("A bank of radiance", "Procedural shapes of five classes, rendered by pyrender."),
    "ngpc": (
        "Where the time of a frame goes",
        "Four applications by three encodings, after Mubarik et al. 2023; `benchmarks/ngpc.py` says what is timed.",
    ),
}
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def report(records: Iterable[dict[str, Any]]) -> str:
    """All sections that there are records for, headed by what they were measured on."""
    records = list(records)
    parts = [
        "# Benchmarks\n",
        (
            "Made by `python -m benchmarks --report` from the records in `benchmarks/results`. Figures are medians of "
            "several rounds in which all contenders took turns, and ratios are between figures of the same rounds.\n"
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
    sets = ", ".join(found["instruction_sets"]) or "no native kernels"
    return (
        f"{found['processor']}, {found['threads']} threads, {found['system']}; {sets}; torch {found['torch']}"
    )


def _scene(record: dict[str, Any]) -> str:
    return record["inputs"]["options"].get("scene", "")
