"""Small detectors in torch whose heads end as the field's exporters write them.

Backbone and channels are small; what follows the last convolutions is whole. ``export`` gives the
ONNX model at opset 17. Strides are 8, 16 and 32 of a 64 x 96 picture unless said otherwise.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

SIZE = 64, 96
STRIDES = 8, 16, 32
ANCHORS = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)


class Levels(nn.Module):
    """A backbone: features of ``STRIDES``, ``width`` channels each."""

    def __init__(self, width: int = 16, count: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 4, 1), nn.ReLU())
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.ReLU()) for _ in range(count))

    def forward(self, x: Tensor) -> list[Tensor]:
        x, found = self.stem(x), []
        for layer in self.down:
            x = layer(x)
            found.append(x)
        return found


def grid(h: int, w: int, offset: float) -> Tensor:
    """[1, 2, H, W]: x and y of the cells."""
    y, x = torch.meshgrid(torch.arange(h) + offset, torch.arange(w) + offset, indexing="ij")
    return torch.stack((x, y))[None].float()


class Yolov5(nn.Module):
    """One convolution a level, boxes decoded, one tensor; with ``raw`` the levels' tensors too.

    ``exp``: centres and sizes as in YOLOv3, with ``scale`` as in YOLOv4.
    ``logits``: nothing but the levels' tensors.
    """

    def __init__(self, classes: int = 3, *, exp: bool = False, raw: bool = False,
                 logits: bool = False, scale: float = 1.0) -> None:
        super().__init__()
        self.back, self.no = Levels(), 5 + classes
        self.heads = nn.ModuleList(nn.Conv2d(16, 3 * self.no, 1) for _ in STRIDES)
        self.exp, self.raw, self.logits, self.scale = exp, raw, logits, scale

    def forward(self, x: Tensor) -> Any:
        found, levels = [], []
        for head, f, s, a in zip(self.heads, self.back(x), STRIDES, ANCHORS):
            t = head(f)
            b, _, h, w = t.shape
            t = t.view(b, 3, self.no, h, w).permute(0, 1, 3, 4, 2).contiguous()
            levels.append(t)
            cells = grid(h, w, 0.0 if self.exp else -0.5).permute(0, 2, 3, 1)[:, None]
            sides = torch.tensor(a).float().view(1, 3, 1, 1, 2)
            xy, wh, rest = t.sigmoid().split((2, 2, self.no - 4), 4)
            if self.exp:
                xy = xy * self.scale - (self.scale - 1) / 2
                xy, wh = (xy + cells) * s, torch.exp(t[..., 2:4]) * sides
            else:
                xy, wh = (xy * 2 + cells) * s, (wh * 2) ** 2 * sides
            found.append(torch.cat((xy, wh, rest), 4).view(b, -1, self.no))
        if self.logits:
            return tuple(levels)
        whole = torch.cat(found, 1)
        return (whole, *levels) if self.raw else whole


class Yolov8(nn.Module):
    """Distances by DFL (``bins`` > 1) or direct, one tensor [1, 4 + classes, N].

    ``corners``: boxes as corners; ``points``: a pose head's key points, behind the classes;
    ``ones``: an objectness of 1, as YOLOv6 has it.
    """

    def __init__(self, classes: int = 3, bins: int = 16, *, corners: bool = False,
                 points: int = 0, ones: bool = False) -> None:
        super().__init__()
        self.back, self.bins, self.classes, self.ones = Levels(), bins, classes, ones
        self.box = nn.ModuleList(nn.Conv2d(16, 4 * bins, 1) for _ in STRIDES)
        self.cls = nn.ModuleList(nn.Conv2d(16, classes, 1) for _ in STRIDES)
        self.kpt = nn.ModuleList(nn.Conv2d(16, 3 * points, 1) for _ in STRIDES if points)
        self.corners, self.points = corners, points
        self.dfl = nn.Conv2d(bins, 1, 1, bias=False)
        self.dfl.weight.data[:] = torch.arange(float(bins)).view(1, bins, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.back(x)
        no = 4 * self.bins + self.classes
        parts = [torch.cat((b(f), c(f)), 1) for b, c, f in zip(self.box, self.cls, features)]
        whole = torch.cat([p.view(p.shape[0], no, -1) for p in parts], 2)
        box, cls = whole.split((4 * self.bins, self.classes), 1)
        if self.bins > 1:
            b, _, n = box.shape
            box = self.dfl(box.view(b, 4, self.bins, n).transpose(2, 1).softmax(1)).view(b, 4, n)
        cells = torch.cat([grid(*f.shape[2:], 0.5).flatten(2) for f in features], 2)
        strides = torch.cat([torch.full((1, 1, f.shape[2] * f.shape[3]), float(s))
                             for f, s in zip(features, STRIDES)], 2)
        first, second = box.chunk(2, 1)
        first, second = cells - first, cells + second
        if not self.corners:
            first, second = (first + second) / 2, second - first
        found = [torch.cat((first, second), 1) * strides, cls.sigmoid()]
        if self.ones:
            found.insert(1, torch.ones(1, 1, box.shape[2]))
        if self.points:
            k = torch.cat([m(f).flatten(2) for m, f in zip(self.kpt, features)], 2)
            k = k.view(1, self.points, 3, -1)
            xy = (k[:, :, :2] * 2.0 + (cells[:, None] - 0.5)) * strides
            found.append(torch.cat((xy, k[:, :, 2:].sigmoid()), 2).view(1, 3 * self.points, -1))
        return torch.cat(found, 1)


class Attended(Yolov8):
    """Rows that depend on each other."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(2)


