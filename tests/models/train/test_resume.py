"""A run that is killed at any of its save points ends as one that is not, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import VAL, recipe

from falconet_models.datasets import Digits
from falconet_models.train import checkpoints, loop
from falconet_models.train.diary import read_history
from falconet_models.train.loop import Trainer

pytestmark = pytest.mark.timeout(300)
TESTS = Path(__file__).parents[2]
IMAGES = 16
TRAIN = Digits("train", IMAGES, 64)


class Killed(BaseException):
    """What no handler of the loop takes for an error."""


class Killer:
    """:func:`checkpoints.save`, in which the process dies once at each save point.

    With the file in its place; where other files were written since the last one, also with the
    file half written beside it. ``died`` is where it did.
    """

    def __init__(self, die: Callable[[], None]) -> None:
        self.die, self.died, self.save = die, [], checkpoints.save

    def __call__(self, path: Path, content: dict[str, Any]) -> None:
        phase = content.get("phase") or content["about"]
        point = path.name, *(phase.get(k) for k in ("name", "epoch", "done", "ended"))
        if not phase.get("done") and self.first("before", *point):
            path.with_name(".last.falconet-00000000.pt").write_bytes(b"half a file")
            self.die()
        self.save(path, content)
        if self.first("after", *point):
            self.die()

    def first(self, *at: Any) -> bool:
        self.died += [at] * (new := at not in self.died)
        return new


def die() -> None:
    raise Killed


def train(batch: int, folder: Path) -> None:
    """From what is in ``folder``, by a process whose generators are anywhere."""
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(os.getpid() + time.monotonic_ns() % 1000)
    tiny = recipe(batch=batch, boxes={"kind": "wiou_v2"},  # a loss that remembers
                  quantise={"epochs": 1, "rate": 0.0005, "images": 4})
    Trainer(tiny, TRAIN, VAL, folder).run()


def values(content) -> object:
    """Tensors as bytes and what else there is; seconds are left out."""
    if isinstance(content, torch.Tensor):
        return content.dtype, content.shape, content.contiguous().view(-1).numpy().tobytes()
    if isinstance(content, dict):
        return {k: values(v) for k, v in content.items() if k not in ("seconds", "rows")}
    return [values(v) for v in content] if isinstance(content, (list, tuple)) else content


def end(folder: Path) -> dict[str, object]:
    """All that a run leaves: each file of it."""
    names = [checkpoints.LAST, checkpoints.CALIBRATED, *checkpoints.BEST.values()]
    rows = [{k: v for k, v in r.items() if k != "seconds"} for r in read_history(folder)]
    return {"rows": rows, **{n: values(checkpoints.load(folder / n)) for n in names}}


@pytest.fixture(autouse=True)
def every_batch(monkeypatch):
    monkeypatch.setattr(loop, "_SAVE_SECONDS", -1.0)  # it is time to save after each


def test_a_run_killed_at_every_save_point(tmp_path, monkeypatch):
    batch = IMAGES // 2  # two an epoch
    train(batch, tmp_path / "whole")
    killer = Killer(die)
    monkeypatch.setattr(checkpoints, "save", killer)
    for _ in range(100):
        try:
            train(batch, tmp_path / "run")
        except Killed:
            continue
        break
    # none is left out: after each batch, each epoch, each phase
    assert {at[2:] for at in killer.died if at[:2] == ("after", checkpoints.LAST)} == {
        (phase, *at) for phase, epochs in (("float", 2), ("quantised", 1)) for at in (
            *((e, done + 1, False) for e in range(epochs) for done in range(IMAGES // batch)),
            *((e + 1, 0, False) for e in range(epochs)), (epochs, 0, True))}
    assert end(tmp_path / "run") == end(tmp_path / "whole")


def test_a_run_is_killed_by_the_system(tmp_path):
    """SIGKILL as an epoch's only batch is saved, and the same program once more."""
    train(IMAGES, tmp_path / "whole")
    program = f"""
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{str(TESTS)!r}, {str(Path(__file__).parent)!r}]
import test_resume
from falconet_models.datasets import Digits
from falconet_models.train import checkpoints, loop
loop._SAVE_SECONDS = -1.0
save = checkpoints.save
def saved(path, content):
    save(path, content)
    if content.get("phase", {{}}).get("done") == 1 and sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
checkpoints.save = saved
test_resume.train({IMAGES}, Path(sys.argv[1]))
"""
    for kill, code in (("kill", -signal.SIGKILL), ("", 0)):
        done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "run"), kill],
                              capture_output=True, text=True, timeout=100)
        assert done.returncode == code, done.stderr
    assert end(tmp_path / "run") == end(tmp_path / "whole")


@pytest.mark.parametrize("judging", [False, True])
def test_a_run_is_stopped_by_the_keyboard(tmp_path, monkeypatch, judging):
    """In an epoch's only batch, or while it is judged: it stops before the next."""
    def interrupted(*args):
        if not stopped:
            stopped.append(os.kill(os.getpid(), signal.SIGINT))
        return real(*args)

    stopped, at = [], "_judge" if judging else "_step"
    real = getattr(Trainer, at)
    monkeypatch.setattr(Trainer, at, interrupted)
    folder, tiny = tmp_path / "run", recipe(batch=IMAGES, quantise={"epochs": 0, "images": 4})
    with pytest.raises(KeyboardInterrupt):
        Trainer(tiny, TRAIN, VAL, folder).run()
    assert checkpoints.load(folder / checkpoints.LAST)["phase"]["epoch"] == int(judging)
    Trainer(tiny, TRAIN, VAL, folder).run()
    assert [r["epoch"] for r in read_history(folder)] == [0, 1, -1]
