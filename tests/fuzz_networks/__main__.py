"""``python tests/fuzz_networks``: random networks on golden model, simulator and RTL.

A run is repeated by its seed. What fails is shrunk, kept in ``cases/`` (replayed by
``test_random_networks.py``) and explained.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from devices import board  # noqa: E402
from netcase import CASES, Refused, check, explain, load  # noqa: E402
from netfeatures import EXPECTED, ONNX  # noqa: E402
from nethunt import Record, hunt  # noqa: E402

from falconet.isa import preset  # noqa: E402
from falconet_app.commands.console import results, working  # noqa: E402
from falconet_app.commands.pages import show  # noqa: E402

COLUMNS = 3


def summary(record: Record, seconds: float) -> list[dict[str, str]]:
    rows = {
        "networks": f"{len(record.cases):,}",
        **{f"run on {name}": f"{n:,}" for name, n in sorted(record.presets.items())},
        "of these from ONNX files": f"{record.seen['from ONNX']:,}",
        "refused by the compiler": f"{len(record.refused):,} "
                                   f"({len(record.refused) / max(1, len(record.cases)):.1%})",
        "differences": f"{len(record.failures):,}",
        "layers compared with onnxruntime": f"{record.layers:,}",
        "values of these": f"{record.values:,}, {record.off_by_one:,} differ by 1 LSB, "
                           "none by more" if not record.failures else f"{record.values:,}",
        "minutes": f"{seconds / 60:.0f}",
    }
    return [{"what": what, "how many": number} for what, number in rows.items()]


def occurrences(record: Record) -> list[dict[str, str]]:
    """How many networks have what, in COLUMNS pairs of columns."""
    names = [*EXPECTED, *(f"ONNX {op}" for op in ONNX)]
    height = -(-len(names) // COLUMNS)
    rows = []
    for i in range(height):
        row = {}
        for k in range(COLUMNS):
            name = names[i + k * height] if i + k * height < len(names) else ""
            row["in a network" + " " * k] = name
            row["networks" + " " * k] = f"{record.seen[name]:,}" if name else ""
        rows.append(row)
    return rows


def replay(path: Path) -> int:
    """Run one kept case; what is wrong with it is printed."""
    case = load(path)
    try:
        check(case)
    except Refused as e:
        results.print(f"{path}: refused: {e}")
    except Exception as e:
        results.print(f"{path}: {type(e).__name__}: {e}\n{explain(case)}")
        return 1
    else:
        results.print(f"{path}: all devices agree")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000, help="networks at most")
    parser.add_argument("--minutes", type=float, default=0, help="begin none after that")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one kept network only")
    parser.add_argument("--markdown", type=Path, help="put the record into this page")
    given = parser.parse_args()
    if given.replay:
        return replay(given.replay)
    if not given.minutes and given.cases == parser.get_default("cases"):
        parser.error("say when to stop: --minutes or --cases")
    for name in ("tiny", "pynq-z2"):
        board(preset(name))  # built before the clock starts
    began = time.monotonic()
    with working("random networks") as step:
        record = hunt(given.cases, given.seed, CASES, step=step.share,
                      seconds=given.minutes * 60 or float("inf"))
    seconds = time.monotonic() - began
    for failure in record.failures:
        results.print(f"{failure.path}: {failure.why}\n{explain(failure.case)}\n")
    for why in sorted(set(record.refused)):
        results.print(f"refused: {why}")
    command = f"python tests/fuzz_networks --cases {len(record.cases)} --seed {given.seed}"
    show(summary(record, seconds), given.markdown, "random networks", "Random networks", command,
         False)
    show(occurrences(record), given.markdown, "random networks drawn",
         "What the random networks hold", command, False)
    return len(record.failures) > 0


if __name__ == "__main__":
    sys.exit(main())
