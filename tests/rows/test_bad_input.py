"""Every row of the registry against input that is wrong, unusual or shared: the right values, or an
error that names op and rule.

The calls are recorded from the rows' own cases, forward and backward, so that the rows behind a
gradient are covered too.
"""
import multiprocessing
import threading

import numpy as np
import pytest

from pyops import functional as F, validate
from pyops.core.backends import BACKENDS, ISAS, get_backend, use_backend
from pyops.core.dispatch import kinds_of
from pyops.core.registry import OPS
from pyops.core.tensor import Tensor
from pyops.core.threads import num_threads


class Recorder:
    """The default backend, noting the first call of every row that takes and gives something."""

    name, sets = "recorder", {}

    def __init__(self):
        self.calls = {}

    def run(self, op, real, inputs, attrs, out=None):
        result = active_backend.run(op, real, inputs, attrs, out)
        if op.name not in self.calls and all(a is None or a.size for a in (*inputs, *validate.flat(result))):
            self.calls[op.name] = inputs, attrs, result
        return result


active_backend = get_backend()


def record():
    recorder = Recorder()
    with use_backend(recorder):
        for op in OPS.values():
            for case in op.cases:
                args, kwargs = case.arguments(np.float32)
                validate.gradients(case, args, kwargs) if case.gradient else validate.call(case, args, kwargs)
        x = Tensor(np.ones((3, 2), np.float32), requires_grad=True)   # the tape adds up parts itself, but for these
        x[1:].backward(np.ones((2, 2), np.float32), create_graph=True)
    return recorder.calls


CALLS = record()
ROWS = [pytest.param(OPS[name], *call, id=name) for name, call in CALLS.items()]
# Rows that the public functions give `out` to: those behind a gradient never see one, and views
# have nothing to write.
with_out = pytest.mark.parametrize("op, inputs, attrs, want",
                                   [p for p in ROWS if p.values[0].cases and p.values[0].kernels])
every_row = pytest.mark.parametrize("op, inputs, attrs, want", ROWS)
NATIVE = [name for name in ISAS if not BACKENDS[name].missing]


def same(got, want):
    for i, (g, w) in enumerate(zip(validate.flat(got), validate.flat(want), strict=True)):
        assert np.array_equal(np.asarray(g), np.asarray(w),
                              equal_nan=np.asarray(w).dtype.kind == "f"), f"output {i} differs"


def with_input(inputs, position, value):
    return (*inputs[:position], value, *inputs[position + 1:])


def positions(op, inputs, letters):
    return [i for i, (a, kind) in enumerate(zip(inputs, kinds_of(op, len(inputs)))) if a is not None
            and kind in letters]


def each_array(inputs, change):
    return tuple(None if a is None else change(a) for a in inputs)


def test_every_row_is_recorded():
    assert set(OPS) - set(
        CALLS) == set(), "rows that no case reaches: give them a case, here and for the other tests"


# ---- element types and kinds of input

@every_row
@pytest.mark.parametrize("dtype", [np.int32, np.float16, np.complex64, bool])
def test_refuses_other_types(op, inputs, attrs, want, dtype):
    for i in positions(op, inputs, "ro"):
        if op.whole and len(inputs) == 1 and np.dtype(dtype).kind == "i":
            continue   # which another row takes
        if dtype is np.float16 and len(positions(op, inputs, "ro")) == 1:
            continue   # halves alone are computed in float32
        with pytest.raises(TypeError, match=f"^{op.name}: "):
            op(*with_input(inputs, i, inputs[i].astype(dtype)), **attrs)
    for i in positions(op, inputs, "ij"):
        with pytest.raises(TypeError, match=f"^{op.name}: "):
            op(*with_input(inputs, i, inputs[i].astype(np.float32)), **attrs)


@every_row
def test_halves_are_computed_in_float32_and_rounded_once(op, inputs, attrs, want):
    """Of every row; whole results are as they are."""
    real = positions(op, inputs, "ro")
    halves = tuple(a.astype(np.float16) if i in real else a for i, a in enumerate(inputs))
    wide = tuple(a.astype(np.float32) if i in real else a for i, a in enumerate(halves))
    if not real or op.random:
        return
    with np.errstate(over="ignore"):
        want = [w.astype(np.float16) if w.dtype == np.float32 else w for w in validate.flat(op(*wide, **attrs))]
    for g, w in zip(validate.flat(op(*halves, **attrs)), want, strict=True):
        assert np.array_equal(g, w, equal_nan=g.dtype.kind == "f") and g.dtype == w.dtype


