"""Tasks to instructions: waits from the memory that each one touches, then the program file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.detect import RECORDS, DetectOp
from falconet.compiler.lower import Network
from falconet.compiler.ops import Emitted, Memory, Region
from falconet.compiler.plan import Plan
from falconet.compiler.schedule import Task, WeightLoad
from falconet.isa import (
    Arch,
    Dst,
    End,
    Engine,
    Load,
    Program,
    Scan,
    Segment,
)

__all__ = ["emit_program"]

_ALIGN = 128


class _Hazards:
    """Who wrote and who read each unit of each memory last, as counts of retired instructions."""

    def __init__(self, arch: Arch) -> None:
        self.size: dict[Memory, int] = {
            Dst.SCRATCHPAD: arch.scratchpad_words, Dst.WEIGHTS: arch.weight_words,
            Dst.VECTOR: arch.vector_words, Dst.MAC_TABLE: 1, Dst.VEC_TABLE: 1,
            Dst.DETECT: arch.TABLE_ROWS, RECORDS: 1,
        }
        self.marks: dict[tuple[Memory, bool], NDArray[np.int32]] = {}
        self.count = [0] * len(Engine)

    def _mark(self, memory: Memory, write: bool) -> NDArray[np.int32]:
        key = memory, write
        if key not in self.marks:
            size = self.size.get(memory, 4096)
            self.marks[key] = np.zeros((len(Engine), size), np.int32)
        return self.marks[key]

    def waits(self, engine: Engine, reads: list[Region], writes: list[Region]) -> list[int]:
        """The counts to wait for; records the instruction as the next of its engine."""
        need = np.zeros(len(Engine), np.int32)
        for memory, lo, hi in reads:
            np.maximum(need, self._mark(memory, True)[:, lo:hi].max(1), out=need)
        own = need[engine]
        for memory, lo, hi in writes:
            for kind in (True, False):
                np.maximum(need, self._mark(memory, kind)[:, lo:hi].max(1), out=need)
        need[engine] = own  # an engine reads and writes in order: only its own RAW needs a wait
        self.count[engine] += 1
        mine = self.count[engine]
        for kind, regions in ((False, reads), (True, writes)):
            for memory, lo, hi in regions:
                self._mark(memory, kind)[engine, lo:hi] = mine
        return [int(n) for n in need]


def emit_program(plan: Plan, tasks: list[Task], name: str) -> Program:
    """The program of an allocated plan."""
    net, arch = plan.net, plan.net.arch
    stages: list[tuple[Emitted, Task]] = []
    first = True  # of the SCANs
    blobs, weights_at = bytearray(), {}
    for task in tasks:
        if task.load is not None:
            load = task.load
            weights_at[load.op, load.chunk] = load.base
            blobs.extend(bytes(-len(blobs) % _ALIGN))
            if load.data:
                stages.append((_load_weights(arch, load, len(blobs)), task))
                blobs.extend(load.data)
            op = plan.ops[task.op]
            if isinstance(op, DetectOp) and op.hosted is not None:
                stages.append((_load_hosted(arch, *op.hosted), task))
        else:
            assert task.tile is not None
            base = weights_at.get((task.op, task.tile.chunk), 0)
            for emitted in plan.ops[task.op].emit(task.tile, base):
                stages.append((emitted, task))
    code_bytes = (len(stages) + 1) * arch.INSTRUCTION_BYTES
    weights_offset = -(-code_bytes // _ALIGN) * _ALIGN
    hazards, code, steps = _Hazards(arch), bytearray(), []
    tensor_index = {n: i for i, n in enumerate(net.slots)}
    for emitted, task in stages:
        ins = emitted.instruction
        engine = ins.engine
        assert engine is not None
        waits = hazards.waits(engine, emitted.reads, emitted.writes)
        changes = {f"wait_{e.name.lower()}": waits[e] & 0xFFFF for e in Engine}
        if isinstance(ins, Scan):
            changes["first"], first = first, False
        if isinstance(ins, Load) and ins.segment == Segment.CODE:
            changes["offset"] = ins.offset + weights_offset
        code.extend(ins.replace(**changes).encode())
        steps.append(_step(plan, task, tensor_index))
    code.extend(End().encode())
    steps.append([-1, -1, 0, 0, 0, 0])
    code.extend(bytes(weights_offset - len(code)))
    code.extend(blobs)
    return _program(net, bytes(code), steps, name)


def _load_weights(arch: Arch, load: WeightLoad, offset: int) -> Emitted:
    depth = {Dst.WEIGHTS: arch.weight_words, Dst.VECTOR: arch.vector_words}.get(load.memory, 1)
    per_word = {Dst.WEIGHTS: arch.lanes, Dst.VECTOR: arch.taps}.get(load.memory, 0)
    regions: list[Region]
    if load.memory in (Dst.MAC_TABLE, Dst.VEC_TABLE):
        regions = [(load.memory, 0, 1)]
    elif load.memory is Dst.DETECT:
        regions = [(load.memory, 0, len(load.data) // arch.ROW_BYTES)]
    else:
        end = load.base + load.words
        regions = [(load.memory, load.base, min(end, depth))]
        if end > depth:
            regions.append((load.memory, 0, end - depth))
    ins = Load(
        segment=Segment.CODE, offset=offset, dst=load.memory,
        run=len(load.data) // arch.lanes, base=load.base * per_word if per_word else 0,
    )
    return Emitted(ins, [], regions)


def _load_hosted(arch: Arch, offset: int, row: int, rows: int) -> Emitted:
    """Rows of the detect table that the driver writes."""
    ins = Load(segment=Segment.INPUT, offset=offset, dst=Dst.DETECT, run=rows * arch.row_words,
               base=row * arch.row_words)
    return Emitted(ins, [], [(Dst.DETECT, row, row + rows)])


def _step(plan: Plan, task: Task, index: dict[str, int]) -> list[int]:
    op = plan.ops[task.op]
    if task.tile is None or op.output is None or op.layer < 0:
        return [op.layer, -1, 0, 0, 0, 0]
    t = task.tile
    return [op.layer, index[op.output.name], t.y0, t.y1, t.b0, t.b1]


def _program(net: Network, code: bytes, steps: list[list[int]], name: str) -> Program:
    graph, arch = net.graph, net.arch
    description, blob = graph.to_dict()
    offset = -(-len(code) // _ALIGN) * _ALIGN
    engines: dict[int, str] = {}
    for op in net.ops:
        if op.layer >= 0:
            engines[op.layer] = op.engine.name
    header: dict[str, Any] = {
        "model": name,
        "instructions": len(steps),
        "code_bytes": len(code),
        "segments": {s.name.lower(): net.segment_bytes[s] for s in Segment if s != Segment.CODE},
        "inputs": net.inputs,
        "outputs": net.outputs,
        "layers": [
            {"name": n.name, "op": n.op, "engine": engines.get(i, "-"), "macs": graph.macs(n)}
            for i, n in enumerate(graph.nodes)
        ] + [
            {"name": name, "op": op, "engine": Engine.DETECT.name, "macs": 0}
            for name, op in net.extra_layers
        ],
        "steps": steps,
        "tensors": [
            {"name": n, "height": s.buffer.height, "width": s.buffer.width, "blocks": s.blocks,
             "channels": len(s.lane_of), "lane_of": [int(v) for v in s.lane_of]}
            for n, s in net.slots.items()
        ],
        "graph": description,
        "graph_offset": offset,
        "meta": graph.meta,
    }
    if net.detect is not None:
        header["detect"] = net.detect
    payload = code + bytes(offset - len(code)) + blob
    return Program(arch, payload, header)