class Yolox(nn.Module):
    """Box, objectness and classes by a convolution each; [1, N, 5 + classes].

    ``raw``: boxes not decoded, as its exporter writes them by default.
    """

    def __init__(self, classes: int = 3, *, raw: bool = False) -> None:
        super().__init__()
        self.back, self.raw = Levels(), raw
        for name, channels in (("reg", 4), ("obj", 1), ("cls", classes)):
            setattr(self, name, nn.ModuleList(nn.Conv2d(16, channels, 1) for _ in STRIDES))

    def forward(self, x: Tensor) -> Tensor:
        parts, cells, strides = [], [], []
        for i, f in enumerate(self.back(x)):
            parts.append(torch.cat((self.reg[i](f), self.obj[i](f).sigmoid(),
                                    self.cls[i](f).sigmoid()), 1))
            h, w = f.shape[2:]
            cells.append(grid(h, w, 0.0).flatten(2).permute(0, 2, 1))
            strides.append(torch.full((1, h * w, 1), float(STRIDES[i])))
        whole = torch.cat([p.flatten(2) for p in parts], 2).permute(0, 2, 1)
        if self.raw:
            return whole
        cell, stride = torch.cat(cells, 1), torch.cat(strides, 1)
        return torch.cat(((whole[..., :2] + cell) * stride,
                          torch.exp(whole[..., 2:4]) * stride, whole[..., 4:]), -1)


