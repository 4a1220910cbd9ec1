"""Bank: many fields of one spec, in a folder of shards.

`bank.json` says what the fields are. Shard k, shards/0000k.safetensors, holds a fixed number of objects one after the other:
parameters of their fields, stacked and stored as a field file stores them, and what is known of each object. A shard
is written whole, so a bank that was interrupted lacks shards and has none by halves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyfield.errors import PolyfieldError, naming, shown
from polyfield.fields import Domain, FieldSpec, StoredField, build
from polyfield.fields.context import FieldContext
from polyfield.files.atomic import write_bytes
from polyfield.files.strict_json import json_text, parse_json, read_json, write_json
from polyfield.files.tensors import read_tensors, tensors_to_bytes

FORMAT = "polyfield-bank"
VERSION = "1"
MANIFEST = "bank.json"
UNIT = Domain("box", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # of every object's own cube
_FIELD, _CLOUD, _PARTS, _OCCUPANCY = "field.", "cloud.points", "cloud.parts", "occupancy"
OCCUPANCY_CELLS = 64  # along each axis of the cells that radiance keeps
_SHARDS_KEPT = 8  # of those that were read
_AGAIN = "delete it and run the same `polyfield fit-set` again"


@dataclass(frozen=True)
class Entry:
    """What a bank knows of an object, beside its field."""

    name: str
    label: int | None  # its row of the bank's classes
    split: str  # train, val, test, or nothing where the source does not say
    centre: tuple[float, float, float]  # of the object's cube, in its source's coordinates
    half_size: float
    quality: dict[str, float] = field(default_factory=dict)
    flagged: bool = False  # its quality is far below that of the others
    context: dict[str, Any] = field(
        default_factory=dict
    )  # of radiance: what renderers need; lengths in half sizes


@dataclass(frozen=True)
class Manifest:
    """What `bank.json` says: all that is the same for every object."""

    spec: FieldSpec  # of an object in the cube [-1, 1]^3
    objects: int
    shard_size: int  # objects of each shard but the last
    classes: tuple[str, ...]
    parts: tuple[str, ...]  # names of the parts that points belong to
    recipe: dict[str, Any]
    source: dict[str, Any]
    shards: dict[str, str] = field(default_factory=dict)  # name to SHA-256 of the file, once all are there

    def names(self) -> list[str]:
        """Return the names of all shards."""
        return [f"{k:05d}.safetensors" for k in range(-(-self.objects // self.shard_size))]

    def rows(self, shard: int) -> range:
        """Return the objects of a shard."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.objects))

    def write(self, bank: Path) -> None:
        plain = asdict(self) | {"spec": self.spec.to_json(), "format": FORMAT, "version": VERSION}
        write_json(bank / MANIFEST, plain)

    @staticmethod
    def read(bank: Path) -> Manifest:
        """Return the manifest of a bank's folder. Raises PolyfieldError where there is none, or it makes no sense."""
        path = bank / MANIFEST
        if not path.is_file():
            raise PolyfieldError(
                f"{shown(bank)} is not a bank: it has no {MANIFEST}; create one with `polyfield fit-set`"
            )
        match read_json(path):
            case {
                "format": "polyfield-bank",
                "version": "1",
                "spec": spec,
                "objects": int(objects),
                "shard_size": int(shard_size),
                "classes": list(classes),
                "parts": list(parts),
                "recipe": dict(recipe),
                "source": dict(source),
                "shards": dict(shards),
            } if objects > 0 and shard_size > 0 and all(type(n) is str for n in (*classes, *parts)):
                with naming(path):
                    read = FieldSpec.from_json(spec)
                return Manifest(
                    read, objects, shard_size, tuple(classes), tuple(parts), recipe, source, shards
                )
        raise PolyfieldError(
            f"{shown(path)}: expected an object with format {FORMAT!r}, version {VERSION!r}, and valid spec, objects, "
            "shard_size, classes, parts, recipe, source and shards; fit the bank again"
        )


