"""A quantised network as QCDQ ONNX with all that the compiler and the host need to know."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import torch
from brevitas.export import export_onnx_qcdq
from torch import nn

from falconet.isa import FalconetError
from falconet_models.metadata import set_meta
from falconet_models.networks.detector import Detector
from falconet_models.networks.layers import laid_out
from falconet_models.networks.mobilenet import Classifier

__all__ = ["export"]


_STORED = "/act_quant/export_handler/QuantizeLinear_output_0"


class _Outputs(nn.Module):
    """A network whose results are a tuple, in the order of a detector's ``outputs``."""

    def __init__(self, network: Detector | Classifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.network(x)
        if isinstance(self.network, Classifier):
            return (found,)
        return tuple(found[i][part] for _, i, part in self.network.outputs())


def _short(name: str) -> str:
    """``/network/neck/add.0/after/act_quant/export_handler/QuantizeLinear_output_0`` and the like
    as the path of the module, ``neck.add.0.after``, where it is what a quantiser stores."""
    parts = name.removesuffix(_STORED).strip("/").split("/")
    if parts[0] == "network":
        parts = parts[1:]
    kept = [p for p, after in zip(parts, [*parts[1:], ""])
            if not after.startswith(f"{p}.") and p != after.lower()]
    return ".".join(kept)


def _rename(graph: onnx.GraphProto) -> None:
    """Names of modules in place of the exporter's, for nodes and for tensors."""
    kept = {v.name for v in (*graph.input, *graph.output)}
    names: dict[str, str] = {}
    for old in (o for n in graph.node for o in n.output):
        if old not in kept:
            new = _short(old)
            names[old] = old if new in kept else new
            kept.add(names[old])
    for node in graph.node:
        node.name = _short(node.name)
        node.input[:] = [names.get(i, i) for i in node.input]
        node.output[:] = [names.get(o, o) for o in node.output]
    for value in graph.value_info:
        value.name = names.get(value.name, value.name)


_DIVERGED = "training has diverged; lower 'rate' and 'quantise.rate' and train again"


@contextmanager
def _values_checked(network: nn.Module) -> Iterator[None]:
    """Refuse what a training that diverged leaves: values that no integers stand for."""
    largest, where = 0.0, ""
    for name, tensor in network.named_parameters():
        most = float(tensor.detach().abs().max())
        if not math.isfinite(most):
            raise FalconetError(f"'{name}' of the network has values that are not finite: "
                                f"{_DIVERGED}")
        largest, where = max((largest, where), (most, name))
    try:
        yield
    except RuntimeError as e:
        if "QuantTensor not valid" not in str(e):
            raise
        raise FalconetError("the network has a bias of more steps than float32 can count (its "
                            f"largest value is {largest:.3g}, in '{where}'): {_DIVERGED}") from None


def export(
    network: Detector | Classifier, path: str | Path | None = None, *,
    labels: Sequence[str] = (), **meta: Any,
) -> onnx.ModelProto:
    """The network as ``falconet compile`` takes it, written to ``path`` if there is one.

    Parameters
    ----------
    network:
        Quantised; it is left alone.
    labels:
        Of a classifier.
    meta:
        Further entries of the metadata.

    Raises
    ------
    FalconetError
        for a float network, for what a training that diverged leaves, for labels that do not
        fit, and for a path that cannot be written.
    """
    if network.style != "quantised":
        raise FalconetError("only a quantised network is exported; quantise it first")
    if labels and isinstance(network, Detector):
        raise FalconetError("labels: a detector has its own; leave them out")
    if labels and isinstance(network, Classifier) and len(labels) != network.config.classes:
        raise FalconetError(f"labels: there are {len(labels)} for {network.config.classes} "
                            "classes; give one a class, or none")
    network = laid_out(copy.deepcopy(network).cpu().eval(), torch.contiguous_format)
    config = network.config
    if isinstance(network, Detector):
        names = [name for name, _, _ in network.outputs()]
        meta = {"model": network.config.name, "preprocess": network.preprocess(),
                "postprocess": network.description(), **meta}
    else:
        names = ["logits"]
        meta = {"model": config.backbone.family, "preprocess": network.preprocess(),
                "postprocess": {"kind": "classification", "output": "logits",
                                "labels": list(labels)}, **meta}
    with TemporaryDirectory() as folder, _values_checked(network):
        file = Path(folder, "network.onnx")
        export_onnx_qcdq(
            _Outputs(network), args=torch.zeros(1, 3, *config.size), export_path=str(file),
            dynamo=False, opset_version=17, keep_initializers_as_inputs=False,
            input_names=["input"], output_names=names)
        model = onnx.load(file)
    _rename(model.graph)
    model.graph.name = str(meta["model"])
    set_meta(model, meta)
    if path is not None:
        try:
            onnx.save(model, str(path))
        except OSError as e:
            raise FalconetError(f"{path}: {e.strerror}; choose another place") from None
    return model
