"""Sources: pictures, meshes, clouds and volumes come back as they were written, and damaged files in one line."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path

import nibabel
import numpy as np
import OpenEXR
import pytest
import tifffile
import trimesh
from PIL import Image, ImageOps

from polyfield.data import images, pictures, volumes
from polyfield.data.clouds import open_cloud
from polyfield.data.kinds import kind_of
from polyfield.data.meshes import open_mesh
from polyfield.data.pictures import open_picture
from polyfield.data.volumes import open_volume
from polyfield.errors import PolyfieldError

DATA = Path(__file__).parents[2] / "shared" / "data"
OPEN = {"picture": open_picture, "mesh": open_mesh, "cloud": open_cloud, "volume": open_volume}
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # PNG colour types


def noise(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.floating):
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def png(pixels: np.ndarray, colour_type: int, *extra: bytes) -> bytes:
    """A PNG of 8 or 16 bits, written out by hand: Pillow cannot write 16-bit colour."""
    rows = b"".join(b"\0" + row.astype(pixels.dtype.newbyteorder(">")).tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", *pixels.shape[1::-1], 8 * pixels.itemsize, colour_type, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return images.PNG + b"".join(parts)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def written(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def refusal(path: Path, kind: str, **options) -> str:
    """The one line that refuses this file, without its folder."""
    with pytest.raises(PolyfieldError) as caught:
        OPEN[kind](path, **options)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 400 and text.startswith(str(path))
    return text.removeprefix(str(path.parent) + "/")


# Pictures


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("colour_type", CHANNELS)
def test_png_keeps_channels_and_depth(tmp_path, colour_type, dtype):
    pixels = noise(13, 21, CHANNELS[colour_type], dtype=dtype)
    picture = open_picture(written(tmp_path / "a.png", png(pixels, colour_type)))
    assert picture.values.dtype == dtype and np.array_equal(picture.values, pixels)
    assert picture.peak == np.iinfo(dtype).max and picture.name == "a" and len(picture.sha256) == 64


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("colour_type", "channels"), [(0, 2), (2, 4)])
def test_png_colour_key_becomes_alpha(tmp_path, colour_type, channels, dtype):
    pixels = noise(5, 6, channels - 1, dtype=dtype)
    key = chunk(b"tRNS", pixels[2, 3].astype(">u2").tobytes())
    values = open_picture(written(tmp_path / "a.png", png(pixels, colour_type, key))).values
    clear = (pixels == pixels[2, 3]).all(axis=-1)
    assert values.shape == (5, 6, channels) and np.array_equal(values[~clear][:, :-1], pixels[~clear])
    assert np.array_equal(values[..., -1], np.where(clear, 0, np.iinfo(dtype).max)) and clear[2, 3]


@pytest.mark.parametrize(
    ("suffix", "mode", "options"),
    [("bmp", "RGB", {}), ("bmp", "L", {}), ("webp", "RGB", {"lossless": True}), ("png", "1", {}),
     ("webp", "RGBA", {"lossless": True, "exact": True}), ("gif", "P", {}), ("png", "P", {}),
     ("png", "P", {"transparency": bytes(range(256))}), ("jpg", "L", {}), ("jpg", "RGB", {}), ("jpg", "CMYK", {})],
)  # fmt: skip
def test_other_pictures_are_what_pillow_shows(tmp_path, suffix, mode, options):
    picture = Image.fromarray(noise(16, 24, 3)).convert("RGB").quantize(64) if mode == "P" else None
    picture = picture or Image.fromarray(noise(16, 24, 4), "RGBA").convert(mode)
    picture.save(tmp_path / f"a.{suffix}", **options)
    grey, alpha = mode in ("1", "L"), mode == "RGBA" or "transparency" in options
    expected = np.asarray(
        Image.open(tmp_path / f"a.{suffix}").convert("L" if grey else "RGBA" if alpha else "RGB")
    )
    values = open_picture(tmp_path / f"a.{suffix}").values
    assert values.shape[2] == (1 if grey else 4 if alpha else 3)
    assert np.array_equal(values, expected.reshape(values.shape))


def exr(path: Path, channels: dict[str, np.ndarray]) -> Path:
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, channels).write(
        str(path)
    )
    return path


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_exr_keeps_its_floats(tmp_path, dtype):
    pixels = noise(11, 7, 4, dtype=dtype)
    colour = open_picture(
        exr(tmp_path / "a.exr", {"RGB": pixels[..., :3].copy(), "Z": pixels[..., 3].copy()})
    )
    assert colour.values.dtype == np.float32 and np.array_equal(colour.values, pixels[..., :3])
    assert (
        colour.peak == pixels[..., :3].max() > 1
        and f"of {8 * pixels.itemsize}-bit floats (without Z)" in colour.found
    )
    assert np.array_equal(open_picture(exr(tmp_path / "b.exr", {"RGBA": pixels})).values, pixels)
    grey = {"Y": pixels[..., 0].copy(), "A": pixels[..., 1].copy()}
    assert np.array_equal(open_picture(exr(tmp_path / "c.exr", grey)).values, pixels[..., :2])
    dark = open_picture(exr(tmp_path / "d.exr", {"Y": abs(pixels[..., 0]) / 8}))
    assert dark.peak == 1 and dark.values.shape == (11, 7, 1)
    halves = open_picture(
        tmp_path / "b.exr", downscale=3
    ).values  # alpha is premultiplied in EXR: a plain mean
    expected = pixels[:9, :6].astype(np.float64).reshape(3, 3, 2, 3, 4).mean(axis=(1, 3))
    assert np.allclose(halves, expected, atol=1e-6)


def test_exr_that_is_no_picture_is_refused(tmp_path):
    pixels = noise(4, 5, 3, dtype=np.float32)
    pixels[1, 2, 0], pixels[3, 3, 1] = np.nan, np.inf
    assert "a.exr: 2 values are not finite" in refusal(exr(tmp_path / "a.exr", {"RGB": pixels}), "picture")
    depth = exr(tmp_path / "b.exr", {"Z": pixels[..., 2].copy()})
    assert "b.exr: has the channels Z; expected R, G and B" in refusal(depth, "picture")
    whole = exr(tmp_path / "c.exr", {"Y": np.ones((4, 5), np.uint32)})
    assert "c.exr: channel Y is of type uint32; expected floats" in refusal(whole, "picture")


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright_and_are_cropped_at_the_right_and_bottom(
    tmp_path, orientation, k, monkeypatch
):
    monkeypatch.setattr(pictures, "IN_MEMORY", 0)
    monkeypatch.setattr(pictures, "STRIP", 100)  # several strips, and the last not whole
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    Image.fromarray(noise(7, 11, 3)).save(tmp_path / "a.png", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")).convert("RGB"))
    height, width = expected.shape[0] // k, expected.shape[1] // k
    boxes = expected[: height * k, : width * k].reshape(height, k, width, k, 3).astype(np.float64)
    picture = open_picture(tmp_path / "a.png", downscale=k)
    assert np.array_equal(picture.values, np.floor(boxes.mean(axis=(1, 3)) + 0.5))
    assert f"{expected.shape[1]} x {expected.shape[0]}, 3 channels of 8 bits" in picture.found


@pytest.mark.parametrize(("colour_type", "channels"), [(4, 2), (6, 4)])
def test_box_means_weight_colours_by_straight_alpha(tmp_path, colour_type, channels):
    pixels = noise(6, 7, channels, dtype=np.uint16)
    pixels[:2, :2, -1] = 0
    values = open_picture(written(tmp_path / "a.png", png(pixels, colour_type)), downscale=2).values
    for i in range(3):
        for j in range(3):
            box = pixels[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(4, channels).astype(np.float64)
            weight = box[:, -1].sum()
            colour = (box[:, :-1] * box[:, -1:]).sum(axis=0) / weight if weight else np.zeros(channels - 1)
            assert np.abs(values[i, j] - [*colour, weight / 4]).max() <= 0.5


def test_large_pictures_lie_in_a_file(tmp_path, monkeypatch):
    pixels = noise(60, 50, 3)
    path = written(tmp_path / "a.png", png(pixels, 2))
    assert not isinstance(open_picture(path).values, np.memmap)
    monkeypatch.setattr(pictures, "IN_MEMORY", pixels.nbytes - 1)
    monkeypatch.setattr(pictures, "STRIP", 1000)
    calls: list[tuple[int, int]] = []
    values = open_picture(path, progress=lambda done, total: calls.append((done, total))).values
    assert isinstance(values, np.memmap) and values.mode == "r" and np.array_equal(values, pixels)
    assert len(calls) == 10 and calls[-1] == (60, 60) and calls == sorted(calls)
    monkeypatch.setattr(images, "LARGEST", 2999)
    assert "a.png has 50 x 60 pixels; at most" in refusal(path, "picture")
    monkeypatch.setattr(pictures.tempfile, "TemporaryFile", no_room)
    monkeypatch.setattr(images, "LARGEST", 3000)
    assert "do not go into" in refusal(path, "picture") and "point TMPDIR" in refusal(path, "picture")


def no_room():
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("k", [0, -1, True, 1.5])
def test_bad_downscale_is_one_line(tmp_path, k):
    with pytest.raises(PolyfieldError, match="^--downscale is .*; expected a whole number of at least 1$"):
        open_picture(tmp_path / "a.png", downscale=k)
    path = written(tmp_path / "a.png", png(noise(4, 5, 3), 2))
    assert refusal(path, "picture", downscale=5).endswith(
        "has 5 x 4 pixels; --downscale 5 leaves none of them"
    )


# Meshes


def export(mesh: trimesh.Trimesh | trimesh.Scene | trimesh.PointCloud, kind: str, **options) -> bytes:
    data = mesh.export(file_type=kind, **options)
    return data if isinstance(data, bytes) else data.encode()


FORMS = [
    ("obj", {}),
    ("ply", {}),
    ("ply", {"encoding": "ascii"}),
    ("stl", {}),
    ("stl_ascii", {}),
    ("off", {}),
    ("glb", {}),
]


@pytest.mark.parametrize(("form", "options"), FORMS)
def test_meshes_come_back(tmp_path, form, options):
    solid = trimesh.creation.icosphere(subdivisions=1)
    solid.apply_translation([5, -3, 100])
    mesh = open_mesh(written(tmp_path / f"a.{form[:3]}", export(solid, form, **options)))
    assert mesh.vertices.dtype == np.float64 and mesh.faces.dtype == np.int64 and mesh.faces.shape == (80, 3)
    assert np.allclose(mesh.vertices[mesh.faces], solid.vertices[solid.faces], atol=1e-5)
    assert mesh.why_open is None and mesh.notes == () and mesh.found.endswith("80 faces, watertight.")


@pytest.mark.parametrize(("form", "options"), FORMS)
def test_no_cut_mesh_is_taken_for_whole(tmp_path, form, options):
    data = export(trimesh.creation.box(), form, **options).rstrip(b"\n" if form != "glb" else b"")
    whole = open_mesh(written(tmp_path / f"a.{form[:3]}", data))
    last = (
        data.rstrip().rfind(b"\n") if form == "obj" else len(data) - 4
    )  # an OBJ does not say how long it is
    for length in [*range(0, last, max(1, last // 30)), last]:
        path = written(tmp_path / f"a.{form[:3]}", data[:length])
        try:
            mesh = open_mesh(path)
        except PolyfieldError as error:
            assert "\n" not in str(error) and str(error).startswith(str(path))
        else:
            assert form == "obj" or len(mesh.faces) == len(whole.faces)  # cut within the last number or word


def test_obj_of_polygons_textures_and_objects(tmp_path):
    corners = "".join(f"v {x} {y} {z}\n" for x in (0, 1) for y in (0, 1) for z in (0, 1))
    faces = ["1 2 4 3", "5 7 8 6", "1 5 6 2", "3 4 8 7", "1 3 7 5", "2 6 8 4"]
    text = corners + "vt 0 0\nvt 1 0\nvn 0 0 1\no one\n"
    text += "".join(
        f"f {' '.join(f'{v}/{1 + i % 2}/1' for v in face.split())}\n" for i, face in enumerate(faces[:3])
    )
    text += "o two\nusemtl red\n" + "".join(f"f {face}\n" for face in faces[3:])
    mesh = open_mesh(written(tmp_path / "a.obj", text))
    assert mesh.faces.shape == (12, 3) and mesh.why_open is None
    assert np.isclose(trimesh.Trimesh(mesh.vertices, mesh.faces).volume, 1)


def test_scenes_are_joined_with_their_transforms(tmp_path):
    scene, mirror = trimesh.Scene(), np.diag([-2.0, 1, 1, 1])
    mirror[:3, 3] = 5
    scene.add_geometry(trimesh.creation.box())
    scene.add_geometry(trimesh.creation.box(), transform=mirror)
    mesh = open_mesh(written(tmp_path / "a.glb", export(scene, "glb")))
    assert mesh.why_open is None and mesh.faces.shape == (24, 3)
    assert mesh.vertices.min(axis=0).tolist() == [-0.5] * 3 and mesh.vertices.max(axis=0).tolist() == [
        6,
        5.5,
        5.5,
    ]
    assert np.isclose(
        trimesh.Trimesh(mesh.vertices, mesh.faces).volume, 3
    )  # the mirrored box is wound outwards too


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: f, None),
        (lambda f: f[1:], "3 edges belong to one face only"),
        (lambda f: np.vstack([f[:1, ::-1], f[1:]]), "3 edges have both their faces wound against each other"),
        (lambda f: np.vstack([f, f[:1]]), "3 edges belong to more than two faces"),
        (lambda f: f[:, ::-1], None),
        (lambda f: f[:1], "3 edges belong to one face only"),
    ],
)
@pytest.mark.parametrize("form", ["ply", "stl"])  # an STL has every corner of every face anew
def test_why_a_cube_is_open(tmp_path, change, reason, form):
    cube = trimesh.creation.box()
    cube = trimesh.Trimesh(cube.vertices, change(np.asarray(cube.faces)), process=False)
    assert open_mesh(written(tmp_path / f"a.{form}", export(cube, form))).why_open == reason


def test_a_ply_may_end_in_edges(tmp_path):
    """An element of two numbers a line behind the faces; a line that is missing is still noticed."""
    head = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    head += "element face 1\nproperty list uchar int vertex_indices\nelement edge 2\nproperty int vertex1\n"
    head += "property int vertex2\nend_header\n"
    body = "0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n0 1\n1 2\n"
    mesh = open_mesh(written(tmp_path / "a.ply", (head + body).encode()))
    assert mesh.faces.tolist() == [[0, 1, 2]]
    with pytest.raises(PolyfieldError, match="5 lines of data, its head says 6"):
        open_mesh(written(tmp_path / "b.ply", (head + body.removesuffix("1 2\n")).encode()))


def test_faces_without_area_are_left_out_and_open_nothing(tmp_path):
    cube = trimesh.creation.box()
    a, b, c = cube.faces[0]
    vertices = np.vstack([cube.vertices, cube.vertices[a]])  # face 0 gets a corner more, where a stands
    faces = np.vstack([cube.faces[1:], [a, b, 8], [8, b, c], [c, c, a]])
    path = written(tmp_path / "a.ply", export(trimesh.Trimesh(vertices, faces, process=False), "ply"))
    mesh = open_mesh(path)
    assert mesh.why_open is None and len(mesh.faces) == 12
    assert mesh.notes == ("a.ply: 2 faces without area are left out.",)


TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"
PLY = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
FACE = "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
BAD_MESHES = {
    "empty.obj": ("", "is empty (0 bytes)"),
    "text.obj": ("hello\nworld\n", "has no faces; expected a mesh"),
    "points.obj": (TRIANGLE, "has no faces; expected a mesh"),
    "beyond.obj": (TRIANGLE + "f 1 2 9\n", "is truncated or damaged (index 8 is out of bounds"),
    "zero.obj": (TRIANGLE + "f 1 2 3\nf 1 2 0\n", "line 5: the face refers to vertex 0; expected numbers from 1"),
    "relative.obj": (TRIANGLE + "f -3/1 -2/1 -1/1\n", "line 4: the face refers to vertex -3;"),
    "nan.obj": (TRIANGLE.replace("1", "nan") + "f 1 2 3\n", "2 coordinates are not finite"),
    "flat.obj": ("v 0 0\nv 1 0\nv 0 1\nf 1 2 3\n", "its vertices have 2 coordinates; expected 3"),
    "point.obj": (TRIANGLE + "f 1 1 2\n", "all 1 faces have two corners in one position"),
    "picture.obj": (png(noise(9, 9, 3), 2), "has no faces"),
    "garbage.stl": (noise(200).tobytes(), "is truncated or damaged"),
    "garbage.glb": (noise(200).tobytes(), "is truncated or damaged"),
    "garbage.off": (noise(200).tobytes(), "is truncated or damaged"),
    "garbage.ply": (noise(200).tobytes(), "is truncated or damaged (it does not begin with 'ply')"),
    "head.ply": (PLY, "is truncated or damaged (its head has no end_header)"),
    "beyond.off": ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 5\n", "is truncated or damaged (OFF file has a face"),
    "short.off": ("OFF 3 2 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", "damaged (4 lines of data, its head says 5)"),
    "beyond.ply": (PLY + FACE + "0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n", "a face refers to vertex 7; expected 0 to 2"),
    "names.ply": (PLY + FACE.replace("_", "-") + "0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", "is truncated or damaged"),
    "cube.xyz": ("1", "its name ends in .xyz; a mesh is read from .obj, .ply, .stl, .glb, .off"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_MESHES)
def test_bad_mesh_is_one_line(tmp_path, name):
    data, expected = BAD_MESHES[name]
    assert expected in refusal(written(tmp_path / name, data), "mesh")


# Clouds


@pytest.mark.parametrize("encoding", ["ascii", "binary"])
def test_ply_clouds_come_back_with_normals(tmp_path, encoding):
    values = noise(50, 6, dtype=np.float32)
    names = ["x", "y", "z", "nx", "ny", "nz"]
    form = "ascii" if encoding == "ascii" else "binary_little_endian"
    head = f"ply\nformat {form} 1.0\nelement vertex 50\n" + "".join(
        f"property float {name}\n" for name in names
    )
    text = "\n".join(" ".join(repr(float(v)) for v in row) for row in values).encode()
    data = head.encode() + b"end_header\n" + (text if encoding == "ascii" else values.tobytes())
    cloud = open_cloud(written(tmp_path / "a.ply", data))
    assert cloud.points.dtype == np.float64 and np.array_equal(cloud.points, values[:, :3])
    assert cloud.normals.dtype == np.float32 and np.array_equal(cloud.normals, values[:, 3:])
    assert cloud.found == "a.ply is a point cloud: 50 points with normals."
    for length in [0, 10, len(head), len(data) // 2, len(data) - 60]:
        refusal(written(tmp_path / "a.ply", data[:length]), "cloud")
    bare = open_cloud(
        written(tmp_path / "b.ply", export(trimesh.PointCloud(values[:, :3]), "ply", encoding=encoding))
    )
    assert np.allclose(bare.points, values[:, :3], atol=1e-6) and bare.normals is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_clouds_in_arrays_come_back(tmp_path, dtype):
    points, normals = noise(20, 3, dtype=dtype), noise(20, 3, dtype=np.float32, seed=1)
    np.save(tmp_path / "a.npy", points.astype(points.dtype.newbyteorder(">")))
    np.savez(tmp_path / "a.npz", points=points, normals=normals, label=np.arange(20), name=np.array(["a"]))
    np.savez_compressed(tmp_path / "b.npz", anything=points)
    for name, has in (("a.npy", False), ("a.npz", True), ("b.npz", False)):
        cloud = open_cloud(tmp_path / name)
        assert np.array_equal(cloud.points, points) and (cloud.normals is not None) == has
    assert np.array_equal(open_cloud(tmp_path / "a.npz").normals, normals)


def pcd(points: np.ndarray, form: str, more: str = "") -> bytes:
    n = len(points)
    head = f"# .PCD v0.7\nVERSION 0.7\nFIELDS x y z{more}\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH {n}\nHEIGHT 1\n"
    head += f"VIEWPOINT 0 0 0 1 0 0 0\nPOINTS {n}\nDATA {form}\n"
    text = "\n".join(" ".join(repr(float(v)) for v in row) for row in points)
    return head.encode() + (text.encode() if form == "ascii" else points.tobytes())


@pytest.mark.parametrize("form", ["ascii", "binary"])
def test_pcd_comes_back(tmp_path, form):
    pytest.importorskip("open3d", reason="PCD needs Open3D, which cannot be loaded", exc_type=ImportError)
    points = noise(30, 3, dtype=np.float32)
    cloud = open_cloud(written(tmp_path / "a.pcd", pcd(points, form)))
    assert np.allclose(cloud.points, points, rtol=1e-6) and cloud.normals is None


@pytest.mark.parametrize("form", ["ascii", "binary"])
def test_cut_or_false_pcd_never_reaches_open3d(tmp_path, form):
    points = noise(30, 3, dtype=np.float32)
    data = pcd(points, form)
    for length in range(1, len(data) - 24, 37):
        text = refusal(written(tmp_path / "a.pcd", data[:length]), "cloud")
        assert text.startswith("a.pcd is truncated or damaged (")
    for false in (data.replace(b"POINTS 30", b"POINTS 31"), data.replace(b"WIDTH 30", b"WIDTH 3"), pcd(points, form, " w"),
                  noise(300).tobytes(), data.replace(b"SIZE", b"FIZE"), data.replace(b"x y z", b"a y z")):  # fmt: skip
        assert refusal(written(tmp_path / "a.pcd", false), "cloud").startswith(
            "a.pcd is truncated or damaged ("
        )


def test_bad_clouds_are_one_line(tmp_path):
    def saved(name, **arrays):
        np.savez(tmp_path / name, **arrays)
        return refusal(tmp_path / name, "cloud")

    points = noise(5, 3, dtype=np.float32)
    holed = points.copy()
    holed[2, 1] = np.nan
    assert "1 values of points are not finite" in saved("a.npz", points=holed)
    assert "1 values of normals are not finite" in saved("a.npz", points=points, normals=holed)
    assert "has 4 normals; expected 5" in saved("a.npz", points=points, normals=points[:4])
    assert "array 'points' has shape (5, 2); expected (P, 3)" in saved("a.npz", points=points[:, :2])
    assert "points has shape (0, 3); expected (P, 3)" in saved("a.npz", points=points[:0])
    assert "holds 2 arrays ('a' (5, 3), 'b' (5, 3))" in saved("a.npz", a=points, b=points)
    assert "array 'points' is of type object; expected plain" in saved("a.npz", points=np.full((2, 3), None))
    mesh = written(tmp_path / "a.ply", export(trimesh.creation.box(), "ply"))
    assert "has 12 faces, it is a mesh" in refusal(mesh, "cloud")


# Volumes


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64, np.int32, ">u2"])
@pytest.mark.parametrize("suffix", ["npy", "npz", "tif"])
@pytest.mark.parametrize("channels", [None, 3])
def test_stacks_are_indexed_by_x_y_z(tmp_path, dtype, suffix, channels):
    stack = noise(5, 6, 7, *([channels] if channels else []), dtype=np.uint8).astype(dtype)
    path = tmp_path / f"a.{suffix}"
    if suffix == "tif":
        tifffile.imwrite(path, stack, photometric="minisblack", planarconfig="contig" if channels else None)
    else:
        np.savez(path, a=stack) if suffix == "npz" else np.save(path, stack)
    volume = open_volume(path)
    kept = np.dtype(dtype).newbyteorder("=") in (np.uint8, np.uint16, np.int16, np.float32)
    assert volume.values.shape == (7, 6, 5, channels or 1) and volume.values.dtype.isnative
    assert volume.values.dtype == (np.dtype(dtype).newbyteorder("=") if kept else np.float32)
    assert volume.values[3, 2, 1].tolist() == np.atleast_1d(stack[1, 2, 3]).tolist()
    assert volume.spacing == (1, 1, 1) and volume.origin == (0, 0, 0) and (volume.notes == ()) == kept


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_nifti_has_spacing_and_place(tmp_path, suffix):
    values = noise(4, 5, 6, dtype=np.int16)
    affine = np.array([[2.0, 0, 0, 10], [0, -3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / f"a.{suffix}")
    volume = open_volume(tmp_path / f"a.{suffix}")
    assert volume.name == "a" and volume.spacing == (2, 3, 4) and volume.notes == ()
    # By the affine, voxel (1, 2, 3) has its centre at (12, 14, 42); found again from the low corner.
    index = (np.array([12, 14, 42]) - volume.origin) / volume.spacing - 0.5
    assert index.tolist() == [1, 2, 3] and volume.origin == (9, 6.5, 28)
    assert volume.values[1, 2, 3, 0] == values[1, 2, 3]
    affine[0, 1] = 0.5
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / f"b.{suffix}")
    turned = open_volume(tmp_path / f"b.{suffix}")
    assert turned.origin == (0, 0, 0) and np.array_equal(turned.values[..., 0], values)
    assert len(turned.notes) == 1 and turned.notes[0].startswith(f"b.{suffix}: its axes are not the world's")


@pytest.mark.parametrize(
    "name", ["a.npy", "a.npz", "a.nii", "a.nii.gz", "a.tif", "deflate.tif", "imagej.tif"]
)
def test_no_cut_volume_is_taken_for_whole(tmp_path, name):
    stack = noise(5, 6, 7)
    path = tmp_path / name
    if "nii" in name:
        nibabel.save(nibabel.Nifti1Image(stack, np.eye(4)), path)
    elif "tif" in name:
        options = {"deflate.tif": {"compression": "zlib"}, "imagej.tif": {"imagej": True}}.get(name, {})
        tifffile.imwrite(path, stack, photometric="minisblack", **options)
    else:
        np.savez_compressed(path, a=stack) if name == "a.npz" else np.save(path, stack)
    data, whole = path.read_bytes(), open_volume(path)
    for length in [*range(0, len(data), max(1, len(data) // 30)), len(data) - 1]:
        written(path, data[:length])
        try:
            volume = open_volume(path)
        except PolyfieldError as error:
            assert "\n" not in str(error) and str(error).startswith(str(path))
        else:  # what was cut off is padding, a name or a checksum
            assert np.array_equal(volume.values, whole.values) and length > len(data) / 3


def test_bad_volumes_are_one_line(tmp_path):
    def saved(array):
        np.save(tmp_path / "a.npy", array)
        return refusal(tmp_path / "a.npy", "volume")

    holed = noise(3, 4, 5, dtype=np.float32)
    holed[0, 1] = np.nan
    assert "a.npy: 5 values are not finite" in saved(holed)
    assert "a.npy: 1 values are not finite in float32" in saved(
        np.where(np.arange(60).reshape(3, 4, 5) == 7, 1e60, 0.0)
    )
    assert "has (5, 4, 1) voxels; expected at least 2 along each axis" in saved(holed[:1])
    assert "has shape (4, 5); expected three axes" in saved(holed[0])
    assert "has shape (3, 4, 5, 5); expected three axes" in saved(np.zeros((3, 4, 5, 5), np.uint8))
    assert "its array is of type object; expected plain numbers" in saved(np.full((2, 2, 2), None))
    assert "its array is of type complex128" in saved(np.zeros((2, 2, 2), complex))
    for name in ("a.npy", "a.npz", "a.nii", "a.nii.gz", "a.tif"):
        assert "is truncated or damaged" in refusal(written(tmp_path / name, noise(300).tobytes()), "volume")
    tifffile.imwrite(tmp_path / "a.tif", noise(6, 7))
    assert "is a TIFF of one page; expected a stack" in refusal(tmp_path / "a.tif", "volume")
    first, second = Image.fromarray(noise(6, 7)), Image.fromarray(noise(6, 7))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second], compression="tiff_lzw")
    assert "is compressed in a way that is not read" in refusal(tmp_path / "a.tif", "volume")


def test_huge_volumes_are_refused_by_their_heads(tmp_path, monkeypatch):
    monkeypatch.setattr(volumes, "LARGEST", 8 * 5 * 6 * 7 - 1)
    stack = noise(5, 6, 7).astype(np.float64)
    np.save(tmp_path / "a.npy", stack)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    nibabel.save(nibabel.Nifti1Image(stack, np.eye(4)), tmp_path / "a.nii")
    for name in ("a.npy", "a.tif", "a.nii"):
        assert "has shape (5, 6, 7), 0.0 GB; at most 0.0 are read" in refusal(tmp_path / name, "volume")


@pytest.mark.parametrize(
    ("name", "kind", "library"), [("a.pcd", "cloud", "open3d"), ("a.nii", "volume", "nibabel")]
)
def test_a_library_that_cannot_be_loaded_is_one_line(tmp_path, monkeypatch, name, kind, library):
    monkeypatch.setitem(sys.modules, library, None)
    path = written(tmp_path / name, pcd(noise(5, 3, dtype=np.float32), "binary"))
    assert "which cannot be loaded (" in refusal(path, kind)


# Kinds


def test_kinds_are_found_by_suffix_and_by_looking(tmp_path):
    def kind(name, data: bytes = b"x"):
        return kind_of(written(tmp_path / name, data)).name

    def saved(array) -> str:
        buffer = io.BytesIO()
        np.save(buffer, array)
        return kind("a.npy", buffer.getvalue())

    assert kind_of(tmp_path).name == "scene" and kind("a.json") == "scene"
    assert {kind(f"a.{suffix}") for suffix in ("png", "JPG", "jpeg", "webp", "bmp", "gif", "exr")} == {
        "picture"
    }
    assert {kind(f"a.{suffix}") for suffix in ("obj", "stl", "GLB", "off")} == {"mesh"}
    assert {kind(f"a.{suffix}") for suffix in ("nii", "nii.gz", "tif", "tiff")} == {"volume"} and kind(
        "a.pcd"
    ) == "cloud"
    assert kind("a.ply", export(trimesh.creation.box(), "ply")) == "mesh"
    assert kind("a.ply", export(trimesh.PointCloud(noise(5, 3)), "ply")) == "cloud"
    assert kind("a.ply", (PLY + "element face 0\nend_header\n").encode()) == "cloud"
    assert (saved(noise(9, 3)), saved(noise(4, 5, 6)), saved(noise(3, 3, 3, 2))) == (
        "cloud",
        "volume",
        "volume",
    )
    np.savez(tmp_path / "a.npz", points=noise(5, 3), other=noise(4, 4, 4))
    assert kind_of(tmp_path / "a.npz").name == "cloud" and "'points'" in kind_of(tmp_path / "a.npz").reason


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("none.png", None, "no such file or folder"),
        ("a.mp4", b"x", "its name ends in .mp4; read are folders and .json (scenes), .png"),
        ("a", b"x", "its name has no suffix; read are"),
        ("a.gz", b"x", "its name ends in .gz; read are"),
        ("a.ply", b"x", "is truncated or damaged (it does not begin with 'ply')"),
        ("a.ply", b"", "is truncated or damaged (it does not begin with 'ply')"),
        ("a.npy", b"", "is truncated or damaged"),
        ("a.npz", b"PK\3\4 and no more", "is truncated or damaged (File is not a zip file)"),
        ("a.npy", b"\x93NUMPY\1\0\x06\0{'a':(", "is truncated or damaged"),
    ],
)
def test_what_is_of_no_kind_is_one_line(tmp_path, name, data, expected):
    if data is not None:
        written(tmp_path / name, data)
    with pytest.raises(PolyfieldError) as caught:
        kind_of(tmp_path / name)
    assert expected in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", OPEN)
def test_what_is_no_file_is_one_line(tmp_path, kind):
    name = {"picture": "a.png", "mesh": "a.obj", "cloud": "a.npy", "volume": "a.nii"}[kind]
    assert "cannot be read (no such file or directory)" in refusal(tmp_path / name, kind)
    assert "is empty (0 bytes)" in refusal(written(tmp_path / name, b""), kind)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    assert "is no file; expected one" in refusal(tmp_path / name, kind)


# Real data


def real(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip(f"evaluation data ../shared/data/{name} is not here")
    return DATA / name


def test_real_pictures():
    kodak = open_picture(real("kodak/kodim01.png"))
    assert kodak.found == "kodim01.png is a picture: 768 x 512, 3 channels of 8 bits." and kodak.peak == 255
    assert np.array_equal(kodak.values, np.asarray(Image.open(DATA / "kodak/kodim01.png")))
    albert = open_picture(real("albert.exr"))
    assert albert.values.shape == (1024, 1024, 4) and albert.values.dtype == np.float32 and albert.peak == 1


@pytest.mark.parametrize(
    ("name", "faces", "reason"),
    [
        ("armadillo", 99976, None),
        ("bunny", 59664, None),
        ("bunny_with_holes", 69451, "223 edges belong to one face only"),
    ],
)
def test_real_meshes(name, faces, reason):
    mesh = open_mesh(real(f"meshes/{name}.obj"))
    assert mesh.faces.shape == (faces, 3) and mesh.why_open == reason and mesh.notes == ()
    assert trimesh.Trimesh(mesh.vertices, mesh.faces).is_watertight == (reason is None)