@dataclass(frozen=True)
class Shard:
    """Objects of a bank, one after the other."""

    entries: tuple[Entry, ...]
    tensors: dict[str, Tensor]  # all (B, ...)

    def to_bytes(self) -> bytes:
        """Return the bytes of its file."""
        plain = json_text([asdict(entry) for entry in self.entries], "shard")
        return tensors_to_bytes(self.tensors, {"format": FORMAT, "version": VERSION, "objects": plain})

    def write(self, path: Path) -> None:
        write_bytes(path, self.to_bytes())

    @staticmethod
    def read(path: Path) -> Shard:
        """Return a shard. Raises PolyfieldError where the file is damaged or is no shard."""
        tensors, metadata = read_tensors(path)
        if (metadata.get("format"), metadata.get("version")) != (FORMAT, VERSION):
            raise PolyfieldError(f"{shown(path)} is not a shard of bank version {VERSION}; {_AGAIN}")
        found = parse_json(metadata.get("objects", "").encode(), f"{shown(path)}: objects")
        entries = tuple(_entry(data, shown(path)) for data in (found if isinstance(found, list) else [None]))
        if any(tensor.shape[:1] != (len(entries),) for tensor in tensors.values()):
            raise PolyfieldError(
                f"{shown(path)} lists {len(entries)} objects, but its tensors have a different length; {_AGAIN}"
            )
        return Shard(entries, tensors)


def shard_of(
    entries: Sequence[Entry],
    stored: Mapping[str, Tensor],
    *,
    points: Tensor,
    parts: Tensor | None = None,
    occupancy: Tensor | None = None,
) -> Shard:
    """Return a shard of stacked stored parameters and clouds (B, P, 3) in the objects' own cubes.

    parts (B, P) are the parts that points belong to; occupancy (B, 64^3 / 8) are bits of radiance's cells that are not empty.
    """
    tensors = {_FIELD + name: tensor for name, tensor in stored.items()} | {_CLOUD: points}
    if parts is not None:
        tensors[_PARTS] = parts.to(torch.uint8)
    if occupancy is not None:
        tensors[_OCCUPANCY] = occupancy
    return Shard(tuple(entries), tensors)


