"""Every case of every row on the device: in float32 and float64 by the checks that all backends
pass, in float16 and bfloat16 beside the reference in float64 on the rounded inputs."""
from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ... import validate
from ...core.backends import BACKENDS, use_backend
from ...core.registry import OPS

# families by what a first run should know first: what networks spend their time in
FIRST = ("attention", "conv", "conv_transpose", "linear", "matmul", "lstm", "gru", "rnn", "layer_norm", "batch_norm",
         "batch_norm_training", "group_norm", "softmax")
# of the largest value: a few roundings of the type; gradients pass through more of them
ALLOWED = {"f16": 2.0 ** -9, "bf16": 2.0 ** -6}
MORE = {"forward": 1, "gradient": 4}
POSITIONS = ("resample",)   # takes places and weights as arrays, which no caller rounds
# a difference of large values, of a type that has few digits
CANCELS = {("batch_norm_training", "mean_far_from_zero"), ("rms_norm", "cols1")}


def rows() -> list:
    """(op, case) of rows that have kernels for CUDA: some cases of each row before more of any, FIRST
    first, so that whatever the time suffices for is of every kind."""
    place = {name: i for i, name in enumerate(FIRST)}
    found = [(number // 4, place.get(op.name, len(FIRST)), op, case)
             for op in OPS.values() if "cuda" not in op.todo for number, case in enumerate(op.cases)]
    return [row[2:] for row in sorted(found, key=lambda row: row[:2])]   # a stable order


def cases(small: bool) -> list[tuple[str, Callable[[], dict]]]:
    return [(f"{op.name} {case.why} {check} {real}", partial(checked, op, case, check, real))
            for op, case in rows() for check in ("forward", "gradient") if validate.applies(check, case)
            for real in ("f32", "f64")]


def checked(op, case, check, real) -> dict:
    validate.CHECKS[check](op, case, "cuda", real)
    return {"passed": True}


# ---- half types

def half_cases(small: bool) -> list[tuple[str, Callable[[], dict]]]:
    # float16 last: its machine code, which is bfloat16's but for the conversions, is made as it is launched
    return [(f"{op.name} {case.why} {check} {real}", partial(half, op, case, check, real))
            for real in ("bf16", "f16")
            for op, case in rows() if set(op.kinds) & set("ro")
            and op.name not in POSITIONS and (op.name, case.why) not in CANCELS
            for check in ("forward", "gradient") if validate.applies(check, case)]


class Narrow:
    """A backend that computes in `real` for arrays of float32: it rounds what an op is given and
    widens what it gives."""

    def __init__(self, real: str, backend: str = "cuda"):
        self.name, self.buffers, self.statistics = backend, [], []
        self.kernels = BACKENDS[backend].kernels(real)   # type: ignore[attr-defined]

    def run(self, op, real, inputs, attrs, out=None):
        rounded = [self.rounded(a, op) for a in inputs]
        result = op.forward(validate.GuardedKernels(self.kernels, self.buffers), *rounded, **attrs)
        wide = tuple(self.wide(r) for r in validate.flat(result))
        return wide if isinstance(result, tuple) else wide[0]

    def rounded(self, array, op):
        statistic = op.name.endswith("_backward") and any(array is s for s in self.statistics)
        if array is not None and array.dtype.kind == "f" and not statistic:
            array = array.astype(self.kernels.dtype)
        return validate.to_device(self.kernels, array)

    def wide(self, array):
        array = validate.to_host(self.kernels, array)
        if array.dtype == self.kernels.dtype:
            return array.astype(np.float32)
        self.statistics.append(array)   # float32, and stays so when a gradient is given it
        return array

    def check(self):
        for kernels, buffer in self.buffers:
            assert validate.untouched(validate.to_host(kernels, buffer)), "a kernel stored outside an output"


def half(op, case, check, real, backend="cuda") -> dict:
    """A case in a half type beside the reference on the same inputs, rounded."""
    narrow = Narrow(real, backend)
    args, kwargs = (each_rounded(v, narrow.kernels.dtype) for v in case.arguments(np.dtype(np.float32)))
    if check == "forward":
        with use_backend(narrow):
            got = validate.flat(validate.call(case, args, kwargs))
        with use_backend("reference"):
            want = validate.flat(validate.call(case, validate.widen(args), validate.widen(kwargs)))
    else:
        with use_backend(narrow):
            _, weights, got = validate.gradients(case, args, kwargs)
        with use_backend("reference"):
            *_, want = validate.gradients(case, validate.widen(args), validate.widen(kwargs),
                                          validate.widen(weights))
    narrow.check()
    worst = 0.0
    for i, (g, w) in enumerate(zip(got, want, strict=True)):
        assert (g is None) == (w is None), f"result {i} is missing on one side"
        if g is not None and np.asarray(g).dtype.kind == "f":
            worst = max(worst, error(np.asarray(g, np.float64), np.asarray(w), f"{check} result {i}"))
    allowed = ALLOWED[real] * MORE[check]
    assert worst <= allowed, f"off by {worst:.1e} of the largest value, {allowed:.1e} allowed"
    return {"passed": True, "error": worst}


def each_rounded(value, dtype):
    """float arrays rounded to dtype, through lists and dicts."""
    if isinstance(value, dict):
        return {k: each_rounded(v, dtype) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(each_rounded(v, dtype) for v in value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.astype(dtype).astype(np.float32)
    return value


def error(got, want, what) -> float:
    """Of the largest value; NaN and infinity must be in the same places."""
    finite = np.isfinite(want)
    assert np.array_equal(got[~finite], want[~finite], equal_nan=True), f"{what}: NaN or infinity differ"
    if not finite.any():
        return 0.0
    difference = np.abs(got[finite] - want[finite]).max()
    return float(difference / max(1.0, np.abs(want[finite]).max()))
