"""Valid inputs of every kind that the command reads, and ways to spoil them: what the fuzzer is made of."""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import OpenEXR
import tifffile
import torch
import trimesh
from PIL import Image
from source_files import export, film, noise, png

from polyfield.api.fit import fit
from polyfield.demo.scenes import make_scene
from polyfield.files.tensors import read_tensors, tensors_to_bytes

NUMBERS = [b"0", b"-1", b"1e308", b"-1e38", b"1e-300", b"nan", b"inf", b"4294967296", b"2147483647", b"65536", b"9" * 30,
           b"0.5", b"true", b"x"]  # fmt: skip
VALUES: list[Any] = [None, True, False, 0, -1, 1, 0.5, 1e-300, 1e38, 3e38, 1e308, 2**31, 2**32, 2**64, 2**128, "", "x" * 100_000, "../../etc",
                     "\ud800", [], {}, [1], [[1]], [0] * 1000, {"a": 1}, 65536, 1e-6]  # fmt: skip
WORDS = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF, 0x10000000]


@dataclass(frozen=True)
class Input:
    """A source or a run: its files, and the command's arguments with FILE in place of the path."""

    name: str
    files: dict[str, bytes]  # by path below the input's folder
    arguments: tuple[str, ...]
    target: str = ""  # FILE's own path below the folder


def inputs(folder: Path) -> Iterator[Input]:
    """Yield one input of every kind and format. `folder` is scratch space."""
    for name, data in {
        **_pictures(folder),
        **_videos(),
        **_meshes(),
        **_clouds(),
        **_volumes(folder),
    }.items():
        yield Input(name, {name: data}, ("fit", "FILE", "--steps", "1"), name)
    for name in ("blender", "transforms"):
        made = folder / name
        make_scene(made, views=9, test_views=2, size=8)
        if name == "transforms":
            frames = json.loads((made / "transforms_train.json").read_text())
            frames |= {"fl_x": 9.0, "w": 8, "h": 8}
            (made / "transforms.json").write_text(json.dumps(frames))
            for split in ("train", "test"):
                (made / f"transforms_{split}.json").unlink()
        yield Input(name, _files(made), ("fit", "FILE", "--steps", "1"))
    small = {"levels": 2, "entries": 1 << 8, "finest": 16, "width": 8}
    scene = folder / "small"
    make_scene(scene, views=9, test_views=2, size=8)
    run = fit(scene, steps=3, options=small, out=folder / "run").run
    yield Input("run to resume", _files(run), ("resume", "FILE", "--source", str(scene)))
    yield Input("run to measure", _files(run), ("eval", "FILE", "--source", str(scene)))
    for name in ("image", "video", "volume", "udf"):
        yield Input(
            f"field of {name}",
            {"f.field": _field(name)},
            ("render", "FILE", "--size", "24", "16", "--frames", "2"),
            "f.field",
        )
    yield Input(
        "field of radiance",
        {"f.field": (run / "field.field").read_bytes()},
        ("render", "FILE", "--frames", "2"),
        "f.field",
    )
    yield Input("field of image", {"f.field": _field("image")}, ("render", "FILE"), "f.field")


def spoiled(one: Input, random: random.Random) -> dict[str, bytes]:
    """Return the files of an input with one or two faults in them."""
    files = dict(one.files)
    for _ in range(random.choice((1, 1, 2))):
        name = random.choice(sorted(files))
        data = files[name]
        ways: list[Callable[[bytes, Any], bytes]] = [_cut, _flip, _word, _number, _doubled]
        if name.endswith(".json"):
            ways += [_json] * 8
        if name.endswith((".field", ".safetensors")):
            ways += [_metadata] * 8
        if data[:4] == b"glTF":
            ways += [_glb] * 8
        files[name] = random.choice(ways)(data, random)
    return files


