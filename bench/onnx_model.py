"""Recorded calls as an ONNX model: what ONNX Runtime and OpenVINO are given. Weights are constants, the first input is the only one."""
from __future__ import annotations

import inspect

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import pyops.functional as F

from .peers import Unsupported
from .record import Call, address


def arguments(call: Call) -> dict:
    """The call's arguments by name, defaults included."""
    bound = inspect.signature(getattr(F, call.name)).bind(*call.args, **call.kwargs)
    bound.apply_defaults()
    return bound.arguments


class Graph:
    """Nodes and constants so far, and the name and shape of the value that lives at an array's address."""

    def __init__(self, x: np.ndarray):
        self.nodes, self.constants, self.names = [], [], {address(x): ("x", x.shape)}

    def constant(self, array) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def value(self, array: np.ndarray) -> str:
        if address(array) not in self.names:
            self.names[address(array)] = (self.constant(array), array.shape)
        name, shape = self.names[address(array)]
        if shape != array.shape:
            name = self.node("Reshape", [name, self.constant(np.array(array.shape, np.int64))])
        return name

    def node(self, kind: str, inputs: list[str], **attributes) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name


def spread(value, n) -> list[int]:
    return [value] * n if isinstance(value, int) else list(value) * (n if len(value) == 1 else 1)


def convolution(graph, call, a):
    n = a["weight"].ndim - 2
    padding = a["padding"]
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(spread(a["dilation"], n), a["weight"].shape[2:])]
        pads = [t // 2 for t in total] + [t - t // 2 for t in total]
    else:
        pads = 2 * spread(0 if padding == "valid" else padding, n)
    inputs = [graph.value(v) for v in (a["input"], a["weight"], a["bias"]) if v is not None]
    return graph.node("Conv", inputs, group=a["groups"], pads=pads, strides=spread(a["stride"], n), dilations=spread(a["dilation"], n))


def pooling(kind):
    def add(graph, call, a):
        if a.get("return_indices") or a.get("divisor_override"):
            raise Unsupported(f"{call.name} with indices or a divisor is not translated")
        n = int(call.name[-2])
        kernel = spread(a["kernel_size"], n)
        attributes = {"kernel_shape": kernel, "ceil_mode": int(a["ceil_mode"]), "pads": 2 * spread(a.get("padding", 0), n),
                      "strides": spread(kernel if a["stride"] in (None, ()) else a["stride"], n)}
        if kind == "AveragePool":
            attributes["count_include_pad"] = int(a["count_include_pad"])
        if kind == "MaxPool":
            attributes["dilations"] = spread(a["dilation"], n)
        if kind == "LpPool":
            attributes["p"] = int(a["norm_type"])   # it takes |x| where torch does not: the same for even p
        return graph.node(kind, [graph.value(a["input"])], **attributes)
    return add


def adaptive_average(graph, call, a):
    size, n = a["input"].shape[2:], a["input"].ndim - 2
    out = call.result.shape[2:]
    if out == size:
        return graph.value(a["input"])
    if any(s % o for s, o in zip(size, out)):
        raise Unsupported("an adaptive pool of uneven windows is not translated")
    kernel = [s // o for s, o in zip(size, out)]
    return graph.node("AveragePool", [graph.value(a["input"])], kernel_shape=kernel, strides=kernel, pads=[0] * 2 * n)


def response_norm(graph, call, a):
    return graph.node("LRN", [graph.value(a["input"])], size=a["size"], alpha=a["alpha"], beta=a["beta"], bias=a["k"])


def linear(graph, call, a):
    inputs = [graph.value(v) for v in (a["input"], a["weight"], a["bias"]) if v is not None]
    return graph.node("Gemm", inputs, transB=1)


def layer_norm(graph, call, a):
    inputs = [graph.value(v) for v in (a["input"], a["weight"], a["bias"]) if v is not None]
    return graph.node("LayerNormalization", inputs, axis=-len(a["normalized_shape"]), epsilon=a["eps"])


def batch_norm(graph, call, a):
    if a["training"]:
        raise Unsupported("batch_norm in training is not translated")
    inputs = [graph.value(a[k]) for k in ("input", "weight", "bias", "running_mean", "running_var")]
    return graph.node("BatchNormalization", inputs, epsilon=a["eps"])


def reshape(graph, call, a):
    return graph.value(call.result)


def same(graph, call, a):
    if call.name == "dropout" and a["training"]:
        raise Unsupported("dropout in training is not translated")
    return graph.value(a["input"])


def plain(kind, **attributes):
    """Every array argument is an input, in order."""
    def add(graph, call, a):
        return graph.node(kind, [graph.value(v) for v in call.args if isinstance(v, np.ndarray)], **attributes)
    return add


def softmax(graph, call, a):
    return graph.node("Softmax", [graph.value(a["input"])], axis=a["dim"])


NODES = {
    **{f"conv{n}d": convolution for n in (1, 2, 3)}, **{f"max_pool{n}d": pooling("MaxPool") for n in (1, 2, 3)},
    **{f"avg_pool{n}d": pooling("AveragePool") for n in (1, 2, 3)}, **{f"lp_pool{n}d": pooling("LpPool") for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": adaptive_average for n in (1, 2, 3)}, "local_response_norm": response_norm, "linear": linear,
    "layer_norm": layer_norm, "batch_norm": batch_norm, "softmax": softmax, "relu": plain("Relu"), "tanh": plain("Tanh"),
    "sigmoid": plain("Sigmoid"), "add": plain("Add"), "mul": plain("Mul"), "matmul": plain("MatMul"), "flatten": reshape,
    "reshape": reshape, "dropout": same,
}


def model(calls: list[Call], x: np.ndarray) -> bytes:
    """The serialised model. Raises Unsupported for a call that is not in NODES."""
    graph = Graph(x)
    for call in calls:
        if call.name not in NODES:
            raise Unsupported(f"{call.name} is not translated to ONNX")
        result = call.result[0] if isinstance(call.result, tuple) else call.result
        if not (call.name in ("flatten", "reshape") and address(result) in graph.names):
            graph.names[address(result)] = (NODES[call.name](graph, call, arguments(call)), result.shape)
    output = graph.value(result)
    proto = helper.make_graph(graph.nodes, "pyops", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
                              [helper.make_tensor_value_info(output, TensorProto.FLOAT, result.shape)], graph.constants)
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
