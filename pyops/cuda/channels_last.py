"""Which ops take arrays on a GPU whose channels lie last (torch's channels_last) without a copy,
and give them back so.

Kernels take dense arrays in the order of their axes; inputs that lie otherwise are copied into it.
But
- a convolution's host functions (kernels/convolution/channels_last.py) know both layouts;
- what is computed element by element does not ask where an element lies, if all inputs lie alike;
- batch normalisation sees rows of channels.
"""
from __future__ import annotations

from ..kernels.convolution.channels_last import empty, first, is_channels_last, last

# op -> inputs that keep their strides
CONVOLUTIONS = {"conv": (0,), "conv_transpose": (0,), "conv_weight_gradient": (0, 1)}
LIKE_INPUT = ("conv", "conv_transpose")   # whose result lies as input 0
PER_CHANNEL = {"batch_norm": (0,), "batch_norm_training": (0,)}   # the other inputs have a value a channel


class ChannelsLastResults:
    """A KernelSet whose outputs have their channels last in memory."""

    def __init__(self, kernels):
        self._kernels = kernels

    def __getattr__(self, name):
        return getattr(self._kernels, name)

    def empty(self, shape, dtype=None):
        return empty(self._kernels.device, shape, dtype)


def forward(op, kernels, arrays, attrs, contiguous):
    """op.forward on `arrays` (None where an input is left out) of any strides: contiguous(array)
    copies those that kernels cannot take as they lie."""
    if op.pointwise and alike([a for a in arrays if a.size > 1]):
        return first(op.forward(kernels, *(last(a) if a.size > 1 else contiguous(a) for a in arrays),
                                **attrs))
    kept = [i for i in CONVOLUTIONS.get(op.name, PER_CHANNEL.get(op.name, ())) if is_channels_last(arrays[i])]
    arrays = [a if a is None or i in kept else contiguous(a) for i, a in enumerate(arrays)]
    if kept and op.name in PER_CHANNEL:
        return per_channel(op, kernels, arrays, attrs)
    return op.forward(ChannelsLastResults(kernels) if kept and op.name in LIKE_INPUT else kernels, *arrays,
                      **attrs)


def alike(arrays):
    return bool(arrays) and all(a.shape == arrays[0].shape and is_channels_last(a) for a in arrays)


def per_channel(op, kernels, arrays, attrs):
    op.check(*arrays, **attrs)   # the errors have the shapes that were given
    x = last(arrays[0])
    result = op.forward(kernels, x.reshape(-1, x.shape[-1]), *arrays[1:], **attrs)
    y, *statistics = result if isinstance(result, tuple) else (result,)
    y = first(y.reshape(x.shape))
    return (y, *statistics) if statistics else y
