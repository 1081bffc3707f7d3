"""The instructions. Docstrings are the reference; docs/isa.md is made from them.

Addresses in the scratchpad count *words* (one pixel of one channel block, ``lanes`` bytes) and
are 16 bits wide; all address arithmetic is modulo 2**16. A *view* of a tensor is
``base + R + x * x_step + b * b_step``, where the row offset ``R = row + y * y_step (+ ky *
ky_step)`` is taken modulo ``ring`` when ``ring`` is not 0: rows live in a ring. With a ring,
``row`` and the row steps in use are smaller than ``ring``.

Scratchpad addresses that are read or written must exist; addresses in the two weight memories wrap
at their depth. ``lo <= hi``. An accumulator, its bias and their sum each fit ``acc_bits``. DDR
runs, not only ``offset``, are multiples of 8 bytes and of ``lanes``.
"""

from __future__ import annotations

from falconet.isa.machine.fields import Engine, Field, Instruction

__all__ = [
    "SEGMENT_GRAIN", "SEGMENT_PAGE", "Dst", "Elementwise", "End", "Load", "LoadImage", "Mac",
    "Mark", "Scan", "Segment", "Src", "Store", "Suppress", "Suppression", "Window",
]

import enum

SEGMENT_PAGE = 4096
"""Bytes; the base of a segment is a multiple of it."""

SEGMENT_GRAIN = 128
"""Bytes; the size of a segment is a multiple of it, and no burst crosses one."""


class Segment(enum.IntEnum):
    """DDR is seen through four windows, each with a base and a size set by the driver."""

    CODE = 0  # instructions and weights; stores are refused
    INPUT = 1  # stores are refused
    OUTPUT = 2
    WORK = 3


class Dst(enum.IntEnum):
    """Memories that LOAD writes. Addresses count lane words (``lanes`` bytes) in all of them."""

    SCRATCHPAD = 0
    WEIGHTS = 1  # a weight word is ``rows`` lane words
    VECTOR = 2  # a vector weight word is ``taps`` lane words
    MAC_TABLE = 3  # 256 bytes; entry ``q + 128``
    VEC_TABLE = 4
    DETECT = 5  # the detect table; see Rows


class Src(enum.IntEnum):
    """Memories that STORE reads. Addresses count lane words in both."""

    SCRATCHPAD = 0
    RECORDS = 1  # records and their counts; see Rows


class Suppression(enum.IntEnum):
    """How SUPPRESS treats a box that overlaps a better one (docs/arithmetic.md)."""

    GREEDY = 0  # gone if IoU > threshold
    SOFT_LINEAR = 1  # score * (1 - IoU) if IoU > threshold
    SOFT_GAUSSIAN = 2  # score * exp(-IoU**2 / sigma)
    DIOU = 3  # gone if IoU - (centre distance / diagonal)**2 > threshold


def _view(prefix: str, what: str) -> tuple[Field, ...]:
    p = f"{prefix}_"
    return (
        Field(p + "base", 16, f"{what}: address of the view"),
        Field(p + "row", 16, f"{what}: row offset at y = 0"),
        Field(p + "ring", 16, f"{what}: size of the ring of rows in words, or 0"),
        Field(p + "y_step", 16, f"{what}: words from one y to the next"),
        Field(p + "x_step", 16, f"{what}: words from one x to the next"),
        Field(p + "b_step", 16, f"{what}: words from one channel block to the next"),
    )


_WINDOW = (
    Field("in_ky_step", 16, "input: words from one ky to the next"),
    Field("in_kx_step", 16, "input: words from one kx to the next"),
    Field("iy0", 13, "input row at y = 0, ky = 0 (negative: above the image)", signed=True),
    Field("ix0", 13, "input column at x = 0, kx = 0", signed=True),
    Field("in_h", 12, "height of the input; rows outside [0, in_h) read as pad"),
    Field("in_w", 12, "width of the input; columns outside [0, in_w) read as pad"),
    Field("stride_y", 4, "input rows from one y to the next"),
    Field("stride_x", 4, "input columns from one x to the next"),
    Field("dil_y", 6, "input rows from one ky to the next"),
    Field("dil_x", 6, "input columns from one kx to the next"),
)

