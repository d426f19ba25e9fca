"""Rows of several tables at once: words, segments and positions of a text, in one pass."""
from __future__ import annotations

import numpy as np

from ..core.backends import active
from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context
from ..core.types import Arrays
from .broadcast import sum_to
from .elementwise import add
from .embedding import EMBEDDING_BACKWARD, _padding, _refuse_indices, embedding
from .shape import getitem, reshape
from .typed import NO_CUDA

reference = LateFunctions("pyops.kernels.embedding.reference")

__all__ = ["embedding_sum"]


def embedding_sum(input: Arrays, weight: Arrays, second: Arrays | None = None, second_weight: Arrays | None = None,
                  third: Arrays | None = None, third_weight: Arrays | None = None, *, padding_idx: int | None = None,
                  out: Arrays | None = None) -> Arrays:
    """weight[input] + second_weight[second] + third_weight[third]: what texts begin as, without arrays
    in between.

    input (*): whole numbers; weights (rows, width), float32 or float64, of one width; returns
    (*, width). second and third have input's shape, or its last axes with 1 before them; where one is
    None and its weight is not, it counts the places of input's last axis, as positions do. padding_idx:
    a row of weight that gets no gradient. ValueError for an index that is no row, and where shapes do
    not fit. Devlin et al. (2019), figure 2.
    """
    tables = ((second, second_weight), (third, third_weight))
    for name, (index, table) in zip(("second", "third"), tables):
        if index is not None and table is None:
            raise ValueError(f"embedding_sum: {name} comes without {name}_weight")
    padding = _padding(tuple(weight.shape), padding_idx)
    length = input.shape[-1] if len(input.shape) else 1
    if active.get().name in EMBEDDING_SUM.todo:
        shape_of(*(None if x is None else tuple(x.shape) for x in (input, weight, *tables[0], *tables[1])),
                 length=length, padding=padding)
        return composed(input, weight, tables, padding_idx)
    return EMBEDDING_SUM(input, weight, *tables[0], *tables[1], length=length, padding=padding, out=out)


def composed(input, weight, tables, padding_idx):
    """By other rows, where there is no kernel."""
    y = embedding(input, weight, padding_idx)
    for index, table in tables:
        if table is None:
            continue
        if index is None:
            rows = getitem(table, slice(0, input.shape[-1]))
        else:   # ones before input's axes are none of the result's
            rows = embedding(reshape(index, index.shape[max(0, len(index.shape) - len(input.shape)):]), table)
        y = add(y, rows)
    return y


def check(a, first, b, second, c, third, *, length, padding):
    for index, table in ((a, first), (b, second), (c, third)):
        if index is not None:
            _refuse_indices(index, table.shape[0], "embedding_sum")
    shape_of(*(None if x is None else tuple(x.shape) for x in (a, first, b, second, c, third)), length=length,
             padding=padding)


def shape_of(a, first, b, second, c, third, *, length, padding):
    """Of the result. ValueError where shapes do not fit."""
    for name, index, table in (("second", b, second), ("third", c, third)):
        if table is not None and (len(table) != 2 or table[1] != first[1]):
            raise ValueError(f"embedding_sum: {name}_weight {table} must be (rows, {first[1]}), as weight {first} is")
        if index is not None and not ends(index, a):
            raise ValueError(f"embedding_sum: {name} {index} must be input's shape {a}, or its last axes")
        if index is None and table is not None and (not a or table[0] < length):
            raise ValueError(f"embedding_sum: {name}_weight has {table[0]} rows, fewer than the {length} places of "
                             f"input {a}")
    return (*a, first[1])


def ends(index, whole) -> bool:
    """Whether a shape is another's last axes, perhaps behind ones."""
    while len(index) and index[0] == 1:
        index = index[1:]
    return not index or index == whole[len(whole) - len(index):]


def forward(k, a, first, b, second, c, third, *, length, padding):
    for index, table in ((a, first), (b, second), (c, third)):
        if index is not None and (given := k.host(index)) is not None:
            _refuse_indices(given, table.shape[0], "embedding_sum")
    shapes = (None if x is None else x.shape for x in (a, first, b, second, c, third))
    y = k.empty(shape_of(*shapes, length=length, padding=padding))
    k.embedding_sum(a, first, b, second, c, third, length, y)
    return y


def gradient(ctx: Context):
    a, first, b, second, c, third = ctx.inputs
    found = [None] * 6
    for place, index, table, padding in ((1, a, first, ctx.attrs["padding"]), (3, b, second, -1), (5, c, third, -1)):
        if not ctx.needs[place]:
            continue
        index = np.arange(ctx.attrs["length"]) if index is None else index
        found[place] = EMBEDDING_BACKWARD(sum_to(ctx.g, (*index.shape, first.shape[1])), index, rows=table.shape[0],
                                          padding=padding, by_frequency=False)
    return tuple(found)


EMBEDDING_SUM = Op(
    "embedding_sum", "irjojo", forward, reference.embedding_sum, gradient, check, kernels=("embedding_sum",),
    checks_indices=True, todo={"per_sample": "positions may be shared by all samples", **NO_CUDA},
    bytes=lambda a, first, *_, **__: 3 * a.size * first.shape[1] * first.itemsize)
