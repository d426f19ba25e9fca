"""ONNX Runtime's own quantised operators (com.microsoft), from its operators' texts."""

from __future__ import annotations

import numpy as np

from ... import functional as F
from ...ops.typed import as_type
from ..model import Node
from .gather import gather
from .pooling import average_pool
from .quantised import (
    FLOAT,
    check_bytes,
    dequantised,
    dynamic_quantize_linear,
    floats,
    quantised,
    single,
    whole_matmul,
)
from .recurrent import recurrent
from .row import Call, Unsupported, axis_of, known, needs, op, rank, traced
from .select import sliced


def by_floats(name, count, function):
    """com.microsoft operators on `count` operands (array, scale, zero point), whose result's scale
    and zero point follow."""

    @op(f"com.microsoft.{name}", keeps=True)
    def row(call):
        needs(call, 3 * count + 1)
        operands = [dequantised(*(call[3 * k + i] for i in range(3))) for k in range(count)]
        scale, zero = call[3 * count], call[3 * count + 1]
        check_bytes(call[0])
        return quantised(function(call, *operands), scale, zero, call[0].dtype)

    return row


def numpys_or_ours(ours, numpys):
    return lambda call, *v: ours(*v) if traced(*v) else numpys(*v)


def pooled(call, x):
    axes = tuple(range(2, rank(x)))
    return F.mean(x, axes, True) if traced(x) else x.mean(axes, keepdims=True, dtype=np.float64).astype(FLOAT)


by_floats("QLinearAdd", 2, numpys_or_ours(F.add, np.add))
by_floats("QLinearMul", 2, numpys_or_ours(F.mul, np.multiply))
by_floats("QLinearSigmoid", 1, lambda call, x: F.sigmoid(x))
by_floats("QLinearLeakyRelu", 1, lambda call, x: F.leaky_relu(x, call.attr("alpha", 0.01)))
by_floats("QLinearGlobalAveragePool", 1, pooled)
by_floats("QLinearSoftmax", 1, lambda call, x: F.softmax(x, axis_of(call.attr("axis", -1), rank(x))))


@op("com.microsoft.QLinearConcat", keeps=True)
def qlinear_concat(call):
    """y_scale, y_zero_point, then (array, scale, zero point) of each part."""
    needs(call, max(len(call.inputs), 5))
    parts = [dequantised(*call.inputs[i : i + 3]) for i in range(2, len(call.inputs), 3)]
    axis = axis_of(call.attr("axis"), rank(parts[0]))
    whole = F.cat(parts, axis) if traced(*parts) else np.concatenate(parts, axis)
    return quantised(whole, call[0], call[1], call[2].dtype)


