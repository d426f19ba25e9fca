"""Contracts of kernels in programs: they are of the kernels' signatures, take every call that the
compiler makes, and no forged one.
"""

import re
from pathlib import Path

import numpy as np
import pytest

from pyops import _C, validate, validate_compiled
from pyops.core.backends import BACKENDS, ISAS
from pyops.core.registry import OPS
from pyops.graph import contracts
from pyops.graph.compile import Options, build
from pyops.graph.contracts import CONTRACTS, Refused, Spaces

ROOT = Path(__file__).parents[2]
LETTERS = {
    "In<real>": "ro",
    "In<i64>": "ijeE",
    "InAny": "x",
    "OutAny": "X",
    "Out<real>": "R",
    "Out<i64>": "I",
    "InMap<real>": "mp",
    "OutMap<real>": "M",
    "Dims": "d",
    "i64": "n",
    "double": "f",
    "bool": "b",
    "Act": "a",
    "Window": "w",
}
ISA = next(iter(name for name in ("avx512", "avx2", "neon", "scalar") if hasattr(_C, name)))


def signatures():
    """Each kernel's argument types, from its family's table."""
    tables = "\n".join(
        file.read_text() for file in sorted([*ROOT.glob("kernels/*/*.inc"), *ROOT.glob("csrc/*.inc")])
    )
    return {
        name: [argument.strip().rsplit(" ", 1)[0] for argument in arguments.split(",")]
        for name, arguments in re.findall(r"^(?:KERNEL|VECTOR)\((\w+), \((.*)\)\)$", tables, re.M)
    }


@pytest.mark.parametrize("kernel", CONTRACTS)
def test_a_contract_is_of_the_kernels_signature(kernel):
    kinds, types = CONTRACTS[kernel][0], signatures()[kernel]
    assert len(kinds) == len(types) and all(kind in LETTERS[t] for kind, t in zip(kinds, types)), (
        f"{kinds} for {types}"
    )


def programs(op):
    """The program of every case of a row that compiles."""
    for case in op.cases:
        args, kwargs = case.arguments(np.float32)
        try:
            for _, places in validate_compiled.forms(case, args, kwargs):
                for algorithm in validate_compiled.algorithms(case, args, kwargs, places):
                    model = validate_compiled.model_of(case, args, kwargs, places)
                    yield build(
                        model,
                        validate_compiled.inputs_of(args, kwargs, places),
                        Options("fast", 1, ISA, algorithm),
                    )
        except (validate.Refused, validate_compiled.TraceError):
            pass


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.cases], ids=lambda op: op.name)
def test_what_the_compiler_makes_keeps_its_contracts(op):
    for program in programs(op):
        plan = program.plan
        spaces = Spaces(plan.arena, plan.inputs, plan.outputs)
        for step in plan.steps:
            contracts.check(step.kernel, step.args, spaces)
            for room, count in shorter(step):
                contracts.check(step.kernel, shortened(step, room, count), spaces)


