"""Borders, scales and shifts in front of a layer and behind it that become part of it, and layers of few
filters: the same numbers as by eager calls, and no steps of their own.
"""

import numpy as np
import pytest

import pyops
import pyops.functional as F


def normal(*shape, seed=0):
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


def steps(model, *inputs, tolerance=2e-6, **how):
    """The kernels of its Program, whose results are those of the eager calls in float64."""
    program = pyops.compile(model, inputs, **how)
    want = np.asarray(model(*(x.astype(np.float64) for x in inputs)))
    got = program(*inputs)
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(want).max())
    return [s.kernel for s in program.steps]


def of(array, like):
    """A constant in the type of the input."""
    return array.astype(like.dtype) if isinstance(like, np.ndarray) else array


def conv(x, w, b=None, **how):
    return F.conv2d(x, of(w, x), None if b is None else of(b, x), **how)


# ---- zeros around an image

BORDERS = [  # before, after, kernel, stride, padding, dilation
    ((0, 0), (1, 1), (3, 3), 2, 0, 1),
    ((1, 1), (1, 1), (3, 3), 1, 0, 1),
    ((1, 1), (2, 2), (5, 5), 2, 1, 1),
    ((0, 2), (1, 3), (2, 4), 1, 0, 1),
    ((2, 0), (1, 0), (3, 1), 3, (0, 1), 1),
    ((2, 2), (4, 4), (3, 3), 2, 0, 3),
    ((0, 0), (6, 6), (7, 7), 2, 0, 1),
]


