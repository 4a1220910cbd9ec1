"""An architecture with its own trunk that places its structure: its life from the source to a file."""

import numpy as np
import pytest
import torch

import polyfield
from polyfield.data.meshes import Mesh
from polyfield.data.pictures import Picture
from polyfield.data.readers import open_scene
from polyfield.data.volumes import Volume
from polyfield.fields.registry import ARCHITECTURES
from polyfield.fitting.points import shape_points
from polyfield.fitting.runs.config import FitConfig
from polyfield.fitting.tasks import scene_task
from polyfield.fitting.tasks.picture_task import PictureTask
from polyfield.fitting.tasks.scene_task import SceneTask
from polyfield.fitting.tasks.shape_task import ShapeTask
from polyfield.fitting.tasks.volume_task import VolumeTask
from polyfield.progress import silent


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "placed", "placed_architecture")


def config(signal: str, steps: int = 4) -> FitConfig:
    return FitConfig(
        "x", "placed", steps=steps, signal=signal, device="cpu", options={"kernels": 64, "width": 16}
    )


def picture() -> PictureTask:
    """Flat, but for noise in the upper left quarter."""
    values = np.full((64, 64, 3), 100, np.uint8)
    values[:32, :32] = np.random.Generator(np.random.Philox(1)).integers(0, 255, (32, 32, 3))
    return PictureTask(Picture("noise", values, False, 255.0, "a picture", "00"), 1)


def volume() -> VolumeTask:
    """Empty, but for a block in one corner."""
    values = np.zeros((16, 16, 16, 1), np.float32)
    values[2:6, 2:6, 2:6] = 1
    return VolumeTask(Volume("block", values, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), "a volume", (), "00"))


def octahedron() -> ShapeTask:
    corners = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
    faces = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    return ShapeTask.of_mesh(Mesh("octahedron", corners, faces, None, "a mesh", (), "00"), "sdf")


def placed(task, signal: str, **options):
    fit = task.begin(config(signal), silent, **options)
    return fit, fit.field.encoding.centres


class TestWhereItIsPlaced:
    def test_in_a_picture_by_contrast(self):
        _, centres = placed(picture(), "image")
        assert (centres < 0.53).all()

    def test_in_a_volume_by_contrast(self):
        _, centres = placed(volume(), "volume")
        assert (centres < 7 / 16).all() and (centres > 1 / 16).all()

    def test_at_a_shape_near_its_surface(self, monkeypatch):
        monkeypatch.setattr(shape_points, "POOL", 4000)
        monkeypatch.setattr(shape_points, "_AT_ONCE", 4000)
        task = octahedron()
        _, centres = placed(task, "sdf")
        x = task.meaning.domain.from_unit(centres)
        assert ((x.abs().sum(1) - 1).abs() / 3**0.5 < 0.1).float().mean() > 0.9

    @pytest.mark.slow
    def test_in_a_scene_by_a_first_fit(self, scene, monkeypatch):
        monkeypatch.setattr(scene_task, "_FIRST_FIT", 100)
        task = SceneTask(open_scene(scene))
        _, centres = placed(task, "radiance")
        # What is there lies within 1.3 of the middle; the domain reaches beyond.
        x = task.meaning.domain.from_unit(centres)
        assert (x.norm(dim=1) < 1.3).float().mean() > 0.8


class TestItsLife:
    def test_a_resumed_fit_is_not_placed_again(self, monkeypatch):
        task = picture()
        fit, centres = placed(task, "image")
        fit.step()
        tensors, state = fit.tensors(), fit.state()
        monkeypatch.setattr(task, "importance", lambda *_: pytest.fail("placed again"))
        again, other = placed(task, "image", resumed=True)
        assert not torch.equal(other, centres)
        again.restore(tensors, state)
        assert torch.equal(again.field.encoding.centres, centres)

    def test_what_it_places_is_prepared_time(self):
        assert picture().begin(config("image"), silent).prepare_seconds > 0

    @pytest.mark.slow
    def test_it_goes_from_a_source_to_a_file_and_back(self, tmp_path):
        from PIL import Image

        Image.fromarray(picture().picture.values).save(tmp_path / "noise.png")
        with polyfield.quiet():
            result = polyfield.fit(
                tmp_path / "noise.png", field="placed", steps=30, options={"width": 16}, out=tmp_path / "run"
            )
            resumed = polyfield.resume(result.run)
        assert result.figures["psnr"] == resumed.figures["psnr"] > 5
        field = polyfield.load(result.run)
        assert field.spec.architecture == "placed" and (field.encoding.centres < 0.53).all()
        [drawn] = polyfield.renderer(field).flat(None)
        assert drawn.shape == (64, 64, 3)
