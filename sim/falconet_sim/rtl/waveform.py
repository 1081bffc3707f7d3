"""The waveforms of one instruction, from the RTL, as a VCD file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from falconet.isa import FalconetError, Program
from falconet.runtime.bus import Wake
from falconet.runtime.detections import Options
from falconet.runtime.device import Int8
from falconet_sim.rtl.board import RtlDevice
from falconet_sim.rtl.library import machine_library

__all__ = ["Drawing", "draw_instruction"]


@dataclass(frozen=True)
class Drawing:
    """What was drawn: cycles [begin, end) since power-up, and those in which the instruction
    started and retired; -1 if it did not. Cycle ``c`` is at times ``2 * c`` and ``2 * c + 1``:
    before and after its rising edge."""

    file: Path
    begin: int
    end: int
    start: int
    retire: int

    def __str__(self) -> str:
        def when(cycle: int) -> str:
            return f"in cycle {cycle}, at time {2 * cycle}," if cycle >= 0 else "never"

        return (f"{self.file}: cycles {self.begin} to {self.end - 1}, two time steps each; it "
                f"starts {when(self.start)} and retires {when(self.retire).rstrip(',')}")


def _begun(program: Program, inputs: dict[str, Int8], options: Options | None,
           device: RtlDevice) -> None:
    """Every machine comes to the first cycle of the program in the same number of cycles."""
    device.load(program)
    slot = device.slot(0)
    device.stage(slot, inputs, options)
    device.board.log(writes=False, events=True)
    device.start(slot)


def draw_instruction(
    program: Program, inputs: dict[str, Int8], index: int, file: Path, *,
    options: Options | None = None, around: int = 100, most: int = 5000,
) -> Drawing:
    """Draw instruction ``index``, with ``around`` cycles on both sides, ``most`` in all.

    A first run finds when it works; a machine that can draw, many times slower, repeats it. An
    instruction that never starts is drawn where it should: after all that did.

    Raises
    ------
    FalconetError
        if the program has no such instruction, or no engine runs it.
    """
    instructions = program.instructions()
    if not 0 <= index < len(instructions):
        raise FalconetError(f"there is no instruction {index} in a program of "
                            f"{len(instructions)}; name one from 0 on")
    engine = instructions[index].engine
    if engine is None:
        raise FalconetError(f"instruction {index} ({instructions[index].mnemonic}) is run by no "
                            "engine; name another one")
    number = sum(ins.engine is engine for ins in instructions[:index])

    plain = RtlDevice(program.arch)
    _begun(program, inputs, options, plain)
    failed = False
    try:
        plain.wait()
    except FalconetError:  # it is drawn all the same
        failed = True
    events = plain.board.events()
    start, retire = (
        int(own["cycle"][number]) if len(own) > number else -1
        for own in (events[(events["engine"] == engine) & (events["kind"] == k)] for k in (0, 1)))
    last = int(events["cycle"][-1]) if len(events) else plain.board.cycle
    begin = max(0, (start if start >= 0 else last) - around)
    end = begin + most if retire < 0 else min(retire + around, begin + most)

    slow = RtlDevice(program.arch, library=machine_library(program.arch, "waveform"))
    slow.board.draw(file, begin, end)
    try:
        _begun(program, inputs, options, slow)
        while slow.board.cycle <= end and slow.board.pause() is Wake.TIMEOUT:
            pass
    except FalconetError:
        if not failed:
            raise
    return Drawing(file, begin, min(end, slow.board.cycle), start, retire)
