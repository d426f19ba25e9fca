"""A torch module as a function of pyops ops: torch.export records its ATen calls, and these are
called here one after the other.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

import numpy as np
import torch
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils import _pytree as pytree

from ..core.symbolic import SymInt, plain
from ..graph import control
from ..graph.trace import Traced, within
from . import counted
from .aten import TABLE
from .refusals import UnsupportedOp, is_refusal

# Calls that take an array's shape and type and not its numbers
MADE = {
    f"aten.{name}.default"
    for name in (
        "new_zeros",
        "new_ones",
        "new_full",
        "new_empty",
        "zeros_like",
        "ones_like",
        "full_like",
        "empty_like",
    )
}


def exported(module: torch.nn.Module, example_inputs: tuple):
    """The module's ATen calls for inputs of the example's shapes: functional, composite ones whole
    unless they must be taken apart.

    ValueError in training mode; what torch.export raises for a model it cannot take.
    """
    if module.training:
        raise ValueError(f"compile: {type(module).__name__} is in training mode; call .eval() first")
    examples = tuple(
        x if isinstance(x, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(x))
        for x in example_inputs
    )
    return taken_apart(recorded(module, examples))


def recorded(module, examples: tuple, dynamic_shapes=None):
    """What torch.export says of the module, or raises."""
    with torch.no_grad():
        return torch.export.export(module, examples, dynamic_shapes=dynamic_shapes).run_decompositions({})


def as_function(program) -> Callable:
    """A function of as many arrays as the exported program has inputs, for pyops.compile.

    Weights are used as they lie, without a copy. Results come in the structure the module returns.
    UnsupportedOp for an op that is not in aten.TABLE.
    """
    check(program)

    def function(*arrays):
        result = Interpreter(program, arrays).run()
        if any(isinstance(v, counted.Compared) for v in pytree.tree_leaves(result)):
            raise UnsupportedOp("compile: a comparison of a size that a run decides is a result")
        return result
    return function


def taken_apart(program):
    """The program with those calls that have no counterpart here, but are made of smaller ones, in
    terms of these.
    """
    rules = None
    while ops := {node.target for node in missing(program)}:
        rules = torch.export.default_decompositions() if rules is None else rules
        table = {op: rules[op] for op in ops if op in rules}
        if not table:
            break
        program = program.run_decompositions(table)
        if ops == {node.target for node in missing(program)}:
            break
    return program


def missing(program) -> list:
    """The calls that depend on more than constants and have no counterpart here, but for random
    draws: those must stay whole, to draw what they would in torch.
    """
    return [
        node
        for node in varying(program)
        if node.target not in (operator.getitem, COND)
        and str(node.target) not in TABLE
        and not (str(node.target) in counted.RULES and of_a_run(node))
        and not draws(node)
        and not of_sizes(node)
    ]


def of_a_run(node) -> bool:
    """Whether a run decides a length of what the call takes or makes, a number that it takes, or by a mask
    what it writes to."""
    values = pytree.tree_leaves([n.meta.get("val") for n in (node, *node.all_input_nodes)])
    return any(v is not None and free_unbacked_symbols(v) for v in values) or (
        str(node.target) == "aten.index_put.default"
        and any(n.meta["val"].dtype == torch.bool for n in node.args[1] if n is not None))


def check(program) -> None:
    """Refuses before anything is computed: with all the ops that are missing, not the first one."""
    unknown: dict[str, str] = {}
    for node in missing(program):
        unknown.setdefault(str(node.target), line_of(node))
    for node in varying(program):
        if draws(node):
            unknown.setdefault(f"{node.target}, which draws random numbers", line_of(node))
    if unknown:
        raise UnsupportedOp(
            "compile: no counterpart here for "
            + "; ".join(f"{op} ({where})" for op, where in unknown.items())
        )


COND = torch.ops.higher_order.cond


def known_size(node) -> bool:
    """Whether it computes with sizes that are those of the inputs."""
    value = node.meta.get("val")
    return isinstance(value, (int, float, bool, torch.SymInt, torch.SymFloat, torch.SymBool)) and of_sizes(
        node) and not free_unbacked_symbols(value)


def of_sizes(node) -> bool:
    """Whether it computes with sizes, which are numbers here."""
    return str(node.target) in SIZES or not isinstance(
        node.target, (torch._ops.OpOverload, torch._ops.HigherOrderOperator)
    )


# What exported programs with dynamic shapes compute of sizes, beside Python's operators
SIZES = {
    "aten.sym_size.int": lambda x, dim: x.shape[dim],
    "aten.sym_numel.default": lambda x: x.size,
    "aten._assert_scalar.default": lambda *_: None,
    "aten.sym_constrain_range.default": lambda *_, **__: None,
    "aten.sym_constrain_range_for_size.default": lambda *_, **__: None,
}
PYTHONS = {"sym_max": max, "sym_min": min, "sym_not": operator.not_, "sym_float": lambda n: n * 1.0}
# Of a size that a run decides: comparisons are for assertions that torch has proved, or makes itself
OF_LENGTHS = {"sym_max": counted.most_of, "sym_min": counted.least_of, "sym_sum": sum,
              **{name: getattr(operator, name) for name in ("add", "sub", "mul", "floordiv", "mod")},
              **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_", "sym_not", "not_"),
                              lambda *_: counted.Compared())}

# Arguments that switch the draws of a call off
SWITCHES = {"train": (False,), "training": (False,), "dropout": (0,), "dropout_p": (0,)}


def draws(node) -> bool:
    """Whether the call draws random numbers, by the tag of its op; dropout that is switched off
    does not.
    """
    if (
        not isinstance(node.target, torch._ops.OpOverload)
        or torch.Tag.nondeterministic_seeded not in node.target.tags
    ):
        return False
    for i, argument in enumerate(node.target._schema.arguments):
        if argument.name in SWITCHES:
            value = (
                node.args[i] if i < len(node.args) else node.kwargs.get(argument.name, argument.default_value)
            )
            if value in SWITCHES[argument.name]:
                return False
    return True


def varying(program) -> list:
    """The calls whose value is more than a constant that torch can compute once: those that depend
    on inputs or random draws. Sizes of inputs are numbers when they come.
    """
    inputs = set(program.graph_signature.user_inputs)
    found: dict = {}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in inputs:
            found[node] = None
        elif node.op == "call_function" and str(node.target) not in MADE:
            opaque = isinstance(node.target, torch._ops.HigherOrderOperator)
            if known_size(node):
                continue
            if opaque or draws(node) or any(before in found for before in node.all_input_nodes):
                found[node] = None
    return [node for node in found if node.op == "call_function"]


def line_of(node) -> str:
    """file:line of the model's code that made the call."""
    lines = [
        line.strip()
        for line in (node.meta.get("stack_trace") or "").splitlines()
        if line.strip().startswith("File ")
    ]
    if not lines:
        return "line unknown"
    file, number = lines[-1].split('"')[1], lines[-1].split("line ")[1].split(",")[0]
    return f"{file}:{number}"


