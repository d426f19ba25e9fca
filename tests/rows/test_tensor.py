"""Tensor as Python and NumPy see it: NumPy's functions, indices, comparisons, numbers, copies,
and what is refused."""
import copy
import pickle

import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops import Tensor

X = np.random.default_rng(0).standard_normal((4, 5, 6))
POSITIVE = np.abs(X) + 0.5

# name -> a function of NumPy's, on arrays and on Tensors alike
NUMPY = {
    "exp": np.exp, "expm1": np.expm1, "tanh": np.tanh, "square": np.square, "negative": np.negative,
    "absolute": np.absolute,
    "sqrt": lambda a: np.sqrt(a * a + 1), "log2": lambda a: np.log2(a * a + 1),
    "log10": lambda a: np.log10(a * a + 1), "exp2": np.exp2,
    "reciprocal": lambda a: np.reciprocal(a * a + 1), "multiply": lambda a: np.multiply(a, a),
    "subtract": lambda a: np.subtract(X, a),
    "divide": lambda a: np.divide(a, POSITIVE), "power": lambda a: np.power(a, 2),
    "maximum": lambda a: np.maximum(a, 0.1),
    "matmul": lambda a: np.matmul(a, X.transpose(0, 2, 1)), "dot_vector": lambda a: np.dot(a, X[0, 0]),
    "dot_three_axes": lambda a: np.dot(a, X.transpose(0, 2, 1)),
    "tensordot": lambda a: np.tensordot(a, X, ([1, 2], [1, 2])),
    "inner": lambda a: np.inner(a, X), "outer": lambda a: np.outer(a, X[0]), "vdot": lambda a: np.vdot(a, X),
    "sum": lambda a: np.sum(a, axis=1), "mean": lambda a: np.mean(a, axis=(0, 2), keepdims=True),
    "max": lambda a: np.max(a, axis=-1),
    "min": np.min, "prod": lambda a: np.prod(a, axis=2), "std": lambda a: np.std(a, axis=0),
    "var": lambda a: np.var(a, ddof=1),
    "average": lambda a: np.average(a, axis=1, weights=POSITIVE[0, :, 0]), "ptp": lambda a: np.ptp(a, axis=0),
    "add_reduce": lambda a: np.add.reduce(a, axis=1), "maximum_reduce": np.maximum.reduce,
    "norm": np.linalg.norm,
    "norm_of_rows": lambda a: np.linalg.norm(a, axis=1), "trace": np.trace,
    "concatenate": lambda a: np.concatenate([a, X, a], axis=1),
    "concatenate_flat": lambda a: np.concatenate([a, X], axis=None),
    "stack": lambda a: np.stack([a, a], axis=1), "vstack": lambda a: np.vstack([a[0], a[1]]),
    "hstack": lambda a: np.hstack([a[0], a[1]]),
    "column_stack": lambda a: np.column_stack([a[0, 0], a[1, 1]]), "append": lambda a: np.append(a, a),
    "where": lambda a: np.where(X > 0, a, 0), "clip": lambda a: np.clip(a, -0.5, 0.5), "tril": np.tril,
    "triu": lambda a: np.triu(a, 1),
    "diff": lambda a: np.diff(a, axis=1), "reshape": lambda a: np.reshape(a, (20, 6)), "ravel": np.ravel,
    "transpose": np.transpose,
    "transpose_axes": lambda a: np.transpose(a, (1, 2, 0)), "swapaxes": lambda a: np.swapaxes(a, 0, 2),
    "moveaxis": lambda a: np.moveaxis(a, 0, -1),
    "expand_dims": lambda a: np.expand_dims(a, (0, 2)), "squeeze": lambda a: np.squeeze(a[:1]),
    "broadcast_to": lambda a: np.broadcast_to(a, (3, 4, 5, 6)), "flip": lambda a: np.flip(a, 1),
    # functions that move elements
    "tile": lambda a: np.tile(a, (2, 1, 1)), "repeat": lambda a: np.repeat(a, 2, axis=1),
    "roll": lambda a: np.roll(a, 2, axis=2),
    "rot90": np.rot90, "take": lambda a: np.take(a, [1, 2, 1], axis=1), "diagonal": np.diagonal,
    "fliplr": np.fliplr,
    "split": lambda a: np.concatenate(np.split(a, 2, axis=2)[::-1], axis=2),
    "sort": lambda a: np.sort(a, axis=0), "delete": lambda a: np.delete(a, 1, axis=1),
    "take_along_axis": lambda a: np.take_along_axis(a, np.argsort(X, 1), 1),
    "pad": lambda a: np.pad(a, ((1, 2), (0, 0), (3, 1))), "pad_edge": lambda a: np.pad(a, 2, mode="edge"),
    "pad_reflect": lambda a: np.pad(a, 1, mode="reflect"),
}