class Priors(nn.Module):
    """Heads with anchors of any sizes: SSD, RetinaFace, RetinaNet, EfficientDet.

    ``classes`` behind a background with ``softmax``, else each by a sigmoid. ``boxes``:
    ``corners`` (x1, y1, x2, y2), ``centre``, ``yx`` (y1, x1, y2, x2; head in order y, x, h, w).
    ``unit``: 0..1 instead of pixels. ``points``: landmarks. ``clip``: to the picture.
    ``linear``: sizes without exp. ``decoded``: whether there is more than concatenated rows.
    """

    def __init__(self, classes: int = 3, *, softmax: bool = True, boxes: str = "corners",
                 unit: bool = True, variances: tuple[float, float] = (0.1, 0.2), anchors: int = 2,
                 points: int = 0, clip: bool = False, decoded: bool = True,
                 linear: bool = False) -> None:
        super().__init__()
        self.back, self.k = Levels(), classes + softmax
        self.loc = nn.ModuleList(nn.Conv2d(16, 4 * anchors, 1) for _ in STRIDES)
        self.conf = nn.ModuleList(nn.Conv2d(16, self.k * anchors, 1) for _ in STRIDES)
        self.marks = nn.ModuleList(
            nn.Conv2d(16, 2 * points * anchors, 1) for _ in STRIDES if points)
        self.softmax, self.boxes, self.unit, self.v = softmax, boxes, unit, variances
        self.points, self.clip, self.decoded, self.linear = points, clip, decoded, linear
        rows = []
        for s in STRIDES:
            for y in range(SIZE[0] // s):
                for x in range(SIZE[1] // s):
                    rows += [((x + 0.5) * s, (y + 0.5) * s, s * (2 + 0.5 * a), s * (3 - 0.25 * a))
                             for a in range(anchors)]
        scale = np.array([SIZE[1], SIZE[0]] * 2) if unit else np.ones(4)
        self.register_buffer("priors", torch.tensor(np.array(rows) / scale).float())

    def forward(self, x: Tensor) -> Any:
        features = self.back(x)

        def rows(heads: nn.ModuleList, n: int) -> Tensor:
            return torch.cat([m(f).permute(0, 2, 3, 1).reshape(1, -1, n)
                              for m, f in zip(heads, features)], 1)

        loc, conf = rows(self.loc, 4), rows(self.conf, self.k)
        conf = conf.softmax(-1) if self.softmax else conf.sigmoid()
        if self.decoded:
            loc = self.decode(loc)
        if not self.points:
            return loc, conf
        marks = rows(self.marks, 2 * self.points)
        if self.decoded:
            wide = self.priors.repeat(1, self.points).view(1, -1, self.points, 4)
            marks = (wide[..., :2] + marks.view(1, -1, self.points, 2) * self.v[0]
                     * wide[..., 2:]).flatten(2)
        return loc, conf, marks

    def decode(self, loc: Tensor) -> Tensor:
        xy, wh = loc[..., :2], loc[..., 2:]
        if self.boxes == "yx":
            xy, wh = xy.flip(-1), wh.flip(-1)
        centre = self.priors[:, :2] + xy * self.v[0] * self.priors[:, 2:]
        size = self.priors[:, 2:] * (wh * self.v[1] if self.linear else torch.exp(wh * self.v[1]))
        if self.boxes == "centre":
            return torch.cat((centre, size), -1)
        first = centre - size / 2
        second = first + size
        if self.boxes == "yx":
            first, second = first.flip(-1), second.flip(-1)
        found = torch.cat((first, second), -1)
        if self.clip:
            h, w = (1, 1) if self.unit else SIZE
            first, second = (h, w) if self.boxes == "yx" else (w, h)
            found = torch.stack((found[..., 0::2].clamp(0, first),
                                 found[..., 1::2].clamp(0, second)), -1).flatten(-2)
        return found


class Fcos(nn.Module):
    """Distances after a ReLU, in strides; scores the root of class times centerness; corners."""

    def __init__(self, classes: int = 3, *, exp: bool = False, root: bool = True) -> None:
        super().__init__()
        self.back, self.exp, self.root = Levels(), exp, root
        self.reg = nn.ModuleList(nn.Conv2d(16, 4, 3, 1, 1) for _ in STRIDES)
        self.ctr = nn.ModuleList(nn.Conv2d(16, 1, 3, 1, 1) for _ in STRIDES)
        self.cls = nn.ModuleList(nn.Conv2d(16, classes, 3, 1, 1) for _ in STRIDES)
        self.scales = nn.Parameter(torch.tensor([1.0, 0.8, 1.25]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        boxes, scores = [], []
        for i, f in enumerate(self.back(x)):
            h, w = f.shape[2:]
            d = self.reg[i](f)
            d = torch.exp(d * self.scales[i]) if self.exp else torch.relu(d)
            cells, d = grid(h, w, 0.5) * STRIDES[i], d * STRIDES[i]
            box = torch.cat((cells - d[:, :2], cells + d[:, 2:]), 1)
            boxes.append(box.permute(0, 2, 3, 1).reshape(1, -1, 4))
            product = self.cls[i](f).sigmoid() * self.ctr[i](f).sigmoid()
            product = product.sqrt() if self.root else product
            scores.append(product.permute(0, 2, 3, 1).reshape(1, h * w, -1))
        return torch.cat(boxes, 1), torch.cat(scores, 1)


class Plain(nn.Module):
    """Levels' convolutions as outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.back = Levels()
        self.heads = nn.ModuleList(nn.Conv2d(16, 12, 1) for _ in STRIDES)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(head(f) for head, f in zip(self.heads, self.back(x)))


def with_suppression(model: onnx.ModelProto, overlap: float, least: float) -> onnx.ModelProto:
    """The model, of boxes [1, N, 4] and scores [1, N, C], ended by a NonMaxSuppression."""
    boxes, score = (o.name for o in model.graph.output)
    numbers = {"most": np.int64(20), "iou": np.float32(overlap), "least": np.float32(least)}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array([v]), k) for k, v in numbers.items())
    model.graph.node.extend([
        helper.make_node("Transpose", [score], ["turned"], "turn", perm=[0, 2, 1]),
        helper.make_node("NonMaxSuppression", [boxes, "turned", *numbers], ["chosen"], "nms")])
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("chosen", TensorProto.INT64, None))
    return model


def traced(module: nn.Module, inputs: tuple[Tensor, ...], names: list[str]) -> onnx.ModelProto:
    """The module as PyTorch's exporter of traces writes it."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is old, and constants are meant
        torch.onnx.export(module.eval(), inputs, stream, dynamo=False, opset_version=17,
                          input_names=names)
    return onnx.load_from_string(stream.getvalue())


def export(module: nn.Module, size: tuple[int, int] = SIZE, *, seed: int = 0,
           lift: float = 0.0, **metadata: str) -> onnx.ModelProto:
    """The ONNX model at opset 17, with random weights; ``lift`` is added to all that boxes are."""
    random = torch.Generator().manual_seed(seed)
    for name, p in module.named_parameters():
        if p.ndim == 4 and not name.startswith("dfl"):
            fan = p[0].numel()
            p.data = torch.randn(p.shape, generator=random) * (2 / fan) ** 0.5
        elif p.ndim == 1 and name != "scales":
            p.data = 0.2 * torch.randn(p.shape, generator=random)
            p.data += lift if name.startswith("box") else 0
    model = traced(module, (torch.zeros(1, 3, *size),), ["images"])
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    return model
