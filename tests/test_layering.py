"""Who may import whom (docs/architecture.md), read from the source, lazy imports included."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("falconet", "falconet_app", "falconet_hw", "falconet_sim", "falconet_models")
STDLIB = set(sys.stdlib_module_names)

# layer: (folder, own packages it may import, foreign packages it may import; None: any)
LAYERS: dict[str, tuple[str, set[str], set[str] | None]] = {
    "isa": ("sw/falconet/isa", {"falconet.isa", "falconet.ending"}, set()),
    "compiler": ("sw/falconet/compiler", {"falconet.isa", "falconet.compiler"}, None),
    "runtime": ("sw/falconet/runtime", {"falconet.isa", "falconet.runtime"},
                {"numpy", "pynq", "cv2", "PIL", "serial"}),
    "demo": ("sw/falconet/demo",
             {"falconet.isa", "falconet.runtime", "falconet.samples", "falconet.demo"},
             {"numpy", "flask", "werkzeug", "cv2", "PIL", "pynq"}),
    "samples": ("sw/falconet/samples", {"falconet.isa", "falconet.samples"}, set()),
    "hw": ("hw/falconet_hw", {"falconet.isa", "falconet.ending", "falconet_hw"},
           {"amaranth", "amaranth_boards", "numpy"}),
    "models": ("models/falconet_models",
               {"falconet.isa", "falconet.compiler", "falconet.runtime.photographs",
                "falconet_models"}, None),
    "sim": ("sim/falconet_sim",
            {"falconet.isa", "falconet.runtime", "falconet_hw", "falconet_sim"}, None),
}


def imports(path: Path, package: str) -> list[tuple[int, str]]:
    """``(line, module)`` of every import in a file; ``from a import b`` gives ``a.b``."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, a.name) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: -node.level + 1 or None] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [(node.lineno, f"{module}.{a.name}") for a in node.names]
    return found


def inside(module: str, packages: set[str]) -> bool:
    return any(module == p or module.startswith(p + ".") for p in packages)


def offences(layer: str, root: Path = ROOT) -> list[str]:
    folder_name, own, foreign = LAYERS[layer]
    folder = root / folder_name
    found = []
    for path in sorted(folder.rglob("*.py")):
        parents = folder_name.split("/")[1:]
        package = ".".join([*parents, *path.parent.relative_to(folder).parts])
        for line, module in imports(path, package):
            top = module.split(".")[0]
            if top in OURS:
                bad = not inside(module, own)
            else:
                bad = foreign is not None and top not in STDLIB and top not in foreign
            if bad:
                found.append(f"{path.relative_to(root)}:{line} imports {module}")
    return found


@pytest.mark.parametrize("layer", sorted(LAYERS))
def test_layer_imports_only_what_it_may(layer: str) -> None:
    assert (ROOT / LAYERS[layer][0]).is_dir()
    assert not offences(layer)


def test_a_room_asks_for_the_host_in_one_place() -> None:
    """Everybody else asks the room's table, so that a host is a file a room."""
    tables = {"sw/falconet/isa/machine/boards.py", "sw/falconet/runtime/hosts/__init__.py",
              "hw/falconet_hw/board/__init__.py", "sim/falconet_sim/hosts/__init__.py"}
    asking = {path.relative_to(ROOT).as_posix()
              for folder in ("sw", "hw", "sim", "models")
              for path in sorted((ROOT / folder).rglob("*.py"))
              if any(isinstance(node, ast.Name) and node.id == "Host"
                     for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))}
    assert asking == tables


def circles(files: dict[str, tuple[Path, str]]) -> list[list[str]]:
    """Modules that import each other in the end: strongly connected ones, more than one or itself.

    ``files``: module -> file and package. Lazy imports and those under TYPE_CHECKING count; that a
    module's packages are imported before it does not.
    """
    graph: dict[str, set[str]] = {}
    for module, (path, package) in files.items():
        found = {name for _, name in imports(path, package)}
        graph[module] = {n if n in files else n.rpartition(".")[0] for n in found} & set(files)
    while bare := {m for m, others in graph.items() if not others}:  # in no circle
        graph = {m: others - bare for m, others in graph.items() if m not in bare}
    reach = {m: _reached(graph, m) for m in graph}
    found_circles = {tuple(sorted({m} | {n for n in reach[m] if m in reach[n]}))
                     for m in graph if m in reach[m]}
    return [list(c) for c in sorted(found_circles)]


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    left = list(graph[start])
    while left:
        module = left.pop()
        if module not in seen:
            seen.add(module)
            left += graph[module]
    return seen


