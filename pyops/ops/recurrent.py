"""Recurrent layers over time: plain, with long short-term memory, gated; forward and back through time."""
from __future__ import annotations

import threading
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..core.backends import KernelSet
from ..core.registry import Op
from ..core.tensor import Context, Tensor, recording
from ..kernels.recurrent import reference
from .dropout import dropout as drop
from .recurrent_cells import gru_cell, lstm_cell, rnn_cell
from .shape import cat, narrow, select, squeeze, unsqueeze

__all__ = ["gru", "lstm", "rnn"]

CODES = {"tanh": 0, "relu": 1, "lstm": 2, "gru": 3}      # kernels/recurrent/layout.h
GATES = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}
BLOCK, PANEL = 16, 64


def rnn(input, state, weights, *, nonlinearity="tanh", num_layers=1, bias=True, dropout=0.0, training=False, bidirectional=False,
        batch_first=False, lengths=None):
    """Layers of h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), or relu, over time.

    input: (T, N, inputs), with batch_first (N, T, inputs), or (T, inputs) for one sequence; float32 or float64. state: h before the first
    step, (layers * directions, N, hidden), or None for zeros. weights: a flat list as torch's: for each layer, for each direction,
    weight_ih (hidden, inputs), weight_hh (hidden, hidden) and, with bias, bias_ih and bias_hh (hidden,). dropout: of the outputs between
    layers, in training. lengths: (N,) integers in 1 .. T, in any order: what stands behind a sequence's end is not read, the result is 0
    there, its state is that at its end, and the reverse direction begins there, as with torch's pack_padded_sequence.
    Returns y, like input with directions * hidden features, and h at the ends, like state. Neither depends on the other sequences of the
    batch or on threads, bit for bit. ValueError where shapes do not fit. Source: Elman (1990).
    """
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"rnn: nonlinearity must be one of tanh, relu, got {nonlinearity!r}")
    return layers("rnn", nonlinearity, input, state, weights, num_layers, bias, dropout, training, bidirectional, batch_first, lengths)


def lstm(input, state, weights, *, num_layers=1, bias=True, dropout=0.0, training=False, bidirectional=False, batch_first=False,
         peephole=False, lengths=None):
    """Layers with long short-term memory over time (equations: kernels/recurrent/cell.h). Hochreiter and Schmidhuber (1997).

    Arguments as for rnn, but: state is the pair (h, C) before the first step, each (layers * directions, N, units). Weights hold the gates
    i, f, g, o one below the other, (4 hidden, inputs), (4 hidden, outputs), (4 hidden,), (4 hidden,); behind them weight_hr
    (outputs, hidden) if h is projected to fewer outputs, and, with peephole, (3, hidden): how i, f and o see the cell state (Gers and
    Schmidhuber, 2000). Returns y, h and C at the ends. ValueError where shapes do not fit.
    """
    return layers("lstm", "lstm", input, state, weights, num_layers, bias, dropout, training, bidirectional, batch_first, lengths, peephole)


def gru(input, state, weights, *, num_layers=1, bias=True, dropout=0.0, training=False, bidirectional=False, batch_first=False, lengths=None):
    """Layers of gated recurrent units over time (equations: kernels/recurrent/cell.h). Cho et al. (2014), in torch's form.

    Arguments, results and errors as for rnn; weights hold r, z, n one below the other: (3 hidden, inputs), (3 hidden, hidden), (3 hidden,).
    """
    return layers("gru", "gru", input, state, weights, num_layers, bias, dropout, training, bidirectional, batch_first, lengths)


# ---- layers

def layers(name, cell, x, state, weights, num_layers, bias, dropout, training, bidirectional, batch_first, lengths, peephole=False):
    if len(x.shape) not in (2, 3):
        raise ValueError(f"{name}: input must have 2 or 3 axes, got {tuple(x.shape)}")
    directions = 2 if bidirectional else 1
    each = by_direction(name, cell, list(weights), num_layers * directions, bias, peephole)
    if len(x.shape) == 2:
        if state is not None:
            state = [unsqueeze(s, 1) for s in parts_of(name, cell, state)]
            state = state if cell == "lstm" else state[0]
        y, *ends = layers(name, cell, unsqueeze(x, 1), state, weights, num_layers, bias, dropout, training, bidirectional, False, lengths, peephole)
        return squeeze(y, 1), *(squeeze(end, 1) for end in ends)
    steps, samples = (x.shape[1], x.shape[0]) if batch_first else x.shape[:2]
    lengths = checked_lengths(name, lengths, steps, samples)
    states = [None, None] if state is None else [*parts_of(name, cell, state), None][:2]
    for s in states:
        if s is not None and (len(s.shape) != 3 or s.shape[0] != num_layers * directions):
            raise ValueError(f"{name}: state {tuple(s.shape)} must begin with {num_layers * directions}, layers times directions")
    row, ends = ROWS[name], []
    for layer in range(num_layers):
        if layer and dropout and training:
            x = drop(x, dropout)
        own = each[layer * directions:(layer + 1) * directions]
        before = [s if s is None or num_layers == 1 else narrow(s, 0, layer * directions, directions) for s in states]
        if steps == 1 and not getattr(x, "prepares_weights", False):
            x, *end = one_step(name, cell, x, before, own, batch_first)
        else:
            flat = [w for direction in own for w in direction] + [None] * (6 if directions == 1 else 0)
            inputs = (x, *before, lengths, *flat)
            x, *end = (TRAINING[name] if recorded(inputs) else row)(*inputs, cell=cell, batch_first=batch_first)[:3 if cell == "lstm" else 2]
        ends.append(end)
    return x, *(parts[0] if num_layers == 1 else cat(parts, 0) for parts in zip(*ends))


