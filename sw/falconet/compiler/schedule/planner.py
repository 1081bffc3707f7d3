"""A network and a policy to a plan: order, groups, spills, rings, chunks."""

from __future__ import annotations

import math
from dataclasses import replace

from falconet.compiler.machine.detect import ScanOp
from falconet.compiler.machine.network import Network
from falconet.compiler.machine.op import Op
from falconet.compiler.machine.transfer import StoreOp
from falconet.compiler.schedule.chunk import chunk
from falconet.compiler.schedule.group import set_groups
from falconet.compiler.schedule.plan import Plan
from falconet.compiler.schedule.policy import Order, Policy
from falconet.compiler.schedule.ring import set_rings
from falconet.compiler.schedule.spill import insert_spills
from falconet.compiler.schedule.stripe import load_again, stripes
from falconet.compiler.schedule.work import Workshop
from falconet.isa import Engine, FalconetError, Segment

__all__ = ["Planner"]


class Planner:
    """Plans of one network; what policies have in common is made once."""

    def __init__(self, net: Network) -> None:
        self.net, self.shop, self.ops = net, Workshop(), _order(net)
        self.made: dict[Policy, Plan | FalconetError] = {}

    def plan(self, policy: Policy) -> Plan:
        """Raises FalconetError naming the operation whose tensors do not fit."""
        key = replace(policy, ahead=0, order=Order.DEEPEST)  # which only the simulation asks for
        if key not in self.made:
            try:
                self.made[key] = self._make(key)
            except FalconetError as e:
                self.made[key] = e
        made = self.made[key]
        if isinstance(made, FalconetError):
            raise made
        return replace(made, policy=policy)

    def _make(self, policy: Policy) -> Plan:
        net, shop, ops = self.net, self.shop, list(self.ops)
        tilings = [shop.tiling(op, policy.tile) for op in ops]
        plan = Plan(net, policy, shop, ops, [0] * len(ops), tilings, list(net.buffers),
                    work_bytes=net.segment_bytes[Segment.WORK])
        stripes(plan)
        set_groups(plan)
        if policy.spill < math.inf:
            insert_spills(plan, policy.spill * net.arch.scratchpad_words)
        set_rings(plan)
        load_again(plan)
        chunk(plan)
        return plan


def _order(net: Network) -> list[Op]:
    """Loads just before their first reader, stores and scans just after the last writer."""
    loads = [op for op in net.ops if op.engine is Engine.LOAD]
    stores = [op for op in net.ops if isinstance(op, StoreOp | ScanOp)]
    ordered: list[Op] = []
    for op in net.ops:
        if op in loads or op in stores:
            continue
        read = {s.buffer for s in op.inputs}
        for load in [ld for ld in loads if ld.output is not None and ld.output.buffer in read]:
            ordered.append(load)
            loads.remove(load)
        ordered.append(op)
    ordered = loads + ordered
    for store in stores:
        read = {s.buffer for s in store.inputs}
        last = max(i for i, op in enumerate(ordered)
                   if op.output is not None and op.output.buffer in read)
        ordered.insert(last + 1, store)
    return ordered
