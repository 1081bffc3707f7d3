"""The scratchpad: banked, word-interleaved on-chip memory of the activations."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import ceil_log2, exact_log2

from falconet.isa import Arch
from falconet_hw.layout import WORD_ADDRESS, WriteBus
from falconet_hw.stream.delay import delay

__all__ = ["READERS", "READ_LATENCY", "WRITERS", "Scratchpad", "bank_of"]

READ_LATENCY = 4
"""Cycles from a read's transfer to its data: address register, memory, memory output register,
multiplexer register."""

READERS = ("mac", "vec", "store")
WRITERS = ("mac", "vec", "load")

_MEMORY_WORDS = 1024  # 1024 x 36 bits is a native shape of a RAMB36


def bank_of(addr: int, banks: int) -> int:
    """The bank that holds word ``addr``: all groups of log2(``banks``) address bits, XORed."""
    bank, width = 0, ceil_log2(banks)
    while width and addr:
        bank ^= addr & (banks - 1)
        addr >>= width
    return bank


def _bank(addr: Value, banks: int) -> Value:
    width = ceil_log2(banks)
    return Cat(
        Cat(addr[i] for i in range(bit, len(addr), width)).xor() for bit in range(width)
    )


def _select(choices: list[Value], index: Value) -> Value:
    """``choices[index]`` as a binary tree of multiplexers (a case statement becomes AND-OR)."""
    if len(choices) == 1:
        return choices[0]
    half = 1 << (ceil_log2(len(choices)) - 1)
    top = index[ceil_log2(half)]
    return Mux(top, _select(choices[half:], index), _select(choices[:half], index))


class Scratchpad(Component):
    """``banks`` memories of ``bank_words`` words of ``lanes`` bytes.

    Word ``a`` lies at index ``a >> log2(banks)`` of bank ``bank_of(a)``. Each bank performs one
    read and one write a cycle. Of the ports that want the same bank the first one in the order of
    ``READERS`` (of ``WRITERS``) goes ahead and the others wait; ports on different banks never
    disturb each other, so a port without competition transfers a word every cycle.

    A read that transfers in any cycle after a write's transfer sees the new data; a read that
    transfers in the same cycle sees the old. There is no register before ``ready``: clients put
    a registered queue before every stream. Addresses beyond ``scratchpad_words`` are the
    compiler's mistake: such a write changes some word or none, such a read gives any data.

    Parameters
    ----------
    arch: Arch

    Members
    -------
    {mac,vec,store}_req: In(stream.Signature(WORD_ADDRESS))
        Word address to read.
    {mac,vec,store}_data: Out(8 * lanes)
        The word, exactly ``READ_LATENCY`` cycles after its address' transfer, for one cycle.
    {mac,vec,load}_write: In(stream.Signature(WriteBus(arch)))
        Word to write, and where.
    """

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        members: dict[str, In | Out] = {}
        for name in READERS:
            members[f"{name}_req"] = In(stream.Signature(WORD_ADDRESS))
            members[f"{name}_data"] = Out(8 * arch.lanes)
        for name in WRITERS:
            members[f"{name}_write"] = In(stream.Signature(WriteBus(arch)))
        super().__init__(members)

    def _arbitrate(
        self, m: Module, ports: list[stream.Interface], banks_wanted: list[Value]
    ) -> list[list[Value]]:
        """Drive ``ready`` of every port; return ``hit[bank][port]``, before priority."""
        for i, port in enumerate(ports):
            blocked = [
                ports[j].valid & (banks_wanted[j] == banks_wanted[i]) for j in range(i)
            ]
            m.d.comb += port.ready.eq(~Cat(blocked).any() if blocked else 1)
        return [
            [port.valid & (wanted == bank) for port, wanted in zip(ports, banks_wanted)]
            for bank in range(self.arch.banks)
        ]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        arch, width = self.arch, 8 * self.arch.lanes
        skip, within = ceil_log2(arch.banks), exact_log2(_MEMORY_WORDS)
        n_memories = -(-arch.bank_words // _MEMORY_WORDS)

        reads = [getattr(self, f"{n}_req") for n in READERS]
        writes = [getattr(self, f"{n}_write") for n in WRITERS]
        read_banks = [_bank(r.payload, arch.banks) for r in reads]
        write_banks = [_bank(w.payload.addr, arch.banks) for w in writes]
        read_hits = self._arbitrate(m, reads, read_banks)
        write_hits = self._arbitrate(m, writes, write_banks)

        bank_words: list[Value] = []
        for b in range(arch.banks):
            r_addr = Signal(WORD_ADDRESS.width - skip, name=f"r_addr{b}", reset_less=True)
            w_addr = Signal(WORD_ADDRESS.width - skip, name=f"w_addr{b}", reset_less=True)
            w_data = Signal(width, name=f"w_data{b}", reset_less=True)
            w_en = Signal(name=f"w_en{b}")
            hit = read_hits[b]
            m.d.sync += r_addr.eq(
                Mux(hit[0], reads[0].payload, Mux(hit[1], reads[1].payload, reads[2].payload))
                >> skip
            )
            hit = write_hits[b]
            word = Mux(
                hit[0], writes[0].payload.as_value(),
                Mux(hit[1], writes[1].payload.as_value(), writes[2].payload.as_value()),
            )
            m.d.sync += [
                Cat(w_addr, w_data).eq(word[skip:]),
                w_en.eq(Cat(hit).any()),
            ]

            choice = delay(m, r_addr[within:], 2, name=f"choice{b}")
            outs: list[Value] = []
            for i in range(n_memories):
                depth = min(_MEMORY_WORDS, arch.bank_words - i * _MEMORY_WORDS)
                memory = Memory(shape=width, depth=depth, init=[])
                m.submodules[f"bank{b}_{i}"] = memory
                wp = memory.write_port()
                rp = memory.read_port()
                m.d.comb += [
                    rp.addr.eq(r_addr), rp.en.eq(1),
                    wp.addr.eq(w_addr), wp.data.eq(w_data),
                    wp.en.eq(w_en & (w_addr[within:] == i)),
                ]
                out = Signal(width, name=f"out{b}_{i}", reset_less=True)
                m.d.sync += out.eq(rp.data)
                outs.append(out)
            bank_words.append(_select(outs, choice))

        for name, wanted in zip(READERS, read_banks):
            pipe = [Signal(skip, name=f"{name}_bank{i}", reset_less=True) for i in range(3)]
            m.d.sync += [b.eq(a) for a, b in zip([wanted, *pipe], pipe)]
            data = Signal(width, name=f"{name}_word", reset_less=True)
            m.d.sync += data.eq(_select(bank_words, pipe[-1]))
            m.d.comb += getattr(self, f"{name}_data").eq(data)
        return m
