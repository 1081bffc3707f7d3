"""Operators of the integer graph as data: what every room asks of one.

An operator is a frozen dataclass, in a file of its own in :mod:`falconet.isa.graph.ops`. Its fields
are its attributes, each with the range that is legal; class variables say the rest. From these
derive the check of a program file (:mod:`falconet.isa.graph.section`), the compiler's verifier and
shapes, the random networks of the tests, and docs/operators.md. What a network computes is written
down elsewhere, by hand: ``falconet_sim.golden``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from falconet.isa.checks import Fields, fault
from falconet.isa.errors import shown
from falconet.isa.graph.attribute import Attribute
from falconet.isa.graph.tensor import HI, LO, Range, Shape
from falconet.isa.machine.fields import Instruction

__all__ = ["NAMES", "REGISTERED", "Constant", "Consts", "Cost", "Fault", "Given", "Operator"]

class Given(NamedTuple):
    """A node's constant without its values."""

    dtype: str
    shape: tuple[int, ...]


Consts = Mapping[str, Given]

NAMES = {
    "H": "rows of the output", "W": "columns of the output", "n": "inputs",
    "OB": "blocks of `lanes` output channels",
    "IB": "blocks of input channels that one of these reads",
    "P": "words of parameters in front of a block's weights (16 bytes a lane)",
    "S": "steps of the MAC array for a word, `lanes / rows`",
    "V": "the same in the vector engine's memory",
    "T": "`taps`, the products of a lane of the vector engine",
}
"""What a formula of cycles may name, beside attributes: ``ky``, ``kx``, ``sy``, ``sx``."""


class Fault(NamedTuple):
    """What is illegal: ``where`` is ``inputs``, ``attrs.NAME`` or ``consts.NAME``."""

    where: str
    why: str


class Cost(NamedTuple):
    """Cycles of the instructions that compute it, a formula in Python, where ``when`` holds."""

    instruction: type[Instruction]
    when: str
    cycles: str


@dataclass(frozen=True)
class Constant:
    """An array that comes with a node.

    Members
    -------
    shape:
        Numbers, and names of sizes (:meth:`Operator.sizes`).
    least, most:
        What a value of it may be.
    hint:
        What to do about a value that is not.
    """

    name: str
    dtype: str
    shape: tuple[str | int, ...]
    doc: str
    least: int
    most: int
    hint: str = "quantise again"
    optional: bool = False


