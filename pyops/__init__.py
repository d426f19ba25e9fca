"""pyops: hand-written C++ and CUDA kernels behind torch.nn.functional's names.

    import numpy as np, pyops.functional as F
    y = F.conv2d(x, weight, bias, padding=1)     # NumPy in, NumPy out
"""
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import _checkout  # first of all: a checkout must be built, and finds its kernels
from .cuda import backend as _cuda_backend  # registers itself, which the choice of a backend waits for
from .core import memory, random
from .core import front_ends as _front_ends
from .core.backends import available, batch_invariant, get_backend, use_backend
from .core.precision import get_precision, set_precision
from .core.random import manual_seed
from .core import dispatch as _dispatch
from .core.tensor import Tensor, grad, no_grad
from .core.threads import get_num_threads, num_threads, set_num_threads
from .cuda import arrays as _arrays_on_gpu
from . import functional

_dispatch.register_device(_arrays_on_gpu)
_front_ends.LATER["torch"] = "pyops.torch"

if TYPE_CHECKING:
    from . import models, nn, optim, text, train
    from .graph.compile import compile
    from .graph.program import Program
    from .models.create import create_model
    from .torch import compile_report

__version__ = "0.1.0"
__all__ = ["Program", "Tensor", "available", "batch_invariant", "compile", "create_model", "functional", "get_backend",
           "get_num_threads", "get_precision", "grad", "manual_seed", "models", "nn", "no_grad",
           "num_threads", "optim", "set_num_threads", "set_precision", "text", "train", "use_backend"]

# Imported when first asked for: who calls ops alone does not wait for them.
_LATER = ("graph", "inspect", "models", "nn", "onnx", "optim", "text", "torch", "train")
_OF_GRAPH = ("Program", "compile")
_OF_MODELS = ("create_model",)
_OF_TORCH = ("compile_report",)


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return _module(name)
    if name in _OF_GRAPH:
        return getattr(_module("graph"), name)
    if name in _OF_TORCH:
        return getattr(_module("torch"), name)
    if name in _OF_MODELS:
        return getattr(_module("models"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _module(name: str) -> ModuleType:
    """pyops.<name>. AttributeError where it needs a package that is not installed: hasattr says
    False, and a listing goes on."""
    try:
        return import_module(f".{name}", __name__)
    except ModuleNotFoundError as why:
        if why.name is None or why.name.partition(".")[0] == __name__:
            raise   # ours is missing: a fault
        package = why.name.partition(".")[0]
        raise AttributeError(f"pyops.{name} needs the package {package}: pip install {package}") from why


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, *_OF_GRAPH, *_OF_MODELS, *_OF_TORCH})
