"""``python tests/streaming``: latency and rate of ``stream`` against a machine of 8.5 ms.

The machine is a stand-in: it sleeps for so long and then gives RetinaFace's boxes, as the
simulator found them. All else is what runs on a board: reading, pre-processing, threads, driver.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import numpy as np  # noqa: E402
from paced import Bytes, PacedBoard  # noqa: E402
from PIL import Image  # noqa: E402
from recording import STAGES, Recording, draw, record  # noqa: E402

from falconet.isa import Segment  # noqa: E402
from falconet.runtime.driver import Driver  # noqa: E402
from falconet.runtime.resample import resample  # noqa: E402
from falconet_app.commands.pages import put_section, revision  # noqa: E402
from falconet_app.commands.sources import network_input, program_of  # noqa: E402
from falconet_models.data import photograph  # noqa: E402
from falconet_sim.iss.simulator import IssDevice  # noqa: E402

WIDTH, HEIGHT = 640, 480
LARGE = 1728, 2304  # height, width: four megapixels


def retinaface(picture: Bytes, seconds: float) -> tuple[Driver, PacedBoard]:
    """A machine that sees in any photograph what the simulator sees in ``picture``."""
    program = program_of("retinaface", "pynq-z2")
    simulator = IssDevice(program)
    simulator.run(dict(network_input(program, picture).as_dict()))
    assert simulator.machine is not None
    output = np.array(simulator.machine.ddr[Segment.OUTPUT])
    board = PacedBoard(program, seconds, lambda _: output)
    machine = Driver(board, board, name="paced", arch=program.arch)
    machine.load(program)
    assert machine.see(picture).objects
    return machine, board


def camera(picture: Bytes, rate: float, count: int, born: list[float]) -> Iterator[Bytes]:
    due = time.perf_counter() + 0.1
    for n in range(count):
        time.sleep(max(0.0, due + n / rate - time.perf_counter()))
        born.append(time.perf_counter())
        yield picture


def row(what: str, r: Recording, *, waits: bool) -> str:
    """A line of the table; ``waits`` for a source that is slower than all else."""
    stages = [f"{1e3 * r.seconds(s):.1f} ms" for s in STAGES]
    if waits:
        late = sorted(1e3 * v for v in r.late)
        cells = [*("", *stages[1:]), f"{r.rate:.1f}", "",
                 f"{late[len(late) // 2]:.1f} ms, at most {late[-1]:.1f}"]
    else:
        name, limit = r.limit
        cells = [*stages, f"{r.rate:.1f}", f"{limit:.1f} ({name})", ""]
    return f"| {what} | {' | '.join(cells)} |"


def from_files(machine: Driver, board: PacedBoard, picture: Bytes, count: int) -> Recording:
    """The same JPEG file again and again."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.jpg"
        Image.fromarray(picture).save(file, quality=90)
        return record(machine, board, [file] * count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--milliseconds", type=float, default=8.5, help="that the machine takes")
    parser.add_argument("--frames", type=int, default=200, help="of a saturated stream")
    parser.add_argument("--markdown", type=Path, help="put the table into this page")
    parser.add_argument("--picture", type=Path, help="draw ten frames into this file")
    given = parser.parse_args()
    picture = resample(photograph("astronaut"), HEIGHT, WIDTH)
    machine, board = retinaface(picture, given.milliseconds / 1e3)
    born: list[float] = []
    slow = record(machine, board, camera(picture, 10, 40, born))
    slow.born = born
    fast = record(machine, board, [picture] * given.frames)
    files = from_files(machine, board, picture, given.frames)
    large = from_files(machine, board, resample(picture, *LARGE), given.frames // 4)
    lines = [
        "| photographs | read | prepare | machine | objects | results/s | the slowest alone "
        "| from photograph to result |", "|---|---|---|---|---|---|---|---|",
        row("a camera's, 10 a second", slow, waits=True),
        row("in memory", fast, waits=False),
        row("JPEG files", files, waits=False),
        row(f"JPEG files of {LARGE[1]} x {LARGE[0]}", large, waits=False),
    ]
    print("\n".join(lines))
    if given.picture:
        draw([("A camera of 10 frames/s", slow, range(20, 30), 20),
              ("Frame 1 of them", slow, range(20, 21), 20),
              ("Files, as fast as they come", files, range(50, 60), 50)], given.picture)
    if given.markdown:
        put_section(given.markdown, "stream", "\n".join([
            "## Streams", "",
            f"`python tests/streaming` at commit {revision()}, {platform.machine()}, "
            f"{os.cpu_count()} cores, seconds of the clock: averages, in the last column the "
            "median and the worst.", "",
            f"The machine is a stand-in that sleeps for {given.milliseconds:g} ms and then gives "
            "the boxes of RetinaFace: reading, pre-processing, threads and driver are real, the "
            f"machine is not. Photographs are {WIDTH} x {HEIGHT} where nothing else is said. Each "
            "of reading, preparing, the machine (with the objects read) has a thread of its own; "
            "\"the slowest alone\" is what its time allows, in frames/s.", "", *lines, ""]))


if __name__ == "__main__":
    main()