_OUTPUT = (
    Field("pad", 8, "what is read outside the input (its zero point)", signed=True),
    Field("zp", 8, "zero point of the output", signed=True),
    Field("lo", 8, "clamp from below, before the table", signed=True),
    Field("hi", 8, "clamp from above, before the table", signed=True),
    Field("table", 1, "look the result up in the engine's table"),
)

_Y = Field("n_y", 12, "rows", minimum=1)
_X = Field("n_x", 12, "columns", minimum=1)


class Mac(Instruction):
    """Convolution on the MAC array: dense, pointwise, or a matrix product.

    For each output block ``ob``, row ``y``, column ``x``, and each of its ``lanes`` output
    channels: the sum over ``ky``, ``kx``, ``ib`` and the ``lanes`` input channels of input times
    weight, then the output stage. The loops nest in this order, ``ib`` innermost. The array
    multiplies ``rows`` input channels in a step, so that a word takes ``S = lanes / rows``.

    Weights of block ``ob`` start at word ``w_base + ob * (P + n_ky * n_kx * n_ib * S)`` (modulo
    the depth): ``P = 16 / rows`` words of parameters (16 bytes a lane: bias int32, mult uint32,
    mult_neg uint32, shift uint8, three zero bytes), then ``S`` words per ``(ky, kx, ib)``. Byte
    ``(j * rows + i) * 2 + k`` of the ``s``-th of them belongs to input lane ``s * rows + i`` and
    output lane ``2 * j + k``, packed in pairs (see pack_pair).

    Cycles: ``n_ob * max(9, P + n_y * n_x * n_ky * n_kx * n_ib * S)`` without stalls, and 2 idle
    ones before the next MAC (none behind blocks of less than 9).
    """

    mnemonic, opcode, engine = "MAC", 1, Engine.MAC
    fields = (
        *_view("in", "input"), *_WINDOW, *_view("out", "output"),
        Field("n_ob", 8, "output channel blocks", minimum=1),
        _Y, _X,
        Field("n_ky", 5, "kernel rows", minimum=1),
        Field("n_kx", 5, "kernel columns", minimum=1),
        Field("n_ib", 8, "input channel blocks", minimum=1),
        Field("w_base", 11, "first weight word"),
        *_OUTPUT,
    )


class Window(Instruction):
    """Depthwise convolution or pooling on the vector engine.

    For each block ``b``, row ``y``, column ``x``: for each ``ky``, ``kx`` the word ``v`` read
    there is multiplied by the ``taps`` weights of tap word ``k = (ky * n_kx + kx) * w_k_step``.
    A chain of ``taps`` sums moves along with the columns: at the first ``(ky, kx)`` of a column
    ``A[t] = (0 if bit t of fresh else A[t-1]) + v * w[k][t]`` (all ``A[t-1]`` of the previous
    column; ``A[-1] = 0``), later ``A[t] += v * w[k][t]``. After the last ``(ky, kx)`` of column
    ``x >= skip`` with ``(x - skip) % every == 0``, ``A[taps - 1]`` goes through the output stage
    and becomes the next output column. With ``op = 1`` the last sum is the maximum of the values
    instead: ``v`` at the first ``(ky, kx)``, ``max(A, v)`` later.

    *Sliding* (kernel width ``w <= taps``, dilation 1): columns are input columns, ``n_kx = 1``,
    ``fresh = 1 << (taps - w)``, ``skip = w - 1``, ``every = stride``; weights right-aligned in the
    tap word. A wider kernel is ``n_kx`` words a row, ``taps`` columns apart (``dil_x``), with zeros
    behind its last weight; or, if its stride is ``s`` and ``w <= s * taps``, one for each of ``s``
    neighbouring columns, and the chain moves by ``s`` (``stride_x``). *Direct* (any window):
    columns are output columns, ``fresh = 1 << (taps - 1)``, ``skip = 0``, ``every = 1``; weights in
    the last tap. ``skip`` covers the chain, so that what ``A`` held before the first column never
    shows.

    Vector weight words of block ``b`` start at ``w_base + b * w_b_step``: 16 bytes a lane of
    parameters as for MAC, then the tap words. Byte ``(p * lanes + i) * 2 + k`` of a tap word
    belongs to lane ``i``, tap ``2 * p + k``, packed in pairs (see pack_pair).

    Cycles: ``n_b * (P + n_y * n_x * n_ky * n_kx)`` without stalls, ``P`` words of parameters, and 4
    idle ones before the next WINDOW or ELTW.
    """

    mnemonic, opcode, engine = "WINDOW", 2, Engine.VEC
    fields = (
        *_view("in", "input"), *_WINDOW, *_view("out", "output"),
        Field("n_b", 8, "channel blocks", minimum=1),
        _Y, _X,
        Field("n_ky", 5, "kernel rows", minimum=1),
        Field("n_kx", 5, "kernel columns", minimum=1),
        Field("op", 1, "0: sum of products, 1: maximum"),
        Field("fresh", 4, "one bit a tap: its sum starts anew with each column"),
        Field("skip", 3, "columns before the first output"),
        Field("every", 3, "columns from one output to the next", minimum=1),
        Field("w_base", 11, "first vector weight word"),
        Field("w_b_step", 6, "vector weight words from one block to the next, or 0"),
        Field("w_k_step", 1, "0: one tap word serves the whole window"),
        *_OUTPUT,
    )