@dataclass(frozen=True)
class Operator:
    """Base of all operators; those with an ``op`` are registered.

    Class variables
    ---------------
    op:
        Its name in the graph section and in messages.
    arity:
        Least and greatest number of inputs.
    constants:
        The arrays that come with it.
    staged:
        Whether it ends in an output stage (:class:`falconet.isa.graph.stage.Staged`). One without
        only moves values: scale and zero point of its inputs are those of its output.
    products:
        A constant and its axis of output channels: the accumulator is the sum of stored inputs
        times that constant. None: :meth:`sums` says what it may be, one of the stored inputs.
    fuses:
        Whether it takes the activation behind it into its output stage.
    onnx:
        What of ONNX becomes one.
    costs:
        Instructions and their cycles (:data:`NAMES`); none: it is a place in memory and takes no
        time.
    limits:
        Sentences on what else has an end, for the page.
    """

    op: ClassVar[str]
    arity: ClassVar[Range] = (1, 1)
    constants: ClassVar[tuple[Constant, ...]] = ()
    staged: ClassVar[bool] = False
    products: ClassVar[tuple[str, int] | None] = None
    fuses: ClassVar[bool] = False
    onnx: ClassVar[tuple[str, ...]] = ()
    costs: ClassVar[tuple[Cost, ...]] = ()
    limits: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        if "op" in vars(cls):
            if cls.op in REGISTERED:
                raise TypeError(f"two operators are called {cls.op}")
            REGISTERED[cls.op] = cls

    # ------------------------------------------------------------------ attributes

    @classmethod
    def attributes(cls) -> dict[str, Attribute]:
        return {f.name: f.metadata["is"] for f in dataclasses.fields(cls)}

    @classmethod
    def of(cls, attrs: Mapping[str, Any]) -> Operator:
        """From names and values that are known to be good; lists become tuples."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in attrs.items()})

    @classmethod
    def read(cls, attrs: Fields) -> Operator:
        """From the graph section. Raises FalconetError naming the field."""
        known = cls.attributes()
        for key in attrs.value:
            if key not in known:
                fault(attrs.field, f"{cls.op} has no attribute {shown(key)}")
        return cls(**{name: a.read(name, attrs) for name, a in known.items()})

    def to_dict(self) -> dict[str, Any]:
        """The form in the graph section."""
        found = {name: getattr(self, name) for name in self.attributes()}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()
                if v is not False}

    # ------------------------------------------------------------------ shapes

    def channels(self, inputs: Sequence[Shape], consts: Consts) -> int:
        """Of the output."""
        return inputs[0][0]

    def shape(self, inputs: Sequence[Shape], consts: Consts) -> Shape:
        """Of the output, for a legal node."""
        return self.channels(inputs, consts), *inputs[0][1:]

    def sizes(self, inputs: Sequence[Shape], consts: Consts) -> dict[str, int]:
        """What the names in the shapes of constants stand for: C and O channels, n inputs."""
        return {"C": inputs[0][0], "O": self.channels(inputs, consts), "n": len(inputs)}

    def padded(self, inputs: Sequence[Shape]) -> Shape:
        """The first input as it is read, padding included."""
        return inputs[0]

    def steps(self, inputs: Sequence[Shape], consts: Consts) -> int:
        """Values that are read to compute the output."""
        return math.prod(self.shape(inputs, consts)) * len(inputs)

    def macs(self, inputs: Sequence[Shape], consts: Consts) -> int:
        """Multiply-accumulates; 0 for all but convolutions."""
        return 0

    # ------------------------------------------------------------------ values

    def reach(self, inputs: Sequence[Range], table: Sequence[int] | None) -> Range:
        """Least and greatest stored value of the output, given those of the inputs."""
        los, his = zip(*inputs)
        return min(los), max(his)

    def bounds(self, constant: Constant) -> Range:
        """Least and greatest legal value of a constant."""
        return constant.least, constant.most

    @property
    def zero(self) -> int:
        """What is taken from the stored inputs before they are multiplied by ``products``."""
        return 0

    def phases(self, weight: Any) -> Iterator[Any]:
        """The values of ``products`` that are added: all, or some here and some there."""
        yield weight

    def sums(self) -> Range:
        """Least and greatest accumulator, where no constant is multiplied (``products``)."""
        return LO, HI

    def idle(self, inputs: Sequence[Shape]) -> bool:
        """Whether it returns its input by its attributes alone."""
        return False

    # ------------------------------------------------------------------ legality

    def mismatches(self, inputs: Sequence[Shape], consts: Consts) -> Iterator[Fault]:
        """What the operator itself demands of inputs and attributes that are legal one by one."""
        yield from ()

    def faults(self, inputs: Sequence[Shape], consts: Consts) -> Iterator[Fault]:
        """What is illegal, values of constants aside; behind the first, others may be wrong."""
        least, most = self.arity
        if not least <= len(inputs) <= most:
            few = len(inputs) < least
            yield Fault("inputs", f"{len(inputs)} inputs are too {'few' if few else 'many'}; "
                                  + ("mend the export" if few else "split it"))
        for name, attribute in self.attributes().items():
            for why in attribute.faults(name, getattr(self, name)):
                yield Fault(f"attrs.{name}", why)
        yield from self.mismatches(inputs, consts)
        sizes = self.sizes(inputs, consts)
        for c in self.constants:
            given = consts.get(c.name)
            if given is None and c.optional:
                continue
            wanted = Given(c.dtype, tuple(sizes[n] if isinstance(n, str) else n for n in c.shape))
            if given != wanted:
                got = "nothing" if given is None else f"{given.dtype} {list(given.shape)}"
                yield Fault(f"consts.{c.name}",
                            f"constant '{c.name}' must be {wanted.dtype} {list(wanted.shape)}, "
                            f"not {got}; mend the export")
        for name in consts:
            if name not in {c.name for c in self.constants}:
                yield Fault(f"consts.{name}", f"constant '{name}' is none of {self.op}; drop it")


REGISTERED: dict[str, type[Operator]] = {}
"""What has been imported so far; :data:`falconet.isa.graph.ops.OPERATORS` is all of them."""
