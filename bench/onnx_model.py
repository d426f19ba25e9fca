"""A recorded graph as an ONNX model: what ONNX Runtime and OpenVINO are given. Weights are
constants, the first input is the only one.

Batch norm stays a node of its own: both fold it into convolutions themselves.
"""
from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from pyops.names import only

from .record import Graph, Unsupported, Value


class Builder:
    """Nodes and constants so far, and the name that each value of the graph has here."""

    def __init__(self, graph: Graph):
        self.nodes, self.constants, self.weights = [], [], graph.constants
        self.names = {graph.input.name: graph.input.name}

    def constant(self, array) -> str:
        name = f"k{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def operand(self, value) -> str:
        """A value, or a number."""
        if not isinstance(value, Value):
            return self.constant(np.float32(value))
        if value.name not in self.names:
            self.names[value.name] = self.constant(self.weights[value.name])
        return self.names[value.name]

    def node(self, kind: str, inputs: list, **attributes) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(
            kind, [v if isinstance(v, str) else self.operand(v) for v in inputs], [name], **attributes))
        return name

    def nodes_of(self, kind: str, inputs: list, outputs: int, **attributes) -> list[str]:
        """A node of several results."""
        first = self.node(kind, inputs, **attributes)
        self.nodes[-1].output.extend(f"{first}_{i}" for i in range(1, outputs))
        return list(self.nodes[-1].output)

    def reshape(self, value, shape) -> str:
        return self.node("Reshape", [value, self.constant(np.array(shape, np.int64))])


def spread(value, n) -> list[int]:
    return [value] * n if isinstance(value, int) else list(value) * (n if len(value) == 1 else 1)


def given(*values) -> list:
    return [v for v in values if v is not None]