class Elementwise(Instruction):
    """One or two operands, word by word: scaled sum, product, rescaling, look-up.

    For each block, row, column: ``acc = sum over s < n_src of x_s * c_s``, then the output stage.
    The coefficient ``c_s`` of a lane is given by the four weights of tap word ``s``:
    ``c = w[3] + w[0] + 2**7 * w[2] + 2**14 * w[1]``. Parameters and tap words lie as for WINDOW.

    With ``product``, the weights of the second operand in taps 0 and 1 are ``x_0`` and 0, whatever
    is stored: ``acc = x_0 * c_0 + x_1 * (w[3] + 2**7 * w[2]) + x_0 * x_1``. So zero points are
    exact: ``(x_0 - z_0) * (x_1 - z_1)`` has coefficients ``-z_1``, ``-z_0`` and a bias of
    ``z_0 * z_1``. A view with steps of 0 is an operand that is broadcast.

    Cycles: ``n_b * (P + n_y * n_x * n_src)`` without stalls, and 4 idle ones before the next WINDOW
    or ELTW.
    """

    mnemonic, opcode, engine = "ELTW", 3, Engine.VEC
    fields = (
        *_view("a", "first operand"), *_view("b", "second operand"), *_view("out", "output"),
        Field("n_src", 2, "operands", minimum=1, maximum=2),
        Field("n_b", 8, "channel blocks", minimum=1),
        _Y, _X,
        Field("w_base", 11, "first vector weight word"),
        Field("w_b_step", 6, "vector weight words from one block to the next, or 0"),
        *_OUTPUT[1:],
        Field("product", 1, "the operands are multiplied too; nothing where n_src is 1"),
    )


_DDR = (
    Field("segment", 2, "window of DDR"),
    Field("offset", 32, "byte offset in the segment, a multiple of 8 and of lanes"),
)
_BOX = (
    Field("run", 16, "contiguous lane words per run", minimum=1),
    Field("n1", 12, "runs (inner loop)", minimum=1),
    Field("n2", 12, "runs (outer loop)", minimum=1),
    Field("ddr_step1", 32, "bytes in DDR from one inner run to the next"),
    Field("ddr_step2", 32, "bytes in DDR from one outer step to the next"),
    Field("base", 16, "address of the first lane word on chip"),
    Field("step1", 16, "lane words on chip from one inner run to the next"),
    Field("step2", 16, "lane words on chip from one outer step to the next"),
)


class Load(Instruction):
    """Copy ``n2`` x ``n1`` runs of ``run`` lane words from DDR into an on-chip memory.

    Cycles: at best one a word, of at most 16 bytes; DDR has the last word.
    """

    mnemonic, opcode, engine = "LOAD", 4, Engine.LOAD
    fields = (*_DDR, Field("dst", 3, "memory that is written", maximum=max(Dst)), *_BOX)


