"""What a pin is called in the Python source: its register, and the file that assigns it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from falconet_hw.build.timing.graph import Pin

__all__ = ["Names"]

_SOURCE = re.compile(r"([^|]+\.py):(\d+)")
_BITS = ("FDRE", "FDSE", "FDCE", "FDPE", "SRL16E", "SRLC32E")
_OURS = "falconet_hw/"


def _public(name: str) -> bool:
    return not name.startswith("$")


class Names:
    """Of a flattened netlist. Names that yosys made up begin with ``$``."""

    def __init__(self, module: Mapping[str, Any]) -> None:
        self._cells = module["cells"]
        self._names: dict[int, str] = {}
        self._sources: dict[str, str] = {}
        for name, net in module["netnames"].items():
            self._sources[name] = net["attributes"].get("src", "")
            for bit in net["bits"]:
                old = self._names.get(bit)
                if old is None or self._rank(name) < self._rank(old):
                    self._names[bit] = name

    @staticmethod
    def _rank(name: str) -> tuple[bool, bool, int, int, str]:
        """A name somebody gave, deep in the hierarchy, short."""
        return not _public(name), "$signal" in name, -name.count("."), len(name), name

    def net(self, bit: int) -> str:
        return self._names.get(bit, f"net {bit}")

    def kind(self, cell: str) -> str:
        """Type of a cell; ``port`` for none."""
        return str(self._cells[cell]["type"]) if cell else "port"

    def register(self, pin: Pin) -> str:
        """What a path starts or ends in: a register or memory by its hierarchical name, a port."""
        cell, port, _ = pin
        if not cell:
            return port
        named = min((self.net(bit) for bit in self._outputs(cell)), key=self._rank, default=cell)
        if _public(cell) and not (self.kind(cell) in _BITS and _public(named)):
            return re.sub(r"(\.\d+)+$", "", cell)
        return named

    def file(self, pin: Pin) -> str:
        """Python file of this repository that assigns it, or that its module is from; "" if none
        is known."""
        cell = pin[0]
        if not cell:
            return ""
        names = [self.net(bit) for bit in self._outputs(cell)]
        of_cell = self._cells[cell]["attributes"].get("src", "")
        named = [self._sources.get(name, "") for name in names if _public(name)]
        return self._first([of_cell, *named, *self._modules([cell, *names])])

    def _outputs(self, cell: str) -> list[int]:
        of = self._cells[cell]
        return [bit for pin, bits in of["connections"].items()
                if of["port_directions"][pin] == "output" for bit in bits if isinstance(bit, int)]

    def _modules(self, names: Iterable[str]) -> Iterable[str]:
        for name in names:
            path = name.split(".")
            for n in range(len(path) - 1, 0, -1):
                scope = self._cells.get(".".join(path[:n]), {})
                if scope.get("type") == "$scopeinfo":
                    yield scope["attributes"].get("module_src", "")

    @staticmethod
    def _first(sources: Iterable[str]) -> str:
        for source in sources:
            for found in _SOURCE.finditer(source):
                file = str(found[1])
                if file.startswith(_OURS):
                    return file[len(_OURS):]
        return ""
