"""`python -m benchmarks`: run the benchmarks that have no valid record, write a JSON file for each, and print Markdown tables."""

from __future__ import annotations

import argparse
import functools
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyfield.apps.command import prepare_torch
from polyfield.errors import PolyfieldError
from polyfield.fitting.runs.interrupt import Stopped, stoppable

if TYPE_CHECKING:
    from benchmarks.results import Cell
    from benchmarks.turns import Budget

CONVERSIONS = ("photographs", "conversion", "learning", "stages", "roundtrip", "erased", "fused")
BANKS = ("recipes", "banks", "classifiers", "parts", "views")
KINDS = (
    *(
        "limits",
        "kernels",
        "network",
        "step",
        "fit",
        "scene",
        "bits",
        "architectures",
        "pictures",
        "crops",
        "shape",
        "ngpc",
    ),
    *CONVERSIONS,
    *BANKS,
)
HERE = Path(__file__).parent


def main(arguments: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    prepare_torch()
    try:
        with stoppable():
            return _run(_parser().parse_args(arguments))
    except Stopped as stopped:
        say(f"stopped by {signal.Signals(stopped.signal).name}; what was measured is kept")
        return 128 + stopped.signal
    except PolyfieldError as error:
        say(f"error: {error}")
    except OSError as error:
        say(f"error: {error.filename or 'stdout'}: {error.strerror or error}")
    return 1


def say(line: str) -> None:
    """A line for people, on stderr."""
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help=f"kinds or cells: {', '.join(KINDS)}"
    )
    parser.add_argument("--out", type=Path, help="where the JSON files are kept: benchmarks/results")
    parser.add_argument("--scene", default="demo", help="a scene's folder, or demo")
    parser.add_argument(
        "--seconds",
        type=float,
        nargs="+",
        default=[15.0, 45.0, 90.0],
        metavar="S",
        help="lengths of the fits; the step is measured half-way through the first",
    )
    parser.add_argument(
        "--pictures", type=Path, help="a folder of PNG pictures that every architecture is fitted to"
    )
    parser.add_argument(
        "--meshes", type=Path, nargs="+", default=[], metavar="FILE", help="shapes to be fitted"
    )
    parser.add_argument(
        "--objects", type=Path, metavar="SET", help="labelled clouds that banks are fitted to, as for fit-set"
    )
    parser.add_argument("--quick", action="store_true", help="toy sizes, one round: to see that it runs")
    parser.add_argument("--list", action="store_true", help="only say which cells there are")
    parser.add_argument(
        "--report", action="store_true", help="only make docs/benchmarks.md from what is kept in --out"
    )
    return parser


def _run(asked: argparse.Namespace) -> int:
    from benchmarks.architecture_page import write as write_page
    from benchmarks.heat_map import heat_map
    from benchmarks.report import SECTIONS, report, table
    from benchmarks.results import keep, records

    out = asked.out or HERE / "results" / ("quick" if asked.quick else "")
    if asked.report:
        found = records(out)
        if not found:
            raise PolyfieldError(f"{out} holds no records; measure first, without --report")
        (HERE.parent / "docs" / "benchmarks.md").write_text(report(found))
        conversions, photographs = (
            [row for record in found if record["kind"] == kind for row in record["rows"]]
            for kind in ("conversion", "photographs")
        )
        write_page([record for record in found if record["kind"] == "architectures"], HERE.parent / "docs")
        if conversions:
            heat_map(conversions, photographs, HERE.parent / "docs" / "conversions.png")
        return 0
    for cell in _chosen(asked):
        if asked.list:
            print(cell.name)
            continue
        record = keep(cell, out, say)
        heading, _ = SECTIONS.get(cell.kind, ("Architectures", ""))  # which have a page of their own
        print(f"{heading}: {cell.name}\n\n{table(record['rows'])}", flush=True)
        print("".join(f"* {note}\n" for note in record["notes"]), flush=True)
    return 0


