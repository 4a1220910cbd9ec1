"""What the readers of mesh formats promise beyond what trimesh's exports show: n-gons, lists, accessors, odd but legal files."""

from __future__ import annotations

import base64
import json
import struct
import time

import numpy as np
import pytest
import trimesh
from source_files import DATA, export, refusal, written

from polyfield.data.formats.polygons import Polygons
from polyfield.data.meshes import open_mesh

CASES = DATA.parent / "cases"


def case(name: str):
    if not (CASES / name).exists():
        pytest.skip(f"../shared/cases/{name} is not here")
    return CASES / name


def area(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()) / 2


def solid(mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.faces)


# -- polygons


def cut(corners) -> np.ndarray:
    corners = np.array(corners, np.float64)
    flat = corners if corners.shape[1] == 3 else np.pad(corners, ((0, 0), (0, 1)))
    return Polygons(flat, np.arange(len(flat)), np.array([len(flat)])).triangles()


def signed(corners, faces) -> np.ndarray:
    """Twice the areas of triangles of flat corners, negative if clockwise."""
    a, b, c = (np.array(corners, np.float64)[faces[:, i]] for i in range(3))
    return (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]


@pytest.mark.parametrize(
    ("corners", "twice"),
    [
        ([(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)], 6),  # an L
        ([(1, 1), (1, 2), (0, 2), (0, 0), (2, 0), (2, 1)], 6),  # the same, from its reflex corner
        ([(0, 0), (4, 0), (4, 3), (3, 3), (3, 1), (1, 1), (1, 3), (0, 3)], 16),  # a U
        ([(0, 0), (3, 0), (1, 1), (0, 3)], 6),  # an arrowhead
        ([(0, 0), (1, 0), (2, 0), (2, 2), (0, 2)], 8),  # a corner on a straight edge
        ([(0, 0), (1, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2), (0, 1)], 6),  # and in an L
        (
            [(0, 0), (9, 0), (9, 9), (0, 9), (0, 0), (3, 3), (3, 6), (6, 6), (6, 3), (3, 3)],
            144,
        ),  # a hole by a bridge
    ],
)
@pytest.mark.parametrize("turn", [1, -1])
def test_polygons_are_covered_once_with_every_corner_kept(corners, twice, turn):
    corners = corners[::turn]
    faces = cut(corners)
    areas = turn * signed(corners, faces)
    assert len(faces) == len(corners) - 2 and areas.sum() == twice and (areas >= 0).all()
    assert set(faces.ravel()) == set(range(len(corners)))
    edges = {(faces[i, k], faces[i, (k + 1) % 3]) for i in range(len(faces)) for k in range(3)}
    assert all((k, (k + 1) % len(corners)) in edges for k in range(len(corners)))


def test_random_polygons_in_space_are_covered_once():
    random = np.random.default_rng(3)
    for count in (5, 9, 40, 200):
        angle = np.sort(random.uniform(0, 2 * np.pi, count))
        flat = random.uniform(0.2, 1, count)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        turned = np.linalg.qr(random.standard_normal((3, 3)))[0][:, :2]
        corners = flat @ turned.T + 1000
        faces = cut(corners)
        shoelace = np.cross(np.pad(flat, ((0, 0), (0, 1))), np.pad(np.roll(flat, -1, 0), ((0, 0), (0, 1))))[
            :, 2
        ].sum()
        assert np.isclose(area(corners, faces), shoelace / 2, rtol=1e-9) and len(faces) == count - 2


def test_polygons_of_many_corners_take_no_minutes():
    """A thin ring with a bridge: almost every corner is in the way of almost every ear."""
    angle = np.linspace(0, 2 * np.pi, 1001)
    outer, inner = (r * np.stack([np.cos(angle), np.sin(angle)], 1) for r in (1.0, 0.98))
    corners = np.concatenate([outer, inner[::-1]])
    begun = time.monotonic()
    faces = cut(corners)
    assert (
        np.isclose(signed(corners, faces).sum() / 2, np.pi * (1 - 0.98**2), rtol=1e-4) and len(faces) == 2000
    )
    assert time.monotonic() - begun < 20


