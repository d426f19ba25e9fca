"""A recorded graph as an ncnn network: a text of layers and a file of weights. ncnn has no batch
axis: the graph is one of batch 1.

ncnn takes its networks from a converter (pnnx, ncnnoptimize) that folds batch norm into the
convolution before it and gives layers their activation. So does this.
"""
from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pyops.names import only

from .onnx_model import given, spread
from .record import Graph, Unsupported, Value

FLOAT32 = np.zeros(1, np.uint32).tobytes()   # the tag of unquantised weights


@dataclass
class Layer:
    kind: str
    inputs: list[str]
    output: str
    parameters: dict = field(default_factory=dict)
    weight: np.ndarray | None = None              # tagged, filters first
    bias: np.ndarray | None = None
    more: tuple[np.ndarray, ...] = ()             # untagged

    @property
    def data(self) -> bytes:
        tagged = b"" if self.weight is None else FLOAT32 + np.ascontiguousarray(self.weight).tobytes()
        return tagged + b"".join(np.ascontiguousarray(v).tobytes() for v in (*given(self.bias), *self.more))

    @property
    def shown(self) -> dict:
        """The parameters, with those that follow from the weights."""
        if self.weight is None:
            return self.parameters
        bias, size = (1, 2) if self.kind == "InnerProduct" else (5, 6)
        return {**self.parameters, bias: int(self.bias is not None), size: self.weight.size}


def per_axis(key: int, values) -> dict[int, int]:
    """ncnn's parameters of the axes w, h, d: key, key + 10, key + 20."""
    return {key + 10 * i: v for i, v in enumerate(reversed(values))}


class Builder:
    """Layers so far; which blob and which layer hold each value of the graph."""

    def __init__(self, graph: Graph):
        self.constants, self.consumers = graph.constants, graph.consumers()
        self.layers: list[Layer] = []
        self.blobs = {graph.input.name: "x"}
        self.makers: dict[str, Layer] = {}

    def array(self, value: Value | None) -> np.ndarray | None:
        if value is None:
            return None
        if value.name not in self.constants:
            raise Unsupported("weights that are computed from the input are not translated to ncnn")
        return self.constants[value.name]

    def layer(self, kind: str, inputs, parameters: dict | None = None, **more) -> Layer:
        names = [v if isinstance(v, str) else self.blobs[v.name] for v in inputs]
        self.layers.append(Layer(kind, names, f"b{len(self.layers)}", parameters or {}, **more))
        return self.layers[-1]

    def absorbs(self, value: Value) -> Layer | None:
        """The layer with weights that made `value` for nobody else, and has no activation yet."""
        maker = self.makers.get(value.name)
        alone = self.consumers.get(value.name, 0) == 1
        return (maker if maker is not None and alone and maker.weight is not None
                and 9 not in maker.parameters else None)

    def text(self, output: Value) -> tuple[str, bytes]:
        """The network's text and weights. A blob is read once in ncnn: what is read more
        often passes a Split."""
        readers: dict[str, int] = {}
        for layer in self.layers:
            for name in layer.inputs:
                readers[name] = readers.get(name, 0) + 1
        lines, blobs, seen = [], 0, dict.fromkeys(readers, 0)

        def put(kind, name, inputs, outputs, parameters=""):
            nonlocal blobs
            blobs += len(outputs)
            lines.append(" ".join([kind, name, str(len(inputs)), str(len(outputs)), *inputs, *outputs,
                                   parameters]))

        def split(name):
            if readers.get(name, 0) > 1:
                put("Split", f"{name}_s", [name], [f"{name}_{i}" for i in range(readers[name])])

        def read(name):
            if readers[name] == 1:
                return name
            seen[name] += 1
            return f"{name}_{seen[name] - 1}"
        put("Input", "x", [], ["x"])
        split("x")
        for layer in self.layers:
            put(layer.kind, layer.output, [read(n) for n in layer.inputs], [layer.output],
                " ".join(map(shown, layer.shown.items())))
            split(layer.output)
        head = ["7767517", f"{len(lines)} {blobs}"]
        return "\n".join([*head, *lines, ""]), b"".join(layer.data for layer in self.layers)


