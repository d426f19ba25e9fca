"""Traits of rows (core/registry.py), held against what the rows do: who treats rows alike reads
these, and keeps no lists of its own.
"""
import inspect

import numpy as np
import pytest

import pyops
from pyops import _C, functional as F, nn, validate
from pyops.core.backends import BACKENDS, use_backend
from pyops.core.registry import OPS
from pyops.graph import activations, lowering
from pyops.graph.trace import trace
from pyops.kernels.blocked.cases import POINTWISE
from pyops.nn import activation

ROWS = pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
TRAITS = ("pointwise", "activation", "epilogue", "applies", "per_sample", "filter_axis", "random")


# They may be called so that nothing moves: to join one array, to shuffle by a factor of 1.
MOVING = {"avg_pool", "broadcast_to", "cat", "getitem", "lp_pool", "max_pool", "pad", "permute",
          "pixel_shuffle", "pixel_unshuffle", "resample", "reshape"}


def called(op):
    """(inputs, attrs, result) of each case's call of the row, on the reference
    backend in float64."""
    found = []

    class Watching:
        sets, name, missing = {}, "watching", ""

        def run(self, row, real, inputs, attrs, out=None):
            result = BACKENDS["reference"].run(row, real, inputs, attrs, out)
            if row is op:
                found.append((inputs, attrs, result))
            return result
    for case in op.cases:
        args, kwargs = case.arguments(np.float64)
        with use_backend(Watching()):
            validate.call(case, args, kwargs)
    return found


@ROWS
def test_a_row_is_pointwise_if_and_only_if_it_says_so(op):
    """The values of inputs in another order give the values of the result in that order."""
    calls = [(x, attrs, y) for x, attrs, y in called(op) if isinstance(y, np.ndarray) and y.size > 20
             and all(isinstance(v, np.ndarray) and v.shape == y.shape for v in x)]
    if not calls:
        assert not (op.pointwise and op.cases), "no case shows it"
        return   # only called by gradients, or never with inputs of the result's shape
    moves = []
    for inputs, attrs, y in calls:
        order = np.random.default_rng(0).permutation(y.size)
        moved = op.reference(*(v.reshape(-1)[order].reshape(v.shape) for v in inputs), **attrs)
        near = {"rtol": 1e-12, "atol": 1e-12} if y.dtype.kind == "f" else {"rtol": 0, "atol": 0}
        moves.append(np.allclose(moved.reshape(-1), y.reshape(-1)[order], equal_nan=True, **near))
    assert all(moves) if op.pointwise else not all(moves) or op.name in MOVING or "pointwise" in op.todo


@ROWS
def test_a_row_that_keeps_samples_apart_says_so(op):
    """Cases with a batch are checked bit for bit against its first sample; such a row has the
    trait, or says why not.
    """
    apart = [attrs for inputs, attrs, _ in called(op)] if any(c.batch for c in op.cases) else []
    assert not apart or op.per_sample or "per_sample" in op.todo
    assert not (op.per_sample and "per_sample" in op.todo)


@ROWS
def test_per_sample_holds(op):
    """Where a row says so of a call, the first sample alone gives the first sample of the
    result."""
    for inputs, attrs, y in called(op):
        first = inputs[0]
        kept = op.per_sample(first.shape, **attrs) if callable(op.per_sample) else op.per_sample
        results = [r for r in (y if isinstance(y, tuple) else (y,)) if isinstance(r, np.ndarray) and r.ndim]
        if not kept or op.random or first.ndim < 2 or first.shape[0] < 2 or not results or any(
                r.shape[0] != first.shape[0] for r in results):
            continue
        weights = op.filter_axis is not None or op.name in ("embedding", "squared_euclidean", "batch_norm",
                                                            "group_norm", "layer_norm", "rms_norm", "prelu")
        alone = [v[:1] if i == 0 or not weights and v is not None and v.ndim == first.ndim
                 and v.shape[0] == first.shape[0] else v for i, v in enumerate(inputs)]
        if "shape" in attrs or "size" in attrs and op.name not in ("conv", "conv_transpose", "fold",
                                                                   "max_unpool"):
            continue   # the result's shape is an argument: of another batch it is another call
        got = op.reference(*alone, **attrs)
        for g, w in zip(got if isinstance(got, tuple) else (got,), y if isinstance(y, tuple) else (y,)):
            if isinstance(w, np.ndarray) and w.ndim:
                assert np.allclose(g[:1], w[:1], rtol=1e-9, atol=1e-9, equal_nan=True)


