"""Meshes as sources come back as they were written, with why they are open, and damaged ones in one line."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from source_files import PLY, export, noise, png, real, refusal, written

from polyfield.data.meshes import open_mesh
from polyfield.errors import PolyfieldError

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
        (lambda f: np.vstack([f[:1, ::-1], f[1:]]), "3 edges belong to two faces of opposite orientation"),
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
    with pytest.raises(PolyfieldError, match="1 lines are left for 2 elements 'edge'"):
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
FACE = "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
BAD_MESHES = {
    "empty.obj": ("", "is empty (0 bytes)"),
    "text.obj": ("hello\nworld\n", "has no faces; expected a mesh"),
    "points.obj": (TRIANGLE, "has no faces; expected a mesh"),
    "flat.obj": ("v 0 0\nv 1 0\nv 0 1\nf 1 2 3\n", "line 1: the vertex is b'v 0 0'; expected v and 3 numbers"),
    "six.obj": ("v 0 0\nv 1 0\nv 0 1\nv 1 1\nv 2 1\nv 2 2\nf 1 2 3\n", "line 1: the vertex is b'v 0 0'"),
    "six.off": ("OFF\n6 1 0\n0 0\n1 0\n0 1\n1 1\n2 1\n2 2\n3 0 1 2\n", "a vertex is not 3 numbers"),
    "nan.obj": (TRIANGLE.replace("1", "nan") + "f 1 2 3\n", "2 coordinates are NaN or infinite"),
    "point.obj": (TRIANGLE + "f 1 1 2\n", "every one of its 1 faces has an area of 0"),
    "picture.obj": (png(noise(9, 9, 3), 2), "has no faces"),
    "garbage.stl": (noise(200).tobytes(), "is truncated or damaged (200 bytes, but its header states"),
    "garbage.glb": (noise(200).tobytes(), "expected a GLB, which starts with b'glTF'"),
    "garbage.off": (noise(200).tobytes(), "expected OFF"),
    "garbage.ply": (noise(200).tobytes(), "it does not begin with 'ply'; expected a PLY"),
    "head.ply": (PLY, "is truncated or damaged (its header has no end_header)"),
    "beyond.off": ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 5\n", "face 0 refers to vertex 5; expected 0 to 2"),
    "short.off": ("OFF 3 2 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", "damaged (4 lines of data, but its header states 5)"),
    "beyond.ply": (PLY + FACE + "0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n", "face 0 refers to vertex 7; expected 0 to 2"),
    "names.ply": (PLY + FACE.replace("_", "-") + "0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", "its header has the line b'end-header'"),
    "cube.xyz": ("1", "its name ends in .xyz; a mesh is read from .obj, .ply, .stl, .glb, .off"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_MESHES)
def test_bad_mesh_is_one_line(tmp_path, name):
    data, expected = BAD_MESHES[name]
    assert expected in refusal(written(tmp_path / name, data), "mesh")


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
