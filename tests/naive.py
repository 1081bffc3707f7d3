"""The instructions' docstrings in plain loops over scalars: slow, and independent of numpy tricks.

``run(program, inputs)`` gives the bytes of segment OUTPUT. Only for programs that are legal.
"""

from __future__ import annotations

from falconet.isa import Dst, End, Program, Segment, output_stage, unpack_pair
from falconet.runtime.tensors import pack_input


def signed(b: int) -> int:
    return b - 256 if b > 127 else b


class Naive:
    def __init__(self, program: Program) -> None:
        self.arch = a = program.arch
        self.n = a.lanes
        seg = program.header["segments"]
        self.ddr = [bytearray(program.code), *(bytearray(seg[k] + 128)
                                               for k in ("input", "output", "work"))]
        self.mem = {
            Dst.SCRATCHPAD: [[0] * self.n for _ in range(a.scratchpad_words)],
            Dst.WEIGHTS: [[0] * self.n for _ in range(a.weight_words * a.rows)],
            Dst.VECTOR: [[0] * self.n for _ in range(a.vector_words * a.taps)],
            Dst.MAC_TABLE: [[0] * self.n for _ in range(256 // self.n)],
            Dst.VEC_TABLE: [[0] * self.n for _ in range(256 // self.n)],
        }

    def word(self, memory: Dst, number: int, per: int) -> list[int]:
        """Bytes (signed) of a weight word."""
        words = self.mem[memory]
        return [b for k in range(per) for b in words[(number * per + k) % len(words)]]

    def view(self, i, p: str, b: int, y: int, x: int, ky: int = 0, kx: int = 0) -> int:
        def f(name: str) -> int:
            return getattr(i, f"{p}_{name}")
        r = f("row") + y * f("y_step")
        if ky:
            r += ky * f("ky_step")
        if f("ring"):
            r %= f("ring")
        address = f("base") + r + x * f("x_step") + b * f("b_step")
        if kx:
            address += kx * f("kx_step")
        return address % 65536

    def pixel(self, i, b: int, y: int, x: int, ky: int, kx: int) -> list[int]:
        iy = i.iy0 + y * i.stride_y + ky * i.dil_y
        ix = i.ix0 + x * i.stride_x + kx * i.dil_x
        if 0 <= iy < i.in_h and 0 <= ix < i.in_w:
            return self.mem[Dst.SCRATCHPAD][self.view(i, "in", b, y, x, ky, kx)]
        return [i.pad] * self.n

    def finish(self, i, acc: list[int], par: list[int], table: Dst) -> list[int]:
        entries = [b for w in self.mem[table] for b in w] if i.table else None
        raw = [b & 255 for b in par]
        out = []
        for lane, a in enumerate(acc):
            p = bytes(raw[16 * lane : 16 * lane + 16])
            out.append(output_stage(
                a, bias=int.from_bytes(p[:4], "little", signed=True),
                mult=int.from_bytes(p[4:8], "little"),
                mult_neg=int.from_bytes(p[8:12], "little"), shift=p[12],
                zp=i.zp, lo=i.lo, hi=i.hi, table=entries,
            ))
        return out

    def mac_weight(self, word: list[int], lane_in: int, lane_out: int) -> int:
        j, k = divmod(lane_out, 2)
        at = (j * self.arch.rows + lane_in) * 2
        return unpack_pair(word[at], word[at + 1])[k]

    def do_MAC(self, i) -> None:
        n, a = self.n, self.arch
        rows, parts = a.rows, n // a.rows
        p_words, results = 16 // rows, []
        for ob in range(i.n_ob):
            start = i.w_base + ob * (p_words + i.n_ky * i.n_kx * i.n_ib * parts)
            par = [b for k in range(p_words) for b in self.word(Dst.WEIGHTS, start + k, rows)]
            words = [self.word(Dst.WEIGHTS, start + p_words + k, rows)
                     for k in range(i.n_ky * i.n_kx * i.n_ib * parts)]
            of_words = [words[k : k + parts] for k in range(0, len(words), parts)]
            flat = [[[self.mac_weight(w, ci, co) for w in ws for ci in range(rows)]
                     for co in range(n)] for ws in of_words]
            for y in range(i.n_y):
                for x in range(i.n_x):
                    acc, k = [0] * n, 0
                    for ky in range(i.n_ky):
                        for kx in range(i.n_kx):
                            for ib in range(i.n_ib):
                                v = self.pixel(i, ib, y, x, ky, kx)
                                for co in range(n):
                                    w = flat[k][co]
                                    acc[co] += sum(v[ci] * w[ci] for ci in range(n))
                                k += 1
                    results.append((self.view(i, "out", ob, y, x),
                                    self.finish(i, acc, par, Dst.MAC_TABLE)))
        self.put(results)

    def put(self, results) -> None:
        for address, word in results:
            self.mem[Dst.SCRATCHPAD][address] = word

    def tap(self, word: list[int], t: int, lane: int) -> int:
        p, k = divmod(t, 2)
        at = (p * self.n + lane) * 2
        return unpack_pair(word[at], word[at + 1])[k]

    def vector_block(self, i, b: int):
        start, p = i.w_base + b * i.w_b_step, self.arch.vector_param_words
        par = [v for k in range(p) for v in self.word(Dst.VECTOR, start + k, self.arch.taps)]
        return par, lambda k: self.word(Dst.VECTOR, start + p + k, self.arch.taps)

    def do_WINDOW(self, i) -> None:
        n, taps, results = self.n, self.arch.taps, []
        for b in range(i.n_b):
            par, word = self.vector_block(i, b)
            for y in range(i.n_y):
                out = 0
                before = [[0] * n for _ in range(taps)]
                for x in range(i.n_x):
                    now = [[0] * n if t == 0 or i.fresh >> t & 1 else list(before[t - 1])
                           for t in range(taps)]
                    for ky in range(i.n_ky):
                        for kx in range(i.n_kx):
                            v = self.pixel(i, b, y, x, ky, kx)
                            if i.op:
                                if ky == kx == 0:
                                    now[-1] = list(v)
                                else:
                                    now[-1] = [max(p, q) for p, q in zip(now[-1], v)]
                                continue
                            w = word((ky * i.n_kx + kx) * i.w_k_step)
                            for t in range(taps):
                                for lane in range(n):
                                    now[t][lane] += v[lane] * self.tap(w, t, lane)
                    before = now
                    if x >= i.skip and (x - i.skip) % i.every == 0:
                        results.append((self.view(i, "out", b, y, out),
                                        self.finish(i, now[-1], par, Dst.VEC_TABLE)))
                        out += 1
        self.put(results)

    def do_ELTW(self, i) -> None:
        results = []
        for b in range(i.n_b):
            par, word = self.vector_block(i, b)
            for y in range(i.n_y):
                for x in range(i.n_x):
                    acc, first = [0] * self.n, None
                    for s in range(i.n_src):
                        v = self.mem[Dst.SCRATCHPAD][self.view(i, "ab"[s], b, y, x)]
                        w = word(s)
                        for lane in range(self.n):
                            t0, t1, t2, t3 = (self.tap(w, t, lane) for t in range(4))
                            if i.product and first is not None:
                                t0, t1 = int(first[lane]), 0
                            acc[lane] += v[lane] * (t3 + 128 * t2 + 16384 * t1 + t0)
                        first = v
                    results.append((self.view(i, "out", b, y, x),
                                    self.finish(i, acc, par, Dst.VEC_TABLE)))
        self.put(results)

    def runs(self, i):
        for i2 in range(i.n2):
            for i1 in range(i.n1):
                for r in range(i.run):
                    yield (i.offset + i2 * i.ddr_step2 + i1 * i.ddr_step1 + r * self.n,
                           (i.base + i2 * i.step2 + i1 * i.step1 + r) % 65536)

    def do_LOAD(self, i) -> None:
        words = self.mem[Dst(i.dst)]
        for at, address in self.runs(i):
            data = self.ddr[i.segment][at : at + self.n]
            words[address % len(words)] = [signed(b) for b in data]

    def do_STORE(self, i) -> None:
        for at, address in self.runs(i):
            word = self.mem[Dst.SCRATCHPAD][address]
            self.ddr[i.segment][at : at + self.n] = bytes(v & 255 for v in word)

    def do_LDIMG(self, i) -> None:
        for row in range(i.n_rows):
            at = i.offset + row * i.pitch
            data = [signed(b) for b in self.ddr[i.segment][at : at + i.row_bytes]]
            line = [i.pad] * i.pad_left + data + [i.pad] * (i.n_x * i.step + self.n)
            for k in range(i.n_x):
                address = (i.base + row * i.row_step + k) % 65536
                self.mem[Dst.SCRATCHPAD][address] = line[k * i.step : k * i.step + self.n]


def run(program: Program, inputs) -> bytes:
    machine = Naive(program)
    for t in program.header["inputs"]:
        data = pack_input(inputs[t["name"]], t, program.arch.lanes).tobytes()
        machine.ddr[Segment.INPUT][t["offset"] : t["offset"] + len(data)] = data
    for ins in program.instructions():
        if isinstance(ins, End):
            break
        getattr(machine, f"do_{ins.mnemonic}")(ins)
    return bytes(machine.ddr[Segment.OUTPUT])
