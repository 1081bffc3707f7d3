"""``falconet inspect``: what is in a program file."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from falconet.isa import Arch, Program
from falconet_app.commands.console import print_json, results
from falconet_app.commands.ddr_map import memory_map

__all__ = ["register"]


def _shape(tensor: dict[str, Any]) -> str:
    return " x ".join(str(n) for n in tensor["shape"])


def _head(program: Program) -> dict[str, Any] | None:
    """The detection head that the machine evaluates, if there is one."""
    detect = program.detect
    if detect is None:
        return None
    kept = ("mode", "agnostic", "limit", "points", "score", "iou", "sigma")
    return {
        **{k: getattr(detect, k) for k in kept}, "candidates": program.arch.candidates,
        "levels": [
            {"scores": level.scores, "height": level.height, "width": level.width,
             "stride": [s / Arch.BOX_STEPS for s in level.stride], "classes": level.n_class,
             "anchors": [[a / Arch.BOX_STEPS for a in anchor[:2]] for anchor in level.anchors],
             "objectness": bool(level.objectness)}
            for level in detect.levels
        ],
    }


def summary(program: Program) -> dict[str, Any]:
    """The contents of a program as plain data."""
    header, arch = program.header, program.arch
    instructions = program.instructions()
    count = Counter(i.mnemonic for i in instructions)
    per_layer = Counter(int(step[0]) for step in header["steps"])
    return {
        "model": header["model"],
        "preset": arch.name,
        "arch_hash": f"0x{arch.hash:08X}",
        "isa_version": header.get("isa_version"),
        "instructions": dict(count),
        "bytes": {
            "instructions": len(instructions) * arch.INSTRUCTION_BYTES,
            "code": len(program.code),
            **header["segments"],
        },
        "inputs": [{k: t[k] for k in ("name", "shape", "scale", "zero_point")}
                   for t in header["inputs"]],
        "outputs": [{k: t[k] for k in ("name", "shape", "scale", "zero_point")}
                    for t in header["outputs"]],
        "head": _head(program),
        "macs": sum(int(layer["macs"]) for layer in header["layers"]),
        "layers": [
            {"name": layer["name"], "op": layer["op"], "engine": layer["engine"],
             "macs": layer["macs"], "instructions": per_layer[i]}
            for i, layer in enumerate(header["layers"])
        ],
    }


def disassembly(program: Program) -> list[str]:
    """One line for each instruction: index, layer, fields."""
    names = [str(layer["name"]) for layer in program.header["layers"]]
    lines = []
    for i, (ins, step) in enumerate(zip(program.instructions(), program.header["steps"])):
        layer = names[step[0]] if 0 <= step[0] < len(names) else ""
        lines.append(f"{i:5}  {layer[:28]:<28}  {ins}")
    return lines


def _head_lines(head: dict[str, Any]) -> list[str]:
    """A detection head in words."""
    across = ", across classes" if head["agnostic"] else ""
    marks = f", {head['points']} landmarks each" if head["points"] else ""
    lines = [
        f"  boxes   at most {head['limit']} of {head['candidates']} candidates{marks}; "
        f"{head['mode']}{across}; by default score {head['score']:g}, IoU {head['iou']:g}, "
        f"sigma {head['sigma']:g}, maximum {head['limit']}"
    ]
    for level in head["levels"]:
        sizes = ", ".join(f"{w:g} x {h:g}" for w, h in level["anchors"])
        lines.append(
            f"  level   {level['scores']}: {level['height']} x {level['width']} cells of stride "
            f"{level['stride'][0]:g} x {level['stride'][1]:g}, anchors {sizes}; "
            f"{level['classes']} classes{', objectness' if level['objectness'] else ''}"
        )
    return lines


def _tables(contents: dict[str, Any]) -> None:
    results.print(f"{contents['model']}, for {contents['preset']} ({contents['arch_hash']}), "
                  f"{contents['macs'] / 1e6:,.1f} M MACs")
    for kind in ("inputs", "outputs"):
        for t in contents[kind]:
            results.print(f"  {kind[:-1]:<7} {t['name']}: {_shape(t)}, scale {t['scale']:.6g}, "
                          f"zero point {t['zero_point']}")
    for line in _head_lines(contents["head"]) if contents["head"] else []:
        results.print(line)
    sizes = ", ".join(f"{k} {v:,}" for k, v in contents["bytes"].items())
    counts = ", ".join(f"{v:,} {k}" for k, v in contents["instructions"].items())
    results.print(f"  bytes   {sizes}\n  program {counts}")
    table = Table("layer", "op", "engine", box=None)
    for title in ("MACs", "instructions"):
        table.add_column(title, justify="right")
    for layer in contents["layers"]:
        table.add_row(layer["name"], layer["op"], layer["engine"], f"{layer['macs']:,}",
                      f"{layer['instructions']:,}")
    results.print(table)


def _map(program: Program) -> None:
    table = Table("segment", box=None)
    for title in ("offset", "bytes"):
        table.add_column(title, justify="right")
    table.add_column("what")
    for part in memory_map(program):
        table.add_row(part.segment, f"{part.offset:#x}", f"{part.bytes:,}", part.what)
    results.print(table)


def inspect(
    program: Annotated[Path, typer.Argument(help="A program file.")],
    disassemble: Annotated[bool, typer.Option(help="List every instruction.")] = False,
    memory: Annotated[bool, typer.Option("--map", help="List what lies where in DDR.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show what is in a program: layers, engines, bytes, instructions.

    Example: falconet inspect net.flc --disassemble
    """
    loaded = Program.load(program)
    contents = summary(loaded)
    if as_json:
        if disassemble:
            contents["disassembly"] = [str(i) for i in loaded.instructions()]
        if memory:
            contents["map"] = [asdict(p) for p in memory_map(loaded)]
        print_json(contents)
        return
    _tables(contents)
    if memory:
        _map(loaded)
    if disassemble:
        print("\n".join(disassembly(loaded)))


def register(app: typer.Typer) -> None:
    app.command("inspect")(inspect)
