"""The public surface: what `import polyfield` gives, how fast, and that every example runs."""

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import polyfield
from polyfield.demo.scenes import RECIPE, make_scene

ROOT = Path(__file__).parent.parent
FLOORS = ["files", "kernels", "cameras", "fields", "data", "rendering", "demo", "fitting", "export", "api"]
SOURCES = [ROOT / "src/polyfield/__init__.py", ROOT / "src/polyfield/progress.py"]
SOURCES += [path for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))]
EXAMPLES = [path for path in SOURCES if ">>> " in path.read_text()]
SLOW = {"api/fit.py", "api/convert.py", "api/edit.py", "api/evaluate.py", "api/render.py"}  # these fit


@pytest.fixture(autouse=True)
def small_demo(tmp_path_factory, monkeypatch):
    """The demo scene in a few tiny views, in a cache of its own."""
    cache = tmp_path_factory.getbasetemp() / "small-demo"
    if not cache.exists():
        make_scene(cache / f"demo-still-{RECIPE}", views=8, test_views=2, size=20)
    monkeypatch.setenv("POLYFIELD_CACHE", str(cache))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[1:] if parts[0] == "src" else ("polyfield", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_every_public_name_is_there_and_documented():
    assert set(polyfield.__all__) == {*polyfield._MODULES, "PolyfieldError"}
    for name in polyfield.__all__:
        value = getattr(polyfield, name)
        assert name in dir(polyfield)
        if callable(value):
            assert value.__doc__ and len(value.__doc__) > 30, name
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        polyfield.fitt  # noqa: B018


@pytest.mark.parametrize(
    "name",
    [
        "Cameras",
        "Domain",
        "FieldContext",
        "FieldSpec",
        "Meaning",
        "Term",
        "ValueTransform",
        "create",
        "evaluate",
        "fit",
        "load",
        "quiet",
        "render",
        "renderer",
        "resume",
        "save",
    ],
)
def test_every_public_function_and_record_has_an_example(name):
    assert ">>> " in getattr(polyfield, name).__doc__


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=pytest.mark.slow if str(path.relative_to(ROOT)) in SLOW else [])
        for path in EXAMPLES
    ],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_examples_in_docstrings_run(path):
    module = importlib.import_module(module_of(path))
    found = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0 and found.failed == 0


@pytest.mark.slow
def test_the_python_example_of_the_readme_runs(capsys, tmp_path, monkeypatch):
    """As it is, except for the length of the fit and the size of the demo scene."""
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert "seconds=60" in code
    exec(compile(code.replace("seconds=60", "steps=5"), "README.md", "exec"), {})  # noqa: S102
    assert "tensor" in capsys.readouterr().out and len(list((tmp_path / "runs").iterdir())) == 1


def test_importing_is_fast_and_loads_no_torch():
    code = (
        "import time; start = time.perf_counter(); import polyfield; took = time.perf_counter() - start; "
        "import sys; print(took, 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
        for _ in range(3)
    ]
    found = [run.stdout.split() for run in runs]
    assert all(rest == ["False", "False"] for _, *rest in found)
    assert min(float(took) for took, *_ in found) < 0.3


def test_a_fit_loads_no_compiler():
    """Importing torch._dynamo takes a second. A clamp on the meta device does it."""
    code = (
        "import sys, tempfile, polyfield\nwith polyfield.quiet(), tempfile.TemporaryDirectory() as folder:\n"
        "    polyfield.fit('demo', steps=2, downscale=4, out=f'{folder}/run')\n"
        "print('torch._dynamo' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout == "False\n"


def test_the_function_is_not_hidden_by_a_module():
    """`polyfield.fit` and `polyfield.render` stay functions whatever has been imported."""
    importlib.import_module("polyfield.fitting.fit")
    importlib.import_module("polyfield.api.fit")
    assert callable(polyfield.fit) and callable(polyfield.render) and callable(polyfield.evaluate)
