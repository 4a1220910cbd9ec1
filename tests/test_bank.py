"""Banks: fits of many objects together equal fits of one, shards are whole or absent, and objects leave as ordinary fields."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from ball_scene import pictures, views
from PIL import Image

import polyfield
from polyfield.data.clouds import Cloud
from polyfield.data.sets import first_of_each_class, open_set
from polyfield.errors import PolyfieldError
from polyfield.fields import Points, create
from polyfield.process.bank import Bank, Shard
from polyfield.process.fitting import fit_alone, fit_fields, fit_together
from polyfield.process.objects import shape_of
from polyfield.process.quality import quality_of
from polyfield.process.recipes import FAST, PUBLISHED, spec_of
from polyfield.process.shards import seed_of

SMALL = replace(
    FAST, steps=40, points=1024, pool=4096, options=FAST.options | {"resolution": 16, "features": 4}
)
WAVES = replace(
    PUBLISHED,
    steps=6,
    points=512,
    pool=2048,
    options=PUBLISHED.options | {"resolution": 8, "features": 4, "width": 16},
)


def ellipsoids(count: int, points: int = 300) -> np.ndarray:
    """Clouds (count, points, 3) on ellipsoids of different axes."""
    random = np.random.default_rng(3)
    directions = random.normal(size=(count, points, 3))
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    return directions * random.uniform(0.4, 1.0, (count, 1, 3)) + random.uniform(-5, 5, (count, 1, 3))


@pytest.fixture
def clouds(tmp_path):
    path = tmp_path / "clouds.npz"
    points = ellipsoids(9)
    np.savez(
        path,
        points=points,
        label=np.arange(9) % 3,
        classes=np.array(["a", "b", "c"]),
        name=np.array([f"thing {k}" for k in range(9)]),
        parts=(points[..., 2] > points[..., 2].mean(1, keepdims=True)).astype(np.uint8),
        part_names=np.array(["lower", "upper"]),
    )
    return path


def pools_of(recipe, count):
    shapes = [
        shape_of(Cloud(f"{k}", cloud, None, "", ""), "udf", None) for k, cloud in enumerate(ellipsoids(count))
    ]
    return [
        shape.pool(recipe, "udf", np.random.Generator(np.random.Philox(k))) for k, shape in enumerate(shapes)
    ]


def values(field, pool):
    with torch.no_grad():
        return field.features(Points(torch.from_numpy(pool[0]))).vector


@pytest.mark.parametrize("recipe", [SMALL, WAVES], ids=["fast", "published"])
def test_eight_fields_fitted_together_are_those_fitted_alone(recipe):
    spec, pools = spec_of(recipe, "udf"), pools_of(recipe, 8)
    together = fit_together(spec, recipe, pools, range(8))
    for k in (0, 7):
        (alone,) = fit_together(spec, recipe, [pools[k]], [k])
        torch.testing.assert_close(values(together[k], pools[k]), values(alone, pools[k]), atol=1e-5, rtol=0)


def test_the_fused_way_is_the_same_fit():
    spec, recipe = spec_of(SMALL, "udf"), replace(SMALL, steps=8)
    pools = pools_of(recipe, 2)
    together = fit_together(spec, recipe, pools, [5, 6])
    for k, seed in enumerate((5, 6)):
        alone = fit_alone(spec, recipe, pools[k], seed)
        # Tables are looked up in half precision there, and Adam's first steps take a gradient's sign alone.
        away = (values(alone, pools[k]) - values(together[k], pools[k])).abs()
        assert away.mean() < 1e-3 < values(alone, pools[k]).std() / 10


def test_fits_do_not_depend_on_what_is_fitted_beside_them():
    spec, pools = spec_of(SMALL, "udf"), pools_of(SMALL, 3)
    three, one = fit_fields(spec, SMALL, pools, [1, 2, 3]), fit_fields(spec, SMALL, pools[1:2], [2])
    for name, parameter in one[0].named_parameters():
        assert torch.equal(parameter, dict(three[1].named_parameters())[name])


def test_distances_become_probabilities_and_back():
    """Check T16: a distance of 0 is the one end of the sigmoid, the truncation the other; signed, 0 is a logit of 0."""
    unsigned, signed = (
        spec_of(PUBLISHED, "udf").meaning.transform,
        spec_of(PUBLISHED, "sdf").meaning.transform,
    )
    assert unsigned(torch.tensor([-15.0, 15.0])).tolist() == pytest.approx([0.0, 0.1], abs=1e-6)
    assert signed(torch.tensor([0.0])).item() == 0.0
    points, probabilities = pools_of(WAVES, 1)[0]
    assert probabilities.min() >= 0 and probabilities.max() == 1
    assert len(points) == len(probabilities) == WAVES.pool


def test_a_bank_keeps_objects_labels_parts_and_quality(clouds, tmp_path):
    with polyfield.quiet():
        result = polyfield.fit_set(clouds, out=tmp_path / "bank", steps=60, shard_size=4)
    assert result.figures["objects"] == 9
    bank = Bank(tmp_path / "bank")
    assert bank.labels.tolist() == [0, 1, 2] * 3 and bank.classes == ("a", "b", "c")
    assert bank.planes([0, 8]).shape == (2, 3, 8, 32, 32)
    assert bank.weights([3]).shape == (1, 8 * 64 + 64)
    assert bank.parts([2]).unique().tolist() == [0, 1] and bank.part_names == ("lower", "upper")
    assert all(entry.quality["chamfer"] < 0.1 for entry in bank.entries)


def test_an_object_leaves_a_bank_as_a_field_in_its_source_s_coordinates(clouds, tmp_path):
    with polyfield.quiet():
        polyfield.fit_set(clouds, out=tmp_path / "bank", limit=1)
    field = Bank(tmp_path / "bank").field(2)
    source = np.load(clouds)["points"][2]
    far = source + np.array([0.0, 0.0, 0.1])
    from scipy.spatial import cKDTree

    wanted = cKDTree(source).query(far)[0]
    found = field.query(torch.from_numpy(far.astype(np.float32))).distance
    assert np.abs(found.detach().numpy() - wanted).mean() < 0.02
    polyfield.save(field, tmp_path / "two.field")
    again = polyfield.load(tmp_path / "two.field")
    assert torch.equal(again.query(torch.from_numpy(far.astype(np.float32))).distance, found)
    assert again.context.source["name"] == "thing 2"


def shards_of(bank):
    return {path.name: path.read_bytes() for path in sorted((bank / "shards").iterdir())}


def test_an_interrupted_bank_continues_and_has_the_same_bytes(clouds, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    with polyfield.quiet():
        polyfield.fit_set(clouds, out=whole, steps=20, shard_size=2)
        polyfield.fit_set(clouds, out=broken, steps=20, shard_size=2)
        (broken / "shards" / "00003.safetensors").unlink()
        with pytest.raises(PolyfieldError, match="1 of 5 shards are missing"):
            Bank(broken)
        result = polyfield.fit_set(clouds, out=broken, steps=20, shard_size=2)
    assert result.figures["fitted_now"] == 2
    assert shards_of(whole) == shards_of(broken)
    assert (whole / "bank.json").read_bytes() == (broken / "bank.json").read_bytes()


def test_another_bank_in_the_folder_is_refused(clouds, tmp_path):
    with polyfield.quiet():
        polyfield.fit_set(clouds, out=tmp_path / "bank", steps=5)
        with pytest.raises(
            PolyfieldError, match="the value of 'recipe' differs from the value for this command"
        ):
            polyfield.fit_set(clouds, out=tmp_path / "bank", steps=6)
        with pytest.raises(PolyfieldError, match="--shard-size 0: expected at least 1"):
            polyfield.fit_set(clouds, out=tmp_path / "other", shard_size=0)
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "notes.txt").touch()
        with pytest.raises(PolyfieldError, match="is not empty and is not a bank"):
            polyfield.fit_set(clouds, out=tmp_path / "full", steps=6)


def test_a_shard_of_another_bank_is_refused(clouds, tmp_path):
    with polyfield.quiet():
        for steps in (5, 6):
            polyfield.fit_set(clouds, out=tmp_path / f"{steps}", steps=steps)
    name = "shards/00000.safetensors"
    (tmp_path / "5" / name).write_bytes((tmp_path / "6" / name).read_bytes())
    with pytest.raises(PolyfieldError, match="its SHA-256 is not the one in bank.json"):
        Bank(tmp_path / "5").planes([0])


def test_a_folder_with_other_objects_is_another_set(tmp_path):
    for name in ("one", "two"):
        np.save(tmp_path / f"{name}.npy", ellipsoids(1)[0])
    before = open_set(tmp_path).names_sha256
    (tmp_path / "two.npy").rename(tmp_path / "three.npy")
    assert open_set(tmp_path).names_sha256 != before


def test_a_damaged_shard_is_named(clouds, tmp_path):
    with polyfield.quiet():
        polyfield.fit_set(clouds, out=tmp_path / "bank", steps=5)
    path = tmp_path / "bank" / "shards" / "00000.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(PolyfieldError, match="00000.safetensors"):
        Bank(tmp_path / "bank").planes([0])


def test_folders_say_classes_and_splits(tmp_path):
    for path in ("chair/train/a.off", "chair/test/b.off", "table/train/c.off"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(
            "OFF\n4 4 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 2 1\n3 0 1 3\n3 0 3 2\n3 1 2 3\n"
        )
    found = open_set(tmp_path)
    assert found.kind == "mesh" and found.classes == ("chair", "table")
    assert [(thing.name, thing.split) for thing in found.objects] == [
        ("chair/test/b", "test"),
        ("chair/train/a", "train"),
        ("table/train/c", "train"),
    ]
    assert len(first_of_each_class(found, 1)) == 2
    (tmp_path / "labels.csv").write_text("name,class,split\na,sofa,val\nb,bed,\n")
    listed = open_set(tmp_path)
    assert listed.classes == ("bed", "sofa") and [thing.split for thing in listed.objects] == ["", "val"]


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"points": np.zeros((4, 3))}, "expected \\(M, P, 3\\)"),
        ({"points": np.zeros((2, 4, 3)), "label": np.array([0, 5]), "classes": np.array(["a"])}, "expected 0 to 0, one number for each of the 1 classes"),
        ({"points": np.zeros((2, 4, 3)), "name": np.array(["a", "a"])}, "occurs twice"),
        ({"points": np.zeros((2, 4, 3)), "split": np.array(["train", "trial"])}, "expected one of train, val, test"),
        ({"points": np.zeros((2, 4, 3)), "parts": np.zeros((2, 5), int)}, "expected whole numbers"),
    ],
)  # fmt: skip
def test_sets_that_do_not_fit_together_are_refused(arrays, message, tmp_path):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(PolyfieldError, match=message):
        open_set(tmp_path / "set.npz")


def test_grids_become_occupancy_and_solids_are_overlapping(tmp_path):
    axis = np.linspace(-1, 1, 24)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    for name, radius in (("ball", 0.6), ("small", 0.4)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "0.npy", (x**2 + y**2 + z**2 < radius**2).astype(np.uint8))
    with polyfield.quiet():
        result = polyfield.fit_set(tmp_path, out=tmp_path / "bank")
    assert result.figures["iou"]["least"] > 0.85


def test_seeds_belong_to_objects():
    assert seed_of(0, "chair") != seed_of(0, "table") != seed_of(1, "table")
    assert 0 <= seed_of(0, "chair") < 1 << 62


def test_a_field_without_a_surface_has_a_poor_quality_and_no_error():
    spec = spec_of(SMALL, "udf")
    field = create(spec, seed=0)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.fill_(1.0)  # far from 0 everywhere
    shape = shape_of(Cloud("one", ellipsoids(1)[0], None, "", ""), "udf", None)
    assert quality_of(field, shape, 0) == {"chamfer": 2.0, "f_score": 0.0}


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [(), ("--cluster", "local")], ids=["here", "ray"])
def test_a_killed_driver_leaves_whole_shards_and_the_same_call_ends_the_bank(cluster, clouds, tmp_path):
    if cluster:
        pytest.importorskip("ray")

    def call(out):
        return [sys.executable, "-m", "polyfield.apps", "fit-set", str(clouds), "--out", str(tmp_path / out),
                "--steps", "300", "--shard-size", "1", *cluster]  # fmt: skip

    process = subprocess.Popen(
        call("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    shards = tmp_path / "killed" / "shards"
    until = time.monotonic() + 120
    while time.monotonic() < until and not (shards.is_dir() and any(shards.iterdir())):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 0 < len(list(shards.glob("*.safetensors"))) < 9
    with polyfield.quiet():
        for out in ("killed", "whole"):
            polyfield.fit_set(clouds, out=tmp_path / out, steps=300, shard_size=1)
    assert shards_of(tmp_path / "killed") == shards_of(tmp_path / "whole")


@pytest.mark.slow
def test_objects_of_a_killed_worker_are_fitted_again(clouds, tmp_path):
    pytest.importorskip("ray")
    call = [
        sys.executable,
        "-m",
        "polyfield.apps",
        "fit-set",
        str(clouds),
        "--steps",
        "600",
        "--shard-size",
        "1",
    ]
    process = subprocess.Popen(
        [*call, "--out", str(tmp_path / "killed"), "--cluster", "local"],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    killed, until = False, time.monotonic() + 120
    while not killed and time.monotonic() < until:
        listed = subprocess.run(
            ["pgrep", "-f", "ray::_fit"], check=False, capture_output=True, text=True
        ).stdout.split()
        if listed:
            os.kill(int(listed[0]), signal.SIGKILL)
            killed = True
        time.sleep(0.05)
    assert process.wait(timeout=300) == 0 and killed
    with polyfield.quiet():
        polyfield.fit_set(clouds, out=tmp_path / "whole", steps=600, shard_size=1)
    assert shards_of(tmp_path / "killed") == shards_of(tmp_path / "whole")


def test_a_shard_states_what_it_holds(clouds, tmp_path):
    with polyfield.quiet():
        polyfield.fit_set(clouds, out=tmp_path / "bank", steps=5)
    shard = Shard.read(tmp_path / "bank" / "shards" / "00000.safetensors")
    short = Shard(shard.entries[:-1], shard.tensors)
    short.write(tmp_path / "short.safetensors")
    with pytest.raises(PolyfieldError, match="lists 8 objects"):
        Shard.read(tmp_path / "short.safetensors")


def write_ball(folder):
    """Write a Blender scene of a red ball: eight training views and two test views."""
    cameras = views(10, (40, 40))
    (folder / "views").mkdir(parents=True)
    frames = []
    for view, picture in enumerate(pictures(cameras)):
        rgb = picture[..., :3] / np.maximum(picture[..., 3:], 1) * 255  # files are not premultiplied
        rgba = np.concatenate((rgb, picture[..., 3:] / 257), 2).round().astype(np.uint8)
        Image.fromarray(rgba).save(folder / "views" / f"{view}.png")
        pose = np.vstack((cameras.c2w[view].numpy()[:3], [0, 0, 0, 1])).tolist()
        frames.append({"file_path": f"./views/{view}", "transform_matrix": pose})
    for split, some in (("train", frames[:8]), ("test", frames[8:])):
        plain = {"camera_angle_x": 2 * math.atan(20 / 48), "frames": some}
        (folder / f"transforms_{split}.json").write_text(json.dumps(plain))


def test_scenes_become_radiance_that_is_drawn_in_its_source_s_coordinates(tmp_path):
    for name in ("one", "two"):
        write_ball(tmp_path / "set" / "ball" / name)
    with polyfield.quiet():
        result = polyfield.fit_set(tmp_path / "set", out=tmp_path / "bank", steps=60)
    assert result.figures["psnr"]["least"] > 20
    field = Bank(tmp_path / "bank").field(1)
    cameras = views(10, (40, 40))
    drawn = polyfield.renderer(field).render(cameras, 9).over(torch.ones(3))
    wanted = torch.from_numpy(pictures(cameras)[9] / 65535).float()
    assert (drawn - (wanted[..., :3] + 1 - wanted[..., 3:])).square().mean() < 0.01
    points = Bank(tmp_path / "bank").points([0])[0] * field.meaning.domain.half_size[0]
    assert (points.norm(dim=1) < 0.8).float().mean() > 0.9


def test_channels_in_another_order_are_the_same_field():
    """Check T13: permuting channels in all three planes, and the network's first columns with them, changes nothing."""
    spec, pools = spec_of(SMALL, "udf"), pools_of(SMALL, 1)
    field = fit_alone(spec, SMALL, pools[0], 4)
    before, order = values(field, pools[0]), torch.randperm(4, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for table in field.encoding.tables:
            table.copy_(table[:, order].clone())
        first = field.trunk.layers.weights[0]
        first.copy_(first[:, order].clone())
    torch.testing.assert_close(values(field, pools[0]), before, atol=1e-6, rtol=0)
