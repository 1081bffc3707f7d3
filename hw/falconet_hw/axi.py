"""AXI3 masters: one read port shared by two clients, one write port; errors; DDR segments."""

from __future__ import annotations

from amaranth import Module
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, Signature
from falconet.isa import Arch, ErrorCode, Segment

from falconet_hw.bus import Axi3ReadSignature, Axi3WriteSignature

__all__ = [
    "BurstCommand", "ErrorLayout", "ReadBeat", "ReadClientSignature", "ReadMaster",
    "SegmentsLayout", "WriteBeat", "WriteClientSignature", "WriteMaster",
]


class ErrorLayout(data.StructLayout):
    """A block's first error. ``valid`` stays until reset; ``code`` is an ErrorCode."""

    def __init__(self) -> None:
        super().__init__({"valid": 1, "code": 4, "address": 32})


class SegmentsLayout(data.ArrayLayout):
    """Base and size in bytes of each Segment, as the driver set them.

    A base is a multiple of 4096 and a size of 128; the lower bits are taken as 0.
    """

    def __init__(self) -> None:
        super().__init__(data.StructLayout({"base": 32, "size": 32}), len(Segment))


class BurstCommand(data.StructLayout):
    """``len + 1`` beats of 8 bytes from byte ``addr``; ``tag`` comes back with the response.

    The caller has checked the window; the burst crosses no ``8 * burst_beats``-byte boundary.
    """

    def __init__(self) -> None:
        super().__init__({"addr": 32, "len": 4, "tag": 1})


class ReadBeat(data.StructLayout):
    """One beat; ``last`` of its burst; ``tag`` of the burst's command."""

    def __init__(self) -> None:
        super().__init__({"data": 64, "last": 1, "tag": 1})


class WriteBeat(data.StructLayout):
    def __init__(self) -> None:
        super().__init__({"data": 64, "strb": 8})


class ReadClientSignature(Signature):
    """Commands and their data, in the order of the commands (as seen by the client)."""

    def __init__(self) -> None:
        super().__init__({
            "cmd": Out(stream.Signature(BurstCommand())),
            "data": In(stream.Signature(ReadBeat())),
        })


class WriteClientSignature(Signature):
    """Commands, data in the order of the commands, responses (as seen by the client).

    ``done`` is high for one cycle per good response, in order, with the ``tag`` of its command.
    """

    def __init__(self) -> None:
        super().__init__({
            "cmd": Out(stream.Signature(BurstCommand())),
            "data": Out(stream.Signature(WriteBeat())),
            "done": In(1),
            "tag": In(1),
        })


class ReadMaster(Component):
    """One 64-bit AXI3 read port with two clients, LOAD and FETCH.

    Members
    -------
    load, fetch: In(ReadClientSignature())
        FETCH goes first when both have a command. LOAD keeps room for its data before it raises a
        command: its ``data.ready`` is not looked at. FETCH's data waits in a queue of 32 beats
        with credits, so FETCH may take it when it likes.
    stop: In(1)
        No new address is raised (one that is raised stays until taken).
    bus: Out(Axi3ReadSignature())
    idle: Out(1)
        No address is raised and no data is outstanding.
    error: Out(ErrorLayout())
        READ and the address of the first burst answered with SLVERR or DECERR. Implies ``stop``.
    """

    load: In(ReadClientSignature())
    fetch: In(ReadClientSignature())
    stop: In(1)
    bus: Out(Axi3ReadSignature())
    idle: Out(1)
    error: Out(ErrorLayout())

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        raise NotImplementedError(ErrorCode.READ)


class WriteMaster(Component):
    """One 64-bit AXI3 write port.

    Members
    -------
    client: In(WriteClientSignature())
        A command may be given before its data; the client then supplies all of it.
    stop: In(1)
        No new address is raised; bursts already accepted are finished.
    bus: Out(Axi3WriteSignature())
    idle: Out(1)
        No address is raised, no data or response outstanding.
    error: Out(ErrorLayout())
        WRITE and the address of the first burst answered with SLVERR or DECERR. Implies ``stop``.
    """

    client: In(WriteClientSignature())
    stop: In(1)
    bus: Out(Axi3WriteSignature())
    idle: Out(1)
    error: Out(ErrorLayout())

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        raise NotImplementedError(ErrorCode.WRITE)