def by_direction(name, cell, weights, count, bias, peephole):
    """The flat list as (w_ih, w_hh, b_ih, b_hh, w_hr, peephole) for each direction of each layer."""
    least = 2 + 2 * bias + peephole
    projected = cell == "lstm" and len(weights) == count * (least + 1)
    if len(weights) != count * (least + projected):
        raise ValueError(f"{name}: {count} directions of layers take {least} weights each{', or one more for a projection' * (cell == 'lstm')}, "
                         f"got {len(weights)} in all")
    each = least + projected
    result = []
    for i in range(count):
        w = weights[i * each:(i + 1) * each]
        b = w[2:4] if bias else (None, None)
        rest = w[2 + 2 * bias:]
        result.append((w[0], w[1], *b, rest[0] if projected else None, rest[-1] if peephole else None))
    return result


def parts_of(name, cell, state):
    """h, or h and C."""
    if cell != "lstm":
        return [state]
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise ValueError(f"{name}: the state must be a pair (h, C), got {type(state).__name__}")
    return list(state)


def checked_lengths(name, lengths, steps, samples):
    if steps < 1:
        raise ValueError(f"{name}: a sequence must have at least one step")
    if lengths is None:
        return None
    lengths = np.asarray(lengths.data if isinstance(lengths, Tensor) else lengths)
    if lengths.shape != (samples,) or lengths.dtype.kind not in "iu":
        raise ValueError(f"{name}: lengths must be {samples} integers, got {lengths.dtype} of shape {lengths.shape}")
    if samples and (lengths.min() < 1 or lengths.max() > steps):
        raise ValueError(f"{name}: lengths must be within 1 .. {steps}, got {lengths.min()} .. {lengths.max()}")
    return None if (lengths == steps).all() else lengths.astype(np.int64)


def recorded(inputs):
    return recording() and any(isinstance(v, Tensor) and v.requires_grad for v in inputs)