def test_concave_faces_of_a_channel():
    folder = case("23-concave-ngon")
    meshes = [open_mesh(folder / name) for name in ("channel.obj", "channel_triangles.obj")]
    assert [mesh.why_open for mesh in meshes] == [None, None]
    assert np.allclose([area(mesh.vertices, mesh.faces) for mesh in meshes], 30)
    assert np.isclose(solid(meshes[0]).volume, solid(meshes[1]).volume)
    query = pytest.importorskip("polyfield.data.mesh_queries")
    pytest.importorskip("open3d", exc_type=ImportError)
    points = np.random.default_rng(0).uniform(
        meshes[1].vertices.min(0), meshes[1].vertices.max(0), (20000, 3)
    )
    found = [query.MeshQueries(mesh.vertices, mesh.faces).inside(points) for mesh in meshes]
    assert (found[0] == found[1]).all()


# -- OBJ


def test_unusual_but_legal_obj(tmp_path):
    text = "\ufeff# a cube's face\r\n\tv\t0 0 0 1 1 1\r\nv 1 0 0 0.5\r\n v 1 1 0\r\nv 0 1 0 # last\r\nf\t1 2 \\\r\n 3 4\r\n"
    mesh = open_mesh(written(tmp_path / "a.obj", text))
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]] and mesh.vertices[1].tolist() == [1, 0, 0]
    relative = (
        "v 9 9 9\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf -3/1/1 -2/1 -1//4\nv 5 5 5\nv 6 5 5\nv 5 6 5\nf -3 -2 -1\n"
    )
    mesh = open_mesh(written(tmp_path / "b.obj", relative))
    assert mesh.faces.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f 1 2 9\n", "line 4: the face refers to vertex 9; expected 1 to 3"),
        ("f 1 2 3\nf 1 2 0\n", "line 5: the face refers to vertex 0; expected 1 to 3"),
        ("f -1 -2 -4\n", "line 4: the face refers to vertex -4; expected 1 to 3, or -1 and below"),
        ("f 1 2 \\\n 3\nf 1 2 x\n", "line 6: the face is b'f 1 2 x'; expected f and vertex indices"),
        ("v 1 2\nf 1 2 3\n", "line 4: the vertex is b'v 1 2'; expected v and 3 numbers"),
        ("v 1 2 z\nf 1 2 3\n", "line 4: the vertex is b'v 1 2 z'; expected v and 3 numbers"),
        (f"f {'1 2 3 ' * 4000}\n", "a face has 12,000 corners; expected at most 10,000: triangulate it"),
    ],
)  # fmt: skip
def test_bad_obj_names_the_line(tmp_path, text, expected):
    assert expected in refusal(written(tmp_path / "a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\n" + text), "mesh")


# -- PLY


def test_lists_of_several_lengths():
    folder = case("24-ply-mixed-polygons")
    twin = open_mesh(folder / "house_ascii.ply")
    for name in ("house.ply", "house_lengths_cancel.ply"):
        mesh = open_mesh(folder / name)
        assert mesh.faces.tolist() == twin.faces.tolist() and np.allclose(mesh.vertices, twin.vertices)
        assert mesh.why_open is None and mesh.notes == ()
    box = open_mesh(folder / "box_big_endian_double.ply")
    assert box.why_open is None and solid(box).volume > 0


def ply(form: str, elements: str, body: bytes, comment: bytes = b"") -> bytes:
    return b"ply\nformat " + form.encode() + b" 1.0\n" + comment + elements.encode() + b"end_header\n" + body


XYZ = "property float x\nproperty float y\nproperty float z\n"
SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], "<f4")


