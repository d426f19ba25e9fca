"""What the host sides of CUDA kernels (launch.py) work with: counts of blocks, where arrays lie,
what sums are kept in."""
import numpy as np


def ceil_div(a, b):
    """a / b rounded up."""
    return -(-a // b)


def address(array):
    """Of the first element, in the memory of whichever device holds it."""
    interface = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    return interface["data"][0]


def accumulated(device):
    """The type of sums: float64 for double, else float32."""
    return np.dtype(np.float64 if device.real == "f64" else np.float32)
