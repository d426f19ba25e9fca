"""torch.compile(model, backend="pyops"): inference as Programs on torch's memory, training by our
eager kernels, the rest as torch would run it.

Inference: a graph whose calls all have counterparts (aten.py) becomes one Program; of others, what
is ours becomes Programs and single calls stay torch's (split.py). Weights are packed when a Program
is made, and again when they have changed. Other sizes of inputs are planned when they come.
Training: AOTAutograd makes a forward and a backward graph, whose costly calls run by our rows
(eager.py). compile_report() says what became of each graph.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from .. import graph
from ..graph.shared import Constants
from .eager import replaced
from .exported import as_function, recorded, taken_apart
from .layouts import Layout, memory
from .open_sizes import OpenSizes
from .refusals import UnsupportedOp, fault, is_refusal
from .report import Report, add, compile_report, left_to_torch  # noqa: F401
from .split import OnTensors, output_of, split
from .weights import Watch, storages, watchers

OPTIONS = ("precision", "threads", "freeze")
KEPT = 8  # plans for different sizes, each with weights of its own
# Sizes that one graph is planned for in all, as planning takes seconds; torch runs any that come later
SIZES = 64


def pyops(gm: torch.fx.GraphModule, example_inputs: list, *, options: dict | None = None) -> Callable:
    """The backend. options: precision ("strict", "default", "fast") and threads, of inference, as
    pyops.compile takes them; freeze: True if the weights will not change: they become constants of
    the graph, which calls neither pass nor compare. ValueError for another option.
    """
    options = dict(options or {})
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise ValueError(
            f"torch.compile: backend pyops has no option {', '.join(unknown)}; it takes {', '.join(OPTIONS)}"
        )
    if torch.is_grad_enabled() and any(
        isinstance(x, torch.Tensor) and x.requires_grad for x in (*example_inputs, *gm.parameters())
    ):
        return trained(gm, example_inputs)
    frozen = options.pop("freeze", False)
    compiled = Compiled(gm, example_inputs, options, frozen)
    if any(not isinstance(x, torch.Tensor) for x in example_inputs):
        if frozen:
            compiled.hold_weights(example_inputs)
        return compiled  # sizes come as arguments: planned at the first call
    try:
        compiled.see(example_inputs)
        if compiled.plan(example_inputs).run is None:
            return gm.forward
    except Writes:
        return trained(gm, example_inputs)
    if frozen:
        compiled.hold_weights(example_inputs)
    return compiled


def trained(gm, example_inputs):
    """Forward and backward by AOTAutograd, which also makes writes to buffers results."""
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    def by_rows(module, _):
        counts, flops, torchs = replaced(module)
        add(
            Report(
                "training",
                flops=flops,
                torch_flops=torchs,
                ours={k.removeprefix("pyops "): v for k, v in counts.items() if k.startswith("pyops ")},
                torch={k: v for k, v in counts.items() if not k.startswith("pyops ")},
            )
        )
        return make_boxed_func(module.forward)

    # Writes to inputs stay in the graph: done behind it they would count as changes of what a
    # checkpoint keeps for its second run
    return aot_autograd(
        fw_compiler=by_rows,
        bw_compiler=by_rows,
        inference_compiler=by_rows,
        keep_inference_input_mutations=True,
    )(gm, example_inputs)


class Writes(UnsupportedOp):
    """The graph writes to a buffer or an input."""


class Bound(torch.nn.Module):
    """The graph with its weights among the attributes and its sizes as numbers, so that an export
    takes them as constants.
    """

    def __init__(self, gm, inputs, positions):
        super().__init__()
        self.gm, self.positions, self.numbers = gm, positions, {}
        self.sizes = {}  # of numbers that are sizes: the tensor, of those given, and its axis
        self.count = len(inputs)
        for i, x in enumerate(inputs):
            if not isinstance(x, torch.Tensor):
                self.numbers[i] = x
            elif i not in positions:
                self.register_buffer(f"weight{i}", x.detach(), persistent=False)
        self.eval()

    def forward(self, *tensors):
        given = iter(tensors)
        return self.gm(*(self.argument(i, given, tensors) for i in range(self.count)))

    def argument(self, i, given, tensors):
        if i in self.positions:
            return next(given)
        if i in self.sizes:
            which, axis = self.sizes[i]
            return tensors[which].shape[axis]
        return self.numbers[i] if i in self.numbers else getattr(self, f"weight{i}")


@dataclass
class Planned:
    """What runs inputs of one shape, or None if torch does; the weights' generation it was made
    from; where results lie.
    """

    run: Callable | None
    generation: int
    layout: Layout | None = None


class Freezing:
    """A backend under which dynamo makes weights constants of its graphs: a call neither passes nor
    checks them.

    torch.compile hides attributes of backends, so pyops.torch.compile hands this to dynamo itself.
    """

    def __init__(self, options: dict):
        self.options = {**options, "freeze": True}
        # dynamo enters it around every call, as any may compile; of the instance: wrappers copy its
        # dict only
        self.backend_ctx_ctor = Prepared

    def __call__(self, gm, example_inputs):
        return pyops(gm, example_inputs, options=self.options)


class Prepared:
    """torch._dynamo.config.prepare_freezing for as long as it is entered; config.patch takes ten
    times as long.
    """

    def __enter__(self):
        self.before = torch._dynamo.config.prepare_freezing
        torch._dynamo.config.prepare_freezing = True

    def __exit__(self, *_):
        torch._dynamo.config.prepare_freezing = self.before


class Compiled:
    """A graph for inference: a plan for each shape of its inputs, made anew when a weight has
    changed.
    """

    def __init__(self, gm, example_inputs, options, frozen=False):
        self.gm, self.options, self.frozen = gm, options, frozen
        self.varying = [i for i, x in enumerate(example_inputs) if not is_weight(x)]
        self.positions = [i for i in self.varying if isinstance(example_inputs[i], torch.Tensor)]
        self.weights = [i for i, x in enumerate(example_inputs) if is_weight(x)]
        self.held = [*gm.parameters(), *gm.buffers()]
        self.storages = storages(self.kept(example_inputs))
        self.plans: OrderedDict[tuple, Planned] = OrderedDict()
        self.exports: dict[
            tuple, torch.export.ExportedProgram
        ] = {}  # of the plans: read the weights where they lie
        self.addresses: list[int] = []
        self.watch: Watch | None = None
        self.generation = 0
        self.shared = Constants()
        self.sizes = 0
        self.open = OpenSizes.of(gm, self.varying)
        self.alike: Layout | None = None  # of results that lie alike whatever the sizes
        watchers.add(self)

    def key(self, inputs):
        return tuple(
            (x.shape, x.stride()) if isinstance(x := inputs[i], torch.Tensor) else x for i in self.varying
        )

    def plan(self, inputs) -> Planned:
        """Plans for inputs like these, or notes that torch runs them. Writes if the graph writes to
        what it is given.
        """
        key = self.key(inputs)
        try:
            planned = self.made(inputs)
        except Writes:
            raise
        except Exception as why:
            if not is_refusal(why):
                fault(why, f"planning a graph of {len(self.gm.graph.nodes)} nodes")
            planned = Planned(None, self.generation)
            left_to_torch(self.gm, why)
        self.plans[key] = planned
        if len(self.plans) > KEPT:
            self.exports.pop(self.plans.popitem(last=False)[0], None)
        return planned

    def kept(self, inputs) -> list:
        """The tensors that plans pack: the model's, as arguments, and those that dynamo put into
        the graph.
        """
        return [*(inputs[i] for i in self.weights), *self.held]

    def see(self, inputs) -> None:
        """Begins another generation of plans if a weight has changed since the last one began."""
        if not self.frozen and (self.watch is None or self.watch.changed(self.kept(inputs))):
            self.watch = Watch(
                self.kept(inputs)
            )  # before anything is packed: what changes meanwhile is seen at the next call
            self.begin()
            addresses = [t.data_ptr() for t in self.kept(inputs)]
            if addresses != self.addresses:
                self.exports.clear()
                if self.open is not None:
                    self.open.forget()
                self.addresses, self.storages = addresses, storages(self.kept(inputs))

    def renew(self) -> None:
        self.watch = None
        self.begin()

    def begin(self) -> None:
        """Another generation of plans, which share what they pack."""
        self.generation += 1
        self.shared = Constants()

    def reads(self, storages: set) -> bool:
        """Whether it keeps values of one of these storages, given by address."""
        return not storages.isdisjoint(self.storages)

    def made(self, inputs) -> Planned:
        """A plan for inputs like these. Planning leaves torch's random numbers where they are."""
        tensors = [inputs[i] for i in self.positions]
        if any(x.device.type != "cpu" or x.layout != torch.strided for x in tensors):
            raise UnsupportedOp("compile: an input is not a dense tensor on the CPU")
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            run = program = None
            options = {**self.options, "shared": self.shared}
            if self.open is not None:
                program = self.open.exported(Bound(self.gm, inputs, set(self.positions)), inputs, self.positions)
            if program is not None:
                run, report = whole(lambda: self.open.function(inputs, self.positions), tensors, options)
            if run is None:
                program = self.export(inputs)
                run, report = ours(program, tensors, options)
            layout = self.layout(inputs, of_the_run(program))
        if self.key(inputs) not in self.plans:
            add(report)
        return Planned(run, self.generation, layout)

    def export(self, inputs):
        """The graph by torch.export; kept, as it reads the weights where they lie."""
        key = self.key(inputs)
        if key not in self.exports:
            bound = Bound(self.gm, inputs, set(self.positions))
            try:
                program = recorded(
                    bound, tuple(torch.zeros(inputs[i].shape, dtype=inputs[i].dtype) for i in self.positions)
                )
            except Exception as why:  # torch's own, of a dozen unrelated types
                raise UnsupportedOp(f"compile: torch.export refuses it: {type(why).__name__}: {why}") from why
            if program.graph_signature.buffers_to_mutate or program.graph_signature.user_inputs_to_mutate:
                raise Writes("compile: it writes to a buffer or an input")
            self.exports[key] = taken_apart(program)
        return self.exports[key]

    def layout(self, inputs, of_the_run: frozenset[int]) -> Layout:
        """How torch lays its results out: of one run of the graph in torch. Inputs that share
        memory are told apart by copies. Where results of a graph for all sizes have memory of their own
        and lie in order, they do for other sizes.
        """
        tensors = [inputs[i] for i in self.positions]
        alike = self.open is not None and all(x.is_contiguous() and x.numel() for x in tensors)
        if alike and self.alike is not None:
            return self.alike
        given, seen = list(inputs), set()
        for i in self.positions:
            if memory(given[i]) in seen:
                given[i] = torch.empty_strided(given[i].shape, given[i].stride(), dtype=given[i].dtype).copy_(
                    given[i]
                )
            seen.add(memory(given[i]))
        found = Layout([*(given[i] for i in self.positions), *self.kept(given)], self.gm(*given), of_the_run)
        if alike and not self.open.ones(self.gm, found):
            self.alike = found.of_any_size(len(self.positions))
        return found

    def hold_weights(self, inputs) -> None:
        """Makes the weights attributes of the graph, in place: dynamo writes the code of a call
        from this same graph afterwards, and passes what it still takes.
        """
        nodes = self.gm.graph.find_nodes(op="placeholder")
        for i in self.weights:
            self.gm.register_buffer(
                f"weight{i}_of_model", inputs[i].detach(), persistent=False
            )  # the model's memory
            with self.gm.graph.inserting_before(nodes[i]):
                held = self.gm.graph.get_attr(f"weight{i}_of_model")
            nodes[i].replace_all_uses_with(held)
            held.meta = {key: value for key, value in nodes[i].meta.items() if key != "grapharg"}
            self.gm.graph.erase_node(nodes[i])
        self.gm.recompile()
        left = {i: n for n, i in enumerate(self.varying)}
        self.held = self.kept([x.detach() if isinstance(x, torch.Tensor) else x for x in inputs])
        self.positions, self.varying, self.weights = (
            [left[i] for i in self.positions],
            list(range(len(left))),
            [],
        )
        self.open = OpenSizes.of(self.gm, self.varying)  # by the places that are left

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
            except Writes as why:
                planned = self.plans[self.key(inputs)] = Planned(None, self.generation)
                left_to_torch(self.gm, why)
        if planned.run is None:
            return self.gm.forward(*inputs)
        tensors = [inputs[i] for i in self.positions]
        results = planned.run(*tensors)
        return (
            results if planned.layout.plain else planned.layout.laid([*tensors, *self.kept(inputs)], results)
        )