def test_ply_strips_are_triangles_of_one_side(tmp_path):
    elements = f"element vertex 4\n{XYZ}element tristrips 1\nproperty list int int vertex_indices\n"
    strip = np.array([6, 0, 1, 3, 2, -1, 0], "<i4")
    mesh = open_mesh(
        written(tmp_path / "a.ply", ply("binary_little_endian", elements, SQUARE.tobytes() + strip.tobytes()))
    )
    assert mesh.faces.tolist() == [[0, 1, 3], [3, 1, 2]]
    text = b"0 0 0\n1 0 0\n1 1 0\n0 1 0\n4 0 1 3 2\n"
    again = open_mesh(written(tmp_path / "b.ply", ply("ascii", elements, text)))
    assert again.faces.tolist() == mesh.faces.tolist()


@pytest.mark.parametrize("order", ["<", ">"])
def test_ply_passes_over_what_it_does_not_need(tmp_path, order):
    """Lists of vertices, other elements before and behind, comments that are not UTF-8, bytes behind the end."""
    kinds = "property list uchar short tags\nproperty double x\nproperty float y\nproperty uchar red\nproperty short z\n"
    faces = "element face 2\nproperty uchar flags\nproperty list uchar uint vertex_index\nproperty list uint float uv\n"
    elements = (
        f"element camera 1\nproperty int id\nelement vertex 4\n{kinds}{faces}element edge 0\nproperty int a\n"
    )
    body = struct.pack(f"{order}i", 7)
    for number, (x, y, z) in enumerate(SQUARE):
        body += struct.pack(f"{order}B{number}hdfBh", number, *range(number), x, y, 9, int(z))
    for face in ((0, 1, 2, 3), (0, 2, 1)):
        body += struct.pack(f"{order}BB{len(face)}II1f", 1, len(face), *face, 1, 0.5)
    form = "binary_little_endian" if order == "<" else "binary_big_endian"
    comment = "comment Größe\n".encode("latin-1")
    mesh = open_mesh(written(tmp_path / "a.ply", ply(form, elements, body + b"xyz", comment)))
    assert np.array_equal(mesh.vertices, SQUARE) and mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 2, 1]]
    assert mesh.notes == ("a.ply: 3 bytes behind the last element are left out.",)
    for length in range(len(body)):
        assert "is truncated or damaged (" in refusal(
            written(tmp_path / "b.ply", ply(form, elements, body[:length])), "mesh"
        )


@pytest.mark.parametrize(
    ("elements", "body", "expected"),
    [
        (f"element vertex 4000000000\n{XYZ}", b"", "is truncated or damaged (0 bytes are left for 4,000,000,000 elements 'vertex'"),
        ("element vertex 1\nproperty float x\n", b"1234", "its vertices do not have x, y and z"),
        (f"element vertex -4\n{XYZ}", b"", "its header has the line b'element vertex -4'"),
        (f"element vertex 0\n{XYZ}element face 0\nelement face 0\n", b"", "its header has two elements 'face'"),
        (f"element vertex 0\n{XYZ}element face 1\nproperty list uint int vertex_index\n", b"\xf0\xff\xff\xff", "is truncated or damaged"),
        (f"element vertex 0\n{XYZ}element face 1\nproperty list uchar int corners\n", b"\0", "its faces have no list vertex_indices"),
        (f"element vertex 0\n{XYZ}element face 1\nproperty list char int vertex_index\n", b"\xff", "has the length -1"),
        (f"element vertex 0\n{XYZ}element face 1\nproperty list float int vertex_index\n", b"\0", "its header has the line"),
    ],
)  # fmt: skip
def test_bad_ply_is_one_line(tmp_path, elements, body, expected):
    path = written(tmp_path / "a.ply", ply("binary_little_endian", elements, body))
    assert expected in refusal(path, "mesh")


# -- STL and OFF


