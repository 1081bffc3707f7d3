"""The golden model's boxes against a float decoder, and against the contract in scalars.

Where nothing saturates, an edge differs from the float box by at most 1.25 units of 1/16 pixel
(centre 0.5, half the extent 0.25, the floor of halving 0.5; a distance: 0.5) plus what the tables'
rounding moves: half an entry times the anchor's or stride's size. A score differs by at most
1 in units of 2**-16 (an entry for 1.0 is 65535, others are rounded to 0.5), with objectness by 2.5:
two such entries, and 0.5 of their product.
"""

from __future__ import annotations

from typing import Any

import heads
import networks
import numpy as np
import pytest

from falconet.isa import FalconetError, Program, preset
from falconet.runtime.detections import RECORD, Limits, Options, limits
from falconet.runtime.suppression import suppress
from falconet_sim.golden.detect import candidates, detect_all, landmarks
from falconet_sim.golden.device import GoldenDevice, run_graph

pytestmark = pytest.mark.timeout(120)

TINY, BIG = preset("tiny"), preset("pynq-z2")
FORMS = {"centre": (0, 0), "grid": (0, 1), "distance": (1, 0)}
Tensors = dict[str, np.ndarray]


def real(level: dict[str, Any], head: str, stored: int) -> np.ndarray:
    scale, zero = level["quant"][head]
    return np.asarray((stored - zero) * scale)


def at(tensors: Tensors, level: dict[str, Any], head: str, channel: int, r: np.void) -> int:
    return int(tensors[level[head]][channel, r["y"], r["x"]])


def float_box(level: dict[str, Any], tensors: Tensors, r: np.void
              ) -> tuple[list[float], list[float]]:
    """Edges in 1/16 pixel and how far each may be off, by falconet_models.metadata."""
    a = int(r["anchor"]) % 16
    centre, size = heads.KINDS[level["kind"]]
    raw = [real(level, "boxes", at(tensors, level, "boxes", 4 * a + i, r)) for i in range(4)]
    edges, bounds = [0.0] * 4, [0.0] * 4
    for axis, cell in enumerate((int(r["x"]), int(r["y"]))):
        anchor, stride = level["anchors"][a][axis], level["stride"][axis]
        middle = level["anchors"][a][2 + axis] + cell * stride
        half_entry = 0.5 / 2 ** level["size_shift"] * anchor
        if level["form"]:
            edges[axis] = middle - float(size(raw[axis])) * stride
            edges[2 + axis] = middle + float(size(raw[2 + axis])) * stride
            bounds[axis] = bounds[2 + axis] = 0.5 + half_entry
            continue
        unit = stride if level["grid"] else anchor
        moved = middle + float(centre(raw[axis])) * unit
        extent = float(size(raw[2 + axis])) * anchor
        edges[axis], edges[2 + axis] = moved - extent / 2, moved + extent / 2
        bounds[axis] = bounds[2 + axis] = (
            1.25 + 0.5 / 2 ** level["centre_shift"] * unit + half_entry / 2)
    lo = [level["clip"][i] for i in (0, 2, 0, 2)]
    hi = [level["clip"][i] for i in (1, 3, 1, 3)]
    return np.clip(edges, lo, hi).tolist(), bounds


@pytest.mark.parametrize("objectness", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_decode_against_float(form: str, objectness: bool) -> None:
    rng, boxes, worst, kinds = np.random.default_rng(len(form)), 0, 0.0, set()
    for turn in range(30):
        detect, tensors = heads.random_head(
            rng, BIG, levels=3, form=FORMS[form][0], grid=FORMS[form][1], objectness=objectness,
            points=turn % 3, hits=0.4, size=(56, 40))
        head = heads.head_of(detect)
        lim = limits(head)
        found, seen = candidates(tensors, head, lim, BIG)
        assert seen == len(found)
        marks = landmarks(tensors, head, found)
        for r, points in zip(found, marks):
            level = detect["levels"][r["anchor"] // 16]
            a = int(r["anchor"]) % 16
            edges, bounds = float_box(level, tensors, r)
            error = np.abs(np.subtract([int(r[k]) for k in ("x1", "y1", "x2", "y2")], edges))
            assert (error <= np.array(bounds) + 1e-6).all(), (level["kind"], r, edges)
            channel = a * level["n_class"] + int(r["label"])
            score = float(heads.sigmoid(real(level, "scores", at(
                tensors, level, "scores", channel, r))))
            if objectness:
                score *= float(heads.sigmoid(real(level, "objectness", at(
                    tensors, level, "objectness", a, r))))
            assert abs(int(r["score"]) - 65536 * score) <= (2.5 if objectness else 1)
            for k, value in enumerate(points.ravel()):
                axis = k % 2
                unit = level["stride"][axis] if level["grid"] else level["anchors"][a][axis]
                moved = heads.KINDS[level["kind"]][0](real(level, "landmarks", at(
                    tensors, level, "landmarks", a * points.size + k, r)))
                cell = int(r["xy"[axis]])
                want = (level["anchors"][a][2 + axis] + cell * level["stride"][axis]
                        + float(moved) * unit)
                assert abs(int(value) - want) <= 0.5 + 0.5 / 2 ** level["mark_shift"] * unit + 1e-6
            kinds.add(level["kind"])
            boxes, worst = boxes + 1, max(worst, *error.tolist())
    assert boxes > 1000 and worst < 1.3 and len(kinds) == (1 if form == "centre" else 2)


def saturate(v: int, bits: int) -> int:
    return max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, v))