@ROWS
def test_an_activation_is_fused_or_says_why_not(op):
    """Its epilogue's name and operands are those of kernels/blocked/epilogue.h."""
    if op.activation:
        assert (op.epilogue is None) == ("epilogue" in op.todo)
    if op.epilogue:
        calls = called(op)
        found = [activations.activation(op, attrs) for _, attrs, _ in calls]
        assert any(found) and all(f is None or f.name in _C.activations for f in found)


def test_layers_of_activations_are_activations():
    """What pyops.nn has under Activations calls rows with that trait."""
    layers = [c for _, c in inspect.getmembers(activation, inspect.isclass)
              if c.__module__ == activation.__name__ and not c.__name__.startswith("_")]
    assert len(layers) >= 20
    x = np.zeros((2, 3, 4, 4), np.float32)
    for layer in layers:
        graph, _ = trace(layer(dim=1) if layer in (nn.Softmax, nn.LogSoftmax) else layer(), (x,))
        rows = [n.row for n in graph.nodes]
        assert rows and all(row.activation or row.name == "clamp" for row in rows), layer


@ROWS
def test_what_a_row_lacks_is_named_rightly(op):
    """A reason in todo is for a backend or for a trait that the row indeed lacks."""
    for name, why in op.todo.items():
        assert len(why) > 5 and (name in BACKENDS or name in TRAITS and not getattr(op, name))


def test_rows_with_weights_say_what_programs_apply():
    """Rules that pass an activation to their kernel belong to rows that say so, and
    the other way round."""
    for op in OPS.values():
        if op.applies:
            assert op.name in lowering.RULES and op.applies <= {"activation", "residual"}
        assert (op.filter_axis is not None) <= ("activation" in op.applies)


@ROWS
def test_work_is_counted_once(op):
    """Rows that multiply matrices count multiply-adds, and two operations for each."""
    if op.macs is None:
        assert op.name not in ("conv", "conv_transpose", "linear", "matmul")
        return
    for inputs, attrs, y in called(op):
        assert op.flops(*inputs, **attrs) == 2 * op.macs(*inputs, **attrs)
        if op.name == "conv":
            assert op.macs(*inputs, **attrs) == y.size * inputs[1][0].size if len(inputs[1]) else True
        if op.name in ("linear", "matmul"):
            assert op.macs(*inputs, **attrs) == y.size * inputs[0].shape[-1]


W = np.random.default_rng(0).standard_normal((2, 20, 20, 3, 3)).astype(np.float32) * 0.1


@pytest.mark.parametrize("name", POINTWISE)
def test_a_pointwise_row_between_convolutions_keeps_their_layout(name):
    program = pyops.compile(lambda x: F.conv2d(POINTWISE[name](F, F.conv2d(x, W[0], padding=1)), W[1],
                                               padding=1),
                            np.zeros((2, 20, 9, 9), np.float32))
    kernels = [s.kernel for s in program.steps]
    assert kernels.count("to_blocked") == kernels.count("from_blocked") == 1, kernels


@pytest.mark.parametrize("name", POINTWISE)
def test_a_pointwise_row_keeps_samples_apart(name):
    """Two convolutions at batch 4 take the memory of one sample, 41 MB, whatever
    stands between them."""
    w = np.zeros((32, 32, 1, 1), np.float32)
    program = pyops.compile(lambda x: F.conv2d(POINTWISE[name](F, F.conv2d(x, w)), w),
                            np.zeros((4, 32, 400, 400), np.float32), precision="strict")
    assert program.samples == 4 and program.arena_bytes <= 3.1 * 32 * 400 * 400 * 4
    # a third map lives
    assert (program.arena_bytes < 42e6
            or name in ("product", "quotient", "rsqrt", "reciprocal", "log", "a_number_over"))


def test_shapes_that_name_the_batch_are_taken():
    """A batch is planned a sample at a time only where no call holds its size."""
    w = np.zeros((16, 16, 1, 1), np.float32)
    program = pyops.compile(lambda x: F.conv2d(F.reshape(F.conv2d(x, w), (2, 16, 4, 9)), w),
                            np.zeros((2, 16, 6, 6), np.float32))
    assert program.samples == 1 and program.outputs[0][0] == (2, 16, 4, 9)
