"""``python -m falconet_hw.build.timing --preset pynq-z2``: the clock that a netlist could have.

Writes build/timing/PRESET.json and prints the worst paths. An estimate from the netlist of yosys:
every net takes the same time and a little a sink, nothing is placed or routed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from falconet.isa import FalconetError, board
from falconet_hw.build.synth import board_design, design, netlist
from falconet_hw.build.timing.analyse import analyse

_SHOWN = 8
"""Registers that a group of paths ends in."""


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise ValueError(text)
    return value


def count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m falconet_hw.build.timing", description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", default="pynq-z2",
                        help="machine, or a JSON file that describes it (default: %(default)s)")
    parser.add_argument("--board", help="the whole design of a board instead")
    parser.add_argument("--net", type=positive, default=0.60, help="ns a net (%(default)s)")
    parser.add_argument("--clock", type=positive, default=150.0,
                        help="MHz that paths are late for (%(default)s)")
    parser.add_argument("--paths", type=count, default=12,
                        help="how many registers to begin with (%(default)s)")
    args = parser.parse_args(argv)
    of = board_design(board(args.board)) if args.board else design(args.preset)
    if of.family != "xc7":
        raise FalconetError(f"{of.title}: the delays are of 7-series chips; name another board")
    found = analyse(netlist(of), args.net, 1000 / args.clock, args.paths)
    report = {"name": of.name, "title": of.title, **found}
    path = Path("build/timing") / f"{of.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    _print_report(report)
    print(f"{path}: every step of these paths")


def _file(at: Mapping[str, Any]) -> str:
    return f" ({at['file']})" if at["file"] else ""


def _print_report(report: Mapping[str, Any]) -> None:
    print(f"{report['title']}: an estimate from the netlist, not placed, not routed")
    for of in report["clocks"]:
        clocks = ", ".join(f"{mhz} MHz at {ns}" for ns, mhz in of["mhz"].items())
        print(f"{of['clock']}: {clocks} ns a net; {of['ends']:,} ends, {of['late']:,} later than "
              f"{report['period']} ns at {report['net']:.2f}")
    for of in report["crossings"]:
        print(f"{of['from']} to {of['to']}: {of['ends']:,} ends, at most {of['ns']} ns")
    for group in report["groups"]:
        print(f"\n{group['ns']:.3f} ns, {group['levels']} levels, from {group['register']}"
              f"{_file(group)}: {group['ends']:,} ends, {group['late']:,} late")
        for step in group["path"]:
            print(f"  {step['ns']:9.3f} {step['cell']:<9} {step['sinks']:>4} sinks  {step['net']}")
        for to in group["to"][:_SHOWN]:
            print(f"  {to['ns']:9.3f} to {to['register']}.{to['pin']}{_file(to)}: "
                  f"{to['ends']:,} ends")
        if len(group["to"]) > _SHOWN:
            print(f"{'':12}and {len(group['to']) - _SHOWN} registers more")


if __name__ == "__main__":
    try:
        main()
    except FalconetError as e:
        sys.exit(f"error: {e}")
