"""The waveforms of an instruction show it at work when the machine says that it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import Assembler, random_inputs, random_program

from falconet.isa import Engine, FalconetError, Load, Segment, preset
from falconet_sim.rtl.waveform import draw_instruction

pytestmark = pytest.mark.timeout(900)
TINY = preset("tiny")


def read_vcd(file: Path, name: str) -> dict[int, int]:
    """Values of one of the ports by the time of their change (IEEE 1364-2005, 18.2)."""
    code, now, found = None, 0, dict[int, int]()
    for line in file.read_text().splitlines():
        words = line.split()
        if words[:1] == ["$var"] and words[4] == name and code is None:
            code = words[3]
        elif line.startswith("#"):
            now = int(line[1:])
        elif line.startswith("b") and words[1] == code:
            found[now] = int(words[0][1:], 2)
    assert code is not None
    return found


def at(changes: dict[int, int], time: int) -> int:
    return changes[max(t for t in changes if t <= time)]


@pytest.mark.parametrize("index", [0, 7])
def test_an_instruction_is_drawn_while_it_works(tmp_path: Path, index: int) -> None:
    program = random_program(TINY, 3)
    engine = program.instructions()[index].engine
    drawing = draw_instruction(program, random_inputs(program, 3), index, tmp_path / "w.vcd")
    assert drawing.begin < drawing.start < drawing.retire < drawing.end
    for port, cycle in (("trace__start", drawing.start), ("trace__retire", drawing.retire)):
        changes = read_vcd(drawing.file, port)
        assert 2 * drawing.begin <= min(changes) and max(changes) < 2 * drawing.end
        assert at(changes, 2 * cycle) >> engine & 1
        assert not at(changes, 2 * cycle - 2) >> engine & 1


def test_one_that_never_starts_is_drawn_where_it_should(tmp_path: Path) -> None:
    asm = Assembler(TINY, serial=False)
    asm.segments.update(input=256, output=256)
    asm.add(Load(segment=Segment.INPUT, run=4))
    asm.add(Load(segment=Segment.INPUT, run=4, wait_mac=1))
    drawing = draw_instruction(asm.program(), {}, 1, tmp_path / "w.vcd", most=300)
    assert drawing.start == drawing.retire == -1 and drawing.end - drawing.begin == 300
    assert any(v >> Engine.LOAD & 1 for v in read_vcd(drawing.file, "trace__retire").values())


@pytest.mark.parametrize(("index", "says"), [(99, "no instruction 99"), (-1, "no instruction"),
                                             (14, "run by no engine")])
def test_what_cannot_be_drawn(tmp_path: Path, index: int, says: str) -> None:
    program = random_program(TINY, 3)
    if index > 0 and index < 99:
        index = program.n_instructions - 1
    with pytest.raises(FalconetError, match=says):
        draw_instruction(program, random_inputs(program, 3), index, tmp_path / "w.vcd")
