"""pyops: hand-written C++ and CUDA kernels behind torch.nn.functional's names.

    import numpy as np, pyops.functional as F
    y = F.conv2d(x, weight, bias, padding=1)     # NumPy in, NumPy out
"""
from . import functional, shape_methods
from .backends import available, get_backend, use_backend
from .random import manual_seed
from .tensor import Tensor, grad, no_grad
from .threads import get_num_threads, num_threads, set_num_threads

__version__ = "0.1.0"
__all__ = ["Tensor", "available", "functional", "get_backend", "get_num_threads", "grad", "manual_seed", "no_grad",
           "num_threads", "set_num_threads", "use_backend"]
