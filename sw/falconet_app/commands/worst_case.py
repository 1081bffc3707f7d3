"""``falconet worst-case``: the longest that the detect engine can take to suppress boxes.

A program is made by hand that finds as many boxes of one class as the machine keeps, of which none
suppresses another: each stays, and each is compared with all that are left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from falconet.isa import (
    SEGMENT_GRAIN,
    Arch,
    Dst,
    End,
    FalconetError,
    Instruction,
    Load,
    Program,
    Scan,
    Segment,
    Src,
    Store,
    Suppress,
    Suppression,
    preset,
)
from falconet.isa.program.forms import Detect, DetectLevel
from falconet.isa.schema import as_json
from falconet_app.commands.console import print_json, results
from falconet_app.commands.machines import LABELS, DeviceName, make_device, require_same, run_on
from falconet_app.commands.pages import Json, Page, put_section, revision
from falconet_app.commands.sources import DEFAULT_PRESET, Preset

__all__ = ["CASES", "Case", "cycle_bound", "measure", "register", "worst_program"]

Int8 = NDArray[np.int8]


@dataclass(frozen=True)
class Case:
    """A mode, and how the boxes lie.

    ``apart``: none overlaps another. ``stacked``: each overlaps all others. ``crossing``: half of
    them are wide, half are high, and each wide one crosses each high one off its centre.
    """

    mode: Suppression
    boxes: str

    def pairs(self, count: int) -> int:
        """Pairs of ``count`` boxes whose overlap is needed as a number."""
        wide = _wide(count)
        return {"apart": 0, "stacked": count * (count - 1) // 2, "crossing": wide * (count - wide)}[
            self.boxes]


CASES = (
    *(Case(mode, "apart") for mode in Suppression),
    Case(Suppression.SOFT_LINEAR, "stacked"),
    Case(Suppression.SOFT_GAUSSIAN, "stacked"),
    Case(Suppression.DIOU, "crossing"),
)


def cycle_bound(case: Case, count: int) -> int:
    """Most cycles of SUPPRESS for ``count`` records that all stay (docs/isa.md): 13 for each and
    one for each that is left then, and what the divider takes for each pair that needs it."""
    return 16 + 13 * count + count * (count + 1) // 2 + _divider(case.mode) * case.pairs(count)


def _divider(mode: Suppression) -> int:
    """Cycles of a pair whose overlap is needed as a number; 0 in mode GREEDY."""
    from falconet_hw.detect.penalty import PENALTY_LATENCY

    return int(PENALTY_LATENCY[mode]) + 1 if mode in PENALTY_LATENCY else 0


def _step(count: int) -> int:
    """1/16 pixels from one box to the next, and the least size of one."""
    return 1536 // count


def _wide(count: int) -> int:
    """How many of the crossing boxes are wide: a stored byte says where."""
    return min(count // 2, 256)


def _stored(boxes: str, count: int) -> Int8:
    """The box tensor [4, 1, count]; box ``i`` also moves right by ``i`` steps."""
    heads = np.full((4, 1, count), -128, np.int16)  # the least size at the least place
    if boxes == "stacked":
        heads[2:] = 127
    if boxes == "crossing":
        n = _wide(count)
        wide = np.arange(count) < n
        heads[1, 0, wide] = np.arange(n) * (256 // n) - 128
        heads[2, 0, wide] = heads[3, 0, ~wide] = 127
    return heads.astype(np.int8)


def _entries(count: int) -> NDArray[np.int64]:
    """The detect table's 256 entries: score, objectness, centre, size."""
    q = np.arange(256)
    size = np.where(q == 0, _step(count), 32 * q)
    return np.stack([257 * q, 0 * q, 256 + 15 * q, size], axis=1)


def _head(arch: Arch, case: Case, options: int, weights: int) -> Detect:
    """What the program says of it."""
    count = arch.candidates
    score, _, centre, size = (tuple(column) for column in _entries(count).T.tolist())
    level = DetectLevel(
        scores="scores", boxes="boxes", objectness="", landmarks="", options=options, n_class=1,
        height=1, width=count, stride=(_step(count), 0), grid=0, form=0, centre_shift=1,
        size_shift=1, mark_shift=1, clip=(-32768, 32767, -32768, 32767), anchors=((2, 2, 0, 0),),
        score=score, size=size, objectness_table=(), centre=centre, mark=(),
    )
    return Detect(
        mode=case.mode.name.lower(), agnostic=False, limit=count, points=0, rows=0, score=0.0,
        iou=0.0, sigma=0.5, output=0, weights=weights, levels=(level,),
    )