def _cut(data: bytes, random: random.Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _flip(data: bytes, random: random.Random) -> bytes:
    spoilt = bytearray(data)
    for _ in range(random.choice((1, 3, 20))):
        if spoilt:
            spoilt[min(random.randrange(len(spoilt)), random.randrange(len(spoilt)))] = random.randrange(256)
    return bytes(spoilt)


def _word(data: bytes, random: random.Random) -> bytes:
    """Write an extreme number over 4 bytes, mostly of the head."""
    at = random.randrange(max(min(len(data) - 4, random.choice((64, 400, len(data)))), 1))
    return data[:at] + struct.pack(random.choice("<>") + "I", random.choice(WORDS)) + data[at + 4 :]


def _number(data: bytes, random: random.Random) -> bytes:
    """Replace a word of a text."""
    words = data.split(b" ")
    words[random.randrange(len(words))] = random.choice(NUMBERS)
    return b" ".join(words)


def _doubled(data: bytes, random: random.Random) -> bytes:
    first, last = sorted(random.randrange(len(data) + 1) for _ in range(2))
    return data[:last] + data[first:] if random.random() < 0.5 else data[:first] + data[last:]


def _changed(value: Any, random: random.Random) -> Any:
    """Return JSON data with one value, anywhere in it, replaced or left out."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(sorted(value))
        if random.random() < 0.08:
            return {name: part for name, part in value.items() if name != key}
        return value | {key: _changed(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.85:
        at = random.randrange(len(value))
        return [*value[:at], _changed(value[at], random), *value[at + 1 :]]
    return random.choice(VALUES)


def _json(data: bytes, random: random.Random) -> bytes:
    try:
        return json.dumps(_changed(json.loads(data), random)).encode(errors="surrogatepass")
    except (ValueError, RecursionError):
        return _flip(data, random)


def _metadata(data: bytes, random: random.Random) -> bytes:
    """Change metadata or tensors of a file with a checksum, and give it the right checksum again."""
    path = Path(f"/dev/shm/polyfield-fuzz-{random.randrange(10**9)}")
    try:
        path.write_bytes(data)
        tensors, metadata = read_tensors(path)
        key = random.choice(sorted(metadata))
        if random.random() < 0.2:
            name = random.choice(sorted(tensors))
            big = torch.full_like(tensors[name], 3e38 if tensors[name].dtype == torch.float32 else 1)
            tensors[name] = random.choice((big, tensors[name].flatten()[:-1], tensors[name][None]))
        elif metadata[key].startswith("{"):
            metadata[key] = _json(metadata[key].encode(), random).decode(errors="surrogatepass")
        return tensors_to_bytes(tensors, metadata)
    except Exception:  # noqa: BLE001 - the data were spoilt before, or cannot be written
        return _flip(data, random)
    finally:
        path.unlink(missing_ok=True)


def _glb(data: bytes, random: random.Random) -> bytes:
    try:
        length = struct.unpack_from("<I", data, 12)[0]
        text = json.dumps(_changed(json.loads(data[20 : 20 + length]), random)).encode()
    except (ValueError, struct.error):
        return _flip(data, random)
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    return b"glTF" + struct.pack("<III", 2, 20 + len(text) + len(rest), len(text)) + b"JSON" + text + rest


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _field(signal: str) -> bytes:
    """Return a small field file of a signal, with the context that a fit of it has."""
    from polyfield.fields import SIGNALS, Domain, FieldSpec, create
    from polyfield.fields.context import FieldContext
    from polyfield.fields.field_file import save_field

    axes = SIGNALS[signal].dimensions
    domain = Domain("box", (0.5,) * axes, (0.5,) * axes)
    sources: dict[str, dict[str, Any]] = {
        "image": {"shape": [9, 7, 3], "premultiplied": False},
        "video": {"shape": [3, 9, 7, 3], "fps": 25.0},
    }
    made = create(FieldSpec.of("densegrid", signal, domain), seed=1)
    path = Path(f"/dev/shm/polyfield-fuzz-{signal}")
    save_field(path, made, FieldContext(source=sources.get(signal, {})))
    data = path.read_bytes()
    path.unlink()
    return data


def _pictures(folder: Path) -> dict[str, bytes]:
    image, made = Image.fromarray(noise(12, 10, 3)), {}
    for kind in ("jpeg", "webp", "gif", "bmp"):
        buffer = io.BytesIO()
        image.save(buffer, kind)
        made[f"a.{kind}"] = buffer.getvalue()
    made["a.png"] = png(noise(9, 8, 3), 2)
    made["deep.png"] = png(noise(9, 8, 4, dtype=np.uint16), 6)
    for name, compression in (("a.exr", OpenEXR.ZIP_COMPRESSION), ("b.exr", OpenEXR.NO_COMPRESSION)):
        header = {"compression": compression, "type": OpenEXR.scanlineimage}
        OpenEXR.File(header, {"RGBA": noise(6, 7, 4, dtype=np.float32)}).write(str(folder / name))
        made[name] = (folder / name).read_bytes()
    return made


def _videos() -> dict[str, bytes]:
    return {"a.mp4": film(noise(3, 12, 16, 3))}


def _meshes() -> dict[str, bytes]:
    ball = trimesh.creation.icosphere(subdivisions=1)
    made = {f"a.{kind}": export(ball, kind) for kind in ("obj", "stl", "off", "glb", "ply")}
    made["text.stl"] = export(ball, "stl_ascii")
    made["text.ply"] = export(ball, "ply", encoding="ascii")
    made["quads.obj"] = b"v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0.6 0.2 0\nv 0 0 1\nf 1 2 3 4\nf 1 2 5\nf -1 -2 -3\n"
    return made


def _clouds() -> dict[str, bytes]:
    from test_source_clouds import pcd_of

    points = noise(30, 3, dtype=np.float32)
    made = {
        f"{form}.pcd": pcd_of(dict(zip("xyz", points.T)), form)
        for form in ("ascii", "binary", "binary_compressed")
    }
    buffer = io.BytesIO()
    np.savez(buffer, points=points, normals=points)
    made["a.npz"] = buffer.getvalue()
    made["cloud.ply"] = export(trimesh.PointCloud(points), "ply")
    return made


def _volumes(folder: Path) -> dict[str, bytes]:
    stack = noise(5, 6, 7)
    np.save(folder / "a.npy", stack)
    tifffile.imwrite(folder / "a.tif", stack, photometric="minisblack")
    tifffile.imwrite(
        folder / "b.tif", stack, imagej=True, resolution=(2, 2), metadata={"axes": "ZYX", "spacing": 2.0}
    )
    tifffile.imwrite(
        folder / "c.ome.tif", stack, photometric="minisblack", metadata={"axes": "ZYX", "PhysicalSizeX": 0.5}
    )
    nibabel.save(nibabel.Nifti1Image(stack, np.diag([2, -2, 3, 1])), folder / "a.nii")
    nibabel.save(nibabel.Nifti1Image(stack, np.diag([2, -2, 3, 1])), folder / "a.nii.gz")
    names = ("a.npy", "a.tif", "b.tif", "c.ome.tif", "a.nii", "a.nii.gz")
    return {name: (folder / name).read_bytes() for name in names}
