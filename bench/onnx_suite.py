"""An ONNX file beside ONNX Runtime and OpenVINO: one process, the same random inputs, calls in
turn."""
from __future__ import annotations

import time
from importlib.util import find_spec

import numpy as np

import pyops

from .peers import IN_FLOAT32


def run(path: str, threads: int | None, quick: bool, shapes: dict | None = None,
        processor_time: bool = False) -> str:
    """A line a library: milliseconds of a call, shortest and median, how many times ours theirs is,
    and how far apart the answers are. processor_time: of all threads together, which others that
    compute change little; with one thread it is the time of the call."""
    from pyops.onnx.program import parsed, random_inputs
    model, threads = parsed(path), threads or pyops.get_num_threads()
    inputs = random_inputs(model, shapes or {})
    calls = {"pyops": ours(path, inputs, threads)}
    calls |= {name: make(path, inputs, threads) for name, make in PEERS.items() if find_spec(name)}
    answers = {name: [np.asarray(a) for a in call()] for name, call in calls.items()}
    seconds = {name: [] for name in calls}
    clock = time.process_time if processor_time else time.perf_counter
    end = clock() + (2 if quick else 20)
    while clock() < end or len(seconds["pyops"]) < 3:
        for name, call in calls.items():
            start = clock()
            call()
            seconds[name].append(clock() - start)
    of = ", processor time" if processor_time else ""
    lines = [f"{path}, {threads} threads{of}, {len(seconds['pyops'])} rounds",
             f"{'library':<14}{'shortest ms':>12}{'median ms':>12}{'ratio':>8}{'difference':>12}"]
    for name, times in seconds.items():
        off = max(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)
                  for a, b in zip(answers["pyops"], answers[name]))
        ratio = min(times) / min(seconds["pyops"])
        lines.append(
            f"{name:<14}{min(times) * 1e3:>12.3f}{np.median(times) * 1e3:>12.3f}{ratio:>8.2f}{off:>12.0e}")
    return "\n".join(lines)


def ours(path, inputs, threads):
    program = pyops.onnx.load(path, shapes={n: a.shape for n, a in inputs.items()}, threads=threads)

    def call():
        results = program(*inputs.values())
        return results if isinstance(results, tuple) else (results,)
    return call


def onnxruntime(path, inputs, threads):
    import onnxruntime as runtime
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)


def openvino(path, inputs, threads):
    import openvino as library
    core = library.Core()
    network = core.read_model(path)
    network.reshape({n: list(a.shape) for n, a in inputs.items()})
    request = core.compile_model(network, "CPU",
                                 {**IN_FLOAT32, "INFERENCE_NUM_THREADS": threads,
                                  "PERFORMANCE_HINT": "LATENCY"}).create_infer_request()
    return lambda: list(request.infer(inputs).values())


PEERS = {"onnxruntime": onnxruntime, "openvino": openvino}
