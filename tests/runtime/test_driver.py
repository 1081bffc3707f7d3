"""The driver against a fake machine: registers, windows, refusals, explanations."""

from __future__ import annotations

import dataclasses
import time
import warnings

import numpy as np
import pytest
from heads import random_head
from networks import zoo_of_operators
from paced import paced, plain, value_of
from programs import detection_program, random_inputs, random_program

from falconet.compiler import compile_graph
from falconet.isa import (
    ISA_VERSION,
    MAGIC,
    REGISTERS,
    Arch,
    Engine,
    ErrorCode,
    FalconetError,
    Program,
    Segment,
    preset,
)
from falconet.isa.program.forms import Detect
from falconet.runtime.bus import Wake
from falconet.runtime.detections import Options, pack_options
from falconet.runtime.device import Device
from falconet.runtime.driver import Driver
from falconet.runtime.resample import Scaling
from falconet_sim.iss.machine import Machine
from falconet_sim.iss.simulator import IssDevice, execute

TINY = preset("tiny")


class FakeBuffer:
    def __init__(self, memory: FakeMemory, address: int, size: int) -> None:
        self.memory, self.physical_address, self.size = memory, address, size
        self.array = np.zeros(size, np.uint8)  # the processor's view: a cache
        self.freed = False
        self.dirty = True  # the system has cleared it, and the cache may write that back late

    def flush(self) -> None:
        self.memory.data[self.physical_address][:] = self.array
        self.dirty = False

    def invalidate(self) -> None:
        self.array[:] = self.memory.data[self.physical_address]

    def free(self) -> None:
        assert not self.freed
        self.freed = True


class FakeMemory:
    """Two copies of everything, so that a forgotten flush or invalidate shows."""

    def __init__(self) -> None:
        self.data: dict[int, np.ndarray] = {}
        self.buffers: list[FakeBuffer] = []

    def allocate(self, nbytes: int, align: int = 4096) -> FakeBuffer:
        address = 0x1000_0000 + 0x10_0000 * len(self.buffers)
        assert address % align == 0
        buffer = FakeBuffer(self, address, nbytes)
        self.data[address] = np.full(nbytes, 0xAA, np.uint8)
        self.buffers.append(buffer)
        return buffer

    def evict(self) -> None:
        """The cache makes room, at the worst of times."""
        for buffer in self.buffers:
            if buffer.dirty and not buffer.freed:
                buffer.flush()


class FakeBus:
    """A machine whose START runs the instruction-set simulator on the fake memory."""

    def __init__(self, memory: FakeMemory, program: Program, **values: int) -> None:
        self.memory, self.program = memory, program
        self.names = {r.offset: r for r in REGISTERS}
        self.values = {"ID": MAGIC, "ISA_VERSION": ISA_VERSION, "ARCH_HASH": TINY.hash} | values
        self.log: list[tuple[str, int]] = []
        self.outcome: dict[str, int] | None = None
        self.patience, self.hopeless, self.has_interrupt = 3, False, True

    def read_register(self, offset: int) -> int:
        return self.values.get(self.names[offset].name, 0)

    def write_register(self, offset: int, value: int) -> None:
        r = self.names[offset]
        assert r.access == "rw"
        self.log.append((r.name, int(value)))
        if r.name == "CONTROL":
            if value & 2:
                self.values["STATUS"] = 0
            if value & 1:
                self.values["STATUS"] = 1
        else:
            self.values[r.name] = int(value)

    def wait(self, seconds: float) -> Wake:
        assert seconds > 0 and self.values["IRQ_ENABLE"]
        done = self.pause()
        return Wake.INTERRUPT if done is Wake.TIMEOUT and not self.patience else done

    def pause(self) -> Wake:
        self.patience -= 1
        if self.patience:
            return Wake.STALLED if self.hopeless else Wake.TIMEOUT
        self.values |= self.outcome if self.outcome is not None else self.compute()
        return Wake.TIMEOUT

    def compute(self) -> dict[str, int]:
        machine = Machine(self.program)
        for s in Segment:
            size, base = self.values[f"{s.name}_SIZE"], self.values[f"{s.name}_BASE"]
            assert size % 128 == 0 and base % 4096 == 0 and len(machine.ddr[s]) == size
            if size:
                machine.ddr[s] = self.memory.data[base]
        execute(machine, self.program)
        self.memory.evict()
        return {"STATUS": 2, "CYCLES": 1234, **{f"BUSY_{e.name}": e + 1 for e in Engine}}


def setup(seed: int = 1, **values: int) -> tuple[Driver, FakeBus, Program]:
    program, memory = random_program(TINY, seed), FakeMemory()
    bus = FakeBus(memory, program, **values)
    return Driver(bus, memory, name="fake", timeout=5), bus, program


