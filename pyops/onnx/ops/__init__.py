"""What each ONNX operator is: op type -> function of a Call, which has its inputs (arrays, or
traced values while compiling) and attributes.

A row uses pyops.functional where inputs are real, so that it can be compiled; what is whole
numbers, or depends on numbers, is NumPy's.
"""

from . import (
    attention,
    control,
    convolution,
    counted_index,
    counted_whole,
    detection,
    elementwise,
    gather,
    grid,
    learning,
    microsoft,
    microsoft_attention,
    microsoft_quantised,
    normalisation,
    other,
    pooling,
    products,
    quantised,
    recurrent,
    reduction,
    resize,
    sequence,
    shape,
    signal,
    text,
)
from .row import OPS

__all__ = ["OPS"]