def modules(root: Path) -> dict[str, tuple[Path, str]]:
    """Every module of ours: its file and the package that relative imports in it count from."""
    found = {}
    for top in OURS:
        for folder in root.glob(f"*/{top}"):
            for path in folder.rglob("*.py"):
                parts = path.relative_to(folder.parent).with_suffix("").parts
                package = ".".join(parts[:-1])
                found[package if parts[-1] == "__init__" else ".".join(parts)] = path, package
    return found


def test_no_modules_import_each_other() -> None:
    files = modules(ROOT)
    assert len(files) > 200 and "falconet.compiler.check" in files
    assert not circles(files)


@pytest.mark.parametrize("late", [
    "from falconet.b import f", "import falconet.b", "from .b import f", "from . import b",
    "def g():\n    from falconet.b import f",
    "if TYPE_CHECKING:\n    from falconet.b import f",
])
def test_circles_are_found(late: str, tmp_path: Path) -> None:
    folder = tmp_path / "sw/falconet"
    folder.mkdir(parents=True)
    for name, text in (("__init__", ""), ("a", late), ("b", "from falconet import c"),
                       ("c", "from falconet.a import f"), ("d", "import falconet.a")):
        (folder / f"{name}.py").write_text(text)
    assert circles(modules(tmp_path)) == [["falconet.a", "falconet.b", "falconet.c"]]
    (folder / "c.py").write_text("")
    assert circles(modules(tmp_path)) == []


def top_level_imports(path: Path) -> set[str]:
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {a.name.split(".")[0] for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_the_runtime_needs_numpy_alone() -> None:
    for path in (ROOT / "sw/falconet/runtime").rglob("*.py"):
        assert top_level_imports(path) <= STDLIB | {"falconet", "numpy"}, path


def test_command_line_is_lazy() -> None:
    """``falconet --help`` must work with numpy, typer and rich alone."""
    allowed = STDLIB | {"falconet", "falconet_app", "numpy", "typer", "rich"}
    files = [ROOT / "sw/falconet_app/cli.py", *(ROOT / "sw/falconet_app/commands").rglob("*.py")]
    assert len(files) > 20
    for path in files:
        assert top_level_imports(path) <= allowed, path


def test_modules_of_tests_have_names_of_their_own() -> None:
    """Each folder of tests is on the path of imports: of two of a name, the first one wins."""
    files = [p for p in (ROOT / "tests").rglob("*.py")
             if not p.name.startswith(("test_", "__", "conftest"))]
    seen: dict[str, Path] = {}
    for path in files:
        assert path.stem not in STDLIB, path
        assert seen.setdefault(path.stem, path) == path


@pytest.mark.parametrize(
    ("layer", "source"),
    [
        ("isa", "import numpy"),
        ("isa", "def f():\n    from falconet.runtime import device"),
        ("compiler", "from falconet import runtime"),
        ("runtime", "import falconet.compiler.graph"),
        ("runtime", "from ..compiler import graph"),
        ("runtime", "import onnx"),
        ("demo", "from falconet_app.commands import sources"),
        ("hw", "import onnx"),
        ("models", "import falconet_sim"),
        ("sim", "from falconet.compiler import compile_model"),
        ("sim", "from falconet_app.commands import pages"),
    ],
)
def test_the_rule_catches(layer: str, source: str, tmp_path: Path) -> None:
    folder = tmp_path / LAYERS[layer][0]
    folder.mkdir(parents=True)
    (folder / "bad.py").write_text(source)
    assert len(offences(layer, tmp_path)) == 1