def test_runs_a_program() -> None:
    driver, bus, program = setup()
    device: Device = driver
    device.load(program)
    for seed in range(2):
        bus.patience = 3
        inputs = random_inputs(program, seed)
        result = device.run(inputs)
        want = IssDevice(program).run(inputs)
        np.testing.assert_array_equal(result.outputs["y"], want.outputs["y"])
        assert result.cycles == 1234
        assert result.busy == {"LOAD": 1, "MAC": 2, "VEC": 3, "STORE": 4, "DETECT": 5}
    names = [n for n, _ in bus.log]
    assert names.index("PROGRAM_LENGTH") < len(names) - 1 - names[::-1].index("CONTROL")
    assert dict(bus.log)["PROGRAM_LENGTH"] == program.n_instructions
    driver.close()
    assert all(b.freed for b in bus.memory.buffers)
    with pytest.raises(FalconetError, match="no program is loaded"):
        driver.run({})


@pytest.mark.parametrize("mode", ["greedy", "soft_gaussian"])
def test_options_of_a_run_are_its_own(mode: str) -> None:
    """Each run has its options, or the program's defaults, whatever the run before had."""
    rng, memory = np.random.default_rng(5), FakeMemory()
    detect, heads = random_head(rng, TINY, points=2, mode=mode, hits=0.2)
    program, inputs = detection_program(TINY, detect, heads)
    bus = FakeBus(memory, program)
    driver, simulator = Driver(bus, memory, name="fake", timeout=5), IssDevice(program)
    driver.load(program)
    counts = set()
    for options in (None, Options(score=0.9), Options(iou=0.0, sigma=0.01), Options(maximum=1),
                    None):
        bus.patience = 3
        found = driver.run(inputs, options).detections
        assert found == simulator.run(inputs, options).detections and found is not None
        counts.add((len(found.records), found.candidates))
    assert len(counts) == 4
    with pytest.raises(FalconetError, match=r"options: maximum=2047; the program has room for"):
        driver.run(inputs, Options(maximum=2047))
    program.header["detect"]["levels"][0]["options"] = 1 << 20
    driver.load(Program(TINY, program.code, program.header))  # the one before has read its head
    with pytest.raises(FalconetError, match=r"the options: 16 bytes at 1048576 are not in segment"):
        driver.run(inputs)


def test_a_slot_holds_the_photograph_staged_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars and options that stand there already are not written again: the same bytes all the same.
    """
    graph = zoo_of_operators()
    tensor = graph.tensors["x"]
    c, h, w = tensor.shape
    graph.meta["preprocess"] = {  # no value is clamped
        "fit": "letterbox", "colour": "BGR", "size": [h, w], "pad": 9,
        "mean": [128.0 + tensor.zero_point] * c, "std": [1 / tensor.scale] * c}
    program, memory, rng = compile_graph(graph, TINY), FakeMemory(), np.random.default_rng(0)
    driver = Driver(FakeBus(memory, program), memory, name="fake")
    driver.load(program)
    data = driver.slot(0).buffers[Segment.INPUT].array
    for i, size in enumerate([(31, 40), (50, 20), (50, 20), (50, 20), (31, 40), (31, 40)]):
        photograph = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        if i == 3:
            driver.stage(driver.slot(0), {"x": np.full((c, h, w), 55, np.int8)})
        if i == 5:
            with pytest.raises(FalconetError, match="is not a photograph"):
                driver.stage_photograph(driver.slot(0), photograph[..., :2])
        driver.stage_photograph(driver.slot(0), photograph)
        other = Driver(FakeBus(FakeMemory(), program), FakeMemory(), name="new")
        other.load(program)
        other.stage_photograph(other.slot(0), photograph)
        np.testing.assert_array_equal(data, other.slot(0).buffers[Segment.INPUT].array)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        scale = Scaling.__call__

        def cut_short(*given: object) -> None:
            scale(*given)
            raise KeyboardInterrupt

        patch.setattr(Scaling, "__call__", cut_short)
        driver.stage_photograph(driver.slot(0), photograph[:, :20])
    driver.stage_photograph(driver.slot(0), photograph)
    np.testing.assert_array_equal(data, other.slot(0).buffers[Segment.INPUT].array)
    corner, data[0] = data[0], 111  # a bar: it stays as it is
    driver.stage_photograph(driver.slot(0), photograph)
    assert data[0] == 111 != corner


def test_options_are_packed_when_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    detect, heads = random_head(np.random.default_rng(5), TINY)
    program, inputs = detection_program(TINY, detect, heads)
    memory, packed = FakeMemory(), []
    driver = Driver(FakeBus(memory, program), memory, name="fake")
    driver.load(program)

    def pack(detect: Detect, options: Options) -> list[tuple[int, bytes]]:
        packed.append(options.score)
        return pack_options(detect, options)

    monkeypatch.setattr("falconet.runtime.driver.pack_options", pack)
    for slot, score in ((0, 0.5), (0, 0.5), (1, 0.5), (0, None), (0, None), (1, 0.5), (0, 0.5)):
        driver.stage(driver.slot(slot), inputs, Options(score=score))
    assert packed == [0.5, 0.5, None, 0.5]
    driver.load(program)
    driver.stage(driver.slot(0), inputs, Options(score=0.5))
    assert packed[4:] == [0.5]


def test_load_frees_what_was_loaded() -> None:
    driver, bus, program = setup()
    driver.load(program)
    first = list(bus.memory.buffers)
    driver.load(program)
    assert all(b.freed for b in first) and not bus.memory.buffers[-1].freed


@pytest.mark.parametrize("values, message", [
    ({"ID": 0}, "register ID reads 0x00000000"),
    ({"ISA_VERSION": 99}, "instruction set 99"),
    ({"ARCH_HASH": 0x1234}, "hash is 0x00001234, expected .*'tiny'"),
])
def test_identity_comes_first(values: dict[str, int], message: str) -> None:
    memory = FakeMemory()
    bus = FakeBus(memory, random_program(TINY, 1), **values)
    with pytest.raises(FalconetError, match=message):
        Driver(bus, memory)
    assert not bus.log and not memory.buffers


def test_another_machine_s_program_is_refused() -> None:
    driver, bus, _ = setup()
    with pytest.raises(FalconetError, match=r"program is for 'pynq-z2'.*machine is 'tiny'"):
        driver.load(random_program(preset("pynq-z2"), 1))
    assert not bus.memory.buffers


def test_an_arch_beyond_the_presets() -> None:
    arch = dataclasses.replace(TINY, name="mine", bank_words=600)
    memory = FakeMemory()
    bus = FakeBus(memory, random_program(arch, 1), ARCH_HASH=arch.hash)
    assert Driver(bus, memory, arch=arch).arch == arch
    with pytest.raises(FalconetError, match="expected 'tiny'"):
        Driver(bus, memory, arch=TINY)


@pytest.mark.parametrize("hopeless", [False, True])
def test_time_out_names_what_each_engine_waits_for(hopeless: bool) -> None:
    driver, bus, program = setup(RETIRED_LOAD=1)
    driver._timeout = 0.0 if not hopeless else 60.0
    bus.hopeless = hopeless
    driver.load(program)
    with pytest.raises(FalconetError, match=r"did not end in time: LOAD at instruction 2 \(LOAD"):
        driver.run(random_inputs(program))
    assert bus.log[-1] == ("CONTROL", 2)


def test_an_interrupt_between_the_wait_and_the_look_at_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has come, though the wait was over before: nothing is missing, no need to poll."""
    machine, board = paced(0.01)
    wait, waits = board.wait, list[Wake]()

    def early(seconds: float) -> Wake:
        waits.append(wait(seconds) if waits else (time.sleep(0.02), Wake.TIMEOUT)[1])
        return waits[-1]

    monkeypatch.setattr(board, "wait", early)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (3, 4):
            assert value_of(machine.see(plain(value)).result.outputs) == value
    assert waits == [Wake.TIMEOUT, Wake.INTERRUPT, Wake.INTERRUPT]


