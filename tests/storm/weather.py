"""One run of the storm: four threads on one machine, Ctrl-C, close() and time-outs at random.

What each thread does is drawn from a seed; when it comes to it, the operating system says.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from machines import PHOTOGRAPHS, Case, Kind, calm, left_behind

from falconet.isa import FalconetError
from falconet.runtime.driver import Driver, Slot
from falconet.runtime.stream import stream

THREADS = 4
"""The main thread, where Ctrl-C arrives, among them."""

LIMIT = 120.0
"""Seconds after which a run hangs."""


@dataclass
class Told:
    """What happened in a run: right answers by action, sentences, interrupts, and what is wrong."""

    right: Counter[str] = field(default_factory=Counter)
    sentences: Counter[str] = field(default_factory=Counter)
    interrupts: int = 0
    wrong: list[str] = field(default_factory=list)


class Wrong(Exception):
    """An answer that is not that of the photograph."""


class Ctrl:
    """Ctrl-C, where the main thread is ready for it: up to ``left`` times."""

    def __init__(self) -> None:
        self.left = self.came = 0

    def __call__(self, *_: object) -> None:
        if self.left:
            self.left -= 1
            self.came += 1
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        before = signal.signal(signal.SIGINT, self)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def allow(self, times: int, body: Callable[[], None]) -> None:
        try:
            try:
                self.left = times
                body()
                self.left = 0
            except KeyboardInterrupt:
                self.left = 0
            except BaseException:
                self.left = 0
                raise
        except KeyboardInterrupt:  # the second, just here
            self.left = 0


class Sailor:
    """A thread's share of a run."""

    def __init__(self, device: Any, case: Case, rng: random.Random, told: Told) -> None:
        self.device, self.case, self.rng, self.told = device, case, rng, told
        self.slot: Slot | None = None

    def actions(self, most: int) -> list[str]:
        if not isinstance(self.device, Driver):
            return self.rng.choices(["run", "load"], [9, 1], k=self.rng.randint(1, most))
        names = {"run": 6, "see": 6, "steps": 6, "stream": 3, "profile": 1, "turn": 1, "meddle": 3,
                 "wait": 1, "load": 1, "close": 1}
        return self.rng.choices(list(names), list(names.values()), k=self.rng.randint(1, most))

    def do(self, action: str) -> None:
        """An action; its answer is right, or it ends with one sentence."""
        try:
            getattr(self, f"do_{action}")()
        except FalconetError as e:
            text = str(e)
            if not text or not text.isprintable():
                self.told.wrong.append(f"{action}: no sentence: {text!r}")
            self.told.sentences[text] += 1
        except Exception as e:
            self.told.wrong.append(f"{action}: {type(e).__name__}: {e}")

    def any(self) -> int:
        return self.rng.randrange(PHOTOGRAPHS)

    def check(self, action: str, i: int, result: Any) -> None:
        if not self.case.right(i, result):
            raise Wrong(f"the answer is not that of photograph {i}")
        self.told.right[action] += 1

    def do_run(self) -> None:
        i = self.any()
        self.check("run", i, self.device.run(dict(self.case.inputs[i])))

    def do_see(self) -> None:
        i = self.any()
        self.check("see", i, self.device.see(self.case.photographs[i]).result)

    def do_profile(self) -> None:
        i = self.any()
        self.check("profile", i, self.device.profile(dict(self.case.inputs[i])))

    def do_turn(self) -> None:
        with self.device.turn:
            self.do_run()
            self.do_see()

    def do_meddle(self) -> None:
        """Writes where run() and see() write, and reads there."""
        if self.slot is None or self.slot.gone:
            self.slot = self.device.slot(0)
        slot = self.slot
        self.device.stage(slot, self.case.inputs[self.any()])
        result = self.device.collect(slot)
        if not any(self.case.right(i, result) for i in range(PHOTOGRAPHS)):
            raise Wrong("the answer is of no photograph")

    def do_wait(self) -> None:
        self.device.wait()  # of a run that is another's, if there is one

    def do_steps(self) -> None:
        device, i = self.device, self.any()
        slot = device.lend()
        try:
            if self.rng.random() < 0.5:
                device.stage(slot, self.case.inputs[i])
            else:
                device.stage_photograph(slot, self.case.photographs[i])
            device.start(slot)
            time.sleep(self.rng.choice([0, 0, 0.001, 0.02]))
            device.wait()
            self.check("steps", i, device.collect(slot))
        finally:
            device.give_back(slot)

    def do_stream(self) -> None:
        order = [self.any() for _ in range(self.rng.randint(1, 4))]
        enough = self.rng.choice([1, 2, 9])
        given = (self.case.photographs[i] for i in order)
        with contextlib.closing(stream(self.device, given)) as shown:  # type: ignore[type-var]
            for k, one in enumerate(shown):
                self.check("stream", order[int(one.name)], one.seen.result)
                if one.name != str(k):
                    raise Wrong(f"photograph {one.name} came as number {k}")
                if k + 1 == enough:
                    break
            else:
                if k + 1 != len(order):
                    raise Wrong(f"{k + 1} photographs came of {len(order)}")

    def do_load(self) -> None:
        self.device.load(self.case.program)

    def do_close(self) -> None:
        self.device.close()
        time.sleep(0.01 * self.rng.random())
        self.do_load()