def shown(item) -> str:
    """key=value; an array's key is -23300 - key, its value starts with the length."""
    key, value = item
    return (f"{-23300 - key}={len(value)}," + ",".join(map(str, value)) if isinstance(value, tuple)
            else f"{key}={value}")


def convolution(b, step, a):
    n, groups = a["weight"].ndim - 2, a["groups"]
    if isinstance(a["padding"], str):
        raise Unsupported("padding by name is not translated to ncnn")
    parameters = {0: a["weight"].shape[0], **per_axis(1, a["weight"].shape[2:]),
                  **per_axis(2, spread(a["dilation"], n)),
                  **per_axis(3, spread(a["stride"], n)), **per_axis(4, spread(a["padding"], n))}
    if groups > 1:
        parameters[7] = groups
    kind = "Convolution" + ("DepthWise" if groups > 1 else "") + {1: "1D", 2: "", 3: "3D"}[n]
    return b.layer(kind, [a["input"]], parameters, weight=b.array(a["weight"]), bias=b.array(a["bias"]))


def transposed(b, step, a):
    weight, groups = b.array(a["weight"]), a["groups"]
    if weight.ndim != 4:
        raise Unsupported(f"{step.name} is not translated to ncnn")
    filters = weight.shape[1] * groups
    parameters = {0: filters, **per_axis(1, weight.shape[2:]), **per_axis(2, spread(a["dilation"], 2)),
                  **per_axis(3, spread(a["stride"], 2)), **per_axis(4, spread(a["padding"], 2))}
    down, right = spread(a["output_padding"], 2)
    parameters |= {18: right, 19: down}
    if groups > 1:
        parameters[7] = groups
    own = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(filters, -1, *weight.shape[2:])
    return b.layer("Deconvolution" + ("DepthWise" if groups > 1 else ""), [a["input"]], parameters,
                   weight=own, bias=b.array(a["bias"]))


def pooling(b, step, a):
    n, divisor = int(step.name[-2]), a.get("divisor_override")
    padding = spread(a["padding"], n)
    if a.get("return_indices") or spread(a.get("dilation", 1),
                                         n) != [1] * n or divisor and (any(padding) or a["ceil_mode"]):
        raise Unsupported(
            f"{step.name} with indices, dilation, or a divisor beside padding is not translated to ncnn")
    kernel = spread(a["kernel_size"], n)
    stride = spread(kernel if a["stride"] in (None, ()) else a["stride"], n)
    parameters = {0: int(step.name.startswith("avg")), **per_axis(1, kernel), **per_axis(2, stride),
                  **per_axis(3, padding), 5: 0 if a["ceil_mode"] else 1}
    if parameters[0]:
        parameters[6] = int(a["count_include_pad"])
    pooled = b.layer("Pooling" + {1: "1D", 2: "", 3: "3D"}[n], [a["input"]], parameters)
    return number(b, 2, pooled.output, math.prod(kernel) / divisor) if divisor else pooled


def adaptive(b, step, a):
    size, out = a["input"].shape[2:], step.results[0].shape[2:]
    if out == size:
        return None
    if len(size) != 2 or a.get("return_indices"):
        raise Unsupported(f"{step.name} is not translated to ncnn")
    average = int("avg" in step.name)
    if out == (1, 1):
        return b.layer("Pooling", [a["input"]], {0: average, 4: 1})
    return b.layer("Pooling", [a["input"]], {0: average, 7: 1, **per_axis(8, out)})


def mean(b, step, a):
    if a["input"].ndim != 4 or a["dim"] is None or sorted(d % 4 for d in spread(a["dim"], 1)) != [2, 3]:
        raise Unsupported("a mean of other axes than the image's is not translated to ncnn")
    return b.layer("Pooling", [a["input"]], {0: 1, 4: 1})


def linear(b, step, a):
    if a["input"].ndim != 2:
        raise Unsupported("linear of other than two axes is not translated to ncnn")
    return b.layer("InnerProduct", [a["input"]], {0: a["weight"].shape[0]}, weight=b.array(a["weight"]),
                   bias=b.array(a["bias"]))