def shorter(step):
    """(room, count) of some ways to run a call on its first entries."""
    found = contracts.control.shortened(step.kernel, step.args, 1)
    if found:
        entries = length(step.args[found[0]])
        for room in {entries // k for k in (1, 2, 3) if entries and entries % k == 0}:
            if room > 1 and contracts.control.shortened(step.kernel, step.args, room) == found:
                yield from ((room, count) for count in {1, room - 1})


def length(argument) -> int:
    return contracts.control.shape_of(argument)[0] if is_array(argument) else argument[0]


def is_array(argument) -> bool:
    """A constant or a place, not a shape."""
    return isinstance(argument, np.ndarray) or any(isinstance(part, tuple) for part in argument)


def shortened(step, room, count):
    """The arguments of a call on its first entries."""
    arguments = list(step.args)
    for place in contracts.control.shortened(step.kernel, step.args, room):
        a = arguments[place]
        n = length(a) // room * count
        if isinstance(a, np.ndarray):
            arguments[place] = a[:n]
        elif is_array(a):
            arguments[place] = (*a[:3], (n, *a[3][1:]), *a[4:])
        else:
            arguments[place] = (n, *a[1:])
    return tuple(arguments)


# ---- what they refuse

FLAT = Spaces(
    4096,
    [((2, 3, 8, 8), np.dtype(np.float32))],
    [((2, 3, 8, 8), np.dtype(np.float32)), ((8,), np.dtype(np.int64))],
)
X, Y = (1, 0, 0, (2, 3, 8, 8), 0, "float32"), (2, 0, 0, (2, 3, 8, 8), 0, "float32")


def replaced(place, **changes):
    return tuple(
        changes.get(name, value)
        for name, value in zip(("space", "index", "offset", "shape", "sample", "type"), place)
    )


@pytest.mark.parametrize(
    "arguments, rule",
    [
        ((X, replaced(Y, shape=(2, 3, 8, 9))), "inside its space"),
        ((X, replaced(Y, shape=(2, 3, 8, 4))), "one size"),
        ((X, replaced(Y, shape=(1 << 31, 1))), "sizes below"),
        ((X, replaced(Y, shape=(-1, -384))), "sizes below"),
        ((X, replaced(Y, shape=(2.0, 192))), "sizes below"),
        ((X, replaced(Y, shape=(True, 384))), "sizes below"),
        ((X, replaced(Y, offset=2)), "begins at a value"),
        ((X, replaced(Y, offset=-4)), "whole and not negative"),
        ((X, replaced(Y, offset=1 << 62)), "whole and not negative"),
        ((X, replaced(Y, index=1, shape=(8,))), "array of float32"),
        ((X, replaced(Y, type="int64")), "array of float32 is expected"),
        ((X, replaced(Y, type="object")), "constant or a place"),
        ((X, replaced(Y, index=2)), "that there is"),
        ((X, replaced(Y, space=3)), "whole and not negative"),
        ((X, X), "arena and to outputs"),
        ((X, np.zeros((2, 3, 8, 8), np.float32)), "not written to"),
        ((np.zeros((2, 3, 8, 8)), Y), "array of float32 is expected"),
        ((X, None), "may not be left out"),
        ((X, "y"), "constant or a place"),
        ((X, Y, Y), "takes 2 arguments"),
    ],
    ids=str,
)
def test_a_call_that_would_leave_its_arrays_is_refused(arguments, rule):
    contracts.check("relu", (X, Y), FLAT)
    with pytest.raises(Refused, match=rule):
        contracts.check("relu", arguments, FLAT)


def test_a_kernel_of_no_program_is_refused():
    for name in ("pool_scatter", "sgd_step", "machine_copy", "embedding_backward", "nothing"):
        with pytest.raises(Refused, match="no such kernel"):
            contracts.check(name, (), FLAT)


W = np.zeros((5, 3, 3, 3), np.float32)
CONV = (X, W, None, (1, 1, 1), (0, 1, 1), (1, 1, 1), 1, (0, 0, 0, (2, 5, 8, 8), 0, "float32"))


@pytest.mark.parametrize(
    "at, value, rule",
    [
        (3, (1, 0, 1), "positive"),
        (3, (1, 1 << 31, 1), "positive"),
        (4, (0, -1, 1), "not negative"),
        (5, (1, 1, 0), "positive"),
        (3, (1, 1), "three axes"),
        (3, (1, 2, 2), "begins within"),
        (6, 0, "groups"),
        (6, 2, "groups"),
        (1, W[:, :2], "groups"),
        (1, W[:4], "a map a filter"),
        (1, W[..., 0], "three to five axes"),
        (2, np.zeros(4, np.float32), "a map a filter"),
        (7, (0, 0, 0, (1, 5, 8, 8), 0, "float32"), "a map a filter"),
        (7, (0, 0, 0, (2, 5, 11, 8), 0, "float32"), "inside its space|begins within"),
        (1, W[:, :, :0], "has taps"),
    ],
    ids=str,
)
def test_a_convolution_that_reads_elsewhere_is_refused(at, value, rule):
    spaces = Spaces(1 << 20, FLAT.inputs, FLAT.outputs)
    contracts.check("conv", CONV, spaces)
    with pytest.raises(Refused, match=rule):
        contracts.check("conv", (*CONV[:at], value, *CONV[at + 1 :]), spaces)


def test_a_transposed_convolution_to_no_pixels_is_refused():
    """It would be divided by their number."""
    spaces = Spaces(1 << 20, (), ())

    def call(h):
        return ((0, 0, 0, (1, 1, 2, 2, 16), 256, "float32"), np.zeros((4, 16, 16, 2, 2), np.float32),
                np.zeros((4, 1, 25, 16, 16), np.float32), None, (1, 1), ("clamp", -np.inf, np.inf),
                (0, 0, 4096, (1, 1, h, 4, 16), 1024, "float32"))
    contracts.check("winograd_transposed", call(4), spaces)
    with pytest.raises(Refused, match="has pixels"):
        contracts.check("winograd_transposed", call(0), spaces)


@pytest.mark.parametrize("isa", [name for name in ISAS if not BACKENDS[name].missing])
@pytest.mark.parametrize("stride, size", [(2, (0, 0)), (2, (0, 3)), (1, (0, 3)), (6, (0, 0)), (3, (0, 0))])
def test_a_transposed_convolution_of_no_pixels_is_its_bias(isa, stride, size):
    """An op refuses it; a file may say it. How many samples are a product depends on how many pixels they have."""
    f32, weight = np.dtype(np.float32), np.ones((32, 64, 8, 8), np.float32)
    shape, y = (1, 32, *size), np.full((1, 64, *((n - 1) * stride + 8 for n in size)), np.nan, np.float32)
    call = ((1, 0, 0, shape, 0, "float32"), weight, np.full(64, 2, np.float32), (1, stride, stride), (0, 0, 0),
            (1, 1, 1), 1, (2, 0, 0, y.shape, 0, "float32"))
    contracts.check("conv_transpose", call, Spaces(0, [(shape, f32)], [(y.shape, f32)]))
    program = _C.Program(isa, 0, [0], [y.nbytes], 2)
    program.add("conv_transpose", call)
    program.run((np.zeros(shape, np.float32),), (y,))
    assert (y == 2).all()
