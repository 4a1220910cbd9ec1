"""GLB (binary glTF 2.0): the triangles of its scene, placed by its nodes.

Materials, cameras, lights and animations are passed over. What would change the shape and is not read is
refused by name: skins, compressed or instanced meshes, required extensions, buffers in other files.
https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from typing import Any

import numpy as np

from polyfield.data.decoding import Malformed, Truncated
from polyfield.data.formats.ply import triangles_of_strip
from polyfield.data.formats.polygons import Polygons

_JSON, _BIN = 0x4E4F534A, 0x004E4942
_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
# Required extensions that leave positions as they are, or that are read here (quantised positions).
_HARMLESS = (
    "KHR_materials_",
    "KHR_texture_",
    "EXT_texture_",
    "KHR_lights_",
    "KHR_mesh_quantization",
    "KHR_animation_",
)
_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_DRAWN_AS = {0: "points", 1: "lines", 2: "lines", 3: "lines"}
_DEEPEST = 100  # nodes within nodes
_MOST_COPIES = 10_000  # of meshes in a scene
_MOST_VERTICES = 2**25  # and triangles


def read(data: bytes) -> Polygons:
    """Return the triangles of a GLB's scene. Raises Malformed and Truncated."""
    return _Reader(*_chunks(data)).scene()


