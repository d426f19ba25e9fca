"""The tape beyond what the rows' cases cover: accumulation, second derivatives, refusals."""
import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops import Tensor


def leaf(*shape):
    return Tensor(np.random.default_rng(0).standard_normal(shape), requires_grad=True)


def test_gradients_accumulate_over_uses_and_calls():
    x = leaf(3)
    F.sum(F.add(x, x)).backward()
    assert np.array_equal(x.grad, np.full(3, 2.0))
    F.sum(x).backward()
    assert np.array_equal(x.grad, np.full(3, 3.0))


def test_second_derivative_of_a_convolution():
    """d/dw of |d(conv)/dx|^2, by create_graph and by differences."""
    x, w = leaf(1, 2, 5, 5), leaf(3, 2, 3, 3)

    def penalty(weight):
        y = F.conv2d(x, weight, padding=1)
        g, = pyops.grad(F.sum(F.mul(y, y)), [x], create_graph=True)
        return F.sum(F.mul(g, g))
    exact, = pyops.grad(penalty(w), [w])
    v, h = np.random.default_rng(1).standard_normal(w.shape), 1e-5
    numeric = (penalty(Tensor(w.data + h * v)).item() - penalty(Tensor(w.data - h * v)).item()) / (2 * h)
    assert numeric == pytest.approx((exact * v).sum(), rel=1e-6)


def test_a_row_without_a_gradient_says_so():
    x = leaf(2, 6)
    y = F.prod(x, 1)
    g, = pyops.grad(F.sum(F.mul(y, y)), [x], create_graph=True)
    with pytest.raises(ValueError, match="prod_backward has no gradient rule"):
        F.sum(F.mul(g, g)).backward()


def test_no_grad_records_nothing():
    x = leaf(3)
    with pyops.no_grad():
        assert not F.relu(x).requires_grad


def test_one_no_grad_within_itself_and_again():
    nothing, x = pyops.no_grad(), pyops.Tensor(np.ones(3, np.float32), requires_grad=True)
    for _ in range(2):
        with nothing:
            with nothing:
                pass
            assert not (x * 2).requires_grad
        assert (x * 2).requires_grad

    @nothing
    def doubled(times):
        return doubled(times - 1) if times else x * 2
    assert not doubled(3).requires_grad and (x * 2).requires_grad


def test_backward_needs_a_scalar_or_a_gradient():
    x = leaf(3)
    with pytest.raises(ValueError, match="needs `gradient`"):
        F.relu(x).backward()
    with pytest.raises(ValueError, match="does not depend"):
        Tensor(np.ones(1)).backward()


def test_deep_graphs_do_not_recurse():
    x = leaf(2)
    y = x
    for _ in range(5000):
        y = F.add(y, 1.0)
    F.sum(y).backward()
    assert np.array_equal(x.grad, np.ones(2))


def test_gradients_of_parts_meet_in_an_array_of_their_own():
    rng = np.random.default_rng(0)
    x, other = (Tensor(rng.standard_normal((6, 5)), requires_grad=True) for _ in range(2))
    middle = x * 2.0   # a value, not a leaf
    weights = [rng.standard_normal(s) for s in ((6, 5), (3, 5), (4, 5), (6, 3))]
    # the sum's gradient is handed to both of its inputs, so that parts must not be added to it in place
    both = middle + other
    loss = ((both * weights[0]).sum() + (middle[1:4] * weights[1]).sum() + (middle[2:] * weights[2]).sum()
            + (middle[::-1, 2:] * weights[3]).sum() + (other[1:4] * weights[1]).sum())
    loss.backward()
    wanted = weights[0].copy()
    wanted[1:4] += weights[1]
    assert np.allclose(other.grad, wanted, rtol=1e-14)
    wanted[2:] += weights[2]
    wanted[::-1, 2:] += weights[3]
    assert np.allclose(x.grad, 2 * wanted, rtol=1e-14)


def test_gradients_of_parts_meet_those_of_a_value_without_axes():
    x = Tensor(np.array(1.5), requires_grad=True)
    (x * 2.0 + x * 3.0 + x[...] * x + x[None].sum()).backward()
    assert x.grad.shape == () and np.isclose(x.grad, 2 + 3 + 2 * 1.5 + 1)
