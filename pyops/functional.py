"""Public ops on NumPy arrays, Tensors and DLPack exporters, with torch.nn.functional's names, argument order and defaults.

The result is of the first argument's kind. Every function also takes `out=`, a writable contiguous array for the result,
unless that is a view.
Functions that torch keeps in its top-level namespace (add, matmul, cat, sum, ...) are here too.
"""
import functools

from .ops.layer_norm import *  # noqa: F401,F403
from .ops.batch_norm import *  # noqa: F401,F403
from .ops.group_norm import *  # noqa: F401,F403
from .ops.local_response_norm import *  # noqa: F401,F403
from .ops.softmax import *  # noqa: F401,F403
from .ops.dropout import *  # noqa: F401,F403
from .ops.attention import *  # noqa: F401,F403
from .ops.convolution import *  # noqa: F401,F403
from .ops.elementwise import *  # noqa: F401,F403
from .ops.activation import *  # noqa: F401,F403
from .ops.reduction import *  # noqa: F401,F403
from .ops.shape import *  # noqa: F401,F403
from .ops.matmul import *  # noqa: F401,F403
from .ops.im2col import *  # noqa: F401,F403
from .ops.pad import *  # noqa: F401,F403
from .ops.loss import *  # noqa: F401,F403
from .ops.interpolate import *  # noqa: F401,F403
from .ops.pooling import *  # noqa: F401,F403
from .ops.pointwise_loss import *  # noqa: F401,F403
from .ops.embedding import *  # noqa: F401,F403
from .ops.rbf import *  # noqa: F401,F403
from .ops.pixel_shuffle import *  # noqa: F401,F403
from .ops.recurrent import *  # noqa: F401,F403
from .ops.recurrent_cells import *  # noqa: F401,F403


def _named(function):
    """`function`, but something that is no array gets an error that says so and names the op, not an AttributeError from within."""
    @functools.wraps(function)
    def public(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except AttributeError as error:
            if not hasattr(error.obj, "shape") and any(error.obj is v for v in (*args, *kwargs.values())):
                raise TypeError(f"{function.__name__}: needs an array, a Tensor or a DLPack exporter, got {type(error.obj).__name__}") from None
            raise
    public.__module__ = __name__
    return public


__all__ = sorted(name for name, value in globals().items() if callable(value) and getattr(value, "__module__", "").startswith("pyops.ops."))
globals().update({name: _named(globals()[name]) for name in __all__})
