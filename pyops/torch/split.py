"""An exported graph of which some calls are not ours, as Programs and torch's own calls in turn.

A call is ours if tracing takes it; one that an op refuses is torch's, and no other on its account.
Calls are put into stages: ours in even ones, torch's in odd ones, each as early as its inputs
allow. So every stage depends on earlier ones only, and all that is ours in a stage is one Program.
"""

from __future__ import annotations

import operator
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils import _pytree as pytree

from .. import graph
from ..graph.counted import Counted
from ..graph.ir import Value
from ..graph.program import Program
from ..graph.trace import Traced, trace
from .counted import Compared, Length
from .exported import Interpreter, Unknown, draws
from .flops import flops_of
from .refusals import UnsupportedOp, fault, is_refusal

# A stage without one of these costs more in copies and calls than its kernels save
WORTH = (
    "conv",
    "linear",
    "addmm",
    "matmul",
    "mm",
    "bmm",
    "pool",
    "norm",
    "softmax",
    "upsample",
    "attention",
    "lstm",
    "gru",
    "rnn",
)


@dataclass
class Split:
    """A function of the graph's inputs, tensors to tensors. torch: why each node that is left to
    torch is, by op and number of calls.
    """

    run: Callable
    programs: list[Program]
    torch: Counter = field(default_factory=Counter)
    torch_flops: float = 0.0
    torch_ms: dict = field(default_factory=dict)


def split(program, tensors: list[torch.Tensor], options: dict) -> Split:
    """program: of torch.export; tensors: inputs to try it on; options: of pyops.compile."""
    stages = Stages(program, tensors)
    made: dict[tuple, Program] = {}  # by the calls: a stage that nothing was taken from is compiled once
    while True:
        try:
            return assembled(stages, made, options)
        # what tracing call by call does not find: leave it to torch and begin again
        except NotTaken as why:
            stages.give_up(why.nodes)


class NotTaken(Exception):
    """Calls of a stage that cannot be in a Program after all."""

    def __init__(self, nodes):
        self.nodes = nodes


class Probe(Interpreter):
    """A run on traced values that notes the calls that are refused, and goes on with a value of the
    result's shape.
    """

    def __init__(self, program, arrays):
        super().__init__(program, arrays)
        self.refused = set()

    def call(self, node):
        try:
            return super().call(node)
        except UnsupportedOp:
            pass
        except Exception as error:
            fault(error, f"tracing {node.target}")
        self.refused.add(node)
        return pytree.tree_map(unknown, node.meta.get("val"))  # none: a call without a result


def unknown(tensor) -> Traced | Unknown | None:
    """What stands for torch's result; a number is one that a run decides."""
    if tensor is None:
        return None
    if not isinstance(tensor, torch.Tensor) or free_unbacked_symbols(tensor):
        return Unknown()
    return Traced(
        Value(
            tuple(tensor.shape),
            np.zeros(0, str(tensor.dtype).removeprefix("torch.").replace("bfloat16", "float16")).dtype,
        )
    )


OF_A_RUN = (Traced, Counted, Length, Compared, Unknown)


class Stages:
    """Which calls are ours, and the stage of each that depends on the inputs."""

    def __init__(self, program, tensors):
        self.program, self.tensors = program, tensors
        if any(isinstance(n.target, torch._ops.HigherOrderOperator) for n in program.graph.nodes):
            raise UnsupportedOp("compile: the graph has graphs inside of it (control flow)")
        probes = []

        def attempt(*arrays):
            probes.append(Probe(program, arrays))
            probes[0].run()
            return arrays   # a graph has results, and torch may make all of these

        trace(attempt, tuple(t.detach().numpy() for t in tensors))
        self.values = probes[0].values
        self.torch = probes[0].refused
        nodes = [n for n in program.graph.nodes if n.op == "call_function"]
        # comparisons of sizes that are results, or that torch's calls read, are torch's
        results = {n for n in output_of(program).all_input_nodes if isinstance(self.values.get(n), Compared)}
        for node in reversed(nodes):
            if node in self.torch or node in results:
                self.torch.add(node)
            if node in self.torch:
                self.torch.update(n for n in node.all_input_nodes if isinstance(self.values[n], Compared))
        self.calls = [n for n in nodes if self.varies(n) and (n in self.torch or not isinstance(
            self.values[n], Compared))]
        self.assign()

    def varies(self, node) -> bool:
        """Whether its value depends on the inputs; torch computed the others while tracing."""
        return any(isinstance(v, OF_A_RUN) for v in pytree.tree_leaves(self.values[node]))

    def ours(self, node) -> bool:
        while node.target is operator.getitem:
            node = node.args[0]
        return node.op == "call_function" and node not in self.torch

    def give_up(self, nodes) -> None:
        self.torch.update(nodes)
        self.assign()

    def assign(self) -> None:
        while True:
            self.stage = {}
            drawn = 1  # random draws keep their order, and so torch's numbers
            for node in self.calls:
                ours = self.ours(node)
                least = 0 if ours else 1
                if draws(node):
                    least = drawn
                for before in node.all_input_nodes:
                    if before in self.stage:
                        least = max(least, self.stage[before] + (self.ours(before) != ours))
                self.stage[node] = least
                if draws(node):
                    drawn = least
            idle = [
                n
                for s in set(self.stage.values())
                if s % 2 == 0
                for n in self.at(s)
                if not any(map(worth, self.at(s)))
            ]
            if not idle:
                return
            self.torch.update(idle)

    def at(self, stage) -> list:
        return [n for n in self.calls if self.stage[n] == stage]


