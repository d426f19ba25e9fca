"""The checks that every case of every row must pass on every backend. tests/ and `pyops validate`
both loop over them.
A check raises AssertionError that says what was wrong. The expected values come from the reference
backend in float64.
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from . import functional as F
from .core.backends import BACKENDS, DTYPES, ISAS, use_backend
from .core.cases import Case
from .core.kernel_set import refuse_without_kernels
from .core.registry import OPS, Op
from .core.tensor import Tensor
from .core.threads import num_threads

BAND = 64   # elements on either side of a guarded output


class Refused(Exception):
    """The compiler takes no such call, which is no fault; the message is its reason."""


def banded(n: int, dtype: np.dtype) -> np.ndarray:
    """n values of poison (NaN; whole numbers: a large negative) between two guard bands of 77."""
    poison = np.nan if dtype.kind == "f" else np.iinfo(dtype).min // 3 if dtype.kind == "i" else 171
    buffer = np.full(n + 2 * BAND, poison, dtype)
    buffer[:BAND] = buffer[BAND + n:] = 77
    return buffer


def untouched(buffer: np.ndarray) -> bool:
    """Whether its guard bands are as they were."""
    band = np.full(BAND, 77, buffer.dtype)
    return np.array_equal(buffer[:BAND], band) and np.array_equal(buffer[-BAND:], band)


class GuardedKernels:
    """A KernelSet whose outputs start as poison between two guard bands, in the memory of whichever
    device the kernels work on."""

    def __init__(self, kernels, buffers):
        self._kernels, self._buffers = kernels, buffers

    def __getattr__(self, name):
        return getattr(self._kernels, name)

    def empty(self, shape, dtype=None):
        n = math.prod(shape)
        buffer = to_device(self._kernels, banded(n, np.dtype(dtype or self._kernels.dtype)))
        self._buffers.append((self._kernels, buffer))
        return buffer[BAND:BAND + n].reshape(shape)


def to_device(kernels, array):
    """A NumPy array where the kernels' arrays lie: itself, but for those of a GPU."""
    device = getattr(kernels, "device", None)
    return device.put(array) if device is not None else array


def to_host(kernels, array):
    device = getattr(kernels, "device", None)
    return device.get(array) if device is not None else array


class Guarded:
    """A backend that shows stores outside an output: call `check` after use."""

    def __init__(self, backend):
        self.name, self.backend, self.buffers = backend.name, backend, []

    def run(self, op, real, inputs, attrs, out=None):
        if not self.backend.sets:
            return self.backend.run(op, real, inputs, attrs, out)
        kernels = self.backend.sets[real]
        refuse_without_kernels(op, self.name)
        before = [None if a is None else a.copy() for a in inputs]
        arrays = [to_device(kernels, a) for a in inputs]
        result = op.forward(GuardedKernels(kernels, self.buffers), *arrays, **attrs)
        for i, (a, b) in enumerate(zip(arrays, before)):
            assert a is None or np.array_equal(to_host(kernels, a), b,
                                               equal_nan=True), f"{op.name} wrote into its input {i}"
        return (tuple(to_host(kernels, r) for r in result) if isinstance(result, tuple)
                else to_host(kernels, result))

    def check(self):
        for kernels, buffer in self.buffers:
            assert untouched(to_host(kernels, buffer)), "a kernel stored outside an output"


def rows() -> Iterator[tuple[Op, Case]]:
    for op in OPS.values():
        for case in op.cases:
            yield op, case


def flat(result) -> list:
    return list(result) if isinstance(result, (tuple, list)) else [result]


def assert_close(got, want, tolerance, what):
    """|got - want| <= tolerance x eps(got) x max(1, max |want|), equal shapes, NaN and infinity in
    the same places.
    """
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, expected {want.shape}"
    if got.dtype.kind != "f":
        assert got.dtype == want.dtype, f"{what}: {got.dtype}, expected {want.dtype}"
        assert np.array_equal(got,
                              want), f"{what}: integers differ at {np.argwhere(got != want)[:3].tolist()}"
        return
    finite = np.isfinite(want)
    assert np.array_equal(got[~finite], want[~finite].astype(got.dtype),
                          equal_nan=True), f"{what}: NaN or infinity differ"
    scale = max(1.0, np.abs(want[finite]).max(initial=0))
    error = np.abs(got[finite] - want[finite])
    worst = error.max(initial=0) / (np.finfo(got.dtype).eps * scale)
    assert worst <= tolerance, f"{what}: off by {worst:.0f} eps, {tolerance:.0f} allowed"   # NaN fails too


def call(case: Case, args, kwargs):
    return case.chain(F, *args, **kwargs) if case.chain else getattr(F, case.call)(*args, **kwargs)


def expected(case: Case, dtype, seed=0):
    """The reference's result in float64 for the same inputs, which are rounded to `dtype` first."""
    args, kwargs = case.arguments(dtype, seed)
    with use_backend("reference"):
        return flat(call(case, widen(args), widen(kwargs)))


def widen(value):
    """float arrays as float64, through lists and dicts."""
    if isinstance(value, dict):
        return {k: widen(v) for k, v in value.items()}
    if isinstance(value, list):
        return [widen(v) for v in value]
    return value.astype(np.float64) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def check_forward(op: Op, case: Case, backend: str, real: str):
    dtype = DTYPES[real]
    args, kwargs = case.arguments(dtype)
    guarded = Guarded(BACKENDS[backend])
    with use_backend(guarded):
        got = flat(call(case, args, kwargs))
    guarded.check()
    for i, (g, w) in enumerate(zip(got, expected(case, dtype), strict=True)):
        assert np.asarray(g).dtype in (dtype, w.dtype if w.dtype != np.float64 else dtype) or np.asarray(
            g).dtype.kind != "f", f"output {i} is {np.asarray(g).dtype}"
        assert_close(g, w, case.tolerance or op.tolerance, f"output {i}")


