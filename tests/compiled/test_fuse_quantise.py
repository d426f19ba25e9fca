"""Floats that are quantised to 8 bits and back in a Program: the same numbers as by both rows, and no
steps of their own behind what can apply it.
"""

import numpy as np
import pytest

import pyops
import pyops.functional as F


def normal(*shape, seed=0):
    return np.random.default_rng(seed + len(shape)).standard_normal(shape).astype(np.float32)


def back(x, scale, zero=0, dtype="uint8"):
    return F.dequantize_linear(F.quantize_linear(x, scale, zero, dtype), scale, zero)


def steps(model, *inputs):
    """The steps of its Program, whose results are those of the eager rows."""
    program = pyops.compile(model, inputs, precision="strict")
    want = model(*(pyops.Tensor(x) for x in inputs))
    np.testing.assert_allclose(program(*inputs), np.asarray(want), rtol=1e-6, atol=1e-6)
    return [s.op for s in program.steps]


@pytest.mark.parametrize(
    "dtype, zero", [("uint8", 0), ("uint8", 128), ("uint8", 255), ("int8", -128), ("int8", 5), ("int16", 9)]
)
@pytest.mark.parametrize("scale", [0.1, 1 / 3, 2.0**-7, 1e-20, 1e20])
@pytest.mark.parametrize("shape", [(2, 19, 5, 7), (3, 100), (1001,)])
def test_the_numbers_are_those_of_both_rows(dtype, zero, scale, shape):
    """Ties, both limits and beyond, infinities, NaN and -0, bit for bit."""
    x = normal(*shape) * np.float32(scale) * 120
    flat = x.reshape(-1)
    codes = [-300, -129, -128.5, -128, -127.5, -0.5, -0.3, 0.5, 1.5, 2.5, 127.5, 254.5, 255.5, 300, 1e6]
    flat[: len(codes)] = np.float32(scale) * np.array(codes)
    flat[20:24] = np.inf, -np.inf, np.nan, -0.0
    program = pyops.compile(lambda v: back(v, scale, zero, dtype), (x,))
    got, want = program(x), np.asarray(back(x, scale, zero, dtype))
    np.testing.assert_array_equal(got.view(np.uint32), want.view(np.uint32))
    assert [s.op for s in program.steps] == ["fake_quantise"]


@pytest.mark.parametrize(
    "clamp, zero, dropped",
    [
        (F.relu, 0, True),
        (lambda x: F.clamp(x, 0.0, 255 * 0.05), 0, True),
        (lambda x: F.clamp(x, 0.0, 2.0), 0, False),  # below the greatest
        (F.relu, 128, False),  # below which there are whole numbers
    ],
)
def test_a_clamp_that_the_limits_imply_is_dropped(clamp, zero, dropped):
    w = normal(8, 3, 3, 3)
    model = lambda x: back(clamp(F.conv2d(x, w, padding=1)), 0.05, zero)  # noqa: E731
    found = steps(model, normal(2, 3, 9, 9) * 3)
    first = next(s for s in found if "conv" in s)
    assert (first == "conv") == dropped and first in ("conv", "conv+act"), found


def test_a_residual_block():
    """conv -> back -> conv -> back, plus the input, -> back: in blocked layout from end to end."""
    w, v = normal(16, 16, 3, 3) / 10, normal(16, 16, 3, 3, seed=1) / 10

    def model(x):
        x = back(x, 0.03, 128)
        y = back(F.conv2d(x, w, padding=1), 0.02, 0)
        y = back(F.conv2d(y, v, padding=1), 0.01, 120)
        return back(F.add(y, x), 0.05, 0)

    found = steps(model, normal(1, 16, 8, 8))
    assert not {"quantise", "dequantise"} & set(found), found
    assert found.count("to_blocked") == found.count("from_blocked") == 1, found


def test_what_is_left_to_the_rows():
    """Whole numbers that somebody else reads, another zero point on the way back, a scale a channel."""
    x, column = normal(2, 3, 4, 4), np.array([0.1, 0.2, 0.3], np.float32).reshape(3, 1, 1)

    def both(x):
        q = F.quantize_linear(x, 0.1, 3)
        return F.dequantize_linear(q, 0.1, 3), q

    assert "quantise" in [s.op for s in pyops.compile(both, (x,)).steps]
    for model in (
        lambda x: F.dequantize_linear(F.quantize_linear(x, 0.1, 3), 0.1, 4),
        lambda x: F.dequantize_linear(F.quantize_linear(x, column), column),
    ):
        assert {"quantise", "dequantise"} <= set(steps(model, x))


def test_whole_numbers_that_are_made_floats_by_several_scales():
    """Rounded once and multiplied, as QLinearConv and QLinearAdd read one result."""

    def model(x):
        q = F.quantize_linear(x, 0.1, 3)
        return F.add(F.dequantize_linear(q, 1.0, 3), F.sin(F.dequantize_linear(q, 0.37, 3)))

    assert steps(model, normal(2, 3, 4, 4)).count("fake_quantise") == 1
    assert steps(lambda x: F.dequantize_linear(F.quantize_linear(x, 0.1, 3), 0.2, 3), normal(5)) == ["fake_quantise"]
