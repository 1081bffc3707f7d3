"""Loading a bitstream without PYNQ: the kernel's FPGA manager, the clock, the widths of AXI ports.

Sources: the header of .bit files as Xilinx' tools write it; the kernel's "FPGA Manager" and its
sysfs; for clock and ports see :mod:`falconet.runtime.hosts`. ``root`` is as in
:mod:`falconet.runtime.linux`. Not yet tried on a board.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from falconet.isa import Board, FalconetError, clock_divisors
from falconet.runtime.hosts import system_of
from falconet.runtime.linux import ROOT

__all__ = ["load_bitstream", "parse_bit", "set_clock"]

_MANAGER = "sys/class/fpga_manager/fpga0"


def parse_bit(data: bytes, name: str = "bitstream") -> tuple[str, bytes]:
    """Part and configuration words of a .bit file, in the order of the file.

    The header is a fixed field, then fields ``a`` to ``e``: a letter, a length of 16 bits (32 for
    ``e``), and the bytes; ``b`` is the part, ``e`` the configuration.
    """
    def cut() -> FalconetError:
        return FalconetError(f"{name}: not a .bit file, or cut short; build the bitstream again")

    part, at = "", 0
    try:
        at = 2 + struct.unpack_from(">H", data)[0] + 2
        while True:
            key = data[at : at + 1]
            length, size = struct.unpack_from(">I" if key == b"e" else ">H", data, at + 1)[0], 3
            body = data[at + (5 if key == b"e" else size) :][:length]
            if key not in b"abcde" or not key or len(body) != length:
                raise cut()
            if key == b"e":
                return part, body
            if key == b"b":
                part = body.rstrip(b"\0").decode("ascii", "replace")
            at += size + length
    except struct.error:
        raise cut() from None


def load_bitstream(path: str | Path, board: Board, root: Path = ROOT) -> None:
    """Load a .bit file through the kernel's FPGA manager and set the machine's clock.

    Raises
    ------
    FalconetError
        if the file is not a bitstream for the board's chip, or the kernel does not take it.
    """
    path, system = Path(path), system_of(board)
    try:
        part, words = parse_bit(path.read_bytes(), str(path))
    except OSError as e:
        raise FalconetError(f"{path}: {e.strerror}; run 'make bitstream'") from None
    device = board.part.split("-")[0].removeprefix("xc")  # 7z020clg400
    if not device.startswith(part.removeprefix("xc").split("-")[0][:5]) or not part:
        raise FalconetError(
            f"{path}: it is for '{part}', board '{board.name}' has {board.part}; build it for "
            "this board")
    manager, firmware = root / _MANAGER, root / "lib/firmware"
    binary = firmware / f"{path.stem}.bit.bin"
    # The kernel wants the words as the processor stores them.
    swapped = np.frombuffer(words[: len(words) // 4 * 4], ">u4").astype("<u4").tobytes()
    try:
        firmware.mkdir(parents=True, exist_ok=True)
        binary.write_bytes(swapped)
        (manager / "flags").write_text("0")
        (manager / "firmware").write_text(binary.name)
        state = (manager / "state").read_text().strip()
    except OSError as e:
        raise FalconetError(
            f"{e.filename}: {e.strerror}; run as root, on a kernel with an FPGA manager") from None
    if state != "operating":
        raise FalconetError(f"{manager}/state: '{state}', not 'operating'; see the kernel's log")
    system.set_ports(root)
    set_clock(board, root)


def set_clock(board: Board, root: Path = ROOT) -> float:
    """Set the machine's clock to that of the board or just below; returns it in MHz."""
    system = system_of(board)
    reference = system.pll_mhz(root)
    if not 400 <= reference <= 4000:
        raise FalconetError(
            f"board '{board.name}': its IO PLL seems to run at {reference:g} MHz; set the clock "
            "through the kernel instead")
    first, second = clock_divisors(reference, board.clock_mhz)
    system.set_divisors(first, second, root)
    return reference / (first * second)