def batch_norm(b, step, a):
    if a["training"]:
        raise Unsupported("batch_norm in training is not translated")
    gain, shift, average, variance = (b.array(a[k])
                                      for k in ("weight", "bias", "running_mean", "running_var"))
    gain = np.ones_like(average) if gain is None else gain
    shift = np.zeros_like(average) if shift is None else shift
    before = b.absorbs(a["input"])
    if before is None or before.kind == "InnerProduct":
        return b.layer("BatchNorm", [a["input"]], {0: average.size, 1: a["eps"]},
                       more=(gain, average, variance, shift))
    scale = gain.astype(np.float64) / np.sqrt(variance.astype(np.float64) + a["eps"])
    before.weight = (before.weight * scale.reshape(-1, *[1] * (before.weight.ndim - 1))).astype(np.float32)
    before.bias = ((0 if before.bias is None else before.bias - average.astype(np.float64)) * scale + shift
                   - (average * scale if before.bias is None else 0)).astype(np.float32)
    return before


def response_norm(b, step, a):
    return b.layer("LRN", [a["input"]], {0: 0, 1: a["size"], 2: a["alpha"], 3: a["beta"], 4: a["k"]})


def activation(kind: str, fused: int | None = None, values: Callable = lambda a: ()):
    """A layer `kind` with parameters 0, 1, ... from `values(arguments)`, or the activation `fused`
    of the layer before."""
    def add(b, step, a):
        before = b.absorbs(a["input"])
        if fused is None or before is None:
            return b.layer(kind, [a["input"]], dict(enumerate(values(a))))
        before.parameters[9] = fused
        if values(a):
            before.parameters[10] = tuple(map(float, values(a)))
        return before
    return add


def number(b, operation, blob, value):
    return b.layer("BinaryOp", [blob], {0: operation, 1: 1, 2: float(value)})


def binary(operation):
    def add(b, step, a):
        x, y = a["input"], a["other"]
        if a.get("alpha", 1) != 1 or a.get("rounding_mode") or not isinstance(x, Value):
            raise Unsupported(
                f"{step.name} of a number first, with alpha or rounding is not translated to ncnn")
        if not isinstance(y, Value):
            return number(b, operation, b.blobs[x.name], y)
        if y.name in b.constants:
            held = b.array(y)
            if held.ndim != 3 or held.shape[1:] != (1, 1):
                raise Unsupported(
                    f"{step.name} with an array that is not one value a channel is not translated to ncnn")
            memory = b.layer("MemoryData", [], {0: held.size}, more=(held,))
            return b.layer("BinaryOp", [b.blobs[x.name], memory.output], {0: operation})
        return b.layer("BinaryOp", [x, y], {0: operation})
    return add


def scaled_tanh(b, step, a):
    inner = number(b, 2, b.blobs[a["input"].name], 2 / 3)
    return number(b, 2, b.layer("TanH", [inner.output]).output, 1.7159)


def cat(b, step, a):
    dim = a["dim"] % step.results[0].ndim
    if not dim:
        raise Unsupported("ncnn has no batch to join along")
    return b.layer("Concat", list(a["tensors"]), {0: dim - 1})


def softmax(b, step, a):
    dim = a["dim"] % a["input"].ndim
    if not dim:
        raise Unsupported("ncnn has no batch axis")
    return b.layer("Softmax", [a["input"]], {0: dim - 1, 1: 1})


def interpolate(b, step, a):
    modes = {"nearest": 1, "bilinear": 2}
    if a["mode"] not in modes or a["antialias"]:
        raise Unsupported(f"interpolate in mode {a['mode']} is not translated to ncnn")
    height, width = step.results[0].shape[2:]
    return b.layer("Interp", [a["input"]],
                   {0: modes[a["mode"]], 3: height, 4: width, 6: int(bool(a["align_corners"]))})


def flatten(b, step, a):
    if a["input"].shape[0] != step.results[0].shape[0] or step.results[0].ndim != 2:
        raise Unsupported(f"{step.name} to {step.results[0].shape} is not translated to ncnn")
    return b.layer("Flatten", [a["input"]])


def nothing(b, step, a):
    if a["training"]:
        raise Unsupported(f"{step.name} in training is not translated")
    return None