class Bank:
    """The fields of a folder. Rows count from 0; `rows` are any sequence of them.

    Raises PolyfieldError where the folder is no bank, or shards are missing or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest = Manifest.read(self.path)
        missing = [name for name in self.manifest.names() if not (self.path / "shards" / name).is_file()]
        if missing:
            raise PolyfieldError(
                f"{shown(self.path)}: {len(missing)} of {len(self.manifest.names())} shards are missing; "
                "run the same `polyfield fit-set` again to finish the bank"
            )
        self.classes, self.part_names = self.manifest.classes, self.manifest.parts
        self._shard = lru_cache(_SHARDS_KEPT)(self._read)

    def __len__(self) -> int:
        return self.manifest.objects

    @property
    def spec(self) -> FieldSpec:
        """The spec of every object's field in its own cube, [-1, 1]^3."""
        return self.manifest.spec

    def _read(self, index: int) -> Shard:
        name = self.manifest.names()[index]
        path = self.path / "shards" / name
        shard = Shard.read(path)
        if self.manifest.shards and sha256_of(path) != self.manifest.shards.get(name):
            raise PolyfieldError(f"{shown(path)}: its SHA-256 is not the one in {MANIFEST}; {_AGAIN}")
        if len(shard.entries) != len(self.manifest.rows(index)):
            raise PolyfieldError(
                f"{shown(path)} holds {len(shard.entries)} objects; expected {len(self.manifest.rows(index))}; {_AGAIN}"
            )
        return shard

    @cached_property
    def entries(self) -> list[Entry]:
        """What is known of every object."""
        return [entry for k in range(len(self.manifest.names())) for entry in self._shard(k).entries]

    @property
    def labels(self) -> Tensor:
        """Classes (M,) int64 of all objects, -1 where there is none."""
        return torch.tensor([-1 if entry.label is None else entry.label for entry in self.entries])

    def tensor(self, name: str, rows: Sequence[int]) -> Tensor:
        """Return a tensor of some objects (B, ...) as the shards hold it. Raises PolyfieldError where there is none."""
        size, found = self.manifest.shard_size, []
        for row in rows:
            shard = self._shard(int(row) // size)
            if name not in shard.tensors:
                source = ", from an .npz set that has the array 'parts'" if name == _PARTS else ""
                raise PolyfieldError(
                    f"{shown(self.path)}: the shards have no tensor {name!r}; fit the bank again{source}"
                )
            found.append(shard.tensors[name][int(row) % size])
        return torch.stack(found)

    def planes(self, rows: Sequence[int]) -> Tensor:
        """Return planes (B, 3, F, R, R) of the axes xy, xz, yz, the first axis along the last dimension.

        Raises PolyfieldError where the fields are no tri-planes.
        """
        if self.spec.architecture != "triplane":
            raise PolyfieldError(
                f"{shown(self.path)}: the architecture of its fields is {self.spec.architecture}; "
                "expected triplane; fit another bank"
            )
        tables = [self.tensor(f"{_FIELD}encoding.tables.{plane}", rows) for plane in range(3)]
        planes = torch.stack(tables, 1).float()  # (B, 3, R * R, F)
        nodes = round(planes.shape[2] ** 0.5)
        return planes.unflatten(2, (nodes, nodes)).movedim(-1, 2)

    def weights(self, rows: Sequence[int]) -> Tensor:
        """Return all numbers of the networks behind the tables (B, W)."""
        names = [name for name in self._shard(0).tensors if name.startswith(f"{_FIELD}trunk.")]
        return torch.cat([self.tensor(name, rows).float().flatten(1) for name in sorted(names)], 1)

    def points(self, rows: Sequence[int]) -> Tensor:
        """Return points (B, P, 3) on the shapes, in their own cubes."""
        return self.tensor(_CLOUD, rows)

    def parts(self, rows: Sequence[int]) -> Tensor:
        """Return the parts (B, P) int64 that these points belong to. Raises PolyfieldError where parts are not known."""
        return self.tensor(_PARTS, rows).long()

    def field(self, row: int) -> StoredField:
        """Return an object's field in its source's coordinates. Its `context` holds what draws it."""
        entry, shard = self.entries[row], self._shard(row // self.manifest.shard_size)
        at = row % self.manifest.shard_size
        spec = placed(self.spec, entry)
        stored = {
            name.removeprefix(_FIELD): tensor[at]
            for name, tensor in shard.tensors.items()
            if name.startswith(_FIELD)
        }
        built = build(spec)
        built.take(stored)
        source = {"bank": self.manifest.source, "name": entry.name}
        occupancy = shard.tensors.get(_OCCUPANCY)
        if occupancy is None:
            built.context = FieldContext(source=source)
            return built
        bits = np.unpackbits(occupancy[at].numpy(), count=OCCUPANCY_CELLS**3, bitorder="little")
        red, green, blue = entry.context["background"]
        built.context = FieldContext(
            background=(red, green, blue),
            step_size=entry.context["step_size"] * entry.half_size,
            cone=entry.context["cone"],
            near=entry.context["near"] * entry.half_size,
            occupancy=torch.from_numpy(bits.astype(bool)).view(1, *(OCCUPANCY_CELLS,) * 3),
            source=source,
        )
        return built


def placed(spec: FieldSpec, entry: Entry) -> FieldSpec:
    """Return the spec of an object's field in its source's coordinates: raw values stay, distances are scaled."""
    domain = Domain.around(entry.centre, (entry.half_size,) * 3)
    transform = spec.meaning.transform
    if spec.meaning.kind.output == "distance":
        transform = replace(
            transform, scale=transform.scale * entry.half_size, offset=transform.offset * entry.half_size
        )
    return replace(spec, meaning=replace(spec.meaning, domain=domain, transform=transform))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(data: Any, where: str) -> Entry:
    match data:
        case {
            "name": str(name),
            "label": int() | None as label,
            "split": str(split),
            "centre": [int() | float() as x, int() | float() as y, int() | float() as z],
            "half_size": int() | float() as half,
            "quality": dict(quality),
            "flagged": bool(flagged),
            "context": dict(context),
        } if half > 0:
            return Entry(
                name, label, split, (float(x), float(y), float(z)), float(half), quality, flagged, context
            )
    raise PolyfieldError(
        f"{where}: objects: found {data!r:.200}; expected an object with name, label, split, centre, half_size, quality, flagged "
        f"and context; {_AGAIN}"
    )