@pytest.mark.parametrize("isa", ["avx512", "avx2", "scalar"])
@pytest.mark.parametrize("groups, filters", [(1, 24), (20, 20), (1, 3)])
@pytest.mark.parametrize("border", BORDERS, ids=str)
def test_zeros_go_into_the_padding(border, groups, filters, isa):
    if isa not in pyops.available():
        pytest.skip(f"this CPU or this build has no {isa}")
    before, after, kernel, stride, padding, dilation = border
    w = normal(filters, 20 // groups, *kernel)

    def model(x):
        x = F.pad(x, (before[1], after[1], before[0], after[0]))
        return conv(x, w, stride=stride, padding=padding, dilation=dilation, groups=groups)

    with pyops.use_backend(isa):
        found = steps(model, normal(2, 20, 13, 17))
        behind_a_layer = steps(lambda x: model(F.conv2d(x, of(normal(20, 20, 1, 1) / 5, x))), normal(2, 20, 13, 17))
    assert not any("pad" in k for k in (*found, *behind_a_layer)), (found, behind_a_layer)


@pytest.mark.parametrize(
    "model",
    [
        lambda x: conv(F.pad(x, (1, 1, 1, 1), value=0.5), normal(24, 20, 3, 3)),
        lambda x: conv(F.pad(x, (1, 1, 1, 1), "reflect"), normal(24, 20, 3, 3)),
        lambda x: conv(F.pad(x, (0, 3)), normal(24, 20, 1, 2)),  # a window that begins behind the image
        lambda x: F.max_pool2d(F.pad(x, (1, 1)), 2),
    ],
)
def test_borders_that_stay(model):
    assert any("pad" in k for k in steps(model, normal(2, 20, 9, 11)))


def test_a_border_that_others_read_stays_for_them():
    w = normal(24, 20, 3, 3)

    def model(x):
        y = F.pad(x, (1, 1, 1, 1))
        return F.add(F.sum(conv(y, w), (1, 2, 3)), F.amax(y, (1, 2, 3)))

    assert any("pad" in k for k in steps(model, normal(2, 20, 9, 11)))


def test_a_slice_of_everything_is_no_step():
    w = normal(8, 20, 1, 1)
    found = steps(lambda x: conv(F.getitem(F.relu(x), (slice(None), slice(0, 20), Ellipsis)), w), normal(2, 20, 5, 6))
    assert not any("copy" in k for k in found)


# ---- scales and shifts


@pytest.mark.parametrize("shape", [(), (1,), (20, 1, 1), (1, 20, 1, 1)])
@pytest.mark.parametrize("groups", [1, 4, 20])
@pytest.mark.parametrize("padding", [0, 1])
def test_scale_and_shift_of_an_input(shape, groups, padding):
    s, t, w, b = normal(*shape) + 2, normal(*shape, seed=9), normal(40, 20 // groups, 3, 3), normal(40)

    def model(x):
        x = F.hardswish(x)
        return conv(F.add(F.mul(x, of(s, x)), of(t, x)), w, b, padding=padding, groups=groups)

    found = steps(model, normal(2, 20, 9, 11))
    left = [k for k in found if k in ("add", "mul", "affine_channels")]
    assert left == ([] if not padding else ["add"] if s.size == 1 else ["mul", "add"]), found


def test_scale_and_shift_of_a_linear_layers_input():
    s, t, w = normal(20) + 2, normal(20, seed=9), normal(7, 20)
    found = steps(lambda x: F.linear(F.add(F.mul(F.tanh(x), of(s, x)), of(t, x)), of(w, x)), normal(2, 5, 20))
    assert found == ["tanh", "linear_packed"]


@pytest.mark.parametrize(
    "numbers",
    [normal(20, 9, 1), normal(11), np.full((), np.inf, np.float32)],  # a row's, a column's, none
)
def test_numbers_that_stay_in_front(numbers):
    w = normal(24, 20, 1, 1)
    x = np.abs(normal(2, 20, 9, 11))
    program = pyops.compile(lambda x: F.conv2d(F.mul(F.relu(x), numbers), w), x)
    assert "mul" in [s.kernel for s in program.steps]


def test_a_shift_whose_scale_is_next_to_nothing_stays():
    """x + t / s would lose the digits of x."""
    w = normal(24, 20, 3, 3)

    def model(x):
        return conv(F.add(F.mul(F.tanh(x), 1e-6), 1.0), w, padding=1)

    assert {"mul", "add"} <= set(steps(model, normal(2, 20, 9, 11)))


@pytest.mark.parametrize("filters", [3, 20])
def test_what_follows_a_transposed_convolution(filters):
    w, b, s = normal(24, filters, 2, 2), normal(1, filters, 1, 1), normal(filters, 1, 1) + 2
    mean, var = normal(filters), np.abs(normal(filters, seed=3)) + 0.5

    def model(x):
        y = F.add(F.conv_transpose2d(x, of(w, x), stride=2), of(b, x))
        return F.relu(F.mul(F.batch_norm(y, of(mean, x), of(var, x)), of(s, x)))

    found = steps(model, normal(2, 24, 5, 6), tolerance=5e-6)
    assert not {"add", "mul", "batch_norm", "affine_channels"} & set(found), found


# ---- few filters


@pytest.mark.parametrize(
    "shape, w, how, kernel",
    [
        ((1, 8, 20, 64), (2, 8, 5, 5), {"padding": 2}, "conv"),
        ((2, 33, 20, 40), (1, 33, 3, 3), {"padding": 1}, "conv"),
        ((1, 64, 32, 32), (8, 64, 3, 3), {"padding": 1}, "winograd_conv"),
        ((1, 8, 20, 4), (8, 8, 5, 3), {}, "direct_conv"),  # rows that would not fill a vector
        ((1, 20, 12, 12), (15, 20, 2, 2), {}, "direct_conv"),
    ],
)
def test_few_filters_take_vectors_of_pixels(shape, w, how, kernel):
    weight, b, other = normal(*w), normal(w[0]), normal(1, w[0], 1, 1)

    def model(x):
        y = conv(x, weight, b, **how)
        return F.relu(F.add(y, F.mul(F.sigmoid(y), of(other, x))))

    found = steps(model, normal(*shape), tolerance=2e-5)
    assert kernel in found and (kernel == "conv" or "conv" not in found), found


def test_few_filters_behind_a_map():
    w1, w2 = normal(32, 3, 3, 3), normal(1, 32, 3, 3)
    found = steps(lambda x: F.relu(conv(F.relu(conv(x, w1, padding=1)), w2, padding=1)), normal(2, 3, 32, 32),
                  tolerance=2e-5)
    assert "conv" in found and "activate_flat" in found, found


def test_an_image_one_pixel_wide_that_a_reshape_reads():
    """Turned on its side for the convolution, and back for whoever reads it, a reshape among them."""
    w, v = normal(24, 20, 3, 1), normal(7, 24 * 48)

    def model(x):
        y = conv(F.reshape(x, (2, 20, 50, 1)), w)
        return F.linear(F.reshape(y, (2, 24 * 48)), of(v, x))

    assert "linear_packed" in steps(model, normal(2, 20, 50), tolerance=5e-6)