def test_wrapped_and_blank_lines_are_read_in_one_go(tmp_path):
    """These took the square of their length: a file of a megabyte hours."""
    begun = time.monotonic()
    fan = "v 0 0 0\n" + "".join(f"v {np.cos(a)} {np.sin(a)} 0\n" for a in np.linspace(0, 1, 60_001))
    faces = "".join(f"f 1 \\\n {i} \\\n {i + 1}\n" for i in range(2, 60_002))
    assert len(open_mesh(written(tmp_path / "a.obj", fan + faces)).faces) == 60_000
    assert "does not end in 'endsolid'" in refusal(
        written(tmp_path / "a.stl", "solid\nfacet\nendsolid" + " " * 1_000_000 + "x\nfoo"), "mesh"
    )
    assert time.monotonic() - begun < 20


def test_bytes_behind_an_stl_are_left_out(tmp_path):
    data = export(trimesh.creation.box(), "stl")
    mesh = open_mesh(written(tmp_path / "a.stl", data + b"\0" * 7))
    assert len(mesh.faces) == 12 and mesh.notes == ("a.stl: 7 bytes behind the last facet are left out.",)
    named = b"solid of facets" + data[15:]  # a binary file whose head begins as text does
    assert len(open_mesh(written(tmp_path / "b.stl", named)).faces) == 12


def test_off_of_polygons_and_colours(tmp_path):
    text = "COFF\n# made by hand\n6 1 0\n0 0 0 255 0 0\n2 0 0\n2 1 0\n1 1 0\n1 2 0\n0 2 0\n6 0 1 2 3 4 5 200 200 200\n"
    mesh = open_mesh(written(tmp_path / "a.off", text))
    assert area(mesh.vertices, mesh.faces) == 3 and len(mesh.faces) == 4
    assert "its vertices do not have three coordinates" in refusal(
        written(tmp_path / "b.off", text.replace("COFF", "4OFF")), "mesh"
    )
    assert "it is a binary OFF" in refusal(written(tmp_path / "c.off", "OFF BINARY\n"), "mesh")


# -- GLB


class Glb:
    """A GLB of one buffer, put together by hand."""

    def __init__(self) -> None:
        self.binary = b""
        self.json: dict = {
            "asset": {"version": "2.0"},
            "bufferViews": [],
            "accessors": [],
            "meshes": [],
            "nodes": [],
        }

    def view(self, data: np.ndarray, **more) -> int:
        self.binary += b"\0" * (-len(self.binary) % 4)
        self.json["bufferViews"].append(
            {"buffer": 0, "byteOffset": len(self.binary), "byteLength": data.nbytes, **more}
        )
        self.binary += data.tobytes()
        return len(self.json["bufferViews"]) - 1

    def accessor(self, data: np.ndarray | None, kind: str, component: int, **more) -> int:
        place = {} if data is None else {"bufferView": self.view(data), "count": len(data)}
        self.json["accessors"].append({"componentType": component, "type": kind, **place, **more})
        return len(self.json["accessors"]) - 1

    def mesh(self, positions: int, indices: int | None = None, **more) -> int:
        primitive = {"attributes": {"POSITION": positions}, **more}
        if indices is not None:
            primitive["indices"] = indices
        self.json["meshes"].append({"primitives": [primitive]})
        return len(self.json["meshes"]) - 1

    def node(self, **keys) -> int:
        self.json["nodes"].append(keys)
        return len(self.json["nodes"]) - 1

    def data(self) -> bytes:
        text = json.dumps({"buffers": [{"byteLength": len(self.binary)}], **self.json}).encode()
        text += b" " * (-len(text) % 4)
        binary = self.binary + b"\0" * (-len(self.binary) % 4)
        body = (
            struct.pack("<II", len(text), 0x4E4F534A)
            + text
            + struct.pack("<II", len(binary), 0x004E4942)
            + binary
        )
        return b"glTF" + struct.pack("<II", 2, 12 + len(body)) + body


def square(**primitive) -> Glb:
    made = Glb()
    positions = made.accessor(SQUARE, "VEC3", 5126, min=[0, 0, 0], max=[1, 1, 0])
    made.node(
        mesh=made.mesh(
            positions, made.accessor(np.array([0, 1, 2, 0, 2, 3], "<u2"), "SCALAR", 5123), **primitive
        )
    )
    return made


