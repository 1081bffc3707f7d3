"""``python -m falconet_hw.formal``: all proofs, each with its time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from falconet.isa import Arch, FalconetError
from falconet_hw.detect.overlap import Overlap
from falconet_hw.formal.overlap import OverlapProof, PartsProof
from falconet_hw.formal.prove import prove

PROOFS: dict[str, Callable[[], OverlapProof | PartsProof]] = {
    "parts_16": lambda: PartsProof(box_bits=Arch.BOX_BITS, threshold_bits=Arch.SCORE_BITS),
    "overlap_4": lambda: OverlapProof(Overlap(box_bits=4, threshold_bits=4)),
    "overlap_5": lambda: OverlapProof(Overlap(box_bits=5, threshold_bits=5)),
}


def main() -> int:
    failed = 0
    for name, make in PROOFS.items():
        start, component = time.monotonic(), make()
        proved = prove(component, name, steps=component.steps)
        failed += not proved
        answer = "proved" if proved else f"WRONG, see build/formal/{name}.vcd"
        print(f"{name:<12}{time.monotonic() - start:6.1f} s  {answer}", flush=True)
    return failed > 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FalconetError as e:
        sys.exit(f"error: {e}")
