"""Ops on arrays of any element type in NumPy: the definition. Whole numbers wrap, and a division of
them by 0 gives 0."""
import numpy as np


def cast(x, *, dtype=None, **_):
    """Floats outside of a whole type's range have no value there."""
    with np.errstate(invalid="ignore", over="ignore"):
        return x.astype(x.dtype if dtype is None else dtype)


def comparison(function):
    """Without ml_dtypes' warnings of NaN."""
    def of(a, b):
        with np.errstate(invalid="ignore"):
            return function(a, b)
    return of


equal, not_equal, less, less_equal = map(comparison, (np.equal, np.not_equal, np.less, np.less_equal))


def select(condition, a, b):
    return np.where(condition, a, b)


# ---- whole numbers

def wrapped(function):
    """In the type of the operands, without NumPy's warnings."""
    def of(a, b):
        with np.errstate(all="ignore"):
            return np.asarray(function(a, b)).astype(a.dtype, copy=False)
    return of


def whole_add(a, b, *, alpha=1):
    with np.errstate(all="ignore"):
        return a + np.asarray(alpha).astype(a.dtype) * b   # which wraps, -1 in an unsigned type as well


whole_mul = wrapped(lambda a, b: a & b if a.dtype == bool else a * b)
whole_maximum, whole_minimum = np.maximum, np.minimum
bitwise_and, bitwise_or, bitwise_xor = np.bitwise_and, np.bitwise_or, np.bitwise_xor


@wrapped
def whole_div(a, b):
    """Towards zero, as C has it."""
    below = floor_divide(a, b)
    return np.where((b != 0) & (below * b != a) & ((a < 0) != (b < 0)), below + np.ones((), a.dtype), below)


@wrapped
def whole_pow(a, b):
    """Of a negative exponent 1 and -1 alone leave something whole."""
    usual = np.power(a, np.maximum(b, 0))
    return np.where(b < 0, np.where(a == 1, 1, np.where(a == -1, np.where(b % 2 == 0, 1, -1), 0)),
                    usual) if a.dtype.kind == "i" else usual


@wrapped
def shift_left(a, b):
    bits = 8 * a.itemsize
    return np.where((b < 0) | (b >= bits), 0, np.left_shift(a, np.clip(b, 0, bits - 1)))


@wrapped
def shift_right(a, b):
    bits = 8 * a.itemsize
    outside = (b < 0) | (b >= bits)
    return np.where(outside, np.where(a < 0, -1, 0) if a.dtype.kind == "i" else 0,
                    np.right_shift(a, np.clip(b, 0, bits - 1)))


floor_divide = wrapped(lambda a, b: np.floor_divide(a, b))
remainder = wrapped(lambda a, b: np.remainder(a, b))
fmod = wrapped(lambda a, b: np.fmod(a, b))


def whole_neg(x):
    with np.errstate(over="ignore"):
        return np.zeros((), x.dtype) - x


def whole_abs(x):
    return np.abs(x)


# ---- one array

bitwise_not, logical_not, isnan = np.invert, np.logical_not, np.isnan
floor, ceil, round, trunc, sign = np.floor, np.ceil, np.rint, np.trunc, np.sign
sin, cos, tan, asin, acos, atan = np.sin, np.cos, np.tan, np.arcsin, np.arccos, np.arctan
sinh, cosh, asinh, acosh, atanh = np.sinh, np.cosh, np.arcsinh, np.arccosh, np.arctanh


def isinf(x, *, positive, negative):
    if x.dtype.kind in "iub":
        return np.zeros(x.shape, bool)
    return (x == np.inf) & positive | (x == -np.inf) & negative


# ---- along an axis

def whole_sum(x, *, dim):
    return np.sum(x, dim, keepdims=True, dtype=x.dtype)


def whole_prod(x, *, dim):
    return np.prod(x, dim, keepdims=True, dtype=x.dtype)


def any_max(x, *, dim):
    return np.max(x, dim, keepdims=True)


def any_min(x, *, dim):
    return np.min(x, dim, keepdims=True)


def places(function):
    def of(x, *, dim, last=False):
        if not last:
            return function(x, dim, keepdims=True).astype(np.int64)
        return x.shape[dim] - 1 - function(np.flip(x, dim), dim, keepdims=True).astype(np.int64)
    return of


any_argmax, any_argmin = places(np.argmax), places(np.argmin)


def running(function, start):
    def of(x, *, dim, exclusive=False, reverse=False):
        x = np.flip(x, dim) if reverse else x
        y = function(x, dim, dtype=x.dtype)
        if exclusive and x.shape[dim]:
            before = np.full_like(np.take(y, [0], dim), start)
            y = np.concatenate([before, np.take(y, range(x.shape[dim] - 1), dim)], dim)
        return np.flip(y, dim) if reverse else y
    return of