@every_row
def test_refuses_mixed_types(op, inputs, attrs, want):
    real = positions(op, inputs, "ro")
    for i in real if len(real) > 1 else ():
        with pytest.raises(TypeError, match=f"^{op.name}: inputs must share one dtype"):
            op(*with_input(inputs, i, inputs[i].astype(np.float64)), **attrs)


@every_row
def test_refuses_lists(op, inputs, attrs, want):
    for i in positions(op, inputs, "roij"):
        with pytest.raises(TypeError, match=f"^{op.name}: .*list"):
            op(*with_input(inputs, i, inputs[i].tolist() if inputs[i].ndim else [1.0]), **attrs)


@every_row
def test_read_only_input(op, inputs, attrs, want):
    def freeze(a):
        a = a.copy()
        a.flags.writeable = False
        return a
    same(op(*each_array(inputs, freeze), **attrs), want)


@every_row
def test_big_endian_input(op, inputs, attrs, want):
    same(op(*each_array(inputs, lambda a: a.astype(a.dtype.newbyteorder(">"))), **attrs), want)


@every_row
def test_input_with_other_strides(op, inputs, attrs, want):
    same(op(*each_array(inputs, validate.strided), **attrs), want)
    same(op(*each_array(inputs, lambda a: np.array(a, order="F")), **attrs), want)
    same(op(*each_array(inputs, lambda a: np.flip(np.flip(a).copy())), **attrs), want)


@every_row
def test_unaligned_input(op, inputs, attrs, want):
    def shift(a):
        raw = np.empty(a.nbytes + 1, np.uint8)[1:]
        raw[...] = np.frombuffer(a.tobytes(), np.uint8)
        return raw.view(a.dtype).reshape(a.shape)
    same(op(*each_array(inputs, shift), **attrs), want)


@every_row
def test_memory_mapped_input(op, inputs, attrs, want, tmp_path):
    def mapped(a):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        np.save(path, a)
        return np.load(path, mmap_mode="r")
    got = op(*each_array(inputs, mapped), **attrs)
    same(got, want)
    assert all(type(g) is np.ndarray for g in validate.flat(got) if isinstance(g, np.ndarray))


@every_row
def test_torch_tensors_give_torch_tensors(op, inputs, attrs, want):
    torch = pytest.importorskip("torch")
    got = op(*each_array(inputs, lambda a: torch.from_numpy(a.copy())), **attrs)
    assert all(isinstance(g, torch.Tensor) for g in validate.flat(got))
    same([g.numpy() for g in validate.flat(got)], validate.flat(want))


@every_row
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, np.finfo(np.float32).max], ids=str)
def test_survives_any_values(op, inputs, attrs, want, value, backend):
    real = positions(op, inputs, "ro")
    filled = tuple(np.full_like(a, value) if i in real else a for i, a in enumerate(inputs))
    with use_backend(backend), np.errstate(all="ignore"):
        try:
            got = op(*filled, **attrs)
        except ValueError as why:   # an op may refuse values, as binary_cross_entropy what is no probability
            assert str(why).startswith(f"{op.name}: ")
            return
    for g, w in zip(validate.flat(got), validate.flat(want), strict=True):
        assert np.asarray(g).shape == np.asarray(w).shape


# ---- out=

def first(result):
    return validate.flat(result)[0]


@with_out
def test_out_receives_the_result(op, inputs, attrs, want):
    out = np.full_like(first(want), 7)
    got = op(*inputs, out=out, **attrs)
    assert first(got) is out
    same(got, want)


@with_out
def test_refuses_out_that_does_not_fit(op, inputs, attrs, want):
    right = np.empty_like(first(want))
    frozen = right.copy()
    frozen.flags.writeable = False
    wrong = {"read-only": frozen, "shape": np.empty((*right.shape, 1), right.dtype),
             "dtype": np.zeros(right.shape, np.float16),
             "contiguous": validate.strided(right) if right.size > 1 else frozen,}
    for why, out in wrong.items():
        before = out.copy()
        with pytest.raises(ValueError, match=f"^{op.name}: "):
            op(*inputs, out=out, **attrs)
        assert np.array_equal(out, before,
                              equal_nan=out.dtype.kind == "f"), f"a refused out ({why}) was written"