def _chunks(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the JSON and the binary chunk."""
    if data[:4] != b"glTF":
        raise Malformed(f"it starts with {data[:4]!r}; expected a GLB, which starts with b'glTF'")
    if len(data) < 12:
        raise Truncated(f"it has {len(data)} bytes, but its header alone needs 12")
    version, length = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise Malformed(f"it is glTF {version}; expected version 2")
    if length > len(data):
        raise Truncated(f"{len(data):,} bytes, but its header states {length:,}")
    chunks: dict[int, bytes] = {}
    at = 12
    while at + 8 <= length:
        size, kind = struct.unpack_from("<II", data, at)
        if at + 8 + size > length:
            raise Truncated(
                f"a chunk states {size:,} bytes, but only {length - at - 8:,} are left in the file"
            )
        chunks.setdefault(kind, data[at + 8 : at + 8 + size])
        at += 8 + size
    try:
        found = json.loads(chunks.get(_JSON, b""))
    except (ValueError, RecursionError):
        raise Malformed("its JSON chunk is not valid JSON; export it again") from None
    if not isinstance(found, dict):
        raise Malformed("its JSON chunk is not an object; export it again")
    return found, chunks.get(_BIN, b"")


class _Reader:
    def __init__(self, data: dict[str, Any], binary: bytes) -> None:
        self._data, self._binary = data, binary
        self._notes: dict[str, None] = {}  # in the order found, each once
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []
        self._meshes: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
        self._visited: set[int] = set()  # nodes
        self._size = 0  # vertices and triangles so far
        self._decoded: dict[int, bytes] = {}  # buffers that are in the JSON
        required = data.get("extensionsRequired", [])
        for name in required if isinstance(required, list) else [required]:
            if not isinstance(name, str) or not name.startswith(_HARMLESS):
                raise Malformed(
                    f"it requires the extension {name!r:.60}, which is not read; export it without this extension"
                )

    def scene(self) -> Polygons:
        scenes = self._list("scenes")
        if scenes:
            roots = self._item("scenes", self._data.get("scene", 0)).get("nodes", [])
        else:  # then every node that is no other's child
            nodes = self._list("nodes")
            children = {
                child for node in nodes if isinstance(node, dict) for child in node.get("children", [])
            }
            roots = [number for number in range(len(nodes)) if number not in children]
        for root in roots:
            self._node(root, np.eye(4), 0)
        vertices = np.concatenate([np.empty((0, 3)), *(part[0] for part in self._parts)])
        first = np.cumsum([0, *(len(part[0]) for part in self._parts)])
        faces = [part[1] + begin for part, begin in zip(self._parts, first)]
        joined = np.concatenate([np.empty((0, 3), np.int64), *faces])
        return Polygons.of_triangles(vertices, joined, tuple(self._notes))

    def _node(self, number: Any, above: np.ndarray, depth: int) -> None:
        node = self._item("nodes", number)
        if number in self._visited:
            raise Malformed(
                f"node {number} occurs twice among the scene's nodes and their children; expected a tree"
            )
        if depth > _DEEPEST:
            raise Malformed(f"its nodes are nested more than {_DEEPEST} deep; flatten them")
        self._visited.add(number)
        matrix = above @ _transform(node, number)
        if "EXT_mesh_gpu_instancing" in node.get("extensions", {}):
            raise Malformed(
                f"node {number} has instances (EXT_mesh_gpu_instancing), which are not read; "
                "export each copy as a node of its own"
            )
        if "mesh" in node:
            if "skin" in node:
                raise Malformed(
                    f"node {number} is posed by a skin, which is not read; apply the pose and export it again"
                )
            self._place(node, matrix)
        for child in node.get("children", []):
            self._node(child, matrix, depth + 1)

    def _place(self, node: dict[str, Any], matrix: np.ndarray) -> None:
        number = node["mesh"]
        mesh = self._item("meshes", number)
        weights = node.get("weights", mesh.get("weights", []))
        if any(weights):
            raise Malformed(
                f"mesh {number} has morph targets with weights, which are not read; apply them and export again"
            )
        if number not in self._meshes:
            self._meshes[number] = parts = []
            for one in mesh.get("primitives", []):
                if (part := self._primitive(one, number)) is not None:
                    parts.append(part)
                    self._count(part, len(parts))
        for vertices, faces in self._meshes[number]:
            self._count((vertices, faces), len(self._parts))
            mirrored = np.linalg.slogdet(matrix[:3, :3])[0] < 0
            # What is not finite is refused with the vertices.
            with np.errstate(over="ignore", invalid="ignore"):
                placed = vertices @ matrix[:3, :3].T + matrix[:3, 3]
            self._parts.append((placed, faces[:, ::-1] if mirrored else faces))

    def _count(self, part: tuple[np.ndarray, np.ndarray], parts: int) -> None:
        """Count what is held, and refuse more than fits into memory."""
        self._size += len(part[0]) + len(part[1])
        if self._size > _MOST_VERTICES or parts > _MOST_COPIES:
            raise Malformed(
                f"it has more than {_MOST_COPIES:,} parts, or {_MOST_VERTICES:,} vertices and triangles, copies included;"
                " simplify it"
            )

    def _primitive(self, primitive: dict[str, Any], mesh: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the vertices (V, 3) and triangles (F, 3) of a part of a mesh, or None if it has no triangles."""
        mode = primitive.get("mode", _TRIANGLES)
        if mode in _DRAWN_AS:
            self._notes[f"The {_DRAWN_AS[mode]} of mesh {mesh} are left out."] = None
            return None
        if mode not in (_TRIANGLES, _STRIP, _FAN):
            raise Malformed(f"mesh {mesh} is drawn in mode {mode!r:.20}; expected 0 to 6")
        attributes = primitive.get("attributes", {})
        if "POSITION" not in attributes:
            self._notes[f"A part of mesh {mesh} has no positions and is left out."] = None
            return None
        vertices = self._accessor(attributes["POSITION"], "VEC3", check=True).astype(np.float64)
        if "indices" in primitive:
            order = self._accessor(primitive["indices"], "SCALAR")
            if order.dtype.kind != "u":
                raise Malformed(f"mesh {mesh} has indices of type {order.dtype}; expected unsigned integers")
            order = order.astype(np.int64).ravel()
        else:
            order = np.arange(len(vertices))
        if len(order) and not 0 <= order.min() <= order.max() < len(vertices):
            raise Malformed(
                f"mesh {mesh} refers to vertices {order.min()} to {order.max()}; expected 0 to {len(vertices) - 1}"
            )
        if mode == _STRIP:
            return vertices, triangles_of_strip(order)
        if mode == _FAN:
            if len(order) < 3:
                return vertices, np.empty((0, 3), np.int64)
            return vertices, np.stack([np.full(len(order) - 2, order[0]), order[1:-1], order[2:]], 1)
        if len(order) % 3:
            raise Malformed(f"mesh {mesh} has {len(order)} corners of triangles; expected a multiple of 3")
        return vertices, order.reshape(-1, 3)

    def _accessor(self, number: Any, kind: str, *, check: bool = False) -> np.ndarray:
        """Return the values (N, width) of an accessor; normalised integers as the floats they mean."""
        accessor = self._item("accessors", number)
        component, count = accessor.get("componentType"), accessor.get("count", -1)
        if accessor.get("type") != kind or component not in _COMPONENTS or not _whole(count):
            raise Malformed(
                f"accessor {number} has type {accessor.get('type')!r:.20}, componentType {component!r:.20} and count "
                f"{count!r:.20}; expected type {kind!r}, a componentType of glTF and a whole count"
            )
        dtype, width = np.dtype(_COMPONENTS[component]), _WIDTHS[kind]
        if "bufferView" in accessor:
            values = self._view(accessor["bufferView"], accessor.get("byteOffset", 0), dtype, count, width)
        elif count <= len(self._binary):  # zeros, which a sparse part fills
            values = np.zeros((count, width), dtype)
        else:
            raise Malformed(f"accessor {number} has {count:,} elements and no data; export it again")
        if "sparse" in accessor:
            values = self._sparse(accessor["sparse"], values, number)
        if check:
            self._compare(accessor, values, number)
        if not accessor.get("normalized"):
            return values
        if dtype.kind == "f":
            raise Malformed(f"accessor {number} has floats that are normalised; expected integers")
        return np.maximum(values / float(np.iinfo(dtype).max), -1.0)

    def _sparse(self, sparse: Any, values: np.ndarray, number: int) -> np.ndarray:
        try:
            count, places, found = sparse["count"], sparse["indices"], sparse["values"]
            kind = np.dtype(_COMPONENTS[places["componentType"]])
            views = (
                (places["bufferView"], places.get("byteOffset", 0)),
                (found["bufferView"], found.get("byteOffset", 0)),
            )
        except (TypeError, KeyError, AttributeError):
            raise Malformed(
                f"accessor {number} has a sparse part whose count, indices or values are not valid; export it again"
            ) from None
        if not _whole(count) or kind.kind == "f":
            raise Malformed(
                f"accessor {number} has a sparse part of {count!r:.20} elements with {kind.name} indices; expected a whole"
                " number and an integer type"
            )
        index = self._view(*views[0], kind, count, 1).ravel().astype(np.int64)
        if (index < 0).any() or (index >= len(values)).any():
            raise Malformed(
                f"accessor {number} replaces elements {index.min()} to {index.max()}; expected 0 to {len(values) - 1}"
            )
        values = values.copy()
        values[index] = self._view(*views[1], values.dtype, count, values.shape[1])
        return values

    def _compare(self, accessor: dict[str, Any], values: np.ndarray, number: int) -> None:
        """Compare positions with the bounds that the format demands of their accessor."""
        low, high = accessor.get("min"), accessor.get("max")
        if not len(values) or not isinstance(low, list) or not isinstance(high, list):
            return
        try:
            stated = np.array([low, high], np.float64)
            found = np.array([values.min(0), values.max(0)], np.float64)
            same = np.allclose(found, stated, rtol=1e-4, atol=1e-4 * np.abs(found).max())
        except (ValueError, TypeError):
            same = False
        if not same:
            self._notes[
                f"The positions of accessor {number} have other bounds than its min and max state."
            ] = None

    def _view(self, number: Any, offset: Any, dtype: np.dtype, count: int, width: int) -> np.ndarray:
        """Return the elements (count, width) at an offset in a view of a buffer."""
        view = self._item("bufferViews", number)
        if "extensions" in view and any(name.endswith("meshopt_compression") for name in view["extensions"]):
            raise Malformed("it is compressed with meshopt, which is not read; export it without compression")
        buffer = self._buffer(view.get("buffer"))
        begin, length, stride = view.get("byteOffset", 0), view.get("byteLength", -1), view.get("byteStride")
        size = dtype.itemsize * width
        stride = size if stride is None else stride
        if not all(map(_whole, (begin, length, offset, stride))) or stride < size:
            raise Malformed(
                f"bufferView {number} has byteOffset {begin!r:.20}, byteLength {length!r:.20} and byteStride "
                f"{stride!r:.20}, and the accessor that uses it has byteOffset {offset!r:.20}; expected whole numbers and "
                f"a byteStride of at least {size}"
            )
        needed = offset + stride * (count - 1) + size if count else 0
        if begin + length > len(buffer):
            raise Truncated(
                f"bufferView {number} needs {begin + length:,} bytes; its buffer has {len(buffer):,}"
            )
        if needed > length:
            raise Truncated(
                f"an accessor needs {needed:,} bytes of bufferView {number}, which has {length:,}"
            )
        if not count:
            return np.empty((0, width), dtype)
        steps = (stride, dtype.itemsize)
        return np.ndarray((count, width), dtype, buffer, begin + offset, steps)

    def _buffer(self, number: Any) -> bytes:
        if number in self._decoded:
            return self._decoded[number]
        buffer = self._item("buffers", number)
        uri = buffer.get("uri")
        if uri is None:
            return self._binary
        if not isinstance(uri, str) or not uri.startswith("data:") or ";base64," not in uri:
            raise Malformed(
                f"buffer {number} has the URI {uri!r:.60}, which is not read; export a single GLB file with all data"
            )
        try:
            self._decoded[number] = base64.b64decode(uri.split(";base64,", 1)[1], validate=True)
        except binascii.Error:
            raise Malformed(f"buffer {number} is not base64; export it again") from None
        return self._decoded[number]

    def _list(self, key: str) -> list[Any]:
        found = self._data.get(key, [])
        if not isinstance(found, list):
            raise Malformed(f"its {key} are not a list; export it again")
        return found

    def _item(self, key: str, number: Any) -> dict[str, Any]:
        found = self._list(key)
        if not _whole(number) or number >= len(found) or not isinstance(found[number], dict):
            raise Malformed(
                f"it refers to {key}[{number!r:.20}], which is absent or not an object; {key} has {len(found)} entries"
            )
        return found[number]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48


def _transform(node: dict[str, Any], number: int) -> np.ndarray:
    """Return a node's own transform, 4 x 4: a matrix column after column, or scale, rotation (x y z w), translation."""
    try:
        if "matrix" in node:
            return np.array(node["matrix"], np.float64).reshape(4, 4).T
        x, y, z, w = np.array(node.get("rotation", (0, 0, 0, 1)), np.float64)
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        matrix = np.eye(4)
        matrix[:3, :3] = rotation * np.array(node.get("scale", (1, 1, 1)), np.float64).reshape(3)
        matrix[:3, 3] = np.array(node.get("translation", (0, 0, 0)), np.float64).reshape(3)
        return matrix
    except (TypeError, ValueError):
        raise Malformed(
            f"node {number} has a transform that is not valid; expected a matrix of 16 numbers, or a rotation of 4, a scale of 3 and a translation of 3"
        ) from None
