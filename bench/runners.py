"""How each library runs a whole network: as its users would, from files, with as many threads as
the job says, in float32.

A runner imports its library and returns `prepare`, which loads the network and returns `run`
(worker.py times both). Networks that torchvision has are torchvision's own modules in torch; of the
others torch gets the recorded graph as a module.
"""
from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from .networks import built, logits, of_torchvision, read_weights
from .record import Unsupported
from .shapes import NETWORKS


class Job:
    """A job's files."""

    def __init__(self, job: dict):
        self.name, self.batch, self.threads, self.precision = (job["network"], job["batch"], job["threads"],
                                                               job["precision"])
        self.folder, self.place = Path(job["folder"]), Path(job["folder"]) / str(job["batch"])
        self.x = np.load(self.place / "x.npy")

    def need(self, form: str) -> None:
        """Raises Unsupported where the network could not be written in this form."""
        lacking = json.loads((self.place / "work.json").read_text())["lacking"]
        if form in lacking:
            raise Unsupported(lacking[form])

    def fill(self, state: dict[str, np.ndarray]) -> None:
        """Reads the weights into these arrays. Nothing is held twice."""
        for name, dtype, _, fill in read_weights(self.folder):
            if state[name].dtype != dtype or not state[name].flags.c_contiguous:
                raise TypeError(f"{name} must be contiguous {dtype}")
            fill(state[name])


def pyops_model(job: Job):
    """Our model with the job's weights."""
    from pyops import nn
    with nn.init.skip_draws():
        model = built(job.name).eval()
    job.fill(model.state_dict())
    return model


def pyops_program(description):
    import pyops
    job = Job(description)
    pyops.set_num_threads(job.threads)
    if not hasattr(pyops, "compile"):
        raise Unsupported("there is no pyops.compile yet")

    def prepare():
        program = pyops.compile(pyops_model(job), (job.x,), precision=job.precision, threads=job.threads)
        return lambda: program(job.x)
    return prepare


def pyops_eager(description):
    import pyops
    job = Job(description)
    pyops.set_num_threads(job.threads)

    def prepare():
        model, x = pyops_model(job), pyops.Tensor(job.x)

        def run():
            with pyops.no_grad():
                return logits(model(x))
        return run
    return prepare


def torch_network(job: Job):
    """torchvision's module with the job's weights, or the recorded graph."""
    import torch

    if not of_torchvision(job.name):
        from .torch_model import module
        return module(pickle.loads((job.place / "graph.pkl").read_bytes()))
    from .torchvision_schemas import torchvision
    with torch.device("meta"):   # no weights are drawn
        model = getattr(torchvision.models, job.name)(**NETWORKS[job.name].settings)
    model = model.to_empty(device="cpu")
    job.fill({k: t.numpy() for k, t in model.state_dict().items()})
    return model.eval()


def torch_job(description):
    import torch

    job = Job(description)
    if of_torchvision(job.name):
        from . import torchvision_schemas  # noqa: F401  imported now, so that loading does not count it
    torch.set_num_threads(job.threads)
    torch.set_num_interop_threads(1)
    return job, torch.from_numpy(job.x)


def torch_eager(description):
    import torch
    job, x = torch_job(description)

    def prepare():
        model = torch_network(job)

        def run():
            with torch.inference_mode():
                return model(x).numpy()
        return run
    return prepare


def torch_channels_last(description):
    import torch
    job, x = torch_job(description)

    def prepare():
        model, nhwc = (torch_network(job).to(memory_format=torch.channels_last),
                       x.contiguous(memory_format=torch.channels_last))

        def run():
            with torch.inference_mode():
                return model(nhwc).numpy()
        return run
    return prepare


def torch_compile(description):
    import torch
    import torch._inductor.config as config
    job, x = torch_job(description)
    config.freezing = True

    def prepare():
        model = torch.compile(torch_network(job))

        def run():
            with torch.no_grad():
                return model(x).numpy()
        return run
    return prepare


def onnxruntime(description):
    import onnxruntime  # noqa: F401

    from .peers import onnxruntime_session
    job = Job(description)
    job.need("onnx")
    return lambda: onnxruntime_session(job.place / "model.onnx", job.threads)(job.x)


def openvino(description):
    import openvino  # noqa: F401

    from .peers import openvino_model
    job = Job(description)
    job.need("onnx")
    return lambda: openvino_model(job.place / "model.onnx", job.threads)(job.x)


def ncnn(description):
    """A batch is so many calls of one sample."""
    import ncnn  # noqa: F401

    from .ncnn_model import load
    job = Job(description)
    job.need("ncnn")
    return lambda: load(job.folder, job.threads)(list(job.x))


@dataclass(frozen=True)
class Runner:
    function: str                     # in this module
    needs: tuple[str, ...] = ()       # packages, the library itself first
    peer: bool = True                 # somebody else's

    @property
    def missing(self) -> list[str]:
        return [package for package in self.needs if find_spec(package) is None]


RUNNERS = {
    "pyops": Runner("pyops_program", peer=False),
    "pyops-eager": Runner("pyops_eager", peer=False),
    "torch": Runner("torch_eager", ("torch",)),
    "torch-nhwc": Runner("torch_channels_last", ("torch",)),
    "torch-compile": Runner("torch_compile", ("torch",)),
    "onnxruntime": Runner("onnxruntime", ("onnxruntime", "onnx")),
    "openvino": Runner("openvino", ("openvino", "onnx")),
    "ncnn": Runner("ncnn", ("ncnn",)),
}
