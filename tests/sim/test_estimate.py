"""The fast cycle model against cycles of the RTL: those recorded, and those that docs publish."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cycles import FILE, TINY, cases
from memories import MEMORIES
from programs import Assembler

from falconet.isa import Dst, Elementwise, Engine, FalconetError, Load, Mac, Segment, Store
from falconet.isa.machine.cycles import reads, steps
from falconet.runtime.profile import layer_profiles
from falconet_app.cli import main
from falconet_hw.scratchpad.banks import bank_of
from falconet_sim.rtl.ddr import DdrModel
from falconet_sim.timing.bandwidth import Bandwidth
from falconet_sim.timing.banks import read_banks
from falconet_sim.timing.estimate import estimate

RECORDED = json.loads(FILE.read_text())
PAGE = (Path(__file__).parents[2] / "docs/performance.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("memory", ["usual", "fast"])
@pytest.mark.parametrize(("kind", "bar"), [("network", 0.01), ("random", 0.05)])
def test_within_a_few_percent_of_the_rtl(memory: str, kind: str, bar: float) -> None:
    of_kind = {name: program for name, (program, _) in cases().items() if name.startswith(kind)}
    assert len(of_kind) >= 2
    for name, program in of_kind.items():
        real = RECORDED[memory][name]["cycles"]
        assert estimate(program, MEMORIES[memory]).cycles == pytest.approx(real, rel=bar), name


def test_every_published_estimate_is_within_two_percent() -> None:
    rows = re.findall(r"^\| \w+ \| [\w-]+ \| ([\d,]+) \|.*\| ([\d,]+) \| [+-][\d.]+% \|$", PAGE,
                      re.MULTILINE)
    assert len(rows) >= 3
    for estimated, real in rows:
        a, b = (int(v.replace(",", "")) for v in (estimated, real))
        assert a == pytest.approx(b, rel=0.02)


def test_the_trace_is_one_of_a_machine() -> None:
    program, _ = cases()["network 0"]
    found = estimate(program)
    start, retire = found.trace.start, found.trace.retire
    assert (retire[:-1] > start[:-1]).all() and start[-1] == found.cycles
    for engine in Engine:
        own = [i for i, ins in enumerate(program.instructions()) if ins.engine is engine]
        assert (start[own][1:] > start[own][:-1]).all()
        assert (retire[own][1:] >= retire[own][:-1]).all()
    layers = layer_profiles(program, start, retire, found.cycles)
    assert sum(layer.cycles for layer in layers) == found.cycles


def test_a_write_takes_turns_with_reads_that_wait() -> None:
    """Not behind them; before the first of them comes it has the port for itself."""
    ddr = DdrModel(refresh_us=0)
    idle, waiting, ahead = (Bandwidth(ddr) for _ in range(3))
    for memory in (waiting, ahead):
        for _ in range(16):
            read = memory.move(1000, 128)
    assert read == pytest.approx(1000 + 15 * 128 / ddr.bytes_per_cycle)
    assert idle.write(1000, 128) == 1000 + 128 / 8
    assert waiting.write(1000, 128) == pytest.approx(1000 + 3 * 128 / ddr.bytes_per_cycle)
    assert ahead.write(980, 128) == 980 + 128 / 8
    assert waiting.move(1000, 128) == pytest.approx(read + 2 * 128 / ddr.bytes_per_cycle)
    assert ahead.move(1000, 128) == pytest.approx(read + 128 / ddr.bytes_per_cycle)


def test_candidates_take_time() -> None:
    program, _ = cases()["head greedy"]
    assert estimate(program, candidates=50).cycles > estimate(program).cycles + 50 * 12


def test_a_program_that_waits_for_itself_is_refused() -> None:
    asm = Assembler(TINY, serial=False)
    asm.segments["work"] = 128
    asm.add(Load(segment=Segment.WORK, dst=Dst.SCRATCHPAD, run=1, wait_store=1))
    asm.add(Store(segment=Segment.WORK, run=1, wait_load=1))
    with pytest.raises(FalconetError, match="instruction 0 waits for one that never retires"):
        estimate(asm.program())


def test_what_lies_outside_is_not_read() -> None:
    ins = Mac(n_ob=1, n_y=4, n_x=4, n_ky=3, n_kx=3, n_ib=1, in_h=4, in_w=4, iy0=-1, ix0=-1,
              stride_y=1, stride_x=1, dil_y=1, dil_x=1)
    inside = sum(0 <= y + ky - 1 < 4 for y in range(4) for ky in range(3)) ** 2
    assert reads(ins, TINY) == pytest.approx(inside / (16 * 9))
    assert steps(ins, TINY) == TINY.weight_param_words + 16 * 9


@pytest.mark.parametrize("banks", [1, 2, 8, 16])
def test_words_are_in_the_scratchpad_s_banks(banks: int) -> None:
    """``pace`` must count on the banks of the hardware, which it does not import."""
    ins = Elementwise(n_src=1, n_b=1, n_y=1, n_x=600, a_base=65400, a_x_step=37, w_base=0)
    arch = dataclasses.replace(TINY, banks=banks, bank_words=64)
    found = read_banks(ins, arch, arch.vector_param_words, 600)
    assert found.tolist() == [bank_of((65400 + 37 * x) % (1 << 16), banks) for x in range(600)]
    assert (read_banks(ins, arch, 0, arch.vector_param_words) == -1).all()


def test_the_command_prints_layers_and_the_total(capsys: pytest.CaptureFixture[str],
                                                 tmp_path: Path) -> None:
    program, _ = cases()["network 0"]
    program.save(tmp_path / "net.flc")
    assert main(["estimate", str(tmp_path / "net.flc"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cycles"] == estimate(program).cycles
    assert sum(layer["cycles"] for layer in found["layers"]) == found["cycles"]
    page = tmp_path / "page.md"
    assert main(["estimate", str(tmp_path / "net.flc"), "--rtl", "--markdown", str(page)]) == 0
    assert "| off by |" in page.read_text() and "an estimate" in capsys.readouterr().out