def glb(tmp_path, made: Glb):
    return written(tmp_path / "a.glb", made.data())


def test_sparse_positions():
    folder = case("29-glb-sparse")
    mesh, truth = open_mesh(folder / "ball_with_spike.glb"), np.load(folder / "truth.npz")
    assert np.isclose(mesh.vertices[:, 2].max(), truth["v"][:, 2].max())
    assert np.allclose(mesh.vertices[mesh.faces], truth["v"][truth["f"]])


@pytest.mark.parametrize("zeros", [False, True])
def test_sparse_parts_replace_elements(tmp_path, zeros):
    made = Glb()
    sparse = {
        "count": 2,
        "indices": {"bufferView": made.view(np.array([1, 2], "u1")), "componentType": 5121},
        "values": {"bufferView": made.view(np.array([[5, 0, 0], [5, 5, 0]], "<f4"))},
    }
    positions = made.accessor(None if zeros else SQUARE[:3], "VEC3", 5126, count=3, sparse=sparse)
    made.node(mesh=made.mesh(positions))
    mesh = open_mesh(glb(tmp_path, made))
    assert mesh.vertices.tolist() == [[0, 0, 0], [5, 0, 0], [5, 5, 0]]


def test_normalised_and_interleaved_positions(tmp_path):
    made = Glb()
    packed = np.zeros(4, np.dtype([("position", "<i2", 3), ("more", "<i2", 3)]))
    packed["position"] = (SQUARE * 32767).astype("<i2")
    made.json["extensionsRequired"] = ["KHR_mesh_quantization"]
    view = made.view(packed, byteStride=12)
    positions = made.accessor(None, "VEC3", 5122, bufferView=view, count=4, normalized=True)
    indices = made.accessor(np.array([0, 1, 2], "u1"), "SCALAR", 5121)
    made.node(mesh=made.mesh(positions, indices), scale=[2, 2, 2], translation=[0, 0, 1])
    assert open_mesh(glb(tmp_path, made)).vertices.tolist() == [[0, 0, 1], [2, 0, 1], [2, 2, 1], [0, 2, 1]]


def test_nodes_place_meshes_and_mirrors_turn_faces(tmp_path):
    made = square()
    half = np.sqrt(0.5)
    made.json["nodes"] = [
        {"children": [1], "translation": [10, 0, 0]},
        {"mesh": 0, "rotation": [0, 0, half, half]},  # a quarter turn about z: x to y
        {"mesh": 0, "matrix": [-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]},
    ]
    mesh = open_mesh(glb(tmp_path, made))
    assert np.allclose(mesh.vertices[:4], [[10, 0, 0], [10, 1, 0], [9, 1, 0], [9, 0, 0]])
    normals = solid(mesh).face_normals
    assert np.allclose(normals, [0, 0, 1])
    made.json["scenes"], made.json["scene"] = [{"nodes": [0]}, {"nodes": [2]}], 1
    assert len(open_mesh(glb(tmp_path, made)).faces) == 2


@pytest.mark.parametrize(("mode", "order", "faces"), [
    (5, [0, 1, 3, 2], [[0, 1, 3], [3, 1, 2]]), (6, [0, 1, 2, 3], [[0, 1, 2], [0, 2, 3]]), (4, [0, 1, 2], [[0, 1, 2]]),
])  # fmt: skip
def test_strips_and_fans(tmp_path, mode, order, faces):
    made = Glb()
    positions = made.accessor(SQUARE, "VEC3", 5126)
    made.node(mesh=made.mesh(positions, made.accessor(np.array(order, "<u4"), "SCALAR", 5125), mode=mode))
    assert open_mesh(glb(tmp_path, made)).faces.tolist() == faces


