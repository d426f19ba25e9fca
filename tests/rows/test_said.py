"""What is said of bad input: one sentence that names the op, the values and the rule."""

import numpy as np
import pytest

import pyops
import pyops.functional as F

S, H, PLACE = np.ones(3, np.float32), np.ones(3, np.float16), np.array([9])


@pytest.mark.parametrize(
    "call, error, said",
    [
        (lambda: F.add(H, S), TypeError, "add: inputs must share one dtype, got float16, float32"),
        (lambda: F.matmul(S, H), TypeError, "matmul: inputs must share one dtype, got float16, float32"),
        (lambda: F.getitem(S, 5), IndexError, "getitem: index 5 is out of bounds for axis 0 with size 3"),
        (lambda: pyops.Tensor(S)[5], IndexError, "getitem: index 5 is out of bounds"),
        (lambda: F.gather(S, 0, PLACE), IndexError, "take_along: index 9 is outside an axis of size 3"),
        (lambda: F.index_select(S, 0, PLACE), IndexError, "take: index 9 is outside an axis of size 3"),
        (lambda: F.scatter(S, 0, PLACE, S[:1]), IndexError, "put_along: index 9 is outside an axis of size 3"),
        (lambda: F.sort(S, 3), ValueError, r"sort: dim 3 is outside the 1 axes \[-1, 0\]"),
        (lambda: F.masked_select(S, S), TypeError, "masked_select: mask must be of truth values, got float32"),
        (lambda: pyops.compile(None, S), TypeError, "compile: model must be a Module or a function of arrays, got N"),
        (lambda: pyops.compile(F.relu, S, batch_invariant=3), ValueError, "compile: batch_invariant must be True, "),
        (lambda: pyops.compile(F.relu, S, dynamic_batch=3), TypeError, "compile: dynamic_batch must be True or False"),
        (lambda: pyops.compile(F.relu, S, threads=True), ValueError, "compile: threads must be a positive int"),
    ],
)
def test_what_is_said(call, error, said):
    with pytest.raises(error, match=said):
        call()


def test_a_varying_program_says_what_it_takes():
    program = pyops.compile(lambda x: F.relu(x), S, dynamic={"x": {0: (1, 8)}})
    assert repr(program) == "Varying(input 'x' float32[1 to 8]; 1 plans)"
    program(S[:2])
    said = program.summary(1)
    assert "Program(1 steps, float32[3]" in said and "float32[2]" in said and said.count("relu") == 2
