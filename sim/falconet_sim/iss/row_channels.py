"""ROW: softmax, layer norm and RMS norm over a pixel's channels (docs/arithmetic.md)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Dst, FalconetError, Instruction, RowMode
from falconet_sim.arithmetic import Params, output_stage
from falconet_sim.iss.machine import Machine
from falconet_sim.iss.views import view

__all__ = ["row"]

Ints = NDArray[np.int64]
_ENTRIES = 256


def _exponentials(machine: Machine, ins: Instruction) -> Ints:
    """The table, [256]; refused if its copies differ or its first entry is too small."""
    arch = machine.arch
    per = arch.lanes // 4
    words = machine.weights(Dst.VECTOR, ins.w_base + np.arange(_ENTRIES // per))
    copies = words.reshape(-1, arch.taps, per, 4).view("<u4")[..., 0]
    if (copies != copies[:, :1]).any():
        raise FalconetError(f"the {arch.taps} copies of a softmax's table differ")
    table = copies[:, 0].reshape(-1).astype(np.int64)
    if table.max() >> 23 or table[0] <= ins.scale:
        raise FalconetError(
            f"a softmax's table begins with {table[0]} and has up to {table.max()}; it must begin "
            f"above scale={ins.scale} and stay below 2**23"
        )
    return table


def _quotients(scale: int, total: Ints, most: int) -> tuple[Ints, Ints]:
    """``floor(scale * 2**i / total)`` [N] and ``i``: the least with 17 bits, or ``most``."""
    rest, quotient = np.full_like(total, scale), np.zeros_like(total)
    count = np.zeros_like(total)
    for _ in range(most):
        going = quotient < 1 << 16
        rest = np.where(going, rest << 1, rest)
        fits = going & (rest >= total)
        rest = np.where(fits, rest - total, rest)
        quotient = np.where(going, (quotient << 1) + fits, quotient)
        count += going
    return quotient, count


def _softmax(machine: Machine, ins: Instruction, q: Ints) -> tuple[Ints, Params]:
    """Exponentials [N, C], and the bias, multiplier and shift of each pixel [N, 1]."""
    table = _exponentials(machine, ins)
    top = q.max(1, keepdims=True)
    e = table[(q - top) & 255]
    if ins.masked:
        e = np.where((q == -128) & (top > -128), 0, e)
    mult, count = _quotients(ins.scale, e.sum(1), 47 - ins.shift)
    mult, shift = mult[:, None], count[:, None] + ins.shift
    return e, Params(np.zeros_like(mult), mult, mult, shift)


def _roots(value: Ints) -> Ints:
    """``floor(sqrt(value))`` of up to 48 bits."""
    root = np.sqrt(value.astype(np.float64)).astype(np.int64)
    root -= root * root > value
    root += (root + 1) * (root + 1) <= value
    return root


def _standardised(ins: Instruction, q: Ints) -> Ints:
    """What a norm hands to the output stage, [N, C]."""
    n, layer = ins.n_channels, ins.mode == RowMode.LAYER
    if ins.scale > 256 * n:
        raise FalconetError(f"scale={ins.scale} is more than 256 times {n} channels")
    d = q - ins.ref
    s1, s2 = d.sum(1), (d * d).sum(1)
    spread = 256 * (n * s2 - (s1 * s1 if layer else 0)) + ins.epsilon
    coarse = np.zeros_like(spread)
    for _ in range(5):
        coarse += spread << 8 * coarse < 1 << 40
    root = _roots(spread << 8 * coarse)
    a, shift = np.full_like(root, (1 << 17) - 1), np.zeros_like(root)
    for sh in (12, 8, 4, 0):
        quotient = (ins.scale << (sh + 4 * coarse + 7)) // np.maximum(root, 1)
        better = (root > 0) & ((quotient >= 1 << 13) | (sh == 12))
        a, shift = np.where(better, quotient, a), np.where(better, sh, shift)
    b = (1 << shift) >> 1
    if layer:
        mean = (np.abs(s1) << 20) // n
        b = b - np.sign(s1) * ((a * mean + (1 << 19)) >> 20)
    v: Ints = (a[:, None] * d + b[:, None]) >> shift[:, None]
    return v


def row(machine: Machine, ins: Instruction) -> None:
    """Each pixel for itself; lanes behind the last channel get an accumulator of 0."""
    lanes, n = machine.arch.lanes, ins.n_channels
    if ins.n_b != -(-n // lanes):
        raise FalconetError(f"n_b={ins.n_b} blocks are not those of n_channels={n}")
    of = view(ins, "in", ins.n_b, ins.n_y, ins.n_x).transpose(1, 2, 0)
    words = machine.read(Dst.SCRATCHPAD, of)
    q = words.reshape(ins.n_y * ins.n_x, -1)[:, :n].astype(np.int64)
    if ins.mode == RowMode.SOFTMAX:
        acc, stage = _softmax(machine, ins, q)
    else:
        acc, n_p = _standardised(ins, q), machine.arch.vector_param_words
        word = ins.w_base + np.arange(ins.n_b)[:, None] * ins.w_b_step + np.arange(n_p)
        data = machine.weights(Dst.VECTOR, word).reshape(ins.n_b, -1)
        stage = Params.unpack(data, machine.arch, signed=True).flat()
    full = np.zeros((len(q), ins.n_b * lanes), np.int64)
    full[:, :n] = acc
    out = output_stage(
        full, stage, zp=ins.zp, lo=ins.lo, hi=ins.hi, acc_bits=machine.arch.acc_bits,
        table=machine.table(Dst.VEC_TABLE) if ins.table else None,
    )
    to = view(ins, "out", ins.n_b, ins.n_y, ins.n_x).transpose(1, 2, 0)
    machine.write(Dst.SCRATCHPAD, to, out.reshape(*to.shape, lanes))
