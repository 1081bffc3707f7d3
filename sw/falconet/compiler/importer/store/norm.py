"""Layer norm and RMS norm."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.importer.build import Builder, stores
from falconet.compiler.importer.expr import Norm
from falconet.compiler.importer.stage import Stage
from falconet.isa import FalconetError
from falconet.isa.graph.ops import norm as ops
from falconet.isa.machine.channels import norm_epsilon, norm_stage

__all__: list[str] = []


@stores(Norm)
def norm(builder: Builder, expr: Norm, stage: Stage, name: str) -> str:
    if stage.alpha is not None:
        raise FalconetError("a leaky ReLU behind a norm; put Q/DQ between the two")
    t, c = builder.graph.tensors[expr.tensor], expr.shape[0]
    step, out = (1.0, 1.0) if builder.structure else (t.scale, stage.scale)
    rows = [norm_stage(float(g), float(o), out, acc_bits=builder.arch.acc_bits,
                       mult_bits=builder.arch.mult_bits)
            for g, o in zip(np.ones(c) if builder.structure else expr.gain, expr.offset)]
    bias, gamma, shift = zip(*rows)
    consts: dict[str, NDArray[Any]] = {
        "gamma": np.array(gamma, np.int32), "bias": np.array(bias, np.int32),
        "shift": np.array(shift, np.uint8)}
    attrs = ops.Norm(rms=expr.rms, zero_in=t.zero_point,
                     epsilon=norm_epsilon(expr.epsilon, step, c), **stage.clamp())
    return builder.emit(attrs, expr.node, [expr.tensor], name, stage, consts)
