"""Recurrent layers, ours beside the peers in one process: the forward pass as a compiled program,
and a training step as it is called.

Shapes: the classic small ones, and rows of DeepBench (Baidu Research, 2016-17), whose inputs are as
wide as the hidden layer.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

import pyops
from pyops import Tensor, nn
from pyops.core.threads import num_threads

from . import peers
from .measure import interleaved
from .suite import OURS, WRONG, Row, Settings, Timing, error

FORWARD, TRAINING = "recurrent", "recurrent training"
MOST_TRAINED = 4e11   # operations of a training step beyond which a row is not trained here


@dataclass(frozen=True)
class Shape:
    kind: str          # RNN, LSTM, GRU
    inputs: int
    hidden: int
    layers: int
    batch: int
    steps: int
    ragged: bool = False
    bidirectional: bool = False

    @property
    def name(self) -> str:
        width = f"{self.hidden}" if self.inputs == self.hidden else f"{self.inputs}->{self.hidden}"
        return (f"{self.kind} {width}" + (f" x{self.layers}" if self.layers > 1 else "")
                + (" both ways" if self.bidirectional else "")
                + f" b{self.batch} T{self.steps}" + (" ragged" if self.ragged else ""))

    def lengths(self) -> np.ndarray | None:
        """Of the sequences, if they differ: from all of the steps down to a fifth, in no order."""
        if not self.ragged:
            return None
        return np.random.default_rng(1).permutation(
            np.linspace(self.steps / 5, self.steps, self.batch).astype(np.int64))

    def weights(self) -> tuple[int, int]:
        """How many belong to inputs, and to h."""
        rows = {"RNN": 1, "LSTM": 4, "GRU": 3}[self.kind] * self.hidden * (1 + self.bidirectional)
        return (rows * (self.inputs + (self.layers - 1) * self.hidden * (1 + self.bidirectional)),
                rows * self.hidden * self.layers)

    def flops(self) -> float:
        steps = self.batch * self.steps if not self.ragged else int(self.lengths().sum())
        return 2.0 * steps * sum(self.weights())

    def bytes(self) -> float:
        """Recurrent weights once a step, input weights once, the sequences once."""
        of_x, of_h = self.weights()
        return 4.0 * (of_x + of_h * self.steps
                      + self.batch * self.steps * (self.inputs + self.hidden * (1 + self.bidirectional)))


def square(kind, hidden, batch, steps) -> Shape:
    return Shape(kind, hidden, hidden, 1, batch, steps)


REACH = (Shape("GRU", 64, 128, 1, 1, 200), Shape("LSTM", 512, 512, 2, 1, 64),
         Shape("LSTM", 512, 512, 2, 16, 64), square("GRU", 512, 16, 64),
         Shape("LSTM", 256, 256, 1, 8, 200), Shape("LSTM", 256, 256, 1, 8, 200, ragged=True),
         Shape("LSTM", 128, 128, 1, 16, 50, bidirectional=True))
DEEPBENCH = (square("RNN", 1760, 16, 50), square("RNN", 2048, 32, 50), square("RNN", 2560, 64, 50),
             square("LSTM", 512, 16, 25), square("LSTM", 512, 64, 25), square("LSTM", 1024, 32, 25),
             square("LSTM", 2048, 16, 25), square("LSTM", 1536, 8, 50), square("LSTM", 256, 16, 150),
             square("GRU", 512, 32, 1), square("GRU", 1536, 32, 187), square("LSTM", 512, 1, 25),
             square("LSTM", 512, 4, 25), square("LSTM", 1024, 1, 25), square("LSTM", 2048, 1, 25),
             square("LSTM", 256, 1, 150), square("LSTM", 256, 4, 150), square("GRU", 512, 1, 1),
             square("GRU", 1024, 4, 187), square("RNN", 32, 1, 672), square("RNN", 64, 1, 96))


class Work:
    """A shape with its weights and data, in every library's form."""

    def __init__(self, shape: Shape):
        self.shape, rng = shape, np.random.default_rng(0)
        self.model = getattr(nn, shape.kind)(shape.inputs, shape.hidden, shape.layers,
                                             bidirectional=shape.bidirectional)
        self.x = rng.standard_normal((shape.steps, shape.batch, shape.inputs)).astype(np.float32)
        self.dy = rng.standard_normal((shape.steps, shape.batch,
                                       shape.hidden * (1 + shape.bidirectional))).astype(np.float32)
        self.lengths = shape.lengths()

    def want(self) -> np.ndarray:
        """The answer in float64, by our kernels of that type, which the tests hold
        against the reference."""
        model = getattr(nn, self.shape.kind)(self.shape.inputs, self.shape.hidden, self.shape.layers,
                                             bidirectional=self.shape.bidirectional, dtype=np.float64)
        model.load_state_dict({k: v.astype(np.float64) for k, v in self.model.state_dict().items()})
        return model(self.x.astype(np.float64), lengths=self.lengths)[0].data

    # ---- forward

    def pyops(self, threads: int) -> Callable:
        model = self.model.eval()
        program = pyops.compile(lambda x: model(x, lengths=self.lengths)[0], self.x, threads=threads)
        return lambda: program(self.x)

    def torch_module(self, threads: int):
        import torch
        torch.set_num_threads(threads)
        s = self.shape
        module = getattr(torch.nn, s.kind)(s.inputs, s.hidden, s.layers, bidirectional=s.bidirectional)
        module.load_state_dict({k: torch.from_numpy(v) for k, v in self.model.state_dict().items()})
        return torch, module

    def torch(self, threads: int) -> Callable:
        torch, module = self.torch_module(threads)
        x = torch.from_numpy(self.x)

        @torch.no_grad()
        def run():
            return self.through_torch(torch, module, x).numpy()
        return run

    def through_torch(self, torch, module, x):
        if self.lengths is None:
            return module(x)[0]
        rnn = torch.nn.utils.rnn
        packed = rnn.pack_padded_sequence(x, torch.from_numpy(self.lengths), enforce_sorted=False)
        return rnn.pad_packed_sequence(module(packed)[0], total_length=self.shape.steps)[0]

    def onnxruntime(self, threads: int) -> Callable:
        run = peers.onnxruntime_session(self.onnx(), threads)(self.x)
        return run

    def openvino(self, threads: int) -> Callable:
        return peers.openvino_model(self.onnx(), threads)(self.x)

    def onnx(self) -> bytes:
        from onnx import TensorProto, helper, numpy_helper
        s, directions = self.shape, 1 + self.shape.bidirectional
        order = {"RNN": [0], "LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2]}[s.kind]   # onnx: iofc, zrh

        def gates(w):
            parts = np.split(w, len(order), 0)
            return np.concatenate([parts[i] for i in order], 0)
        nodes, constants, state, last = [], [], self.model.state_dict(), "x"
        if self.lengths is not None:
            constants.append(numpy_helper.from_array(self.lengths.astype(np.int32), "lengths"))
        constants.append(numpy_helper.from_array(np.array([0, 0, directions * s.hidden], np.int64), "flat"))
        for layer in range(s.layers):
            suffixes = [f"_l{layer}{end}" for end in ("", "_reverse")[:directions]]
            w, r = (np.stack([gates(state[name + end]) for end in suffixes])
                    for name in ("weight_ih", "weight_hh"))
            b = np.stack([np.concatenate([gates(state["bias_ih" + end]), gates(state["bias_hh" + end])])
                          for end in suffixes])
            constants += [numpy_helper.from_array(np.ascontiguousarray(v), f"{label}{layer}")
                          for label, v in (("w", w), ("r", r), ("b", b))]
            more = {"linear_before_reset": 1} if s.kind == "GRU" else {}
            nodes += [helper.make_node(s.kind, [last, f"w{layer}", f"r{layer}", f"b{layer}",
                                                "lengths" if self.lengths is not None else ""],
                                       [f"y{layer}"], hidden_size=s.hidden,
                                       direction="bidirectional" if s.bidirectional else "forward", **more),
                      helper.make_node("Transpose", [f"y{layer}"], [f"t{layer}"], perm=[0, 2, 1, 3]),
                      helper.make_node("Reshape", [f"t{layer}", "flat"], [f"o{layer}"])]
            last = f"o{layer}"
        value = helper.make_tensor_value_info
        graph = helper.make_graph(nodes, "recurrent", [value("x", TensorProto.FLOAT, self.x.shape)],
                                  [value(last, TensorProto.FLOAT, self.dy.shape)], constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)],
                                 ir_version=9).SerializeToString()

    # ---- a training step: forward, and the gradients of all weights and of x

    def pyops_training(self, threads: int) -> Callable:
        model = self.model.train()

        def run():
            model.zero_grad()
            x = Tensor(self.x, requires_grad=True)
            model(x, lengths=self.lengths)[0].backward(self.dy)
            return model.weight_hh_l0.grad
        return run

    def torch_training(self, threads: int) -> Callable:
        torch, module = self.torch_module(threads)
        dy = torch.from_numpy(self.dy)

        def run():
            module.zero_grad()
            x = torch.from_numpy(self.x).requires_grad_()
            self.through_torch(torch, module, x).backward(dy)
            return module.weight_hh_l0.grad.numpy()
        return run


