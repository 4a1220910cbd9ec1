"""Forecasts of memory, warming, and what a GPU does not have: before any fit begins."""

import subprocess
import sys

import pytest
from ball_scene import BOX, new_fit

from polyfield.data.readers import open_scene
from polyfield.demo.scenes import make_scene
from polyfield.errors import PolyfieldError
from polyfield.fields import FieldSpec, create
from polyfield.fitting.runs.config import FitConfig
from polyfield.fitting.tasks import task
from polyfield.fitting.tasks.memory import predict, predict_on_gpu
from polyfield.fitting.tasks.scene_task import SceneTask
from polyfield.fitting.warm import warm
from polyfield.rendering.fused import FusedField


class TestMemory:
    def test_a_prediction_grows_with_what_is_asked(self):
        small, large = (
            predict(FieldSpec.of("hashgrid", "radiance", BOX, entries=1 << size), pixels=10**6, fused=True)
            for size in (14, 20)
        )
        assert small.source == large.source == 8e6
        assert large.rest - small.rest == pytest.approx(18 * 4 * (1 << 20) * 6, rel=0.2)

    @pytest.mark.slow
    def test_it_covers_what_a_fit_takes(self):
        """Resident memory of a process that fits, beside the prediction: neither above it nor a fraction of it."""
        code = (
            "import sys; sys.path.insert(0, 'tests'); import ball_scene as t\n"
            "fit = t.new_fit(60, spec=t.FieldSpec.of('hashgrid', 'radiance', t.BOX))\n"
            "[fit.step() for _ in range(60)]\n"
            "print(next(line for line in open('/proc/self/status') if 'VmHWM' in line).split()[1])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        predicted = predict(FieldSpec.of("hashgrid", "radiance", BOX), pixels=6 * 40 * 32, fused=True)
        assert 0.4 * predicted.rest < int(done.stdout) * 1024 < predicted.rest

    def test_too_much_is_refused_before_it_is_taken(self, monkeypatch, tmp_path):
        make_scene(tmp_path / "scene", kind="still", views=2, test_views=1, size=16)
        scene = open_scene(tmp_path / "scene")
        config = FitConfig("demo", "hashgrid", 1, None, 1, {}, 0, "cpu", 30.0)
        assert SceneTask(scene).memory(config).rest > 0
        monkeypatch.setattr(task, "available", lambda: 1e8)
        with pytest.raises(
            PolyfieldError, match=r"needs about .*, but 0.1 GB are free on cpu; use a larger --downscale"
        ):
            SceneTask(scene).memory(config)

    def test_the_size_that_fits_is_named_and_does(self, monkeypatch, tmp_path):
        make_scene(tmp_path / "scene", kind="still", views=2, test_views=1, size=16)
        scene = open_scene(tmp_path / "scene")

        def config(entries: int) -> FitConfig:
            return FitConfig("demo", "hashgrid", 1, None, 1, {"entries": entries}, 0, "cpu", 30.0)

        free = SceneTask(scene).memory(config(1 << 17)).rest + 1
        monkeypatch.setattr(task, "available", lambda: free)
        with pytest.raises(PolyfieldError, match=r"on cpu; use --options entries 131072, which fits"):
            SceneTask(scene).memory(config(1 << 24))
        SceneTask(scene).memory(config(1 << 17))
        with pytest.raises(PolyfieldError):
            SceneTask(scene).memory(config((1 << 17) + 16))

    @pytest.mark.parametrize("deterministic", [False, True])
    def test_a_gpu_has_its_own_prediction(self, deterministic):
        spec = FieldSpec.of("hashgrid", "radiance", BOX)
        options = {"pixels": 64_000_000, "deterministic": deterministic}
        fused, steps = (predict_on_gpu(spec, fused=fused, **options) for fused in (True, False))
        parameters = create(spec).parameter_count()
        assert fused.source == steps.source == 8 * 64e6 and steps.rest > 1e9
        assert 18 * parameters < fused.rest < 4e9  # a scene of 100 photographs on a GPU of 8 GB


@pytest.mark.slow
def test_warming_fits_and_draws_both_kinds_of_field():
    done: list[float] = []
    warm("cpu", lambda share, doing="": done.append(share), levels=2, entries=1 << 8, width=16)
    assert done[-1] == 1 and done == sorted(done) and len(done) == 2 * 64


def test_a_gpu_fit_is_deterministic_only_where_its_kernels_are(monkeypatch):
    monkeypatch.setattr(FusedField, "of", lambda field: None)
    with pytest.raises(
        PolyfieldError, match="--deterministic: the kernels in use on meta have no deterministic training"
    ):
        new_fit(device="meta", deterministic=True)
