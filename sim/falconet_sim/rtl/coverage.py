"""How much of the RTL a set of runs has used: Verilator's counts, added up by component.

The machine is a library of the kind "coverage" (:func:`falconet_sim.rtl.library.machine_library`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from falconet.isa import FalconetError

__all__ = ["Counts", "Point", "by_component", "read_points"]

_KINDS = {"line": "lines", "branch": "lines", "toggle": "toggles"}


@dataclass(frozen=True)
class Point:
    """A place that can be used: a line, a branch, or one bit of a signal in one direction.

    ``component`` is its place in the machine, as in ``detect.scan.decoder``; ``name`` says which
    one it is there, ``line`` where the Verilog has it.
    """

    component: str
    kind: str
    name: str
    line: int
    count: int


def read_points(file: Path) -> Iterator[Point]:
    """The points in a file of :meth:`SimBoard.save_coverage` (Verilator's own format)."""
    with file.open(errors="replace") as f:
        for text in f:
            if not text.startswith("C "):
                continue
            head, _, count = text.rpartition("' ")
            keys = dict(part.split("\x02", 1) for part in head.split("\x01") if "\x02" in part)
            try:
                yield Point(keys["h"].removeprefix("TOP.falconet").lstrip("."),
                            _KINDS[keys["page"].removeprefix("v_").split("/")[0]], keys["o"],
                            int(keys["l"]), int(count))
            except (KeyError, ValueError):
                raise FalconetError(f"{file}: not coverage as this Verilator writes it: "
                                    f"{text.strip()[:80]!r}") from None


@dataclass
class Counts:
    """Points that were used, and points there are, by kind: ``lines``, ``toggles``."""

    used: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    total: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def share(self, kind: str) -> float:
        """From 0 to 1; 1 where there is none."""
        return self.used[kind] / self.total[kind] if self.total[kind] else 1.0


def by_component(points: Iterator[Point], depth: int = 2) -> dict[str, Counts]:
    """Counts by component, at most ``depth`` levels below the machine, copies added up."""
    found: dict[str, Counts] = defaultdict(Counts)
    for p in points:
        path = p.component.removeprefix("machine").lstrip(".").split(".")
        # Copies are numbered: lane3, load$1.
        name = ".".join(re.sub(r"\$?\d+$", "", part) for part in path[:depth]) or "top"
        found[name].total[p.kind] += 1
        found[name].used[p.kind] += p.count > 0
    return dict(sorted(found.items()))
