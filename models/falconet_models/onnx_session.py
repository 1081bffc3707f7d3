"""The reference for every network: onnxruntime running the float or the QDQ model.

Boxes and classes come of the outputs by ``falconet.runtime.vision.postprocess``, as they do of
the machine's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from falconet.isa import FalconetError
from falconet_models.float_pictures import to_tensor
from falconet_models.metadata import get_meta
from falconet_models.ptq.prepare import session

__all__ = ["Reference", "snr_db"]

Array = NDArray[Any]


class Reference:
    """A model in onnxruntime, every node computed by itself.

    onnxruntime's own optimisation would fuse a QDQ model into integer kernels that round and
    saturate differently from what the file says, so it is left out.
    """

    def __init__(self, model: str | Path | onnx.ModelProto) -> None:
        self.model = model if isinstance(model, onnx.ModelProto) else onnx.load(str(model))
        self.meta = get_meta(self.model)
        self._session = session(self.model, optimise=False)
        (self.input,) = (i.name for i in self._session.get_inputs())
        self.outputs = [o.name for o in self._session.get_outputs()]

    def __call__(self, image: Array) -> dict[str, Array]:
        """Outputs by name, of a photograph (uint8 [H, W, 3]) or an input tensor [1, C, H, W]."""
        image = np.asarray(image)
        if image.dtype == np.uint8:
            if "preprocess" not in self.meta:
                raise FalconetError(
                    f"model '{self.model.graph.name}': preprocess is missing from its metadata; "
                    "give a float tensor"
                )
            image = to_tensor(image, self.meta["preprocess"])
        return dict(zip(self.outputs, self._session.run(None, {self.input: image})))


def snr_db(reference: Array, value: Array) -> float:
    """Signal-to-noise ratio in dB: energy of the reference over energy of the difference."""
    reference = np.asarray(reference, np.float64)
    noise = float(np.sum(np.square(reference - value)))
    return float("inf") if noise == 0 else 10 * float(np.log10(np.sum(reference**2) / noise))
