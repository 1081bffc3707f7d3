"""Hand-assembled programs for tests: packing of weights, an assembler, random legal programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import (
    Arch,
    Dst,
    Elementwise,
    End,
    Engine,
    Instruction,
    Load,
    LoadImage,
    Mac,
    Mark,
    Program,
    Scan,
    Segment,
    Src,
    Store,
    Suppress,
    Suppression,
    Window,
    pack_pair,
)

Array = NDArray[Any]


def params(bias: Sequence[int], mult: Sequence[int], shift: Sequence[int],
           mult_neg: Sequence[int] | None = None) -> bytes:
    """Parameters of one block, one value per lane."""
    out = bytearray()
    for b, m, n, s in zip(bias, mult, mult if mult_neg is None else mult_neg, shift):
        out += int(b).to_bytes(4, "little", signed=True) + int(m).to_bytes(4, "little")
        out += int(n).to_bytes(4, "little") + int(s).to_bytes(4, "little")
    return bytes(out)


def random_params(rng: np.random.Generator, arch: Arch, spread: float) -> bytes:
    """Parameters that map accumulators of this spread onto most of int8; a few extreme ones."""
    n = arch.lanes
    mult = rng.integers(1 << (arch.mult_bits - 1), 1 << arch.mult_bits, n)
    shift = np.full(n, round(arch.mult_bits - 6 + np.log2(max(spread, 64))))
    shift += rng.integers(-2, 3, n)
    mult[0], shift[0] = 1, 0
    bias = rng.integers(-1000, 1000, n)
    return params(bias, mult, np.clip(shift, 0, 47), np.where(rng.random(n) < 0.3, mult // 7, mult))


def mac_words(arch: Arch, weight: Array, blocks: Sequence[bytes]) -> bytes:
    """Weights [n_ob, n_ky, n_kx, n_ib, lanes in, lanes out] and the parameters of each block."""
    n, out = arch.lanes, bytearray()
    for block, par in zip(weight, blocks):
        out += par
        for word in block.reshape(-1, n, n):
            data = bytearray(n * n)
            for j in range(n // 2):
                for i in range(n):
                    pair = pack_pair(int(word[i, 2 * j]), int(word[i, 2 * j + 1]))
                    for k in range(2):
                        data[(j * n + i) * 2 + k] = pair[k] & 0xFF
            out += data
    return bytes(out)


def tap_words(arch: Arch, taps: Array, blocks: Sequence[bytes]) -> bytes:
    """Taps [n_b, words, taps, lanes] and the parameters of each block."""
    n, out = arch.lanes, bytearray()
    for block, par in zip(taps, blocks):
        out += par
        for word in block:
            data = bytearray(arch.taps * n)
            for p in range(arch.taps // 2):
                for i in range(n):
                    pair = pack_pair(int(word[2 * p, i]), int(word[2 * p + 1, i]))
                    for k in range(2):
                        data[(p * n + i) * 2 + k] = pair[k] & 0xFF
            out += data
    return bytes(out)


class Assembler:
    """Collects instructions and constants; constants lie in CODE behind the instructions.

    Parameters
    ----------
    serial:
        Give every instruction waits for all that precede it; else waits stay as given.
    """

    def __init__(self, arch: Arch, *, serial: bool = True) -> None:
        self.arch, self.serial = arch, serial
        self.items: list[tuple[Instruction, bool]] = []
        self.blob = bytearray()
        self.segments = {"input": 0, "output": 0, "work": 0}
        self.inputs: list[dict[str, Any]] = []
        self.outputs: list[dict[str, Any]] = []

    def add(self, ins: Instruction) -> Instruction:
        self.items.append((ins, False))
        return ins

    def constant(self, data: bytes, dst: Dst, base: int = 0) -> None:
        """Load constant lane words into ``dst`` at lane-word address ``base``."""
        self.items.append((
            Load(segment=Segment.CODE, offset=len(self.blob), dst=dst, base=base,
                 run=len(data) // self.arch.lanes), True,
        ))
        self.blob += data + bytes(-len(data) % 128)

    def input(self, name: str, words: int, **more: Any) -> int:
        """A tensor of ``words`` lane words in INPUT, format "blocks", 1 x words; its offset."""
        at = self.segments["input"]
        self.segments["input"] += words * self.arch.lanes + 127 & ~127
        self.inputs.append({"name": name, "shape": [self.arch.lanes, 1, words], "scale": 1.0,
                            "zero_point": 0, "format": "blocks", "offset": at, "pitch": 0, **more})
        return at

    def image(self, name: str, c: int, h: int, w: int) -> tuple[int, int]:
        """An interleaved image in INPUT: offset and pitch."""
        at, pitch = self.segments["input"], w * c + 15 & ~15
        self.segments["input"] += h * pitch + 127 & ~127
        self.inputs.append({"name": name, "shape": [c, h, w], "scale": 1.0, "zero_point": 0,
                            "format": "image", "offset": at, "pitch": pitch})
        return at, pitch

    def output(self, name: str, words: int) -> int:
        """As :meth:`input`, in OUTPUT."""
        at = self.segments["output"]
        self.segments["output"] += words * self.arch.lanes + 127 & ~127
        self.outputs.append({"name": name, "shape": [self.arch.lanes, 1, words], "scale": 1.0,
                             "zero_point": 0, "offset": at, "blocks": 1,
                             "lane_of": list(range(self.arch.lanes))})
        return at

    def program(self, waits: Sequence[Sequence[int]] | None = None) -> Program:
        """The program, END added. ``waits`` (one row an instruction) override all others."""
        n = len(self.items) + 1
        at = n * Arch.INSTRUCTION_BYTES + 127 & ~127
        code, done = bytearray(), [0] * len(Engine)
        for i, (ins, constant) in enumerate(self.items):
            row = waits[i] if waits is not None else done if self.serial else None
            changes: dict[str, int] = {}
            if row is not None:
                changes = {f"wait_{e.name.lower()}": int(row[e]) for e in Engine}
            if constant:
                changes["offset"] = ins.offset + at
            code += ins.replace(**changes).encode()
            assert ins.engine is not None
            done[ins.engine] += 1
        code += End().encode()
        code += bytes(at - len(code)) + self.blob
        header = {"model": "test", "instructions": n, "segments": self.segments,
                  "inputs": self.inputs, "outputs": self.outputs, "layers": [],
                  "steps": [[-1, -1, 0, 0, 0, 0]] * n, "tensors": [], "meta": {}}
        return Program(self.arch, bytes(code), header)


def random_inputs(program: Program, seed: int = 0) -> dict[str, NDArray[np.int8]]:
    rng = np.random.default_rng(seed)
    return {t["name"]: rng.integers(-128, 128, t["shape"]).astype(np.int8)
            for t in program.header["inputs"]}


def random_mac(rng: np.random.Generator, n: int, n_p: int, depth: int, **fixed: int
               ) -> tuple[Mac, tuple[int, ...]]:
    """A MAC that reads and writes anywhere below ``n`` words from its bases; weight shape."""
    shape = {"n_ob": 3, "n_y": 3, "n_x": 6, "n_ky": 3, "n_kx": 3, "n_ib": 3}
    v = {k: int(rng.integers(1, hi + 1)) for k, hi in shape.items()}
    while v["n_ob"] * (n_p + v["n_ky"] * v["n_kx"] * v["n_ib"]) > depth:
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
    asm, lanes = Assembler(arch), arch.lanes
    at = asm.input("x", 3 * n)
    i_at, pitch = asm.image("image", 3, 4, 11)
    out = asm.output("y", 3 * n)
    asm.segments["work"] = 3 * n * lanes
    asm.add(Load(segment=Segment.INPUT, offset=at, dst=Dst.SCRATCHPAD, run=3 * n))
    asm.add(Store(segment=Segment.WORK, run=3 * n))
    for dst in (Dst.MAC_TABLE, Dst.VEC_TABLE):
        asm.constant(rng.integers(0, 256, 256).astype(np.uint8).tobytes(), dst)
    for _ in range(length):
        source, target = (int(v) * n for v in rng.permutation(3)[:2])
        base = {"in_base": source, "out_base": target}
        kind = rng.integers(6)
        n_par = arch.weight_param_words
        if kind <= 1:
            ins, shape = random_mac(rng, n, n_par, arch.weight_words, **base)
            w = rng.integers(-127, 128, (*shape, lanes, lanes))
            spread = 74 * 74 * np.sqrt(w[0, ..., 0].size)
            blocks = [random_params(rng, arch, spread) for _ in range(shape[0])]
            asm.constant(mac_words(arch, w, blocks), Dst.WEIGHTS, ins.w_base * lanes)
            asm.add(ins)
        elif kind <= 3:
            add_window(asm, rng, n, base)
        elif kind == 4:
            add_elementwise(asm, rng, n, source, target)
        else:
            add_transfers(asm, rng, n, source, target, i_at, pitch)
    asm.add(Store(segment=Segment.OUTPUT, offset=out, run=3 * n))
    return asm.program(waits)


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


def table_rows(arch: Arch, level: dict[str, Any], columns: Sequence[Sequence[int]], points: int
               ) -> bytes:
    """The detect table of a level up to its last anchor; columns as in SCAN, empty ones are 0."""
    entries = np.zeros((256, 4), np.int64)
    for i, column in enumerate(columns):
        if len(column):
            entries[:, i] = column
    rows = np.zeros((len(level["anchors"]), 8), np.int64)
    for a, (row, sizes) in enumerate(zip(rows, level["anchors"])):
        channels = 4 * a, a, 2 * points * a
        row[:4] = sizes
        row[4:7] = [c // arch.lanes * level["width"] for c in channels]
        row[7] = channels[2] % arch.lanes
    return b"".join((v & 0xFFFF).astype("<u2").tobytes() for v in (entries, rows))


def detection_program(
    arch: Arch, detect: dict[str, Any], tensors: dict[str, Array], *,
    waits: Sequence[Sequence[int]] | None = None,
) -> tuple[Program, dict[str, Array]]:
    """A program that is nothing but a detection head, and its inputs, the heads' tensors.

    Every device runs it, the golden model too. ``detect`` is as in the program's header, but the
    program lays out its segments on its own. Without ``waits`` each instruction waits for all that
    precede it.
    """
    asm, per = Assembler(arch), arch.row_words
    levels = [dict(level) for level in detect["levels"]]
    limit, rows, points = detect["limit"], detect["rows"], detect["points"]
    detect = {**detect, "levels": levels, "weights": -1}
    free = [0]

    def load(name: str) -> dict[str, int]:
        """Load a head: the scratchpad address of the tensor, and its steps."""
        channels, height, width = tensors[name].shape
        blocks = -(-channels // arch.lanes)
        words = height * blocks * width
        base = free[0] if free[0] + words <= arch.scratchpad_words else 0
        assert base + words <= arch.scratchpad_words
        free[0] = base + words
        at = asm.input(name, words, shape=[channels, height, width])
        asm.add(Load(segment=Segment.INPUT, offset=at, base=base, run=words))
        return {"base": base, "y_step": blocks * width, "b_step": width}

    def reserve(size: int) -> int:
        at = asm.segments["input"]
        asm.segments["input"] += size + 127 & ~127
        return at

    def cells(number: int, shift: str) -> dict[str, int]:
        level = levels[number]
        return {"level": number, "stride_x": level["stride"][0], "stride_y": level["stride"][1],
                "centre_shift": level[shift], "grid": level["grid"]}

    for i, level in enumerate(levels):
        scores, boxes = load(level["scores"]), load(level["boxes"])
        objects = load(level["objectness"]) if level["objectness"] else {"base": 0, "y_step": 0}
        columns = [level[k] for k in ("score", "objectness_table", "centre", "size")]
        asm.constant(table_rows(arch, level, columns, points), Dst.DETECT)
        level["options"] = reserve(arch.ROW_BYTES)
        asm.add(Load(segment=Segment.INPUT, offset=level["options"], dst=Dst.DETECT,
                     base=arch.TABLE_OPTIONS * per, run=per))
        n_channels = level["n_class"] * len(level["anchors"])
        asm.add(Scan(
            **{f"score_{k}": v for k, v in scores.items()},
            box_base=boxes["base"], box_y_step=boxes["y_step"],
            obj_base=objects["base"], obj_y_step=objects["y_step"],
            n_y=level["height"], n_x=level["width"], n_b=-(-n_channels // arch.lanes),
            n_channels=n_channels, n_class=level["n_class"], first=int(i == 0),
            objectness=int(bool(level["objectness"])), form=level["form"],
            **cells(i, "centre_shift"), size_shift=level["size_shift"],
            **dict(zip(("x_lo", "x_hi", "y_lo", "y_hi"), level["clip"])),
        ))
    if detect["mode"] == "soft_gaussian":
        detect["weights"] = reserve(2048)
        asm.add(Load(segment=Segment.INPUT, offset=detect["weights"], dst=Dst.DETECT,
                     run=2048 // arch.lanes))
    asm.add(Suppress(mode=Suppression[detect["mode"].upper()], agnostic=int(detect["agnostic"]),
                     limit=limit))
    for i, level in enumerate(levels):
        if points:
            view = load(level["landmarks"])
            asm.constant(table_rows(arch, level, [[], [], level["mark"]], points), Dst.DETECT)
            asm.add(Mark(**view, n_values=2 * points, **cells(i, "mark_shift"), limit=limit))
    at = detect["output"] = asm.segments["output"]
    asm.segments["output"] += arch.ROW_BYTES * (1 + limit * (1 + rows)) + 127 & ~127
    stored = (arch.candidates, 1, 0), (0, limit, 1), (limit, limit * rows, 1 + limit)
    for first, count, to in stored:
        if count:
            asm.add(Store(segment=Segment.OUTPUT, offset=at + to * arch.ROW_BYTES,
                          src=Src.RECORDS, base=first * per, run=count * per))
    program = asm.program(waits)
    names = [t["name"] for t in asm.inputs]
    program.header |= {
        "detect": detect, "graph_offset": 0,  # a graph that hands its inputs on
        "graph": {"inputs": names, "outputs": names, "nodes": [], "tensors": asm.inputs},
    }
    return program, dict(tensors)
