"""Boards without PYNQ, on folders that look like theirs: registers, interrupt, memory, clock."""

from __future__ import annotations

import os
import struct
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from falconet.isa import BOARDS, ISA_VERSION, MAGIC, FalconetError, board, register
from falconet.runtime.bitstream import load_bitstream, parse_bit, set_clock
from falconet.runtime.boards import open_board
from falconet.runtime.bus import Wake
from falconet.runtime.linux import DmaMemory, LinuxBus

Z2 = board("pynq-z2")
ZU3 = board("aup-zu3")
SERIAL = board("ecp5")


def sparse(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as f:
        f.truncate(size)


def poke(path: Path, at: int, *words: int) -> None:
    with path.open("r+b") as f:
        f.seek(at)
        f.write(struct.pack(f"<{len(words)}I", *words))


def peek(path: Path, at: int, n: int = 1) -> tuple[int, ...]:
    with path.open("rb") as f:
        f.seek(at)
        return struct.unpack(f"<{n}I", f.read(4 * n))


def add_memory(root: Path, size: int = 1 << 20, kind: str = "u-dma-buf") -> Path:
    folder = root / "sys/class" / kind / "udmabuf0"
    folder.mkdir(parents=True)
    (folder / "phys_addr").write_text("0x1f400000\n")
    (folder / "size").write_text(f"{size}\n")
    sparse(root / "dev/udmabuf0", size)
    return folder


def add_uio(root: Path, name: str, number: int = 0, size: int = 0x10000) -> Path:
    folder = root / f"sys/class/uio/uio{number}"
    (folder / "maps/map0").mkdir(parents=True)
    (folder / "name").write_text(name + "\n")
    (folder / "maps/map0/size").write_text(f"0x{size:x}\n")
    path = root / f"dev/uio{number}"
    sparse(path, size)
    return path


def identity(path: Path, at: int) -> None:
    for name, value in (("ID", MAGIC), ("ISA_VERSION", ISA_VERSION), ("ARCH_HASH", Z2.arch.hash)):
        poke(path, at + register(name).offset, value)


@pytest.fixture
def memory_file(tmp_path: Path) -> Path:
    path = tmp_path / "dev/mem"
    sparse(path, 1 << 32)
    return path


@pytest.mark.parametrize("name", [b.name for b in BOARDS.values() if b.linux])
def test_registers_through_dev_mem(name: str, tmp_path: Path, memory_file: Path) -> None:
    described = board(name)
    bus = LinuxBus(described, tmp_path)
    bus.write_register(register("INPUT_BASE").offset, 0xDEAD_B000)
    assert peek(memory_file, described.registers + register("INPUT_BASE").offset) == (0xDEAD_B000,)
    poke(memory_file, described.registers + register("CYCLES").offset, 0xFFFF_FFFE)
    assert bus.read_register(register("CYCLES").offset) == 0xFFFF_FFFE
    assert not bus.has_interrupt and bus.wait(0.01) is Wake.TIMEOUT


def test_registers_through_uio_go_before_dev_mem(tmp_path: Path, memory_file: Path) -> None:
    add_uio(tmp_path, "other", 0)
    path = add_uio(tmp_path, "falconet", 1)
    bus = LinuxBus(Z2, tmp_path)
    bus.write_register(register("WORK_SIZE").offset, 0x1234_5680)
    assert peek(path, register("WORK_SIZE").offset) == (0x1234_5680,)
    assert bus.has_interrupt


def test_interrupt_is_enabled_then_awaited(tmp_path: Path, memory_file: Path) -> None:
    """A socket stands for the device: it blocks as one does, and shows what was written."""
    import socket

    folder = tmp_path / "sys/class/uio/uio0"
    folder.mkdir(parents=True)
    (folder / "name").write_text("fabric\n")
    sparse(tmp_path / "dev/uio0", 4)
    bus = LinuxBus(Z2, tmp_path)
    here, there = socket.socketpair()
    interrupt = bus._interrupt
    assert interrupt is not None
    interrupt.close()
    interrupt._descriptor = here.detach()
    assert bus.wait(0.05) is Wake.TIMEOUT
    assert there.recv(16) == struct.pack("=I", 1)  # enabled
    timer = threading.Timer(0.05, lambda: there.send(struct.pack("=I", 7)))
    timer.start()
    assert bus.wait(10) is Wake.INTERRUPT
    assert there.recv(16) == struct.pack("=I", 1)
    interrupt.close()
    there.close()
    timer.join()


@pytest.mark.parametrize("kind", ["u-dma-buf", "udmabuf"])
def test_buffers_lie_in_the_dma_memory(kind: str, tmp_path: Path) -> None:
    folder = add_memory(tmp_path, kind=kind)
    memory = DmaMemory("udmabuf0", tmp_path)
    a, b = memory.allocate(5000), memory.allocate(100)
    assert (a.physical_address, b.physical_address) == (0x1F40_0000, 0x1F40_2000)
    b.array[:] = np.arange(100)
    assert (tmp_path / "dev/udmabuf0").read_bytes()[8192:8292] == bytes(range(100))
    b.flush()
    # Offset, size rounded up to 16 bytes, both directions, and the flag.
    assert (folder / "sync_for_device").read_text() == "0x0000200000000071"
    a.invalidate()
    assert (folder / "sync_for_cpu").read_text() == "0x0000000000001391"
    a.free()
    c = memory.allocate(4096)
    assert c.physical_address == 0x1F40_0000 and not c.array.any()
    with pytest.raises(FalconetError, match=r"udmabuf0: 1048576 bytes do not fit .* or more"):
        memory.allocate(1 << 20)


def test_the_driver_knows_the_machine(tmp_path: Path, memory_file: Path) -> None:
    add_memory(tmp_path)
    identity(memory_file, Z2.registers)
    with open_board(name="pynq-z2", root=tmp_path) as machine:
        assert machine.arch == Z2.arch
    poke(memory_file, Z2.registers + register("ID").offset, 0)
    with pytest.raises(FalconetError, match="load the Falconet bitstream first"):
        open_board(name="pynq-z2", root=tmp_path)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FalconetError, match=r"dev/mem: No such file .*run as root"):
        LinuxBus(Z2, tmp_path)
    with pytest.raises(FalconetError, match=r"udmabuf0: No such file .*modprobe u-dma-buf"):
        DmaMemory("udmabuf0", tmp_path)
    with pytest.raises(FalconetError, match="reached by a serial line"):
        open_board(name=SERIAL.name)
    for refused in (partial(load_bitstream, tmp_path / "falconet.bit"), set_clock):
        with pytest.raises(FalconetError, match=r"'ecp5' has no processing system.*runtime\.uart"):
            refused(SERIAL, root=tmp_path)
    with pytest.raises(FalconetError, match=r"unknown; did you mean .pynq-z2.. choose one of"):
        open_board(name="pynq-z3")