def marks_by_the_words(detect: dict[str, Any], tensors: Tensors, r: np.void) -> list[int]:
    """Landmarks of a record: x, y, x, y ..."""
    number, a = divmod(int(r["anchor"]), 16)
    level, values, n = detect["levels"][number], [], 2 * detect["points"]
    shift = level["mark_shift"]
    for k in range(n):
        axis, q = k % 2, at(tensors, level, "landmarks", n * a + k, r)
        u = level["stride"][axis] if level["grid"] else level["anchors"][a][axis]
        offset = saturate((level["mark"][q + 128] * u + 2 ** (shift - 1)) >> shift, 18)
        m = level["anchors"][a][2 + axis] + int(r["xy"[axis]]) * level["stride"][axis]
        values.append(saturate(m + offset, 16))
    return values


def by_the_words(detect: dict[str, Any], tensors: Tensors, score_min: int) -> list[tuple[int, ...]]:
    """Every candidate as a tuple, in scalars straight from docs/arithmetic.md."""
    found = []
    for number, level in enumerate(detect["levels"]):
        scores = tensors[level["scores"]]
        for channel, y, x in np.ndindex(scores.shape):
            a, label = divmod(channel, level["n_class"])
            s = level["score"][int(scores[channel, y, x]) + 128]
            if level["objectness"]:
                o = int(tensors[level["objectness"]][a, y, x])
                s = (s * level["objectness_table"][o + 128] + 2**15) >> 16
            if s < score_min:
                continue
            q = [int(v) + 128 for v in tensors[level["boxes"]][4 * a : 4 * a + 4, y, x]]
            edges = {}
            for axis, cell in enumerate((x, y)):
                u = w = level["anchors"][a][axis]
                m = level["anchors"][a][2 + axis] + cell * level["stride"][axis]
                if level["grid"]:
                    u = level["stride"][axis]
                n, c = level["size_shift"], level["centre_shift"]

                def extent(entry: int, w: int = w, n: int = n,
                           table: list[int] = level["size"]) -> int:
                    return min((table[entry] * w + 2 ** (n - 1)) >> n, 65535)

                if level["form"] == 1:
                    first, second = m - extent(q[axis]), m + extent(q[2 + axis])
                else:
                    offset = saturate((level["centre"][q[axis]] * u + 2 ** (c - 1)) >> c, 18)
                    first = m + offset - (extent(q[2 + axis]) >> 1)
                    second = first + extent(q[2 + axis])
                lo, hi = level["clip"][2 * axis : 2 * axis + 2]
                edges[axis] = [min(max(e, lo), hi) for e in (first, second)]
            found.append((edges[0][0], edges[1][0], edges[0][1], edges[1][1], s, label,
                          a + 16 * number, x, y))
    return sorted(found, key=lambda r: (-r[4], r[6] // 16, r[8], r[7], r[6] % 16, r[5]))


@pytest.mark.parametrize("wild", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_to_the_bit(form: str, wild: bool) -> None:
    """All candidates, K + 1 and more; only the best K stay, ties by (level, y, x, a, class)."""
    rng, given_up, saturated = np.random.default_rng(wild), 0, 0
    for turn in range(25):
        detect, tensors = heads.random_head(
            rng, TINY, levels=int(rng.integers(1, 5)), classes=int(rng.choice([1, 3, 20])),
            anchors=int(rng.choice([1, 2, 9])), form=FORMS[form][0], grid=FORMS[form][1],
            objectness=bool(turn % 2), hits=float(rng.choice([0, 0.05, 0.5])), points=turn % 3,
            wild=wild)
        head = heads.head_of(detect)
        lim = limits(head)
        want = by_the_words(detect, tensors, lim.score_min)
        found, seen = candidates(tensors, head, lim, TINY)
        assert seen == len(want) and found.tolist() == want[: TINY.candidates]
        marks = landmarks(tensors, head, found).reshape(len(found), 2 * (turn % 3))
        assert marks.tolist() == [marks_by_the_words(detect, tensors, r) for r in found]
        given_up += seen > TINY.candidates
        saturated += sum(abs(v) > 32766 for r in want for v in r[:4])
    assert given_up > 3 and (saturated > 20) == wild


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_one_more_than_there_is_room_for(extra: int) -> None:
    """K - 1, K and K + 1 candidates of one score: the last in order is given up."""
    detect, tensors = heads.random_head(
        np.random.default_rng(0), TINY, levels=1, classes=1, anchors=1, size=(80, 80))
    head, level = heads.head_of(detect), detect["levels"][0]
    scores = np.full((1, 10, 10), -128, np.int8)
    scores.reshape(-1)[: TINY.candidates + extra] = 127
    assert level["score"][255] >= limits(head).score_min > level["score"][0]
    found, seen = candidates(tensors | {level["scores"]: scores}, head, limits(head), TINY)
    assert seen == TINY.candidates + extra and len(found) == min(seen, TINY.candidates)
    assert [10 * int(r["y"]) + int(r["x"]) for r in found] == list(range(len(found)))


@pytest.mark.parametrize("mode", ["greedy", "soft_linear", "soft_gaussian", "diou"])
def test_detect_all(mode: str) -> None:
    """Candidates, suppression and landmarks put together, with the options of the run."""
    rng, kept = np.random.default_rng(3), 0
    for turn in range(12):
        detect, tensors = heads.random_head(rng, TINY, points=5, mode=mode, hits=0.1)
        head = heads.head_of(detect)
        options = [None, Options(0.6, 0.3, 0.3, 2)][turn % 2]
        got = detect_all(tensors, head, options, TINY)
        lim = limits(head, options)
        assert got.candidates == len(by_the_words(detect, tensors, lim.score_min))
        found, _ = candidates(tensors, head, lim, TINY)
        assert np.array_equal(
            got.records, suppress(found, lim, mode=mode, agnostic=head.agnostic))
        assert np.array_equal(got.landmarks, landmarks(tensors, head, got.records))
        kept += len(got.records)
    assert kept > 12


def test_no_candidates() -> None:
    detect, tensors = heads.random_head(np.random.default_rng(0), TINY, points=3, hits=0)
    got = detect_all(tensors, heads.head_of(detect), None, TINY)
    assert got.records.shape == (0,) and got.landmarks.shape == (0, 3, 2) and not got.candidates
    assert got.records.dtype == RECORD


@pytest.mark.parametrize("change", ["gone", "shape"])
def test_heads_that_do_not_fit(change: str) -> None:
    detect, tensors = heads.random_head(np.random.default_rng(0), TINY)
    tensors["boxes1"] = tensors["boxes1"][:4]
    if change == "gone":
        del tensors["boxes1"]
    with pytest.raises(FalconetError, match=r"tensor 'boxes1': .* shape \[8, .*recompile"):
        candidates(tensors, heads.head_of(detect), Limits(0, 0, 1), TINY)


def test_device() -> None:
    """Heads are outputs of the graph, detections the program's; options reach them."""
    graph = networks.zoo_of_operators()
    description, blob = graph.to_dict()
    x = np.random.default_rng(1).integers(-128, 128, graph.tensors["x"].shape).astype(np.int8)
    values = run_graph(description, blob, {"x": x}, keep=True)
    head, other = graph.outputs[:2]
    assert values[head].shape == (12, 3, 3)  # scores of 3 anchors and 4 classes, and boxes too
    detect, _ = heads.random_head(
        np.random.default_rng(0), TINY, levels=1, classes=4, anchors=3, size=(24, 24))
    detect["levels"][0] |= {"scores": head, "boxes": head}
    header = {"instructions": 1, "graph": description, "graph_offset": 64, "detect": detect,
              "outputs": [{"name": other}]}
    device = GoldenDevice(Program(TINY, bytes(64) + blob, header))
    result = device.run({"x": x}, Options(score=0.2, maximum=1))
    assert list(result.outputs) == [other]
    assert result.detections == detect_all(
        values, heads.head_of(detect), Options(score=0.2, maximum=1), TINY)
    assert len(result.detections.records) == 1
    assert device.run({"x": x}, Options(score=1)).detections != result.detections
