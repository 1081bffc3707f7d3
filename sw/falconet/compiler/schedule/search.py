"""Try policies; the one that is estimated to be the fastest wins."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from falconet.compiler.machine.network import Network
from falconet.compiler.schedule.allocate import allocate
from falconet.compiler.schedule.planner import Planner
from falconet.compiler.schedule.policy import Order, Policy
from falconet.compiler.schedule.simulate import Schedule, make_schedule
from falconet.isa import FalconetError

__all__ = ["POLICIES", "STRIPED", "TIGHT", "Try", "leading", "search"]

_D, _S = Order.DEEPEST, Order.SHALLOWEST
POLICIES = (
    Policy(2, 2, order=_S, tile=300), Policy(2, 1, order=_S, tile=300),
    Policy(1, 1, order=_S, tile=300), Policy(1, 0, order=_S, tile=300),
    Policy(2, 0, order=_D, tile=300), Policy(1, 1, order=_D, tile=300),
    Policy(1, 0, order=_D, tile=300),
    Policy(2, 2, order=_S, tile=450), Policy(1, 1, order=_S, tile=450),
    Policy(2, 2, order=_D, tile=450),
)
"""Of the 24 that slack 1 and 2, 0 to 2 groups ahead, both orders and both sizes of tiles make,
those without which some of a hundred networks (MobileNetV2, RetinaFace, random ones) got slower."""
STRIPED = tuple(
    Policy(2, 2, share, order, tile, pixels)
    for pixels in (64, 32) for share in (math.inf, 1 / 4)
    for order, tile in ((_S, 300), (_S, 450), (_D, 450)))
"""Tried only where no tensor may go through DDR and no weight be loaded twice."""
TIGHT = (*(Policy(1, 0, share, _S, 300, 32) for share in (1 / 4, 1 / 16)),
         Policy(1, 0, 1 / 4, _S, 300, 32, fill=1), Policy(1, 1, 1 / 16, _S, 300, 32, fill=1),
         Policy(1, 0, 1 / 16, _S, 300, 32, fill=1), Policy(0, 0, 0, _S, 1, 1, fill=1))
"""Tried only where nothing fits with the others; what the last one refuses fits with none."""


@dataclass(frozen=True)
class Try:
    """What became of a policy: the estimate in cycles, or why there is none."""

    policy: Policy
    cycles: int | None = None
    failure: str = ""


def search(net: Network, progress: Callable[[float], None] | None = None,
           tried: Callable[[Try], None] | None = None,
           rounds: Sequence[Sequence[Policy]] = (POLICIES, STRIPED, TIGHT)) -> Schedule:
    """The allocated schedule of the least estimate, of the first of the rounds in which any fits.

    ``progress``: is called with the finished share of a round; ``tried`` with each try. Raises
    FalconetError with the sentence of the last try if nothing fits; an order that ends stuck is a
    try that does not fit.
    """
    planner, failure = Planner(net), ""
    best: Schedule | None = None
    for policies in rounds:
        for at, policy in enumerate(policies):
            if progress is not None:
                progress(at / len(policies))
            found = _attempt(planner, policy)
            if isinstance(found, str):
                failure = found
            elif best is None or found.cycles < best.cycles:
                best = found
            if tried is not None:
                tried(Try(policy, failure=found) if isinstance(found, str)
                      else Try(policy, found.cycles))
        if best is not None:
            return best
    raise FalconetError(failure)


def leading(tries: Sequence[Try], most: int = 3) -> tuple[Policy, ...]:
    """The policies of the least estimates: those worth trying on a network that is nearly the same.
    """
    fits = [(t.cycles, at) for at, t in enumerate(tries) if t.cycles is not None]
    return tuple(tries[at].policy for _, at in sorted(fits)[:most])


def _attempt(planner: Planner, policy: Policy) -> Schedule | str:
    """An allocated schedule, or the sentence that says what found no room."""
    try:
        schedule = make_schedule(planner.plan(policy))
    except FalconetError as e:
        return str(e)
    missing = allocate(schedule)
    if missing is None:
        return schedule
    plan = schedule.plan
    maker, arch = plan.ops[plan.writers[missing][0]], plan.net.arch
    return (f"{plan.called(maker)}: no room for what it makes in the scratchpad of '{arch.name}' "
            f"({arch.scratchpad_words} words); use a smaller input or a larger preset")
