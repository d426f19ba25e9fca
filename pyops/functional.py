"""Public ops on NumPy arrays, Tensors and DLPack exporters, with torch.nn.functional's names, argument order and defaults.

The result is of the first argument's kind. Every function also takes `out=`, a writable contiguous array for the result,
unless that is a view.
Functions that torch keeps in its top-level namespace (add, matmul, cat, sum, ...) are here too.
"""
from .ops.layer_norm import *  # noqa: F401,F403
from .ops.batch_norm import *  # noqa: F401,F403
from .ops.group_norm import *  # noqa: F401,F403
from .ops.local_response_norm import *  # noqa: F401,F403
from .ops.softmax import *  # noqa: F401,F403
from .ops.dropout import *  # noqa: F401,F403
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
