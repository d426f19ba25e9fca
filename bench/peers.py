"""The libraries to compare with, call by call. Each is given a recorded graph and an input, and
returns a function of no arguments that computes the same result with a given number of threads, in
float32, from data already in its own form.

torch runs eagerly. The others get a graph with the weights as constants, as they want to be used:
they may repack weights and choose layouts before the clock starts. Whole networks run in processes
of their own (runners.py).
"""
from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from .record import Graph, Unsupported


def torch(graph: Graph, x: np.ndarray, threads: int) -> Callable:
    import torch

    from .torch_model import module, single
    torch.set_num_threads(threads)
    if len(graph.steps) == 1:
        return single(graph, x)
    run, tensor = module(graph), torch.from_numpy(x)
    return lambda: run(tensor)


def onnxruntime(graph: Graph, x: np.ndarray, threads: int) -> Callable:
    from .onnx_model import model
    return onnxruntime_session(model(graph), threads)(x)


def onnxruntime_session(model: bytes | Path, threads: int) -> Callable[[np.ndarray], Callable]:
    """bind(x) -> run() of an ONNX model."""
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # its idle threads would take the next one's cores
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model if isinstance(model, bytes) else str(model), options,
                                       providers=["CPUExecutionProvider"])
    except Exception as error:
        raise Unsupported(str(error).splitlines()[0]) from error

    def bind(x):
        feed = {session.get_inputs()[0].name: x}
        return lambda: session.run(None, feed)[0]
    return bind


def openvino(graph: Graph, x: np.ndarray, threads: int) -> Callable:
    from .onnx_model import model
    return openvino_model(model(graph), threads)(x)


# Without these it computes in bfloat16 on CPUs that have it, and rounds to bytes what meets weights of 8 bits.
IN_FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}


def openvino_model(model: bytes | Path, threads: int) -> Callable[[np.ndarray], Callable]:
    """bind(x) -> run() of an ONNX model."""
    import openvino as ov

    config = {**IN_FLOAT32, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    try:
        core = ov.Core()
        compiled = core.compile_model(core.read_model(model if isinstance(model, bytes) else str(model)),
                                      "CPU", config)
    except RuntimeError as error:
        raise Unsupported(str(error).strip().splitlines()[-1]) from error
    request = compiled.create_infer_request()

    def bind(x):
        request.set_input_tensor(ov.Tensor(x, shared_memory=True))

        def run(alive=(core, compiled, x)):   # the request keeps none of them
            request.infer()
            return request.get_output_tensor(0).data
        return run
    return bind


def ncnn(graph: Graph, x: np.ndarray, threads: int) -> Callable:
    from .ncnn_model import prepare
    return prepare(graph, x, threads)


PEERS = {"torch": torch, "onnxruntime": onnxruntime, "openvino": openvino, "ncnn": ncnn}
NEEDS = {"torch": ("torch",), "onnxruntime": ("onnxruntime", "onnx"), "openvino": ("openvino", "onnx"),
         "ncnn": ("ncnn",)}


def missing(peer: str) -> list[str]:
    """Packages that the peer needs and that are not installed."""
    return [package for package in NEEDS[peer] if find_spec(package) is None]


def as_array(result) -> np.ndarray:
    """A peer's result as an array; of several results the first."""
    if isinstance(result, (tuple, list)):
        result = result[0]
    return np.asarray(result)