INDICES = {
    "list": [0, -1], "list_behind": np.s_[:, [0, 1, 1]],
    "broadcast_apart": (np.array([[0], [1]]), slice(None), np.array([2, 3])),
    "int_beside_array": np.s_[0, :, [1, 2]], "with_ellipsis": np.s_[..., [1, 2], None],
    "with_slices": np.s_[1:3, [0, 1], 2:],
    "all_axes": (np.arange(4), 0, np.arange(4)), "new_axis_before": np.s_[None, [1, 2], ..., [0, 1]],
    "nothing": [], "mask": X > 0, "mask_of_two_axes": X[:, :, 0] > 0,
    "mask_behind": np.s_[:, [True, False, True, False, True]], "two_dimensional": np.array([[0, 1], [2, 3]]),
    "backwards_and_list": np.s_[::-1, [4, 0]], "integer_type": np.array([3, 1], np.uint8),
}


def assert_gradient(function, x, h=1e-6):
    """d(sum of weighted results) along a random direction, against central differences."""
    t = Tensor(x, requires_grad=True)
    result = function(t)
    rng = np.random.default_rng(1)
    weight, direction = rng.standard_normal(result.shape), rng.standard_normal(x.shape)
    result.backward(np.asarray(weight))
    numeric = ((function(x + h * direction) - function(x - h * direction)) * weight).sum() / (2 * h)
    assert (t.grad * direction).sum() == pytest.approx(numeric, rel=1e-5, abs=1e-6)


# ---- NumPy's functions

@pytest.mark.parametrize("name", NUMPY)
def test_a_function_of_numpy_gives_its_value_and_keeps_the_gradient(name):
    function = NUMPY[name]
    want, got = function(X), function(Tensor(X))
    assert isinstance(got, Tensor)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-12, atol=1e-12, strict=True)
    assert_gradient(function, X)


def test_the_gradient_of_a_sum_of_both_worlds():
    w = Tensor(np.ones(3), requires_grad=True)
    (w * 2 + np.exp(w)).sum().backward()
    np.testing.assert_allclose(w.grad, 2 + np.e)


@pytest.mark.parametrize("function", [np.sin, np.fft.fft, np.median, np.cumsum,
                                      np.floor, lambda t: t // 2, lambda t: 2 % t,
                                      lambda t: np.add(t, 1, dtype=np.float32), lambda t: np.einsum("i->", t),
                                      lambda t: np.sum(t, where=[True, False])])
def test_what_has_no_op_is_refused_where_a_gradient_would_be_lost(function):
    t = Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(TypeError, match=r"numpy.*detach\(\)"):
        function(t)
    (np.testing.assert_array_equal(function(t.detach()), function(t.numpy())) if function is not np.fft.fft
     else None)
    with pyops.no_grad():
        assert not isinstance(np.sin(t), Tensor)


def test_writing_a_tensor_into_an_array_is_refused_where_a_gradient_would_be_lost():
    total, t = np.zeros(2, np.float32), Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(TypeError, match="writes into an array"):
        total += t
    total += t.detach()
    assert total.tolist() == [1, 2]


def test_functions_that_only_look_work_on_tensors_that_require_gradients():
    t = Tensor([1.0, 2.0], requires_grad=True)
    assert (np.argsort(-t.detach()).tolist() == [1, 0] and np.allclose(t, [1, 2]) and np.isfinite(t).all()
            and np.shape(t) == (2,))
    assert np.array_equal(np.zeros_like(t), [0, 0]) and np.zeros_like(t).dtype == np.float32
    np.testing.assert_allclose(t, [1, 2])
    np.testing.assert_array_equal(t, t)


# ---- comparisons and truth

