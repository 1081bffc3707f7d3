"""``python3 -m falconet.demo PROGRAM``: the page on a board, without typer, ONNX or simulators."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from falconet.isa import BOARDS, FalconetError, Program


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python3 -m falconet.demo", description="The page of this board's machine.",
        epilog="example: python3 -m falconet.demo retinaface-pynq-z2.flc --bitstream falconet.bit "
               "--host 0.0.0.0 --camera 0")
    parser.add_argument("program", help="a program file, or one of the samples")
    parser.add_argument("--board", default="pynq-z2",
                        choices=[b.name for b in BOARDS.values() if b.linux])
    parser.add_argument("--bitstream", type=Path, help="load this first")
    parser.add_argument("--camera", type=int, help="the number of a camera of this board")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (%(default)s)")
    given = parser.parse_args(arguments)
    try:
        if importlib.util.find_spec("flask") is None:
            raise FalconetError("the package 'flask' is missing; run: pip3 install flask")
        from falconet.demo.opening import open_machine, samples
        from falconet.demo.serving import show
        from falconet.samples import sample

        program = Program.load(sample(given.program))
        with open_machine(program, given.board, given.bitstream) as machine:
            show(machine, samples(), given.camera, given.host, given.port, print)
    except (FalconetError, OSError) as e:
        print(f"falconet: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
