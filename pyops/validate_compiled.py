"""The check that validates compiled programs: a case's call as pyops.compile makes it, on an
instruction set.
Each call is compiled twice, with its weights as constants, which is what packed kernels are made
for, and with every array given at run time; and once for each algorithm that its convolutions may
use. What comes out is held against the float64 reference. A program's arena and its results are
full of NaN before it runs, so that a kernel which reads what none has written is seen.
"""
from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .core.cases import Case
from .core.registry import Op
from .graph import choose, line, strassen, stride_two
from .graph.compile import BOUNDS, Options, build, simplified
from .graph.ir import Value
from .graph.program import Program
from .graph.structure import unflatten
from .graph.trace import TraceError
from .validate import BAND, Refused, assert_close, banded, call, expected, flat, untouched

# Why a program takes whole numbers and masks as constants alone: kernels that trust their indices,
# lengths that depend on numbers
ONLY_CONSTANT = ("indices given at run time", "needs its numbers")
EPS = float(np.finfo(np.float32).eps)
# Of an algorithm's results, in eps: what precision="default" and "fast" promise.
WINOGRAD = {"winograd2": BOUNDS["default"] / EPS, "winograd4": BOUNDS["default"] / EPS,
            "winograd6": BOUNDS["fast"] / EPS}
HALVED = dict.fromkeys((stride_two.ALGORITHM, strassen.NAME, *line.NAMES), BOUNDS["default"] / EPS)


def check(op: Op, case: Case, isa: str) -> None:
    """AssertionError says what is wrong. Refused where nothing is compiled."""
    args, kwargs = case.arguments(np.float32)
    want = expected(case, np.float32)
    compiled = False
    for what, places in forms(case, args, kwargs):
        try:
            possible = algorithms(case, args, kwargs, places)
        except Refused as why:
            if compiled and any(text in str(why) for text in ONLY_CONSTANT):
                continue
            raise
        compiled = True
        for algorithm in possible:
            tolerance = max(case.tolerance or op.tolerance, (WINOGRAD | HALVED).get(algorithm, 0))
            got = threads(case, args, kwargs, places, algorithm, isa, what)
            for i, (g, w) in enumerate(zip(got, want, strict=True)):
                assert_close(g, w, tolerance, f"{what}, {algorithm}: output {i}")
            if case.batch:
                alone = [a[:1] if i in case.batched else a for i, a in enumerate(args)]
                one = threads(case, alone, kwargs, places, algorithm, isa, what)
                for i, (a, b) in enumerate(zip(got, one, strict=True)):
                    same = np.array_equal(a[:1], b, equal_nan=True)
                    assert same, f"{what}, {algorithm}: output {i} depends on the batch size"


def forms(case: Case, args, kwargs) -> Iterator[tuple[str, list]]:
    """Which arrays are given at run time: (what to call that, their places)."""
    every = [place for place, _ in arrays((args, kwargs))]
    if not every:
        raise Refused("no array among its arguments, which a program could take")
    floats = [place for place, array in arrays((args, kwargs)) if array.dtype == np.float32]
    first = ([place for place in every if place[0] == 0 and place[1] in case.batched] if case.batch
             else (floats or every)[:1])
    if floats and len(floats) < len(every) and floats != first:
        yield "whole numbers as constants", floats
    yield "constant weights", first
    if len(every) > len(first):
        yield "all arrays given", every


def arrays(value, place=()) -> Iterator[tuple[tuple, np.ndarray]]:
    """Every array in nested lists and dicts, and where it is."""
    if isinstance(value, np.ndarray):
        yield place, value
    elif isinstance(value, (list, tuple, dict)):
        for key, v in value.items() if isinstance(value, dict) else enumerate(value):
            yield from arrays(v, (*place, key))


def replaced(value, given: dict, place=()):
    """`value` with other values at some places."""
    if place in given:
        return given[place]
    if isinstance(value, dict):
        return {k: replaced(v, given, (*place, k)) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(replaced(v, given, (*place, i)) for i, v in enumerate(value))
    return value


def model_of(case: Case, args, kwargs, places):
    def model(*given):
        a, k = replaced((args, kwargs), dict(zip(places, given)))
        return call(case, a, k)
    return model


def inputs_of(args, kwargs, places) -> tuple[np.ndarray, ...]:
    found = dict(arrays((args, kwargs)))
    return tuple(found[place] for place in places)


def algorithms(case: Case, args, kwargs, places) -> list[str]:
    """Those that the call's convolutions may use."""
    try:
        graph, _ = simplified(model_of(case, args, kwargs, places), inputs_of(args, kwargs, places))
    except TraceError as why:
        raise Refused(str(why)) from why
    able = any(node.op == "conv" and isinstance(node.inputs[1], np.ndarray)
               and isinstance(node.inputs[0], Value) and choose.winograd_can(node) for node in graph.nodes)
    lines = {f"line{m}" for node in graph.nodes if node.op == "conv" and isinstance(node.inputs[1], np.ndarray)
             and not line.can(node) for m in line.TILES[line.taps_of(node)]}
    by_parities = [node for node in graph.nodes if node.op in ("conv", "conv_transpose")
                   and stride_two.is_stride_two(node)]
    halved = [stride_two.ALGORITHM] if any(not stride_two.can(node) for node in by_parities) else []
    by_halves = any(node.op == "conv" and isinstance(node.inputs[1], np.ndarray) and not strassen.can(node)
                    for node in graph.nodes)
    return ["direct", *(WINOGRAD if able else ()), *halved, *sorted(lines), *[strassen.NAME] * by_halves]


def threads(case: Case, args, kwargs, places, algorithm: str, isa: str, what: str) -> list[np.ndarray]:
    """The results, which one thread and three must agree on."""
    inputs = inputs_of(args, kwargs, places)
    try:
        program = build(model_of(case, args, kwargs, places), inputs, Options("fast", 1, isa, algorithm))
    except TraceError as why:
        raise Refused(str(why)) from why
    one = run(program, inputs)
    three = run(Program(program.plan, isa, 3, samples=program.samples), inputs)
    for i, (a, b) in enumerate(zip(one, three, strict=True)):
        same = np.array_equal(a, b, equal_nan=True)
        assert same, f"{what}, {algorithm}: output {i} depends on the number of threads"
    return one


def run(program: Program, inputs) -> list[np.ndarray]:
    """The results of one run from a poisoned arena, stored between guard bands."""
    program._native.poison()
    before = [a.copy() for a in inputs]
    bands = [banded(math.prod(shape), np.dtype(dtype)) for shape, dtype in program.outputs]
    outputs = tuple(band[BAND:len(band) - BAND].reshape(shape)
                    for band, (shape, _) in zip(bands, program.outputs))
    for given, results in program._runs(program._ready(inputs), outputs):
        program._native.run(given, results)
    for band in bands:
        assert untouched(band), "a kernel stored outside an output"
    for i, (a, b) in enumerate(zip(inputs, before)):
        assert np.array_equal(a, b, equal_nan=True), f"the program wrote into its input {i}"
    return flat(unflatten(program.plan.structure, program.cut(outputs)))
