"""A schedule to the program file."""

from __future__ import annotations

from typing import Any

from falconet.compiler.emit.code import Code
from falconet.compiler.machine.place import aligned
from falconet.compiler.schedule.simulate import Schedule, Task
from falconet.isa import Engine, Program, Segment
from falconet.isa.schema import as_json

__all__ = ["emit_program"]

_END = [-1, -1, 0, 0, 0, 0]  # the step of END


def emit_program(schedule: Schedule, code: Code, name: str) -> Program:
    """The program of a schedule and its code."""
    net = schedule.plan.net
    index = {n: i for i, n in enumerate(net.slots)}
    steps = [_step(schedule, schedule.tasks[s.task], index) for s in code.steps]
    return _program(schedule, code.encode(net.arch), [*steps, _END], name)


def _step(schedule: Schedule, task: Task, index: dict[str, int]) -> list[int]:
    op = schedule.plan.ops[task.op]
    if task.tile is None or op.output is None or op.layer < 0:
        return [op.layer, -1, 0, 0, 0, 0]
    t = task.tile
    return [op.layer, index[op.output.name], t.y0, t.y1, t.b0, t.b1]


def _program(schedule: Schedule, payload: bytes, steps: list[list[int]], name: str) -> Program:
    net = schedule.plan.net
    description, blob = net.graph.to_dict()
    offset = aligned(len(payload))
    segments = {s.name.lower(): net.segment_bytes[s] for s in Segment if s != Segment.CODE}
    header: dict[str, Any] = {
        "model": name,
        "instructions": len(steps),
        "code_bytes": len(payload),
        "segments": {**segments, Segment.WORK.name.lower(): schedule.plan.work_bytes},
        "inputs": net.inputs,
        "outputs": net.outputs,
        "layers": _layers(schedule),
        "steps": steps,
        "tensors": [
            {"name": n, "height": s.buffer.height, "width": s.buffer.width, "blocks": s.blocks,
             "channels": len(s.lane_of), "lane_of": [int(v) for v in s.lane_of]}
            for n, s in net.slots.items()
        ],
        "graph": description,
        "graph_offset": offset,
        "meta": net.graph.meta,
    }
    if net.detect is not None:
        header["detect"] = as_json(net.detect)
    return Program(net.arch, payload + bytes(offset - len(payload)) + blob, header)


def _layers(schedule: Schedule) -> list[dict[str, Any]]:
    net = schedule.plan.net
    engines = {op.layer: op.engine.name for op in net.ops if op.layer >= 0}
    return [
        {"name": n.name, "op": n.op, "engine": engines.get(i, "-"), "macs": net.graph.macs(n)}
        for i, n in enumerate(net.graph.nodes)
    ] + [
        {"name": name, "op": op, "engine": Engine.DETECT.name, "macs": 0}
        for name, op in net.extra_layers
    ]
