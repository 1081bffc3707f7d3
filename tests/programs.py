"""Hand-assembled programs for tests; random legal ones are made here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from assembler import Assembler, mac_words, params, random_params, tap_words
from detect_program import add_detection, detection_program, table_rows
from heads import random_head
from numpy.typing import NDArray

from falconet.isa import (
    Arch,
    Dst,
    Elementwise,
    Load,
    LoadImage,
    Mac,
    Program,
    Segment,
    Store,
    Suppression,
    Window,
)
from falconet_sim.compare.hazards import required_waits

__all__ = [
    "Assembler", "add_elementwise", "add_transfers", "add_window", "detection_program",
    "mac_words", "mixed_program", "overlapping_program", "params", "random_inputs", "random_mac",
    "random_out", "random_params", "random_program", "random_stage", "random_window",
    "table_rows", "tap_words",
]


def random_inputs(program: Program, seed: int = 0) -> dict[str, NDArray[np.int8]]:
    rng = np.random.default_rng(seed)
    return {t["name"]: rng.integers(-128, 128, t["shape"]).astype(np.int8)
            for t in program.header["inputs"]}


def random_mac(rng: np.random.Generator, arch: Arch, n: int, **fixed: int
               ) -> tuple[Mac, tuple[int, ...]]:
    """A MAC that reads and writes anywhere below ``n`` words from its bases; weight shape."""
    shape = {"n_ob": 3, "n_y": 3, "n_x": 6, "n_ky": 3, "n_kx": 3, "n_ib": 3}
    v = {k: int(rng.integers(1, hi + 1)) for k, hi in shape.items()}
    n_p, depth = arch.weight_param_words, arch.weight_words
    while v["n_ob"] * (n_p + v["n_ky"] * v["n_kx"] * v["n_ib"] * arch.word_steps) > depth:
        v["n_ky"] = v["n_kx"] = 1
    ins = Mac(**v, **random_window(rng, n), **random_out(rng, "out", n), **random_stage(rng),
              w_base=int(rng.integers(depth)), **fixed)
    return ins, (ins.n_ob, ins.n_ky, ins.n_kx, ins.n_ib)


def random_out(rng: np.random.Generator, p: str, n: int) -> dict[str, int]:
    """A view whose addresses stay below ``n`` (at least 64) words from its base."""
    ring = int(rng.integers(4, n // 4)) if rng.random() < 0.5 else 0
    top = ring or n // 16
    return {f"{p}_row": int(rng.integers(top)), f"{p}_ring": ring,
            f"{p}_y_step": int(rng.integers(top)), f"{p}_x_step": int(rng.integers(n // 64)),
            f"{p}_b_step": int(rng.integers(n // 16))}


def random_window(rng: np.random.Generator, n: int) -> dict[str, int]:
    view = random_out(rng, "in", n)
    top = view["in_ring"] or n // 16
    return {
        **view, "in_ky_step": int(rng.integers(top)), "in_kx_step": int(rng.integers(n // 64)),
        "iy0": int(rng.integers(-2, 3)), "ix0": int(rng.integers(-2, 3)),
        "in_h": int(rng.integers(1, 9)), "in_w": int(rng.integers(1, 12)),
        "stride_y": int(rng.integers(4)), "stride_x": int(rng.integers(4)),
        "dil_y": int(rng.integers(3)), "dil_x": int(rng.integers(3)),
    }


def random_stage(rng: np.random.Generator, pad: bool = True) -> dict[str, int]:
    lo, hi = sorted(int(v) for v in rng.integers(-128, 128, 2))
    if rng.random() < 0.7:
        lo, hi = -128, 127
    out = {"zp": int(rng.integers(-60, 60)), "lo": lo, "hi": hi, "table": int(rng.random() < 0.3)}
    return {**out, "pad": int(rng.integers(-128, 128))} if pad else out


def random_program(arch: Arch, seed: int, length: int = 12, n: int = 128, *,
                   waits: Sequence[Sequence[int]] | None = None) -> Program:
    """Random instructions of every kind on three regions of ``n`` words; all is stored at the end.

    Each instruction reads region A and writes another one; tables and weights are loaded in
    between. Without ``waits`` each instruction waits for all that precede it.
    """
    rng = np.random.default_rng(seed)
    regions = _Regions(Assembler(arch), rng, n)
    for _ in range(length):
        regions.step()
    regions.end()
    return regions.asm.program(waits)


def mixed_program(
    arch: Arch, seed: int, *, waits: Sequence[Sequence[int]] | None = None,
) -> tuple[Program, dict[str, NDArray[np.int8]]]:
    """As :func:`random_program`, with a random detection head in between; and its inputs.

    All five engines may be busy at once; which computations there are is drawn, so one seed may
    lack a kind (MARK comes with every second). Levels come in stripes of rows. The head's
    scratchpad words lie behind the regions.
    """
    rng = np.random.default_rng(seed)
    mode = list(Suppression)[seed % len(Suppression)].name.lower()
    detect, tensors = random_head(rng, arch, levels=1 + seed % 3, points=5 * (seed % 2), mode=mode,
                                  objectness=bool(seed & 2), size=(24, 40), form=seed // 2 % 2,
                                  bins=(0, 0, 16, 5)[seed % 4], softmax=seed % 3 == 1)
    regions = _Regions(Assembler(arch), rng, 128)
    for _ in range(4):
        regions.step()

    def some() -> None:
        for _ in range(int(rng.integers(1, 5))):
            regions.step()

    detect = add_detection(regions.asm, detect, tensors, first=3 * 128, between=some,
                           stripe=1 + seed % 4)
    regions.end()
    program = regions.asm.program(waits)
    program.header["detect"] = detect
    return program, random_inputs(program, seed) | tensors


class _Regions:
    """Three regions of ``n`` words, which random instructions read and write."""

    def __init__(self, asm: Assembler, rng: np.random.Generator, n: int) -> None:
        self.asm, self.rng, self.n = asm, rng, n
        at = asm.input("x", 3 * n)
        self.image, self.pitch = asm.image("image", 3, 4, 11)
        self.out = asm.output("y", 3 * n)
        asm.segments["work"] = 3 * n * asm.arch.lanes
        asm.add(Load(segment=Segment.INPUT, offset=at, dst=Dst.SCRATCHPAD, run=3 * n))
        asm.add(Store(segment=Segment.WORK, run=3 * n))
        for dst in (Dst.MAC_TABLE, Dst.VEC_TABLE):
            asm.constant(rng.integers(0, 256, 256).astype(np.uint8).tobytes(), dst)

    def step(self) -> None:
        """One computation, or a few transfers, with what they need."""
        asm, rng, n = self.asm, self.rng, self.n
        arch, lanes = asm.arch, asm.arch.lanes
        source, target = (int(v) * n for v in rng.permutation(3)[:2])
        base = {"in_base": source, "out_base": target}
        kind = rng.integers(6)
        if kind <= 1:
            ins, shape = random_mac(rng, arch, n, **base)
            w = rng.integers(-127, 128, (*shape, lanes, lanes))
            spread = 74 * 74 * np.sqrt(w[0, ..., 0].size)
            blocks = [random_params(rng, arch, spread) for _ in range(shape[0])]
            asm.constant(mac_words(arch, w, blocks), Dst.WEIGHTS, ins.w_base * arch.rows)
            asm.add(ins)
        elif kind <= 3:
            add_window(asm, rng, n, base)
        elif kind == 4:
            add_elementwise(asm, rng, n, source, target)
        else:
            add_transfers(asm, rng, n, source, target, self.image, self.pitch)

    def end(self) -> None:
        self.asm.add(Store(segment=Segment.OUTPUT, offset=self.out, run=3 * self.n))


def overlapping_program(arch: Arch, seed: int, length: int = 20
                        ) -> tuple[Program, dict[str, NDArray[np.int8]]]:
    """A random program in which every engine runs as far ahead as it may, and its inputs."""
    serial = random_program(arch, seed, length)
    inputs = random_inputs(serial, seed)
    return random_program(arch, seed, length, waits=required_waits(serial, inputs)), inputs


def add_window(asm: Assembler, rng: np.random.Generator, n: int, base: dict[str, int]) -> None:
    arch = asm.arch
    v = {"n_b": int(rng.integers(1, 4)), "n_y": int(rng.integers(1, 4)),
         "n_x": int(rng.integers(4, 12)), "n_ky": int(rng.integers(1, 4))}
    if rng.random() < 0.5:
        width = int(rng.integers(1, arch.taps + 1))
        v |= {"n_kx": 1, "fresh": 1 << (arch.taps - width), "skip": width - 1,
              "every": int(rng.integers(1, 4)), "w_k_step": 1}
    else:
        v |= {"n_kx": int(rng.integers(1, 4)), "fresh": 1 << (arch.taps - 1), "skip": 0,
              "every": 1, "op": int(rng.integers(2)), "w_k_step": int(rng.integers(2))}
    words = 1 + (v["n_ky"] * v["n_kx"] - 1) * v["w_k_step"]
    shared = bool(rng.integers(2))
    sets = 1 if shared else v["n_b"]
    ins = Window(**v, **base, **random_window(rng, n), **random_out(rng, "out", n),
                 **random_stage(rng), w_base=int(rng.integers(arch.vector_words)),
                 w_b_step=0 if shared else arch.vector_param_words + words)
    taps = rng.integers(-127, 128, (sets, words, arch.taps, arch.lanes))
    spread = 100 if ins.op else 74 * 74 * np.sqrt(ins.n_ky * 3)
    blocks = [random_params(rng, arch, spread) for _ in range(sets)]
    asm.constant(tap_words(arch, taps, blocks), Dst.VECTOR, ins.w_base * arch.taps)
    asm.add(ins)


def add_elementwise(asm: Assembler, rng: np.random.Generator, n: int, source: int, target: int
                    ) -> None:
    arch = asm.arch
    n_src, n_b = int(rng.integers(1, 3)), int(rng.integers(1, 4))
    ins = Elementwise(
        n_src=n_src, n_b=n_b, n_y=int(rng.integers(1, 4)), n_x=int(rng.integers(1, 8)),
        a_base=source, b_base=source, out_base=target, **random_out(rng, "a", n),
        **random_out(rng, "b", n), **random_out(rng, "out", n), **random_stage(rng, pad=False),
        w_base=int(rng.integers(arch.vector_words)), w_b_step=arch.vector_param_words + n_src,
    )
    ins = ins.replace(product=ins.w_base & 1)
    taps = rng.integers(-64, 64, (n_b, n_src, arch.taps, arch.lanes))
    taps[:, :, arch.taps - 3] = rng.integers(-2, 3, taps[:, :, 0].shape)
    blocks = [random_params(rng, arch, 74 * 20000) for _ in range(n_b)]
    asm.constant(tap_words(arch, taps, blocks), Dst.VECTOR, ins.w_base * arch.taps)
    asm.add(ins)


def add_transfers(asm: Assembler, rng: np.random.Generator, n: int, source: int, target: int,
                  image: int, pitch: int) -> None:
    """A STORE to WORK, a LOAD back in another shape, and an image."""
    lanes = asm.arch.lanes
    run, n1, n2 = (int(v) for v in rng.integers(1, 6, 3))
    box = {"run": run, "n1": n1, "n2": n2}
    asm.add(Store(segment=Segment.WORK, offset=source * lanes, base=source, **box,
                  ddr_step1=lanes * int(rng.integers(8)), ddr_step2=lanes * int(rng.integers(8)),
                  step1=int(rng.integers(8)), step2=int(rng.integers(8))))
    asm.add(Load(segment=Segment.WORK, offset=source * lanes, dst=Dst.SCRATCHPAD, base=target,
                 **box, ddr_step1=lanes * int(rng.integers(8)),
                 ddr_step2=lanes * int(rng.integers(8)), step1=int(rng.integers(8)),
                 step2=int(rng.integers(8))))
    asm.add(LoadImage(segment=Segment.INPUT, offset=image, n_rows=int(rng.integers(1, 5)),
                      pitch=pitch, row_bytes=int(rng.integers(1, 34)),
                      pad_left=int(rng.integers(0, 64)), pad=int(rng.integers(-128, 128)),
                      step=int(rng.integers(1, lanes + 1)), n_x=int(rng.integers(1, 14)),
                      base=target, row_step=int(rng.integers(0, 16))))
