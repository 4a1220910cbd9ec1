"""The report: Markdown tables of the records, a section for each kind."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

NOTES = Path(__file__).parent / "notes.md"  # written by hand; the end of the report

# Kind -> its heading, and the explanation of its rows.
SECTIONS = {
    "limits": (
        "Limits of the machine",
        (
            "Operations per second of all threads together, for each instruction set. `generic` runs on "
            "any CPU. Reads and updates go to random addresses in a block of memory of the given size. "
            "All threads read the same block. Each thread updates a block of its own. An update reads 16 "
            "bytes and writes them back. 1 KB is 1,024 bytes."
        ),
    ),
    "kernels": (
        "The kernels",
        (
            "Throughput of operations, in units per second. The second column gives the unit: `rows` are "
            "inputs of the network, and `numbers` are parameters. `reference` is the PyTorch "
            "implementation. The other implementations are native kernels, by instruction set. "
            "`interpolate to table` and `interpolate to points` compute gradients with respect to the "
            "table and to the points. `best / reference` is the throughput of the fastest implementation "
            "divided by the throughput of the reference. [design.md](design.md#kernels) describes the "
            "operations."
        ),
    ),
    "network": (
        "Hash grid and network",
        (
            "A hash grid and a network, as separate operations, evaluated at random points. The grid has "
            "8 levels of 4 features and at most 2^17 entries per level. The network has 32 inputs, two "
            "hidden layers of 64 units and 16 outputs. The rows are implementations by polyfield and "
            "Dr.Jit. `reference` is polyfield's PyTorch implementation, without torch.compile in the "
            "first row. The rows that are named after an instruction set, such as `avx2`, are polyfield's "
            "native kernels. The last two columns are speeds divided by the speed of the first row."
        ),
    ),
    "step": (
        "The training step",
        (
            "A training step of a hash grid with 2^17 entries per level. Each row (`form`) is one "
            "implementation: native kernels by instruction set, or the PyTorch `reference`. All "
            "implementations start from the same state of a fit. Evaluated samples pass through the "
            "density network. Trained samples pass forward and backward through all networks. They are "
            "the evaluated samples that light reaches and whose weight is at least a tenth of the mean "
            "weight of their ray's samples. `share of limit` is the time that the step's arithmetic and "
            "table accesses would take at the machine's limits, divided by the measured time. The next "
            "three columns are the parts of this share for multiply-adds, reads and updates. The limits "
            "are measured in the same rounds. `step_seconds` in `benchmarks/limits.py` computes the time "
            "at the limits. The reference's time does not include updates of the occupancy grid."
        ),
    ),
    "fit": (
        "PSNR against training time",
        (
            "Each row is one fit of a hash grid with the default options to photographs of full "
            "resolution. `seconds` is the training time. With early ray termination, a ray ends where its "
            "transmittance falls below 0.1 %. `frame, s` is the time to render a test view with early ray "
            "termination. `loss by early termination, dB` is the decrease of the test PSNR that early ray "
            "termination causes. The last four columns are measured on four test views."
        ),
    ),
    "scene": (
        "Architectures on a scene",
        (
            "Each row is one fit of an architecture with its default options. `training at T s, dB` is the "
            "PSNR of the training rays, averaged over an interval that ends at T. The interval is a tenth of "
            "the fit's duration. Architectures without a row have not been measured. "
            "[architectures.md](architectures.md) describes the architectures."
        ),
    ),
    "bits": (
        "8 bits",
        (
            "Each row compares two fits of an architecture with the same number of steps: a fit with "
            "default options, and a fit with `--bits 8`. `bytes stored` counts the parameters and buffers "
            "of the field before compression. `file, bytes` also counts the occupancy grid and the cameras."
        ),
    ),
    "pictures": (
        "Architectures on images",
        (
            "The images are part of the Kodak set. Each row is an architecture, and each of the first columns "
            "is the PSNR of a fit to one image. Architectures without a row have not been measured or cannot "
            "store images."
        ),
    ),
    "crops": (
        "Crops of images at equal steps",
        (
            "Two comparisons: `mlp` and `cam`, with the same Fourier features, and `hashgrid` and `rbf`, with "
            "the same size. `benchmarks/crops.py` lists the options."
        ),
    ),
    "shape": (
        "Shapes",
        (
            "Each row is one fit of a hash grid to a mesh. `sdf` is the signed distance, and `udf` the "
            "unsigned distance. `seconds` is the training time, and `preparation, s` the time before the "
            "first training step. The interior IoU is the intersection over union of the interiors of the "
            "field and the mesh. The Chamfer distance is the mean distance from a point of one surface to "
            "the nearest point of the other surface, averaged over both directions. The threshold of the "
            "F-score is 0.5 % of the longest side of the mesh's bounding box. `normal error` is the mean "
            "angle between normals of nearest points. `distance error` is the mean absolute error at "
            "random points of the domain. The Chamfer distance and the distance error are divided by the "
            "longest side of the bounding box. `fitting/tasks/shape_task.py` defines all measures."
        ),
    ),
    "photographs": (
        "Fits to photographs",
        (
            "Fits of every architecture to photographs, for comparison with the conversions below. The "
            "time in a column's name is the training time, and `dB` is the test PSNR. `background "
            "opacity` is the mean rendered opacity of pixels whose alpha is 0, in five test views. "
            "`photographs at 1/4` means that the photographs are downscaled by 4."
        ),
    ),
    "conversion": (
        "Conversions",
        (
            "A conversion fits a new field, the student, to a fitted field, the teacher. `teacher dB` and "
            "`student dB` are test PSNRs. Rows with the same teacher architecture may have different fits "
            "as teachers, with different PSNRs. `student to teacher, dB` is the PSNR between renderings "
            "of both fields from eight random poses. `preparation` is the time before the first training "
            "step. During the preparation, a `voxels` student takes over the teacher's values, and the "
            "kernels of an `rbf` student are placed. `background opacity` is the student's mean rendered "
            "opacity of pixels whose alpha is 0, in five test views. `teacher's share` is the share of "
            "the training time in which the teacher is evaluated. The first time below the table is the "
            "students' training time. [conversion.md](conversion.md) describes the method."
        ),
    ),
    "learning": (
        "Active learning",
        (
            "Conversions of a hash grid with and without levels of active learning (column `levels`), for "
            "three seeds. `test dB` is the mean PSNR of the 25 test views. `student to teacher, dB` is "
            "the PSNR between renderings of both fields in five of these views. The last column is this "
            "PSNR over only the tenth of the rays with the largest errors. [conversion.md](conversion.md) "
            "describes the levels."
        ),
    ),
    "stages": (
        "Stages of a conversion",
        (
            "Conversions of a hash grid with three choices of stages. The last two columns are the test "
            "PSNRs of a short and of a long conversion, after the training time in the column's name. "
            "`rendered colours alone` is `--stages 0 0`: a conversion with stage 3 only, in which some "
            "steps still compare samples. `samples alone` is `--stages 0 1`. "
            "[conversion.md](conversion.md) describes the stages."
        ),
    ),
    "roundtrip": (
        "Round trips",
        (
            "A field is converted to another architecture, and the result is converted back to the first "
            "architecture. The figures are test PSNRs. The time below the table is the training time of "
            "each conversion."
        ),
    ),
    "erased": (
        "Erased boxes",
        (
            "A box of a hash grid is erased, and the edited field is converted to a student. `student to "
            "edited field, dB` is the PSNR between renderings of both fields from eight random poses. The "
            "opacities are rendered opacities of the student, on rays of five test views that hit only "
            "the contents of the box. On these rays, the opacity was above 0.5 before the edit and is "
            "below 0.005 in the edited field. `rays` is the number of these rays. The box is given by its centre and "
            "three half sizes."
        ),
    ),
    "fused": (
        "Two halves into one",
        (
            "The field of a scene is cut into two halves. The halves are pasted together, and the result "
            "is converted. For comparison, the whole field is converted in the same time. The figures are "
            "test PSNRs of the students. The time below the table is the training time of each "
            "conversion."
        ),
    ),
    "recipes": (
        "Recipes of banks",
        (
            "A bank holds one field for each object of a set. A recipe holds the options and the fit "
            "settings of these fields. In this table, the fields are unsigned distances of point clouds. "
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
            "only the weights of the fields' networks, `cloud` reads points of the objects, and all other "
            "networks read the fields' planes."
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
            "Times of the parts of a frame, for four applications with three encodings each, as in Mubarik "
            "et al. 2023. `benchmarks/ngpc.py` defines the parts."
        ),
    ),
}
# Parts of the names of the records' columns, and what the tables show instead.
_LABELS = {
    "and backward, points/s": "forward and backward, points/s",
    "both /": "forward and backward /",
    "/ eager": "/ reference",
    "of it multiply-adds": "of which multiply-adds",
    "without stopping, s": "frame without early termination, s",
    "between them dB": "PSNR between these frames, dB",
    "lost by stopping dB": "loss by early termination, dB",
    "of preparing": "preparation, s",
    "preparing, s": "preparation, s",
    "prepared in": "preparation",
    "opacity of nothing": "background opacity",
    "to the teacher dB": "student to teacher, dB",
    "to the edited field dB": "student to edited field, dB",
    "worst tenth of rays dB": "student to teacher on the worst tenth of the rays, dB",
    "first dB": "first field, dB",
    "between dB": "after the first conversion, dB",
    "last dB": "after the second conversion, dB",
    "rays above 0.02, share": "share of rays with an opacity above 0.02",
    "of the whole dB": "whole field, dB",
    "of two halves dB": "two halves, dB",
    "why not": "reason for no result",
}
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def report(records: Iterable[dict[str, Any]]) -> str:
    """All sections that there are records for, headed by what they were measured on."""
    records = list(records)
    parts = [
        "# Benchmarks\n",
        (
            "This page is generated by `python -m benchmarks --report` from the records in `benchmarks/results` "
            "and from `benchmarks/notes.md`. Speeds of kernels, networks, training steps and frames are medians of several rounds. In each round, all implementations "
            "run in turn. Ratios compare figures of the same rounds. Each fit is run once, unless a table lists seeds. `code` "
            "is the start of a hash of the measured source code. The [README](../README.md#files) describes the evaluation "
            "protocols, such as `polyfield-views-1`.\n"
        ),
        "k, M and G after a number mean 10^3, 10^6 and 10^9. The measurements were made on:\n",
        "".join(f"* {found}\n" for found in dict.fromkeys(machine(record) for record in records)),
    ]
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
    names = [_named(column) for column in columns]
    lines = [names, ["---" if column == columns[0] else "---:" for column in columns]]
    lines += [[shown(column, row.get(column)) for column in columns] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def shown(column: str, value: Any) -> str:
    """A figure as its column's name asks: dB, shares, what happens a second, ratios."""
    if value is None or isinstance(value, str):
        return value or ""
    if column.endswith("dB"):
        return f"{value:.2f}"
    if "share" in column or column in ("of it multiply-adds", "reads", "updates"):
        return f"{value:.1%}" if 0 < value < 0.01 else f"{value:.0%}"
    for size, prefix in _PREFIXES:
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g}"


def _named(column: str) -> str:
    for part, label in _LABELS.items():
        column = column.replace(part, label)
    return column


def _made(record: dict[str, Any]) -> str:
    inputs = record["inputs"]
    found = inputs["machine"]
    used = f" ({found['used']})" if found.get("used") else ""
    return f"{record['date']} on {found['processor']}{used}, code {inputs['code'][:8]}"


def machine(record: dict[str, Any]) -> str:
    """What a record was measured on."""
    found = record["inputs"]["machine"]
    kernels = f"native kernels for {found['used']}" if found.get("used") else "no native kernels"
    on = f"{found['processor']} with {found['threads']} threads, {found['system']}"
    return f"{on}, {kernels}, torch {found['torch']}"


def _scene(record: dict[str, Any]) -> str:
    return record["inputs"]["options"].get("scene", "")