@with_out
def test_refuses_out_over_an_input(op, inputs, attrs, want):
    for i in positions(op, inputs, "ro"):
        shared = tuple(None if a is None else a.copy() for a in inputs)
        with pytest.raises(ValueError, match=f"^{op.name}: out overlaps an input"):
            op(*shared, out=shared[i], **attrs)
        same(shared[i], inputs[i])


@pytest.mark.parametrize("op, inputs, attrs, want", [p for p in ROWS if not p.values[0].kernels])
def test_a_view_does_not_ignore_out(op, inputs, attrs, want):
    out = np.zeros(first(want).shape, first(want).dtype)
    try:
        assert first(op(*inputs, out=out, **attrs)) is out
    except (TypeError, ValueError) as why:
        assert str(why).startswith(f"{op.name}: ")


# ---- several callers

@every_row
def test_two_threads_at_once(op, inputs, attrs, want):
    failures = []

    def work():
        try:
            for _ in range(10):
                same(op(*inputs, **attrs), want)
        except Exception as why:   # an assertion in a thread would pass unseen
            failures.append(why)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert failures == []


def in_child(names, queue):
    try:
        for backend in names:
            with use_backend(backend):
                for name, (inputs, attrs, _) in CALLS.items():
                    got = OPS[name](*inputs, **attrs)
                    queue.put((backend, name, [np.asarray(g) for g in validate.flat(got)]))
        queue.put("done")
    except BaseException as why:
        queue.put(repr(why))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_can_call_every_backend():
    """OpenMP's threads do not survive a fork: kernels that waited for them would hang."""
    with num_threads(2):
        F.layer_norm(np.ones((4096, 512), np.float32), (512,))   # the parent's threads are running
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        child = context.Process(target=in_child, args=(NATIVE, queue), daemon=True)
        child.start()
        try:
            while (message := queue.get(timeout=60)) != "done":
                assert isinstance(message, tuple), f"the child failed: {message}"
                backend, name, got = message
                with use_backend(backend):
                    inputs, attrs, _ = CALLS[name]
                    same(got, OPS[name](*inputs, **attrs))
        finally:
            child.kill()
            child.join()


@pytest.mark.parametrize("call, message", [
    (lambda: F.select_scatter(np.zeros((4, 4)), np.zeros(3), 0, 0), r"select_scatter: src must be of shape \(4,\)"),
    (lambda: F.masked_select(np.zeros(3), np.zeros(4, bool)), r"masked_select: input \(3,\) and mask \(4,\) must"),
    (lambda: F.dft(np.zeros((3, 4, 2)), 2.5), "dft: n must be an int, got 2.5"),
    (lambda: F.stft(np.zeros(40), 8.5), "stft: n_fft must be an int or ints, got 8.5"),
])
def test_the_function_that_was_called_is_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


@pytest.mark.parametrize("call", [
    lambda **out: F.sum(np.arange(6).reshape(2, 3), 1, **out), lambda **out: F.div(np.arange(3), 2, **out),
    lambda **out: F.amax(np.arange(6).reshape(2, 3), 0, **out),
    lambda **out: F.cdist(np.eye(3), np.ones((2, 3)), **out),
])
def test_out_is_written_or_refused_whatever_rows_compute(call):
    """Functions of whole numbers, and of several rows, left it as it was."""
    want = call()
    out = np.full(want.shape, 7, want.dtype)
    assert call(out=out) is out
    np.testing.assert_array_equal(out, want)
    for wrong in (np.empty((*want.shape, 2), want.dtype), np.empty(want.shape, np.int8), "x"):
        with pytest.raises((TypeError, ValueError), match="out"):
            call(out=wrong)


def test_out_of_a_tensor_is_refused():
    with pytest.raises(TypeError, match="clone: out= is for arrays, not Tensor"):
        F.clone(Tensor(np.ones(3)), out=np.empty(3))
