"""Moving scenes: time goes from photographs to codes, occupancy, pictures and files."""

import copy

import pytest
import torch

import polyfield
from polyfield.data.readers import open_scene
from polyfield.demo.scenes import make_scene
from polyfield.fields import Domain, Meaning, Traits
from polyfield.fitting.objective import Moment
from polyfield.fitting.rays.grid import KeptGrid
from polyfield.fitting.runs.config import FitConfig
from polyfield.fitting.runs.run import Run
from polyfield.fitting.schedule import Length
from polyfield.fitting.tasks.scene_task import SceneTask
from polyfield.progress import silent
from polyfield.rendering.radiance.sampling import Lattice

SMALL = {"levels": 3, "entries": 1 << 12, "coarsest": 8, "finest": 32, "width": 16}


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes") / "moving"
    make_scene(folder, kind="moving", views=12, test_views=3, size=24)
    return folder


def config(steps: int = 40) -> FitConfig:
    return FitConfig("x", "hashgrid", steps=steps, options=SMALL, device="cpu")


class Walker:
    """A ball that goes from one side of the box to the other."""

    meaning = Meaning.of("radiance", Domain("box", (0.0,) * 3, (1.0,) * 3), moving=True)
    traits = Traits()
    device = torch.device("cpu")

    def __init__(self, radius: float = 0.2, share: float = 1.0) -> None:
        """It goes in a share of the time."""
        self.radius, self.share = radius, share

    def raw(self, points):
        centre = torch.zeros_like(points.x)
        centre[:, 0] = ((points.times - 0.5) / self.share + 0.5).clamp(0, 1) * 1.4 - 0.7
        return torch.where((points.x - centre).norm(dim=1) < self.radius, 5.0, -15.0)

    def density(self, raw):
        return raw.exp()


def test_occupancy_keeps_every_place_that_something_goes_through():
    kept = KeptGrid(Walker(), 0, None)
    for step in range(16, 16 * 40, 16):
        kept.update(Moment(step, 0.0, Length(steps=10**6)), Lattice(0.02, 0.0, 0.0), None)
    occupied, n = kept.grid.occupied[0], kept.grid.resolution
    x = (torch.arange(n) + 0.5) * 2 / n - 1
    along = occupied[n // 2, n // 2]
    assert along[(x.abs() < 0.8)].all() and not along[x.abs() > 0.97].any()
    assert not occupied[:2].any() and not occupied[:, :2].any()


def test_occupancy_keeps_most_of_the_path_of_what_is_small_and_fast():
    """Each cell is full in a hundredth of the time."""
    kept = KeptGrid(Walker(0.05, 0.2), 0, None)
    for step in range(16, 16 * 60, 16):
        kept.update(Moment(step, 0.0, Length(steps=10**6)), Lattice(0.02, 0.0, 0.0), None)
    occupied, n = kept.grid.occupied[0], kept.grid.resolution
    x = (torch.arange(n) + 0.5) * 2 / n - 1
    assert occupied[n // 2, n // 2][x.abs() < 0.68].float().mean() > 0.9


def test_a_scene_with_times_gets_a_moving_field(moving):
    task = SceneTask(open_scene(moving))
    assert task.meaning.moving
    fit = task.begin(config(), silent)
    assert fit.field.encoding.factors()[0][0].axes == (0, 1, 2, 3)
    assert fit.objective.fused is not None


def test_test_views_beyond_the_training_times_are_counted_apart(moving):
    scene = open_scene(moving)
    scene.cameras.times[list(scene.train)] = torch.linspace(0.25, 0.75, len(scene.train))
    task = SceneTask(scene)
    fit = task.begin(config(1), silent)
    found = task.measure(fit.field, task.context(fit), silent)
    assert scene.cameras.times[list(scene.test)].tolist() == [0.0, 0.5, 1.0]
    assert found.figures["views"] == 3 and found.figures["views_within_times"] == 1
    assert found.figures["psnr_within_times"] == found.figures["psnr_of_views"][1]
    assert "over the 1 test views within the training views' time range" in found.summary


def test_it_goes_on_to_the_byte(moving):
    task = SceneTask(open_scene(moving))
    whole, half = task.begin(config(), silent), task.begin(config(), silent)
    while whole.progress < 1:
        whole.step()
    while half.steps < 20:
        half.step()
    tensors, state = copy.deepcopy(half.tensors()), copy.deepcopy(half.state())
    again = task.begin(config(), silent, resumed=True)
    again.restore(tensors, state)
    while again.progress < 1:
        again.step()
    assert all(torch.equal(tensor, again.tensors()[name]) for name, tensor in whole.tensors().items())


@pytest.mark.slow
@pytest.mark.parametrize("field, options", [("hashgrid", SMALL), ("kplanes", {"finest": 24, "coarsest": 12})])
def test_it_learns_to_move(moving, tmp_path, field, options):
    """Pictures of one view differ with the time, as the photographs do; those that it is fitted to are near them."""
    with polyfield.quiet():
        result = polyfield.fit(moving, field=field, steps=300, options=options, out=tmp_path / "run")
    records, _ = Run.open(result.run).metrics()
    assert sum(record["psnr"] for record in records[-5:]) / 5 > 18 and result.figures["psnr"] > 13
    fitted = polyfield.load(result.run)
    assert fitted.meaning.moving
    renderer, cameras = polyfield.renderer(fitted), open_scene(moving).cameras[[0, 0]]
    cameras.times[:] = torch.tensor([0.0, 0.5])
    early, late = (renderer.picture(cameras, view) for view in range(2))
    assert (early - late).abs().max() > 0.1
    with polyfield.quiet():
        assert polyfield.render(result.run, frames=2, size=(16, 16))["frames"] == 2
        # An orbit in one place: only the time differs.
        for name, time in (("early", 0.0), ("late", 0.5), ("moving", None)):
            polyfield.render(result.run, frames=1, size=(24, 24), time=time, out=tmp_path / name)
    shown = {name: (tmp_path / name / "0000.png").read_bytes() for name in ("early", "late", "moving")}
    assert shown["early"] == shown["moving"] != shown["late"]