def worth(node) -> bool:
    return any(word in str(node.target) for word in WORTH)


def assembled(stages: Stages, programs: dict, options: dict) -> Split:
    """The stages as a module of torch.fx, whose generated code drops each value after its last
    use."""
    root, new, place, made = torch.nn.Module(), torch.fx.Graph(), {}, Split(None, [])
    inputs = set(stages.program.graph_signature.user_inputs)
    for node in stages.program.graph.nodes:
        if node.op == "placeholder" and node.name in inputs:
            place[node] = new.placeholder(node.name)

    def placed(node):
        """What stands for the node in the new graph."""
        if node not in place:
            value = stages.values[node]
            if isinstance(value, torch.Tensor):
                setattr(
                    root,
                    f"constant{len(place)}",
                    torch.nn.Parameter(value, requires_grad=False) if value.is_floating_point() else value,
                )
                value = new.get_attr(f"constant{len(place)}")
            place[node] = value
        return place[node]

    for stage in range(max(stages.stage.values(), default=-1) + 1):
        nodes = stages.at(stage)
        if nodes and stage % 2 == 0:
            add_program(stages, nodes, new, place, made, programs, options)
        elif nodes:
            for node in nodes:
                place[node] = new.call_function(
                    node.target, torch.fx.map_arg(node.args, placed), torch.fx.map_arg(node.kwargs, placed)
                )
                if node.target is not operator.getitem:
                    made.torch[str(node.target)] += 1
                    made.torch_flops += flops_of(node)

    def result(node):
        """What stands for a result: of a constant a copy, which the caller may write to."""
        value = placed(node) if isinstance(node, torch.fx.Node) else node
        return new.call_function(torch.clone, (value,)) if getattr(value, "op", None) == "get_attr" else value

    new.output(tuple(map(result, output_of(stages.program).args[0])))
    module = torch.fx.GraphModule(root, new)
    structure = stages.program.call_spec.out_spec
    made.torch_ms = milliseconds(module, stages.tensors)
    made.run = lambda *tensors: pytree.tree_unflatten(module(*tensors), structure)
    return made


class Timed(torch.fx.Interpreter):
    """A run that keeps the seconds of torch's own calls, by op."""

    def run(self, *args):
        self.seconds = Counter()
        return super().run(*args)

    def call_function(self, target, args, kwargs):
        start = time.perf_counter()
        result = super().call_function(target, args, kwargs)
        if isinstance(target, torch._ops.OpOverload):
            self.seconds[str(target)] += time.perf_counter() - start
        return result


def milliseconds(module, examples) -> dict:
    """What torch's calls of the module cost, by op; of the second run, the first finds nothing in
    the caches.
    """
    timed = Timed(module)
    with torch.no_grad():
        for _ in range(2):
            timed.run(*examples)
    return {op: 1e3 * s for op, s in timed.seconds.items()}


def add_program(
    stages: Stages, nodes: list, new, place: dict, made: Split, programs: dict, options: dict
) -> None:
    """Puts a Program of the calls into the new graph. NotTaken for calls that turn out not to be
    ours.
    """
    own = set(nodes)
    inputs = list(
        dict.fromkeys(b for n in nodes for b in n.all_input_nodes if b not in own and stages.varies(b))
    )
    outputs = [n for n in nodes if any(u not in own for u in n.users)]
    key = tuple(nodes), tuple(outputs)
    if key not in programs:
        programs[key] = stage_program(stages, nodes, inputs, outputs, options)
    made.programs.append(programs[key])
    results = new.call_function(OnTensors(programs[key]), tuple(place[n] for n in inputs))
    for i, node in enumerate(outputs):
        place[node] = new.call_function(operator.getitem, (results, i))
        if isinstance(node.meta.get("val"), NUMBERS):   # of the run, for torch's calls
            place[node] = new.call_function(torch.Tensor.item, (place[node],))


NUMBERS = (torch.SymInt, torch.SymFloat, torch.SymBool)


def stage_program(stages: Stages, nodes: list, inputs: list, outputs: list, options: dict) -> Program:
    called = []

    def function(*arrays):
        run = Interpreter.__new__(Interpreter)
        run.program, run.values, run.made = stages.program, stages.values | dict(zip(inputs, arrays)), {}
        for node in nodes:
            called.append(node)
            run.values[node] = run.once(node)
        return tuple(v.value if isinstance(v := run.values[n], Length) else v for n in outputs)

    # lengths that a run decides are known within a stage only
    outside = {n for n in inputs if not isinstance(stages.values[n], Traced)}
    unknown = [n for n in nodes if not outside.isdisjoint(n.all_input_nodes)]
    if unknown:
        raise NotTaken(unknown)
    try:
        return graph.compile(
            function, tuple(np.zeros(stages.values[n].shape, stages.values[n].dtype) for n in inputs), **options
        )
    except UnsupportedOp:
        raise NotTaken(called[-1:]) from None
    except Exception as error:
        if not is_refusal(error):
            fault(error, f"compiling a stage of {len(nodes)} calls")
        raise NotTaken(nodes) from error


class OnTensors:
    """A Program for tensors: it reads them where they lie. A result that is a constant is a copy,
    which the caller may write to.
    """

    def __init__(self, program):
        self.program, self.__name__ = program, "program"

    def __call__(self, *tensors):
        results = self.program(*(t.detach().numpy() for t in tensors))
        return tuple(
            torch.from_numpy(r)
            if isinstance(r, np.ndarray)
            else r.clone()
            if isinstance(r, torch.Tensor)
            else r
            for r in results
        )


def output_of(program):
    return next(n for n in program.graph.nodes if n.op == "output")
