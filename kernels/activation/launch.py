"""Grids of the activation kernels: those of all elementwise functions."""
from ..elementwise.launch import broadcasting, mapped

FILE = "activation/cuda.cu"
FUNCTIONS = ["elu", "gelu", "gelu_tanh", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish", "relu", "scaled_tanh",
             "silu", "softplus", "softsign", "threshold"]
MAPPED = [*FUNCTIONS, *(f"{name}_backward" for name in FUNCTIONS), "prelu_weight_terms"]
BROADCAST = ["prelu", "prelu_backward"]
__all__ = MAPPED + BROADCAST

globals().update({name: mapped(FILE, name) for name in MAPPED})
globals().update({name: broadcasting(FILE, name) for name in BROADCAST})
