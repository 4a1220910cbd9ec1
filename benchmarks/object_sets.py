"""Sets of procedural objects with named parts: labelled clouds, meshes, or photographs rendered by pyrender.

Proportions vary within a category. The z axis points up. `python -m benchmarks.object_sets KIND OUT` writes a set: clouds (an
npz file), meshes (a folder), or views (a folder of scenes).
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from polyfield.files.strict_json import write_json
from polyfield.fitting.metrics.surfaces import sample_surface

Parts = list[tuple[str, Any]]  # name and trimesh of each

VIEWS = 40  # of a scene, of which every eighth is a test view
SIZE = 128  # pixels along a side of a view
_FIELD_OF_VIEW = math.radians(40.0)
_DISTANCE = 3.2  # of the cameras, in radii


def _box(size: tuple[float, float, float], at: tuple[float, float, float]) -> Any:
    import trimesh

    mesh = trimesh.creation.box(size)
    mesh.apply_translation(at)
    return mesh


def _rod(
    radius: float, low: tuple[float, float, float], high: tuple[float, float, float], top: float | None = None
) -> Any:
    """Return a cylinder, or a frustum with another radius at its end."""
    import trimesh

    if top is None:
        return trimesh.creation.cylinder(radius, segment=np.array([low, high]), sections=24)
    height = high[2] - low[2]
    mesh = trimesh.creation.revolve(np.array([[0, 0], [radius, 0], [top, height], [0, height]]), sections=24)
    mesh.apply_translation(low)
    return mesh


def table(random: np.random.Generator) -> Parts:
    width, depth, height = random.uniform(0.7, 1.3), random.uniform(0.5, 1.0), random.uniform(0.4, 0.9)
    thick, leg = random.uniform(0.03, 0.1), random.uniform(0.02, 0.06)
    legs = [
        ("leg", _box((leg, leg, height), (x * (width - leg) / 2, y * (depth - leg) / 2, height / 2)))
        for x in (-1, 1)
        for y in (-1, 1)
    ]
    return [("top", _box((width, depth, thick), (0, 0, height + thick / 2))), *legs]


def chair(random: np.random.Generator) -> Parts:
    side, height, back = random.uniform(0.4, 0.55), random.uniform(0.35, 0.5), random.uniform(0.35, 0.7)
    thick, leg = random.uniform(0.03, 0.07), random.uniform(0.02, 0.05)
    legs = [
        ("leg", _box((leg, leg, height), (x * (side - leg) / 2, y * (side - leg) / 2, height / 2)))
        for x in (-1, 1)
        for y in (-1, 1)
    ]
    upright = _box((side, thick, back), (0, (side - thick) / 2, height + thick + back / 2))
    seat = _box((side, side, thick), (0, 0, height + thick / 2))
    arms = []
    if random.random() < 0.4:
        for x in (-1, 1):
            arms.append(("arm", _box((thick, side * 0.9, thick), (x * side / 2, 0, height + back * 0.45))))
    return [("seat", seat), ("back", upright), *legs, *arms]


def lamp(random: np.random.Generator) -> Parts:
    height, base = random.uniform(0.7, 1.2), random.uniform(0.15, 0.3)
    thick, pole = random.uniform(0.03, 0.08), random.uniform(0.015, 0.035)
    shade, top = random.uniform(0.2, 0.35), random.uniform(0.08, 0.2)
    return [
        ("base", _rod(base, (0, 0, 0), (0, 0, thick))),
        ("pole", _rod(pole, (0, 0, thick), (0, 0, height))),
        ("shade", _rod(shade, (0, 0, height), (0, 0, height + random.uniform(0.2, 0.4)), top)),
    ]


def mug(random: np.random.Generator) -> Parts:
    import trimesh

    radius, height = random.uniform(0.25, 0.4), random.uniform(0.5, 0.9)
    ring, thick = random.uniform(0.12, 0.2), random.uniform(0.025, 0.05)
    handle = trimesh.creation.torus(ring, thick, major_sections=24, minor_sections=10)
    handle.apply_transform(trimesh.transformations.rotation_matrix(math.pi / 2, (1, 0, 0)))
    handle.apply_translation((radius + ring * 0.6, 0, height / 2))
    body = _rod(radius, (0, 0, 0), (0, 0, height), radius * random.uniform(0.85, 1.2))
    return [("body", body), ("handle", handle)]


def aeroplane(random: np.random.Generator) -> Parts:
    length, radius, span = random.uniform(0.9, 1.3), random.uniform(0.06, 0.12), random.uniform(0.8, 1.4)
    chord, at = random.uniform(0.15, 0.3), random.uniform(-0.1, 0.15)
    fin = random.uniform(0.15, 0.28)
    body = _rod(radius, (0, -length / 2, 0), (0, length / 2, 0))
    tail = -length / 2 + 0.08
    return [
        ("fuselage", body),
        ("wing", _box((span, chord, 0.025), (0, at, 0))),
        ("tail", _box((span * 0.35, 0.12, 0.02), (0, tail, 0))),
        ("tail", _box((0.02, 0.12, fin), (0, tail, fin / 2 + radius * 0.5))),
    ]


CATEGORIES: dict[str, Callable[[np.random.Generator], Parts]] = {
    "table": table,
    "chair": chair,
    "lamp": lamp,
    "mug": mug,
    "aeroplane": aeroplane,
}


def _objects(count: int, seed: int) -> list[tuple[str, int, Parts, np.random.Generator]]:
    """Return names, categories and parts of `count` objects of each category, and a generator for each."""
    made = []
    for label, (category, make) in enumerate(CATEGORIES.items()):
        for at in range(count):
            random = np.random.Generator(np.random.Philox([seed, label << 20 | at]))
            made.append((f"{category}_{at:04d}", label, make(random), random))
    return made


def part_names() -> list[str]:
    """Return the name of every part, CATEGORY PART, in the order of the categories."""
    names: dict[str, None] = {}
    for name, _, parts, _ in _objects(64, 0):  # some parts are not on every object
        names |= dict.fromkeys(f"{name.rpartition('_')[0]} {part}" for part, _ in parts)
    order = list(CATEGORIES)
    return sorted(names, key=lambda name: order.index(name.split()[0]))


def write_clouds(path: Path, count: int, *, points: int = 1024, seed: int = 0) -> None:
    """Write `count` clouds of each category, with the part of each point."""
    names, known = part_names(), _objects(count, seed)
    clouds, parts = np.empty((len(known), points, 3), np.float32), np.empty((len(known), points), np.uint8)
    for row, (name, _, pieces, random) in enumerate(known):
        areas = np.array([mesh.area for _, mesh in pieces])
        each = random.multinomial(points, areas / areas.sum())
        found = [
            sample_surface(mesh.vertices, mesh.faces, n, seed=int(random.integers(1 << 31)))[0]
            for (_, mesh), n in zip(pieces, each)
        ]
        own = [names.index(f"{name.rpartition('_')[0]} {part}") for part, _ in pieces]
        clouds[row], parts[row] = np.concatenate(found), np.repeat(own, each)
    np.savez_compressed(
        path,
        points=clouds,
        label=np.array([label for _, label, *_ in known]),
        classes=np.array(list(CATEGORIES)),
        name=np.array([name for name, *_ in known]),
        parts=parts,
        part_names=np.array(names),
    )


def write_meshes(folder: Path, count: int, *, seed: int = 0) -> None:
    """Write `count` meshes of each category to CATEGORY/NAME.off."""
    import trimesh

    for name, label, pieces, _ in _objects(count, seed):
        path = folder / list(CATEGORIES)[label] / f"{name}.off"
        path.parent.mkdir(parents=True, exist_ok=True)
        trimesh.util.concatenate([mesh for _, mesh in pieces]).export(path)


def write_views(folder: Path, count: int, *, seed: int = 0) -> None:
    """Write `count` scenes of each category to CATEGORY/NAME: photographs of parts in random colours, on a transparent background."""
    os.environ.setdefault("PYOPENGL_PLATFORM", "egl")
    np.infty = np.inf  # type: ignore[attr-defined]  # pyrender was written for numpy 1
    import pyrender
    from PIL import Image

    renderer = pyrender.OffscreenRenderer(SIZE, SIZE)
    for name, label, pieces, random in _objects(count, seed):
        corners = np.concatenate([mesh.vertices for _, mesh in pieces])
        centre = (corners.min(0) + corners.max(0)) / 2
        radius = float(np.linalg.norm(corners - centre, axis=1).max())
        scene = pyrender.Scene(bg_color=(0, 0, 0, 0), ambient_light=(0.35, 0.35, 0.35))
        colours = {part: random.uniform(0.15, 0.95, 3) for part in dict(pieces)}
        for part, mesh in pieces:
            placed = mesh.copy()
            placed.apply_translation(-centre)
            placed.apply_scale(1 / radius)
            material = pyrender.MetallicRoughnessMaterial(
                baseColorFactor=(*colours[part], 1.0), metallicFactor=0.0, roughnessFactor=0.9
            )
            scene.add(pyrender.Mesh.from_trimesh(placed, material=material, smooth=False))
        for where in ((2, 2, 4), (-3, 1, 2), (0, -3, -2)):
            scene.add(pyrender.DirectionalLight(intensity=2.0), pose=_looking(np.array(where, float)))
        camera = scene.add(pyrender.PerspectiveCamera(_FIELD_OF_VIEW, aspectRatio=1.0))
        out = folder / list(CATEGORIES)[label] / name
        (out / "views").mkdir(parents=True, exist_ok=True)
        frames: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
        for view in range(VIEWS):
            pose = _looking(_around(view) * _DISTANCE)
            scene.set_pose(camera, pose)
            picture, _ = renderer.render(scene, flags=pyrender.RenderFlags.RGBA)
            Image.fromarray(picture).save(out / "views" / f"{view:02d}.png")
            split = "test" if view % 8 == 4 else "train"
            frames[split].append({"file_path": f"./views/{view:02d}", "transform_matrix": pose.tolist()})
        for split, of_split in frames.items():
            write_json(
                out / f"transforms_{split}.json", {"camera_angle_x": _FIELD_OF_VIEW, "frames": of_split}
            )
    renderer.delete()


def _around(view: int) -> np.ndarray:
    """Return a unit vector: points of a Fibonacci spiral over the sphere."""
    z = 1 - (2 * view + 1) / VIEWS
    angle = view * math.pi * (3 - math.sqrt(5))
    return np.array([math.sqrt(1 - z * z) * math.cos(angle), math.sqrt(1 - z * z) * math.sin(angle), z])


def _looking(at: np.ndarray) -> np.ndarray:
    """Return the pose of a camera at `at` that looks at the origin, OpenGL's axes."""
    back = at / np.linalg.norm(at)
    right = np.cross((0.0, 0.0, 1.0), back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack((right, np.cross(back, right), back, at), 1)
    return pose


_WRITE: dict[str, Callable[[Path, int], None]] = {
    "clouds": write_clouds,
    "meshes": write_meshes,
    "views": write_views,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser("python -m benchmarks.object_sets", description=__doc__)
    parser.add_argument("kind", choices=_WRITE)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=40, help="objects of each category")
    asked = parser.parse_args()
    _WRITE[asked.kind](asked.out, asked.count)
