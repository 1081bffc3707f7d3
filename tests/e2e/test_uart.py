"""The ULX3S whole, simulated through its pins: the driver of the board at the other end."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import networks
import numpy as np
import pytest
from uart_peer import pseudo_port

from falconet.compiler import compile_graph, compile_model
from falconet.isa import Control, ErrorCode, FalconetError, Program, Status, board, preset
from falconet.runtime.driver import Driver
from falconet.runtime.uart import open_uart
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.hosts.serial import SimLine, UartDevice, uart_library

pytestmark = pytest.mark.timeout(600)
BOARD = board("ecp5")
DIGITS = Path(__file__).parents[1] / "data" / "brevitas_digits.onnx"


@cache
def library() -> Path:
    return uart_library(BOARD)


class BadLine(SimLine):
    """Loses a byte, or changes a bit, in one of ``every`` pieces that pass it either way."""

    def __init__(self, *, seed: int, every: int) -> None:
        super().__init__(library())
        self.random, self.every, self.faults = np.random.default_rng(seed), every, 0

    def spoil(self, data: bytes) -> bytes:
        if not data or self.random.integers(self.every):
            return data
        self.faults += 1
        at = int(self.random.integers(len(data)))
        if self.random.integers(2):
            return data[:at] + data[at + 1 :]
        return data[:at] + bytes([data[at] ^ 1 << int(self.random.integers(8))]) + data[at + 1 :]

    def write(self, data: bytes) -> None:
        super().write(self.spoil(data))

    def read(self, count: int) -> bytes:
        return self.spoil(super().read(count))


def random_inputs(program: Program, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {t["name"]: random.integers(-128, 128, t["shape"]).astype(np.int8)
            for t in program.header["inputs"]}


def equals_golden(device: Driver, program: Program, runs: int = 2) -> None:
    golden = GoldenDevice(program)
    device.load(program)
    for seed in range(runs):
        inputs = random_inputs(program, seed)
        expected, found = golden.run(inputs), device.run(inputs)
        assert found.outputs.keys() == expected.outputs.keys() and found.cycles
        for name, value in expected.outputs.items():
            assert (found.outputs[name] == value).all(), name


def small_program() -> Program:
    b = networks.Builder((20, 6, 5))
    return compile_graph(b.done(b.conv("x", 20, 3)), preset(BOARD.preset))


def test_digits_through_a_serial_port_of_this_computer() -> None:
    """``open_uart`` itself: pyserial, a terminal device, the pins, the design, and back."""
    program = compile_model(str(DIGITS), preset(BOARD.preset), "digits")
    line = SimLine(library())
    with pseudo_port(line) as port:
        equals_golden(open_uart(port, silence=60, timeout=300), program)
    assert not line.wrong


def test_a_bad_line() -> None:
    line = BadLine(seed=3, every=8)
    device = UartDevice(BOARD, line=line)
    equals_golden(device, small_program())
    assert line.faults >= 10 and device.board.link.repeats >= 10


def test_errors_and_the_button() -> None:
    device, program = UartDevice(BOARD, line=SimLine(library())), small_program()
    large = compile_graph(networks.retinaface(size=64), preset(BOARD.preset))
    with pytest.raises(FalconetError, match="do not fit in the memory of board 'ecp5'"):
        device.load(large)
    end = BOARD.memory + BOARD.memory_bytes
    with pytest.raises(FalconetError, match=f"DECERR to a read of 2 words at 0x{end - 4:08x}"):
        device.board.link.read(end - 4, 2)
    # The machine's own masters meet the same end.
    for name, value in {
        "CODE_BASE": end, "CODE_SIZE": 4096, "PROGRAM_LENGTH": 1, "CONTROL": Control.START,
    }.items():
        device.write(name, value)
    assert Status.ERROR in Status(device.read("STATUS"))
    assert device.read("ERROR_CODE") == ErrorCode.READ and device.read("ERROR_INFO") == end
    equals_golden(device, program, runs=1)
    assert device.read("PROGRAM_LENGTH")
    device.line.press()
    assert device.read("PROGRAM_LENGTH") == 0
    equals_golden(device, program, runs=1)