cumsum, cumprod = running(np.cumsum, 0), running(np.cumprod, 1)


def roll(x, *, shifts, dims):
    return np.roll(x, shifts, dims)


def top(x, *, dim, count, largest):
    """The greatest (or least) in order, the first of equal ones first; NaN is greater than all
    numbers."""
    if largest:   # the order of the axis turned round, turned round: negation would overflow
        order = x.shape[dim] - 1 - np.flip(np.argsort(np.flip(x, dim), dim, kind="stable"), dim)
    else:
        order = np.argsort(x, dim, kind="stable")
    order = np.take(order, range(count), dim).astype(np.int64)
    return np.take_along_axis(x, order, dim), order


def nonzero(x):
    """Places of what is not 0 in the flattened array, padded with 0 to its size; and how many."""
    found = np.flatnonzero(x)
    places = np.zeros(x.size, np.int64)
    places[:len(found)] = found
    return places, np.array(len(found), np.int64)


# ---- by index

def from_front(index, n, wrap):
    found = np.where(index < 0, index + n, index) if wrap else index
    wrong = (found < 0) | (found >= n)
    if wrong.any():
        raise IndexError(f"index {index[wrong].flat[0]} is outside an axis of size {n}")
    return found


def take(x, index, *, dim, wrap):
    return np.take(x, from_front(index, x.shape[dim], wrap), dim)


def take_backward(g, index, *, dim, size, wrap):
    lead, behind = g.shape[:dim], g.shape[dim + index.ndim:]
    dx = np.zeros((size, *lead, *behind), g.dtype)
    np.add.at(dx, from_front(index, size, wrap).reshape(-1), np.moveaxis(g.reshape(*lead, -1, *behind), dim, 0))
    return np.moveaxis(dx, 0, dim)


def grid(index, dim):
    """Indices of every axis for what `index` names along one."""
    return tuple(index if a == dim else np.arange(n).reshape([-1 if b == a else 1 for b in range(index.ndim)])
                 for a, n in enumerate(index.shape))


def take_along(x, index, *, dim, wrap):
    return x[grid(from_front(index, x.shape[dim], wrap), dim)] if index.ndim else x.copy()


JOIN = {"": None, "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def put(y, places, values, reduction):
    with np.errstate(all="ignore"):
        if reduction:
            JOIN[reduction].at(y, places, values)
        else:
            y[places] = values
    return y


def take_along_backward(g, index, *, dim, shape, wrap):
    return put_along(np.zeros(shape, g.dtype), index, g, dim=dim, wrap=wrap, reduction="add")


def put_along(x, index, values, *, dim, wrap, reduction=""):
    places = grid(from_front(index, x.shape[dim], wrap), dim) if index.ndim else ()
    return put(x.copy(), places, values, reduction)


def block_places(x, index, batch, wrap):
    parts = [from_front(index[..., i], x.shape[batch + i], wrap) for i in range(index.shape[-1])]
    lead = [np.arange(n).reshape([-1 if b == a else 1 for b in range(index.ndim - 1)])
            for a, n in enumerate(index.shape[:batch])]
    return tuple(np.broadcast_arrays(*lead, *parts)) if lead or parts else ()


def take_blocks(x, index, *, batch=0, wrap):
    if not index.shape[-1]:   # every index names the whole of its batch
        whole = x.reshape((*x.shape[:batch], *[1] * (index.ndim - 1 - batch), *x.shape[batch:]))
        return np.broadcast_to(whole, (*index.shape[:-1], *x.shape[batch:])).copy()
    return x[block_places(x, index, batch, wrap)]


def put_blocks(x, index, values, *, wrap, reduction=""):
    return put(x.copy(), block_places(x, index, 0, wrap), values, reduction)


# ---- quantised

def quantise(x, scale, zero, *, dtype, least, most):
    """x / scale, rounded to the nearest (of two as near the even one), and zero, from least to
    most; NaN is the least."""
    with np.errstate(all="ignore"):
        y = np.rint(np.asarray(x, np.float32) / np.asarray(scale, np.float32)) + np.asarray(zero, np.float32)
    return np.clip(np.where(np.isnan(y), least, y), least, most).astype(np.int64).astype(dtype)


def fake_quantise(x, *, scale, least, most, by):
    """Both at once, without a zero point; by: what the whole numbers are multiplied with."""
    zero = np.zeros((), np.float32)
    return dequantise(quantise(x, scale, zero, dtype=np.int64, least=least, most=most), by, zero)


def dequantise(x, scale, zero):
    return (x.astype(np.float32) - np.asarray(zero, np.float32)) * np.asarray(scale, np.float32)
