"""Programs of any type of value: they give eager's results, are saved with their types, and refuse
files that say others.
"""

import io
import json
import pickle

import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.core.backends import ISAS, available, use_backend
from pyops.ops.cast import CAST

NATIVE = [name for name in available() if name in ISAS]
RNG = np.random.default_rng(0)


def whole(dtype, *shape, low=-9, high=9):
    return RNG.integers(
        0 if np.dtype(dtype).kind in "ub" else low, 2 if dtype == "bool" else high, shape
    ).astype(dtype)


def floats(*shape, dtype="float32"):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def several(results):
    return results if isinstance(results, tuple) else (results,)


def assert_as_eager(model, *inputs, tolerance=0.0):
    """On every instruction set: types, shapes and numbers; the tolerance is over the greatest
    number."""
    with use_backend("reference"):
        wants = [np.asarray(w) for w in several(model(*inputs))]
    for isa in NATIVE:
        with use_backend(isa):
            program = pyops.compile(model, inputs)
        for _ in range(2):  # the second run finds what the first left in its workspace
            for got, want in zip(several(program(*inputs)), wants, strict=True):
                assert got.dtype == want.dtype and got.shape == want.shape, (isa, got.dtype, want.dtype)
                if tolerance and want.dtype.kind == "f":
                    assert np.abs(got.astype(np.float64) - want).max() <= tolerance * np.abs(want).max(), isa
                else:
                    np.testing.assert_array_equal(got, want, isa)
    return program


@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "int8", "uint8"])
def test_programs_of_whole_numbers(dtype):
    x, y = whole(dtype, 3, 17), whole(dtype, 17)
    assert_as_eager(
        lambda x, y: (F.add(x, y), F.mul(x, y), F.floor_divide(x, y), F.remainder(x, y), F.maximum(x, 3)),
        x,
        y,
    )
    assert_as_eager(
        lambda x, y: (F.lt(x, y), F.sum(x, 1), F.amax(x, 0), F.argmin(x, 1), *F.topk(x, 4), F.cumsum(x, 1)),
        x,
        y,
    )
    assert_as_eager(
        lambda x: (
            x,
            F.reshape(x, (17, 3)),
            F.cat([x, x], 1),
            F.transpose(x, 0, 1),
            x[1:, ::2],
            F.where(F.gt(x, 2), x, 0),
        ),
        x,
    )
    assert_as_eager(
        lambda x: (CAST(x, dtype="float32") / 3, CAST(x, dtype="bool"), CAST(x, dtype="float16")), x
    )


