"""Values of any type at the edges of their types: casts beside NumPy's and
ml_dtypes', whole numbers beside Python's, orders beside torch's, indices outside of
their axis, and what is put twice.
"""

import itertools
import math
import threading

import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops import num_threads
from pyops.core.backends import use_backend
from pyops.ops.cast import CAST

BOOL = np.dtype(bool)
bfloat16 = np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
FLOATS = [np.dtype(t) for t in ("float64", "float32", "float16")] + [bfloat16]
SIGNED, UNSIGNED = ([np.dtype(f"{kind}{bits}") for bits in (8, 16, 32, 64)] for kind in ("int", "uint"))
WHOLE = SIGNED + UNSIGNED
TYPES = [*FLOATS, *WHOLE, BOOL]
# Of float16: its least number and the tie below, ties to even, its greatest number and the tie above, NaN
HALF_EDGES = [
    2.0**-24,
    2.0**-25,
    np.nextafter(2.0**-25, 1),
    1.5 * 2.0**-24,
    2.5 * 2.0**-24,
    2.0**-14 - 2.0**-25,
    2.0**-14 - 2.0**-24,
    2.0**-14,
    1 + 2.0**-11,
    1 + 3 * 2.0**-11,
    1 + 2.0**-11 + 2.0**-40,
    2049,
    2051,
    65504,
    65519.99,
    65520,
    65536,
    1e-8,
    1e-300,
    1e39,
    1e300,
    math.inf,
    math.nan,
]
BFLOAT_EDGES = [
    1 + 2.0**-8,
    1 + 3 * 2.0**-8,
    1 + 2.0**-8 + 2.0**-20,
    257,
    259,
    3.39e38,
    3.4e38,
    1e-40,
    2.0**-133,
    2.0**-134,
]
PLAIN = [
    0.0,
    0.1,
    0.5,
    0.999,
    1,
    1.5,
    2.5,
    3,
    77.7,
    100,
    127,
    200,
    255,
    30000.5,
    65535,
    2.0**31 - 1,
    2.0**31,
    2.0**32 - 1,
    2.0**52 + 1,
    2.0**62,
    2.0**63,
]


def edges(dtype):
    if dtype == BOOL:
        return np.array([False, True, True])
    if dtype.kind in "iu":
        least, most = limits(dtype)
        some = [
            least,
            least + 1,
            least // 2,
            -3,
            -2,
            -1,
            0,
            1,
            2,
            3,
            7,
            dtype.itemsize * 8 - 1,
            dtype.itemsize * 8,
            100,
            2049,
            2051,
            65504,
            65519,
            65520,
            2**24 + 1,
            2**53 + 1,
            most // 2,
            most - 1,
            most,
        ]
        return np.array(sorted({v for v in some if least <= v <= most}), dtype)
    values = np.array(HALF_EDGES + BFLOAT_EDGES + PLAIN)
    with np.errstate(over="ignore"):
        return np.concatenate([values, -values]).astype(dtype)


def limits(dtype):
    return (0, 1) if dtype == BOOL else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))


def has_value(x, to):
    """Which of floats a whole type has."""
    least, most = limits(to)
    with np.errstate(invalid="ignore"):
        wide = x.astype(np.float64)
        return (np.trunc(wide) >= least) & (
            np.trunc(wide) < float(most) + (most < 2**53)
        )  # the greatest of 64 bits is no float


