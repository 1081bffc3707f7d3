"""Who may import whom (docs/architecture.md), read from the source, lazy imports included."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("falconet", "falconet_hw", "falconet_sim", "falconet_models")
STDLIB = set(sys.stdlib_module_names)

# layer: (folder, own packages it may import, foreign packages it may import; None: any)
LAYERS: dict[str, tuple[str, set[str], set[str] | None]] = {
    "isa": ("sw/falconet/isa", {"falconet.isa"}, set()),
    "compiler": ("sw/falconet/compiler", {"falconet.isa", "falconet.compiler"}, None),
    "runtime": ("sw/falconet/runtime", {"falconet.isa", "falconet.runtime"},
                {"numpy", "pynq", "cv2", "PIL", "serial"}),
    "demo": ("sw/falconet/demo",
             {"falconet.isa", "falconet.runtime", "falconet.samples", "falconet.demo"},
             {"numpy", "flask", "werkzeug", "cv2", "PIL", "pynq"}),
    "samples": ("sw/falconet/samples", {"falconet.isa", "falconet.samples"}, set()),
    "hw": ("hw/falconet_hw", {"falconet.isa", "falconet_hw"},
           {"amaranth", "amaranth_boards", "numpy"}),
    "models": ("models/falconet_models",
               {"falconet.isa", "falconet.runtime.photographs", "falconet_models"}, None),
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
    allowed = STDLIB | {"falconet", "numpy", "typer", "rich"}
    files = [ROOT / "sw/falconet/cli.py", *(ROOT / "sw/falconet/commands").rglob("*.py")]
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
        ("demo", "from falconet.commands import sources"),
        ("hw", "import onnx"),
        ("models", "import falconet_sim"),
        ("sim", "from falconet.compiler import compile_model"),
    ],
)
def test_the_rule_catches(layer: str, source: str, tmp_path: Path) -> None:
    folder = tmp_path / LAYERS[layer][0]
    folder.mkdir(parents=True)
    (folder / "bad.py").write_text(source)
    assert len(offences(layer, tmp_path)) == 1
