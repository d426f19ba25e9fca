"""The rows of recurrent layers: one layer over time, in one direction or both, and its gradient."""
from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..core.late import Late, LateFunctions
from ..core.registry import Op
from ..core.tensor import Context, Tensor

memory = Late("pyops.ops.recurrent_workspace")
reference = LateFunctions("pyops.kernels.recurrent.reference")

CODES = {"tanh": 0, "relu": 1, "lstm": 2, "gru": 3}      # kernels/recurrent/layout.h
GATES = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}
PANEL = 64
BLOCK = 16   # elements of a vector


def checked_lengths(name, lengths, steps, samples):
    if steps < 1:
        raise ValueError(f"{name}: a sequence must have at least one step")
    if lengths is None:
        return None
    lengths = np.asarray(lengths.data if isinstance(lengths, Tensor) else lengths)
    if lengths.shape != (samples,) or lengths.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: lengths must be {samples} integers, got {lengths.dtype} of shape {lengths.shape}")
    if samples and (lengths.min() < 1 or lengths.max() > steps):
        raise ValueError(
            f"{name}: lengths must be within 1 .. {steps}, got {lengths.min()} .. {lengths.max()}")
    return None if (lengths == steps).all() else lengths.astype(np.int64)


class Plan(NamedTuple):
    """What the kernels are told, and the results' shapes."""
    sizes: tuple[int, ...]
    y: tuple[int, ...]
    h: tuple[int, ...]
    c: tuple[int, ...]
    packed: tuple[int, int]        # directions, values of the weights of one
    transposed: tuple[int, int]    # ... and for the gradient
    gates: tuple[int, int, int]    # directions, steps of all samples, values; without lengths
    units: int                     # with padding
    outputs: int                   # with padding


def shapes_of(inputs):
    return tuple(None if v is None else tuple(v.shape) for v in inputs)


