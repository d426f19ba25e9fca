"""Whole networks as files: the weights, an input, the answer in float64, and the graph in the form
that each library reads.

    python -m pyops.bench.networks NAME BATCHES FOLDER      # BATCHES as in 1,8

Weights are drawn from a fixed seed. Batch norm gets factors that are not all one and the statistics
of a batch, so that values stay in the range of a trained network's: neither overflow nor denormal
numbers, on which every library is slow.
"""
from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import pyops
from pyops import models, nn, no_grad

from . import record
from .record import Unsupported
from .shapes import NETWORKS

CALIBRATION = 4   # images whose statistics batch norm gets


def built(name: str) -> nn.Module:
    """The network as the comparison uses it, weights drawn unless within nn.init.skip_draws()."""
    return getattr(models, NETWORKS[name].function or name)(**NETWORKS[name].settings)


def images(name: str, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *NETWORKS[name].image)).astype(np.float32)


def drawn(name: str) -> nn.Module:
    """The network with its weights, in evaluation mode: the same, bit for bit, in every
    process of one machine."""
    pyops.manual_seed(0)
    return calibrate(built(name), images(name, CALIBRATION, 1))


def calibrate(model: nn.Module, x: np.ndarray) -> nn.Module:
    """Gives batch norms factors and x's statistics; `model`, in evaluation mode."""
    rng = np.random.default_rng(0)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.weight.data[...] = rng.uniform(0.5, 1.5, norm.weight.shape)
        norm.bias.data[...] = rng.uniform(-0.2, 0.2, norm.bias.shape)
        norm.momentum = 1.0
    if norms:
        with no_grad():
            model.train()(pyops.Tensor(x))
    return model.eval()


def logits(result) -> np.ndarray:
    """A network's answer as an array; of several (auxiliary classifiers) the first."""
    return np.asarray(record.plain(result)[0] if isinstance(result, tuple) else record.plain(result))


def recorded(model: nn.Module, x: np.ndarray) -> record.Graph:
    with no_grad(), record.calls() as calls:
        model(pyops.Tensor(x))
    return record.graph(calls, x)


def exact(model: nn.Module, graph: record.Graph, x: np.ndarray) -> np.ndarray:
    """The answer in float64: torch's, which owes us nothing; where there is no torch, our own
    kernels for doubles."""
    try:
        import torch

        from .torch_model import module
    except ImportError:
        model.double()
        try:
            with no_grad():
                return logits(model(pyops.Tensor(x.astype(np.float64))))
        finally:
            model.float()
    with torch.inference_mode():
        return module(graph).double()(torch.from_numpy(x).double()).numpy()


def write(name: str, batches: list[int], folder: Path) -> None:
    """folder/weights.bin and .json, net.param and net.bin (ncnn, for one sample);
    folder/BATCH/x.npy, want.npy, model.onnx, work.json and, for what torchvision does not have,
    graph.pkl.

    work.json holds the arithmetic and traffic of one call (of the ops that say what they cost) and,
    where a form could not be written, why.
    """
    model = drawn(name)
    write_inputs(model, name, batches, folder)
    single = images(name, 1, 2)
    lacking = tried("ncnn", lambda: ncnn_files(recorded(model, single), folder))
    for batch in batches:
        place = folder / str(batch)
        x = np.load(place / "x.npy")
        graph = recorded(model, x)
        np.save(place / "want.npy", exact(model, graph, x))
        if not of_torchvision(name):
            with open(place / "graph.pkl", "wb") as file:
                pickle.dump(graph, file, protocol=5)
        lacking |= tried("onnx", lambda: (place / "model.onnx").write_bytes(onnx_model(graph)))  # noqa: B023
        with no_grad():
            work = record.count(lambda: model(pyops.Tensor(x)))  # noqa: B023
        (place / "work.json").write_text(
            json.dumps({"flops": work.flops, "bytes": work.bytes, "lacking": lacking}))


def write_inputs(model: nn.Module, name: str, batches: list[int], folder: Path) -> None:
    """What our own runners read: the weights, and an input for each batch size."""
    write_weights(model.state_dict(), folder)
    for batch in batches:
        place = folder / str(batch)
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / "x.npy", images(name, batch, 2))


def write_weights(state: dict[str, np.ndarray], folder: Path) -> None:
    """One after the other in one file, so that each can be read into where it belongs; names, types
    and shapes beside it."""
    with open(folder / "weights.bin", "wb") as file:
        for array in state.values():
            file.write(np.ascontiguousarray(array).data)
    (folder / "weights.json").write_text(json.dumps({k: (a.dtype.str, a.shape) for k, a in state.items()}))


def read_weights(
        folder: Path) -> Iterator[tuple[str, np.dtype, tuple[int, ...], Callable[[np.ndarray], object]]]:
    """(name, type, shape, fill): fill(array) reads the weight into an array, before the
    next one is asked for."""
    with open(folder / "weights.bin", "rb") as file:
        for name, (dtype, shape) in json.loads((folder / "weights.json").read_text()).items():
            yield (name, np.dtype(dtype), tuple(shape),
                   lambda array: file.readinto(array.reshape(-1).view(np.uint8)))


def of_torchvision(name: str) -> bool:
    """Whether torchvision's own module stands for this network in torch."""
    return NETWORKS[name].torchvision and find_spec("torchvision") is not None


def tried(form: str, make) -> dict[str, str]:
    """form -> why it could not be made, or nothing."""
    try:
        make()
        return {}
    except (Unsupported, ImportError) as why:
        return {form: str(why)}


def ncnn_files(graph, folder):
    from .ncnn_model import write as write_ncnn
    write_ncnn(graph, folder)


def onnx_model(graph) -> bytes:
    from .onnx_model import model
    return model(graph)


if __name__ == "__main__":
    write(sys.argv[1], [int(b) for b in sys.argv[2].split(",")], Path(sys.argv[3]))
