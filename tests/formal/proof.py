"""What a proof is, and the mutants that each must tell from the component."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from falconet.isa import FalconetError
from formal.prover import Failure, prove

__all__ = ["Mutant", "Proof"]


@dataclass(frozen=True)
class Mutant:
    """A fault: in the only line of the module that holds ``line`` and ``right``, ``wrong``.

    ``right`` is in that line once.
    """

    line: str
    right: str
    wrong: str

    def apply(self, module: ModuleType) -> ModuleType:
        """The faulty module.

        Raises
        ------
        FalconetError
            The source has changed, so that the fault is in no line or in several.
        """
        lines = Path(str(module.__file__)).read_text(encoding="utf-8").splitlines()
        at = [i for i, text in enumerate(lines) if self.line in text
              for _ in range(text.count(self.right))]
        if len(at) != 1:
            raise FalconetError(
                f"mutant '{self.right}' -> '{self.wrong}' fits {len(at)} places of "
                f"{module.__name__}, not one; change the mutant with the source"
            )
        lines[at[0]] = lines[at[0]].replace(self.right, self.wrong)
        mutant = types.ModuleType(module.__name__)
        exec(compile("\n".join(lines), str(module.__file__), "exec"), mutant.__dict__)
        return mutant


@dataclass(frozen=True)
class Proof:
    """A theorem about a component of ``module``.

    ``make(module)`` builds the specification around the component, as a component whose inputs are
    free. It is proved by induction over ``induction`` cycles; if that is 0, for ``steps`` cycles
    from reset. Each mutant must give a counterexample within ``steps`` cycles from reset;
    ``small`` builds what they are tried on, if not the same. ``quick`` says that the proof takes
    seconds and so belongs in the test-suite.
    """

    name: str
    module: ModuleType
    component: str
    shows: str
    widths: str
    assumes: str
    make: Callable[[Any], Any]
    steps: int
    induction: int
    mutants: Mapping[str, Mutant]
    small: Callable[[Any], Any] | None = None
    quick: bool = True

    @property
    def base(self) -> int:
        """Cycles from reset that are looked at."""
        return self.induction + 1 if self.induction else self.steps

    @property
    def depth(self) -> str:
        """Of both parts, as a table shows it."""
        after = f", then any {self.induction}" if self.induction else ", bounded"
        return f"{self.base}{after}"

    def fails(self, directory: str | Path = "build/formal") -> Failure | None:
        """Nothing, if it holds of the component as it is."""
        return prove(self.make(self.module), self.name, steps=self.base,
                     induction=self.induction, directory=directory)

    def kills(self, mutant: str, directory: str | Path = "build/formal") -> bool:
        """Is there a counterexample for ``mutant``?"""
        module = self.mutants[mutant].apply(self.module)
        return None is not prove((self.small or self.make)(module), f"{self.name}_mutant",
                         steps=self.steps, induction=0, directory=directory)