def convolution(b, step, a):
    n = a["weight"].ndim - 2
    padding = a["padding"]
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(spread(a["dilation"], n), a["weight"].shape[2:])]
        pads = [t // 2 for t in total] + [t - t // 2 for t in total]
    else:
        pads = 2 * spread(0 if padding == "valid" else padding, n)
    return b.node("Conv", given(a["input"], a["weight"], a["bias"]), group=a["groups"], pads=pads,
                  strides=spread(a["stride"], n), dilations=spread(a["dilation"], n))


def transposed(b, step, a):
    n = a["weight"].ndim - 2
    return b.node("ConvTranspose", given(a["input"], a["weight"], a["bias"]), group=a["groups"],
                  pads=2 * spread(a["padding"], n), strides=spread(a["stride"], n),
                  dilations=spread(a["dilation"], n), output_padding=spread(a["output_padding"], n))


def pooling(kind):
    def add(b, step, a):
        n, divisor = int(step.name[-2]), a.get("divisor_override")
        kernel = spread(a["kernel_size"], n)
        if divisor and (any(spread(a["padding"], n)) or a["ceil_mode"]):
            raise Unsupported(f"{step.name} with a divisor beside padding is not translated")
        attributes = {"kernel_shape": kernel, "ceil_mode": int(a["ceil_mode"]),
                      "pads": 2 * spread(a.get("padding", 0), n),
                      "strides": spread(kernel if a["stride"] in (None, ()) else a["stride"], n)}
        if kind == "AveragePool":
            attributes["count_include_pad"] = int(a["count_include_pad"])
        if kind == "MaxPool":
            attributes["dilations"] = spread(a["dilation"], n)
        if kind == "LpPool":
            attributes["p"] = int(a["norm_type"])   # it takes |x| where torch does not: the same for even p
        if a.get("return_indices"):   # ONNX counts them over the whole array: right for MaxUnpool alone
            return b.nodes_of(kind, [a["input"]], 2, **attributes)
        pooled = b.node(kind, [a["input"]], **attributes)
        return b.node("Mul", [pooled, b.operand(math.prod(kernel) / divisor)]) if divisor else pooled
    return add


def unpooling(b, step, a):
    n = int(step.name[-2])
    kernel = spread(a["kernel_size"], n)
    return b.node("MaxUnpool", [a["input"], a["indices"], b.constant(np.array(step.results[0].shape, np.int64))],
                  kernel_shape=kernel, strides=spread(kernel if a["stride"] in (None, ()) else a["stride"], n),
                  pads=2 * spread(a["padding"], n))


def adaptive(kind):
    def add(b, step, a):
        size, out = a["input"].shape[2:], step.results[0].shape[2:]
        if out == size:
            return b.operand(a["input"])
        if a.get("return_indices") or any(s % o for s, o in zip(size, out)):
            raise Unsupported("an adaptive pool of uneven windows or with indices is not translated")
        if set(out) == {1}:
            return b.node(f"Global{kind}", [a["input"]])
        kernel = [s // o for s, o in zip(size, out)]
        return b.node(kind, [a["input"]], kernel_shape=kernel, strides=kernel, pads=[0] * 2 * len(size))
    return add


def mean(b, step, a):
    dims = a["dim"]
    axes = range(a["input"].ndim) if dims is None else spread(dims, 1)
    if a["input"].ndim == 4 and sorted(d % 4 for d in axes) == [2, 3] and a["keepdim"]:
        return b.node("GlobalAveragePool", [a["input"]])
    return b.node("ReduceMean", [a["input"], b.constant(np.array(list(axes), np.int64))],
                  keepdims=int(a["keepdim"]))


def response_norm(b, step, a):
    return b.node("LRN", [a["input"]], size=a["size"], alpha=a["alpha"], beta=a["beta"], bias=a["k"])


def linear(b, step, a):
    if a["weight"].ndim != 2 or a["input"].ndim < 2:
        raise Unsupported("linear of one axis is not translated")
    if a["input"].ndim > 2:
        product = b.node("MatMul", [a["input"], b.node("Transpose", [a["weight"]], perm=[1, 0])])
        return product if a["bias"] is None else b.node("Add", [product, a["bias"]])
    return b.node("Gemm", given(a["input"], a["weight"], a["bias"]), transB=1)


def layer_norm(b, step, a):
    return b.node("LayerNormalization", given(a["input"], a["weight"], a["bias"]),
                  axis=-len(a["normalized_shape"]), epsilon=a["eps"])


def batch_norm(b, step, a):
    if a["training"]:
        raise Unsupported("batch_norm in training is not translated")
    return b.node("BatchNormalization",
                  [a[k] for k in ("input", "weight", "bias", "running_mean", "running_var")],
                  epsilon=a["eps"])


def reshape(b, step, a):
    return b.reshape(a["input"], step.results[0].shape)


def same(b, step, a):
    if a["training"]:
        raise Unsupported(f"{step.name} in training is not translated")
    return b.operand(a["input"])


def plain(kind, **attributes):
    return lambda b, step, a: b.node(kind, [a["input"]], **attributes)


def binary(kind):
    def add(b, step, a):
        if a.get("alpha", 1) != 1 or a.get("rounding_mode"):
            raise Unsupported(f"{step.name} with alpha or rounding is not translated")
        return b.node(kind, [a["input"], a["other"]])
    return add


def clip(low, high):
    return lambda b, step, a: b.node("Clip", [a["input"], b.constant(np.float32(low(a))),
                                              b.constant(np.float32(high(a)))])


def silu(b, step, a):
    return b.node("Mul", [a["input"], b.node("Sigmoid", [a["input"]])])


def leaky_relu(b, step, a):
    return b.node("LeakyRelu", [a["input"]], alpha=float(a["negative_slope"]))


def square(b, step, a):
    return b.node("Mul", [a["input"], a["input"]])


PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(b, step, a):
    pairs = list(zip(a["pad"][::2], a["pad"][1::2]))
    pairs = [(0, 0)] * (a["input"].ndim - len(pairs)) + pairs[::-1]
    widths = np.array([before for before, _ in pairs] + [after for _, after in pairs], np.int64)
    value = [b.constant(np.float32(a["value"] or 0))] if a["mode"] == "constant" else []
    return b.node("Pad", [a["input"], b.constant(widths), *value], mode=PAD_MODES[a["mode"]])


def instance_norm(b, step, a):
    if a["running_mean"] is not None:
        raise Unsupported("instance_norm with running statistics is not translated")
    channels = a["input"].shape[1]
    weight, bias = (b.constant(np.full(channels, start, np.float32)) if a[name] is None else a[name]
                    for name, start in (("weight", 1), ("bias", 0)))
    return b.node("InstanceNormalization", [a["input"], weight, bias], epsilon=a["eps"])


def scaled_tanh(b, step, a):
    return b.node("Mul", [b.node("Tanh", [b.node("Mul", [a["input"], b.operand(2 / 3)])]), b.operand(1.7159)])


def squared_euclidean(b, step, a):
    n, k = a["input"].shape
    difference = b.node("Sub", [b.reshape(a["input"], (n, 1, k)), a["weight"]])
    return b.node("ReduceSumSquare", [difference, b.constant(np.array([-1], np.int64))], keepdims=0)


def softmax(b, step, a):
    return b.node("Softmax", [a["input"]], axis=a["dim"])


def attention(b, step, a):
    """Composed: the operator of ONNX itself is of a later version."""
    if a["dropout_p"] or a["is_causal"] or a["enable_gqa"]:
        raise Unsupported("attention that is causal, grouped or drops weights is not translated")
    n = a["key"].ndim
    keys = b.node("Transpose", [a["key"]], perm=[*range(n - 2), n - 1, n - 2])
    scale = a["query"].shape[-1] ** -0.5 if a["scale"] is None else a["scale"]
    scores = b.node("Mul", [b.node("MatMul", [a["query"], keys]), scale])
    if a["attn_mask"] is not None:
        scores = b.node("Add", [scores, a["attn_mask"]])
    return b.node("MatMul", [b.node("Softmax", [scores], axis=-1), a["value"]])


def split(b, step, a):
    sizes = np.array([r.shape[a["dim"]] for r in step.results], np.int64)
    return b.nodes_of("Split", [a["tensor"], b.constant(sizes)], len(sizes), axis=a["dim"])


def permute(b, step, a):
    return b.node("Transpose", [a["input"]], perm=[d % a["input"].ndim for d in a["dims"]])


def transpose(b, step, a):
    axes = list(range(a["input"].ndim))
    axes[a["dim0"]], axes[a["dim1"]] = axes[a["dim1"]], axes[a["dim0"]]
    return b.node("Transpose", [a["input"]], perm=axes)


def cat(b, step, a):
    return b.node("Concat", list(a["tensors"]), axis=a["dim"])


def getitem(b, step, a):
    """Integers, slices, None and one Ellipsis: a Slice and a Reshape."""
    index = a["index"] if isinstance(a["index"], tuple) else (a["index"],)
    taken = sum(i is not None and i is not Ellipsis for i in index)
    fill = (slice(None),) * (a["input"].ndim - taken)
    where = next((i for i, v in enumerate(index) if v is Ellipsis), len(index))
    starts, ends, axes, steps, axis = [], [], [], [], 0
    for one in (*index[:where], *fill, *index[where + 1:]):
        if one is None:
            continue
        size = a["input"].shape[axis]
        begin, end, stride = one.indices(size) if isinstance(one, slice) else (one % size, one % size + 1, 1)
        if stride < 1:
            raise Unsupported("a slice that goes backwards is not translated")
        if (begin, end, stride) != (0, size, 1):
            starts, ends, axes, steps = [*starts, begin], [*ends, end], [*axes, axis], [*steps, stride]
        axis += 1
    name = b.operand(a["input"])
    if starts:
        name = b.node("Slice",
                      [name, *(b.constant(np.array(v, np.int64)) for v in (starts, ends, axes, steps))])
    return b.reshape(name, step.results[0].shape)


def interpolate(b, step, a):
    modes = {"nearest": ("nearest", "asymmetric"),
             "bilinear": ("linear", "align_corners" if a["align_corners"] else "half_pixel")}
    if a["mode"] not in modes or a["antialias"]:
        raise Unsupported(f"interpolate in mode {a['mode']} is not translated")
    mode, positions = modes[a["mode"]]
    sizes = b.constant(np.array(step.results[0].shape, np.int64))
    return b.node("Resize", [b.operand(a["input"]), "", "", sizes], mode=mode,
                  coordinate_transformation_mode=positions, nearest_mode="floor")


# Functions of one array that ONNX has without attributes
PLAIN = ("relu", "tanh", "sigmoid", "hardswish", "mish", "softplus", "softsign", "exp", "log", "sqrt", "abs",
         "neg", "erf", "reciprocal")
NODES = {
    **{f"conv{n}d": convolution for n in (1, 2, 3)}, **{f"conv_transpose{n}d": transposed for n in (1, 2, 3)},
    **{f"{kind}_pool{n}d": pooling(only(f"{kind}_pool{n}d", "onnx")) for kind in ("max", "avg", "lp")
       for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": adaptive("AveragePool") for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": adaptive("MaxPool") for n in (1, 2, 3)},
    **{f"max_unpool{n}d": unpooling for n in (1, 2, 3)},
    "local_response_norm": response_norm, "linear": linear, "layer_norm": layer_norm,
    "batch_norm": batch_norm, "instance_norm": instance_norm, "softmax": softmax,
    **{name: plain(only(name, "onnx")) for name in PLAIN}, "silu": silu,
    "hardsigmoid": plain(only("hardsigmoid", "onnx"), alpha=1 / 6, beta=0.5),
    "relu6": clip(lambda a: 0, lambda a: 6), "scaled_tanh": scaled_tanh,
    "hardtanh": clip(lambda a: a["min_val"], lambda a: a["max_val"]), "squared_euclidean": squared_euclidean,
    "mean": mean, **{name: binary(only(name, "onnx")) for name in ("add", "sub", "mul", "div")},
    "matmul": lambda b, step, a: b.node("MatMul", [a["input"], a["other"]]),
    "scaled_dot_product_attention": attention, "split": split, "permute": permute, "cat": cat,
    "transpose": transpose,
    "getitem": getitem, "interpolate": interpolate, "leaky_relu": leaky_relu, "square": square, "pad": pad,
    **dict.fromkeys(("flatten", "reshape", "unsqueeze", "squeeze"), reshape),
    **{f"dropout{n}": same for n in ("", "1d", "2d", "3d")},
}


def model(graph: Graph) -> bytes:
    """The serialised model. Raises Unsupported for a call that is not in NODES."""
    b = Builder(graph)
    for step in graph.steps:
        if step.name not in NODES:
            raise Unsupported(f"{step.name} is not translated to ONNX")
        made = NODES[step.name](b, step, step.arguments)
        b.names |= zip((v.name for v in step.results), made if isinstance(made, list) else [made])
    output = b.names[graph.output.name]
    proto = helper.make_graph(
        b.nodes,
        "pyops", [helper.make_tensor_value_info(graph.input.name, TensorProto.FLOAT, graph.input.shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, graph.output.shape)], b.constants)
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", 18)],
                             ir_version=9).SerializeToString()
