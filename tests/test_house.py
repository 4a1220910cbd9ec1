"""The house: imports go downward only, light floors stay light, and every file says what it is."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = [
    "files",
    "kernels",
    "cameras",
    "fields",
    "data",
    "rendering",
    "demo",
    "fitting",
    "distill",
    "process",
    "export",
    "viewer",
    "api",
    "apps",
]  # from the bottom
LIGHT = {"files", "kernels", "cameras", "fields", "rendering", "fitting", "distill", "process"}
ALLOWED_IN_LIGHT = {"torch", "numpy", "safetensors", "polyfield"} | set(sys.stdlib_module_names)
LONGEST = 400  # lines of a file
FILES = [path for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))]
NATIVE = [
    path for path in sorted((ROOT / "kernels" / "native").iterdir()) if path.suffix in {".cpp", ".hpp", ".h"}
]


def imported(tree: ast.AST) -> list[tuple[str, bool]]:
    """Every imported module by its full name, and whether the import stands at module level and always runs."""
    found = []
    for parent in ast.walk(tree):
        for node in ast.iter_child_nodes(parent):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, "relative import"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(name, isinstance(parent, ast.Module)) for name in names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downward_only(path):
    floor = path.relative_to(ROOT).parts[0]
    below = {f"polyfield.{name}" for name in FLOORS[: FLOORS.index(floor) + 1]}
    for name, _ in imported(ast.parse(path.read_text())):
        parts = name.split(".")
        if parts[0] == "polyfield" and len(parts) > 1 and parts[1] in FLOORS:
            assert ".".join(parts[:2]) in below, f"{path}: imports {name} from a floor above"


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.relative_to(ROOT).parts[0] in LIGHT], ids=lambda p: p.name
)
def test_light_floors_import_only_torch_numpy_and_safetensors(path):
    # That folder is imported only where it is used, and triton with it.
    allowed = ALLOWED_IN_LIGHT | ({"triton"} if path.parent == ROOT / "kernels" / "cuda" else set())
    for name, at_module_level in imported(ast.parse(path.read_text())):
        if at_module_level:
            assert name.split(".")[0] in allowed, f"{path}: imports {name} at module level"


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("polyfield", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return one circle of a graph of imports, or an empty list."""
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module in done:
            return []
        for other in sorted(graph.get(module, ())):
            if found := visit(other, [*trail, module]):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(graph) if (found := visit(module, []))), [])


def test_no_import_is_part_of_a_circle():
    """Imports inside functions and under TYPE_CHECKING count too."""
    modules = {_module(path): path for path in FILES}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        names = [name for name, _ in imported(ast.parse(path.read_text()))]
        # `from package import name` imports the module of that name, if there is one, else the package.
        found = {name if name in modules else name.rpartition(".")[0] for name in names}
        graph[module] = {name for name in found & modules.keys() if name != module}
    assert cycle(graph) == []
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_the_checks_see_what_they_should():
    """The parser that the tests above rest on finds imports inside functions and tells them from those outside."""
    tree = ast.parse("import a.b\nfrom c import d\ndef f():\n    from polyfield.apps import verbs")
    assert imported(tree) == [("a.b", True), ("c.d", True), ("polyfield.apps.verbs", False)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_says_what_it_is_and_stays_short(path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"
    assert text.count("\n") <= LONGEST, f"{path} has {text.count(chr(10))} lines"
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}


@pytest.mark.parametrize("path", NATIVE, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_native_source_stays_short(path):
    text = path.read_text()
    assert text.count("\n") <= LONGEST, f"{path} has {text.count(chr(10))} lines"


def test_floors_are_links_to_the_folders_at_the_top():
    for floor in FLOORS:
        link = ROOT / "src" / "polyfield" / floor
        assert link.is_symlink() and link.resolve() == ROOT / floor
