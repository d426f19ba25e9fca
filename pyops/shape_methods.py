"""Tensor's methods that change shape, under torch's names. Importing this module attaches them."""
from __future__ import annotations

from .ops import shape
from .core.tensor import Tensor


def _sizes(sizes):
    """x.reshape(2, 3) and x.reshape((2, 3)) mean the same."""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


def _numpy_order(self):
    """The axes reversed, as NumPy's .T."""
    return shape.permute(self, tuple(range(self.ndim))[::-1])


def _iterate(self):
    if not self.ndim:
        raise TypeError("a Tensor without axes cannot be iterated over")
    return iter(shape.unbind(self))


Tensor.reshape = lambda self, *sizes: shape.reshape(self, _sizes(sizes))
Tensor.view = Tensor.reshape
Tensor.permute = lambda self, *dims: shape.permute(self, _sizes(dims))
Tensor.expand = lambda self, *sizes: shape.broadcast_to(self, _sizes(sizes))
Tensor.flip = lambda self, *dims: shape.flip(self, _sizes(dims))
Tensor.T = property(_numpy_order)
Tensor.__iter__ = _iterate
Tensor.__getitem__ = shape.getitem
for _name in ("broadcast_to", "chunk", "flatten", "movedim", "narrow", "select", "split", "squeeze", "transpose", "unbind", "unflatten",
              "unsqueeze"):
    setattr(Tensor, _name, getattr(shape, _name))
