"""The machine of this board, for the page."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from falconet.demo.looking import Machine, by_steps
from falconet.isa import FalconetError, Program, board
from falconet.runtime.bitstream import load_bitstream
from falconet.runtime.boards import open_board
from falconet.runtime.linux import ROOT
from falconet.samples import HOME

__all__ = ["open_machine", "samples"]


@contextmanager
def open_machine(program: Program, name: str, bitstream: Path | None, root: Path = ROOT
                 ) -> Iterator[Machine]:
    """``program`` on the board called ``name``; its memory is given back at the end.

    Parameters
    ----------
    bitstream:
        Loaded first: by PYNQ if it is there (which needs the ``.hwh`` beside it), else by the
        kernel's FPGA manager. None: it has been loaded.
    """
    overlay: Any = None
    if bitstream is not None:
        if importlib.util.find_spec("pynq") is not None:
            from pynq import Overlay

            try:
                overlay = Overlay(str(bitstream))
            except (OSError, RuntimeError) as e:
                raise FalconetError(f"{bitstream}: PYNQ does not load it ({e}); give the bitstream "
                                    "of this board, its .hwh beside it") from None
        else:
            load_bitstream(bitstream, board(name), root)
    driver = open_board(overlay, name=name, root=root)
    driver.load(program)
    simulated = overlay is not None and hasattr(overlay.device, "run_timeout")
    patience = float(overlay.device.run_timeout) if simulated else 10.0
    arch = program.arch
    worth = "on the simulated board, not silicon" if simulated else "counted on the board"
    machine = Machine(
        program, by_steps(driver, patience), "simulated board" if simulated else f"board {name}",
        f"cycles {worth}; rates at {arch.clock_mhz:g} MHz, preset {arch.name}, without the host's "
        "part", driver.close)
    try:
        yield machine
    finally:
        machine.close()


def samples() -> dict[str, Any]:
    """The sample photographs that the wheel brought, if it brought any."""
    return {p.stem: p.read_bytes for p in sorted(HOME.glob("*.png"))}