class LoadImage(Instruction):
    """Load rows of interleaved pixels as overlapping windows, one window a word.

    A row is ``pad_left`` bytes of ``pad``, then ``row_bytes`` bytes from DDR, then ``pad`` without
    end. Word ``i`` of the row (``i < n_x``) is bytes ``[i * step, i * step + lanes)`` of it and
    goes to ``base + row * row_step + i``: im2col along x, so that a first layer of three channels
    fills the lanes. DDR rows are ``pitch`` bytes apart.
    """

    mnemonic, opcode, engine = "LDIMG", 5, Engine.LOAD
    fields = (
        *_DDR,
        Field("n_rows", 12, "rows", minimum=1),
        Field("pitch", 16, "bytes in DDR from one row to the next, a multiple of 8"),
        Field("row_bytes", 16, "bytes of a row", minimum=1),
        Field("pad_left", 6, "bytes of pad before the row"),
        Field("pad", 8, "pad byte", signed=True),
        Field("step", 5, "bytes from one window to the next, at most lanes", minimum=1),
        Field("n_x", 12, "words per row", minimum=1),
        Field("base", 16, "scratchpad address of the first word"),
        Field("row_step", 16, "words from one row to the next"),
    )


class Store(Instruction):
    """Copy ``n2`` x ``n1`` runs of ``run`` words from an on-chip memory to DDR.

    Cycles: at best one for 8 bytes; DDR has the last word.
    """

    mnemonic, opcode, engine = "STORE", 6, Engine.STORE
    fields = (*_DDR, Field("src", 1, "memory that is read"), *_BOX)


class End(Instruction):
    """The program is over: when all engines are idle, raise DONE (and the interrupt)."""

    mnemonic, opcode, engine = "END", 7, None


_CELLS = (
    Field("level", 3, "number of the level; goes into its records"),
    Field("stride_x", 16, "1/16 pixels from one x to the next"),
    Field("stride_y", 16, "1/16 pixels from one y to the next"),
    Field("centre_shift", 5, "shift of centre products", minimum=1),
    Field("grid", 1, "centres move in units of 0: the anchor's size, 1: the stride"),
)
_LIMIT = Field("limit", 11, "records that there is room for", minimum=1)


class Scan(Instruction):
    """Find the candidates of one level of a detector's head and keep the best of all levels.

    Heads are tensors ``[row][block][column][lane]``: scores (channel ``c = a * n_class + class``
    of anchor ``a``), boxes (``4 * a + i``), and, where ``objectness`` is set, one channel ``a`` per
    anchor. For each of the first ``n_channels`` channels of each ``y``, ``x``: a score byte below
    ``q_min`` is skipped; the others are scored, skipped if below ``score_min``, counted in
    ``candidates``, decoded as in docs/arithmetic.md, clamped to ``[x_lo, x_hi]``, ``[y_lo, y_hi]``,
    and kept if among the best ``Arch.candidates`` so far.

    With ``softmax`` a score is not the entry of its byte but its share of the exponentials of the
    anchor's ``n_class`` classes (from channel ``a * n_class`` on, whatever ``n_channels``) and of
    the background. With ``bins``, in form 1 only, a box has ``4 * bins`` channels from ``4 * bins *
    a`` on, side by side, and a size is the expectation over the bins of a side. Column score
    (softmax), column size (bins) then hold exponentials, of which the last is not 0.

    The detect table says how: ENTRY, ANCHOR and OPTIONS under Rows. Of two records (RECORD) the
    better one has the higher score; if equal, the lower (level, y, x, a, class). All of them are
    kept at most once, so the order in which they are found does not matter.

    A level may come in stripes of rows, one instruction each: ``y0`` is the level's row that ``y =
    0`` reads. Records and centres are of row ``y0 + y``, which is below 4096.

    ``x * stride_x`` plus the anchor's centre fits 18 bits signed, and so for y. ``n_channels`` is
    at most ``16 * n_class``.

    Cycles: one per word of scores and, partly hidden behind these, 12 (``a + 2`` if that is more)
    per score of at least ``q_min``, and up to 60. Such a score takes 21 more if it or its box is of
    groups, and these: softmax ``2 * n_class + 11``, bins ``4 * max(19, 2 * bins + 10)``, and 6 for
    each word that holds a part of the group. A candidate that comes when there is no more room
    and is better than the worst takes up to ``8 * log2(candidates)`` more, the first one that comes
    when there is no more room ``13 * candidates``.
    """

    mnemonic, opcode, engine = "SCAN", 8, Engine.DETECT
    fields = (
        Field("score_base", 16, "scores: address of the tensor"),
        Field("score_y_step", 16, "scores: words from one y to the next"),
        Field("score_b_step", 16, "scores: words from one block to the next"),
        Field("box_base", 16, "boxes: address of the tensor"),
        Field("box_y_step", 16, "boxes: words from one y to the next"),
        Field("obj_base", 16, "objectness: address of the tensor"),
        Field("obj_y_step", 16, "objectness: words from one y to the next"),
        _Y, _X,
        Field("n_b", 8, "blocks of scores: n_channels / lanes, rounded up", minimum=1),
        Field("n_channels", 12, "channels of scores", minimum=1),
        Field("n_class", 8, "classes", minimum=1),
        Field("first", 1, "forget all records and candidates first"),
        Field("objectness", 1, "the score is multiplied with the anchor's objectness"),
        Field("form", 1, "boxes are 0: centre and size, 1: distances to left, top, right, bottom"),
        *_CELLS,
        Field("size_shift", 5, "shift of size products", minimum=1),
        Field("x_lo", 16, "least x of a box", signed=True),
        Field("x_hi", 16, "greatest x of a box", signed=True),
        Field("y_lo", 16, "least y of a box", signed=True),
        Field("y_hi", 16, "greatest y of a box", signed=True),
        Field("box_b_step", 16, "boxes: words from one block to the next; with bins"),
        Field("bins", 5, "bins of a side, or 0: a size is a channel"),
        Field("softmax", 1, "the score is a share of the anchor's exponentials"),
        Field("background", 8, "what is stored for the logit of the background", signed=True),
        Field("y0", 12, "row of the level at y = 0"),
    )


