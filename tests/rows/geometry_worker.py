"""Every integer argument of the cases of some rows, replaced by sizes that no one means. Run by
test_geometry.py in a process of its own, with little address space:
`python geometry_worker.py forward|gradient|compiled ROW...`.

A call is refused, with an exception that says so, or agrees with the reference. Before each call
its text is printed, so that what ends the process is known.
"""
import math
import resource
import sys
import warnings

import numpy as np

import pyops
import pyops.functional as F
from pyops.core.backends import use_backend
from pyops.core.cases import Array, Case
from pyops.core.registry import OPS
from pyops.core.threads import num_threads
from pyops.graph.trace import TraceError
from pyops.validate import assert_close, call, expected, flat, gradients, widen

LANES = 16
SIZES = [0, 1, LANES - 1, LANES + 1, 2**31 - 1, 2**31, 2**31 + 1, 2**62, 2**63 - 1]
# the last by getitem, as NumPy has it
REFUSALS = (ValueError, TypeError, MemoryError, OverflowError, IndexError)
ROOM = 1 << 30        # of address space, beside what the process has
COMPARED = 1 << 20    # elements of a result that is compared


def is_int(v):
    return isinstance(v, int) and not isinstance(v, bool)


def changed(value):
    """`value` with each of its integers, one after the other, replaced by each size."""
    if is_int(value):
        yield from SIZES
    elif isinstance(value, (tuple, list)) and value and all(map(is_int, value)):
        for i in range(len(value)):
            for size in SIZES:
                yield type(value)([*value[:i], size, *value[i + 1:]])
        for size in SIZES:
            yield type(value)([size] * len(value))


def mutants(case):
    for i, value in enumerate(case.args):
        if case.call.startswith("lp_pool") and i == 1:   # an exponent, which is no size
            continue
        for new in changed(value):
            yield (*case.args[:i], new, *case.args[i + 1:]), case.kwargs
    for name, value in case.kwargs.items():
        for new in changed(value):
            yield case.args, {**case.kwargs, name: new}
    if case.call.startswith("conv"):   # windows that reach far beyond a small input on all sides, and meet it
        for size in (10**5, 2**27, 2**30):
            yield case.args[:2], {"dilation": size, "padding": size}
            yield case.args[:2], {"stride": size}
            yield case.args[:2], {"stride": size, "padding": size // 2}
    # else the reference takes minutes
    small = max((max(a.shape, default=0) for a in case.args if isinstance(a, Array)), default=0) <= 64
    if small and "pool" in case.call and "adaptive" not in case.call and "unpool" not in case.call:
        at = 2 if case.call.startswith("lp") else 1
        for size in (10**5, 2**27, 2**30):
            yield ((*case.args[:at], size),
                   {"stride": 1, **({} if case.call.startswith("lp") else {"padding": size // 2})})
            yield case.args[:at + 1], {"stride": size}


def cases(op):
    """Of each call the two with the smallest arrays."""
    calls = {}
    for case in op.cases:
        if case.chain is None:
            calls.setdefault(case.call, []).append(case)
    for of_call in calls.values():
        yield from sorted(of_call, key=elements)[:2]


def elements(case):
    return sum(math.prod(a.shape) for value in (*case.args, *case.kwargs.values())
               for a in (value if isinstance(value, list) else [value]) if isinstance(a, Array))


def plain(value):
    return f"A{value.shape}" if isinstance(value, Array) else repr(value)


def small(results):
    return sum(np.asarray(r).size for r in results) <= COMPARED


def forward(op, case):
    args, kwargs = case.arguments(np.float32)
    got = flat(call(case, args, kwargs))
    if small(got):
        for g, w in zip(got, expected(case, np.float32), strict=True):
            assert_close(g, w, case.tolerance or op.tolerance, "result")


def gradient(op, case):
    if not case.gradient:
        return
    args, kwargs = case.arguments(np.float32)
    y, weights, got = gradients(case, args, kwargs)
    if small(y):
        with use_backend("reference"):
            want = gradients(case, widen(args), widen(kwargs), widen(weights))[2]
        for g, w in zip(got, want, strict=True):
            assert (g is None or w is None or not np.isfinite(w).all()
                    or assert_close(g, w, 4 * (case.tolerance or op.tolerance), "gradient") is None)


def compiled(op, case):
    args, kwargs = case.arguments(np.float32)
    places = [i for i, a in enumerate(args) if isinstance(a, np.ndarray) and a.dtype == np.float32]
    if not places:
        return
    at = places[0]
    model = lambda x: call(case, [*args[:at], x, *args[at + 1:]], kwargs)   # noqa: E731
    try:
        program = pyops.compile(model, args[at])
    except TraceError:
        return
    got = flat(program(args[at]))
    if small(got):
        for g, w in zip(got, expected(case, np.float32), strict=True):
            assert_close(g, w, max(256, case.tolerance or op.tolerance), "compiled")


def main(mode, names):
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    check = {"forward": forward, "gradient": gradient, "compiled": compiled}[mode]
    # threads have their stacks before the limit
    F.conv2d(np.ones((1, 16, 64, 64), "f"), np.ones((32, 16, 3, 3), "f"), padding=1)
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, resource.RLIM_INFINITY))
    done = refused = 0
    for name in names:
        op = OPS[name]
        for case in cases(op):
            for args, kwargs in mutants(case):
                one = Case(case.why, case.call, args, kwargs, case.tolerance, None, case.gradient)
                print(f"{mode} {case.call}({', '.join(map(plain, args))}, {kwargs})", flush=True)
                done += 1
                try:
                    check(op, one)
                except REFUSALS as why:
                    refused += 1
                    assert "cast Python instance" not in str(why), why
                except AssertionError as why:
                    print("WRONG:", str(why)[:300], flush=True)
                except Exception as why:   # it is reported
                    print("WRONG:", type(why).__name__, str(why)[:300], flush=True)
    print(f"DONE: {done} calls, {refused} refused", flush=True)


if __name__ == "__main__":
    with num_threads(2):
        main(sys.argv[1], sys.argv[2:])
