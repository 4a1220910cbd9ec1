"""The notebook: all of its cells run, one after the other, and its results show themselves."""

import json
import re
import sys
import types
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parent.parent / "docs" / "tour.ipynb"


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    shown: list[object] = []
    display = types.ModuleType("IPython.display")
    display.display = shown.append
    display.Video = lambda file, embed: Path(file).read_bytes()
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.chdir(tmp_path)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    names: dict[str, object] = {}
    for number, cell in enumerate(cells):
        source = re.sub(r"seconds=\d+", "seconds=4", "".join(cell["source"]))
        exec(compile(source, f"cell {number}", "exec"), names)  # noqa: S102 - the repository's own cells
    assert len(shown) == 3
    fitted = names["fitted"]
    assert fitted.figures["psnr"] > 20
    page = fitted._repr_html_()
    assert "data:image/png;base64," in page and "psnr" in page
    assert names["student"].figures["psnr_to_teacher"] > 15


def test_the_notebook_has_no_output():
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None