class Suppress(Instruction):
    """Non-maximum suppression of the records, in place: those that stay come first, best first.

    Until none is left, or ``min(limit, maximum)`` stay: the best record left stays and is put
    next; every other one left (of the same class, unless ``agnostic``) that overlaps it is treated
    as ``mode`` says (see Suppression). In the soft modes a record whose score falls below
    ``score_min`` is gone. In mode SOFT_GAUSSIAN the detect table's entry ``i`` gives the weight for
    IoUs from ``i / 256``: column score, falling by column objectness over the entry. Rows
    behind those that stay hold anything.

    Afterwards row ``Arch.candidates`` of the records holds the COUNTS.

    Cycles: at most 16, and for each record that stays 13 and one per record left before its pass
    (one pass more if the last one leaves none); a pair that needs a quotient takes 24
    (SOFT_LINEAR), 30 (SOFT_GAUSSIAN) or 39 (DIOU) more. So ``K`` records in mode GREEDY take at
    most ``16 + 13 * K + K * (K + 1) / 2``.
    """

    mnemonic, opcode, engine = "SUPPRESS", 9, Engine.DETECT
    fields = (
        Field("mode", 2, "a Suppression"),
        Field("agnostic", 1, "boxes of different classes suppress each other too"),
        _LIMIT,
    )


class Mark(Instruction):
    """Decode the landmarks of the records of one level that stay.

    Record ``r`` of level ``level`` gets ``n_values`` int16 (x, y, x, y ... in 1/16 pixel) in rows
    ``limit + r * R`` to ``limit + r * R + R - 1``, ``R = ceil(n_values / 8)``; the rest of the last
    row is 0. Value ``k`` is that of channel ``n_values * a + k`` of the landmark tensor, decoded
    like a box's centre, saturated to 16 bits. ``limit`` is that of SUPPRESS,
    ``limit * (1 + R) <= Arch.candidates``. The detect table holds the level's landmark
    table in its column centre.

    Cycles: 4 per record, for one of the level ``18 + 16 * R`` more and 5 per word of its landmarks.
    """

    mnemonic, opcode, engine = "MARK", 10, Engine.DETECT
    fields = (
        Field("base", 16, "landmarks: address of the tensor"),
        Field("y_step", 16, "landmarks: words from one y to the next"),
        Field("b_step", 16, "landmarks: words from one block to the next"),
        Field("n_values", 6, "coordinates of a record", minimum=1),
        *_CELLS, _LIMIT,
    )