def tensors(value, leaves: list, specs):
    """`value` with every real array a Tensor that requires its gradient (unless its spec says
    grad=False), collected in leaves.
    """
    if isinstance(value, dict):
        return {k: tensors(v, leaves, specs[k]) for k, v in value.items()}
    if isinstance(value, (list, tuple)) and isinstance(specs, (list, tuple)) and len(value) == len(specs):
        return type(value)(tensors(v, leaves, s) for v, s in zip(value, specs))
    if isinstance(value, np.ndarray):
        tensor = Tensor(value, requires_grad=value.dtype.kind == "f" and specs.grad)
        if tensor.requires_grad:
            leaves.append(tensor)
        return tensor
    return value


def gradients(case: Case, args, kwargs, weights=None):
    """Result arrays, the weights given to them, and d(sum of weighted
    results)/d(every real input)."""
    leaves: list = []
    result = call(case, tensors(list(args), leaves, list(case.args)), tensors(kwargs, leaves, case.kwargs))
    results = [t for t in flat(result) if t.requires_grad]
    if weights is None:
        weights = [np.random.default_rng(7 + i).standard_normal(t.shape).astype(t.dtype)
                   for i, t in enumerate(results)]
    for t, w in zip(results, weights, strict=True):
        t.backward(w.astype(t.dtype))
    return [t.data for t in results], weights, [t.grad for t in leaves]


def check_gradient(op: Op, case: Case, backend: str, real: str):
    dtype = DTYPES[real]
    args, kwargs = case.arguments(dtype)
    guarded = Guarded(BACKENDS[backend])
    with use_backend(guarded):
        _, weights, got = gradients(case, args, kwargs)
    guarded.check()
    with use_backend("reference"):
        _, _, want = gradients(case, widen(args), widen(kwargs), widen(weights))
    for i, (g, w) in enumerate(zip(got, want, strict=True)):
        assert (g is None) == (w is None), f"gradient {i} is missing on one side"
        if g is not None:
            assert_close(g, w, case.tolerance or op.tolerance, f"gradient {i}")


def check_threads(op: Op, case: Case, backend: str, real: str):
    """One thread and several give the same bits, forward and backward."""
    results = []
    for n in (1, 2, 3):
        args, kwargs = case.arguments(DTYPES[real])
        with use_backend(backend), num_threads(n):
            results.append([*flat(call(case, args, kwargs)),
                            *(gradients(case, args, kwargs)[2] if case.gradient else [])])
    for other in results[1:]:
        for i, (a, b) in enumerate(zip(results[0], other, strict=True)):
            assert np.array_equal(a, b, equal_nan=True), f"result {i} depends on the number of threads"


def check_batch(op: Op, case: Case, backend: str, real: str):
    """The first sample alone gives the same bits as within its batch."""
    args, kwargs = case.arguments(DTYPES[real])
    alone = [a[:1] if i in case.batched else a for i, a in enumerate(args)]
    with use_backend(backend):
        whole, one = flat(call(case, args, kwargs)), flat(call(case, alone, kwargs))
    for i, (a, b) in enumerate(zip(whole, one, strict=True)):
        assert np.array_equal(a[:1], b, equal_nan=True), f"output {i} depends on the batch size"


def check_strided(op: Op, case: Case, backend: str, real: str):
    """Non-contiguous inputs give the same bits as contiguous ones."""
    args, kwargs = case.arguments(DTYPES[real])
    with use_backend(backend):
        want = flat(call(case, args, kwargs))
        got = flat(call(case, [strided(a) for a in args], kwargs))
    for i, (a, b) in enumerate(zip(want, got, strict=True)):
        assert np.array_equal(a, b, equal_nan=True), f"output {i} differs for non-contiguous inputs"


def strided(value):
    """The same values behind other strides."""
    if isinstance(value, list):
        return [strided(v) for v in value]
    if not isinstance(value, np.ndarray) or not value.ndim:
        return value
    wide = np.empty((*value.shape[:-1], 2 * value.shape[-1]), value.dtype)
    wide[..., ::2] = value
    return wide[..., ::2]


def check_compiled(op: Op, case: Case, backend: str, real: str):
    """The call through pyops.compile; raises Refused, with the reason, where the compiler takes no
    such call.
    """
    from .validate_compiled import check
    check(op, case, backend)


CHECKS = {"forward": check_forward, "gradient": check_gradient, "threads": check_threads,
          "batch": check_batch, "strided": check_strided, "compiled": check_compiled}


def applies(check: str, case: Case, backend: str | None = None, real: str | None = None) -> bool:
    """Whether the case is there to be checked so. A backend or type of None stands for any."""
    if check == "compiled" and (backend not in (None, *ISAS) or real not in (None, "f32")):
        return False   # programs run on instruction sets, in float32
    if case.chain and check != "compiled":
        return False   # each of its calls has cases of its own
    return {"gradient": case.gradient, "batch": case.batch}.get(check, True)


def checks(ops: Iterable[Op] | None = None) -> Iterator[tuple[Op, Case, str]]:
    """What is to be checked: every case, and chains of calls in compiled form; of these rows, None
    for all.
    """
    for op in OPS.values() if ops is None else ops:
        for case in (*op.cases, *op.chains):
            yield from ((op, case, check) for check in CHECKS if applies(check, case))
