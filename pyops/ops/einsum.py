"""einsum: sums of products by names of axes, contracted pair by pair as matrix products."""
from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any

from ..core.types import Arrays
from .elementwise import add, mul
from .matmul import matmul
from .reduction import sum as sum_of
from .shape import getitem, permute, reshape, transpose
from .typed import is_whole

__all__ = ["bilinear", "einsum"]

HIDDEN = -1000   # names of the axes that an ellipsis stands for: HIDDEN + i, ..., before all letters


def einsum(equation: str | Arrays, *operands: Any) -> Arrays:
    """The sum of products that the equation says: "ij,jk->ik" is a matrix product.

    equation: letters name the axes of each operand, ... any number of leading ones, which broadcast.
    Behind -> stand the axes of the result; without, letters that appear once in alphabetical order
    (capitals first), behind those of "...". A letter twice in one operand is its diagonal; what is
    not in the result is summed. Axes of size one broadcast. Also in torch's other spelling, operands
    and lists of whole numbers in turn: einsum(a, [0, 1], b, [1, 2], [0, 2]). operands: arrays of one
    type, float32, float64 or whole, or one list of them. Two at a time are contracted, those that
    take the fewest multiplications first, as one matrix product. Raises ValueError where the
    equation is none, or sizes do not fit.
    """
    if not isinstance(equation, str):
        terms, result, arrays = _of_lists((equation, *operands))
        equation = f"by lists {[list(t) for t in terms]}"
    else:
        arrays = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
        terms, result = _parsed(equation)
    if len(terms) != len(arrays):
        raise ValueError(f"einsum: equation {equation!r} has {len(terms)} operands, {len(arrays)} were given")
    shapes = tuple(tuple(a.shape) for a in arrays)
    names, wanted = _named(terms, result, shapes, equation)
    plain = _one_product(names, wanted, shapes) if len(arrays) == 2 else None
    if plain is not None and not is_whole(arrays[0]):
        left, right, sizes, order = plain
        return _laid(reshape(matmul(_laid(arrays[0], *left), _laid(arrays[1], *right)), sizes), order)
    parts = [_single(a, list(n)) for a, n in zip(arrays, names)]
    sizes = _sizes(parts)
    parts = [_without_ones(a, n, sizes) for a, n in parts]
    while len(parts) > 1:
        i, j = _cheapest([n for _, n in parts], sizes)
        b, a = parts.pop(j), parts.pop(i)
        kept = {*wanted, *(n for _, of in parts for n in of)}
        parts.append(_contracted(a, b, kept, sizes))
    x, have = _summed(*parts[0], set(wanted))
    missing = [n for n in wanted if n not in have]   # axes of size one everywhere
    x = permute(x, tuple(have.index(n) for n in wanted if n in have)) if len(have) > 1 else x
    return reshape(x, tuple(sizes[n] for n in wanted)) if missing else x


def bilinear(input1: Arrays, input2: Arrays, weight: Arrays, bias: Arrays | None = None) -> Arrays:
    """y[..., k] = input1' weight[k] input2 + bias[k].

    input1: (..., I), input2: (..., J), weight: (K, I, J), bias: (K,), float32 or float64. Raises
    ValueError where they do not fit.
    """
    one, other, form = (tuple(a.shape) for a in (input1, input2, weight))
    if len(form) != 3 or not one or not other or one[:-1] != other[:-1] or (one[-1], other[-1]) != form[1:] \
            or bias is not None and tuple(bias.shape) != form[:1]:
        raise ValueError("bilinear: takes input1 (..., I), input2 (..., J), weight (K, I, J) and bias (K,), got "
                         f"{one}, {other}, {form}{'' if bias is None else f' and {tuple(bias.shape)}'}")
    (k, i, j), rows = form, math.prod(one[:-1])
    # the second product first, with the rows last: the weight is read where it lies
    right = transpose(reshape(input2, (rows, j)), 0, 1)
    inner = reshape(matmul(reshape(weight, (k * i, j)), right), (k, i, rows))
    left = reshape(transpose(reshape(input1, (rows, i)), 0, 1), (1, i, rows))
    y = reshape(transpose(sum_of(mul(inner, left), 1), 0, 1), (*one[:-1], k))
    return y if bias is None else add(y, bias)