def shapes(only: str | None = None) -> tuple[Shape, ...]:
    """All, or those whose name has `only` in it."""
    return tuple(s for s in (*REACH, *DEEPBENCH) if not only or only in s.name)


def run_shape(shape: Shape, settings: Settings) -> Iterator[Row]:
    """The forward pass, then the training step."""
    work = Work(shape)
    runners = {OURS: work.pyops} | {p: getattr(work, p) for p in settings.peers if hasattr(work, p)}
    yield measured(Row(FORWARD, shape.name, shape.kind, shape.flops(), shape.bytes()), runners, work.want(),
                   settings)
    if 3 * shape.flops() <= MOST_TRAINED:
        runners = {OURS: work.pyops_training} | ({"torch": work.torch_training} if "torch" in settings.peers
                                                 else {})
        with num_threads(settings.threads):
            want = (work.pyops_training(settings.threads)().astype(np.float64) if "torch"
                    not in settings.peers else work.torch_training(settings.threads)().astype(np.float64))
        yield measured(Row(TRAINING, shape.name, shape.kind, 3 * shape.flops(), 3 * shape.bytes()), runners,
                       want, settings)


def measured(row: Row, runners: dict[str, Callable], want: np.ndarray, settings: Settings) -> Row:
    with num_threads(settings.threads):
        runs, errors = {}, {}
        for name, make in runners.items():
            try:
                run = make(settings.threads)
                errors[name] = error(run(), want)
            except (peers.Unsupported, RuntimeError) as why:
                row.notes[name] = str(why).splitlines()[0]
                continue
            if name != OURS and not errors[name] <= WRONG:
                row.notes[name] = f"another result (off by {errors[name]:.1e} of the largest value)"
                continue
            runs[name] = run
        if settings.ceilings:
            row.attainable = row.flops / (settings.ceilings.gflops * 1e9)
        samples, iterations = interleaved(runs, settings.seconds)
    row.timings = {name: Timing(samples[name], iterations[name], errors[name]) for name in runs}
    return row