@op("com.microsoft.MatMulNBits", keeps=True)
def matmul_nbits(call):
    """x times a constant matrix of 4 or 8 bits a weight, with a scale (and a zero point) for
    each block of a row."""
    needs(call, 3)
    x, packed, scales = call[0], known(call[1], "B"), known(call[2], "the scales")
    n, k, bits, block = (call.attr(name) for name in ("N", "K", "bits", "block_size"))
    if bits not in (None, 4, 8) or not n or not k or not block:
        raise Unsupported(f"weights of {bits} bits, N {n}, K {k}, block_size {block}")
    bits, count = bits or 4, -(-k // block)
    values = unpacked(packed.reshape(n, count, -1), bits)[..., :block]
    zero = np.full((n, count), 1 << (bits - 1), np.int64)
    if call[3] is not None:
        given = known(call[3], "the zero points")
        zero = (given.reshape(n, count) if given.dtype.kind == "f"
                else unpacked(given.reshape(n, -1), bits)[:, :count].astype(np.int64))
    weight = (values.astype(FLOAT) - zero.astype(FLOAT)[..., None]) * scales.reshape(n, count,
                                                                                     1).astype(FLOAT)
    weight = np.ascontiguousarray(weight.reshape(n, count * block)[:, :k])
    bias = None if call[5] is None else known(call[5], "the bias").astype(FLOAT)
    y = F.linear(floats(x), weight, bias)
    return as_type(y, x.dtype)


def unpacked(values: np.ndarray, bits: int) -> np.ndarray:
    """Whole numbers of 4 bits, the lower first, or of 8, along the last axis."""
    if bits == 8:
        return values
    return np.stack((values & 15, values >> 4), -1).reshape(*values.shape[:-1], -1)


def with_inputs(call, *inputs, op=None, **attrs):
    """The same node with other inputs and attributes."""
    made = Node(op or call.node.op, call.node.name, call.node.inputs, call.node.outputs,
                {**call.node.attrs, **attrs}, call.node.version)
    return Call(made, list(inputs), call.evaluate, call.limits)


@op("com.microsoft.QLinearAveragePool", keeps=True)
def qlinear_average_pool(call):
    needs(call, 4)
    if call.attr("channels_last", 0):
        raise Unsupported("channels_last")
    x, scale, zero, y_scale, y_zero = (call[i] for i in range(5))
    check_bytes(x)
    y = average_pool(with_inputs(call, dequantised(x, scale, zero)))
    return quantised(y, y_scale, y_zero, x.dtype)


@op("com.microsoft.QLinearReduceMean", keeps=True)
def qlinear_reduce_mean(call):
    needs(call, 4)
    x, scale, zero, y_scale, y_zero = (call[i] for i in range(5))
    check_bytes(x)
    axes = tuple(axis_of(a, rank(x)) for a in call.attr("axes") or range(rank(x)))
    y, keep = dequantised(x, scale, zero), bool(call.attr("keepdims", 1))
    y = F.mean(y, axes, keep) if traced(y) else y.mean(axes, keepdims=keep, dtype=np.float64).astype(FLOAT)
    return quantised(y, y_scale, y_zero, x.dtype)


@op("com.microsoft.QLinearWhere", keeps=True)
def qlinear_where(call):
    needs(call, 9)
    condition, x, x_scale, x_zero, y, y_scale, y_zero, z_scale, z_zero = call.inputs
    check_bytes(x, y)
    a, b = dequantised(x, x_scale, x_zero), dequantised(y, y_scale, y_zero)
    chosen = F.where(condition, a, b) if traced(condition, a, b) else np.where(condition, a, b)
    return quantised(chosen, z_scale, z_zero, x.dtype)


def scaled(total, *scales):
    """Whole sums as floats, times scales: one number, or one a column."""
    y = floats(total)
    factor = scales[0]
    for s in scales[1:]:
        factor = F.mul(factor, s) if traced(factor, s) else factor * s
    return F.mul(y, factor) if traced(y, factor) else y * factor


def plus(y, bias):
    return y if bias is None else F.add(y, bias) if traced(y, bias) else y + bias


@op("com.microsoft.MatMulIntegerToFloat", keeps=True)
def matmul_integer_to_float(call):
    needs(call, 4)
    a, b, a_scale, b_scale, a_zero, b_zero, bias = (call[i] for i in range(7))
    check_bytes(a, b)
    return plus(scaled(whole_matmul(call, a, b, single(a_zero), single(b_zero)), a_scale, b_scale), bias)


@op("com.microsoft.DynamicQuantizeMatMul", keeps=True)
def dynamic_quantize_matmul(call):
    """The floats quantised to bytes as DynamicQuantizeLinear does, then whole sums."""
    needs(call, 3)
    x, b, b_scale, b_zero, bias = (call[i] for i in range(5))
    check_bytes(b)
    a, a_scale, a_zero = dynamic_quantize_linear(with_inputs(call, x))
    return plus(scaled(whole_matmul(call, a, b, a_zero, single(b_zero)), a_scale, b_scale), bias)


@op("com.microsoft.QGemm", keeps=True)
def qgemm(call):
    """alpha (a_scale b_scale)((A - a_zero)(B - b_zero) + C), quantised where a scale is given."""
    needs(call, 6)
    a, a_scale, a_zero, b, b_scale, b_zero, c, y_scale, y_zero = (call[i] for i in range(9))
    check_bytes(a, b)
    if rank(a) != 2 or rank(b) != 2:
        raise ValueError(f"takes two matrices, got shapes {tuple(a.shape)} and {tuple(b.shape)}")
    a, b = (turned(v) if call.attr(name, 0) else v for v, name in ((a, "transA"), (b, "transB")))
    total = whole_matmul(call, a, b, single(a_zero), single(b_zero))
    total = plus(total, c)
    alpha = np.asarray(call.attr("alpha", 1.0), FLOAT)
    y = scaled(total, a_scale, b_scale, alpha)
    return y if y_scale is None else quantised(y, y_scale, y_zero, a.dtype if y_zero is None else y_zero.dtype)


def turned(v):
    return F.transpose(v, 0, 1) if traced(v) else np.ascontiguousarray(v.T)


@op("com.microsoft.GatherBlockQuantized", keeps=True)
def gather_block_quantized(call):
    """Entries of a constant of 4 or 8 bits along one axis, dequantised; a scale for each block of
    another axis. The table stays in bytes.
    """
    needs(call, 3)
    data, indices, scales = known(call[0], "the data"), call[1], known(call[2], "the scales")
    bits, block = call.attr("bits", 4), call.attr("block_size", 128)
    axis, along = (axis_of(call.attr(n, d), data.ndim) for n, d in (("gather_axis", 0), ("quantize_axis", 1)))
    zero = None if call[3] is None else known(call[3], "the zero points")
    if bits not in (4, 8) or block < 16 or block & (block - 1) or axis == along:
        raise Unsupported(f"weights of {bits} bits in blocks of {block} along axis {along}, gathered along {axis}")
    if data.dtype == np.uint8 and bits == 4:
        if along != data.ndim - 1:
            raise Unsupported("weights of 4 bits packed along an axis that is not the last")
        data = unpacked(data, 4)
        zero = None if zero is None else unpacked(zero, 4)[..., : scales.shape[-1]]
    if zero is None and call[0].dtype == np.uint8:
        zero = np.full(scales.shape, 1 << (bits - 1), np.uint8)
    count = -(-data.shape[along] // block)
    if tuple(scales.shape) != tuple(count if i == along else n for i, n in enumerate(data.shape)):
        raise ValueError(f"scales of shape {scales.shape} for data of shape {data.shape} in blocks of {block}")
    to = np.int8 if data.dtype.name == "int4" else np.uint8
    chosen = [gather(with_inputs(call, v, indices, axis=axis))
              for v in (data.astype(to), scales.astype(FLOAT), None if zero is None else zero.astype(FLOAT))
              if v is not None]
    length, at = data.shape[along], along + (rank(indices) - 1 if along > axis else 0)
    wide = [floats(chosen[0]), *(spread_blocks(v, at, block, length) for v in chosen[1:])]
    y = wide[0] if len(wide) < 3 else F.sub(wide[0], wide[2])
    return as_type(F.mul(y, wide[1]), scales.dtype)


def spread_blocks(v, axis: int, block: int, length: int):
    """Each entry of an axis `block` times, cut to a length."""
    if not traced(v):
        return np.take(np.repeat(v, block, axis), range(length), axis)
    shape = (*v.shape[: axis + 1], 1, *v.shape[axis + 1 :])
    apart = F.broadcast_to(F.reshape(v, shape), (*v.shape[: axis + 1], block, *v.shape[axis + 1 :]))
    whole = F.reshape(apart, (*v.shape[:axis], v.shape[axis] * block, *v.shape[axis + 1 :]))
    return sliced(whole, {axis: slice(length)})


@op("com.microsoft.DynamicQuantizeLSTM", keeps=True)
def dynamic_quantize_lstm(call):
    """An LSTM whose weights, (directions, inputs, gates), are bytes. ONNX Runtime rounds what is multiplied
    by them to bytes, too, step by step; here it stays as it is, so that results are nearer to the LSTM that
    was quantised.
    """
    needs(call, 3)
    w, r = (dequantised_gates(known(call[i], n), known(call[j], "a scale"), call[j + 1])
            for i, j, n in ((1, 8, "W"), (2, 10, "R")))
    return recurrent(with_inputs(call, call[0], w, r, *call.inputs[3:8], op="LSTM"))


def dequantised_gates(weight, scale, zero):
    """(directions, inputs, gates) of bytes as LSTM's (directions, gates, inputs)."""
    check_bytes(weight)
    zero = np.zeros(scale.shape, FLOAT) if zero is None else known(zero, "a zero point").astype(FLOAT)
    shape = (weight.shape[0], 1, -1) if scale.size > 1 else (1, 1, 1)
    y = (weight.astype(FLOAT) - zero.reshape(shape)) * scale.reshape(shape).astype(FLOAT)
    return np.ascontiguousarray(np.swapaxes(y, 1, 2))