def test_operators_of_traced_whole_numbers():
    """As F's functions: a number takes the type of the array, a float makes float32."""
    x, y = whole("int64", 4, 5), whole("int32", 5)
    program = pyops.compile(
        lambda x, y: (
            x + 1,
            7 - x,
            x * y,
            x // 3,
            x % 4,
            -x,
            abs(x),
            x > y,
            (x > 0) & (y > 0),
            x * 0.5,
            x / 2,
            x**2,
        ),
        (x, y),
    )
    wants = (
        x + 1,
        7 - x,
        x * y,
        x // 3,
        x % 4,
        -x,
        abs(x),
        x > y,
        (x > 0) & (y > 0),
        (x * 0.5).astype("float32"),
        (x / 2).astype("float32"),
        x**2,
    )
    for got, want in zip(program(x, y), wants, strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


def test_programs_of_truth_values():
    a, b = whole("bool", 4, 9), whole("bool", 9)
    assert_as_eager(
        lambda a, b: (
            F.logical_and(a, b),
            F.logical_or(a, b),
            F.logical_xor(a, b),
            F.logical_not(a),
            F.any(a, 1),
            F.all(a),
            F.sum(a, 0),
        ),
        a,
        b,
    )


def test_programs_of_doubles():
    """Kernels of doubles: far more exact than float32's could be."""
    x, w = floats(2, 3, 9, 8, dtype="float64"), floats(5, 3, 3, 3, dtype="float64")
    assert_as_eager(lambda x: F.softmax(F.relu(F.conv2d(x, w, padding=1)), 1), x, tolerance=1e-14)
    m = floats(7, 8, dtype="float64")
    assert_as_eager(
        lambda x, m: (F.exp(x) * 2 - 1, F.matmul(x, F.transpose(m, 0, 1)), F.mean(x, 3), F.gt(x, 0.0)),
        x,
        m,
        tolerance=1e-14,
    )


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_programs_take_and_give_halves(half):
    """Stored as they are, computed in float32, rounded where that is asked for."""
    half = np.dtype(half) if half == "float16" else np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    x, w = floats(4, 19).astype(half), floats(6, 19)
    program = pyops.compile(
        lambda x: (CAST(F.relu(CAST(x, dtype="float32") * 1.1), dtype=half), F.cat([x, x], 0), x[:, 3:5]), x
    )
    for got, want in zip(
        program(x),
        (
            np.maximum(x.astype("float32") * np.float32(1.1), 0).astype(half),
            np.concatenate([x, x]),
            x[:, 3:5],
        ),
        strict=True,
    ):
        assert got.dtype == half
        np.testing.assert_array_equal(got.astype("float32"), want.astype("float32"))
    got = pyops.compile(lambda x: F.linear(CAST(x, dtype="float32"), w), x)(x)
    np.testing.assert_allclose(got, x.astype("float64") @ w.T.astype("float64"), atol=2e-5)


def test_ids_and_a_mask_that_come_at_run_time():
    """A Transformer's beginning: embedded ids, attention where a mask lets it."""
    table, w = floats(50, 16), [floats(16, 16 + i)[:, :16] / 4 for i in range(3)]

    def model(ids, mask):
        x = F.embedding(ids, table)
        q, k, v = (F.transpose(F.reshape(F.linear(x, m), (2, 7, 4, 4)), 1, 2) for m in w)
        return F.reshape(
            F.transpose(F.scaled_dot_product_attention(q, k, v, attn_mask=mask), 1, 2), (2, 7, 16)
        )

    def definition(ids, mask):
        x = table.astype(np.float64)[ids]
        q, k, v = ((x @ m.T).reshape(2, 7, 4, 4).swapaxes(1, 2) for m in w)
        s = np.where(mask, q @ k.swapaxes(2, 3) / 2, -np.inf)
        p = np.exp(s - s.max(-1, keepdims=True))
        return (p / p.sum(-1, keepdims=True) @ v).swapaxes(1, 2).reshape(2, 7, 16)

    ids, length = whole("int64", 2, 7, low=0, high=50), np.array([7, 4])
    mask = (np.arange(7) < length[:, None])[:, None, None]
    for isa in NATIVE:
        with use_backend(isa):
            program = pyops.compile(model, (ids, mask))
        for given in (mask, mask[::-1].copy(), np.ones_like(mask)):
            np.testing.assert_allclose(program(ids, given), definition(ids, given), atol=1e-5)
        with pytest.raises(IndexError, match="index 50 is outside an axis of size 50"):
            program(np.full_like(ids, 50), mask)
        np.testing.assert_allclose(program(ids, mask), definition(ids, mask), atol=1e-5)


def test_a_program_refuses_arrays_of_another_type():
    program = pyops.compile(lambda x: x + 1, whole("int64", 3))
    for x in (whole("int32", 3), floats(3), whole("bool", 3)):
        with pytest.raises(ValueError, match=f"is {x.dtype}.*compiled for int64"):
            program(x)


# ---- files


def sample():
    table = floats(20, 6)

    def model(ids, mask, x, h):
        y = F.where(mask, F.embedding(ids, table), x)
        best = F.topk(y, 2)
        return (
            CAST(y, dtype="float16"),
            best.indices,
            F.sum(ids, 1),
            F.mul(CAST(h, dtype="float64"), 2.0),
            F.add(ids, CAST(mask[:, :, 0], dtype="int64")),
        )

    return model, (
        whole("int64", 3, 5, low=0, high=20),
        whole("bool", 3, 5, 1),
        floats(3, 5, 6),
        floats(4, dtype="float16"),
    )


def test_a_program_of_many_types_is_saved_loaded_and_pickled(tmp_path):
    model, inputs = sample()
    program = pyops.compile(model, inputs)
    want = program(*inputs)
    program.save(tmp_path / "p.npz")
    for isa in NATIVE:
        for again in (
            pyops.Program.load(tmp_path / "p.npz", backend=isa),
            pickle.loads(pickle.dumps(program)),
        ):
            assert again.inputs == program.inputs and again.outputs == program.outputs
            for got, right in zip(again(*inputs), want, strict=True):
                assert got.dtype == right.dtype
                np.testing.assert_array_equal(got, right)


def forged(file, change):
    """The file with another plan."""
    arrays = dict(np.load(file))
    plan = json.loads(arrays["plan"].tobytes())
    change(plan)
    arrays["plan"] = np.frombuffer(json.dumps(plan).encode(), np.uint8)
    out = io.BytesIO()
    np.savez(out, **arrays)
    out.seek(0)
    return out


def test_a_file_that_says_another_type_is_refused_or_harmless(tmp_path):
    """Every type of an input, output or place is changed to every other: a
    ValueError, or it runs."""
    model, inputs = sample()
    pyops.compile(model, inputs).save(tmp_path / "p.npz")
    plan = json.loads(np.load(tmp_path / "p.npz")["plan"].tobytes())
    types = ("float32", "float64", "float16", "int64", "int32", "uint8", "bool")
    refused = tried = 0

    def attempt(change):
        nonlocal refused, tried
        tried += 1
        try:
            program = pyops.Program.load(forged(tmp_path / "p.npz", change))
        except ValueError as why:
            assert "no saved program" in str(why)
            refused += 1
            return
        try:
            program(*(np.zeros(shape, dtype) for shape, dtype in program.inputs))
        except (ValueError, IndexError):
            pass

    for key in ("inputs", "outputs"):
        for i, (_, own) in enumerate(plan[key]):
            for other in set(types) - {own}:
                before = refused

                def change(p, key=key, i=i, other=other):
                    p[key][i][1] = other

                attempt(change)
                assert refused > before, (key, i, own, other)
    for s, step in enumerate(plan["steps"]):
        for a, argument in enumerate(step["args"]):
            for t in (
                [t for t, part in enumerate(argument) if isinstance(part, str) and part in types]
                if isinstance(argument, list)
                else ()
            ):
                for other in set(types) - {argument[t]}:

                    def change(p, s=s, a=a, t=t, other=other):
                        p["steps"][s]["args"][a][t] = other

                    attempt(change)
    assert tried > 60 and refused > 40


# ---- random graphs

NAMES = ("int64", "int32", "uint8", "bool", "float32", "float16")


def random_model(seed):
    """Inputs, and a function of five to nine ops on whatever is there, cast to one
    type where need be."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 7, rng.integers(1, 4)))
    inputs = []
    for name in rng.choice(NAMES, int(rng.integers(1, 4))):
        x = rng.integers(0 if name in ("uint8", "bool") else -9, 2 if name == "bool" else 9, shape)
        inputs.append((x / 4 if name.startswith("float") else x).astype(name))
    steps = [
        (
            int(rng.integers(0, 16)),
            int(rng.integers(0, 99)),
            int(rng.integers(0, 99)),
            str(rng.choice(NAMES)),
            int(rng.integers(0, 9)),
        )
        for _ in range(int(rng.integers(5, 10)))
    ]

    def model(*given):
        values = list(given)
        for kind, i, j, name, k in steps:
            a, b = values[i % len(values)], values[j % len(values)]
            if a.dtype == np.float16:
                a = CAST(a, dtype="float32")
            b = CAST(b, dtype=a.dtype) if b.dtype != a.dtype else b
            dim, truth, real = k % len(shape), a.dtype == np.bool_, a.dtype.kind == "f"
            if kind == 0:
                y = F.add(a, b)
            elif kind == 1:
                y = F.mul(a, b) if not real else F.mul(a, 0.5)
            elif kind == 2:
                y = F.lt(a, b)
            elif kind == 3:
                y = F.where(F.eq(a, b), a, b)
            elif kind == 4:
                y = CAST(a, dtype=name) if not real or name.startswith("float") else F.floor(a)
            elif kind == 5:
                y = F.cumsum(a, dim) if not real else F.maximum(a, b)
            elif kind == 6:
                y = F.index_select(
                    a,
                    dim,
                    F.remainder(
                        CAST(F.flip(F.argmax(F.reshape(b, (-1, 1)), 1), (0,))[:1], dtype="int64"), shape[dim]
                    ),
                )
                y = F.broadcast_to(y, shape)
            elif kind == 7:
                y = F.topk(a, shape[dim], dim, bool(k & 1))[k & 1]
            elif kind == 8:
                y = F.logical_xor(a, b) if not real else F.minimum(a, b)
            elif kind == 9:
                y = F.broadcast_to(F.amax(a, dim, True), shape)
            elif kind == 10:
                y = F.neg(a) if not truth else F.logical_not(a)
            elif kind == 11:
                y = F.roll(a, k, dim)
            elif kind == 12:
                y = F.remainder(a, 3) if not truth and not real else F.isnan(a)
            elif kind == 13:
                y = F.scatter(a, dim, F.remainder(CAST(F.lt(a, b), dtype="int64"), shape[dim]), b)
            elif kind == 14:
                y = F.bitwise_and(a, b) if not real else F.round(a)
            else:
                y = F.broadcast_to(F.sum(a, dim, True), shape) if not real else F.sign(a)
            values.append(y)
        return tuple(values[len(given) :])

    return model, tuple(inputs)


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_random_programs_give_the_references_results(first):
    """Seeded graphs whose arithmetic is exact in float32 as well (quarters and their sums)."""
    for seed in range(first, first + 20):
        model, inputs = random_model(seed)
        with use_backend("reference"):
            wants = several(model(*inputs))
        program = pyops.compile(model, inputs, threads=1 + seed % 3)
        for i, (got, want) in enumerate(zip(several(program(*inputs)), wants, strict=True)):
            want = np.asarray(want)
            assert got.dtype == want.dtype and got.shape == want.shape, (seed, i, got.dtype, want.dtype)
            np.testing.assert_array_equal(got, want, f"seed {seed}, value {i}")
