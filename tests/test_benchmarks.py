"""The benchmarks: the arithmetic of the limits by hand, fairness of turns, every cell at toy size, what is kept."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import __main__ as command
from benchmarks import (
    architecture_page,
    architectures,
    compiling,
    crops,
    fits,
    forms,
    heat_map,
    limits,
    operations,
    peers,
    report,
    results,
    steps,
)
from benchmarks import pack as packed
from benchmarks.turns import QUICK, Budget, in_turns, rate, rate_by_count
from polyfield.data.readers import open_scene
from polyfield.data.scene import Scene
from polyfield.demo.scenes import make_scene
from polyfield.errors import PolyfieldError
from polyfield.fields import ARCHITECTURES, Domain, FieldSpec, create
from polyfield.fields.registry import architecture
from polyfield.kernels.dispatch import form

SETS = forms.instruction_sets()
native = pytest.mark.skipif(not SETS, reason="polyfield was installed without its native part")


@pytest.fixture(scope="module")
def scene_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "toy"
    make_scene(folder, views=6, test_views=2, size=16)
    return folder


@pytest.fixture(scope="module")
def scene(scene_folder) -> Scene:
    return open_scene(scene_folder)


# -- the limits


def test_the_least_time_of_a_step_by_hand():
    shape = limits.Shape(
        density=((5, 8), (3, 5)),  # 40 + 15 = 55 multiply-adds
        colour=((6, 3 + 4), (3, 6)),  # 18 + 18 = 36 a sample, and 6 * 4 = 24 a ray
        harmonics=4,
        entries=(1024, 4096),
        corners=8,
        features=4,
    )
    most = limits.Limits(
        multiply_adds=1000.0,
        reads={8 << 10: 800.0, 32 << 10: 80.0},  # what the levels' 8-byte entries take
        updates={16 << 10: 400.0, 64 << 10: 40.0},
        number_bytes=2,
    )
    found = limits.step_seconds(shape, most, rays=10, evaluated=100, trained=20)
    assert found["multiply_adds"] == pytest.approx((100 * 55 + 20 * (36 + 2 * 91) + 10 * 2 * 24) / 1000)
    assert found["reads"] == pytest.approx(100 * 8 / 800 + 100 * 8 / 80)
    assert found["updates"] == pytest.approx(20 * 8 / 400 + 20 * 8 / 40)
    single = limits.step_seconds(
        shape, dataclasses.replace(most, number_bytes=4), rays=10, evaluated=100, trained=20
    )
    assert single["reads"] > found["reads"] and single["updates"] == found["updates"]


def test_rates_between_footprints_lie_on_lines_of_logarithms():
    rates = {1 << 10: 100.0, 1 << 12: 25.0}
    assert limits.rate_at(rates, 1 << 11) == pytest.approx(50.0)
    assert limits.rate_at(rates, 1 << 12) == 25.0
    assert limits.rate_at(rates, 1) == 100.0 and limits.rate_at(rates, 1 << 30) == 25.0


def test_the_shape_of_a_field_counts_its_weights():
    field = create(
        FieldSpec.of("hashgrid", "radiance", Domain("box", (0.0,) * 3, (1.0,) * 3), width=24), seed=0
    )
    shape = limits.Shape.of(field.plan())
    weights = sum(p.numel() for name, p in field.named_parameters() if "tables" not in name)
    assert sum(out * inputs for out, inputs in (*shape.density, *shape.colour)) == weights
    # Rows between levels belong to none.
    assert (
        0
        <= field.encoding.tables[0].numel() - sum(shape.entries) * shape.features
        < 16 * shape.features * len(shape.entries)
    )
    assert shape.corners == 8 and shape.colour[0][1] == shape.density[-1][0] + shape.harmonics


@native
@pytest.mark.parametrize("name", SETS)
def test_what_the_limits_count_is_what_was_asked_for(name):
    from polyfield import _core

    with forms.using(name):
        assert _core.instruction_set() == name
        for work in (
            _core.multiply_adds,
            lambda n: _core.random_reads(1 << 20, n),
            lambda n: _core.random_updates(1 << 20, n),
        ):
            assert 0.9e6 < work(1_000_000) <= 1_000_000
            assert 0 < work(1) < 1e6
        assert bool(_core.multiply_adds(1_000_000, True)) == (name == "avx512bf16")
        if _core.brain():
            assert _core.multiply_adds(1_000, True)
    assert _core.random_reads(1, 1) and _core.random_updates(0, 1)  # too little memory is rounded up


@native
def test_limits_do_not_grow_with_the_number_of_calls():
    """A loop that the compiler had emptied would take no time however long it is."""
    from polyfield import _core

    def seconds(count: int) -> float:
        start = time.perf_counter()
        _core.multiply_adds(count)
        return time.perf_counter() - start

    assert min(seconds(1 << 30) for _ in range(3)) > 4 * min(seconds(1 << 26) for _ in range(3))


# -- turns


def test_contenders_take_turns_and_the_first_round_does_not_count():
    called: list[str] = []

    def contender(name: str, values: list[float]):
        def run():
            called.append(name)
            return {"seconds": values.pop(0)}

        return run

    found = in_turns({"a": contender("a", [99, 1, 5, 2]), "b": contender("b", [99, 7, 7, 8])}, 3)
    assert called == ["a", "b"] * 4
    assert found == {"a": {"seconds": 2}, "b": {"seconds": 7}}


def test_rates_repeat_work_until_it_has_taken_long_enough():
    assert rate(lambda: time.sleep(0.01), 5, 0.03) == pytest.approx(500, rel=0.3)
    counts: list[int] = []

    def work(count: int) -> int:
        counts.append(count)
        time.sleep(count * 1e-7)
        return 2 * count

    assert rate_by_count(work, 0.02) == pytest.approx(2e7, rel=0.3)
    assert counts == sorted(set(counts)) and len(counts) > 1
    assert rate_by_count(lambda count: 0, 1.0) == 0  # what the instruction set has not got


def test_a_form_is_used_within_and_only_there(monkeypatch):
    monkeypatch.delenv("POLYFIELD_KERNELS", raising=False)
    before = form(torch.device("cpu"))
    assert forms.within("reference", lambda: form(torch.device("cpu")))() == "reference"
    with pytest.raises(ZeroDivisionError), forms.using("reference"):
        1 / 0  # noqa: B018
    assert form(torch.device("cpu")) == before


def test_what_does_not_compile_is_left_out_with_a_note():
    notes: list[str] = []
    budget = Budget(compile_seconds=1)
    assert compiling.compiles(lambda: None, budget, notes)
    assert not compiling.compiles(lambda: 1 / 0, budget, notes)
    assert not compiling.compiles(lambda: time.sleep(30), budget, notes)
    assert not compiling.compiles(lambda: None, QUICK, notes)
    assert [note.split(" ")[1] for note in notes] == ["took", "failed:", "was", "was"]
    assert "ZeroDivisionError" in notes[1] and "given up after 1 s" in notes[2] and "left out" in notes[3]


# -- the cells


def positive(row: dict, *but: str) -> bool:
    return all(
        value > 0 for key, value in row.items() if not isinstance(value, str | None) and key not in but
    )


def test_limits_of_every_instruction_set():
    found = limits.measure(QUICK)
    assert len(found["rows"]) >= 2 * len(limits.FOOTPRINTS) if SETS else found["notes"]
    for row in found["rows"]:
        assert [*row][1:] == SETS and positive(row)


@pytest.mark.parametrize("operation", operations.OPERATIONS)
def test_every_operation_in_every_form(operation):
    [row] = operations.measure(operation, QUICK)["rows"]
    assert row.keys() >= {"reference", *SETS} and positive(row)
    assert row["best / reference"] >= 1


def test_hash_grid_and_network(monkeypatch):
    found = peers.measure(QUICK)
    names = [row["contender"] for row in found["rows"]]
    assert names[: 1 + len(SETS)] == ["reference", *SETS] and all(positive(row) for row in found["rows"])
    assert ("Dr.Jit, LLVM" in names) != any("Dr.Jit was left out" in note for note in found["notes"])


def test_the_training_step(scene):
    found = steps.measure(scene, 0.2, QUICK)
    rows = {row["form"]: row for row in found["rows"]}
    assert [*rows] == [*SETS, "reference"] and all(positive(row) for row in rows.values())
    assert rows["reference"]["rays/s / eager"] == 1
    for name in SETS:
        parts = (rows[name][key] for key in ("of it multiply-adds", "reads", "updates"))
        assert rows[name]["share of limit"] == pytest.approx(sum(parts))
        assert rows[name]["evaluated samples/s"] >= rows[name]["trained samples/s"]


def test_a_fit_and_its_pictures(scene_folder, scene):
    [row] = fits.measure(str(scene_folder), scene, 0.3, QUICK)["rows"]
    assert positive(row, "lost by stopping dB", "ssim")
    assert row["test dB"] > 5 and abs(row["lost by stopping dB"]) < 3
    assert row["between them dB"] > 20  # they are nearly the same picture
    assert fits.fused.LEAST_TRANSMITTANCE > 0


def test_the_options_of_all_contenders_are_known():
    for name, options in crops.CONTENDERS.values():
        architecture(name).parse(options)


def test_contenders_are_measured_on_the_centres_of_pictures(tmp_path):
    values = np.full((140, 150, 3), 40, np.uint8)
    values[6:134, 11:139] = 102  # the crop is of one colour
    Image.fromarray(values).save(tmp_path / "a.png")
    crop = crops._crop(tmp_path / "a.png")
    assert crop.values.shape == (128, 128, 3) and (crop.values == 102).all()
    [row] = crops.measure("cam", [tmp_path / "a.png"], QUICK)["rows"]
    assert row["mean dB"] == row["a dB"] > 0 and row["parameters"] == 16_576 + 195 + 6144
    Image.fromarray(values[:100]).save(tmp_path / "low.png")
    with pytest.raises(
        PolyfieldError, match="150 x 100 pixels of 3 channels; expected RGB of 128 x 128 or more"
    ):
        crops.measure("mlp", [tmp_path / "low.png"], QUICK)


# -- what is kept, and the command


def run(*arguments: object) -> int:
    return command.main([str(argument) for argument in arguments])


def test_a_cell_is_measured_once_and_again_when_something_changes(tmp_path, capsys, monkeypatch):
    def measured(*more: object) -> bool:
        assert run("--quick", "--only", "kernels-adam", "--out", tmp_path, *more) == 0
        heard = capsys.readouterr()
        assert "| adam | numbers |" in heard.out
        return "measuring" in heard.err

    assert measured()
    kept = (tmp_path / "kernels-adam.json").read_bytes()
    assert not measured() and (tmp_path / "kernels-adam.json").read_bytes() == kept
    monkeypatch.setattr(results, "_code", lambda: "other code")
    assert measured() and not measured()
    monkeypatch.setattr(results, "machine", lambda: {"processor": "another"})
    assert measured() and not measured()
    (tmp_path / "kernels-adam.json").write_text('{"kind": "ker')
    assert measured() and not measured()
    record = json.loads((tmp_path / "kernels-adam.json").read_text())
    assert record["inputs"]["options"]["quick"] is True  # so that it does not stand for a whole measurement


def test_the_code_that_counts_is_all_that_is_measured(tmp_path, monkeypatch):
    assert all((results.ROOT / floor).is_dir() for floor in results._FLOORS)
    for name in (
        "kernels/a.hpp",
        "rendering/b.py",
        "benchmarks/turns.py",
        "benchmarks/report.py",
        "docs/c.md",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(results, "ROOT", tmp_path)
    codes = [results._code()]
    for name in ("kernels/a.hpp", "rendering/b.py", "benchmarks/turns.py"):
        (tmp_path / name).write_text("2")
        codes.append(results._code())
    assert len(set(codes)) == 4
    for name in ("benchmarks/report.py", "docs/c.md"):
        (tmp_path / name).write_text("2")
    assert results._code() == codes[-1]


def test_a_scene_counts_by_its_files(scene_folder, tmp_path):
    before = results.files_digest(scene_folder)
    assert before == results.files_digest(scene_folder)
    poses = scene_folder / "transforms_test.json"
    text = poses.read_text()
    try:
        poses.write_text(text.replace("0.", "1.", 1))
        assert results.files_digest(scene_folder) != before
    finally:
        poses.write_text(text)


def test_the_report_has_every_row(tmp_path, monkeypatch, capsys):
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(command, "HERE", tmp_path / "benchmarks")
    assert run("--quick", "--only", "kernels-adam", "kernels-march", "--out", tmp_path / "kept") == 0
    assert run("--report", "--out", tmp_path / "kept") == 0
    text = (tmp_path / "docs" / "benchmarks.md").read_text()
    assert text.index("| march |") < text.index("| adam |")  # in their own order, in one table
    assert text.count("| operation |") == 1 and results.machine()["processor"] in text
    assert text.endswith(report.NOTES.read_text()) and str(tmp_path) not in text


def test_tables_show_figures_as_their_columns_ask():
    rows = [
        {"form": "a", "rays/s": 1234567.0, "test dB": 30.0, "share of limit": 0.5},
        {"form": "b", "reads": math.pi},
    ]
    assert report.table(rows).splitlines() == [
        "| form | rays/s | test dB | share of limit | reads |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| a | 1.23 M | 30.00 | 50% |  |",
        "| b |  |  |  | 314% |",
    ]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--only", "nothing"], "--only nothing: no such kind or cell"),
        (["--scene", "no/such/folder"], "--scene no/such/folder: no such folder"),
        (["--seconds", "0"], "--seconds 0: expected"),
        (["--report", "--out", "no/such/folder"], "no/such/folder holds no records"),
    ],
)
def test_mistakes_get_a_line(arguments, words, capsys):
    assert run(*arguments) == 1
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


@pytest.mark.slow
def test_banks_and_networks_over_them_are_measured(scene_folder, tmp_path, capsys):
    random = np.random.default_rng(1)
    points = random.normal(size=(12, 64, 3))
    np.savez(tmp_path / "set.npz", points=points, label=np.arange(12) % 2, classes=np.array(["a", "b"]))
    kinds = ("parts", "recipes", "banks-100", "classifiers-cloud")
    asked = ("--quick", "--scene", scene_folder, "--objects", tmp_path / "set.npz", "--out", tmp_path / "out")
    assert run(*asked, "--only", *kinds) == 0
    tables = capsys.readouterr().out
    for words in (
        "Recipes of banks",
        "published",
        "Sizes of banks",
        "Networks over a bank",
        "Parts of shapes",
    ):
        assert words in tables


@pytest.mark.slow
def test_architectures_are_measured_on_a_scene_and_an_image(scene_folder, tmp_path, capsys, monkeypatch):
    """Only the record of the built-in scene has a rendering."""
    monkeypatch.setattr(architectures, "BUILT_IN", {str(scene_folder): "still"})
    noise = np.random.default_rng(1).integers(0, 255, (200, 240, 3), np.uint8)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(noise).save(tmp_path / "pictures" / "a.png")
    asked = (
        "--quick",
        "--scene",
        scene_folder,
        "--pictures",
        tmp_path / "pictures",
        "--out",
        tmp_path / "out",
    )
    assert run(*asked, "--only", "architectures-toy-hashgrid", "architectures-a-hashgrid") == 0
    tables = capsys.readouterr().out
    assert tables.count("Architectures: ") == 2 and "ssim" in tables and "ms-ssim" in tables
    found = results.records(tmp_path / "out")
    assert [bool(record.get("tile")) for record in found] == [False, True]
    architecture_page.write(found, tmp_path)
    assert "### Picture: a" in (tmp_path / "architectures.md").read_text()
    assert Image.open(tmp_path / "architectures.jpg").height == 144 + 2 * 20


def test_every_cell_is_listed(scene_folder, capsys):
    assert run("--list", "--scene", scene_folder, "--seconds", 5, 2, 2.5) == 0
    names = capsys.readouterr().out.split()
    conversions = tuple(f"{kind}-" for kind in command.CONVERSIONS)
    others = [
        name
        for name in names
        if not name.startswith(("scene-", "bits-", "ngpc-", "architectures-", "parts", "views", *conversions))
    ]
    assert len(set(names)) == len(names)
    assert sum(name.startswith("conversion-toy-") for name in names) == len(ARCHITECTURES) ** 2
    assert len(others) == 3 + len(operations.OPERATIONS) + 3
    assert others[-4:] == ["step-toy", "fit-toy-2", "fit-toy-2.5", "fit-toy-5"]
    assert names[len(others) :][:2] == ["scene-toy-hashgrid", "scene-toy-densegrid"]
    assert sum(name.startswith("bits-toy-") for name in names) == len(ARCHITECTURES)
    assert [n for n in names if n.startswith("ngpc-")] == [
        "ngpc-NeRF",
        "ngpc-signed-distance",
        "ngpc-volume",
        "ngpc-gigapixel-image",
    ]


def test_the_heat_map_is_darker_where_more_is_lost(tmp_path):
    rows = [
        {"teacher": "vm", "student": student, "student dB": 30.0, "teacher dB": 34.0}
        for student in ("cp", "mlp")
    ]
    photographs = [
        {"architecture": name, "5 s, dB": 40.0, "30 s, dB": longest}
        for name, longest in (("cp", 30.0), ("mlp", 33.0))
    ]
    heat_map.heat_map(rows, photographs, tmp_path / "map.png")
    picture = np.asarray(Image.open(tmp_path / "map.png").convert("L"))
    assert picture[-4, 100] > picture[-4, -4] + 30


# -- on a GPU


def test_a_packed_scene_is_the_scene(scene_folder, scene, tmp_path):
    packed.pack(str(scene_folder), tmp_path / "scene.safetensors", test_views=1)
    found = packed.unpack(tmp_path / "scene.safetensors")
    views = [*scene.train, scene.test[0]]
    assert (found.train, found.near, found.background) == (len(scene.train), scene.near, scene.background)
    assert found.domain == scene.domain
    assert torch.equal(found.cameras.c2w, scene.cameras.c2w[views])
    for image, view in zip(found.images, views, strict=True):
        assert image.shape == scene.images[view].shape
        difference = image.astype(int) - scene.images[view]
        assert abs(difference).max() <= 257 // 2 + 1  # to the nearest of 8 bits


def test_the_script_for_gpus_runs_in_the_interpreter(scene_folder, tmp_path):
    """One section of it; all of them take minutes there."""
    pytest.importorskip("triton")
    scene, out = tmp_path / "scene.safetensors", tmp_path / "gpu.json"
    packed.pack(str(scene_folder), scene)
    script = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
    call = [sys.executable, script, scene, "--toy", "--only", "kernels", "--out", out]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["kernels"]["rows"]["2^8"]
    assert all(row["ms"] > 0 for row in rows.values()) and "encode and density network" in rows
