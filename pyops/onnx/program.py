"""From a model to a Program, or to what runs node by node."""

from __future__ import annotations

import math

import numpy as np

from ..core.backends import active, by_sample
from ..core.collector import resting
from ..core.dispatch import ELEMENTS
from ..graph.compile import Family, options_of
from ..graph.shared import Constants, Recent
from ..graph.trace import TraceError
from ..graph.varying import Varying, wanted_numbers
from .evaluate import evaluate
from .limits import MEMORY, clipped, short
from .model import Model, ModelError, read
from .ops import OPS
from .ops.row import Unsupported
from .values import given as as_given, is_plain, kind, returned

MOST_FAMILIES = 8   # of the numbers that say how a model computes


def load(
    source,
    *,
    shapes: dict | None = None,
    constants: dict | None = None,
    precision: str = "default",
    threads: int | None = None,
    batch_invariant: bool | None = None,
    memory: str = "balanced",
):
    """A callable for an ONNX model, parsed once: arrays in, in the order of its inputs; results
    come as an array, or a tuple where the model has several outputs.

    A Program, where all sizes are known, or the first axis alone is open; a Varying, which makes
    Programs for the sizes that come, where others are open, or where the model computes with the
    numbers of an input (a rate, a count, an axis: those numbers are constants of a Program); a
    NodeByNode for what no Program holds, whose `left_out` says why.

    source: a path, bytes, or a ModelProto. shapes: for inputs whose shape the file leaves open, a
    tuple. constants: values of inputs that stay the same, by name; such an input is none any more.
    precision, threads, batch_invariant, memory: as in pyops.compile. Raises ModelError for
    a file that is no model, and for one with unknown ops, naming all.
    """
    model = parsed(source, mapped=True)
    known = bound(model, constants or {})
    check_names(model, shapes or {})
    refused = refused_inputs(model, known)
    if refused:
        model.keep()
        return NodeByNode(model, known, refused)
    free = [name for name in model.inputs if name not in known]
    bound_by = by_sample.get() if batch_invariant is None else batch_invariant   # also for sizes to come
    maker = Maker(model, known, [(shapes or {}).get(name, model.inputs[name][1]) for name in free],
                  precision, threads, bound_by, memory)
    if any(name not in (shapes or {}) and is_open(model.inputs[name][1]) for name in free):
        model.keep()
        return varying(model, free, shapes or {}, maker)
    examples, dynamic = examples_of(model, shapes or {}, free)
    maker.gives_up = not dynamic   # of one size: the model's weights go as they are packed
    if dynamic:
        model.keep()
    try:
        program = maker.program(examples, frozenset(), dynamic)
        model.intact()
        return program
    except (TraceError, Unsupported) as why:
        maker.gives_up = False
        model.keep()
        if not maker.gave_up and wanted_numbers(why, examples):
            return varying(model, free, shapes or {}, maker)
        return NodeByNode(parsed(source) if maker.gave_up else model, known, clipped(why, 400))


class Numbers:
    """Inputs as graphs tell them apart: constants by their numbers, others by their axes."""

    def __init__(self, arrays: tuple, fixed: frozenset):
        self.arrays, self.fixed = arrays, fixed
        self.key = (active.get().name, *((a.shape, a.tobytes()) if i in fixed else a.ndim
                                         for i, a in enumerate(arrays)))

    def __hash__(self):
        return hash(self.key)

    def __eq__(self, other):
        return isinstance(other, Numbers) and (self.fixed, self.key) == (other.fixed, other.key)


