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
        (
            "Rates of all threads together, by instruction set; `generic` runs on any CPU. Reads and updates "
            "go to random addresses within the given size of memory. All threads read the same memory; each "
            "thread updates its own. An update reads 16 bytes and writes them back."
        ),
    ),
    "kernels": (
        "The kernels",
        (
            "Throughput of operations: the PyTorch reference, and the native kernels by instruction set. "
            "`to table` and `to points` are gradients with respect to the table and to the points. "
            "`best / reference` is the ratio of the fastest implementation to the reference. "
            "[design.md](design.md#kernels) describes the operations."
        ),
    ),
    "network": (
        "Hash grid and network",
        (
            "A hash grid and a network, as separate operations, at random points. The grid has 8 levels of 4 "
            "features and at most 2^17 entries per level. The network has layers of 32, 64, 64 and 16 "
            "numbers. `and backward` is a forward and a backward pass. The ratios are relative to `eager`, "
            "the reference without torch.compile (the first row)."
        ),
    ),
    "step": (
        "The training step",
        (
            "A training step of a hash grid with 2^17 entries per level, in several implementations "
            "(`form`). All start from the same state of a fit. Evaluated samples pass through the density "
            "network. Trained samples pass forward and backward through all networks. `eager` is the "
            "reference without torch.compile. `share of limit` is the time that the step's arithmetic and "
            "table accesses would take at the machine's limits, divided by the measured time. The next three "
            "columns divide this share among multiply-adds, reads and updates. The limits are measured in "
            "the same rounds. `step_seconds` in `benchmarks/limits.py` computes the time at the limits. The "
            "reference's time does not include updates of the occupancy grid."
        ),
    ),
    "fit": (
        "PSNR against training time",
        (
            "Each row is one fit. `frame, s` is the time to render a test view with early ray termination, "
            "and `without stopping, s` the time without it. `between them dB` is the PSNR between these two "
            "renderings. `lost by stopping dB` is the test PSNR that early ray termination costs. These four "
            "columns are measured on four test views."
        ),
    ),
    "scene": (
        "Architectures on a scene",
        (
            "Each row is one fit of an architecture with its default options. `training at T s` is the PSNR "
            "of the training rays, averaged over the tenth of the fit that ends at T. Architectures without "
            "a row have not been measured."
        ),
    ),
    "bits": (
        "8 bits",
        (
            "Each row compares two fits of an architecture with equally many steps: the default, and one "
            "with `--bits 8`. `bytes stored` counts the field. `file, bytes` also counts the occupancy grid "
            "and the cameras."
        ),
    ),
    "pictures": (
        "Architectures on images",
        (
            "Each row gives one fit per image, for an architecture that can store images. Architectures "
            "without a row have not been measured."
        ),
    ),
    "crops": (
        "Crops of images at equal steps",
        (
            "Two comparisons: `mlp` with Fourier features against `cam` with the same features, and a hash "
            "grid against `rbf` of the same size. `benchmarks/crops.py` has the options."
        ),
    ),
    "shape": (
        "Shapes",
        (
            "Each row is one fit of a hash grid. `seconds` is the training time, and `of preparing` the "
            "preparation time in seconds. The Chamfer distance and the distance error are divided by the "
            "longest side of the shape's box. `fitting/tasks/shape_task.py` defines all measures."
        ),
    ),
    "photographs": (
        "Fits to photographs",
        (
            "The fits with which the conversions below are compared. `opacity of nothing` is the mean "
            "rendered opacity of pixels whose alpha is 0."
        ),
    ),
    "conversion": (
        "Conversions",
        (
            "A conversion fits a new field, the student, to a fitted one, the teacher. `to the teacher dB` "
            "is the PSNR between their renderings. `prepared in` is the time before the first training step, which "
            "takes over values for `voxels`, and places kernels for `rbf`. `opacity of nothing` is the student's "
            "mean opacity on pixels whose alpha is 0. `teacher's share` is the share of the time spent on "
            "evaluating the teacher."
        ),
    ),
    "learning": (
        "Active learning",
        (
            "Conversions of a hash grid with no level of active learning, with single levels, and with all "
            "levels, for three seeds each. [conversion.md](conversion.md) describes the levels."
        ),
    ),
    "stages": (
        "Stages of a conversion",
        (
            "Conversions of a hash grid with each choice of stages, in a short and in a long conversion. In "
            "`rendered colours alone`, one step in eight compares samples and the others compare rendered "
            "colours. [conversion.md](conversion.md) describes the stages."
        ),
    ),
    "roundtrip": ("Round trips", "A field is converted to another architecture and back."),
    "erased": (
        "Erased boxes",
        (
            "A box of a scene is erased, and the edited field is converted. The opacities are the student's, "
            "on rays that cross the erased box and no other occupied space."
        ),
    ),
    "fused": (
        "Two halves into one",
        "Two half scenes are pasted together and converted. The whole scene is converted for comparison.",
    ),
    "recipes": (
        "Recipes of banks",
        (
            "A bank holds one field for each object of a set; a recipe holds the options and the fit "
            "settings of these fields. Here the fields are unsigned distances of point clouds. "
            "`process/quality.py` defines the Chamfer distance and the F-score."
        ),
    ),
    "banks": (
        "Sizes of banks",
        (
            "Banks of several sizes with the recipe `fast`. `seconds` is the time to fit the objects and "
            "write the bank's files."
        ),
    ),
    "classifiers": (
        "Networks over a bank",
        (
            "Networks that classify the objects of a bank, all trained on the same objects. `weights` reads "
            "only the networks behind the planes of the fields, `cloud` reads points of the objects, and all "
            "others read the planes."
        ),
    ),
    "parts": (
        "Parts of shapes",
        (
            "A network predicts the parts to which points of shapes belong. The shapes are procedural, from "
            "`benchmarks/object_sets.py`."
        ),
    ),
    "views": (
        "A bank of radiance",
        (
            "A bank of radiance fields of procedural shapes, and a network that classifies them into five "
            "classes. pyrender renders the training images."
        ),
    ),
    "ngpc": (
        "Where the time of a frame goes",
        (
            "Four applications with three encodings each, after Mubarik et al. 2023. `benchmarks/ngpc.py` "
            "defines what is timed."
        ),
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
        made = sorted({_made(record) for record in group})
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


def _made(record: dict[str, Any]) -> str:
    inputs = record["inputs"]
    return f"{record['date']} on {inputs['machine']['processor']}, code {inputs['code'][:8]}"


def _machine(record: dict[str, Any]) -> str:
    found = record["inputs"]["machine"]
    sets = " and ".join(found["instruction_sets"])
    kernels = f"instruction sets {sets}" if sets else "no native kernels"
    on = f"{found['processor']} with {found['threads']} threads, {found['system']}"
    return f"{on}, {kernels}, torch {found['torch']}"


def _scene(record: dict[str, Any]) -> str:
    return record["inputs"]["options"].get("scene", "")
