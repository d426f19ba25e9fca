"""Tensor's operators and methods for arithmetic and reductions. Importing this module attaches them.

Comparisons look at the data and return NumPy boolean arrays; == stays identity, so that Tensors can be keys.
"""
from __future__ import annotations

import operator

from .ops import elementwise as e
from .ops import matmul as m
from .ops import reduction as r
from .core.tensor import Tensor


def data(value):
    return value.data if isinstance(value, Tensor) else value


Tensor.__add__ = Tensor.__radd__ = lambda self, other: e.add(self, other)
Tensor.__sub__ = lambda self, other: e.sub(self, other)
Tensor.__rsub__ = lambda self, other: e.sub(other, self)
Tensor.__mul__ = Tensor.__rmul__ = lambda self, other: e.mul(self, other)
Tensor.__truediv__ = lambda self, other: e.div(self, other)
Tensor.__rtruediv__ = lambda self, other: e.div(other, self)
Tensor.__pow__ = lambda self, other: e.pow(self, other)
Tensor.__rpow__ = lambda self, other: e.pow(other, self)
Tensor.__matmul__ = lambda self, other: m.matmul(self, other)
Tensor.__rmatmul__ = lambda self, other: m.matmul(other, self)
Tensor.__neg__ = lambda self: e.neg(self)
Tensor.__abs__ = lambda self: e.abs(self)
for _compare in (operator.lt, operator.le, operator.gt, operator.ge):
    setattr(Tensor, f"__{_compare.__name__}__", lambda self, other, _compare=_compare: _compare(self.data, data(other)))
Tensor.__float__ = lambda self: float(self.data)
Tensor.matmul = m.matmul
for _module, _names in ((e, ("abs", "add", "clamp", "div", "exp", "log", "maximum", "minimum", "mul", "neg", "pow", "reciprocal", "rsqrt",
                             "sigmoid", "sqrt", "square", "sub", "tanh")), (r, r.__all__)):
    for _name in _names:
        setattr(Tensor, _name, getattr(_module, _name))
