"""Programs for sizes and numbers as they come: one for each, kept in turn, weights shared, several
threads at once.
"""

import threading

import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.graph import TraceError
from pyops.graph.shared import PROGRAMS, Constants, Recent
from pyops.graph.varying import MOST_NUMBERS, Varying

FLOAT, LONG, BOOL = np.dtype(np.float32), np.dtype(np.int64), np.dtype(bool)


def floats(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def varying(model, *inputs):
    """A Varying of a function of all inputs, and the list of what was made: shapes and
    constants of each."""
    made, shared = [], Constants()

    def make(arrays, fixed):
        places = [i for i in range(len(arrays)) if i not in fixed]

        def some(*free):
            given = iter(free)
            return model(*(arrays[i] if i in fixed else next(given) for i in range(len(arrays))))

        try:
            program = pyops.compile(some, tuple(arrays[i] for i in places), shared=shared)
        except TraceError as why:
            why.wanted = tuple(places[i] for i in why.wanted)
            raise
        made.append(([a.shape for a in arrays], fixed))
        return program

    return Varying(make, inputs), made


def test_a_program_is_made_for_each_size_and_kept():
    w = floats(64, 64)
    program, made = varying(lambda x: F.linear(x, w), (FLOAT, (None, None, 64)))
    for _ in range(2):
        for size in ((1, 3), (2, 5), (1, 4)):
            x = floats(*size, 64)
            np.testing.assert_allclose(program(x), x.astype(np.float64) @ w.T.astype(np.float64), atol=1e-4)
    assert program.programs == len(made) == 3
    held = [p.plan.constants for p in program._programs.values()]
    assert (
        len({id(a) for constants in held for a in constants if a.nbytes == w.nbytes}) <= 2
    )  # by packing, not by size


def test_the_last_few_are_kept_and_nothing_of_the_others():
    program, made = varying(lambda x: x * 2, (FLOAT, (None,)))
    for n in range(1, 41):
        assert np.array_equal(program(np.ones(n, np.float32)), np.full(n, 2))
    assert program.programs == PROGRAMS and len(made) == 40
    program(np.ones(40 - PROGRAMS + 1, np.float32))
    assert len(made) == 40
    program(np.ones(1, np.float32))
    assert len(made) == 41
    assert not program._programs._making and len(program._programs._asked) <= PROGRAMS


def test_a_key_that_cannot_be_made_leaves_nothing():
    def refuse(key):
        raise ValueError(f"no {key}")

    recent = Recent(refuse)
    for key in range(50):
        with pytest.raises(ValueError, match=f"no {key}"):
            recent[key]
    assert not len(recent) and not recent._making and not recent._asked


def test_numbers_that_say_how_to_compute_are_constants_of_programs():
    """A count and an axis, found out one after the other."""

    def model(x, count, axis):
        return F.topk(x, int(np.asarray(count)), int(np.asarray(axis)))[0]

    program, made = varying(model, (FLOAT, (4, 6)), (LONG, ()), (LONG, ()))
    x = floats(4, 6)
    for count, axis in ((2, 0), (3, 1), (2, 0), (1, 1)):
        got = program(x, np.array(count), np.array(axis))
        assert np.array_equal(got, np.flip(np.sort(x, axis), axis).take(range(count), axis))
    assert program.fixed == {1, 2} and len(made) == 3
    with pytest.raises(ValueError, match="k must be from 0 to 4"):
        program(x, np.array(5), np.array(0))
    assert np.array_equal(program(x, np.array(2), np.array(0)), np.flip(np.sort(x, 0), 0)[:2])


def test_too_many_numbers_are_no_constant():
    program, _ = varying(lambda x, y: F.mul(x, float(np.asarray(y).sum())), (FLOAT, (3,)), (FLOAT, (None,)))
    assert np.array_equal(program(floats(3), np.ones(MOST_NUMBERS, np.float32)), floats(3) * MOST_NUMBERS)
    program, _ = varying(lambda x, y: F.mul(x, float(np.asarray(y).sum())), (FLOAT, (3,)), (FLOAT, (None,)))
    with pytest.raises(TraceError, match="turned into an array"):
        program(floats(3), np.ones(MOST_NUMBERS + 1, np.float32))


def test_numbers_that_differ_by_a_sign_or_a_bit_are_told_apart():
    program, made = varying(lambda x, y: F.mul(x, float(np.asarray(y))), (FLOAT, (2,)), (FLOAT, ()))
    for y in (0.0, -0.0, 1.0, np.nextafter(np.float32(1), np.float32(2))):
        got, want = program(np.ones(2, np.float32), np.float32(y)), np.float32(y)
        assert np.all(got == want) and np.all(np.signbit(got) == np.signbit(want))
    assert len(made) == 4


def test_what_does_not_fit_is_refused_by_name():
    program = Varying(lambda *_: None, [(FLOAT, (None, 3)), (BOOL, None)], ["x", "mask"])
    mask = np.ones((2, 2), bool)
    with pytest.raises(ValueError, match=r"x is float32\[2, 4\], the model takes float32 \[any, 3\]"):
        program(floats(2, 4), mask)
    with pytest.raises(ValueError, match=r"x is float32\[3\], the model takes"):
        program(floats(3), mask)
    with pytest.raises(ValueError, match=r"mask is int64\[2, 2\], the model takes bool any shape"):
        program(floats(2, 3), mask.astype(np.int64))
    with pytest.raises(TypeError, match=r"takes 2 inputs \(x, mask\), got 1"):
        program(floats(2, 3))


def test_threads_that_find_out_at_once_get_each_its_own_result():
    """They begin before it is known that an input is a constant, each with other
    numbers and sizes."""
    for attempt in range(5):
        program, _ = varying(lambda x, y: F.mul(x, float(np.asarray(y))), (FLOAT, (None,)), (FLOAT, ()))
        begin, wrong = threading.Barrier(4), []

        def work(t, program=program, begin=begin, wrong=wrong):
            begin.wait()
            for i in range(12):
                n, y = 1 + (t + i) % 3, np.float32(1 + (t * i) % 4)
                try:
                    if not np.array_equal(program(np.ones(n, np.float32), y), np.full(n, y)):
                        wrong.append((t, i))
                except Exception as why:  # of a thread, which would be lost
                    wrong.append(why)

        threads = [threading.Thread(target=work, args=(t,)) for t in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not wrong, (attempt, wrong[:3])


def test_programs_of_other_types_vary_as_well():
    table = floats(30, 8)
    program, made = varying(
        lambda ids, mask: F.where(F.reshape(mask, (*mask.shape, 1)), F.embedding(ids, table), 0.0),
        (LONG, (None, None)),
        (BOOL, (None, None)),
    )
    for shape in ((1, 4), (3, 2), (1, 4)):
        ids, mask = (
            np.arange(np.prod(shape)).reshape(shape),
            np.arange(np.prod(shape)).reshape(shape) % 2 == 0,
        )
        assert np.array_equal(program(ids, mask), np.where(mask[..., None], table[ids], 0))
    assert len(made) == 2
