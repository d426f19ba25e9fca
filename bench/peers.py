"""The libraries to compare with. Each is given recorded calls and an input, and returns a function of no arguments that computes
the same result with a given number of threads, in float32, from data already in its own form.

torch runs the calls one by one, as eager code does. The others get a graph with the weights as constants, as they want to be used:
they may repack weights and choose layouts before the clock starts.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import numpy as np

from .record import Call, address


class Unsupported(Exception):
    """The peer has no such op; the message says which."""


def torch(calls: list[Call], x: np.ndarray, threads: int) -> Callable[[], np.ndarray]:
    import torch
    torch.set_num_threads(threads)
    tensors: dict = {}

    def tensor(array):
        """The tensor on the same memory; a reshaped array is a view of the tensor that its memory belongs to."""
        return tensors.setdefault(address(array), torch.from_numpy(array))

    own = {   # functions of ours that torch spells otherwise
        "scaled_tanh": lambda x: 1.7159 * torch.tanh(x * (2 / 3)),
        "rbf": lambda x, centres: ((x[:, None] - centres) ** 2).sum(-1),
    }

    def find(name):
        if name in own:
            return own[name]
        for home in (torch.nn.functional, torch, torch.special):
            if hasattr(home, name):
                return getattr(home, name)
        raise Unsupported(f"torch has no {name}")

    if len(calls) == 1:
        call = calls[0]
        args, kwargs = convert(call.args, tensor), convert(call.kwargs, tensor)
        return partial(find(call.name), *args, **kwargs)

    steps, made = [], {address(x)}
    constants = {}
    for call in calls:
        def place(array):
            where = address(array)
            if where not in made:
                constants[where] = torch.from_numpy(array)
            return Slot(where, array.shape)
        steps.append((find(call.name), convert(call.args, place), convert(call.kwargs, place), address(call.result)))
        made.add(address(call.result))

    def run():
        values = {**constants, address(x): torch.from_numpy(x)}

        def fill(slot):
            value = values[slot.where]
            return value if value.shape == slot.shape else value.reshape(slot.shape)
        for function, args, kwargs, result in steps:
            last = values[result] = function(*convert(args, fill, Slot), **convert(kwargs, fill, Slot))
        return last
    return run


class Slot:
    """Where a step finds an argument: which array's memory, and in which shape."""

    def __init__(self, where, shape):
        self.where, self.shape = where, shape


def convert(value, change, kind=np.ndarray):
    """`value` with change(v) for every v of `kind`, through tuples, lists and dicts."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        return {k: convert(v, change, kind) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(convert(v, change, kind) for v in value)
    return value


def onnxruntime(calls, x, threads):
    import onnxruntime as ort

    from .onnx_model import model
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.force_spinning_stop", "1")   # its idle threads would take the next one's cores
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model(calls, x), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise Unsupported(str(error).splitlines()[0]) from error
    feed = {session.get_inputs()[0].name: x}
    return lambda: session.run(None, feed)[0]


def openvino(calls, x, threads):
    import openvino as ov

    from .onnx_model import model
    # Without the hint it computes in bfloat16 on CPUs that have it.
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    try:
        core = ov.Core()
        compiled = core.compile_model(core.read_model(model(calls, x)), "CPU", config)
    except RuntimeError as error:
        raise Unsupported(str(error).strip().splitlines()[-1]) from error
    request, tensor = compiled.create_infer_request(), ov.Tensor(x, shared_memory=True)
    request.set_input_tensor(tensor)

    def run():
        request.infer()
        return request.get_output_tensor(0).data
    return run


def ncnn(calls, x, threads):
    from .ncnn_model import prepare
    return prepare(calls, x, threads)


PEERS = {"torch": torch, "onnxruntime": onnxruntime, "openvino": openvino, "ncnn": ncnn}
NEEDS = {"torch": ("torch",), "onnxruntime": ("onnxruntime", "onnx"), "openvino": ("openvino", "onnx"), "ncnn": ("ncnn",)}


def missing(peer: str) -> list[str]:
    """Packages that the peer needs and that are not installed."""
    return [package for package in NEEDS[peer] if find_spec(package) is None]


def as_array(result) -> np.ndarray:
    """A peer's result as an array; of several results the first."""
    if isinstance(result, (tuple, list)):
        result = result[0]
    return np.asarray(result)
