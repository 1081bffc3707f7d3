"""The detect engine on whole programs: their LOADs and STOREs are played by the bench."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import cocotb
import numpy as np
import pytest
from bench import run, settings
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge
from heads import random_head
from programs import detection_program
from same import same_detections

from falconet.isa import Arch, Dst, Engine, Instruction, Load, Mark, Program, Segment, Store, preset
from falconet.runtime.detections import Detections, Options, pack_options, unpack_detections
from falconet.runtime.tensors import pack_input
from falconet_hw.detect.engine import DetectEngine
from falconet_sim.golden.detect import detect_all

LATENCY = 4
OTHERS = [d for d in Dst if d is not Dst.DETECT]


class EngineBench:
    """The engine's surroundings; one call of ``cycle`` is one clock cycle.

    ``pending`` are instructions on offer, ``wanted`` lane words of the records to be asked for,
    ``answers`` those that have come; ``stall`` is the probability that a stream stands still.
    """

    def __init__(self, dut: Any, arch: Arch, rng: random.Random, stall: float) -> None:
        self.dut, self.arch, self.rng, self.stall = dut, arch, rng, stall
        self.memory = np.zeros((1 << 16, arch.lanes), np.uint8)
        self.reads: deque[int | None] = deque([None] * LATENCY)
        self.wanted: deque[int] = deque()
        self.asked = deque([False] * LATENCY)
        self.answers: list[bytes] = []
        self.pending: deque[Instruction] = deque()
        self.started = self.retired = self.cycles = 0
        self.asking = False
        self.took: list[tuple[str, int]] = []

    async def reset(self) -> None:
        for name in ("instr__valid", "instr__payload", "read_req__ready", "read_data",
                     "load__valid", "load__dst", "load__addr", "load__data", "record_req__valid",
                     "record_req__payload"):
            getattr(self.dut, name).value = 0
        self.dut.rst.value = 1
        cocotb.start_soon(Clock(self.dut.clk, 10, "ns").start())
        for _ in range(20):
            await FallingEdge(self.dut.clk)
        self.dut.rst.value = 0

    async def cycle(self, word: tuple[int, bytes] | None = None) -> None:
        """``word`` (address, data) is written to the table."""
        await FallingEdge(self.dut.clk)
        d, rng, lanes = self.dut, self.rng, self.arch.lanes
        self.cycles += 1
        assert int(d.busy.value) == (self.started > self.retired)
        if d.retire.value == 1:
            self.retired += 1
            assert self.retired == self.started
            self.took[-1] = self.took[-1][0], self.cycles - self.took[-1][1]

        read = self.reads.popleft()
        d.read_data.value = (
            rng.getrandbits(8 * lanes) if read is None
            else int.from_bytes(self.memory[read].tobytes(), "little")
        )
        ready = rng.random() >= self.stall
        d.read_req__ready.value = int(ready)
        transfer = ready and d.read_req__valid.value == 1
        self.reads.append(int(d.read_req__payload.value) if transfer else None)

        asks = bool(self.wanted) and (self.asking or rng.random() >= self.stall)
        d.record_req__valid.value = int(asks)
        d.record_req__payload.value = self.wanted[0] if asks else rng.getrandbits(16)
        taken = asks and d.record_req__ready.value == 1
        self.asking = asks and not taken
        if taken:
            self.wanted.popleft()
        self.asked.append(taken)
        if self.asked.popleft():
            self.answers.append(int(d.record_data.value).to_bytes(lanes, "little"))

        dst, (addr, data) = (
            (rng.choice(OTHERS), (rng.randrange(300), rng.randbytes(lanes))) if word is None
            else (Dst.DETECT, word)
        )
        d.load__valid.value = int(word is not None or rng.random() < 0.1)
        d.load__dst.value, d.load__addr.value = dst, addr
        d.load__data.value = int.from_bytes(data, "little")

        d.instr__valid.value = int(bool(self.pending))
        if self.pending:
            d.instr__payload.value = int.from_bytes(self.pending[0].encode(), "little")
        # Nothing between instr.valid and instr.ready, busy: they do not change any more.
        if self.pending and d.instr__ready.value == 1:
            assert self.started == self.retired
            self.started += 1
            self.took.append((self.pending.popleft().mnemonic, self.cycles))

    async def settle(self) -> None:
        """Until all that was offered has retired."""
        begin = self.cycles
        while self.pending or self.retired < self.started:
            await self.cycle()
            assert self.cycles - begin < 400_000, f"hangs after {self.took}"

    async def play(self, program: Program, inputs: dict[str, np.ndarray], options: Options
                   ) -> Detections:
        """All instructions of a detection program."""
        segments = {Segment.CODE: np.frombuffer(program.code, np.uint8)}
        for segment in (Segment.INPUT, Segment.OUTPUT):
            size = program.header["segments"][segment.name.lower()]
            segments[segment] = np.zeros(size, np.uint8)
        for tensor in program.header["inputs"]:
            data = pack_input(inputs[tensor["name"]], tensor, self.arch.lanes)
            segments[Segment.INPUT][tensor["offset"] :][: len(data)] = data
        head = program.detect
        assert head is not None
        for at, row in pack_options(head, options):
            segments[Segment.INPUT][at : at + len(row)] = np.frombuffer(row, np.uint8)
        limit, per = head.limit, self.arch.row_words
        landmarks = range(limit * per, self.arch.candidates * per)
        last: Instruction | None = None
        for ins in program.instructions():
            if ins.engine is Engine.DETECT:
                self.pending.append(ins)
                last = ins
                continue
            # Boxes and counts may be read while landmarks are added to them.
            if not (isinstance(ins, Store) and isinstance(last, Mark)
                    and ins.base not in landmarks):
                await self.settle()
            if isinstance(ins, Load):
                at, size = ins.offset, ins.run * self.arch.lanes
                words = segments[Segment(ins.segment)][at : at + size].reshape(ins.run, -1)
                if ins.dst == Dst.SCRATCHPAD:
                    self.memory[ins.base : ins.base + ins.run] = words
                else:
                    for k, word in enumerate(words):
                        await self.cycle(word=(ins.base + k, word.tobytes()))
            elif isinstance(ins, Store):
                stored = await self.fetch(range(ins.base, ins.base + ins.run))
                segments[Segment.OUTPUT][ins.offset :][: len(stored)] = np.frombuffer(
                    stored, np.uint8)
        return unpack_detections(segments[Segment.OUTPUT], head)

    async def fetch(self, words: range) -> bytes:
        """Lane words of the records."""
        self.wanted.extend(words)
        self.answers.clear()
        while len(self.answers) < len(words):
            await self.cycle()
        return b"".join(self.answers)


MODES = ["greedy", "soft_linear", "soft_gaussian", "diou"]


@cocotb.test()
async def programs(dut: Any) -> None:
    """One after the other on the same engine, each finding the leftovers of those before."""
    given = settings()
    arch, seed = preset(given["arch"]), given["seed"]
    rng, heads = random.Random(seed), np.random.default_rng(seed)
    bench = EngineBench(dut, arch, rng, 0.0)
    await bench.reset()
    for k in range(given["n"]):
        bench.stall = rng.choice([0.0, 0.3, 0.8])
        points, form = rng.choice([0, 1, 5]), rng.randrange(2)
        detect, tensors = random_head(
            heads, arch, levels=rng.randint(1, 4), classes=rng.choice([1, 2, 7]),
            anchors=rng.choice([1, 2, 5]), points=points, objectness=rng.random() < 0.4,
            form=form, grid=rng.randrange(2), mode=MODES[k % 4],
            hits=rng.choice([0, 0.02, 0.1, 0.5]), wild=rng.random() < 0.3,
            bins=rng.choice([0, 1, 16, rng.randint(2, 31)]) * form,
            softmax=rng.random() < 0.3,
        )
        program, inputs = detection_program(arch, detect, tensors)
        head = program.detect
        assert head is not None
        options = Options(
            score=rng.choice([None, None, 0.05, 0.9]), iou=rng.choice([None, 0.0, 0.3, 1.0]),
            sigma=rng.choice([None, 0.1, 2.0]),
            maximum=rng.choice([None, 1, rng.randint(1, head.limit)]),
        )
        want = detect_all(tensors, head, options, arch)
        got = await bench.play(program, inputs, options)
        same_detections(f"program {k} ({head.mode})", got, want)
    engine = sum(cycles for _, cycles in bench.took)
    print(f"{len(bench.took)} instructions, {engine} cycles of {bench.cycles}")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("arch", "n"), [("tiny", 24), ("pynq-z2", 12)])
def test_detect_engine(arch: str, n: int) -> None:
    name = f"detect_engine_{arch}".replace("-", "_")
    run(lambda: DetectEngine(arch=preset(arch), read_latency=LATENCY), name, __file__, seed=4,
        arch=arch, n=n)