def same(got, want):
    """The same type, numbers and signs of zeros, NaN at the same places."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype and got.shape == want.shape
    if want.dtype.kind in "fV":
        with np.errstate(invalid="ignore"):  # NaN that signal
            wide, right = got.astype(np.float64), want.astype(np.float64)
        np.testing.assert_array_equal(wide, right)
        numbers = ~np.isnan(right)
        np.testing.assert_array_equal(np.signbit(wide)[numbers], np.signbit(right)[numbers])
    else:
        np.testing.assert_array_equal(got, want)


# ---- casts


@pytest.mark.parametrize("to", TYPES, ids=str)
def test_casts_are_numpys(backend, to):
    for dtype in TYPES:
        x = edges(dtype)
        if dtype.kind in "fV" and to.kind in "iu":
            x = x[has_value(x, to)]
        assert len(x) > 2
        with np.errstate(all="ignore"):
            want = x.astype(to)
        for repeats in (1, 40):  # within a vector, and over several
            with use_backend(backend):
                same(CAST(np.tile(x, repeats), dtype=to), np.tile(want, repeats))


@pytest.mark.parametrize("half", [np.dtype(np.float16), bfloat16], ids=str)
def test_every_half_is_read_and_every_tie_written_right(backend, half):
    every = np.arange(1 << 16, dtype=np.uint16).view(half)
    with use_backend(backend):
        for to in (np.float32, np.float64):
            with np.errstate(invalid="ignore"):  # NaN that signal
                want = every.astype(to)
            same(CAST(every, dtype=to), want)
        ordered = np.sort(every[np.isfinite(every.astype(np.float32))].astype(np.float32))
        ties = np.unique(((ordered[1:].astype(np.float64) + ordered[:-1]) / 2).astype(np.float32))
        around = np.concatenate(
            [ties, np.nextafter(ties, np.float32(np.inf)), np.nextafter(ties, np.float32(-np.inf))]
        )
        same(CAST(around, dtype=half), around.astype(half))
        if half == np.float16:  # doubles are rounded once
            ties = ties.astype(np.float64)
            around = np.concatenate(
                [
                    ties,
                    np.nextafter(ties, np.inf),
                    np.nextafter(ties, -np.inf),
                    ties * (1 + 2.0**-40),
                    ties * (1 - 2.0**-40),
                ]
            )
            same(CAST(around, dtype=half), around.astype(half))


def test_truth_is_what_is_not_zero(backend):
    with use_backend(backend):
        for dtype in FLOATS:
            x = np.array([0.0, -0.0, 1e-7, -3, math.nan, math.inf]).astype(dtype)
            same(CAST(x, dtype=bool), np.array([False, False, True, True, True, True]))
        same(CAST(np.array([0, 256, 2**32, -(2**63)]), dtype=bool), np.array([False, True, True, True]))


# ---- whole numbers


def wrap(value, dtype):
    """The whole number as a type of so many bits has it, in two's complement."""
    bits = 8 * dtype.itemsize
    value &= (1 << bits) - 1
    return value - (1 << bits) if dtype.kind == "i" and value >> (bits - 1) else value


def quotient(a, b):
    """Towards zero."""
    return 0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def power(a, b, dtype):
    if b < 0:
        return {1: 1, -1: -1 if b % 2 else 1}.get(a, 0)
    return pow(a, b, 1 << 8 * dtype.itemsize)


def shift(a, b, dtype, left):
    if 0 <= b < 8 * dtype.itemsize:
        return a << b if left else a >> b
    return 0 if left or a >= 0 else -1


