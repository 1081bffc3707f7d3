"""What a component keeps to itself, for the invariants of an inductive proof."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from amaranth import Module, Signal, Value
from amaranth.hdl._ast import Assign
from amaranth.lib.memory import Memory

__all__ = ["Inside"]


class Inside:
    """A component, elaborated: ``inside["x"]`` is what its ``elaborate`` calls ``x``.

    The proof adds ``module`` as a submodule in the component's place. It may read every signal,
    add a read port to a memory, and with :meth:`cut` drive a register itself.

    Attributes
    ----------
    component, module : Component, Module
    blocks : dict[str, Inside]
        The submodules, but for memories, by their names.
    """

    def __init__(self, component: Any) -> None:
        self.component = component
        component._MustUse__used = True  # through its module
        self._locals: dict[str, Any] = {}
        elaborate = type(component).elaborate.__code__

        def watch(frame: FrameType, event: str, arg: object) -> None:
            if event == "return" and frame.f_code is elaborate:
                self._locals = dict(frame.f_locals)

        outer = sys.getprofile()
        sys.setprofile(watch)
        try:
            self.module: Module = component.elaborate(None)
        finally:
            sys.setprofile(outer)
        self.module._flush()
        self.blocks: dict[str, Inside] = {}
        submodules = self.module._named_submodules
        for name, (block, where) in list(submodules.items()):
            if not isinstance(block, Memory):
                self.blocks[name] = Inside(block)
                submodules[name] = self.blocks[name].module, where

    def __getitem__(self, name: str) -> Any:
        return self._locals[name]

    def signal(self, name: str) -> Signal:
        """The only one driven here that is called ``name`` in waveforms."""
        (found,) = self.signals(name)
        return found

    def signals(self, name: str) -> list[Signal]:
        """All of that name, in the order in which they are first driven."""
        return [s for s in self.module._driving if s.name == name]

    def in_state(self, name: str) -> Value:
        """Whether the component's only state machine is in state ``name``."""
        (machine,) = self.module._generated.values()
        return machine._data["signal"] == machine.encoding[name]

    def cut(self, name: str) -> Signal:
        """The register called ``name`` in waveforms, without its driver: the proof drives it."""
        statements = self.module._statements["sync"]
        (driver,) = [s for s in statements if isinstance(s, Assign) and s.lhs.name == name]
        statements.remove(driver)
        del self.module._driving[driver.lhs]
        return driver.lhs
