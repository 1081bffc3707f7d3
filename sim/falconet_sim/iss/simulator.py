"""The instruction-set simulator: what the machine does, one instruction after the other.

It executes the bytes of a program in stream order. That is the order in which the waits of a legal
program let it run, so every device gives the same result. Each instruction is one function of
``EXECUTORS``; all sums are exact.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from falconet.isa import (
    Arch,
    Dst,
    Elementwise,
    End,
    Engine,
    FalconetError,
    Instruction,
    Load,
    LoadImage,
    Mac,
    Mark,
    Program,
    Scan,
    Segment,
    Src,
    Store,
    Suppress,
    Window,
    decode,
)
from falconet.runtime.detections import Options, pack_options, unpack_detections
from falconet.runtime.device import Int8, RunResult, check_inputs
from falconet.runtime.tensors import pack_input, unpack_output
from falconet_sim.arithmetic import Params, output_stage, unpack_mac, unpack_taps
from falconet_sim.iss.detect import mark, scan
from falconet_sim.iss.machine import Machine, Step
from falconet_sim.iss.suppress import suppress
from falconet_sim.iss.views import view, window_view

__all__ = ["EXECUTORS", "IssDevice", "Observer", "execute"]

Observer = Callable[[Step], None]
Executor = Callable[[Machine, Instruction], None]


def _finish(
    machine: Machine, ins: Instruction, acc: NDArray[np.int64], params: Params, table: Dst
) -> Int8:
    """Output stage of accumulators [n_b, n_y, n_x, lanes] with parameters [n_b, 1, 1, lanes]."""
    return output_stage(
        acc, params, zp=ins.zp, lo=ins.lo, hi=ins.hi, acc_bits=machine.arch.acc_bits,
        table=machine.table(table) if ins.table else None,
    )


def mac(machine: Machine, ins: Instruction) -> None:
    """Convolution as one matrix product per kernel position."""
    arch, lanes = machine.arch, machine.arch.lanes
    n_p, n_k = arch.weight_param_words, ins.n_ky * ins.n_kx
    n_products = n_k * ins.n_ib * arch.word_steps
    word = ins.w_base + np.arange(ins.n_ob * (n_p + n_products)).reshape(ins.n_ob, -1)
    data = machine.weights(Dst.WEIGHTS, word)
    params = Params.unpack(data[:, :n_p].reshape(ins.n_ob, 1, 1, -1), arch)
    # Floating point is exact while no partial sum needs more bits than its mantissa has.
    exact = np.float32 if ins.n_ib * lanes * 128 * 127 <= 1 << 24 else np.float64
    weight = unpack_mac(data[:, n_p:], lanes).reshape(ins.n_ob, n_k, ins.n_ib * lanes, lanes)
    weight = weight.transpose(1, 2, 0, 3).reshape(n_k, ins.n_ib * lanes, -1).astype(exact)
    acc = np.zeros((ins.n_y * ins.n_x, ins.n_ob * lanes), np.int64)
    for k in range(n_k):
        address, inside = window_view(ins, k // ins.n_kx, k % ins.n_kx, ins.n_ib)
        x = machine.read_padded(
            address.transpose(1, 2, 0), inside.transpose(1, 2, 0), ins.pad
        )
        acc += (x.reshape(ins.n_y * ins.n_x, -1).astype(exact) @ weight[k]).astype(np.int64)
    acc = acc.reshape(ins.n_y, ins.n_x, ins.n_ob, lanes).transpose(2, 0, 1, 3)
    out = _finish(machine, ins, acc, params, Dst.MAC_TABLE)
    machine.write(Dst.SCRATCHPAD, view(ins, "out", ins.n_ob, ins.n_y, ins.n_x), out)


def _vector_words(machine: Machine, ins: Instruction, n_words: int
                  ) -> tuple[Params, NDArray[np.int16]]:
    """Parameters [n_b, 1, 1, lanes] and tap words [n_b, n_words, taps, lanes]."""
    n_p = machine.arch.vector_param_words
    word = ins.w_base + np.arange(ins.n_b)[:, None] * ins.w_b_step + np.arange(n_p + n_words)
    data = machine.weights(Dst.VECTOR, word)
    params = Params.unpack(data[:, :n_p].reshape(ins.n_b, 1, 1, -1), machine.arch)
    return params, unpack_taps(data[:, n_p:], machine.arch.lanes)


def window(machine: Machine, ins: Instruction) -> None:
    """A column's own sums per tap first; then the chain joins those of neighbouring columns."""
    taps, n_k = machine.arch.taps, ins.n_ky * ins.n_kx
    n_words = 0 if ins.op else 1 + (n_k - 1) * ins.w_k_step
    params, weight = _vector_words(machine, ins, n_words)
    reach = next((t for t in range(taps) if ins.fresh >> (taps - 1 - t) & 1), taps - 1)
    if not ins.op and ins.skip < reach:
        raise FalconetError(
            f"skip={ins.skip}, but fresh={ins.fresh} sums over {reach} columns before the first"
        )
    shape = ins.n_b, ins.n_y, ins.n_x, machine.arch.lanes
    own = np.zeros((1 if ins.op else reach + 1, *shape), np.int32)
    for k in range(n_k):
        address, inside = window_view(ins, k // ins.n_kx, k % ins.n_kx, ins.n_b)
        v = machine.read_padded(address, inside, ins.pad)
        if ins.op:
            own[0] = np.maximum(own[0], v) if k else v
        else:
            w = weight[:, k * ins.w_k_step, :, None, None, :].astype(np.int32)
            for t in range(reach + 1):
                own[t] += v * w[:, taps - 1 - t]
    columns = np.arange(ins.skip, ins.n_x, ins.every)
    acc = sum(own[t][:, :, columns - t] for t in range(len(own)))
    out = _finish(machine, ins, np.asarray(acc, np.int64), params, Dst.VEC_TABLE)
    machine.write(Dst.SCRATCHPAD, view(ins, "out", ins.n_b, ins.n_y, len(columns)), out)


def elementwise(machine: Machine, ins: Instruction) -> None:
    """Scaled sum of one or two operands, coefficients in digits of base 128; their product."""
    params, digits = _vector_words(machine, ins, ins.n_src)
    d = digits[:, :, :, None, None, :].astype(np.int64)
    product = ins.product and ins.n_src == 2
    if product:
        d[:, 1, :2] = 0  # what is stored there has no say
    coef = d[:, :, 3] + d[:, :, 0] + (d[:, :, 2] << 7) + (d[:, :, 1] << 14)
    words = [machine.read(Dst.SCRATCHPAD, view(ins, prefix, ins.n_b, ins.n_y, ins.n_x))
             for prefix in ("a", "b")[: ins.n_src]]
    acc = sum(x * coef[:, s] for s, x in enumerate(words))
    if product:
        acc = acc + words[0].astype(np.int64) * words[1]
    out = _finish(machine, ins, np.asarray(acc), params, Dst.VEC_TABLE)
    machine.write(Dst.SCRATCHPAD, view(ins, "out", ins.n_b, ins.n_y, ins.n_x), out)


def _box(ins: Instruction) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Byte offsets [runs] in DDR and lane-word addresses [runs, run] on chip."""
    n2, n1 = np.ogrid[: ins.n2, : ins.n1]
    start = (ins.offset + n2 * ins.ddr_step2 + n1 * ins.ddr_step1).reshape(-1)
    first = (ins.base + n2 * ins.step2 + n1 * ins.step1).reshape(-1, 1)
    return start.astype(np.int64), (first + np.arange(ins.run)) & 0xFFFF


def _aligned(start: NDArray[np.int64], unit: int) -> None:
    bad = start[start % unit != 0]
    if bad.size:
        raise FalconetError(f"byte {bad[0]} of the segment is not a multiple of {unit}")


def load(machine: Machine, ins: Instruction) -> None:
    start, address = _box(ins)
    _aligned(start, machine.arch.lanes)
    data = machine.read_ddr(ins.segment, start, ins.run * machine.arch.lanes)
    machine.write(Dst(ins.dst), address, data.reshape(*address.shape, -1))


def load_image(machine: Machine, ins: Instruction) -> None:
    lanes = machine.arch.lanes
    if ins.step > lanes:
        raise FalconetError(f"step={ins.step} is more than a word of {lanes} bytes")
    start = ins.offset + np.arange(ins.n_rows, dtype=np.int64) * ins.pitch
    _aligned(start, Arch.DATA_BYTES)
    length = max((ins.n_x - 1) * ins.step + lanes, ins.pad_left + ins.row_bytes)
    rows = np.full((ins.n_rows, length), ins.pad, np.int8)
    rows[:, ins.pad_left : ins.pad_left + ins.row_bytes] = machine.read_ddr(
        ins.segment, start, ins.row_bytes
    )
    words = sliding_window_view(rows, lanes, 1)[:, : (ins.n_x - 1) * ins.step + 1 : ins.step]
    row, column = np.ogrid[: ins.n_rows, : ins.n_x]
    machine.write(Dst.SCRATCHPAD, (ins.base + row * ins.row_step + column) & 0xFFFF, words)


def store(machine: Machine, ins: Instruction) -> None:
    start, address = _box(ins)
    _aligned(start, machine.arch.lanes)
    memory = Src.RECORDS if ins.src == Src.RECORDS else Dst.SCRATCHPAD
    machine.write_ddr(ins.segment, start, machine.read(memory, address))


EXECUTORS: dict[type[Instruction], Executor] = {
    Mac: mac, Window: window, Elementwise: elementwise, Load: load, LoadImage: load_image,
    Store: store, Scan: scan, Suppress: suppress, Mark: mark,
}
"""What each instruction does to a machine."""


def _check_waits(machine: Machine, ins: Instruction) -> None:
    for e in Engine:
        wait, done = getattr(ins, f"wait_{e.name.lower()}"), machine.retired[e]
        if (done - wait) & 0x8000:
            raise FalconetError(
                f"waits for {wait} instructions of {e.name}, but only {done} precede it; "
                "the machine would wait for ever"
            )


def execute(machine: Machine, program: Program, observer: Observer | None = None) -> None:
    """Run a program to its END; an instruction that fails is named in the FalconetError.

    ``observer`` sees every Step; its accesses are there if the machine records them.
    """
    size = Arch.INSTRUCTION_BYTES
    for i in range(program.n_instructions):
        ins: Instruction | None = None
        try:
            ins = decode(bytes(machine.ddr[Segment.CODE][i * size : (i + 1) * size]))
            if isinstance(ins, End):
                return
            _check_waits(machine, ins)
            machine.step = Step(i, ins)
            EXECUTORS[type(ins)](machine, ins)
        except FalconetError as e:
            what = f" ({ins})" if ins is not None else ""
            raise FalconetError(f"instruction {i}{what}: {e}") from None
        assert ins.engine is not None
        machine.retired[ins.engine] += 1
        if observer is not None:
            observer(machine.step)
    raise FalconetError(f"none of the program's {program.n_instructions} instructions is END")


class IssDevice:
    """A :class:`~falconet.runtime.device.Device`: any program, its machine simulated by
    instruction.

    Parameters
    ----------
    program:
        Loaded at once if given.
    observer:
        Called after every instruction with its Step, accesses included.

    Attributes
    ----------
    machine:
        State after the last run (every run starts with zeros).
    """

    name = "iss"

    def __init__(self, program: Program | None = None, *, observer: Observer | None = None
                 ) -> None:
        self.observer = observer
        self.machine: Machine | None = None
        self._program = program

    @property
    def program(self) -> Program:
        if self._program is None:
            raise FalconetError("iss: no program is loaded; call load() first")
        return self._program

    @property
    def arch(self) -> Arch:
        return self.program.arch

    def load(self, program: Program) -> None:
        self._program = program

    def run(self, inputs: dict[str, Int8], options: Options | None = None) -> RunResult:
        program, began = self.program, time.perf_counter()
        header = program.header
        check_inputs(header["inputs"], inputs)
        machine = self.machine = Machine(program, record=self.observer is not None)
        for t in header["inputs"]:
            data = pack_input(inputs[t["name"]], t, program.arch.lanes)
            _put(machine, f"input '{t['name']}'", int(t["offset"]), data)
        detect = program.detect
        for at, row in pack_options(detect, options) if detect else ():
            _put(machine, "detect: options", at, np.frombuffer(row, np.uint8))
        execute(machine, program, self.observer)
        outputs = {
            t["name"]: unpack_output(machine.ddr[Segment.OUTPUT], t, program.arch.lanes)
            for t in header["outputs"]
        }
        found = unpack_detections(machine.ddr[Segment.OUTPUT], detect) if detect else None
        return RunResult(outputs, seconds=time.perf_counter() - began, detections=found)


def _put(machine: Machine, what: str, at: int, data: NDArray[np.uint8]) -> None:
    size = len(machine.ddr[Segment.INPUT])
    if at + len(data) > size:
        raise FalconetError(
            f"{what}: {len(data)} bytes at {at} are not in segment INPUT of {size} bytes; "
            "recompile the network"
        )
    machine.ddr[Segment.INPUT][at : at + len(data)] = data
