"""A board through PYNQ: an ``Overlay`` for the registers, ``allocate`` for memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import SEGMENT_PAGE, FalconetError
from falconet.runtime.linux import ROOT, UioWaiting, find_uio

__all__ = ["PynqBoard", "PynqMemory"]

IP = "falconet"
"""Name of the machine in the overlay."""


class PynqMemory:
    """A ``PynqBuffer`` (falconet.runtime.bus.Buffer), in cached memory."""

    def __init__(self, device: Any, nbytes: int) -> None:
        from pynq import allocate

        try:
            self._buffer = allocate((nbytes,), np.uint8, target=device, cacheable=1)
        except (RuntimeError, MemoryError) as e:
            raise FalconetError(
                f"pynq.allocate: {nbytes} bytes cannot be had ({e}); free other buffers, or "
                "restart the board to empty its contiguous memory"
            ) from None
        self.physical_address = int(self._buffer.physical_address)
        self.array: NDArray[np.uint8] = np.asarray(self._buffer)
        self.array[:] = 0

    def flush(self) -> None:
        self._buffer.flush()

    def invalidate(self) -> None:
        self._buffer.invalidate()

    def free(self) -> None:
        self.array = np.zeros(0, np.uint8)
        self._buffer.freebuffer()


class PynqBoard(UioWaiting):
    """Bus and Memory (falconet.runtime.bus) of an ``Overlay`` with Falconet in it.

    The interrupt is waited for through the UIO device ``fabric`` of the PYNQ images, which is
    IRQF2P[0]: ``pynq.Interrupt`` needs an interrupt controller in the overlay, and there is none.
    """

    def __init__(self, overlay: Any, root: Path = ROOT) -> None:
        from pynq import MMIO

        described = getattr(overlay, "ip_dict", {}).get(IP)
        if described is None:
            raise FalconetError(
                f"the overlay has no IP '{IP}'; load the falconet.bit that 'make bitstream' made, "
                "with its falconet.hwh beside it"
            )
        self._device = overlay.device
        self._mmio = MMIO(
            described["phys_addr"], described["addr_range"], device=self._device)
        super().__init__(find_uio("fabric", root), root)

    def read_register(self, offset: int) -> int:
        return int(self._mmio.read(offset))

    def write_register(self, offset: int, value: int) -> None:
        self._mmio.write(offset, int(value))

    def allocate(self, nbytes: int, align: int = SEGMENT_PAGE) -> PynqMemory:
        """Contiguous memory; PYNQ aligns it to pages of 4096 bytes."""
        return PynqMemory(self._device, nbytes)