# ---- equations

@lru_cache(1024)
def _parsed(equation: str) -> tuple[tuple[tuple[Any, ...], ...], tuple[Any, ...] | None]:
    """Names of axes of each operand, and of the result; Ellipsis for ..."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    if ">" in left or "-" in left or "->" in right:
        raise ValueError(f"einsum: equation {equation!r} has an arrow too many, or half of one")
    return (tuple(_letters(term, equation) for term in left.split(",")),
            _letters(right, equation) if arrow else None)


def _letters(term: str, equation: str) -> tuple[Any, ...]:
    before, dots, after = term.partition("...")
    if not all(c.isascii() and c.isalpha() for c in before + after):
        raise ValueError(f"einsum: equation {equation!r} must name axes by letters, once by ... in an "
                         f"operand, got {term!r}")
    return (*map(ord, before), *((Ellipsis,) if dots else ()), *map(ord, after))


def _of_lists(given: tuple[Any, ...]) -> tuple[Any, Any, list[Any]]:
    """torch's spelling by lists of whole numbers."""
    pairs, result = (given, None) if len(given) % 2 == 0 else (given[:-1], tuple(given[-1]))
    lists = [tuple(n) for n in pairs[1::2]]
    for n in (*lists, result or ()):
        if not all(i is Ellipsis or isinstance(i, int) and 0 <= i < 52 for i in n):
            raise ValueError(f"einsum: axes are whole numbers from 0 to 51 or one Ellipsis, got {list(n)}")
    return tuple(lists), result, list(pairs[::2])


@lru_cache(1024)
def _named(terms: Any, result: Any, shapes: tuple[tuple[int, ...], ...], equation: Any) -> tuple[Any, tuple[int, ...]]:
    """Names with those of hidden axes written out, of each operand and of the result."""
    hidden = [len(s) - len([n for n in t if n is not Ellipsis]) for t, s in zip(terms, shapes)]
    for term, shape, more in zip(terms, shapes, hidden):
        if more < 0 or more and Ellipsis not in term or term.count(Ellipsis) > 1:
            raise ValueError(f"einsum: equation {equation!r} does not name the axes of an operand of shape {shape}")
    most = max((h for h, t in zip(hidden, terms) if Ellipsis in t), default=0)

    def written(term: Any, count: int) -> tuple[int, ...]:
        return tuple(name for n in term for name in (range(HIDDEN + most - count, HIDDEN + most)
                                                     if n is Ellipsis else (n,)))
    names = tuple(map(written, terms, hidden))
    every = [n for of in names for n in of]
    if result is None:
        wanted = tuple(sorted(n for n in set(every) if n < 0 or every.count(n) == 1))
    else:
        wanted = written(result, most)
    wrong = [n for n in wanted if wanted.count(n) > 1 or n not in every]
    if wrong:
        raise ValueError(f"einsum: the result of {equation!r} must name axes of operands, each once")
    return names, wanted


# ---- two operands that are one matrix product as they are: most calls

@lru_cache(1024)
def _one_product(names: Any, wanted: Any, shapes: Any) -> Any:
    """The order of axes and the shape of either matrix, the shape of the product and the order of its
    axes; None where there is more to do."""
    one, other = names
    sizes = dict(zip((*one, *other), (n for shape in shapes for n in shape)))
    batch = [n for n in one if n in other and n in wanted]
    inner = [n for n in one if n in other and n not in wanted]
    left, right = ([n for n in own if n not in (*batch, *inner)] for own in names)
    if (len({*one}) < len(one) or len({*other}) < len(other) or not inner or 1 in sizes.values()
            or any(sizes[n] != m for own, shape in zip(names, shapes) for n, m in zip(own, shape))
            or not {*left, *right} <= {*wanted}):
        return None

    def matrix(own: Any, rows: list[int], columns: list[int]) -> Any:
        sides = [math.prod(sizes[n] for n in side) for side in (batch, rows, columns)]
        return tuple(own.index(n) for n in (*batch, *rows, *columns)), tuple(sides if batch else sides[1:])
    order = [*batch, *left, *right]
    return (matrix(one, left, inner), matrix(other, inner, right), tuple(sizes[n] for n in order),
            tuple(order.index(n) for n in wanted))


