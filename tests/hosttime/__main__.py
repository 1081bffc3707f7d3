"""``python tests/hosttime``: what the host does for a photograph, before and after the machine.

The host's times are measured where this runs, through the driver of the simulated RTL, which also
gives the machine's cycles. For the board's Cortex-A9 the instructions of the C kernel are counted
on an emulated one.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import arm

from falconet.isa import FalconetError, Program
from falconet.runtime.preprocess import Preprocessor
from falconet.runtime.resample import IMPLEMENTATIONS, implementation, resample
from falconet.runtime.vision import postprocess, real_outputs
from falconet_app.commands.console import working
from falconet_app.commands.pages import put_section, revision
from falconet_app.commands.sources import program_of
from falconet_models.data import photograph
from falconet_sim.rtl.board import RtlDevice

COMMANDS = {"detect": "retinaface", "classify": "mobilenetv2"}
SIZES = {"640 x 480": (480, 640), "2304 x 1728": (1728, 2304)}
A9_MHZ = 650
REPEATS = 30


def least(work: Callable[[], Any]) -> float:
    """Milliseconds: the least of several, since others only add."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return 1e3 * min(times)


def instructions(program: Program, picture: Any) -> int:
    """Of the Cortex-A9, from the photograph to the stored tensor."""
    t = program.header["inputs"][0]
    prepare = Preprocessor(program.header["meta"], float(t["scale"]), int(t["zero_point"]))
    with tempfile.TemporaryDirectory() as folder:
        return arm.count(arm.ARMHF, prepare.scaling(picture.shape), picture, Path(folder))


def measure(command: str, model: str, count: bool) -> list[dict[str, str]]:
    """A row for each size of photograph."""
    program = program_of(model, None)
    device = RtlDevice.for_program(program)
    rows = []
    for name, size in SIZES.items():
        picture = resample(photograph("astronaut"), *size)
        row = {"command": command, "photograph": name, **host(device, picture)}
        if count:
            made = instructions(program, picture)
            row["before, Cortex-A9"] = (f"{made / 1e6:.1f} M instructions, about "
                                        f"{made / A9_MHZ / 1e3:.0f} ms")
        rows.append(row)
    return rows


def host(device: RtlDevice, picture: Any) -> dict[str, str]:
    """Times of one photograph, on the host and on the machine."""
    program, slot, found = device.program, device.slot(0), {}
    for asked in IMPLEMENTATIONS:
        os.environ["FALCONET_RESAMPLE"] = asked
        assert implementation() == asked
        before = least(lambda: device.stage_photograph(slot, picture))
        found[f"before, {asked}"] = f"{before:.2f} ms"
    frame = device.stage_photograph(slot, picture)
    device.start(slot)
    device.wait()

    def after() -> None:
        outputs = device.seen(slot, frame).result.outputs
        if outputs:  # a detector's are made on the machine
            postprocess(program.header["meta"], real_outputs(program, outputs), frame)

    found["machine"] = f"{slot.cycles / program.arch.clock_mhz / 1e3:.2f} ms"
    found["after"] = f"{least(after):.2f} ms"
    return found


def processor() -> str:
    """Its name, if the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def section(rows: list[dict[str, str]], arch: Any, why_not: str) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(r.values()) for r in rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    a9 = why_not or (
        f"Cortex-A9: an estimate. Instructions of the C kernel with NEON, counted by qemu-user\n"
        f"(the difference between two and six photographs); the time is for one a cycle at\n"
        f"{A9_MHZ} MHz. Python's share is not in it.")
    return f"""## Host and machine

`python tests/hosttime` at commit {revision()}, on one core of: {processor()}.

Before: from the photograph's bytes to the stored tensor and the options in the machine's memory, by
each implementation of docs/arithmetic.md, section Photographs; they give the same bytes. After:
from the machine's memory to objects or classes. Each the least of {REPEATS}. Machine: cycles of
the RTL with {arch.name} at {arch.clock_mhz:g} MHz, simulated, not silicon.

{a9}

{table}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", type=Path, help="put the table into this page")
    given = parser.parse_args()
    why_not = arm.missing(arm.ARMHF)
    rows = []
    try:
        for command, model in COMMANDS.items():
            with working(f"{command}: host and machine"):
                rows += measure(command, model, not why_not)
    except FalconetError as e:
        print(f"hosttime: {e}", file=sys.stderr)
        return 1
    text = section(rows, program_of(COMMANDS["detect"], None).arch, why_not)
    print(text)
    if given.markdown:
        put_section(given.markdown, "host and machine", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
