"""What of a program lies where in DDR."""

from __future__ import annotations

from dataclasses import dataclass

from falconet.isa import Arch, Program, Segment

__all__ = ["Part", "memory_map"]

_WEIGHTS = 256  # entries, of a row each, that Soft-NMS (Gaussian) wants for every run


@dataclass(frozen=True)
class Part:
    """Bytes [offset, offset + bytes) of a segment."""

    segment: str
    offset: int
    bytes: int
    what: str


def memory_map(program: Program) -> list[Part]:
    """By segment and offset; only what is not empty. Between parts there may be gaps."""
    header, row, lanes = program.header, Arch.ROW_BYTES, program.arch.lanes
    instructions = header["instructions"] * Arch.INSTRUCTION_BYTES
    graph = header.get("graph_offset", len(program.code))
    parts = [
        Part("CODE", 0, instructions, f"{header['instructions']:,} instructions"),
        Part("CODE", instructions, graph - instructions, "weights, parameters, tables"),
        Part("CODE", graph, len(program.code) - graph, "constants of the graph, for the golden "
             "model; the machine does not read them"),
        Part("WORK", 0, header["segments"]["work"], "tensors that do not fit on chip"),
    ]
    for t in header["inputs"]:
        parts.append(Part("INPUT", t["offset"], t["shape"][1] * t["pitch"],
                          f"input '{t['name']}', rows of {t['pitch']:,} bytes"))
    for t in header["outputs"]:
        _, height, width = t["shape"]
        parts.append(Part("OUTPUT", t["offset"], height * t["blocks"] * width * lanes,
                          f"output '{t['name']}', rows of {t['blocks'] * width * lanes:,} bytes"))
    if detect := program.detect:
        for i, level in enumerate(detect.levels):
            parts.append(Part("INPUT", level.options, row, f"options of the run, level {i}"))
        if detect.weights >= 0:
            parts.append(Part("INPUT", detect.weights, _WEIGHTS * row,
                              "weights of overlaps, for this sigma"))
        limit, at = detect.limit, detect.output
        parts += [
            Part("OUTPUT", at, row, "counts"),
            Part("OUTPUT", at + row, limit * row, f"records of {limit} boxes"),
            Part("OUTPUT", at + (1 + limit) * row, limit * detect.rows * row,
                 f"landmarks of {limit} boxes"),
        ]
    order = [s.name for s in Segment]
    return sorted((p for p in parts if p.bytes),
                  key=lambda p: (order.index(p.segment), p.offset))
