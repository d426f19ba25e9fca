"""What ONNX Runtime's optimiser makes of exported models (com.microsoft, and normalisation under ONNX's
name): several operators in one, written out again. Sources: its operators' texts.
"""

from __future__ import annotations

import numpy as np

from ... import functional as F
from ...ops.typed import as_type
from ..model import Node
from .convolution import conv
from .gather import gather
from .products import gemm, matmul
from .row import Call, Unsupported, axis_of, needs, op, rank, traced

OWN = "com.microsoft"


def called(call, row, *inputs, **attrs):
    """A row of ONNX's for other inputs and attributes."""
    node = call.node
    made = Node(node.op, node.name, node.inputs, node.outputs, {**node.attrs, **attrs}, node.version)
    return row(Call(made, list(inputs), call.evaluate, call.limits))


def rows_of(call, table, indices):
    """table[indices]."""
    return called(call, gather, table, indices, axis=0)


def added(*values):
    """The sum of those that are given."""
    total = None
    for v in values:
        total = v if total is None or v is None and total is None else total if v is None else F.add(total, v)
    return total


# ---- activations


@op(f"{OWN}.Gelu", f"{OWN}.BiasGelu", f"{OWN}.FastGelu")
def gelu(call):
    needs(call, 1)
    return F.gelu(added(call[0], call[1]), "tanh" if call.node.op.endswith("FastGelu") else "none")


@op(f"{OWN}.QuickGelu")
def quick_gelu(call):
    needs(call, 1)
    return F.mul(call[0], F.sigmoid(F.mul(call[0], call.attr("alpha", 1.702))))


@op(f"{OWN}.BiasAdd")
def bias_add(call):
    needs(call, 3)
    return added(*call.inputs)


def activation(name, a, b):
    """The activation of a fused operator with its two numbers, None for their defaults."""
    def default(v, other):
        return other if v is None else v

    table = {
        "": lambda x: x,
        "Relu": F.relu,
        "Tanh": F.tanh,
        "Sigmoid": F.sigmoid,
        "LeakyRelu": lambda x: F.leaky_relu(x, default(a, 0.01)),
        "Clip": lambda x: F.clamp(x, default(a, -3.4028235e38), default(b, 3.4028235e38)),
        "HardSigmoid": lambda x: F.clamp(F.add(F.mul(x, default(a, 0.2)), default(b, 0.5)), 0.0, 1.0),
        "HardSwish": lambda x: F.mul(x, F.clamp(F.add(F.mul(x, default(a, 1 / 6)), default(b, 0.5)), 0.0, 1.0)),
    }
    if name not in table:
        raise Unsupported(f"activation {name!r}")
    return table[name]


# ---- products


@op(f"{OWN}.FusedMatMul", f"{OWN}.TransposeMatMul")
def fused_matmul(call):
    """alpha A' B', either transposed in its last two axes, or with its first axis behind the batch's."""
    needs(call, 2)

    def turned(v, side):
        order = list(range(rank(v)))
        if call.attr(f"transBatch{side}", 0) and len(order) > 2:
            order = [*order[1:-1], 0, order[-1]]
        if call.attr(f"trans{side}", 0) and len(order) > 1:
            order[-2:] = order[:-3:-1]
        if order == list(range(rank(v))):
            return v
        return F.permute(v, tuple(order)) if traced(v) else np.ascontiguousarray(np.transpose(v, order))

    y = called(call, matmul, turned(call[0], "A"), turned(call[1], "B"))
    alpha = call.attr("alpha", 1.0)
    return y if alpha == 1 else F.mul(y, alpha)


@op(f"{OWN}.FusedGemm")
def fused_gemm(call):
    needs(call, 2)
    numbers = call.attr("activation_alpha"), call.attr("activation_beta")
    return activation(call.attr("activation", ""), *numbers)(gemm(call))


@op(f"{OWN}.FusedConv")
def fused_conv(call):
    """activation(convolution + Z)."""
    needs(call, 2)
    a, b, *_ = [*(call.attr("activation_params") or []), None, None]
    y = called(call, conv, *call.inputs[:3])
    return activation(call.attr("activation", ""), a, b)(added(y, call[3]))


# ---- normalisation


def mean_square(x):
    return F.mean(F.mul(x, x), -1, True)


@op("SimplifiedLayerNormalization")
def simplified(call):
    """RMS normalisation over the axes from `axis` on."""
    needs(call, 2)
    x, scale, eps = call[0], call[1], call.attr("epsilon", 1e-5)
    axis = axis_of(call.attr("axis", -1), rank(x))
    y = F.rms_norm(x, tuple(x.shape[axis:]), scale, eps)
    if not call.wants(1):
        return y
    axes = tuple(range(axis, rank(x)))
    return y, F.rsqrt(F.add(F.mean(F.mul(x, x), axes, True), eps))


@op(f"{OWN}.SkipLayerNormalization", f"{OWN}.SkipSimplifiedLayerNormalization")
def skip_layer_norm(call):
    """Normalised input + skip + bias, and that sum."""
    plain = call.node.op.endswith(".SkipLayerNormalization")
    needs(call, 3)
    x, skip, scale = call.inputs[:3]
    shift, bias = (call[3], call[4]) if plain else (None, call[3])
    total, eps = added(x, skip, bias), call.attr("epsilon", 1e-12)
    if tuple(total.shape) != tuple(x.shape):
        raise ValueError(f"a skip of shape {tuple(skip.shape)} for an input of {tuple(x.shape)}")
    shape = tuple(x.shape[-1:])
    y = F.layer_norm(total, shape, scale, shift, eps) if plain else F.rms_norm(total, shape, scale, eps)
    mean = F.mean(total, -1, True) if plain and (call.wants(1) or call.wants(2)) else None
    inverse = None
    if call.wants(2):
        inverse = F.rsqrt(F.add(mean_square(F.sub(total, mean) if plain else total), eps))
    return y, mean, inverse, total


@op(f"{OWN}.EmbedLayerNormalization")
def embed_layer_norm(call):
    """The normalised sum of a word's, a position's and a segment's vectors, and how many words the mask
    keeps."""
    needs(call, 1)
    ids, segments, words, positions, kinds, scale, shift, mask, places = (call[i] for i in range(9))
    if rank(ids) != 2 or any(v is None for v in (words, positions, scale)):
        raise ValueError(f"takes words of two axes, two tables and a scale, got words of shape {tuple(ids.shape)}")
    length = ids.shape[1]
    if places is None:
        places = np.arange(length)[None]
    total = F.add(rows_of(call, words, ids), rows_of(call, positions, places))
    if segments is not None and kinds is not None:
        total = F.add(total, rows_of(call, kinds, segments))
    y = F.layer_norm(total, tuple(total.shape[-1:]), scale, shift, call.attr("epsilon", 1e-12))
    return y, kept_words(ids, mask) if call.wants(1) else None, total


def kept_words(ids, mask):
    """How many words a mask of 0 and 1 keeps; 0 without one."""
    if mask is None:
        return np.zeros(ids.shape[0], np.int32)
    kept = F.eq(mask, np.asarray(1, mask.dtype)) if traced(mask) else mask == 1
    return as_type(F.sum(as_type(kept, np.int32), 1) if traced(mask) else kept.sum(1), np.int32)
