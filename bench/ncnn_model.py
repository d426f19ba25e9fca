"""Recorded calls as an ncnn network: a text of layers and a file of weights. ncnn has no batch axis, so batch 1 only."""
from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from .onnx_model import arguments, spread
from .peers import Unsupported
from .record import address

FLOAT32 = np.zeros(1, np.uint32).tobytes()   # the tag of unquantised weights


def per_axis(key: int, values) -> dict[int, int]:
    """ncnn's parameters of the axes w, h, d: key, key + 10, key + 20."""
    return {key + 10 * i: v for i, v in enumerate(reversed(values))}


def convolution(call, a):
    n, groups = a["weight"].ndim - 2, a["groups"]
    if isinstance(a["padding"], str):
        raise Unsupported("padding by name is not translated to ncnn")
    parameters = {0: a["weight"].shape[0], **per_axis(1, a["weight"].shape[2:]), **per_axis(2, spread(a["dilation"], n)),
                  **per_axis(3, spread(a["stride"], n)), **per_axis(4, spread(a["padding"], n)),
                  5: int(a["bias"] is not None), 6: a["weight"].size}
    if groups > 1:
        parameters[7] = groups
    kind = "Convolution" + ("DepthWise" if groups > 1 else "") + {1: "1D", 2: "", 3: "3D"}[n]
    return kind, parameters, FLOAT32 + a["weight"].tobytes() + (b"" if a["bias"] is None else a["bias"].tobytes())


def pooling(call, a):
    n = int(call.name[-2])
    if a.get("return_indices") or a.get("divisor_override") or spread(a.get("dilation", 1), n) != [1] * n:
        raise Unsupported(f"{call.name} with indices, a divisor or dilation is not translated to ncnn")
    kernel = spread(a["kernel_size"], n)
    stride = spread(kernel if a["stride"] in (None, ()) else a["stride"], n)
    parameters = {0: int(call.name.startswith("avg")), **per_axis(1, kernel), **per_axis(2, stride),
                  **per_axis(3, spread(a["padding"], n)), 5: 0 if a["ceil_mode"] else 1}
    if parameters[0]:
        parameters[6] = int(a["count_include_pad"])
    return "Pooling" + {1: "1D", 2: "", 3: "3D"}[n], parameters, b""


def linear(call, a):
    bias = a["bias"]
    parameters = {0: a["weight"].shape[0], 1: int(bias is not None), 2: a["weight"].size}
    return "InnerProduct", parameters, FLOAT32 + a["weight"].tobytes() + (b"" if bias is None else bias.tobytes())


def response_norm(call, a):
    return "LRN", {0: 0, 1: a["size"], 2: a["alpha"], 3: a["beta"], 4: a["k"]}, b""


def adaptive_average(call, a):
    if call.result.shape != a["input"].shape:
        raise Unsupported("adaptive pooling is not translated to ncnn")
    return None


LAYERS = {
    **{f"conv{n}d": convolution for n in (1, 2, 3)}, **{f"{kind}_pool{n}d": pooling for kind in ("max", "avg") for n in (1, 2, 3)},
    "adaptive_avg_pool2d": adaptive_average, "local_response_norm": response_norm, "linear": linear,
    "relu": lambda call, a: ("ReLU", {}, b""), "tanh": lambda call, a: ("TanH", {}, b""),
    "flatten": lambda call, a: ("Flatten", {}, b""), "dropout": lambda call, a: None,
}


def network(calls) -> tuple[str, bytes]:
    """The text and the weights. The calls must be a chain."""
    lines, weights, last = ["Input x 0 1 x"], b"", "x"
    previous = None
    for call in calls:
        if call.name not in LAYERS:
            raise Unsupported(f"{call.name} is not translated to ncnn")
        a = arguments(call)
        if a["input"].shape[0] != 1 or previous is not None and address(previous) != address(a["input"]):
            raise Unsupported("ncnn is given chains at batch 1 only")
        layer = LAYERS[call.name](call, a)
        previous = call.result
        if layer is not None:
            kind, parameters, data = layer
            name = f"v{len(lines)}"
            lines.append(f"{kind} {name} 1 1 {last} {name} " + " ".join(f"{k}={v}" for k, v in parameters.items()))
            weights, last = weights + data, name
    return "\n".join(["7767517", f"{len(lines)} {len(lines)}", *lines, ""]), weights


def prepare(calls, x, threads):
    import ncnn
    text, weights = network(calls)
    net = ncnn.Net()
    net.opt.num_threads = threads
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, option, False)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("net.param", text.encode()), ("net.bin", weights)):
            (Path(folder) / name).write_bytes(content)
        if net.load_param(str(Path(folder) / "net.param")) or net.load_model(str(Path(folder) / "net.bin")):
            raise Unsupported("ncnn does not load the network")
    last = text.splitlines()[-1].split()[1]
    given, shape = ncnn.Mat(x[0]).clone(), calls[-1].result.shape   # a layer that works in place crashes on memory that is not ncnn's

    def run():
        extractor = net.create_extractor()
        extractor.input("x", given)
        failed, result = extractor.extract(last)
        if failed:
            raise Unsupported(f"ncnn's {text.splitlines()[-1].split()[0]} refused")
        return np.asarray(result).reshape(shape)
    return run