def _laid(x: Any, order: tuple[int, ...], shape: tuple[int, ...] | None = None) -> Any:
    """x with its axes in this order, under this shape."""
    x = x if order == tuple(range(len(order))) else permute(x, order)
    return x if shape is None or tuple(x.shape) == shape else reshape(x, shape)


# ---- operands

def _single(x: Any, names: list[int]) -> tuple[Any, list[int]]:
    """An operand whose axes have names of their own: of those of one name the diagonal."""
    for name in [n for n in names if names.count(n) > 1]:
        while names.count(name) > 1:
            first = names.index(name)
            second = names.index(name, first + 1)
            n, m = x.shape[first], x.shape[second]
            if n != m:
                raise ValueError(f"einsum: axes of one name have sizes {n} and {m} in an operand of shape "
                                 f"{tuple(x.shape)}")
            order = [first, second, *(i for i in range(len(names)) if i not in (first, second))]
            names = [names[i] for i in order[1:]]
            x = permute(x, tuple(order))
            flat = reshape(x, (n * n, *x.shape[2:]))
            x = getitem(flat, slice(None, None, n + 1))
    return x, names


def _sizes(parts: Sequence[tuple[Any, list[int]]]) -> dict[int, int]:
    sizes: dict[int, int] = {}
    for x, names in parts:
        for name, size in zip(names, x.shape):
            known = sizes.setdefault(name, size)
            if known != size and 1 not in (known, size):
                raise ValueError(f"einsum: axes of one name have sizes {known} and {size}")
            sizes[name] = size if known == 1 else known
    return sizes


def _without_ones(x: Any, names: list[int], sizes: dict[int, int]) -> tuple[Any, list[int]]:
    """Without the axes of size one: an operand does not vary along them."""
    kept = [i for i, n in enumerate(x.shape) if n != 1]
    if len(kept) == len(names):
        return x, names
    return reshape(x, tuple(x.shape[i] for i in kept)), [names[i] for i in kept]


def _cheapest(names: list[list[int]], sizes: dict[int, int]) -> tuple[int, int]:
    """The pair whose contraction takes the fewest multiplications, the first of several."""
    return min(combinations(range(len(names)), 2),
               key=lambda pair: math.prod(sizes[n] for n in {*names[pair[0]], *names[pair[1]]}))


def _summed(x: Any, names: list[int], kept: set[int]) -> tuple[Any, list[int]]:
    over = tuple(i for i, n in enumerate(names) if n not in kept)
    return (sum_of(x, over), [n for n in names if n in kept]) if over else (x, names)


def _contracted(one: Any, other: Any, kept: set[int], sizes: dict[int, int]) -> tuple[Any, list[int]]:
    """The product of two operands, summed over the axes that nobody else wants."""
    (a, names_a), (b, names_b) = (_summed(x, names, kept | set(against))
                                  for (x, names), (_, against) in ((one, other), (other, one)))
    both = [n for n in names_a if n in names_b]
    batch, inner = [n for n in both if n in kept], [n for n in both if n not in kept]
    left, right = [n for n in names_a if n not in both], [n for n in names_b if n not in both]
    order = [*batch, *left, *right]
    if not inner or is_whole(a):
        product = mul(_arranged(a, names_a, [*order, *inner]), _arranged(b, names_b, [*order, *inner]))
        over = tuple(range(len(order), len(order) + len(inner)))
        return (sum_of(product, over) if over else product), order

    def matrices(x: Any, names: list[int], rows: list[int], columns: list[int]) -> Any:
        x = permute(x, tuple(names.index(n) for n in (*batch, *rows, *columns)))
        sides = [math.prod(sizes[n] for n in side) for side in (batch, rows, columns)]
        return reshape(x, tuple(sides) if batch else tuple(sides[1:]))
    product = matmul(matrices(a, names_a, left, inner), matrices(b, names_b, inner, right))
    return reshape(product, tuple(sizes[n] for n in order)), order


def _arranged(x: Any, names: list[int], order: list[int]) -> Any:
    """The operand with its axes in this order, of size one where it has none of the name."""
    x = permute(x, tuple(names.index(n) for n in order if n in names)) if len(names) > 1 else x
    sizes = dict(zip((n for n in order if n in names), x.shape))
    return reshape(x, tuple(sizes.get(n, 1) for n in order))
