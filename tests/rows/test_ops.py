"""Every case of every row on every backend and element type; the calls an op must refuse; finite
differences; torch."""
import numpy as np
import pytest
from joined import check_each

from pyops import functional as F, validate
from pyops.core.backends import BACKENDS, use_backend
from pyops.core.cases import Case
from pyops.core.registry import OPS

CHECKED: dict[tuple[str, str], list] = {}   # (row, check): cases
for _op, _case, _check in validate.checks():
    if _check != "compiled":   # those are in tests/compiled/test_cases_compiled.py
        CHECKED.setdefault((_op.name, _check), []).append(_case)


def name_of(case) -> str:
    return f"{case.call}-{case.why}"


@pytest.mark.parametrize("name, check", CHECKED)
def test_cases(name, check, backend):
    op = OPS[name]
    if backend in op.todo:
        pytest.skip(f"{op.name} has no {backend} kernel: {op.todo[backend]}")
    check_each(((f"{name_of(case)}-{real}", case, real) for case in CHECKED[name, check]
                for real in ("f32", "f64")),
               lambda case, real: validate.CHECKS[check](op, case, backend, real))


@pytest.mark.parametrize("op", [op for op in OPS.values() if any(c.gradient and c.exact for c in op.cases)],
                         ids=lambda op: op.name)
def test_reference_gradient_is_the_derivative(op):
    check_each(((name_of(case), case) for case in op.cases if case.gradient and case.exact), check_derivative)


def check_derivative(case):
    """<w, J v> by central differences equals <J^T w, v> in float64 along a random
    direction v of each input."""
    args, kwargs = case.arguments(np.float64, seed=3)
    with use_backend("reference"):
        _, weights, exact = validate.gradients(case, args, kwargs)
        leaves = arrays(list(args), list(case.args)) + arrays(kwargs, case.kwargs)
        for i, (leaf, gradient) in enumerate(zip(leaves, exact, strict=True)):
            v = np.random.default_rng(5).standard_normal(leaf.shape)
            original, h = leaf.copy(), 1e-6

            def value(at):
                leaf[...] = at  # noqa: B023
                outputs = [o for o in validate.flat(validate.call(case, args, kwargs))
                           if np.asarray(o).dtype.kind == "f"]
                return sum((w * o).sum() for w, o in zip(weights, outputs, strict=True))
            numeric = (value(original + h * v) - value(original - h * v)) / (2 * h)
            leaf[...] = original
            want = 0.0 if gradient is None else (gradient * v).sum()
            scale = 1 + (0.0 if gradient is None else np.abs(gradient * v).sum())
            assert abs(numeric
                       - want) <= 3e-6 * scale, f"input {i}: differences give {numeric}, the rule {want}"


def arrays(value, spec):
    """The real arrays of `value` whose spec wants a gradient, in the order
    validate.tensors collects them."""
    if isinstance(value, dict):
        return [a for k, v in value.items() for a in arrays(v, spec[k])]
    if isinstance(value, list):
        return [a for v, s in zip(value, spec) for a in arrays(v, s)]
    return [value] if isinstance(value, np.ndarray) and value.dtype.kind == "f" and spec.grad else []


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.refuses], ids=lambda op: op.name)
@pytest.mark.parametrize("backend_name", [n for n in BACKENDS if not BACKENDS[n].missing])
def test_refuses(op, backend_name):
    if backend_name in op.todo:
        pytest.skip(f"{op.name} has no {backend_name} kernel: {op.todo[backend_name]}")
    def check(bad):
        args, kwargs = Case(bad.why, bad.call, bad.args, bad.kwargs).arguments(np.float32)
        with use_backend(backend_name), pytest.raises(bad.error, match=bad.match):
            getattr(F, bad.call)(*args, **kwargs)
    check_each(((name_of(bad), bad) for bad in op.refuses), check)


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_every_backend_has_the_kernels_or_a_reason(op, backend):
    for real, kernels in BACKENDS[backend].sets.items():
        has = all(hasattr(kernels, k) for k in op.kernels)
        assert has != (
            backend in op.todo), f"{op.name} on {backend} {real}: kernels or a todo, not both, not neither"