def one_run(kind: Kind, seed: str) -> Told:
    """A new machine, and ``THREADS`` on it; when all is over it works as ever.

    Whoever calls it has a watchdog: a hang does not return.
    """
    rng, told, ctrl = random.Random(seed), Told(), Ctrl()
    case = kind.case()
    device = kind.make(case.program, rng.choice([kind.hasty, LIMIT / 2, LIMIT / 2, LIMIT / 2]))
    device.load(case.program)
    switch = sys.getswitchinterval()
    sys.setswitchinterval(rng.choice([1e-6, 1e-4, switch]))
    over = threading.Event()
    pause = rng.choice([0.003, 0.03, 0.3])
    sailors = [Sailor(device, case, random.Random(f"{seed} {i}"), told) for i in range(THREADS)]

    def body(sailor: Sailor) -> None:
        for action in sailor.actions(kind.actions):
            sailor.do(action)

    def interrupts() -> None:
        while not over.wait(pause * rng.random()):
            os.kill(os.getpid(), signal.SIGINT)

    threads = [threading.Thread(target=body, args=(s,), daemon=True) for s in sailors[1:]]
    threads.append(threading.Thread(target=interrupts, daemon=True))
    with warnings.catch_warnings(), ctrl.handled():
        warnings.simplefilter("error")
        for t in threads:
            t.start()
        own = sailors[0]
        for action in own.actions(kind.actions):
            ctrl.allow(own.rng.choice([0, 1, 1, 2]), partial(own.do, action))
        for t in threads[:-1]:
            t.join()
        over.set()
        threads[-1].join()
        sys.setswitchinterval(switch)
        told.interrupts = ctrl.came
        try:
            afterwards(device, case, told)
        except Exception as e:
            told.wrong.append(f"afterwards: {type(e).__name__}: {e}")
    return told


def afterwards(device: Any, case: Case, told: Told) -> None:
    """Nothing is left of it: the next answers are right, memory and threads are given back."""
    calm(device)
    device.load(case.program)
    for i in range(PHOTOGRAPHS):
        if not case.right(i, device.run(dict(case.inputs[i]))):
            told.wrong.append(f"afterwards: the answer is not that of photograph {i}")
    if isinstance(device, Driver):
        device.close()
    if left := left_behind(device):
        told.wrong.append(f"afterwards: {left} buffers were not given back")
    alive = [t.name for t in threading.enumerate() if "falconet" in t.name]
    if alive:
        told.wrong.append(f"afterwards: threads are left: {', '.join(alive)}")
