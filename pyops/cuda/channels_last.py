"""Which ops take arrays on a GPU whose channels lie last (torch's channels_last) without a copy, and give them back so.

Kernels take dense arrays in the order of their axes; every other op's inputs are copied into it. A convolution's host functions
(kernels/convolution/channels_last.py) take the others, too, so its arrays keep their strides, and its result gets those of the input.
"""
from __future__ import annotations

from ..kernels.convolution.channels_last import empty, is_channels_last

KEPT = {"conv": (0,), "conv_transpose": (0,), "conv_weight_gradient": (0, 1)}   # op -> inputs that keep their strides
LIKE_INPUT = ("conv", "conv_transpose")   # whose result lies as input 0


class ChannelsLastResults:
    """A KernelSet whose outputs have their channels last in memory."""

    def __init__(self, kernels):
        self._kernels = kernels

    def __getattr__(self, name):
        return getattr(self._kernels, name)

    def empty(self, shape, dtype=None):
        return empty(self._kernels.device, shape, dtype)


def forward(op, kernels, arrays, attrs, contiguous):
    """op.forward on `arrays` of any strides: contiguous(array) copies those that the kernels cannot take as they lie."""
    kept = [i for i in KEPT.get(op.name, ()) if is_channels_last(arrays[i])]
    arrays = [a if a is None or i in kept else contiguous(a) for i, a in enumerate(arrays)]
    if kept and op.name in LIKE_INPUT:
        kernels = ChannelsLastResults(kernels)
    return op.forward(kernels, *arrays, **attrs)