def test_time_out_names_the_detect_engine() -> None:
    detect, heads = random_head(np.random.default_rng(1), TINY)
    program, inputs = detection_program(TINY, detect, heads)
    per = {e: [i for i, x in enumerate(program.instructions()) if x.engine is e] for e in Engine}
    done = {e: len(per[e]) for e in Engine} | {Engine.DETECT: 1, Engine.STORE: 0}
    memory = FakeMemory()
    bus = FakeBus(memory, program, **{f"RETIRED_{e.name}": n for e, n in done.items()})
    driver = Driver(bus, memory, timeout=0.0)
    driver.load(program)
    scan, store = per[Engine.DETECT][1], per[Engine.STORE][0]
    with pytest.raises(FalconetError, match=rf"in time: STORE at instruction {store} \(STORE.*; "
                                            rf"DETECT at instruction {scan} \(SCAN"):
        driver.run(inputs)


def index_of(program: Program, engine: Engine, nth: int) -> int:
    return [i for i, x in enumerate(program.instructions()) if x.engine == engine][nth]


def fails(code: ErrorCode, info: int, retired_load: int = 0) -> str:
    driver, bus, program = setup(RETIRED_LOAD=retired_load)
    bus.outcome = {"STATUS": 4, "ERROR_CODE": code, "ERROR_INFO": info}
    driver.load(program)
    with pytest.raises(FalconetError) as e:
        driver.run(random_inputs(program))
    assert bus.log[-1] == ("CONTROL", 2)
    return str(e.value)


def test_errors_are_explained() -> None:
    program = random_program(TINY, 1)
    assert "OPCODE: instruction 3 (" in fails(ErrorCode.OPCODE, 3)
    assert "a field out of range" in fails(ErrorCode.FIELD, 0)
    assert "is END" in fails(ErrorCode.NO_END, 0)
    # Instruction 0 loads segment INPUT, whose buffer is the third.
    text = fails(ErrorCode.READ, 0x1020_0040)
    assert "0x10200040 (byte 64 of segment INPUT) could not be read, by instruction 0 (LOAD" in text
    out = index_of(program, Engine.STORE, -1)
    assert f"by instruction {out} (STORE" in fails(ErrorCode.WRITE, 0x1030_0000)
    assert "in no segment" in fails(ErrorCode.WINDOW, 0xFFFF_0000)


def test_hash_of_arch_is_what_the_driver_compares() -> None:
    assert Arch("other", **{k: v for k, v in TINY.to_dict().items()
                            if k not in ("name", "clock_mhz")}).hash == TINY.hash
