"""What a toolchain says of a design that it has placed and routed, in one table."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from falconet.isa import FalconetError
from falconet.isa.files import written

__all__ = [
    "Report", "nextpnr_figures", "vivado_timing", "vivado_utilisation",
]


@dataclass(frozen=True)
class Report:
    """Figures of one build; None is what the toolchain did not say.

    ``fmax_mhz`` is the fastest clock by its analysis, ``path_ns`` the delay of the critical path
    and ``path`` its ends. Blocks of memory are of 36 Kbit (7-series, UltraScale+) or 18 (ECP5).
    Two small LUTs in one of six inputs are one to Vivado and two to nextpnr-xilinx, whose Fmax is
    no evidence: it times no block RAM, PS7 or shift register, and takes 0.1 ns for a flip-flop.
    """

    board: str
    toolchain: str
    clock_mhz: float
    lut: float | None = None
    ff: float | None = None
    bram: float | None = None
    dsp: float | None = None
    fmax_mhz: float | None = None
    path_ns: float | None = None
    path: str = ""

    @property
    def met(self) -> bool:
        return self.fmax_mhz is not None and self.fmax_mhz >= self.clock_mhz

    def require_met(self, tool: str, log: Path) -> None:
        """Refuse a design that is slower than its clock, in a sentence that names the log."""
        if not self.met:
            raise FalconetError(
                f"timing is not met at {self.clock_mhz:g} MHz: {tool} reached "
                f"{self.fmax_mhz or 0:.4g} MHz (from {self.path or 'an unknown path'}); see {log}, "
                f"or lower clock_mhz of board '{self.board}' in falconet/isa/machine/boards.py")

    def rows(self) -> list[tuple[str, str]]:
        def number(value: float | None, unit: str = "") -> str:
            return "-" if value is None else f"{value:,.6g}{unit}"

        open7 = self.toolchain == "openxc7"
        clock = (f"{self.clock_mhz:g} MHz ({'met' if self.met else 'NOT met'}"
                 f"{'; block RAM and PS7 are not timed' if open7 else ''})")
        return [
            ("LUT", number(self.lut, " halves" if open7 else "")), ("FF", number(self.ff)),
            ("BRAM", number(self.bram)), ("DSP", number(self.dsp)),
            ("Fmax", number(self.fmax_mhz, " MHz")), ("clock", clock),
            ("critical path", f"{number(self.path_ns, ' ns')} {self.path}".strip()),
        ]

    def table(self) -> str:
        lines = [f"{self.board}, {self.toolchain}"]
        return "\n".join([*lines, *(f"  {k:<14} {v}" for k, v in self.rows())])

    def save(self, path: Path) -> None:
        with written(path) as part:
            part.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Report:
        try:
            return cls(**json.loads(path.read_text()))
        except OSError as e:
            raise FalconetError(f"{path}: {e.strerror}; run 'make bitstream' first") from None
        except (TypeError, ValueError) as e:
            raise FalconetError(f"{path}: {e}; run 'make bitstream' again") from None


# --------------------------------------------------------------------------- nextpnr

_KINDS = {
    "lut": r"TRELLIS_COMB|SLICE_LUTX", "ff": r"TRELLIS_FF|SLICE_FFX",
    "bram": r"DP16KD|RAMB36E1\w*|RAMB18E1\w*", "dsp": r"MULT18X18D|DSP48E1\w*",
}
_USED = re.compile(r"^Info:\s+(\w+):\s+(\d+)/\s*\d+", re.MULTILINE)
_FMAX = re.compile(  # a warning or an error where the clock is not reached
    r"^(?:Info|Warning|ERROR): Max frequency for clock\s+'[^']*': ([\d.]+) MHz", re.MULTILINE)
_PATH = re.compile(
    r"^Info: Critical path report for clock .*?\n(.*?)(?=^Info: [\d.]+ ns logic)",
    re.MULTILINE | re.DOTALL)
_TOTAL = re.compile(r"^Info:\s+(?:[\w-]+\s+)?[\d.]+\s+([\d.]+)\s+\w+ ", re.MULTILINE)
_END = re.compile(r"^Info:.*\s(?:Source|Sink|Setup) (\S+)", re.MULTILINE)


def nextpnr_figures(log: str) -> Mapping[str, float | str]:
    """Fields of a :class:`Report` from what nextpnr prints (the last of each: after routing)."""
    found: dict[str, float | str] = {}
    used = dict(_USED.findall(log))
    for kind, names in _KINDS.items():
        counts = [(n, int(v)) for n, v in used.items() if re.fullmatch(names, n)]
        if counts:
            found[kind] = sum(v / 2 if n.startswith("RAMB18") else v for n, v in counts)
    if speeds := _FMAX.findall(log):
        found["fmax_mhz"] = float(speeds[-1])
    if paths := _PATH.findall(log):
        ends, totals = _END.findall(paths[-1]), _TOTAL.findall(paths[-1])
        if ends and totals:
            found["path_ns"] = float(totals[-1])
            found["path"] = f"{ends[0]} to {ends[-1]}"
    return found


# --------------------------------------------------------------------------- Vivado

_ROWS = {
    "lut": r"(?:Slice|CLB) LUTs\*?", "ff": r"(?:Slice|CLB) Registers", "bram": r"Block RAM Tile",
    "dsp": r"DSPs",
}


def vivado_utilisation(text: str) -> Mapping[str, float]:
    """Fields of a :class:`Report` from ``report_utilization``."""
    found = {}
    for kind, name in _ROWS.items():
        row = re.search(rf"^\|\s*{name}\s*\|\s*([\d.]+)\s*\|", text, re.MULTILINE)
        if row:
            found[kind] = float(row[1])
    return found


def vivado_timing(text: str, clock_mhz: float) -> Mapping[str, float | str]:
    """Fields of a :class:`Report` from ``report_timing_summary``: the worst setup path."""
    slack = re.search(r"^Slack \((?:MET|VIOLATED)\)\s*:\s*(-?[\d.]+)ns", text, re.MULTILINE)
    if slack is None:
        return {}
    rest = text[slack.start():]
    source, sink, delay = (
        re.search(rf"^\s*{name}:\s*(\S+)", rest, re.MULTILINE)
        for name in ("Source", "Destination", "Data Path Delay")
    )
    found: dict[str, float | str] = {"fmax_mhz": 1000 / (1000 / clock_mhz - float(slack[1]))}
    if source and sink:
        found["path"] = f"{source[1]} to {sink[1]}"
    if delay:
        found["path_ns"] = float(delay[1].removesuffix("ns"))
    return found