def test_comparisons_are_elementwise_and_tensors_stay_keys():
    t, labels = Tensor([3, 1, 2]), np.array([3, 0, 2])
    for result in (t == labels, labels == t, t == Tensor(labels), t == [3, 0, 2]):
        assert type(result) is np.ndarray and result.tolist() == [True, False, True]
    assert (t != labels).tolist() == [False, True, False] and (t > 1).tolist() == [True, False, True]
    assert (t == None) is False and (t != None) is True and (t == "a") is False   # noqa: E711
    assert {t: 1}[t] == 1 and t in {t} and Tensor([3, 1, 2]) not in {t}
    assert 3 in t and 7 not in t


def test_truth_needs_one_element():
    assert Tensor([0.5]) and not Tensor(0)
    for several in (Tensor([1.0, 2.0]), Tensor(np.zeros(0))):
        with pytest.raises(ValueError, match="truth"):
            bool(several)


# ---- numbers

def test_python_numbers_have_default_types_and_arrays_keep_theirs():
    assert Tensor([1.0, 2.0]).dtype == Tensor(0.5).dtype == Tensor([[1], [0.5]]).dtype == np.float32
    assert Tensor([1, 2]).dtype == np.int64 and Tensor([True]).dtype == np.bool_
    assert (Tensor(np.ones(2)).dtype == Tensor(np.float64(1)).dtype == Tensor([np.float64(1)]).dtype
            == np.float64)
    for wrong, match in (("a", "needs numbers"), (None, "needs numbers"),
                         (np.ma.masked_array([1.0]), "masked")):
        with pytest.raises(TypeError, match=match):
            Tensor(wrong)
    with pytest.raises(TypeError, match="stack"):
        Tensor([Tensor(1.0, requires_grad=True)])


@pytest.mark.parametrize("number", [2, 2.0, True, np.float64(2), np.float32(2), np.int64(2), np.array(2.0),
                                    np.array([1, 2, 3]), np.array([True, True, True])], ids=repr)
def test_numbers_take_the_type_of_the_array(number):
    t = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    for result, want in ((t * number, t.numpy() * number), (number * t, t.numpy() * number),
                         (number - t, number * 1.0 - t.numpy()), (t / number, t.numpy() / number),
                         (number / t, number / t.numpy()), (t ** number, t.numpy() ** (number * 1.0))):
        assert isinstance(result, Tensor) and result.dtype == np.float32 and result.requires_grad
        np.testing.assert_allclose(result.numpy(), want, rtol=1e-6)
    loss = (t * number).sum()
    assert (np.float64(2) * loss).dtype == np.float32


def test_two_float_types_are_refused():
    with pytest.raises(TypeError, match="one dtype.*astype"):
        Tensor([1.0, 2.0]) * np.ones(2)