def one_step(name, cell, x, states, weights, batch_first):
    """A single step of both directions: weights are read once, so they are not packed."""
    time = 1 if batch_first else 0
    now, ends = select(x, time, 0), []
    plan(name, cell, tuple(x.shape), *(None if s is None else tuple(s.shape) for s in states), None,
         tuple(None if w is None else tuple(w.shape) for direction in weights for w in direction) + (None,) * (6 if len(weights) == 1 else 0), batch_first)
    for d, (w_ih, w_hh, b_ih, b_hh, w_hr, peep) in enumerate(weights):
        zeros = lambda units: np.zeros_like(w_ih, shape=(now.shape[0], units))   # noqa: E731
        h = zeros(w_hh.shape[1]) if states[0] is None else select(states[0], 0, d)
        if cell == "lstm":
            c = zeros(w_ih.shape[0] // 4) if states[1] is None else select(states[1], 0, d)
            ends.append(lstm_cell(now, (h, c), w_ih, w_hh, b_ih, b_hh, w_hr, peep))
        else:
            ends.append((gru_cell(now, h, w_ih, w_hh, b_ih, b_hh) if cell == "gru" else rnn_cell(now, h, w_ih, w_hh, b_ih, b_hh, cell),))
    stacked = [unsqueeze(part[0], 0) if len(part) == 1 else cat([unsqueeze(p, 0) for p in part], 0) for part in zip(*ends)]
    y = ends[0][0] if len(ends) == 1 else cat([end[0] for end in ends], -1)
    return unsqueeze(y, time), *stacked


# ---- the rows: one layer

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
                raise ValueError(f"{name}: {label} must be {shape} for input {x} and weight_ih {weights[0]}, got {w}")
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
    transposed = panels * width * BLOCK * (wide[x[2]] + wide[outputs]) + (wide[hidden] * outputs if w_hr else 0)
    return Plan((steps, samples, x[2], hidden, outputs, directions, CODES[cell]), x[:2] + (directions * outputs,), h, c,
                (directions, packed), (directions, transposed), (directions, steps * samples, panels * PANEL + BLOCK), units, wide[outputs])


def aligned(k, shape):
    """An array whose rows begin where vectors do: a load across two cache lines costs two."""
    whole = k.empty((int(np.prod(shape)) + BLOCK,))
    if not isinstance(whole, np.ndarray):   # a GPU's allocations are aligned
        return whole[:int(np.prod(shape))].reshape(shape)
    first = -(whole.__array_interface__["data"][0] // whole.itemsize) % BLOCK
    return whole[first:first + int(np.prod(shape))].reshape(shape)


class Workspace(threading.local):
    """Arrays that are given up when a call ends, kept for the next one of the same thread: fresh pages from the system cost a tenth of a
    training step. At most MOST bytes each."""

    MOST = 64 << 20

    def __init__(self):
        self.kept = {}

    def take(self, k, name, shape):
        count = int(np.prod(shape))
        if type(k) is not KernelSet or count * k.dtype.itemsize > self.MOST:   # a test's or a compiler's has its own ideas of memory
            return aligned(k, shape)
        if name not in self.kept or self.kept[name].nbytes < count * k.dtype.itemsize:
            self.kept[name] = aligned(k, (count,))
        return self.kept[name].view(k.dtype)[:count].reshape(shape)


workspace = Workspace()


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
        rows = int(lengths.sum()) if keep and lengths is not None else rows   # a GPU is not waited for where nothing is kept
        ends = [k.empty(p.y), k.empty(p.h), k.empty(p.c if two else (0,))]
        gates, cells = (aligned(k, (directions, rows, n)) if keep and n else k.empty((0,)) for n in (values, two * p.units))
        packed = workspace.take(k, "weights", p.packed)
        for d in range(directions):
            k.recurrent_pack(*weights[6 * d:6 * d + 6], p.sizes, packed[d])
        k.recurrent(x, h0, c0, lengths, packed, p.sizes, batch_first, weights[5] is not None, *ends, gates, cells)
        return *ends[:2 + two], *([gates, cells][:1 + two] if keep else [])

    def backward(self, k, dy, dh_n, dc_n, x, h0, c0, lengths, *rest, cell, batch_first, needs):
        weights, (y, gates, cells) = rest[:12], rest[12:]
        of_x, of_weights = needs
        p = plan(self.name, cell, x.shape, *shapes_of((h0, c0, lengths)), shapes_of(weights), batch_first)
        dx = k.empty(x.shape if of_x else (0,))
        dh0, dc0 = k.empty(p.h), k.empty(p.c if cell == "lstm" else (0,))
        dgates, transposed = workspace.take(k, "gates", gates.shape), workspace.take(k, "weights", p.transposed)
        dprojected = aligned(k, (*gates.shape[:2], p.outputs) if weights[4] is not None else (0,))
        for d in range(p.transposed[0]):
            k.recurrent_pack_transposed(weights[6 * d], weights[6 * d + 1], weights[6 * d + 4], p.sizes, transposed[d])
        peephole = None if weights[5] is None else weights[5] if weights[11] is None else np.stack([weights[5], weights[11]])
        k.recurrent_backward(dy, dh_n, dc_n, h0, c0, lengths, y, gates, cells, transposed, peephole, p.sizes, batch_first, dx, dh0, dc0, dgates,
                             dprojected)
        grads = [k.empty(w.shape if w is not None and of_weights else (0,)) for w in weights]
        for d in range(p.transposed[0] if of_weights else 0):
            k.recurrent_weight_gradient(x, h0, c0, lengths, y, gates, cells, dgates, dprojected, p.sizes, batch_first, d, *grads[6 * d:6 * d + 6])
        return dx, dh0, *([dc0] if cell == "lstm" else []), *(g for g, w in zip(grads, weights) if w is not None)

    def gradient(self, ctx: Context):
        outputs = 3 if ctx.attrs["cell"] == "lstm" else 2
        if len(ctx.outputs) == outputs:
            raise ValueError(f"backward: {self.name} was recorded without what its gradient needs")
        dy, dh, dc = (*ctx.grads[:outputs], None)[:3]
        gates, cells = (*ctx.outputs[outputs:], None)[:2]
        grads = iter(BACKWARD[self.name](dy, dh, dc, *ctx.inputs, ctx.outputs[0], gates, cells, **ctx.attrs, needs=(ctx.needs[0], any(ctx.needs[4:]))))
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
    BACKWARD[_name] = Op(f"{_name}_backward", "ooo" + INPUTS + "rro", _layer.backward, reference.recurrent_backward,
                         kernels=("recurrent_pack_transposed", "recurrent_backward", "recurrent_weight_gradient"))
    TRAINING[_name] = Op(f"{_name}_training", INPUTS, _layer.training, reference.recurrent_training, _layer.gradient, _layer.check, kernels=_kernels)
    ROWS[_name] = Op(_name, INPUTS, _layer.forward, reference.recurrent, _layer.gradient, _layer.check, kernels=_kernels, flops=flops, bytes=traffic,
                     tolerance=TOLERANCE)