# --------------------------------------------------------------------------- bitstreams

WORDS = bytes(range(64))


def bit_file(part: str = "7z020clg400", words: bytes = WORDS) -> bytes:
    """As Xilinx' tools write it."""
    data = bytes.fromhex("0009 0ff0 0ff0 0ff0 0ff0 00 0001".replace(" ", ""))
    for key, text in (("a", "falconet_top;Version=2022.1"), ("b", part), ("c", "2026/01/01"),
                      ("d", "12:00:00")):
        body = text.encode() + b"\0"
        data += key.encode() + struct.pack(">H", len(body)) + body
    return data + b"e" + struct.pack(">I", len(words)) + words


def test_header_of_a_bit_file() -> None:
    assert parse_bit(bit_file()) == ("7z020clg400", WORDS)


@pytest.mark.parametrize("size", [0, 1, 13, 20, 60, 100, len(bit_file()) - 1])
def test_a_bit_file_cut_short(size: int) -> None:
    with pytest.raises(FalconetError, match=r"x\.bit: not a \.bit file, or cut short"):
        parse_bit(bit_file()[:size], "x.bit")


def manager(root: Path, state: str = "operating") -> Path:
    folder = root / "sys/class/fpga_manager/fpga0"
    folder.mkdir(parents=True)
    (folder / "state").write_text(state + "\n")
    return folder