@lru_cache(4096)
def plan(name, cell, x, h0, c0, lengths, weights, batch_first):
    """Validates shapes."""
    gates = GATES[cell]
    if len(x) != 3:
        raise ValueError(f"{name}: input must have 3 axes, got {x}")
    steps, samples = (x[1], x[0]) if batch_first else x[:2]
    directions = 1 if weights[6] is None else 2
    rows = weights[0][0] if weights[0] else 0
    hidden = rows // gates
    w_hr = weights[4]
    outputs = w_hr[0] if w_hr and len(w_hr) == 2 else hidden
    if steps < 1 or x[2] < 1:
        raise ValueError(f"{name}: a sequence must have at least one step and one feature, got input {x}")
    if rows % gates or not rows:
        raise ValueError(f"{name}: weight_ih {weights[0]} must have {gates} rows for each hidden unit")
    wanted = ((rows, x[2]), (rows, outputs), (rows,), (rows,), (outputs, hidden), (3, hidden))
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_peephole")
    for d in range(directions):
        for label, shape, w, first in zip(names, wanted, weights[6 * d:], weights):
            if (w is None) != (first is None) or w is not None and w != shape:
                raise ValueError(
                    f"{name}: {label} must be {shape} for input {x} and weight_ih {weights[0]}, got {w}")
    if w_hr and not 0 < outputs < hidden:
        raise ValueError(f"{name}: weight_hr {w_hr} must have fewer rows than columns")
    h, c = (directions, samples, outputs), (directions, samples, hidden)
    for label, state, shape in (("h", h0, h), ("C", c0, c)):
        if state is not None and state != shape:
            raise ValueError(f"{name}: the state {label} must be {shape} for input {x}, got {state}")
    if lengths is not None and lengths != (samples,):
        raise ValueError(f"{name}: lengths must be ({samples},), got {lengths}")
    gated = cell in ("lstm", "gru")
    width, panels = 3 if cell == "gru" else 4, -(-hidden // (BLOCK if gated else PANEL))
    units = panels * (BLOCK if gated else PANEL)
    wide = {n: -(-n // PANEL) * PANEL for n in (x[2], outputs, hidden)}
    packed = (panels * width * BLOCK * (x[2] + outputs) + panels * PANEL + (3 * units if weights[5] else 0)
              + (wide[outputs] * hidden if w_hr else 0))
    transposed = panels * width * BLOCK * (wide[x[2]] + wide[outputs]) + (wide[hidden] * outputs if w_hr
                                                                          else 0)
    return Plan((steps, samples, x[2], hidden, outputs, directions, CODES[cell]),
                x[:2] + (directions * outputs,), h, c, (directions, packed), (directions, transposed),
                (directions, steps * samples, panels * PANEL + BLOCK), units, wide[outputs])


class Layer:
    """The glue of one row."""

    def __init__(self, name):
        self.name = name

    def check(self, x, h0, c0, lengths, *weights, cell, batch_first):
        p = plan(self.name, cell, x.shape, *shapes_of((h0, c0, lengths)), shapes_of(weights), batch_first)
        checked_lengths(self.name, lengths, *p.sizes[:2])
        return p

    def forward(self, k, x, h0, c0, lengths, *weights, cell, batch_first):
        return self.run(k, x, h0, c0, lengths, weights, cell, batch_first, keep=False)

    def training(self, k, x, h0, c0, lengths, *weights, cell, batch_first):
        return self.run(k, x, h0, c0, lengths, weights, cell, batch_first, keep=True)

    def run(self, k, x, h0, c0, lengths, weights, cell, batch_first, keep):
        """y, h, for an LSTM C; with keep also gates and, for an LSTM, cell states of every step."""
        p = self.check(x, h0, c0, lengths, *weights, cell=cell, batch_first=batch_first)
        two, (directions, rows, values) = cell == "lstm", p.gates
        # a GPU is not waited for where nothing is kept
        rows = int(lengths.sum()) if keep and lengths is not None else rows
        ends = [k.empty(p.y), k.empty(p.h), k.empty(p.c if two else (0,))]
        gates, cells = (memory.aligned(k, (directions, rows, n)) if keep and n else k.empty((0,))
                        for n in (values, two * p.units))
        packed = memory.workspace.take(k, "weights", p.packed)
        for d in range(directions):
            k.recurrent_pack(*weights[6 * d:6 * d + 6], p.sizes, packed[d])
        k.recurrent(x, h0, c0, lengths, packed, p.sizes, batch_first, weights[5] is not None, *ends, gates,
                    cells)
        return *ends[:2 + two], *([gates, cells][:1 + two] if keep else [])

    def backward(self, k, dy, dh_n, dc_n, x, h0, c0, lengths, *rest, cell, batch_first, needs):
        weights, (y, gates, cells) = rest[:12], rest[12:]
        of_x, of_weights = needs
        p = plan(self.name, cell, x.shape, *shapes_of((h0, c0, lengths)), shapes_of(weights), batch_first)
        dx = k.empty(x.shape if of_x else (0,))
        dh0, dc0 = k.empty(p.h), k.empty(p.c if cell == "lstm" else (0,))
        dgates, transposed = (memory.workspace.take(k, "gates", gates.shape),
                              memory.workspace.take(k, "weights", p.transposed))
        dprojected = memory.aligned(k, (*gates.shape[:2], p.outputs) if weights[4] is not None else (0,))
        for d in range(p.transposed[0]):
            k.recurrent_pack_transposed(weights[6 * d], weights[6 * d + 1], weights[6 * d + 4], p.sizes,
                                        transposed[d])
        peephole = (None if weights[5] is None else weights[5] if weights[11] is None
                    else np.stack([weights[5], weights[11]]))
        k.recurrent_backward(dy, dh_n, dc_n, h0, c0, lengths, y, gates, cells, transposed, peephole, p.sizes,
                             batch_first, dx, dh0, dc0, dgates, dprojected)
        grads = [k.empty(w.shape if w is not None and of_weights else (0,)) for w in weights]
        for d in range(p.transposed[0] if of_weights else 0):
            k.recurrent_weight_gradient(x, h0, c0, lengths, y, gates, cells, dgates, dprojected, p.sizes,
                                        batch_first, d, *grads[6 * d:6 * d + 6])
        return (dx, dh0, *([dc0] if cell == "lstm" else []),
                *(g for g, w in zip(grads, weights) if w is not None))

    def gradient(self, ctx: Context):
        outputs = 3 if ctx.attrs["cell"] == "lstm" else 2
        if len(ctx.outputs) == outputs:
            raise ValueError(f"backward: {self.name} was recorded without what its gradient needs")
        dy, dh, dc = (*ctx.grads[:outputs], None)[:3]
        gates, cells = (*ctx.outputs[outputs:], None)[:2]
        grads = iter(BACKWARD[self.name](dy, dh, dc, *ctx.inputs, ctx.outputs[0], gates, cells, **ctx.attrs,
                                         needs=(ctx.needs[0], any(ctx.needs[4:]))))
        dx, dh0, dc0 = next(grads), next(grads), next(grads) if outputs == 3 else None
        every = (dx, dh0, dc0, None, *(None if w is None else next(grads) for w in ctx.inputs[4:]))
        return tuple(g if need else None for g, need in zip(every, ctx.needs))


def flops(x, h0, c0, lengths, *weights, cell, batch_first):
    steps = x.shape[0] * x.shape[1] if lengths is None else int(lengths.sum())
    return 2 * steps * sum(w.size for w in weights if w is not None and w.ndim == 2)


def traffic(x, h0, c0, lengths, *weights, **_):
    """x once, and the weights once a step."""
    return x.nbytes + max(x.shape[:2]) * sum(w.nbytes for w in weights if w is not None)


# Sums over steps and samples in another order than the reference's; each step's error goes on to the next.
TOLERANCE = 128
INPUTS = "rooj" + "rroooo" + "oooooo"   # x, h, C, lengths, the weights of each direction
ROWS, TRAINING, BACKWARD = {}, {}, {}
for _name, _gates in (("rnn", 1), ("lstm", 4), ("gru", 3)):
    _layer = Layer(_name)
    _kernels = ("recurrent_pack", "recurrent")
    BACKWARD[_name] = Op(
        f"{_name}_backward", "ooo" + INPUTS + "rro", _layer.backward, reference.recurrent_backward,
        kernels=("recurrent_pack_transposed", "recurrent_backward", "recurrent_weight_gradient"))
    TRAINING[_name] = Op(f"{_name}_training", INPUTS, _layer.training, reference.recurrent_training,
                         _layer.gradient, _layer.check, kernels=_kernels)
    ROWS[_name] = Op(_name, INPUTS, _layer.forward, reference.recurrent, _layer.gradient, _layer.check,
                     kernels=_kernels, flops=flops, bytes=traffic, tolerance=TOLERANCE)
