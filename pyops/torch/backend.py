"""torch.compile(model, backend="pyops"): inference as Programs on torch's memory, training by our eager kernels, the rest as torch would run it.

Inference: a graph whose calls all have counterparts (aten.py) becomes one Program; of others, what is ours becomes Programs and single calls stay torch's
(split.py). Weights are packed when a Program is made, and again when they have changed. Other sizes of inputs are planned when they come.
Training: AOTAutograd makes a forward and a backward graph, whose costly calls run by our rows (eager.py).
compile_report() says what became of each graph.
"""
from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from .. import graph
from .eager import replaced
from .exported import UnsupportedOp, as_function, exported
from .split import OnTensors, split
from .weights import Watch, storages, watchers

OPTIONS = ("precision", "threads", "freeze")
KEPT = 8    # plans for different sizes, each with weights of its own
SIZES = 64   # that one graph is planned for in all, as planning takes seconds; torch runs any that come later


@dataclass(frozen=True)
class Report:
    """What became of one graph that torch.compile handed over.

    kind: "program" (inference), "training", or "torch" where torch runs all of it, for the reason `why`. steps, flops: of our Programs.
    ours, torch: calls by op; torch_flops: of the calls that are torch's, as torch counts them; torch_ms: in inference, the milliseconds of these calls
    by op, in one run on zeros while the graph was planned.
    """
    kind: str
    steps: int = 0
    flops: float = 0.0
    why: str = ""
    torch: dict = field(default_factory=dict)
    torch_flops: float = 0.0
    ours: dict = field(default_factory=dict)
    torch_ms: dict = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Of the FLOPs, the part in our kernels."""
        total = self.flops + self.torch_flops
        return self.flops / total if total else float(self.kind != "torch")

    def __str__(self):
        if self.kind == "torch":
            return f"torch runs it: {self.why}"
        left = ", ".join(f"{op} {count}" + (f" ({self.torch_ms[op]:.3f} ms)" if op in self.torch_ms else "") for op, count in self.torch.items()) or "nothing"
        if self.kind == "training":
            return f"training: {sum(self.ours.values())} calls by our kernels ({100 * self.share:.1f} % of the FLOPs); left to torch: {left}"
        return f"inference: {self.steps} steps, {self.flops / 1e6:.1f} MFLOP ({100 * self.share:.1f} % of all); left to torch: {left}"


_reports: list[Report] = []


def compile_report(clear: bool = False) -> list[Report]:
    """Every graph since the start or the last clear, in order."""
    found = list(_reports)
    if clear:
        _reports.clear()
    return found


def pyops(gm: torch.fx.GraphModule, example_inputs: list, *, options: dict | None = None) -> Callable:
    """The backend. options: precision ("strict", "default", "fast") and threads, of inference, as pyops.compile takes them; freeze: True if the weights will
    not change: they become constants of the graph, which calls neither pass nor compare. ValueError for another option.
    """
    options = dict(options or {})
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise ValueError(f"torch.compile: backend pyops has no option {', '.join(unknown)}; it takes {', '.join(OPTIONS)}")
    if torch.is_grad_enabled() and any(isinstance(x, torch.Tensor) and x.requires_grad for x in (*example_inputs, *gm.parameters())):
        return trained(gm, example_inputs)
    frozen = options.pop("freeze", False)
    compiled = Compiled(gm, example_inputs, options, frozen)
    if any(not isinstance(x, torch.Tensor) for x in example_inputs):
        if frozen:
            compiled.hold_weights(example_inputs)
        return compiled    # sizes come as arguments: planned at the first call
    try:
        compiled.see(example_inputs)
        compiled.plan(example_inputs)
        if frozen:
            compiled.hold_weights(example_inputs)
    except Writes:
        return trained(gm, example_inputs)
    except Exception as why:   # whatever export or a trace may say: torch can run it
        return left_to_torch(gm, why)
    return compiled


def left_to_torch(gm, why):
    _reports.append(Report("torch", why=why if isinstance(why, str) else f"{type(why).__name__}: {why}"))
    warnings.warn(f"torch.compile(backend='pyops'): a graph of {len(gm.graph.nodes)} nodes runs in torch: {why}", stacklevel=3)
    return gm.forward


def trained(gm, example_inputs):
    """Forward and backward by AOTAutograd, which also makes writes to buffers results."""
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    def ours(module, _):
        counts, flops, torchs = replaced(module)
        _reports.append(Report("training", flops=flops, torch_flops=torchs, ours={k.removeprefix("pyops "): v for k, v in counts.items() if k.startswith("pyops ")},
                               torch={k: v for k, v in counts.items() if not k.startswith("pyops ")}))
        return make_boxed_func(module.forward)
    return aot_autograd(fw_compiler=ours, bw_compiler=ours, inference_compiler=ours)(gm, example_inputs)


class Writes(TypeError):
    """The graph writes to a buffer or an input."""


class Bound(torch.nn.Module):
    """The graph with its weights among the attributes and its sizes as numbers, so that an export takes them as constants."""

    def __init__(self, gm, inputs, positions):
        super().__init__()
        self.gm, self.positions, self.numbers = gm, positions, {}
        self.count = len(inputs)
        for i, x in enumerate(inputs):
            if not isinstance(x, torch.Tensor):
                self.numbers[i] = x
            elif i not in positions:
                self.register_buffer(f"weight{i}", x.detach(), persistent=False)
        self.eval()

    def forward(self, *tensors):
        given = iter(tensors)
        return self.gm(*(next(given) if i in self.positions else self.numbers[i] if i in self.numbers else getattr(self, f"weight{i}")
                         for i in range(self.count)))


@dataclass
class Planned:
    """What runs inputs of one shape; the weights' generation it was made from."""
    run: Callable | None
    generation: int