def test_loading_on_a_zynq_7000(tmp_path: Path, memory_file: Path) -> None:
    folder = manager(tmp_path)
    path = tmp_path / "falconet.bit"
    path.write_bytes(bit_file())
    poke(memory_file, 0xF800_0108, 20 << 12)  # the IO PLL: 50 MHz times 20
    poke(memory_file, 0xF800_0178, 1)
    poke(memory_file, 0xF800_0240, 0xF)
    load_bitstream(path, Z2, tmp_path)
    assert (folder / "firmware").read_text() == "falconet.bit.bin"
    assert (folder / "flags").read_text() == "0"
    stored = (tmp_path / "lib/firmware/falconet.bit.bin").read_bytes()
    assert stored == b"".join(WORDS[i : i + 4][::-1] for i in range(0, 64, 4))
    assert peek(memory_file, 0xF800_0008) == (0xDF0D,)
    assert peek(memory_file, 0xF800_0170) == (1 << 20 | 8 << 8,)  # 1000 / 8 / 1
    assert peek(memory_file, 0xF800_0178) == (0,)
    assert peek(memory_file, 0xF800_0240) == (0xE,)


def test_loading_on_an_ultrascale(tmp_path: Path, memory_file: Path) -> None:
    manager(tmp_path)
    path = tmp_path / "falconet.bit"
    path.write_bytes(bit_file("xczu3eg-sfvc784-2-e"))
    poke(memory_file, 0xFF5E_0020, 1 << 16 | 90 << 8)  # the IOPLL: 33.3 MHz times 90 / 2
    poke(memory_file, 0xFD61_5000, 0xFFF)
    load_bitstream(path, ZU3, tmp_path)
    assert peek(memory_file, 0xFF5E_00C0) == (1 << 24 | 1 << 16 | 10 << 8,)
    assert peek(memory_file, 0xFD61_5000) == (0xCFF,)
    for port in (0xFD38_0000, 0xFD39_0000):
        assert peek(memory_file, port) == peek(memory_file, port + 0x14) == (1,)


@pytest.mark.parametrize("pll", [20, 27, 40])
def test_the_clock_is_never_above_what_is_asked(
    pll: int, tmp_path: Path, memory_file: Path,
) -> None:
    poke(memory_file, 0xF800_0108, pll << 12)
    mhz = set_clock(Z2, tmp_path)
    (control,) = peek(memory_file, 0xF800_0170)
    assert mhz == 50 * pll / (control >> 8 & 63) / (control >> 20 & 63)
    assert 0.9 * Z2.clock_mhz < mhz <= Z2.clock_mhz


def test_bitstreams_that_are_refused(tmp_path: Path, memory_file: Path) -> None:
    path = tmp_path / "falconet.bit"
    with pytest.raises(FalconetError, match="run 'make bitstream'"):
        load_bitstream(path, Z2, tmp_path)
    path.write_bytes(bit_file("7a35tcpg236"))
    with pytest.raises(FalconetError, match="it is for '7a35tcpg236'"):
        load_bitstream(path, Z2, tmp_path)
    path.write_bytes(bit_file())
    with pytest.raises(FalconetError, match="on a kernel with an FPGA manager"):
        load_bitstream(path, Z2, tmp_path)
    manager(tmp_path, "write error")
    with pytest.raises(FalconetError, match="'write error', not 'operating'"):
        load_bitstream(path, Z2, tmp_path)
    os.remove(memory_file)
    (tmp_path / "sys/class/fpga_manager/fpga0/state").write_text("operating")
    with pytest.raises(FalconetError, match="dev/mem: No such file"):
        load_bitstream(path, Z2, tmp_path)