class Maker:
    """Makes Programs of a model for sizes and numbers; their weights are shared."""

    def __init__(self, model: Model, known: dict, shapes: list, precision: str = "default",
                 threads: int | None = None, batch_invariant: bool = False, memory: str = "balanced"):
        """shapes: of the inputs that are not known, None for what may vary."""
        self.model, self.known, self.shapes = model, known, shapes
        self.asked = precision, threads, batch_invariant, memory
        self.constants = Constants()
        self.gives_up = self.gave_up = False
        self.options()   # ValueError for what there is not
        self.families: Recent[Family] = Recent(self.family, MOST_FAMILIES)

    def program(self, arrays: tuple, fixed: frozenset, dynamic: bool = False):
        """The Program for arrays like these of the inputs that are not known; those whose places
        are in `fixed` are constants of it. dynamic: it plans for other batch sizes when they come.
        TraceError or Unsupported, with the places that are `wanted` as constants.
        """
        places = [i for i in range(len(arrays)) if i not in fixed]
        try:
            asked = Numbers(arrays, fixed)
            family, asked.arrays = self.families[asked], ()   # the key is kept, and they need not be
            given = tuple(arrays[i] for i in places)
            family.release = self.give_up if self.gives_up else None
            return family.first(given) if dynamic else family.program(given)
        except (TypeError, ValueError) as why:
            why.wanted = tuple(places[i] for i in getattr(why, "wanted", ()))
            raise
        except MemoryError as why:
            raise ModelError("onnx: there is no memory for a Program of it") from why

    def family(self, numbers: Numbers) -> Family:
        """The Programs for other sizes of the inputs that are no constants."""
        fixed = numbers.fixed
        arrays = tuple(a.copy() if i in fixed else None for i, a in enumerate(numbers.arrays))
        axes = {(i, axis) for i, (a, shape) in enumerate(
            (a, shape) for k, (a, shape) in enumerate(zip(numbers.arrays, self.shapes)) if k not in fixed)
            for axis in range(a.ndim) if shape is None or shape[axis] is None}
        return Family(lambda *free: single(self.results(self.values(arrays, fixed, free))),
                      self.options(), axes)

    def options(self):
        precision, threads, batch_invariant, memory = self.asked
        return options_of(precision, threads, self.constants, batch_invariant, memory)

    def give_up(self) -> None:
        """The graph is there; what it does not hold nobody needs."""
        self.gave_up = True
        self.model.give_up()

    def results(self, values: list) -> list:
        """The outputs, which a Program returns as arrays."""
        found = evaluate(self.model, values)
        for name, value in zip(self.model.outputs, found):
            if not is_plain(value) or np.dtype(value.dtype).name not in ELEMENTS:
                raise Unsupported(f"onnx: output {clipped(name)!r} is {kind(value)}; programs return arrays of "
                                  f"{', '.join(sorted(ELEMENTS))}")
        return found

    def values(self, arrays, fixed, free) -> list:
        """What the model's inputs are, in its order."""
        free, found = iter(free), iter(range(len(arrays)))
        values = []
        for name in self.model.inputs:
            if name in self.known:
                values.append(self.known[name])
                continue
            i = next(found)
            values.append(arrays[i] if i in fixed else next(free))
        return values

    def best(self, arrays: tuple, fixed: frozenset):
        """A Program, or where none can be made what runs node by node."""
        try:
            if len(fixed) == len(arrays):
                raise Unsupported("onnx: all its inputs say how to compute, and nothing what")
            return self.program(arrays, fixed)
        except (TraceError, Unsupported) as why:
            if wanted_numbers(why, arrays) - fixed:
                raise
            names = [name for name in self.model.inputs if name not in self.known]
            known = {**self.known, **{names[i]: arrays[i] for i in fixed}}
            return NodeByNode(self.model, known, clipped(why, 400))


def varying(model: Model, free: list, shapes: dict, maker: Maker) -> Varying:
    inputs = []
    for name in free:
        dtype, shape = model.inputs[name]
        shape = tuple(shapes[name]) if name in shapes else shape
        inputs.append((np.dtype(dtype), shape))
    return Varying(maker.best, inputs, [f"input {clipped(name)!r}" for name in free])


class NodeByNode:
    """A model that is no Program: its nodes are called one after the other. left_out: why."""

    def __init__(self, model: Model, known: dict, left_out: str):
        self.model, self.known, self.left_out = model, known, left_out

    def __call__(self, *arrays):
        free = [name for name in self.model.inputs if name not in self.known]
        if len(arrays) != len(free):
            raise TypeError(f"onnx: the model takes {len(free)} inputs {short(free)}, got {len(arrays)}")
        given = {**self.known, **{name: as_given(a) for name, a in zip(free, arrays)}}
        return single(computed(self.model, given))

    def __repr__(self):
        return f"NodeByNode({self.left_out})"


def bound(model: Model, constants: dict) -> dict:
    """Values of inputs that stay the same, in the types of the file."""
    check_names(model, constants)
    known = {}
    for name, value in constants.items():
        dtype, shape = model.inputs[name]
        known[name] = np.asarray(value, dtype)
        if shape is not None and (
            len(shape) != known[name].ndim
            or any(want not in (None, have) for want, have in zip(shape, known[name].shape))
        ):
            raise ModelError(f"onnx: the constant for input {clipped(name)!r} has shape {known[name].shape}, "
                             f"the model takes {short(shape)}")
    return known


def check_names(model: Model, given) -> None:
    unknown = sorted(set(given) - set(model.inputs))
    if unknown:
        raise ModelError(
            f"onnx: the model has no input {short(unknown)[1:-1]}; it has {short(model.inputs)[1:-1]}"
        )