def test_whole_numbers_compute_as_numpys():
    t = Tensor([1, 2, 3])
    assert ((t + 1).tolist() == [2, 3, 4] and (t * t).dtype == np.int64 and (-t).tolist() == [-1, -2, -3]
            and (t // 2).tolist() == [0, 1, 1])
    assert (t / 2).dtype == np.float32 and (t * 0.5).tolist() == [0.5, 1, 1.5]


def test_one_element_is_a_python_number():
    t = Tensor([[0.625]], requires_grad=True)
    loss = t.sum()
    assert (float(t), int(Tensor(3.7)), round(loss, 1), loss.item(), f"{loss:.2f}",
            f"{loss}") == (0.625, 3, 0.6, 0.625, "0.62", "0.625")
    assert [10, 20, 30][Tensor(1)] == 20 and list(range(Tensor(3))) == [0, 1, 2]
    with pytest.raises(TypeError, match="index"):
        [1][Tensor(0.0)]
    for ask in (float, int, round, Tensor.item):
        with pytest.raises(ValueError, match="one element"):
            ask(Tensor([1.0, 2.0]))
    with pytest.raises(TypeError, match="one element"):
        f"{Tensor([1.0, 2.0]):.3f}"


def test_what_a_tensor_says_of_itself():
    t = Tensor(np.zeros((2, 3), np.float32), requires_grad=True)
    assert (t.size == 6 and t.size() == (2, 3) and t.size(1) == 3 and t.numel() == 6 and t.device == "cpu"
            and t.is_leaf and t.dim() == 2)
    assert repr(Tensor([1.0, 2.0], requires_grad=True)) == "Tensor([1., 2.], requires_grad=True)"
    assert repr(t.sum()) == "Tensor(0., grad_fn=<sum>)" and not t.sum().is_leaf
    assert len(repr(Tensor(np.zeros(10**5)))) < 200 and len(repr(t.sum().node)) < 200
    assert t.tolist() == [[0, 0, 0], [0, 0, 0]] and len(t) == 2
    with pytest.raises(TypeError, match="without axes"):
        len(Tensor(1.0))


# ---- indices

@pytest.mark.parametrize("name", INDICES)
def test_an_index_gives_numpys_elements_and_their_gradient(name):
    index = INDICES[name]
    np.testing.assert_array_equal(Tensor(X)[index].numpy(), X[index], strict=True)
    np.testing.assert_array_equal(F.getitem(X, index), X[index], strict=True)
    np.testing.assert_array_equal(Tensor(np.arange(120).reshape(X.shape))[index].numpy(),
                                  np.arange(120).reshape(X.shape)[index], strict=True)
    assert_gradient(lambda a: a[index], X)


def test_gradients_of_an_element_taken_twice_add_up_and_can_be_differentiated():
    t = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    g, = pyops.grad((t[[0, 0, 2]] ** 3).sum(), [t], create_graph=True)
    assert g.tolist() == [6, 0, 27]
    assert pyops.grad(g.sum(), [t])[0].tolist() == [12, 0, 18]
    assert t[Tensor([0, 1])].tolist() == [1, 2] and t[t > 1].tolist() == [2, 3]


@pytest.mark.parametrize("index, error, match", [
    ([0, 9], IndexError, "index 9 is outside axis 0 of size 4"),
    (np.s_[:, [-6]], IndexError, "index -6 is outside axis 1 of size 5"),
    (([0, 1], [0, 1, 2]), IndexError, "do not broadcast"),
    (np.ones(3, bool), IndexError, r"mask of shape \(3,\)"), (np.s_[[0], 0, 0, 0], IndexError, "4 axes"),
    ([0.5], TypeError, "integers or booleans"), ("a", TypeError, "integers or booleans")])
def test_wrong_indices_are_named(index, error, match):
    with pytest.raises(error, match=match):
        Tensor(X)[index]


def test_assignment_writes_where_no_gradient_is_lost():
    t, w = Tensor([1.0, 2.0, 3.0]), Tensor([1.0, 2.0, 3.0], requires_grad=True)
    t[t > 1] = 0
    t[0] = Tensor(5.0)
    assert t.tolist() == [5, 0, 0]
    for wrong in (lambda: w.__setitem__(0, 1.0), lambda: (w * 2).__setitem__(0, 1.0),
                  lambda: t.__setitem__(0, w[0])):
        with pytest.raises(RuntimeError, match="t\\[...\\] = value"):
            wrong()
    with pyops.no_grad():
        w[0] = 7
    assert w.tolist() == [7, 2, 3]


def test_a_change_after_the_call_is_seen_by_backward():
    t, w = Tensor([1.0, 2.0]), Tensor([1.0, 2.0], requires_grad=True)
    loss = (w * t).sum()
    t[0] = 9
    with pytest.raises(RuntimeError, match="input 1 of mul.*changed in place"):
        loss.backward()
    (w * t).sum().backward()
    assert w.grad.tolist() == [9, 2]


def test_a_parameter_is_updated_in_place_within_no_grad_only():
    w = Tensor([1.0, 2.0], requires_grad=True)
    memory = w.numpy()
    (w * w).sum().backward()
    with pytest.raises(RuntimeError, match="no_grad"):
        w -= 0.5 * w.grad
    with pyops.no_grad():
        w -= 0.5 * w.grad
    assert w.is_leaf and w.requires_grad and w.numpy() is memory and w.tolist() == [0, 0]
    y = x = Tensor([1.0])
    y += 1
    assert x.tolist() == [1] and y.tolist() == [2]


# ---- copies, types, other libraries

def test_clone_and_types_pass_the_gradient_on():
    t = Tensor([1.0, 2.0], requires_grad=True)
    for function in (Tensor.clone, Tensor.copy, Tensor.double, lambda t: t.to(np.float64),
                     lambda t: t.astype("float64").float(), copy.copy):
        t.grad = None
        made = function(t)
        if made.is_leaf:   # copy.copy of a leaf is a leaf
            continue
        (made * 3).sum().backward()
        assert (t.grad.tolist() == [3, 3] and t.grad.dtype == np.float32
                and not np.shares_memory(made.numpy(), t.numpy()))
    assert (t.to("cpu") is t and t.float() is t and t.cpu() is t and t.to(Tensor([1.0])) is t
            and t.long().dtype == np.int64)
    for wrong, error in (("cuda", ValueError), ("cuda:0", ValueError), ("quaternion", TypeError)):
        with pytest.raises(error):
            t.to(wrong)


def test_leaves_are_pickled_and_copied_and_results_say_why_not():
    t = Tensor([1.0, 2.0], requires_grad=True)
    t.sum().backward()
    for made in (pickle.loads(pickle.dumps(t)), copy.deepcopy(t)):
        assert (made.tolist() == [1, 2] and made.requires_grad and made.grad.tolist() == [1, 1]
                and made is not t)
    with pytest.raises(TypeError, match="result of mul.*detach"):
        pickle.dumps(t * 2)


def test_torch_takes_leaves_and_results_without_a_copy():
    torch = pytest.importorskip("torch")
    t = Tensor([1.0, 2.0], requires_grad=True)
    for made in (t, t * 2, Tensor([1, 2]), F.relu(t)):
        theirs = torch.from_dlpack(made)
        assert theirs.tolist() == made.tolist() and theirs.data_ptr() == made.numpy().ctypes.data
    assert torch.from_dlpack(F.broadcast_to(t, (2, 2))).tolist() == [[1, 2], [1, 2]]


def test_axis_and_keepdims_are_dim_and_keepdim():
    x = X.astype(np.float32)
    for name in ("sum", "mean", "prod", "amax", "amin", "logsumexp", "var", "std", "norm", "vector_norm",
                 "argmax", "argmin"):
        np.testing.assert_array_equal(getattr(F, name)(x, axis=1, keepdims=True),
                                      getattr(F, name)(x, dim=1, keepdim=True))
        np.testing.assert_array_equal(getattr(Tensor(x), name)(axis=1).numpy(), getattr(F, name)(x, dim=1))
    for name in ("softmax", "log_softmax", "softmin", "unsqueeze", "squeeze", "flip"):
        np.testing.assert_array_equal(getattr(F, name)(x, axis=1), getattr(F, name)(x, 1))
    for name in ("cat", "stack"):
        np.testing.assert_array_equal(getattr(F, name)([x, x], axis=1), getattr(F, name)([x, x], 1))
    for name in ("max", "min"):
        for a, b in zip(getattr(F, name)(x, axis=1), getattr(F, name)(x, 1)):
            np.testing.assert_array_equal(a, b)
    assert [p.shape for p in F.split(x, 2, axis=1)] == [p.shape for p in F.split(x, 2, 1)]
    with pytest.raises(TypeError, match="two names"):
        F.sum(x, dim=0, axis=1)
    with pytest.raises(TypeError, match="dim is missing"):
        F.logsumexp(x)


# ---- compiled

def test_a_compiled_function_may_be_written_in_numpy():
    def function(x):
        y = np.maximum(x, 0.0) + np.mean(x, axis=1, keepdims=True)
        y += 1
        return np.float64(2) * np.exp(-y)[:, [2, 0, 1]].clone()
    x = X[0].astype(np.float32)
    np.testing.assert_allclose(pyops.compile(function, x)(x), function(Tensor(x)).numpy(), rtol=1e-6)


@pytest.mark.parametrize("function, match", [
    (lambda x: np.sinc(x), "numpy.sinc"), (lambda x: x if x == 0 else -x, "truth"),
    (lambda x: x[x > 0], "as many values as its numbers say"), (lambda x: -x if x.sum() else x, "truth"),
    (lambda x: x * float(x.sum()), "value"),
    (lambda x: f"{x.sum():.3f}" and x, "value"), (lambda x: np.nan_to_num(x), "numpy.nan_to_num")])
def test_what_a_program_cannot_hold_is_refused_by_name(function, match):
    with pytest.raises((TypeError, ValueError), match=match):
        pyops.compile(function, X[0].astype(np.float32))