class Interpreter:
    """One run of the exported graph. Values that depend on inputs are Traced, all others
    torch's."""

    def __init__(self, program, arrays: tuple):
        self.program, self.values, self.made = program, {}, {}
        signature = program.graph_signature
        given = dict(zip(signature.user_inputs, arrays, strict=True))
        names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        tensors = {**program.constants, **program.state_dict}
        for node in program.graph.nodes:
            if node.op == "placeholder":
                constant = signature.inputs_to_lifted_tensor_constants.get(node.name)
                self.values[node] = (
                    given[node.name] if node.name in given else tensors[constant or names[node.name]]
                )

    def run(self):
        for node in self.program.graph.nodes:
            if node.op == "call_function":
                with within(module_of(node)):
                    self.values[node] = self.once(node)
            elif node.op == "get_attr":
                self.values[node] = operator.attrgetter(node.target)(self.program.graph_module)
            elif node.op == "output":
                flat = [v.value if isinstance(v, counted.Length) else v for v in map(self.value, node.args[0])]
                return pytree.tree_unflatten(flat, self.program.call_spec.out_spec)

    def once(self, node):
        """The node's value, that of an earlier call with the same arguments: lengths that are counted
        twice in the model are one then."""
        if draws(node) or not isinstance(node.target, torch._ops.OpOverload):
            return self.call(node)
        leaves, structure = pytree.tree_flatten((node.args, node.kwargs))
        key = node.target, structure, tuple(
            ("value", id(self.values[v])) if isinstance(v, torch.fx.Node) else (type(v), repr(v)) for v in leaves)
        if key not in self.made:
            self.made[key] = self.call(node)
        return self.made[key]

    def branch(self, condition, yes, no, operands=()):
        """torch.cond's results: of a condition that a run computes, a branch of the program."""
        def results(part):
            return tuple(as_array(v) if isinstance(v, torch.Tensor) else v for v in self.part(part, operands))
        if not isinstance(condition, Traced):
            return results(yes if condition else no)
        return tuple(control.branch(condition, lambda: results(yes), lambda: results(no)))

    def part(self, module, operands):
        """What a graph within the graph makes of these values."""
        given = iter(operands)
        for node in module.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = next(given)
            elif node.op == "get_attr":
                self.values[node] = operator.attrgetter(node.target)(module)
            elif node.op == "call_function":
                self.values[node] = self.call(node)
            elif node.op == "output":
                return [self.value(v) for v in node.args[0]]

    def value(self, argument):
        return self.values[argument] if isinstance(argument, torch.fx.Node) else argument

    def call(self, node):
        """The node's value. UnsupportedOp for what our ops do not take."""
        if draws(node):
            raise UnsupportedOp(f"compile: {node.target} draws random numbers ({line_of(node)})")
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), self.value)
        if any(isinstance(v, Unknown) for v in pytree.tree_leaves((args, kwargs))):
            raise UnsupportedOp(f"compile: {node.target} with a length that torch finds ({line_of(node)})")
        if counted.of_the_run(args, kwargs) or begins(str(node.target), args):
            return self.of_the_run(node, args, kwargs)
        if str(node.target) in SIZES:
            return SIZES[str(node.target)](*args, **kwargs)
        if str(node.target) in MADE:
            args, kwargs = pytree.tree_map_only(Traced, stand_in, (args, kwargs))
        traced = [v for v in pytree.tree_leaves((args, kwargs)) if isinstance(v, Traced)]
        if not traced:
            if not isinstance(node.target, torch._ops.OpOverload):
                return PYTHONS.get(getattr(node.target, "__name__", ""), node.target)(*args, **kwargs)
            args, kwargs = pytree.tree_map_only(SymInt, plain, (args, kwargs))
            with torch.no_grad():
                return node.target(*args, **kwargs)
        if node.target is operator.getitem:
            return args[0][args[1]]
        if node.target is COND:
            return self.branch(*args)
        function = TABLE.get(str(node.target))
        if function is None:
            raise UnsupportedOp(f"compile: no counterpart here for {node.target} ({line_of(node)})")
        return self.by(function, node, args, kwargs)

    def of_the_run(self, node, args, kwargs):
        """A call of or with lengths that a run decides."""
        name = str(node.target)
        if not isinstance(node.target, torch._ops.OpOverload):
            if node.target is operator.getitem:
                return args[0][args[1]]
            function = OF_LENGTHS.get(getattr(node.target, "__name__", ""))
            if function is None:
                raise UnsupportedOp(f"compile: {node.target} of a size that a run decides ({line_of(node)})")
        elif name == "aten._assert_scalar.default":
            return None
        elif name in SIZES and name not in counted.RULES:
            function = SIZES[name]
        else:
            def function(*args, **kwargs):
                return counted.called(name, args, kwargs)
        return self.by(function, node, args, kwargs)

    def by(self, function, node, args, kwargs):
        args, kwargs = pytree.tree_map_only(torch.Tensor, as_array, (args, kwargs))
        try:
            return function(*args, **kwargs)
        except (TypeError, ValueError, NotImplementedError) as why:
            if isinstance(why, UnsupportedOp) or not (is_refusal(why) or why.__traceback__.tb_next is None):
                raise
            with_what = (
                "arguments that have no counterpart here" if why.__traceback__.tb_next is None else why
            )
            raise UnsupportedOp(f"compile: {node.target} with {with_what} ({line_of(node)})") from why


def begins(name: str, args) -> bool:
    """Whether a run decides a length of the call's result."""
    leaves = pytree.tree_leaves(args)
    if not any(isinstance(v, Traced) for v in leaves):
        return False
    masks = name.startswith("aten.index") and any(
        str(getattr(v, "dtype", "")).endswith("bool") for v in pytree.tree_leaves(args[1]))
    return name in counted.BEGIN or masks


class Unknown:
    """In place of a tensor whose length, or a number that, a call of torch finds in a run."""


def stand_in(value: Traced) -> torch.Tensor:
    return torch.from_numpy(np.zeros(value.shape, value.dtype))


def as_array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def module_of(node) -> str:
    """The dotted name of the module that made the call."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return stack[-1][0].removeprefix("L['self'].").removeprefix("L['self']") if stack else ""
