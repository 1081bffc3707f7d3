"""``python tests/networks_table``: every network of the field, measured; docs/networks.md.

Each row is measured in a process of its own and kept in ``build/networks/COMMIT/NAME.json``; what
is there is not measured again. ``--minutes`` begins no row later than that; ``--limit`` ends a row
that takes longer, which is then said in the page. Rows of other commits stand in for those that are
missing; the page names the commit of each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: E402
from table_page import page  # noqa: E402
from table_rows import CALIBRATION, HELD_OUT, Case, cases, measure  # noqa: E402

from falconet.isa import FalconetError, build_folder, made, near, preset  # noqa: E402
from falconet.isa.files import written  # noqa: E402
from falconet_app.commands.pages import revision  # noqa: E402


def chosen(names: Sequence[str]) -> list[Case]:
    """The rows called ``names``, or those of the networks; all of them if none is named.

    Raises
    ------
    FalconetError
        If there is none of a name.
    """
    known = cases()
    found = []
    for name in names:
        of = [c for c in known if name in (c.name, c.network)]
        if not of:
            every = list(dict.fromkeys([n for c in known for n in (c.network, c.name)]))
            raise FalconetError(f"network '{name}' is unknown; {near(name, every)}use one of "
                                f"{', '.join(every)}")
        found += of
    return list(dict.fromkeys(found)) or known


def row_file(folder: Path, commit: str, case: Case, preset_name: str) -> Path:
    return folder / commit / f"{case.name}-{preset_name}.json"


def measured(case: Case, preset_name: str, limit: float, said: Callable[[str], None]
             ) -> dict[str, Any]:
    """The row, by a process that is ended after ``limit`` seconds; ``said`` is told each step."""
    command = [sys.executable, str(HERE), "--one", case.name, "--preset", preset_name]
    row: dict[str, Any] = {}
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        alarm = threading.Timer(limit, child.kill)
        alarm.start()
        try:
            for line in child.stdout:
                row = json.loads(line)
                said(row["step"])
        except BaseException:
            child.kill()
            raise
        finally:
            alarm.cancel()
    if row.get("step") != "done" and "refusal" not in row:
        why = (f"took longer than the {limit / 60:g} minutes that a row has"
               if time.monotonic() - began >= limit else "ended without a word")
        row |= {"refusal": f"the step {why}", "fault": True}
    return row


def newest(folder: Path, case: Case, preset_name: str, commit: str) -> dict[str, Any]:
    """The row at ``commit``, or the one measured last; empty if there is none."""
    files = sorted(folder.glob(f"*/{case.name}-{preset_name}.json"),
                   key=lambda f: (f.parent.name == commit, f.stat().st_mtime))
    found: dict[str, Any] = json.loads(files[-1].read_text()) if files else {}
    return found


def one(name: str, preset_name: str) -> None:
    """Measure one row and tell of it at every step, a JSON object a line."""
    (case,) = (c for c in cases() if c.name == name)
    row = measure(case, preset(preset_name), lambda row: print(json.dumps(row), flush=True))
    print(json.dumps(row), flush=True)


def work(given: argparse.Namespace, out: Console) -> None:
    """Measure what is missing; then write the page of all that there is."""
    commit, began = revision(), time.monotonic()
    folder = build_folder() / "networks"
    wanted = chosen(given.names)
    left = [c for c in wanted if given.again or
            not row_file(folder, commit, c, given.preset).is_file()]
    columns = (TextColumn("{task.description:<36}", markup=False), BarColumn(24),
               TextColumn("{task.completed:.0f} of {task.total:.0f}"), TimeElapsedColumn())
    with Progress(*columns, console=out) as bar:
        task = bar.add_task("networks", total=len(wanted), completed=len(wanted) - len(left))
        for case in left:
            if time.monotonic() - began > 60 * given.minutes:
                out.print(f"{given.minutes:g} minutes are over; say it again to go on")
                break
            file = row_file(folder, commit, case, given.preset)
            row = measured(case, given.preset, 60 * given.limit, lambda step, case=case: bar.update(
                task, description=f"{case.name}: {step}")) | {"commit": commit}
            made(file.parent)
            with written(file) as part:
                part.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
            bar.advance(task)
            what = row.get("refusal") or f"{row['cycles']:,} cycles"
            out.print(f"{case.name}: {what}", markup=False, highlight=False)
    if given.markdown is not None:
        rows = [row for c in cases() if (row := newest(folder, c, given.preset, commit))]
        text = page(rows, preset(given.preset), calibration=CALIBRATION, held_out=HELD_OUT)
        with written(given.markdown) as part:
            part.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tests/networks_table", description=__doc__)
    parser.add_argument("names", nargs="*", help="networks or rows; all if none is named")
    parser.add_argument("--preset", default="pynq-z2")
    parser.add_argument("--minutes", type=float, default=240, help="no row begins later")
    parser.add_argument("--limit", type=float, default=30, help="minutes that a row has")
    parser.add_argument("--again", action="store_true", help="measure what is there, too")
    parser.add_argument("--markdown", type=Path, help="the page that is written")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    try:
        if given.one:
            one(given.one, given.preset)
        else:
            work(given, Console(stderr=True))
    except FalconetError as e:
        sys.exit(str(e))


if __name__ == "__main__":
    main()
