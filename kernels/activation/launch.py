"""Grids of the activation kernels: those of all elementwise functions."""
from ..elementwise.launch import broadcasting, mapped
from . import reference

FILE = "activation/cuda.cu"
FUNCTIONS = sorted(name.removesuffix("_slope") for name in vars(reference) if name.endswith("_slope"))
MAPPED = [*FUNCTIONS, *(f"{name}_backward" for name in FUNCTIONS), "prelu_weight_terms"]
BROADCAST = ["prelu", "prelu_backward"]
__all__ = MAPPED + BROADCAST

globals().update({name: mapped(FILE, name) for name in MAPPED})
globals().update({name: broadcasting(FILE, name) for name in BROADCAST})