BINARY = {  # in Python's whole numbers, before they wrap
    "add": (F.add, lambda a, b, _: a + b),
    "sub": (F.sub, lambda a, b, _: a - b),
    "mul": (F.mul, lambda a, b, _: a * b),
    "pow": (F.pow, power),
    "maximum": (F.maximum, lambda a, b, _: max(a, b)),
    "minimum": (F.minimum, lambda a, b, _: min(a, b)),
    "div_trunc": (lambda a, b: F.div(a, b, rounding_mode="trunc"), lambda a, b, _: quotient(a, b)),
    "div_floor": (lambda a, b: F.div(a, b, rounding_mode="floor"), lambda a, b, _: a // b if b else 0),
    "floor_divide": (F.floor_divide, lambda a, b, _: a // b if b else 0),
    "remainder": (F.remainder, lambda a, b, _: a % b if b else 0),
    "fmod": (F.fmod, lambda a, b, _: a - quotient(a, b) * b if b else 0),
    "and": (F.bitwise_and, lambda a, b, _: a & b),
    "or": (F.bitwise_or, lambda a, b, _: a | b),
    "xor": (F.bitwise_xor, lambda a, b, _: a ^ b),
    "left": (F.bitwise_left_shift, lambda a, b, t: shift(a, b, t, True)),
    "right": (F.bitwise_right_shift, lambda a, b, t: shift(a, b, t, False)),
}
ONE = {
    "neg": (F.neg, lambda a: -a),
    "abs": (F.abs, abs),
    "bitwise_not": (F.bitwise_not, lambda a: ~a),
    "sign": (F.sign, lambda a: (a > 0) - (a < 0)),
}


@pytest.mark.parametrize("name", BINARY)
def test_whole_numbers_are_pythons_that_wrap(backend, name):
    call, plain = BINARY[name]
    for dtype in WHOLE:
        pairs = list(itertools.product(edges(dtype).tolist(), repeat=2))
        a, b = (np.array(v, dtype) for v in zip(*pairs))
        want = np.array([wrap(plain(int(p), int(q), dtype), dtype) for p, q in pairs], dtype)
        for used in (backend, "reference"):
            with use_backend(used):
                same(call(a, b), want)


@pytest.mark.parametrize("name", ONE)
def test_one_whole_number_is_pythons_that_wraps(backend, name):
    call, plain = ONE[name]
    for dtype in WHOLE:
        x = edges(dtype)
        want = np.array([wrap(plain(v), dtype) for v in x.tolist()], dtype)
        for used in (backend, "reference"):
            with use_backend(used):
                same(call(x), want)


def test_arithmetic_of_truth_values(backend):
    a, b = np.array([0, 0, 1, 1], bool), np.array([0, 1, 0, 1], bool)
    for used in (backend, "reference"):
        with use_backend(used):
            same(F.add(a, b), a | b)
            same(F.mul(a, b), a & b)
            same(F.bitwise_not(a), ~a)
            for call in (F.sub, F.neg):  # as NumPy and torch
                with pytest.raises(TypeError, match="bool"):
                    call(*(a, b)[: 2 if call is F.sub else 1])


def test_what_whole_numbers_alone_have_is_refused_of_floats(backend):
    """Not left unwritten."""
    x = np.ones(3, np.float32)
    for used in (backend, "reference"):
        with use_backend(used):
            for call in (
                F.bitwise_and,
                F.bitwise_or,
                F.bitwise_xor,
                F.bitwise_left_shift,
                F.bitwise_right_shift,
            ):
                with pytest.raises(TypeError):
                    call(x, x)
            with pytest.raises(TypeError):
                F.bitwise_not(x)
    with pytest.raises(TypeError, match="takes no float32"):
        pyops.compile(lambda x: F.bitwise_and(x, x), x)


def test_a_number_outside_of_the_type_is_refused(backend):
    with use_backend(backend):
        for call in (F.add, F.mul, F.lt, F.remainder):
            with pytest.raises(ValueError, match="300 is outside of uint8"):
                call(np.ones(3, np.uint8), 300)


def test_sums_and_products_of_whole_numbers_are_int64s(backend):
    for dtype in WHOLE[:-1]:
        x = np.tile(edges(dtype), 3).reshape(3, -1)
        for used in (backend, "reference"):
            with use_backend(used):
                for name, plain in (("sum", sum), ("prod", math.prod)):
                    want = [wrap(plain(line), np.dtype(np.int64)) for line in x.tolist()]
                    same(getattr(F, name)(x, 1), np.array(want, np.int64))
                same(F.amax(x, 0), x.max(0))
                same(F.amin(x, 1), x.min(1))


# ---- NaN and equals

SPECIAL = [0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_comparisons_with_nan_are_ieee_754s(backend, dtype):
    a, b = (np.array(v).astype(dtype) for v in zip(*itertools.product(SPECIAL, repeat=2)))
    for used in (backend, "reference"):
        with use_backend(used):
            for name, compare in (
                ("eq", np.equal),
                ("ne", np.not_equal),
                ("lt", np.less),
                ("le", np.less_equal),
                ("gt", np.greater),
                ("ge", np.greater_equal),
            ):
                want = compare(a.astype(np.float64), b.astype(np.float64))
                same(getattr(F, name)(a, b), want)
            x = a.astype(np.float64)
            for name, ask in (
                ("isnan", np.isnan),
                ("isinf", np.isinf),
                ("isfinite", np.isfinite),
                ("logical_not", np.logical_not),
            ):
                same(getattr(F, name)(a), ask(x))


def test_great_whole_numbers_are_not_compared_as_floats(backend):
    a, b = np.array([2**53 + 1, -(2**63), 2**63 - 1]), np.array([2**53, -(2**63) + 1, 2**63 - 2])
    with use_backend(backend):
        assert not np.any(F.eq(a, b)) and np.array_equal(F.gt(a, b), [True, False, True])
        same(F.topk(np.stack([a, b]), 1, 0).indices, np.array([[0, 1, 0]]))


def lines(dtype, seed=0):
    """Values with many equals, NaN among floats."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2 if dtype == BOOL else 9, (5, 37, 4))
    if dtype.kind not in "fV":
        return x.astype(dtype)
    x = np.where(rng.random(x.shape) < 0.1, math.nan, np.where(rng.random(x.shape) < 0.1, math.inf, x - 4.0))
    return x.astype(dtype)


@pytest.mark.parametrize(
    "dtype",
    [
        np.dtype(t)
        for t in ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
    ],
    ids=str,
)
def test_orders_with_nan_and_equals_are_torchs(backend, dtype):
    torch = pytest.importorskip("torch")
    x = lines(dtype)
    given = torch.from_numpy(x)
    for used in (backend, "reference"):
        with use_backend(used):
            for dim, descending in itertools.product((0, 1, -1), (False, True)):
                values, indices = F.sort(x, dim, descending)
                right = torch.sort(given, dim=dim, descending=descending, stable=True)
                same(values, right.values.numpy())
                same(indices, right.indices.numpy())
                same(F.argsort(x, dim, descending), right.indices.numpy())
                count = min(3, x.shape[dim])
                values, indices = F.topk(
                    x, count, dim, descending
                )  # the first of equals, which torch leaves open
                same(values, right.values.narrow(dim, 0, count).numpy())
                same(indices, right.indices.narrow(dim, 0, count).numpy())


@pytest.mark.parametrize(
    "dtype", [np.dtype(t) for t in ("float64", "float32", "int64", "uint8", "bool")], ids=str
)
def test_places_of_extremes_with_nan_and_equals_are_numpys(backend, dtype):
    x = lines(dtype, 1)
    for used in (backend, "reference"):
        with use_backend(used):
            for dim in (None, 0, 1, -1):
                same(F.argmax(x, dim), np.asarray(np.argmax(x, dim)))
                same(F.argmin(x, dim), np.asarray(np.argmin(x, dim)))
            for name in ("any", "all"):
                same(getattr(F, name)(x, 1), getattr(np, name)(x, 1))


# ---- indices

N = 70_000  # so many that three threads share them


def calls():
    x, index = np.arange(N, dtype=np.float32).reshape(-1, 2), np.zeros(N, np.int64)
    along = np.zeros((N // 2, 2), np.int64)
    return {
        "index_select": (lambda x, i: F.index_select(x, 0, i), x, index),
        "gather": (lambda x, i: F.gather(x, 0, i), x, along),
        "take_along_dim": (lambda x, i: F.take_along_dim(x, i, 0), x, along),
        "gather_nd": (F.gather_nd, x, index.reshape(-1, 1)),
        "scatter": (lambda x, i: F.scatter(x, 0, i, x), x, along),
        "scatter_add": (lambda x, i: F.scatter_add(x, 0, i, x), x, along),
        "scatter_nd": (lambda x, i: F.scatter_nd(x, i, x), x, index[: N // 2].reshape(-1, 1)),
    }


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", calls())
def test_an_index_outside_of_its_axis_is_an_index_error(backend, name, threads):
    """Eagerly and in a Program, at any place; the right answer comes afterwards."""
    call, x, index = calls()[name]
    with use_backend(backend), num_threads(threads):
        want = np.asarray(call(x, index))
        program = pyops.compile(call, (x, index), threads=threads)
        assert np.array_equal(program(x, index), want)
        for wrong, at in ((len(x), 0), (-len(x) - 1, -1), (2**62, index.size // 2), (-(2**63), 5)):
            bad = index.copy()
            bad.flat[at] = wrong
            for run in (call, program):
                with pytest.raises(IndexError, match=str(wrong)):
                    run(x, bad)
            assert np.array_equal(call(x, index), want) and np.array_equal(program(x, index), want)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_program_refuses_rows_that_an_embedding_lacks(backend, threads):
    x, index = np.arange(N, dtype=np.float32).reshape(-1, 2), np.zeros(N, np.int64)
    with use_backend(backend):
        program, bad = pyops.compile(lambda i: F.embedding(i, x), index, threads=threads), index.copy()
        bad[N // 3] = -1
        with pytest.raises(IndexError, match="index -1 is outside an axis of size 35000"):
            program(bad)
        with pytest.raises(ValueError, match="index -1 is not one of the 35000 rows"):
            F.embedding(bad, x)
        assert np.array_equal(program(index), x[index])


def test_index_errors_of_several_threads_are_each_its_own():
    call, x, index = calls()["gather"]
    program, bad = pyops.compile(call, (x, index), threads=2), index.copy()
    bad[-1] = len(x) + 7
    want, seen = np.asarray(call(x, index)), []

    def work(wrong):
        for _ in range(20):
            try:
                seen.append(np.array_equal(program(x, bad if wrong else index), want) and not wrong)
            except IndexError:
                seen.append(wrong)

    threads = [threading.Thread(target=work, args=(wrong,)) for wrong in (True, False, True)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(seen) == 60 and all(seen)


# ---- what is put twice

JOINED = {"": lambda a, b: b, "sum": lambda a, b: a + b, "prod": lambda a, b: a * b, "amax": max, "amin": min}


@pytest.mark.parametrize(
    "dtype", [np.dtype(t) for t in ("float32", "float64", "int64", "int32", "uint8")], ids=str
)
@pytest.mark.parametrize("reduce", JOINED)
def test_what_meets_is_put_in_order_whatever_the_threads(backend, dtype, reduce):
    """Of values put in one place the last stays; sums of floats are those of Python's loop, to the
    bit."""
    rng = np.random.default_rng(3)
    x = (rng.standard_normal((3, 50)) * 9).astype(dtype)
    index, values = rng.integers(0, 50, (3, 4000)), (rng.standard_normal((3, 4000)) * 9).astype(dtype)
    want = x.copy()
    with np.errstate(all="ignore"):
        for row, (places, given) in enumerate(zip(index, values)):
            for place, value in zip(places, given):
                want[row, place] = JOINED[reduce](want[row, place], value)
    for used, threads in ((backend, 1), (backend, 3), ("reference", 1)):
        with use_backend(used), num_threads(threads):
            got = (
                F.scatter(x, 1, index, values)
                if not reduce
                else F.scatter_reduce(x, 1, index, values, reduce)
            )
            same(got, want)