class Freezing:
    """A backend under which dynamo makes weights constants of its graphs: a call neither passes nor checks them.

    torch.compile hides attributes of backends, so pyops.torch.compile hands this to dynamo itself.
    """

    def __init__(self, options: dict):
        self.options = {**options, "freeze": True}
        self.backend_ctx_ctor = Prepared   # dynamo enters it around every call, as any may compile; of the instance: wrappers copy its dict only

    def __call__(self, gm, example_inputs):
        return pyops(gm, example_inputs, options=self.options)


class Prepared:
    """torch._dynamo.config.prepare_freezing for as long as it is entered; config.patch takes ten times as long."""

    def __enter__(self):
        self.before = torch._dynamo.config.prepare_freezing
        torch._dynamo.config.prepare_freezing = True

    def __exit__(self, *_):
        torch._dynamo.config.prepare_freezing = self.before


class Compiled:
    """A graph for inference: a plan for each shape of its inputs, made anew when a weight has changed."""

    def __init__(self, gm, example_inputs, options, frozen=False):
        self.gm, self.options, self.frozen = gm, options, frozen
        self.varying = [i for i, x in enumerate(example_inputs) if not is_weight(x)]
        self.positions = [i for i in self.varying if isinstance(example_inputs[i], torch.Tensor)]
        self.weights = [i for i, x in enumerate(example_inputs) if is_weight(x)]
        self.held = [*gm.parameters(), *gm.buffers()]
        self.storages = storages(self.kept(example_inputs))
        self.plans: OrderedDict[tuple, Planned] = OrderedDict()
        self.exports: dict[tuple, torch.export.ExportedProgram] = {}   # of the plans: read the weights where they lie
        self.addresses: list[int] = []
        self.watch: Watch | None = None
        self.generation = 0
        self.sizes = 0
        watchers.add(self)

    def key(self, inputs):
        return tuple(inputs[i].shape if isinstance(inputs[i], torch.Tensor) else inputs[i] for i in self.varying)

    def plan(self, inputs) -> Planned:
        key = self.key(inputs)
        planned = self.plans[key] = Planned(self.made(inputs), self.generation)
        if len(self.plans) > KEPT:
            self.exports.pop(self.plans.popitem(last=False)[0], None)
        return planned

    def kept(self, inputs) -> list:
        """The tensors that plans pack: the model's, as arguments, and those that dynamo put into the graph."""
        return [*(inputs[i] for i in self.weights), *self.held]

    def see(self, inputs) -> None:
        """Begins another generation of plans if a weight has changed since the last one began."""
        if not self.frozen and (self.watch is None or self.watch.changed(self.kept(inputs))):
            self.watch = Watch(self.kept(inputs))   # before anything is packed: what changes meanwhile is seen at the next call
            self.generation += 1
            addresses = [t.data_ptr() for t in self.kept(inputs)]
            if addresses != self.addresses:
                self.exports.clear()
                self.addresses, self.storages = addresses, storages(self.kept(inputs))

    def renew(self) -> None:
        self.watch = None
        self.generation += 1

    def reads(self, storages: set) -> bool:
        """Whether it keeps values of one of these storages, given by address."""
        return not storages.isdisjoint(self.storages)

    def made(self, inputs) -> Callable:
        examples = {i: torch.zeros(inputs[i].shape, dtype=inputs[i].dtype) for i in self.positions}
        program = self.exports.get(self.key(inputs))
        if program is None:
            bound = Bound(self.gm, [examples.get(i, x) for i, x in enumerate(inputs)], set(self.positions))
            program = exported(bound, tuple(examples.values()))
        if program.graph_signature.buffers_to_mutate or program.graph_signature.user_inputs_to_mutate:
            raise Writes("it writes to a buffer or an input")
        self.exports[self.key(inputs)] = program
        arrays = tuple(x.numpy() for x in examples.values())
        try:
            whole = graph.compile(as_function(program), arrays, **self.options)
        except Exception:   # a call, a type or a value that one Program cannot have
            parts = split(program, arrays, self.options)
            if not parts.programs:
                raise UnsupportedOp("nothing in it is worth a Program: " + ", ".join(parts.torch)) from None
            _reports.append(Report("program", sum(len(p.steps) for p in parts.programs), sum(s.flops for p in parts.programs for s in p.steps),
                                   torch=dict(parts.torch), torch_flops=parts.torch_flops, torch_ms=parts.torch_ms))
            return parts.run
        _reports.append(Report("program", len(whole.steps), sum(s.flops for s in whole.steps)))
        return OnTensors(whole)

    def hold_weights(self, inputs) -> None:
        """Makes the weights attributes of the graph, in place: dynamo writes the code of a call from this same graph afterwards, and passes what it still takes."""
        nodes = self.gm.graph.find_nodes(op="placeholder")
        for i in self.weights:
            self.gm.register_buffer(f"weight{i}_of_model", inputs[i].detach(), persistent=False)   # the model's memory
            with self.gm.graph.inserting_before(nodes[i]):
                held = self.gm.graph.get_attr(f"weight{i}_of_model")
            nodes[i].replace_all_uses_with(held)
            held.meta = {key: value for key, value in nodes[i].meta.items() if key != "grapharg"}
            self.gm.graph.erase_node(nodes[i])
        self.gm.recompile()
        left = {i: n for n, i in enumerate(self.varying)}
        self.positions, self.varying, self.weights = [left[i] for i in self.positions], list(range(len(left))), []

    def __call__(self, *inputs):
        self.see(inputs)
        planned = self.plans.get(self.key(inputs))
        if planned is None:
            self.sizes += 1
            if self.sizes == SIZES + 1:
                left_to_torch(self.gm, f"it was planned for {SIZES} sizes; others are run by torch")
            if self.sizes > SIZES:
                return self.gm.forward(*inputs)
        if planned is None or planned.generation != self.generation:
            try:
                planned = self.plan(inputs)
            except Exception as why:
                planned = self.plans[self.key(inputs)] = Planned(None, self.generation)
                left_to_torch(self.gm, why)
        if planned.run is None:
            return self.gm.forward(*inputs)
        return planned.run(*(inputs[i] for i in self.positions))


def is_weight(x) -> bool:
    """Whether torch.compile passes the model's own tensor."""
    return isinstance(x, torch.nn.Parameter) or getattr(x, "_dynamo_static_input_type", None) is not None
