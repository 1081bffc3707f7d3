"""The Zynq UltraScale+: CRL_APB, FPD_SLCR and AFIFM (UG1087)."""

from __future__ import annotations

from pathlib import Path

from falconet.runtime.hosts.system import PAGE
from falconet.runtime.linux import map_physical

__all__ = ["ZynqMp"]

_CRL_APB, _FPD_SLCR, _AFIFM = 0xFF5E_0000, 0xFD61_5000, (0xFD38_0000, 0xFD39_0000)


class ZynqMp:
    def pll_mhz(self, root: Path) -> float:
        control = int(map_physical(_CRL_APB, PAGE, root)[0x20 // 4])  # IOPLL_CTRL: FBDIV, DIV2
        return 100 / 3 * (control >> 8 & 0x7F) / (2 if control >> 16 & 1 else 1)

    def set_divisors(self, first: int, second: int, root: Path) -> None:
        crl = map_physical(_CRL_APB, PAGE, root)
        crl[0xC0 // 4] = 1 << 24 | second << 16 | first << 8  # PL0_REF_CTRL, of the IOPLL

    def set_ports(self, root: Path) -> None:
        """HPM0_FPD 32 bits wide, HP0 and HP1 64."""
        fpd = map_physical(_FPD_SLCR, PAGE, root)
        fpd[0] = int(fpd[0]) & ~(3 << 8)
        for base in _AFIFM:
            port = map_physical(base, PAGE, root)
            for register in (0x0, 0x14):
                port[register // 4] = int(port[register // 4]) & ~3 | 1