NAMED = {"leaky_relu": "ReLU", "mish": "Mish"}   # layers that ncnn calls otherwise than its converter
# The number of the activation that a layer before takes in, and the parameters
ACTIVATIONS = {"relu": (1,), "tanh": (), "sigmoid": (4,), "silu": (), "relu6": (3, lambda a: (0, 6)),
               "leaky_relu": (2, lambda a: (a["negative_slope"],)), "mish": (5,),
               "hardtanh": (3, lambda a: (a["min_val"], a["max_val"])),
               "hardswish": (6, lambda a: (1 / 6, 0.5)), "hardsigmoid": (None, lambda a: (1 / 6, 0.5))}
LAYERS = {**{f"conv{n}d": convolution for n in (1, 2, 3)},
          **{f"{kind}_pool{n}d": pooling for kind in ("max", "avg") for n in (1, 2, 3)},
          "conv_transpose2d": transposed, "adaptive_avg_pool2d": adaptive, "adaptive_max_pool2d": adaptive,
          "mean": mean, "local_response_norm": response_norm, "linear": linear, "batch_norm": batch_norm,
          **{name: activation(NAMED.get(name) or only(name, "ncnn"), *how) for name, how in ACTIVATIONS.items()},
          "scaled_tanh": scaled_tanh, "add": binary(0), "sub": binary(1), "mul": binary(2), "div": binary(3),
          "cat": cat, "softmax": softmax, "interpolate": interpolate, "flatten": flatten, "reshape": flatten,
          **{f"dropout{n}": nothing for n in ("", "1d", "2d", "3d")},}


def network(graph: Graph) -> tuple[str, bytes, str]:
    """The text, the weights, and the name of the result's blob."""
    if graph.input.shape[0] != 1:
        raise Unsupported("ncnn has no batch axis")
    graph = graph.folded()
    b = Builder(graph)
    for step in graph.steps:
        if step.name not in LAYERS:
            raise Unsupported(f"{step.name} is not translated to ncnn")
        a, result = step.arguments, step.results[0].name
        layer = LAYERS[step.name](b, step, a)
        b.blobs[result] = b.blobs[a["input"].name] if layer is None else layer.output
        if layer is not None:
            b.makers[result] = layer
    return (*b.text(graph.output), b.blobs[graph.output.name])


def write(graph: Graph, folder: Path) -> None:
    """net.param and net.bin as ncnn reads them, and net.output, the name of the result's blob."""
    text, weights, last = network(graph)
    (folder / "net.param").write_text(text)
    (folder / "net.bin").write_bytes(weights)
    (folder / "net.output").write_text(last)


def in_float32(option: Any, threads: int) -> None:
    """Sets an ncnn.Option: everything in float32, layers packed and Winograd where ncnn wants them."""
    option.num_threads = threads
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(option, name, False)
    for name in ("use_packing_layout", "use_winograd_convolution", "use_sgemm_convolution", "lightmode"):
        setattr(option, name, True)


def load(folder: Path, threads: int) -> Callable[[list[np.ndarray]], Callable[[], list[np.ndarray]]]:
    """bind(samples) -> run() -> results. Everything in float32; layers packed and Winograd where
    ncnn wants them, its defaults."""
    import ncnn
    net = ncnn.Net()
    in_float32(net.opt, threads)
    if net.load_param(str(folder / "net.param")) or net.load_model(str(folder / "net.bin")):
        raise Unsupported("ncnn does not load the network")
    last = (folder / "net.output").read_text()

    def bind(samples):
        # a layer that works in place crashes on memory that is not ncnn's
        mats = [ncnn.Mat(sample).clone() for sample in samples]

        def run():
            results = []
            for mat in mats:
                extractor = net.create_extractor()
                extractor.input("x", mat)
                failed, result = extractor.extract(last)
                if failed:
                    raise Unsupported("ncnn refused to run the network")
                results.append(np.asarray(result))
            return results
        return run
    return bind


def prepare(graph: Graph, x: np.ndarray, threads: int) -> Callable[[], np.ndarray]:
    """A function of no arguments that computes the graph's result for x."""
    with tempfile.TemporaryDirectory() as folder:
        write(graph, Path(folder))
        bind = load(Path(folder), threads)
    run = bind(list(x))
    return lambda: np.stack(run()).reshape(graph.output.shape)
