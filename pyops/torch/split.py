"""An exported graph of which some calls are not ours, as Programs and torch's own calls in turn.

A call is ours if tracing takes it. Calls are put into stages: ours in even ones, torch's in odd ones, each as early as its inputs allow. So
every stage depends on earlier ones only, and all that is ours in a stage is one Program.
"""
from __future__ import annotations

import operator
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import flop_registry

from .. import graph
from ..graph.ir import Value
from ..graph.program import Program
from ..graph.trace import Traced, trace
from .exported import Interpreter

# A stage without one of these costs more in copies and calls than its kernels save
WORTH = ("conv", "linear", "addmm", "matmul", "mm", "bmm", "pool", "norm", "softmax", "upsample", "attention", "lstm", "gru", "rnn")


@dataclass
class Split:
    """A function of the graph's inputs, tensors to tensors. torch: why each node that is left to torch is, by op and number of calls."""
    run: Callable
    programs: list[Program]
    torch: Counter = field(default_factory=Counter)
    torch_flops: float = 0.0
    torch_ms: dict = field(default_factory=dict)


def split(program, examples: tuple, options: dict) -> Split:
    """program: of torch.export; examples: NumPy arrays of the inputs' shapes and types; options: of pyops.compile."""
    stages = Stages(program, examples)
    while True:
        try:
            return assembled(stages, options)
        except NotTaken as why:     # what tracing alone does not find: leave it to torch and begin again
            stages.give_up(why.nodes)


class NotTaken(Exception):
    """A stage that cannot be a Program after all."""

    def __init__(self, nodes):
        self.nodes = nodes


class Probe(Interpreter):
    """A run on traced values that notes the calls that cannot be taken, and goes on with a value of the result's shape."""

    def __init__(self, program, arrays):
        super().__init__(program, arrays)
        self.refused = set()

    def call(self, node):
        try:
            return super().call(node)
        except Exception:   # a call is torch's for whatever reason it is not ours
            self.refused.add(node)
            return pytree.tree_map_only(torch.Tensor, unknown, node.meta.get("val"))   # none: a call without a result


def unknown(tensor) -> Traced:
    return Traced(Value(tuple(tensor.shape), np.zeros(0, str(tensor.dtype).removeprefix("torch.").replace("bfloat16", "float16")).dtype))


class Stages:
    """Which calls are ours, and the stage of each that depends on the inputs."""

    def __init__(self, program, examples):
        self.program, self.examples = program, examples
        probes = []

        def attempt(*arrays):
            probes.append(Probe(program, arrays))
            return probes[0].run()
        trace(attempt, examples)
        self.values = probes[0].values
        self.torch = probes[0].refused
        self.calls = [n for n in program.graph.nodes if n.op == "call_function" and self.varies(n)]
        self.assign()

    def varies(self, node) -> bool:
        """Whether its value depends on the inputs; torch computed the others while tracing."""
        return any(isinstance(v, Traced) for v in pytree.tree_leaves(self.values[node]))

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
            for node in self.calls:
                ours = self.ours(node)
                least = 0 if ours else 1
                for before in node.all_input_nodes:
                    if before in self.stage:
                        least = max(least, self.stage[before] + (self.ours(before) != ours))
                self.stage[node] = least
            idle = [n for s in set(self.stage.values()) if s % 2 == 0 for n in self.at(s) if not any(map(worth, self.at(s)))]
            if not idle:
                return
            self.torch.update(idle)

    def at(self, stage) -> list:
        return [n for n in self.calls if self.stage[n] == stage]


def worth(node) -> bool:
    return any(word in str(node.target) for word in WORTH)


def assembled(stages: Stages, options: dict) -> Split:
    """The stages as a module of torch.fx, whose generated code drops each value after its last use."""
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
                setattr(root, f"constant{len(place)}", torch.nn.Parameter(value, requires_grad=False) if value.is_floating_point() else value)
                value = new.get_attr(f"constant{len(place)}")
            place[node] = value
        return place[node]

    for stage in range(max(stages.stage.values(), default=-1) + 1):
        nodes = stages.at(stage)
        if nodes and stage % 2 == 0:
            add_program(stages, nodes, new, place, made, options)
        elif nodes:
            for node in nodes:
                place[node] = new.call_function(node.target, torch.fx.map_arg(node.args, placed), torch.fx.map_arg(node.kwargs, placed))
                if node.target is not operator.getitem:
                    made.torch[str(node.target)] += 1
                    made.torch_flops += flops_of(node)
    new.output(tuple(placed(v) if isinstance(v, torch.fx.Node) else v for v in output_of(stages.program).args[0]))
    module = torch.fx.GraphModule(root, new)
    structure = stages.program.call_spec.out_spec
    made.torch_ms = milliseconds(module, [torch.from_numpy(x) for x in stages.examples])
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
    """What torch's calls of the module cost, by op; of the second run, the first finds nothing in the caches."""
    timed = Timed(module)
    with torch.no_grad():
        for _ in range(2):
            timed.run(*examples)
    return {op: 1e3 * s for op, s in timed.seconds.items()}


def add_program(stages: Stages, nodes: list, new, place: dict, made: Split, options: dict) -> None:
    own = set(nodes)
    inputs = list(dict.fromkeys(b for n in nodes for b in n.all_input_nodes if b not in own and stages.varies(b)))
    outputs = [n for n in nodes if any(u not in own for u in n.users)]
    shapes = [stages.values[n].shape for n in inputs]

    def function(*arrays):
        run = Interpreter.__new__(Interpreter)
        run.program, run.values = stages.program, stages.values | dict(zip(inputs, arrays))
        for node in nodes:
            run.values[node] = run.call(node)
        return tuple(run.values[n] for n in outputs)
    try:
        if any(stages.values[n].dtype != np.float32 for n in inputs):
            raise TypeError("programs take float32")
        program = graph.compile(function, tuple(np.zeros(s, np.float32) for s in shapes), **options)
    except Exception:
        raise NotTaken(nodes) from None
    made.programs.append(program)
    results = new.call_function(OnTensors(program), tuple(place[n] for n in inputs))
    for i, node in enumerate(outputs):
        place[node] = new.call_function(operator.getitem, (results, i))


class OnTensors:
    """A Program for tensors: it reads them where they lie."""

    def __init__(self, program):
        self.program, self.__name__ = program, "program"

    def __call__(self, *tensors):
        results = self.program(*(t.detach().numpy() for t in tensors))
        return tuple(torch.from_numpy(r) if isinstance(r, np.ndarray) else r for r in results)


def output_of(program):
    return next(n for n in program.graph.nodes if n.op == "output")


def flops_of(node) -> float:
    """What torch's own counter says of a call; 0 of calls it does not count. Sizes that are symbols count by their hints."""
    count = flop_registry.get(getattr(node.target, "overloadpacket", None))
    if count is None:
        return 0.0
    args, kwargs = torch.fx.map_arg((node.args, node.kwargs), lambda n: pytree.tree_map(numbered, n.meta["val"]))
    return float(count(*args, **kwargs, out_val=pytree.tree_map(numbered, node.meta["val"])))


def numbered(value):
    if isinstance(value, torch.Tensor):
        return torch.empty([numbered(s) for s in value.shape], dtype=value.dtype, device="meta")
    return value.node.hint if isinstance(value, (torch.SymInt, torch.SymFloat)) else value
