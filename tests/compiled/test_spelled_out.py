"""Activations, biases and scales as exporters spell them out become those of the layer before them;
what only looks like one stays as it is."""

import math

import numpy as np
import pytest

import pyops
import pyops.functional as F

RNG = np.random.default_rng(0)
X = (RNG.standard_normal((2, 16, 8, 8)) * 2).astype(np.float32)
W = (RNG.standard_normal((16, 16, 3, 3)) * 0.1).astype(np.float32)
CHANNELS = np.arange(1, 17, dtype=np.float32).reshape(1, 16, 1, 1)
ROOT = math.sqrt(2 / math.pi)

FUSED = {
    "silu": lambda y: y * F.sigmoid(y),
    "silu, the other way round": lambda y: F.sigmoid(y) * y,
    "gelu": lambda y: y * 0.5 * (1 + F.erf(y / math.sqrt(2))),
    "gelu, other brackets": lambda y: 0.5 * (y * (F.erf(y * 0.7071067811865475) + 1)),
    "gelu_tanh": lambda y: 0.5 * y * (1 + F.tanh(ROOT * (y + 0.044715 * F.pow(y, 3.0)))),
    "gelu_tanh by products": lambda y: y * (0.5 * (1 + F.tanh(0.7978845608 * (y + 0.044715 * y * y * y)))),
    "gelu_tanh by a square": lambda y: y * (0.5 * (1 + F.tanh(ROOT * (y + 0.044715 * (F.square(y) * y))))),
    "hardswish": lambda y: y * F.clamp(y + 3, 0.0, 6.0) / 6,
    "hardswish, other brackets": lambda y: y * (F.clamp(y + 3, 0.0, 6.0) / 6),
    "hardswish by hardsigmoid": lambda y: y * F.hardsigmoid(y),
    "hardsigmoid": lambda y: F.clamp(y + 3, 0.0, 6.0) / 6,
    "relu6": lambda y: F.clamp(y, 0.0, 6.0),
    "a bias": lambda y: F.relu(y + CHANNELS),
    "a scale and a bias": lambda y: F.relu(y * CHANNELS + np.float32(2)),
    "a scale": lambda y: y * np.full(1, 3, np.float32),
}
APART = {
    "sigmoid of another value": lambda y: y * F.sigmoid(y + 1),
    "another number": lambda y: y * 0.4 * (1 + F.erf(y / math.sqrt(2))),
    "another clamp": lambda y: y * F.clamp(y + 3, 0.0, 5.0) / 6,
    "a factor a pixel": lambda y: y * RNG.standard_normal((8, 8)).astype(np.float32).reshape(1, 1, 8, 8).clip(1, 2),
    "another cube": lambda y: 0.5 * y * (1 + F.tanh(ROOT * (y + 0.05 * F.pow(y, 3.0)))),
}


def kernels(program):
    return [s.kernel for s in program.steps if s.layout and "blocked" not in s.kernel]


def strict(model, x):
    """The eager result, by direct convolutions as in a strict program."""
    before = pyops.get_precision()
    pyops.set_precision("strict")
    try:
        return model(x)
    finally:
        pyops.set_precision(before)


@pytest.mark.parametrize("name", [*FUSED, *APART])
def test_behind_a_convolution(name):
    def model(x):
        return (FUSED | APART)[name](F.conv2d(x, W, None, 1, 1))

    if name == "a factor a pixel":
        factor = RNG.uniform(1, 2, (1, 1, 8, 8)).astype(np.float32)
        model = lambda x: F.conv2d(x, W, None, 1, 1) * factor  # noqa: E731
    program, want = pyops.compile(model, X, precision="strict"), strict(model, X)
    assert np.abs(program(X) - want).max() <= 2e-6 * np.abs(want).max()
    assert (kernels(program) == ["direct_conv"]) == (name in FUSED)


def test_a_value_that_others_read_too_stays():
    def model(x):
        y = F.conv2d(x, W, None, 1, 1)
        gate = F.sigmoid(y)
        return y * gate, gate, F.conv2d(x, W, None, 1, 1) + CHANNELS

    program = pyops.compile(model, X, precision="strict")
    for got, want in zip(program(X), strict(model, X)):
        assert np.abs(got - want).max() <= 2e-6 * np.abs(want).max()


@pytest.mark.parametrize("constant",
                         [np.arange(5, dtype=np.float32), np.float32(2), np.ones((1, 1, 1), np.float32)],
                         ids=["each", "one", "axes"])
@pytest.mark.parametrize("op", [F.add, F.mul, F.sub])
def test_behind_a_linear_layer(op, constant):
    weight, x = RNG.standard_normal((5,
                                     8)).astype(np.float32), RNG.standard_normal((3, 4, 8)).astype(np.float32)
    model = lambda x: op(F.linear(x, weight), constant)  # noqa: E731
    program = pyops.compile(model, x)
    assert np.abs(program(x) - model(x)).max() < 1e-5
    assert len(program.steps) == (1 if op is not F.sub else 2)


def test_images_one_pixel_wide():
    """Turned on their side, in chains, with residuals, strides, groups and dilation, and back
    where others read them."""
    def w(*shape):
        return (RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    first, second, third, depth, bias = w(32, 3, 7, 1), w(64, 32, 5,
                                                          1), w(64, 64, 3, 1), w(64, 1, 9, 1), w(64)

    def model(x):
        y = F.relu(F.conv2d(x, first, None, (2, 1), (3, 0)))
        z = F.relu(F.conv2d(y, second, bias, (1, 1), (2, 0)))
        u = F.relu(F.conv2d(z, third, bias, (1, 1), (2, 0), (2, 1)) + z)
        v = F.conv2d(u, depth, bias, (1, 3), (0, 0), 1, 64)
        return F.max_pool2d(v, (2, 1)), F.cat([u, z], 1), v, F.conv2d(u, third, bias, 1, (1, 1))

    x = RNG.standard_normal((2, 3, 100, 1)).astype(np.float32)
    program = pyops.compile(model, x)
    for got, want in zip(program(x), model(x)):
        assert got.shape == want.shape and np.abs(got - want).max() <= 2e-6 * np.abs(want).max()
    assert all(s.shape[2] == 1 for s in program.steps
               if s.kernel in ("direct_conv", "stem_conv", "depthwise_conv") and s.shape[3] != 3)
