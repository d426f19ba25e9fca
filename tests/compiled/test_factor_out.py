"""x + (x g w + b) as one product of the image, in programs (graph/passes/factor_out.py)."""
import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops import nn

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


X = {"image": normal(2, 20, 5, 7), "sequence": normal(2, 20, 9), "pixel": normal(3, 20, 1, 1)}


def numbers(x):
    """A number a sample and channel."""
    return F.sigmoid(F.mean(F.mul(x, x), dim=tuple(range(2, x.ndim)), keepdim=True))


def constant(x):
    return RNG.standard_normal((1, 20, *(1,) * (x.ndim - 2))).astype(np.float32).astype(np.dtype(x.dtype))


def response(x):   # ConvNeXt V2's
    w, b, n = constant(x), constant(x), numbers(x)
    return F.add(x, F.add(F.mul(w, F.mul(x, n)), b))


FORMS = {
    "a gate with a way around it": lambda x: F.add(x, F.mul(x, numbers(x))),
    "the other way round": lambda x: F.add(F.mul(numbers(x), x), x),
    "response": response,
    "constants first": lambda x: F.add(F.mul(F.mul(x, constant(x)), numbers(x)), x),
    "several constants": lambda x: F.add(F.mul(F.add(F.mul(F.mul(x, numbers(x)), constant(x)), constant(x)), 3.0), x),
}
OTHERS = {
    "the product is read twice": lambda x: F.add(x, y := F.mul(x, numbers(x))) + F.exp(y),
    "a gate a pixel": lambda x: F.add(x, F.mul(x, F.sigmoid(x))),
    "a constant before the gate": lambda x: F.add(x, F.mul(F.add(x, constant(x)), numbers(x))),
    "two gates": lambda x: F.add(x, F.mul(F.mul(x, numbers(x)), F.tanh(numbers(x)))),
    "another image": lambda x: F.add(F.relu(x), F.mul(x, numbers(x))),
    "a multiple": lambda x: F.add(x, F.mul(x, numbers(x)), alpha=2),
    "the same image": lambda x: F.add(x, x),
    "no gate": lambda x: F.add(x, F.mul(x, constant(x))),
}


def check(form, x):
    """Compiled as eager, and the steps."""
    state = RNG.bit_generator.state

    def again(v):
        RNG.bit_generator.state = state
        return form(v)
    program = pyops.compile(again, x)
    with pyops.no_grad():
        want = again(pyops.Tensor(x.astype(np.float64))).data
    np.testing.assert_allclose(program(x), want, rtol=1e-5, atol=1e-5)
    return program


@pytest.mark.parametrize("image", X)
@pytest.mark.parametrize("form", FORMS)
def test_what_is_factored(form, image):
    program = check(FORMS[form], X[image])
    if image != "pixel":
        passes = [s.op for s in program.steps if s.shape == X[image].shape]
        assert passes == ["mul", "mul", *["add"] * (form in ("response", "several constants"))]   # the first: squares


@pytest.mark.parametrize("image", X)
@pytest.mark.parametrize("form", OTHERS)
def test_what_stays(form, image):
    check(OTHERS[form], X[image])


def test_a_layer_behind_reads_the_product_itself():
    """Nothing but the squares' means passes over the image of a global response norm."""
    first, last, x = nn.Conv2d(16, 48, 1), nn.Conv2d(48, 16, 1), normal(2, 16, 9, 8)
    w, b = (normal(1, 48, 1, 1) for _ in range(2))

    def model(v):
        y = F.gelu(first(v))
        n = F.sqrt(F.sum(F.mul(y, y), dim=(2, 3), keepdim=True))
        n = F.div(n, F.add(F.mean(n, dim=(1,), keepdim=True), 1e-6))
        return last(F.add(y, F.add(F.mul(w, F.mul(y, n)), b)))

    program = pyops.compile(model, x)
    kernels = [s.kernel for s in program.steps]
    assert kernels.count("direct_conv") == 2 and not {"scale_channels", "affine_channels", "add_maps"} & set(kernels)
    with pyops.no_grad():
        want = np.asarray(model(pyops.Tensor(x)).data)
    assert np.abs(program(x) - want).max() <= 1e-5 * np.abs(want).max()
