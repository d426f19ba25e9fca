"""The same entries in another shape."""

from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from ...graph.counted import Counted, shared
from ...graph.trace import Traced
from .lengths import INT, Length, length
from .made import lifted
from .rules import Refused, like, rank, takes


@takes("aten.view.default", "aten.reshape.default", "aten._unsafe_view.default")
def view(x, sizes):
    """The one length that a run decides follows from the others, as torch has proved."""
    sizes = [None if isinstance(n, Length) or n == -1 else n for n in sizes]
    if not isinstance(x, Counted) or sizes.count(None) != 1:
        raise Refused("a shape with several lengths that a run decides")
    axis = sizes.index(None)
    before, behind = math.prod(sizes[:axis]), math.prod(sizes[axis + 1 :])
    inner = math.prod(x.shape[x.axis + 1 :])
    if before != math.prod(x.shape[: x.axis]) or not behind or inner % behind:
        raise Refused("a shape that joins what a run decides with what is before it")
    times = inner // behind
    values = F.reshape(x.values, (*sizes[:axis], x.bound * times, *sizes[axis + 1 :]))
    return Counted(values, axis, x.count if times == 1 else shared(
        ("times", x.count, times), lambda: F.mul(x.count, np.asarray(times, INT))))


@takes("aten.flatten.using_ints")
def flatten(x, start_dim=0, end_dim=-1):
    start, end = start_dim % rank(x), end_dim % rank(x)
    joined = -1 if start <= x.axis <= end else math.prod(x.shape[start : end + 1])
    sizes = [*x.shape[:start], joined, *x.shape[end + 1 :]]
    if not start <= x.axis <= end:
        sizes[x.axis if x.axis < start else x.axis - (end - start)] = -1
    return view(x, sizes)


@takes("aten.unsqueeze.default")
def unsqueeze(x, dim):
    dim = dim % (rank(x) + 1)
    return like(x, F.unsqueeze(x.values, dim), x.axis + (dim <= x.axis))


@takes("aten.squeeze.dim", "aten.squeeze.dims")
def squeeze(x, dim):
    dims = {d % rank(x) for d in (dim if isinstance(dim, (list, tuple)) else [dim])}
    gone = [d for d in dims if d != x.axis and x.shape[d] == 1]
    return like(x, F.reshape(x.values, tuple(n for d, n in enumerate(x.shape) if d not in gone)),
                x.axis - sum(d < x.axis for d in gone))


@takes("aten.permute.default")
def permute(x, dims):
    dims = [d % rank(x) for d in dims]
    return like(x, F.permute(x.values, tuple(dims)), dims.index(x.axis))


@takes("aten.transpose.int")
def transpose(x, a, b):
    dims = list(range(rank(x)))
    dims[a], dims[b] = dims[b], dims[a]
    return permute(x, dims)


@takes("aten.t.default")
def t(x):
    return transpose(x, 0, 1) if rank(x) > 1 else x


@takes("aten.expand.default")
def expand(x, sizes, implicit=False):
    """To sizes of which at most one is a run's, that of x itself or of an axis of 1."""
    lead = len(sizes) - rank(x)
    shape = (*[1] * lead, *x.shape)
    axes = [i for i, n in enumerate(sizes) if isinstance(n, Length)]
    if isinstance(x, Counted):
        own = lead + x.axis
        if axes not in ([], [own]):
            raise Refused("several lengths that a run decides")
        to = [shape[i] if i == own or n == -1 else n for i, n in enumerate(sizes)]
        return like(x, F.broadcast_to(x.values, tuple(to)), own)
    if len(axes) != 1 or shape[axes[0]] != 1 or sizes[axes[0]].most == math.inf:
        raise Refused("a length that nobody knows a bound of")
    to = [int(n.most) if i == axes[0] else shape[i] if n == -1 else n for i, n in enumerate(sizes)]
    if not isinstance(x, Traced):
        return lifted(np.broadcast_to(x, tuple(to)).copy(), axes[0], sizes[axes[0]].value)
    return Counted(F.broadcast_to(x, tuple(to)), axes[0], sizes[axes[0]].value)


@takes("aten.sym_size.int")
def sym_size(x, dim):
    return length(x.count) if dim % rank(x) == x.axis else x.shape[dim]


@takes("aten.sym_numel.default")
def sym_numel(x):
    return length(x.count) * (math.prod(x.shape) // max(1, x.bound))