def is_open(shape) -> bool:
    """Whether more than the first axis of a shape is left open."""
    return shape is None or None in shape[1:]


def refused_inputs(model: Model, known: dict) -> str:
    """Which input no Program takes: they take arrays of numbers and truth values."""
    if not set(model.inputs) - set(known):
        raise ModelError(
            "onnx: the model has no input, so a Program would have nothing to do; pyops.onnx.run computes it"
        )
    for name, (dtype, _) in model.inputs.items():
        if name not in known and (dtype is None or np.dtype(dtype).name not in ELEMENTS):
            return (
                f"onnx: no Program can be made of it: input {clipped(name)!r} is {dtype or 'no tensor'}; "
                f"programs take {', '.join(sorted(ELEMENTS))}"
            )
    return ""


def run(source, inputs: dict) -> dict[str, np.ndarray]:
    """The outputs of a model by name, node by node and without compiling: for models of whole
    numbers, or whose shapes depend on numbers.
    """
    model = parsed(source)
    missing = [name for name in model.inputs if name not in inputs]
    if missing:
        raise ModelError(f"onnx: inputs {short(missing)} are missing")
    return dict(zip(model.outputs, computed(model, {name: as_given(inputs[name]) for name in model.inputs})))


def computed(model: Model, given: dict) -> list:
    """The outputs for inputs by name, node by node."""
    check_arrays(model, given)
    return [returned(v) for v in evaluate(model, [given[name] for name in model.inputs])]


def check_arrays(model: Model, given: dict) -> None:
    """Refuses arrays of other types and shapes than the file says."""
    for name, (dtype, shape) in model.inputs.items():
        array = given[name]
        if dtype is not None and not is_plain(array):
            raise ModelError(f"onnx: input {clipped(name)!r} is {dtype}, got {array}")
        if (
            dtype is not None
            and array.dtype != dtype
            or shape is not None
            and (
                len(shape) != array.ndim
                or any(want not in (None, have) for want, have in zip(shape, array.shape))
            )
        ):
            raise ModelError(
                f"onnx: input {clipped(name)!r} is {dtype} "
                f"{short('any' if d is None else d for d in shape or ())}, "
                f"got {array.dtype} {array.shape}"
            )


def parsed(source, mapped: bool = False) -> Model:
    """mapped: constants may lie in maps of files, until the model is told to keep them."""
    with resting():
        model = read(source, OPS)
        if not mapped:
            model.keep()
    if model.unknown:
        raise ModelError(
            f"onnx: no counterpart here for {short(sorted({str(n) for n in model.unknown}))[1:-1]} "
            f"(operator set {model.opset})"
        )
    return model


def single(results):
    return results[0] if len(results) == 1 else tuple(results)


def examples_of(model: Model, shapes: dict, free=None):
    """Zeros of the inputs' shapes (of those in `free`, None for all), and whether the first axis
    may vary.
    """
    check_names(model, shapes)
    examples, dynamic = [], False
    for name in model.inputs if free is None else free:
        dtype, shape = model.inputs[name]
        if name in shapes:
            shape = tuple(shapes[name])
        elif shape is None or None in shape[1:]:
            raise ModelError(
                f"onnx: input {clipped(name)!r} is of shape {'unknown' if shape is None else short(shape)}; "
                f"give one: shapes={{{clipped(name)!r}: (...)}}"
            )
        elif shape and shape[0] is None:
            shape, dynamic = (1, *shape[1:]), True
        dtype = np.dtype(np.float32 if dtype is None else dtype)
        if name not in shapes and math.prod(shape) * dtype.itemsize > MEMORY:
            raise ModelError(
                f"onnx: input {clipped(name)!r} of shape {short(shape)} takes more than {MEMORY} bytes; "
                f"if that is meant, say so: shapes={{{clipped(name)!r}: (...)}}"
            )
        examples.append(np.zeros(shape, dtype))
    return tuple(examples), dynamic


def random_inputs(model: Model, shapes: dict) -> dict[str, np.ndarray]:
    """Inputs by name, of seed 0: normal numbers; 0 and 1 of whole numbers and truth values, which
    index and mask everything. ModelError for a shape that is open and not among `shapes`.
    """
    rng = np.random.default_rng(0)
    zeros = zip(model.inputs, examples_of(model, shapes)[0])
    return {
        name: rng.standard_normal(z.shape).astype(z.dtype)
        if z.dtype.kind == "f"
        else rng.integers(0, 2, z.shape).astype(z.dtype)
        for name, z in zeros
    }