def worst_program(arch: Arch, case: Case) -> tuple[Program, dict[str, Int8]]:
    """A program for a case, and its inputs; run it with ``Options(0, 0)``."""
    count, lanes, per = arch.candidates, arch.lanes, arch.row_words
    # Centres and sizes of an anchor of 2 units, halved by the shift: the entries themselves.
    anchor = np.array([2, 2, 0, 0, 0, 0, 0, 0])
    entries = _entries(count)
    table = entries.astype("<u2").tobytes() + anchor.astype("<u2").tobytes()
    heads = {"scores": (np.arange(count) * 101 % 256 - 128).astype(np.int8).reshape(1, 1, count),
             "boxes": _stored(case.boxes, count)}
    size = count * lanes
    options, weights = 2 * size, 2 * size + 128
    move = {"segment": Segment.INPUT, "dst": Dst.DETECT}
    room, table_bytes = arch.ROW_BYTES * (1 + count), arch.ROW_BYTES * arch.TABLE_ANCHORS
    body: list[Instruction] = [
        Load(segment=Segment.INPUT, run=2 * count),
        Load(segment=Segment.CODE, dst=Dst.DETECT, run=len(table) // lanes),
        Load(**move, offset=options, base=arch.TABLE_OPTIONS * per, run=per),
        Scan(box_base=count, n_y=1, n_x=count, n_b=1, n_channels=1, n_class=1, first=1,
             stride_x=_step(count), centre_shift=1, size_shift=1, x_lo=-32768, x_hi=32767,
             y_lo=-32768, y_hi=32767),
        Load(**move, offset=weights, run=arch.TABLE_ANCHORS * per),
        Suppress(mode=case.mode, limit=count),
        Store(segment=Segment.OUTPUT, src=Src.RECORDS, base=count * per, run=per),
        Store(segment=Segment.OUTPUT, src=Src.RECORDS, offset=arch.ROW_BYTES, run=count * per),
        End(),
    ]
    gaussian = case.mode is Suppression.SOFT_GAUSSIAN
    if not gaussian:
        del body[4]
    waits = dict.fromkeys(("load", "detect"), 0)
    code = b""
    at = -(-len(body) * arch.INSTRUCTION_BYTES // SEGMENT_GRAIN) * SEGMENT_GRAIN
    for ins in body:
        ins = ins.replace(**{f"wait_{e}": n for e, n in waits.items()})
        if isinstance(ins, Load) and ins.segment == Segment.CODE:
            ins = ins.replace(offset=at)
        code += ins.encode()
        if ins.engine is not None and ins.engine.name.lower() in waits:
            waits[ins.engine.name.lower()] += 1
    tensors = [{"name": name, "shape": list(v.shape), "scale": 1.0, "zero_point": 0,
                "format": "blocks", "offset": i * size}
               for i, (name, v) in enumerate(heads.items())]
    header: dict[str, Any] = {
        "model": "worst case", "instructions": len(body), "inputs": tensors, "outputs": [],
        "layers": [], "steps": [[-1] * 6] * len(body), "tensors": [],
        "detect": as_json(_head(arch, case, options, weights if gaussian else -1)),
        "segments": {"input": weights + table_bytes, "output": room, "work": 0},
    }
    return Program(arch, code.ljust(at, b"\0") + table, header), heads


def measure(arch: Arch) -> list[dict[str, Any]]:
    """Cycles of SUPPRESS in the RTL for each case, next to the bound; the simulator agrees."""
    from falconet.runtime.detections import Options

    found = []
    for case in CASES:
        program, heads = worst_program(arch, case)
        expected, run = (run_on(d, make_device(d, program), heads, Options(0, 0))
                         for d in (DeviceName.iss, DeviceName.rtl))
        require_same(expected, run, LABELS[DeviceName.rtl])
        at = next(i for i, ins in enumerate(program.instructions()) if isinstance(ins, Suppress))
        mode, stay = case.mode.name.lower(), len(run.detections.records)
        cycles = int(run.trace.retire[at] - run.trace.start[at])
        bound = cycle_bound(case, arch.candidates)
        if stay != arch.candidates or cycles > bound:
            raise FalconetError(f"worst case {mode}, {case.boxes}: {stay} boxes stay, {cycles:,} "
                                f"cycles for at most {bound:,}; report it")
        found.append({"mode": mode, "boxes": case.boxes, "stay": stay, "cycles": cycles,
                      "pairs": case.pairs(arch.candidates), "bound": bound})
    return found


_COLUMNS = ("mode", "boxes", "pairs divided", "cycles", "bound", "at the clock")


def _rows(found: list[dict[str, Any]], arch: Arch) -> list[list[str]]:
    return [[f["mode"], f["boxes"], f"{f['pairs']:,}", f"{f['cycles']:,}", f"{f['bound']:,}",
             f"{f['cycles'] / arch.clock_mhz / 1e3:.2f} ms"] for f in found]


def worst_case(
    preset_name: Preset = DEFAULT_PRESET,
    page: Page = None,
    as_json: Json = False,
) -> None:
    """Measure non-maximum suppression at its longest: all candidates of one class, all stay.

    Example: falconet worst-case --preset tiny
    """
    arch = preset(preset_name)
    found = measure(arch)
    rows = _rows(found, arch)
    if page is not None:
        lines = [_COLUMNS, ["---"] * len(_COLUMNS), *rows]
        text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        pair = ", ".join(f"{_divider(m)} ({m.name.lower()})" for m in Suppression if _divider(m))
        put_section(
            page, f"worst case {arch.name}",
            f"## Suppression at its longest, {arch.name}\n\n`falconet worst-case --preset "
            f"{preset_name}` at commit {revision()}: K = {arch.candidates} candidates of one "
            f"class, all stay; {arch.clock_mhz:g} MHz, simulated, not silicon.\n\nBound: `16 + 13 "
            "K + K (K + 1) / 2` cycles, and for each pair whose overlap is divided out (`pairs "
            f"divided`) {pair} more. Boxes `apart` do not overlap; `stacked`, each overlaps all "
            "others; `crossing`, each wide one crosses each high one, as many as DIoU-NMS lets "
            f"stay.\n\n{text}\n")
    if as_json:
        print_json(found)
        return
    table = Table(box=None)
    for i, title in enumerate(_COLUMNS):
        table.add_column(title, justify="left" if i < 2 else "right")
    for row in rows:
        table.add_row(*row)
    results.print(table)


def register(app: typer.Typer) -> None:
    app.command("worst-case")(worst_case)