def test_what_is_left_out_of_a_glb_is_said(tmp_path):
    made = square()
    made.node(mesh=made.mesh(0, mode=1))
    made.json["accessors"][0]["max"] = [2, 1, 0]
    assert open_mesh(glb(tmp_path, made)).notes == (
        "a.glb: The positions of accessor 0 have other bounds than its min and max state.",
        "a.glb: The lines of mesh 1 are left out.",
    )


def test_a_buffer_may_be_in_the_json(tmp_path):
    made = square()
    text = "data:application/octet-stream;base64," + base64.b64encode(made.binary).decode()
    made.json["buffers"] = [{"byteLength": len(made.binary), "uri": text}]
    assert len(open_mesh(glb(tmp_path, made)).faces) == 2
    made.json["buffers"][0]["uri"] = "square.bin"
    assert "buffer 0 has the URI 'square.bin', which is not read" in refusal(glb(tmp_path, made), "mesh")


def broken(change) -> Glb:
    made = square()
    change(made.json)
    return made


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda j: j.update(extensionsRequired=["KHR_draco_mesh_compression"]), "requires the extension 'KHR_draco_mesh_compression'"),
        (lambda j: j["nodes"][0].update(extensions={"EXT_mesh_gpu_instancing": {}}), "node 0 has instances"),
        (lambda j: j["nodes"][0].update(skin=0), "node 0 is posed by a skin"),
        (lambda j: j["meshes"][0].update(weights=[0.5]), "mesh 0 has morph targets"),
        (lambda j: (j["nodes"][0].update(children=[0]), j.update(scenes=[{"nodes": [0]}])), "node 0 occurs twice among the scene's nodes and their children; expected a tree"),
        (lambda j: j["accessors"][0].update(count=10**9), "is truncated or damaged (an accessor needs 12,000,000,000 bytes of bufferView 0"),
        (lambda j: j["accessors"][0].update(count=2**60), "accessor 0 has type 'VEC3', componentType 5126 and count"),
        (lambda j: j["accessors"][0].update(count=True), "accessor 0 has type 'VEC3'"),
        (lambda j: j["accessors"].__setitem__(0, {"componentType": 5126, "type": "VEC3", "count": 10**9}), "and no data"),
        (lambda j: j["accessors"][0].update(count=3), "mesh 0 refers to vertices 0 to 3; expected 0 to 2"),
        (lambda j: j["accessors"][1].update(componentType=5122), "mesh 0 has indices of type int16; expected unsigned"),
        (lambda j: j["meshes"][0].update(primitives=j["meshes"][0]["primitives"] * 20_000), "it has more than 10,000 parts"),
        (lambda j: j["accessors"][1].update(count=5), "mesh 0 has 5 corners of triangles"),
        (lambda j: j["bufferViews"][0].update(byteStride=1), "bufferView 0 has byteOffset 0, byteLength 48 and byteStride 1, and the accessor that uses it has byteOffset 0; expected"),
        (lambda j: j["bufferViews"][0].update(extensions={"EXT_meshopt_compression": {}}), "compressed with meshopt"),
        (lambda j: j["meshes"][0]["primitives"][0].update(indices=7), "it refers to accessors[7], which is absent or not an object; accessors has 2 entries"),
        (lambda j: j.update(meshes={}), "its meshes are not a list"),
        (lambda j: j["nodes"][0].update(rotation=[1, 2]), "node 0 has a transform that is not valid"),
        (lambda j: j["nodes"][0].update(scale=[1e308] * 3, translation=[1e308] * 3, children=[]), "4 coordinates are NaN or infinite"),
    ],
)  # fmt: skip
def test_what_a_glb_holds_and_is_not_read_is_named(tmp_path, change, expected):
    path = glb(tmp_path, broken(change))
    assert expected in refusal(path, "mesh")


def test_a_chain_of_nodes_has_an_end(tmp_path):
    made = square()
    for number in range(200):
        made.node(children=[number + 2] if number < 199 else [])
    made.json["scenes"] = [{"nodes": [1]}]
    assert "its nodes are nested more than 100 deep" in refusal(glb(tmp_path, made), "mesh")