def _chosen(asked: argparse.Namespace) -> list[Cell]:
    cells = _cells(asked)
    known = {cell.kind for cell in cells} | {cell.name for cell in cells}
    for name in asked.only:
        if name not in known:
            raise PolyfieldError(
                f"--only {name}: no such kind or cell; expected one of {', '.join(sorted(known))}"
            )
    return [cell for cell in cells if not asked.only or {cell.kind, cell.name} & set(asked.only)]


def _cells(asked: argparse.Namespace) -> list[Cell]:
    """Every cell, in the order in which they are measured. What is large is imported or opened when it is needed."""
    from benchmarks import limits, operations, peers
    from benchmarks.results import Cell
    from benchmarks.turns import QUICK, Budget

    budget = QUICK if asked.quick else Budget()
    for seconds in asked.seconds:
        if not 0.01 <= seconds <= 1e6:
            raise PolyfieldError(f"--seconds {seconds:g}: expected 0.01 to 1000000")

    def cell(kind: str, what: str, measure: Callable[..., Any], *given: Any, **options: Any) -> Cell:
        name = "-".join(part for part in (kind, *what.split()) if part)
        return Cell(kind, name, {"quick": asked.quick, **options}, functools.partial(measure, *given, budget))

    cells = [cell("limits", "", limits.measure)]
    for order, name in enumerate(operations.OPERATIONS):
        cells.append(cell("kernels", name, operations.measure, name, order=order))
    cells.append(cell("network", "", peers.measure))

    scene, opened = _scene(asked.scene)

    def step(first: float, budget: Budget) -> dict[str, Any]:
        from benchmarks import steps

        return steps.measure(opened(), first, budget)

    def fit(seconds: float, budget: Budget) -> dict[str, Any]:
        from benchmarks import fits

        return fits.measure(asked.scene, opened(), seconds, budget)

    first = asked.seconds[0]
    cells.append(cell("step", scene["scene"], step, first, seconds=first, **scene))
    for seconds in sorted(set(asked.seconds)):
        what = f"{scene['scene']} {seconds:g}"
        cells.append(cell("fit", what, fit, seconds, order=seconds, **scene))
    return [*cells, *_matrix(asked, cell, scene), *_conversions(asked, cell, scene), *_process(asked, cell)]


def _matrix(asked: argparse.Namespace, cell: Callable[..., Cell], scene: dict[str, str]) -> list[Cell]:
    """Cells of every architecture, of shapes, and of the four applications."""
    from benchmarks import architectures, bits, crops, matrix, ngpc
    from polyfield.data.kinds import fingerprint
    from polyfield.fields import ARCHITECTURES, Domain, Meaning, architecture

    cells = []
    image = Meaning.of("image", Domain("box", (0.5, 0.5), (0.5, 0.5)))
    for order, name in enumerate(ARCHITECTURES):
        what = f"{scene['scene']} {name}"
        cells.append(cell("scene", what, matrix.scene, name, asked.scene, order=order, **scene))
    for order, name in enumerate(ARCHITECTURES):
        what = f"{scene['scene']} {name}"
        cells.append(cell("bits", what, bits.measure, name, asked.scene, order=order, **scene))
    sources = {"scene": [(scene["scene"], asked.scene, scene)], "picture": [], "shape": []}
    if asked.pictures is not None:
        first = min(asked.pictures.glob("*.png"), default=None)
        sources["picture"] = [(first.stem, first, {"file": fingerprint(first)})] if first else []
    sources["shape"] = [(mesh.stem, mesh, {"file": fingerprint(mesh)}) for mesh in asked.meshes[:1]]
    for kind, given in sources.items():
        for of, source, known in given:
            for order, name in enumerate(ARCHITECTURES):
                options = {**known, "order": order, "of": of}
                cells.append(
                    cell(
                        "architectures", f"{of} {name}", architectures.measure, kind, name, source, **options
                    )
                )
    if asked.pictures is not None:
        files = sorted(asked.pictures.glob("*.png"))
        if not files:
            raise PolyfieldError(f"--pictures: {asked.pictures} holds no .png files")
        for order, name in enumerate(ARCHITECTURES):
            if architecture(name).refusal(image) is None:
                options = {"order": order, "files": [fingerprint(file) for file in files]}
                cells.append(cell("pictures", name, matrix.pictures, name, files, **options))
        for order, name in enumerate(crops.CONTENDERS):
            options = {"order": order, "files": [fingerprint(file) for file in files]}
            what = name.replace(",", "")
            cells.append(cell("crops", what, crops.measure, name, files, **options))
    for mesh in asked.meshes:
        if not mesh.is_file():
            raise PolyfieldError(f"--meshes {mesh}: no such file")
        for order, kind in enumerate(matrix.SHAPE_SECONDS):
            cells.append(
                cell(
                    "shape",
                    f"{mesh.stem} {kind}",
                    matrix.shape,
                    kind,
                    mesh,
                    order=order,
                    file=fingerprint(mesh),
                )
            )
    for order, application in enumerate(ngpc.APPLICATIONS):
        cells.append(cell("ngpc", application, ngpc.measure, application, order=order))
    return cells


