"""Grids of the activation kernels: those of all elementwise functions, and of gates."""
import numpy as np

from ..elementwise.launch import BLOCK, blocks, broadcasting, mapped
from . import reference

FILE = "activation/cuda.cu"
FUNCTIONS = sorted(name.removesuffix("_slope") for name in vars(reference) if name.endswith("_slope"))
MAPPED = [*FUNCTIONS, *(f"{name}_backward" for name in FUNCTIONS), "prelu_weight_terms"]
BROADCAST = ["prelu", "prelu_backward"]
GATES = ["glu", "glu_backward"]
__all__ = MAPPED + BROADCAST + GATES

globals().update({name: mapped(FILE, name) for name in MAPPED})
globals().update({name: broadcasting(FILE, name) for name in BROADCAST})


def gate(name):
    """The host function of kernel gate_<name>: arrays, the values of half a row, the result."""
    def launch(device, *args):
        n = np.int64(min(args[0].size, args[-1].size))   # of values with a gate each
        if n:
            device.launch(FILE, f"gate_{name}", blocks(device, n), (BLOCK,),
                          (*args[:-2], np.int64(args[-2]), args[-1], n))
    launch.__name__ = name
    return launch


globals().update({name: gate(name) for name in GATES})
