"""Pack a scene into one small file, for machines with only torch, numpy and safetensors: `python -m benchmarks.pack SCENE FILE`.

Pictures are 8-bit premultiplied RGBA. Each pixel is stored as the difference to its left neighbour, compressed by zlib.
"""

from __future__ import annotations

import json
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from polyfield.cameras.cameras import Cameras
from polyfield.fields import Domain


@dataclass(frozen=True)
class PackedScene:
    """Some views of a scene: the training views first, then test views."""

    cameras: Cameras
    images: list[np.ndarray]  # (H, W, 4) uint16, premultiplied
    train: int  # how many of them are for training
    domain: Domain
    near: float
    background: tuple[float, float, float]


def pack(source: str, path: Path, *, downscale: int = 1, test_views: int = 8) -> None:
    """Write all training views of a scene and some of its test views."""
    from polyfield.data.readers import open_scene

    scene = open_scene(Path(source), downscale=downscale)
    tests = scene.test[:: max(len(scene.test) // test_views, 1)][:test_views]
    views = [*scene.train, *tests]
    tensors = {f"image.{place}": _squeezed(scene.images[view]) for place, view in enumerate(views)}
    facts = {
        "cameras": scene.cameras[views].to_json(),
        "train": len(scene.train),
        "domain": scene.domain.to_json(),
        "near": scene.near,
        "background": list(scene.background),
    }
    save_file(tensors, path, metadata={"scene": json.dumps(facts)})


def _squeezed(image: np.ndarray) -> torch.Tensor:
    bytes_ = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    left = np.concatenate((np.zeros_like(bytes_[:, :1]), bytes_[:, :-1]), 1)
    planes = np.ascontiguousarray((bytes_ - left).transpose(2, 0, 1))  # modulo 256
    return torch.frombuffer(bytearray(zlib.compress(planes.tobytes(), 9)), dtype=torch.uint8)


def unpack(path: Path) -> PackedScene:
    """What `pack` wrote."""
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["scene"])
        cameras = Cameras.from_json(facts["cameras"])
        images = []
        for view, (width, height) in enumerate(cameras.sizes.tolist()):
            data = zlib.decompress(file.get_tensor(f"image.{view}").numpy().tobytes())
            planes = np.frombuffer(data, np.uint8).reshape(4, height, width).transpose(1, 2, 0)
            images.append(np.cumsum(planes, axis=1, dtype=np.uint8).astype(np.uint16) * 257)
    domain = Domain.from_json(facts["domain"])
    red, green, blue = facts["background"]
    return PackedScene(cameras, images, facts["train"], domain, facts["near"], (red, green, blue))


if __name__ == "__main__":
    pack(sys.argv[1], Path(sys.argv[2]))
    print(f"{sys.argv[2]}: {Path(sys.argv[2]).stat().st_size / 1e6:.1f} MB")
