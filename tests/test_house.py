"""What a reader of the sources may count on: short functions, and names that say one thing."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("hw", "sw", "sim", "models")
LONGEST = 60
"""Lines of a function, docstring included. ``elaborate`` may be longer: it is a drawing."""

FAMILIES = {"ops", "hosts"}
"""Folders of one file an operator, or one a host, of the same names in several rooms."""

SAME = {
    "__init__": "of each package",
    "__main__": "of each package that runs",
    "banks": "of the scratchpad: the memories, and what waiting for them takes",
    "boards": "the table of boards; the way in to the one that this is",
    "bus": "how a driver reaches the machine, from either end",
    "detect": "the detection of a program: planned, lowered, in the golden model and the simulator",
    "device": "what all devices do; the one that is the golden model",
    "ecp5": "the machine on that chip, and its bitstream",
    "engine": "of each room of the machine that has one",
    "hazards": "the waits that the compiler writes, and the proof that they are enough",
    "limits": "of what a stranger's file may hold, and their checks in ONNX files",
    "move": "what moves data: out of the file, and as it is stored",
    "network": "what the machine is asked to do, and how it comes of the graph",
    "operator": "what an operator is to each room that has a file for each",
    "place": "where a tensor lies, and how it gets there",
    "registers": "the map, and the block that has them",
    "rows": "of the detect engine: their bytes, and as the simulator reads them",
    "stage": "the output stage, in each form from the file to the lanes",
    "suppress": "the instruction, in hardware and in the simulator",
    "uart": "the protocol, the block, and the host's end",
    "window": "a window of the machine, and what becomes one",
}
"""Names of several files which are the same thing, seen from several rooms."""

LEFT = {"forms", "graph", "nodes", "table", "tables", "weights"}
"""Names of several files which are different things. This set only shrinks: rename a new file."""


def sources(root: Path) -> list[Path]:
    return [p for package in PACKAGES for p in sorted((root / package).rglob("*.py"))]


def long_functions(root: Path = ROOT) -> list[str]:
    found = []
    for path in sources(root):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > LONGEST and node.name != "elaborate":
                    found.append(f"{path.relative_to(root)}:{node.lineno} {node.name} has {lines} "
                                 f"lines, not {LONGEST} at most")
    return found


def is_command(path: Path) -> bool:
    """A module of the app that has the name of the command in it: users choose that name."""
    if path.parent.name != "commands":
        return False
    name = re.escape(path.stem)
    return re.search(rf"""app\.(command\(|add_typer\(\w+, name=)"{name}"\)""",
                     path.read_text(encoding="utf-8")) is not None


def repeated(root: Path = ROOT) -> dict[str, list[str]]:
    """Names of more than one file, and the files."""
    files = defaultdict(list)
    for path in sources(root):
        if path.stem.startswith("__") or not (path.parent.name in FAMILIES or is_command(path)):
            files[path.stem].append(str(path.relative_to(root)))
    return {name: paths for name, paths in files.items() if len(paths) > 1}


def test_functions_are_short() -> None:
    assert len(sources(ROOT)) > 200
    assert not long_functions()


def test_no_two_files_of_a_name() -> None:
    found = repeated()
    assert not {name: paths for name, paths in found.items() if name not in {*SAME, *LEFT}}
    assert not LEFT & set(SAME)
    gone = {*SAME, *LEFT} - set(found)
    assert not gone, f"no longer names of several files; take them off the list: {gone}"


@pytest.mark.parametrize(("lines", "name", "count"), [
    (60, "short", 0), (61, "long", 1), (61, "elaborate", 0),
])
@pytest.mark.parametrize("head", ["def", "async def"])
def test_a_long_function_is_found(
    lines: int, name: str, count: int, head: str, tmp_path: Path,
) -> None:
    (tmp_path / "sw").mkdir()
    body = "\n".join(["        x = 1"] * (lines - 1))
    (tmp_path / "sw/a.py").write_text(f"class A:\n    {head} {name}(self):\n{body}\n")
    assert len(long_functions(tmp_path)) == count


@pytest.mark.parametrize(("second", "source", "found"), [
    ("sim/iss/boxes.py", "", True),
    ("sw/runtime/more/boxes.py", "", True),
    ("sim/iss/boxes_of.py", "", False),
    ("sim/golden/ops/boxes.py", "", False),
    ("sw/commands/boxes.py", 'app.command("boxes")(boxes)', False),
    ("sw/commands/boxes.py", 'app.add_typer(group, name="boxes")', False),
    ("sw/commands/boxes.py", 'app.command("box")(boxes)', True),
])
def test_a_repeated_name_is_found(second: str, source: str, found: bool, tmp_path: Path) -> None:
    for name, text in (("sw/runtime/boxes.py", ""), (second, source)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    files = {name: set(paths) for name, paths in repeated(tmp_path).items()}
    assert files == ({"boxes": {"sw/runtime/boxes.py", second}} if found else {})