def _conversions(asked: argparse.Namespace, cell: Callable[..., Cell], scene: dict[str, str]) -> list[Cell]:
    """Cells of conversions. Fits to photographs are kept while the command runs, and serve several cells."""
    from benchmarks import conversions
    from polyfield.api.sources import open_scene
    from polyfield.fields import ARCHITECTURES

    @functools.cache
    def opened() -> conversions.Photographs:
        return conversions.Photographs(asked.scene, open_scene(asked.scene, conversions.DOWNSCALE))

    cells: list[Cell] = []

    def add(kind: str, what: str, measure: Callable[..., Any], *given: Any) -> None:
        def measured(budget: Budget) -> dict[str, Any]:
            return measure(*given, opened(), budget)

        cells.append(cell(kind, f"{scene['scene']} {what}", measured, order=len(cells), **scene))

    for student in conversions.STAGES:
        add("stages", student, conversions.stages, student)
    add("roundtrip", "vm", conversions.round_trip, "vm")
    for student in ("hashgrid", "mlp"):
        add("erased", student, conversions.erased, student)
    add("fused", "hashgrid", conversions.fused, "hashgrid")
    for student, sets in conversions.LEARNING.items():
        for levels in sets:
            add("learning", f"{student} {' '.join(levels) or 'none'}", conversions.learning, student, levels)
    for name in ARCHITECTURES:
        add("photographs", name, conversions.photographs, name)
    for teacher in ARCHITECTURES:
        for student in ARCHITECTURES:
            add("conversion", f"{teacher} {student}", conversions.conversion, teacher, student)
    return cells


def _process(asked: argparse.Namespace, cell: Callable[..., Cell]) -> list[Cell]:
    """Cells of banks and of networks over them. Banks are kept while the command runs, and serve several cells."""
    from benchmarks import process
    from benchmarks.turns import QUICK, Budget
    from polyfield.data.sets import open_set
    from polyfield.process.recipes import RECIPES

    banks = process.Banks(str(asked.objects), QUICK if asked.quick else Budget())
    cells = [cell("parts", "", process.parts, banks), cell("views", "", process.views, banks)]
    if asked.objects is None:
        return cells
    known = process.known(open_set(asked.objects))
    for name in RECIPES:
        cells.append(cell("recipes", name, process.recipe, name, banks, order=len(cells), **known))
    for count in process.SIZES:
        cells.append(cell("banks", f"{count}", process.size, count, banks, order=len(cells), **known))
    for name in process.CLASSIFIERS:
        cells.append(cell("classifiers", name, process.classifier, name, banks, order=len(cells), **known))
    return cells


def _scene(source: str) -> tuple[dict[str, str], Callable[[], Any]]:
    """A scene's name and what its files are known by, and how to open it, which is done once."""
    from benchmarks.results import files_digest
    from polyfield.api.sources import BUILT_IN, open_scene

    if source in BUILT_IN:
        options = {"scene": source}
    else:
        folder = Path(source).resolve()
        if not folder.is_dir():
            raise PolyfieldError(f"--scene {source}: no such folder; expected the folder of a scene, or demo")
        options = {"scene": folder.name, "files": files_digest(folder)}
    return options, functools.cache(lambda: open_scene(source, 1))


if __name__ == "__main__":
    sys.exit(main())
