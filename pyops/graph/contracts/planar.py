"""Contracts of the kernels of kernels/*/kernels.inc that glue calls going forward: what must hold
so that they read and write within their arrays.

A rule gets a call's arguments in the kernel's order and raises Refused. The letters before it say
what each argument is, see contracts/__init__.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .arguments import LARGEST, Array, need

CONTRACTS: dict[str, tuple[str, Callable]] = {}


def contract(names: str, kinds: str):
    """Makes a rule that of these kernels."""

    def keep(rule):
        CONTRACTS.update(dict.fromkeys(names.split(), (kinds, rule)))
        return rule

    return keep


# ---- value by value


@contract("neg abs square sqrt rsqrt reciprocal exp expm1 log log1p erf tanh sigmoid relu gelu gelu_tanh "
          "silu mish hardswish hardsigmoid scaled_tanh logsigmoid softsign", "rR",)
@contract("leaky_relu", "rfR")
@contract("clamp hardtanh threshold shrink softplus", "rffR")
@contract("elu", "rfffR")
@contract("add_flat", "rrR")
def one_size(*arguments) -> None:
    sizes = {a.size for a in arguments if isinstance(a, Array)}
    need(len(sizes) == 1, "inputs and result have one size")


@contract("glu", "rnR")
def glu(x, half, y) -> None:
    need(half >= 0 and x.size == 2 * y.size and (y.size % half == 0 if half else not y.size),
         "the result is half of the input, in rows of half its axis")


@contract("add", "rrdddfR")
@contract("mul div pow maximum minimum prelu", "rrdddR")
@contract("where", "rrrddddR")
@contract("expand", "rddfR")
def broadcast(*arguments) -> None:
    """(inputs, shape, strides of each input, result): an innermost stride is 0 or 1."""
    *inputs, y = (a for a in arguments if isinstance(a, Array))
    shape, *strides = (a for a in arguments if isinstance(a, tuple))
    need(
        len(shape) >= 1 and min(shape) >= 0 and math.prod(shape) == y.size,
        "the result has the broadcast shape's size",
    )
    for x, steps in zip(inputs, strides, strict=True):
        need(
            len(steps) == len(shape) and min(steps) >= 0 and steps[-1] in (0, 1),
            "strides are as many as axes, the last 0 or 1",
        )
        need(not y.size or reach(shape, steps) < x.size, "strides stay inside their input")


def reach(shape, strides) -> int:
    """The place of the last value of a view with these strides, none of them negative."""
    return sum((n - 1) * s for n, s in zip(shape, strides))


# ---- reductions


@contract("reduce_sum", "rddfR")
@contract("reduce_prod reduce_prod_nonzero reduce_max reduce_min", "rddR")
@contract("reduce_variance", "rddffRR")
@contract("reduce_logsumexp", "rddRR")
@contract("reduce_norm", "rddfR")
def reduce(x, sizes, kept, *rest) -> None:
    need(len(sizes) == len(kept) >= 1 and min(sizes) >= 0, "sizes and kept are of the same axes")
    need(math.prod(sizes) == x.size, "sizes are those of the input")
    results = math.prod(n for n, keep in zip(sizes, kept) if keep)
    need(
        all(a.size == results for a in rest if isinstance(a, Array)),
        "results have the size of the axes that are kept",
    )


@contract("arg_max arg_min", "rnnnRI")
def arg_extreme(x, outer, n, inner, values, indices) -> None:
    need(min(outer, n, inner) >= 0 and outer * n * inner == x.size, "outer x n x inner is the input's size")
    need(values.size == indices.size == outer * inner, "results have outer x inner values")


@contract("permutohedral", "rrbR")
def permutohedral(features, values, reverse, y) -> None:
    need(len(features.shape) == len(values.shape) == 2 and features.shape[0] == values.shape[0]
         and 1 <= features.shape[1] <= 16 and y.shape == values.shape,
         "features are (n, 1 to 16), values and result (n, c)")


@contract("softmax log_softmax", "rnR")
def softmax(x, dim, y) -> None:
    need(0 <= dim < len(x.shape), "dim is an axis of the input")
    one_size(x, y)


# ---- normalisation


@contract("layer_norm", "roofRRR")
def layer_norm(x, weight, bias, eps, y, mean, rstd) -> None:
    lines(x, (weight, bias), y, mean)
    one_size(mean, rstd)


@contract("rms_norm", "rofRR")
def rms_norm(x, weight, eps, y, rrms) -> None:
    lines(x, (weight,), y, rrms)


def lines(x, per_value, y, per_line) -> None:
    one_size(x, y)
    need(per_line.size == 0 or x.size % per_line.size == 0, "lines have one length")
    for v in per_value:
        need(
            v is None or not per_line.size or v.size == x.size // per_line.size,
            "weight and bias are as long as a line",
        )


@contract("batch_norm", "rrroofR")
def batch_norm(x, mean, var, weight, bias, eps, y) -> None:
    need(
        len(x.shape) >= 2 and all(v is None or v.size == x.shape[1] for v in (mean, var, weight, bias)),
        "a number a channel",
    )
    one_size(x, y)


@contract("batch_norm_training", "roofRRR")
def batch_norm_training(x, weight, bias, eps, y, mean, var) -> None:
    batch_norm(x, mean, var, weight, bias, eps, y)


@contract("group_norm", "roonfRRR")
def group_norm(x, weight, bias, groups, eps, y, mean, var) -> None:
    need(len(x.shape) >= 2 and groups >= 1 and x.shape[1] % groups == 0, "groups divide the channels")
    need(
        all(v is None or v.size == x.shape[1] for v in (weight, bias)),
        "weight and bias have a number a channel",
    )
    one_size(x, y)
    need(mean.size == var.size == x.shape[0] * groups, "statistics have a number a group of each sample")


@contract("local_response_norm", "rnfffR")
def local_response_norm(x, size, alpha, beta, k, y) -> None:
    need(len(x.shape) >= 2 and size >= 1, "the input has a channel axis, the window a channel")
    one_size(x, y)


# ---- products


@contract("gemm", "rrbbR")
def gemm(a, b, transpose_a, transpose_b, c) -> None:
    need(len(a.shape) == len(b.shape) == len(c.shape) == 3, "operands are (batch, rows, columns)")
    m, depth = a.shape[:0:-1] if transpose_a else a.shape[1:]
    depth_b, n = b.shape[:0:-1] if transpose_b else b.shape[1:]
    need(depth == depth_b and c.shape[1:] == (m, n), "rows and columns of a product fit")
    need(all(v.shape[0] in (1, c.shape[0]) for v in (a, b)), "operands have the result's batch or one")


@contract("linear", "rroR")
def linear(x, weight, bias, y) -> None:
    need(len(weight.shape) == 2, "weights are (outputs, features)")
    outputs, features = weight.shape
    need(bias is None or bias.size == outputs, "the bias has a number an output")
    samples = y.size // outputs if outputs else 0
    need(
        samples * outputs == y.size and samples * features == x.size,
        "input and result have the weights' features and outputs",
    )


def whole_weights(x, weight, scale, y) -> None:
    """x (rows, outputs or features) and y the other, of int8 weights (outputs, features)."""
    need(len(weight.shape) == 2 and weight.dtype.name == "int8" and scale.size == weight.shape[0],
         "weights are int8 (outputs, features), with a scale an output")
    outputs, features = weight.shape
    rows = y.size // outputs if outputs else 0
    need(rows * outputs == y.size and rows * features == x.size, "input and result have the weights' sizes")


@contract("linear_int8", "rxroR")
def linear_int8(x, weight, scale, bias, y) -> None:
    whole_weights(x, weight, scale, y)
    need(bias is None or bias.size == weight.shape[0], "the bias has a number an output")


@contract("linear_int8_input_gradient", "rxrR")
def linear_int8_input_gradient(dy, weight, scale, dx) -> None:
    whole_weights(dx, weight, scale, dy)


@contract("squared_euclidean", "rrR")
def squared_euclidean(x, w, y) -> None:
    need(len(x.shape) == len(w.shape) == 2 and x.shape[1] == w.shape[1], "points and centres have one width")
    need(y.size == x.shape[0] * w.shape[0], "a number a point and centre")


@contract("attention", "rrrodddddddbfRR")
def attention(
    q,
    k,
    v,
    mask,
    lead,
    sizes,
    q_strides,
    k_strides,
    v_strides,
    mask_strides,
    y_strides,
    causal,
    scale,
    y,
    logsum,
) -> None:
    need(
        len(sizes) in (6, 7) and min((*sizes, *lead)) >= 0 and min(sizes[4:]) >= 1,
        "sizes are queries, keys, features, values and groups, and perhaps an order",
    )
    queries, keys, features, values, key_group, value_group = sizes[:6]
    need(logsum.size == math.prod(lead) * queries, "logsum has a number a query")

    def shared(group):  # how many heads of keys there are
        return (*lead[:-1], -(-lead[-1] // group)) if lead else lead

    for x, strides, shape, width in (
        (q, q_strides, (*lead, queries), features),
        (k, k_strides, (*shared(key_group), keys), features),
        (v, v_strides, (*shared(value_group), keys), values),
        (y, y_strides, (*lead, queries), values),
    ):
        need(
            len(strides) == len(shape) and min(strides) >= 0,
            "strides are those of the leading axes and of rows",
        )
        inside(x, (*shape, width), (*strides, 1))
    if mask is not None:
        need(
            len(mask_strides) == len(lead) + 2 and min(mask_strides) >= 0,
            "the mask has strides for rows and columns",
        )
        inside(mask, (*lead, queries, keys), mask_strides)


@contract("attention_within", "rrrEEoddddddddbfRR")
def attention_within(q, k, v, begin, end, distance, lead, sizes, q_strides, k_strides, v_strides, span_strides,
                     distance_strides, y_strides, causal, scale, y, logsum) -> None:
    attention(q, k, v, None, lead, sizes, q_strides, k_strides, v_strides, (), y_strides, causal, scale, y, logsum)
    queries, keys = sizes[:2]
    need(len(span_strides) == len(lead) + 1 and len(distance_strides) == len(lead)
         and min((0, *span_strides, *distance_strides)) >= 0,
         "strides of spans are those of the leading axes and queries, of distances those of the leading axes")
    for edge in (begin, end):
        if edge is not None:
            inside(edge, (*lead, queries), span_strides)
    if distance is not None:
        inside(distance, (*lead, max(0, queries + keys - 1)), (*distance_strides, 1))


@contract("attention_stored", "rxxEEoddddddddfRR")
def attention_stored(q, k, v, begin, end, distance, lead, sizes, q_strides, k_strides, v_strides, span_strides,
                     distance_strides, y_strides, scale, y, logsum) -> None:
    need(k.dtype.name == v.dtype.name == "uint16", "keys and values are stored as uint16")
    attention_within(q, k, v, begin, end, distance, lead, sizes, q_strides, k_strides, v_strides, span_strides,
                     distance_strides, y_strides, False, scale, y, logsum)


@contract("rotary", "rrrdddnnbbR")
def rotary(x, cos, sin, lead, strides, table, features, pairs, interleaved, back, y) -> None:
    need(len(lead) == len(strides) == len(table) and min((0, *lead)) >= 0, "strides are those of the leading axes")
    need(0 <= 2 * pairs <= features, "pairs are of features that there are")
    need(y.size == math.prod(lead) * features, "the result has every feature of every row")
    inside(x, (*lead, features), (*strides, 1))
    inside(cos, (*lead, pairs), (*table, 1))
    inside(sin, (*lead, pairs), (*table, 1))


def inside(x: Array, shape, strides) -> None:
    """Values behind strides lie in the memory that x begins."""
    if math.prod(shape):
        last = sum((n - 1) * s for n, s in zip(shape, strides) if s > 0)
        first = sum((n - 1) * s for n, s in zip(shape, strides) if s < 0)
        need(last < x.room and -first <= x.before, "strides stay inside their memory")


@contract("strided_copy", "rdR")
def strided_copy(x, strides, y) -> None:
    need(len(strides) == len(y.shape) <= 8, "strides are as many as axes")
    inside(x, y.shape, strides)


@contract("recurrent", "roojrdbbRRRRR")
def recurrent(x, h0, c0, lengths, packed, sizes, batch_first, peephole, y, h_n, c_n, gates, cells) -> None:
    steps, samples, inputs, hidden, outputs, directions, cell = of_recurrent(sizes)
    need(cell == LSTM or not peephole, "an LSTM's alone are peepholes")
    need(
        packed.size == directions * packed_weights(sizes, peephole),
        "packed weights are as many as the sizes say",
    )
    need(
        x.size == steps * samples * inputs and y.size == steps * samples * directions * outputs,
        "input and result have the sizes' size",
    )
    state, cell_state = directions * samples * outputs, directions * samples * hidden
    need(
        h_n.size == state and (h0 is None or h0.size == state),
        "a state has a number a unit, direction and sample",
    )
    need(
        c_n.size == (cell_state if cell == LSTM else 0) and (c0 is None or c0.size == cell_state),
        "an LSTM has a cell state",
    )
    need(gates.size == cells.size == 0, "programs keep no gates")
    if lengths is not None:
        need(
            lengths.size == samples
            and (not samples or 1 <= lengths.data.min() and lengths.data.max() <= steps),
            "lengths are within 1 .. steps",
        )


@contract("recurrent_pack", "rroooodR")
def recurrent_pack(w_ih, w_hh, b_ih, b_hh, w_hr, peephole, sizes, packed) -> None:
    _, _, inputs, hidden, outputs, _, cell = of_recurrent(sizes)
    rows = {LSTM: 4, GRU: 3}.get(cell, 1) * hidden
    need(w_ih.size == rows * inputs and w_hh.size == rows * outputs, "weights have a row a unit and gate")
    need(all(b is None or b.size == rows for b in (b_ih, b_hh)), "biases have a number a unit and gate")
    need(
        (w_hr is not None) == (outputs != hidden) and (w_hr is None or w_hr.size == outputs * hidden),
        "a projection is of its size",
    )
    need(
        peephole is None or (cell == LSTM and peephole.size == 3 * hidden),
        "peepholes are of an LSTM's three gates",
    )
    need(
        packed.size == packed_weights(sizes, peephole is not None),
        "packed weights are as many as the sizes say",
    )


def of_recurrent(sizes) -> tuple[int, ...]:
    need(
        len(sizes) == 7 and min(sizes) >= 0,
        "sizes are steps, samples, inputs, hidden, outputs, directions and the cell",
    )
    steps, _, _, hidden, outputs, directions, cell = sizes
    need(
        steps >= 1 and 1 <= outputs <= hidden and directions in (1, 2) and cell <= GRU,
        "there are steps and units, and four cells",
    )
    need(cell == LSTM or outputs == hidden, "an LSTM's alone are projections")
    return sizes


def packed_weights(sizes, peephole: bool) -> int:
    """Values of one direction's weights: struct Packed of kernels/recurrent/layout.h."""
    _, _, inputs, hidden, outputs, _, cell = sizes
    panel_units, width = BLOCK if cell in (LSTM, GRU) else PANEL, 3 if cell == GRU else 4
    panels = -(-hidden // panel_units)
    weights = (
        panels * (inputs + outputs) * width * BLOCK
        + panels * PANEL
        + (3 * panels * panel_units if peephole else 0)
    )
    return weights + (-(-outputs // PANEL) * hidden * PANEL if outputs != hidden else 0)


LSTM, GRU, BLOCK, PANEL = 2, 3, 16, 64  # kernels/recurrent/layout.h


@contract("suppress", "rrnffbII")
def suppress(boxes, scores, most, iou, least, center, chosen, count) -> None:
    need(len(boxes.shape) == len(scores.shape) == 3 and boxes.shape[2] == 4, "boxes have four numbers")
    samples, classes, n = scores.shape
    need(boxes.shape[:2] == (samples, n) and most >= 0, "there is a score a box, and a number of boxes")
    need(chosen.size == samples * classes * min(most, n) * 3 and count.size >= 1,
         "there is room for every box that may stay, and for their count")


@contract("batched_nms", "rrefII")
def batched_nms(boxes, scores, groups, iou, chosen, count) -> None:
    need(len(scores.shape) == 1 and boxes.shape == (scores.size, 4), "boxes have four numbers and a score")
    need(groups.size == chosen.size == scores.size and count.size >= 1, "there is a group a box, and room for all")


@contract("multiclass_nms", "rrnnffbnfRRIII")
def multiclass_nms(boxes, scores, candidates, per_class, iou, least, agnostic, kind, sigma, found, best, labels,
                   index, count) -> None:
    need(len(scores.shape) == 3 and len(best.shape) == 2, "there are samples, boxes and classes")
    (samples, n, classes), room = scores.shape, best.shape[1]
    need(boxes.shape in ((samples, n, 4), (samples, n, classes, 4)), "boxes have four numbers")
    need(1 <= classes and n * classes <= LARGEST, "the scores of a sample can be counted")
    need(best.shape[0] == count.size == samples and labels.size == index.size == samples * room
         and found.size == 4 * samples * room, "there is room for what stays of each sample, and for its count")


@contract("box_overlap", "rrnfffR")
def box_overlap(a, b, kind, e, f, d, y) -> None:
    need(len(a.shape) == len(b.shape) == 3 and a.shape[2] == b.shape[2] == 4, "boxes have four numbers")
    need(a.shape[0] == b.shape[0] and y.size == a.shape[0] * a.shape[1] * b.shape[1],
         "the result has a value a pair")


# ---- convolutions and windows: see also blocked.py


@contract("conv", "rrodddnR")
def conv(x, weight, bias, stride, padding, dilation, groups, y) -> None:
    images(x, weight, y, stride, padding, dilation)
    need(
        groups >= 1 and x.shape[1] == weight.shape[1] * groups and weight.shape[0] % groups == 0,
        "groups divide channels and filters",
    )
    need(
        y.shape[:2] == (x.shape[0], weight.shape[0]) and (bias is None or bias.size == weight.shape[0]),
        "the result has a map a filter",
    )
    for at in zip(spatial(x), spatial(weight), stride, padding, dilation, spatial(y), strict=True):
        convolved(*at)


@contract("conv_transpose", "rrodddnR")
def conv_transpose(x, weight, bias, stride, padding, dilation, groups, y) -> None:
    images(x, weight, y, stride, padding, dilation)
    filters = weight.shape[1] * groups
    need(
        groups >= 1 and x.shape[1] == weight.shape[0] and x.shape[1] % groups == 0,
        "groups divide channels and filters",
    )
    need(
        y.shape[:2] == (x.shape[0], filters) and (bias is None or bias.size == filters),
        "the result has a map a filter",
    )
    for at in zip(spatial(x), spatial(weight), stride, padding, dilation, spatial(y), strict=True):
        spread(*at)


def images(x, weight, y, *along) -> None:
    need(
        3 <= len(x.shape) <= 5 and len(x.shape) == len(weight.shape) == len(y.shape),
        "input, filters and result have three to five axes",
    )
    need(all(len(a) == 3 for a in along), "stride, padding and dilation are of three axes")


def spatial(x) -> tuple[int, ...]:
    """The last three axes of an image, missing ones of size 1."""
    return ((1, 1) + x.shape[2:])[-3:]


def attributes(stride: int, padding: int, dilation: int) -> None:
    need(
        1 <= stride <= LARGEST and 0 <= padding <= LARGEST and 1 <= dilation <= LARGEST,
        "strides and dilations are positive, paddings not negative",
    )


def convolved(size: int, kernel: int, stride: int, padding: int, dilation: int, out: int) -> None:
    """An axis of a convolution. Behind the image there may be more zeros than in front, as far as
    windows reach that begin no further."""
    attributes(stride, padding, dilation)
    need(kernel >= 1, "a filter has taps")
    need(
        out == 0 or (out - 1) * stride + 1 <= size + 2 * padding,
        "every window begins within the padded input",
    )


def spread(size: int, kernel: int, stride: int, padding: int, dilation: int, out: int) -> None:
    """An axis of a transposed convolution."""
    attributes(stride, padding, dilation)
    need(kernel >= 1, "a filter has taps")
    most = (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + max(stride, dilation) + 1
    need(out <= max(most, 0), "the result is no larger than input, filter and stride make it")


@contract("max_pool", "rddddddR")
@contract("max_pool_indices", "rddddddRI")
@contract("avg_pool", "rddddddbfR")
@contract("lp_pool", "rddddddfR")
def pool(x, sizes, out, kernel, stride, padding, dilation, *rest) -> None:
    need(
        all(len(a) == 3 for a in (sizes, out, kernel, stride, padding, dilation))
        and min((*sizes, *out, *kernel)) >= 0,
        "sizes and windows are of three axes",
    )
    image, result = math.prod(sizes), math.prod(out)
    planes = x.size // image if image else 0
    need(planes * image == x.size, "the input holds whole images")
    need(all(a.size == planes * result for a in rest if isinstance(a, Array)), "a result a window")
    for at in zip(sizes, kernel, stride, padding, dilation, out, strict=True):
        pooled(*at)


def pooled(size: int, kernel: int, stride: int, padding: int, dilation: int, out: int) -> None:
    """An axis of a pooling: every window holds a value of the input. A kernel of 0 is adaptive."""
    attributes(stride, padding, dilation)
    if kernel and out:
        need(
            size >= 1 and padding <= dilation * (kernel - 1) and (out - 1) * stride - padding < size,
            "every window holds a value",
        )
        need(padding == 0 or dilation <= size, "every window holds a value")
    need(
        bool(kernel) or out == 0 or (size >= 1 and padding == 0),
        "adaptive windows divide an input without padding",
    )


@contract("max_unpool", "renRI")
def max_unpool(x, indices, size, y, outside) -> None:
    need(size >= 1 and y.size % size == 0 and outside.size >= 1, "the result holds whole planes")
    planes = y.size // size
    need(indices.size == x.size and (planes == 0 or x.size % planes == 0), "an index a value")


@contract("unfold", "rdddddR")
def unfold(x, kernel, dilation, padding, stride, places, y) -> None:
    columns(x, kernel, dilation, padding, stride, places, y)


@contract("fold", "rdddddR")
def fold(x, kernel, dilation, padding, stride, places, y) -> None:
    columns(y, kernel, dilation, padding, stride, places, x)


def columns(image, kernel, dilation, padding, stride, places, columns) -> None:
    need(
        len(image.shape) == 4 and all(len(a) == 2 for a in (kernel, dilation, padding, stride, places)),
        "images and windows have two axes",
    )
    need(min((*kernel, *places)) >= 0, "windows have sizes")
    for at in zip(stride, padding, dilation):
        attributes(*at)
    need(
        columns.size == math.prod(image.shape[:2]) * math.prod(kernel) * math.prod(places), "a column a place"
    )


# ---- moving values


@contract("pad", "rdnfR")
def pad(x, before, mode, value, y) -> None:
    need(len(x.shape) == len(y.shape) == len(before) >= 1, "input, result and padding have the same axes")
    need(0 <= mode <= 3, "there are four modes")
    for size, front, out in zip(x.shape, before, y.shape):
        padded(size, front, out, mode)


def padded(size: int, before: int, out: int, mode: int) -> None:
    """An axis: how far an edge may reach depends on what it holds."""
    behind = out - before - size
    if mode == CONSTANT:
        need(abs(before) <= LARGEST, "a padding is of 32 bits")
        return
    most = {REFLECT: size - 1, REPLICATE: LARGEST, CIRCULAR: size}[mode]
    need(
        out == 0 or (size >= 1 and before <= most and behind <= most),
        "edges take their values from the input",
    )


CONSTANT, REFLECT, REPLICATE, CIRCULAR = range(4)  # kernels/pad/cpu.cpp


@contract("resample", "rjojojoR")
def resample(x, index_d, weight_d, index_h, weight_h, index_w, weight_w, y) -> None:
    need(len(x.shape) == len(y.shape) == 4 and x.shape[0] == y.shape[0], "images are (planes, d, h, w)")
    for index, weight, size, out in zip(
        (index_d, index_h, index_w), (weight_d, weight_h, weight_w), x.shape[1:], y.shape[1:]
    ):
        taps(index, weight, size, out)


def taps(index, weight, size: int, out: int) -> None:
    """A table (taps, outputs) of an axis; none where the axis stays as it is."""
    if index is None:
        need(weight is None and size == out, "an axis without a table stays as it is")
        return
    need(
        weight is not None and weight.shape == index.shape and len(index.shape) == 2,
        "a table has indices and weights",
    )
    need(index.shape[1] == out and index.shape[0] >= 1, "a table has taps for every output")
    need(not index.size or (-1 <= index.data.min() and index.data.max() < size), "taps lie in the input")


@contract("grid_sample", "rrnnbR")
def grid_sample(x, grid, mode, around, corners, y) -> None:
    need(len(x.shape) == 5 and min(x.shape[2:]) >= 1 and math.prod(x.shape[2:]) < 1 << 31, "images have pixels")
    need(mode in range(3) and around in range(3), "there are three modes, and three of what lies outside")
    need(
        len(grid.shape) == 3 and grid.shape[0] == x.shape[0] and (grid.shape[2] == 3 or
        grid.shape[2] == 2 and x.shape[2] == 1),
        "a grid has positions on the axes of each image",
    )
    need(y.size == x.shape[0] * x.shape[1] * grid.shape[1], "the result has a value a position and channel")


@contract("deform_conv", "rrroownnR")
def deform_conv(x, offset, weight, bias, mask, window, groups, offset_groups, y) -> None:
    kernel, stride, padding, dilation = window
    need(
        len(kernel) == 2 and all(len(a.shape) == 4 for a in (x, offset, weight, y)) and min(x.shape) >= 1,
        "image, offsets, filters and result have four axes, the window two",
    )
    (n, channels, *size), (filters, per_group, *of_kernel), (*_, oh, ow) = x.shape, weight.shape, offset.shape
    taps = kernel[0] * kernel[1]
    need(
        min(groups, offset_groups) >= 1 and per_group * groups == channels and filters % groups == 0
        and channels % offset_groups == 0 and min(per_group, filters) >= 1,
        "groups divide channels and filters",
    )
    need(tuple(of_kernel) == kernel and taps >= 1 and math.prod(size) < 1 << 31, "filters have the window's taps")
    need(offset.shape == (n, 2 * offset_groups * taps, oh, ow), "there are two offsets a tap and output")
    need(mask is None or mask.shape == (n, offset_groups * taps, oh, ow), "there is one factor a tap and output")
    need(y.shape == (n, filters, oh, ow) and (bias is None or bias.size == filters), "the result has a map a filter")
    for s, p, d in zip(stride, padding, dilation, strict=True):
        attributes(s, p, d)


@contract("pixel_shuffle", "rnR")
def pixel_shuffle(x, factor, y) -> None:
    need(len(x.shape) == len(y.shape) == 4 and factor >= 1, "images have four axes")
    n, c, h, w = y.shape
    need(
        h % factor == w % factor == 0 and x.shape == (n, c * factor**2, h // factor, w // factor),
        "channels become pixels",
    )


@contract("pixel_unshuffle", "rnR")
def pixel_unshuffle(x, factor, y) -> None:
    pixel_shuffle(y, factor, x)


@contract("cat_copy", "rnnnR")
def cat_copy(x, width, pitch, offset, y) -> None:
    need(
        min(width, pitch, offset) >= 0 and (x.size == 0 or (width >= 1 and x.size % width == 0)),
        "rows are whole",
    )
    need(x.size == 0 or (x.size // width - 1) * pitch + offset + width <= y.size, "rows lie in the result")


@contract("embedding_bag", "eerobnnRIRI")
def embedding_bag(index, offsets, weight, factors, closed, mode, padding, y, bag, count, greatest) -> None:
    bags = offsets.size - closed
    need(len(weight.shape) == 2 and bags >= 0 and mode in range(3), "there are bags, and three modes")
    need(y.size == bags * weight.shape[1] and count.size >= bags, "the result has a row a bag")
    need(bag.size == index.size and (factors is None or factors.size == index.size), "indices have a bag each")
    need(mode != 2 or greatest.size == y.size, "of the greatest the rows are kept")


@contract("ctc_loss", "reeeenbRRR")
def ctc_loss(log_probs, targets, starts, ins, outs, blank, zero_infinity, loss, nll, alpha) -> None:
    need(len(log_probs.shape) == len(alpha.shape) == 3, "steps, samples and classes; samples, steps and states")
    steps, samples, _ = log_probs.shape
    need(all(a.size == samples for a in (starts, ins, outs, loss, nll)), "there is a number a sample")
    need(alpha.shape[:2] == (samples, steps) and alpha.shape[2] >= 1, "states are kept for every step")


@contract("dft", "rorooonnbfR")
def dft(x, window, twiddles, chirp, chirped, longer, taken, hop, inverse, scale, y) -> None:
    need(len(x.shape) == 3 and len(y.shape) == 4, "there are signals, and frames of them")
    need(x.shape[2] in (1, 2) and y.shape[3] in (1, 2), "numbers have parts")
    need(len(twiddles.shape) == 2 and twiddles.shape[1] == 2 and twiddles.shape[0] >= 1, "there is a table")
    (batch, values, parts), n, (_, frames, m, _) = x.shape, twiddles.shape[0], y.shape
    need(y.shape[0] == batch and m <= n, "the result has values of each signal")
    need(
        1 <= taken <= n and hop >= 0 and frames >= 1 and (frames - 1) * hop + taken <= values,
        "frames lie in the signal",
    )
    need(window is None or window.size == taken, "the window is of a frame's length")
    length = n // 2 if parts == 1 and n % 2 == 0 else n
    need(
        (chirp is None) == (chirped is None) == (longer is None)
        and (chirp is None or chirp.size == 2 * length and chirped.size == longer.size
             and len(longer.shape) == 2 and longer.shape[1] == 2 and longer.shape[0] >= 2 * length - 1),
        "Bluestein's tables go together",
    )


@contract("overlap_add", "ronR")
def overlap_add(frames, window, hop, y) -> None:
    need(len(frames.shape) == 3 and len(y.shape) == 2 and y.shape[0] == frames.shape[0], "frames of signals")
    _, count, n = frames.shape
    need(hop >= 1 and count >= 1 and y.shape[1] == n + hop * (count - 1), "the result is as long as frames reach")
    need(window is None or window.size == n, "the window is of a frame's length")


@contract("cdist", "rrfR")
def cdist(a, b, p, y) -> None:
    need(len(a.shape) == len(b.shape) == 3 and a.shape[::2] == b.shape[::2], "rows are of one width")
    need(y.size == a.shape[0] * a.shape[1] * b.shape[1], "the result has a value a pair")


@contract("pdist", "rfR")
def pdist(x, p, y) -> None:
    need(len(x.shape) == 2 and 2 * y.size == x.shape[0] * (x.shape[0] - 1), "the result has a value a pair of rows")


@contract("roi_align", "rrfnbR")
@contract("roi_pool", "rrfR")
def roi_align(x, regions, *how) -> None:
    y = regions_of(x, regions, *how)
    need(y.shape[1] == x.shape[1], "the result has the input's channels")


@contract("ps_roi_align", "rrfnR")
@contract("ps_roi_pool", "rrfR")
def ps_roi_align(x, regions, *how) -> None:
    y = regions_of(x, regions, *how)
    need(math.prod(y.shape[1:]) == x.shape[1], "every cell has channels of its own")


def regions_of(x, regions, scale, *how):
    ratio, y = how[0] if len(how) > 1 else 0, how[-1]
    need(len(x.shape) == len(y.shape) == 4 and min(*x.shape[2:], *y.shape[2:]) >= 1, "images and grids have cells")
    need(x.shape[2] * x.shape[3] <= LARGEST, "pixels can be counted")
    need(ratio < 1 << 15, "samples can be counted")
    need(regions.size == 5 * y.shape[0], "the result has an image a region")
    return y


@contract("roi_align_level", "rrennfnbR")
def roi_align_level(x, regions, levels, level, last, scale, ratio, aligned, y) -> None:
    roi_align(x, regions, scale, ratio, aligned, y)
    need(levels.size == y.shape[0], "a level a region")


@contract("embedding_sum", "erEoEonR")
def embedding_sum(a, first, b, second, c, third, length, y) -> None:
    need(len(first.shape) == 2 and y.size == a.size * first.shape[1] and length >= 0, "a row of the tables an index")
    for index, table in ((b, second), (c, third)):
        need(index is None or index.size >= 1 or not a.size, "indices that begin anew are some")
        need(index is None or table is not None, "an index is of a table")
        need(table is None or len(table.shape) == 2 and table.shape[1] == first.shape[1], "tables have one width")


@contract("embedding", "irRI")
def embedding(index, weight, y, bad) -> None:
    need(
        len(weight.shape) == 2 and y.size == index.size * weight.shape[1] and bad.size >= 1,
        "a row of weights an index",
    )


# ---- losses: a label that is no class is known by the kernel


@contract("cross_entropy", "rjoonfnRRRRR")
def cross_entropy(
    x, index, probabilities, weight, ignore, smoothing, reduction, y, divisor, *per_position
) -> None:
    positions = labelled(x, weight, reduction, y, divisor)
    need((index is None) != (probabilities is None), "labels are indices or probabilities")
    need(index is None or index.size == positions, "a label a position")
    need(probabilities is None or probabilities.size == x.size, "a probability a class")
    need(all(a.size == positions for a in per_position), "a number a position")


@contract("nll_loss", "rionnRR")
def nll_loss(x, index, weight, ignore, reduction, y, divisor) -> None:
    need(labelled(x, weight, reduction, y, divisor) == index.size, "a label a position")


def labelled(x, weight, reduction: int, y, divisor) -> int:
    """How many positions with classes there are."""
    need(len(x.shape) >= 1 and 0 <= reduction <= 2, "the input has classes; there are three reductions")
    classes = x.shape[0] if len(x.shape) == 1 else x.shape[1]
    positions = 1 if len(x.shape) == 1 else x.shape[0] * math.prod(x.shape[2:])
    need(classes >= 1 or not positions, "there are classes")
    need(weight is None or weight.size == classes, "a weight a class")
    need(divisor.size >= 1 and y.size == (positions if reduction == 0 else 1), "a loss, or one a position")
    return positions


@contract("pointwise_loss", "rroonffbfRR")
def pointwise_loss(x, t, v, weight, formula, p, q, each, count, y, divisor) -> None:
    need(all(a is None or a.size == x.size for a in (t, v, weight)), "arrays have one size")
    need(formula >= 0 and divisor.size >= 1 and y.size == (x.size if each else 1), "a loss, or one a value")


@contract("lenet5_loss", "rifbfRR")
def lenet5_loss(y, index, j, each, count, loss, divisor) -> None:
    need(len(y.shape) == 2 and index.size == y.shape[0], "a label a row")
    need(divisor.size >= 1 and loss.size == (y.shape[0] if each else 1), "a loss, or one a row")