def of_the_run(program) -> frozenset[int]:
    """Which results have a length, or are a number, that a run decides."""
    leaves = output_of(program).args[0]
    values = [leaf.meta.get("val") if isinstance(leaf, torch.fx.Node) else None for leaf in leaves]
    return frozenset(i for i, v in enumerate(values) if v is not None and free_unbacked_symbols(v))


def whole(function: Callable, tensors: list, options: dict) -> tuple[Callable | None, Report | None]:
    """What runs it as one Program, and a report; None for what is no such. function() is what compiles."""
    try:
        program = graph.compile(
            function(), tuple(torch.zeros(x.shape, dtype=x.dtype).numpy() for x in tensors), **options
        )
    except Exception as why:
        if not is_refusal(why):
            fault(why, "compiling a whole graph")
        return None, None
    return OnTensors(program), Report("program", len(program.steps), sum(s.flops for s in program.steps))


def ours(program, tensors: list, options: dict) -> tuple[Callable, Report]:
    """What runs the exported program: one Program, or Programs and torch's calls in turn."""
    run, report = whole(lambda: as_function(program), tensors, options)
    if run is not None:
        return run, report
    parts = split(program, tensors, options)
    if not parts.programs:
        raise UnsupportedOp("compile: nothing in it is worth a Program: " + ", ".join(parts.torch))
    report = Report(
        "program",
        sum(len(p.steps) for p in parts.programs),
        sum(s.flops for p in parts.programs for s in p.steps),
        torch=dict(parts.torch),
        torch_flops=parts.torch_flops,
        torch_ms=parts.torch_ms,
    )
    return parts.run, report


def is_weight(x) -> bool:
    """Whether torch.compile passes the model's own tensor."""
    return isinstance(x, torch.nn.Parameter) or getattr(x, "_dynamo_static_input_type", None) is not None
