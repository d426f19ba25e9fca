"""Recurrent layers over time: plain, with long short-term memory, gated; forward and
back through time."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.tensor import Tensor, recording
from ..core.types import Arrays
from .dropout import dropout as drop
from .recurrent_cells import gru_cell, lstm_cell, rnn_cell
from .recurrent_layer import ROWS, TRAINING, checked_lengths, plan
from .shape import cat, narrow, select, squeeze, unsqueeze

__all__ = ["gru", "lstm", "rnn"]


def rnn(input: Arrays, state: Arrays | None, weights: Sequence[Arrays], *, nonlinearity: str = "tanh",
        num_layers: int = 1,
        bias: bool = True, dropout: float = 0.0, training: bool = False, bidirectional: bool = False,
        batch_first: bool = False, lengths: Arrays | None = None) -> tuple[Arrays, Arrays]:
    """Layers of h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), or relu, over time.

    input: (T, N, inputs), with batch_first (N, T, inputs), or (T, inputs) for one sequence; float32
    or float64. state: h before the first step, (layers * directions, N, hidden), or None for zeros.
    weights: a flat list as torch's: for each layer, for each direction, weight_ih (hidden, inputs),
    weight_hh (hidden, hidden) and, with bias, bias_ih and bias_hh (hidden,). dropout: of the
    outputs between layers, in training. lengths: (N,) integers in 1 .. T, in any order: what stands
    behind a sequence's end is not read, the result is 0 there, its state is that at its end, and
    the reverse direction begins there, as with torch's pack_padded_sequence.
    Returns y, like input with directions * hidden features, and h at the ends, like state. Neither
    depends on the other sequences of the batch or on threads, bit for bit. ValueError where shapes
    do not fit. Source: Elman (1990).
    """
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"rnn: nonlinearity must be one of tanh, relu, got {nonlinearity!r}")
    return layers("rnn", nonlinearity, input, state, weights, num_layers, bias, dropout, training,
                  bidirectional, batch_first, lengths)


def lstm(input: Arrays, state: Sequence[Arrays] | None, weights: Sequence[Arrays], *, num_layers: int = 1,
         bias: bool = True, dropout: float = 0.0, training: bool = False, bidirectional: bool = False,
         batch_first: bool = False, peephole: bool = False,
         lengths: Arrays | None = None) -> tuple[Arrays, Arrays, Arrays]:
    """Layers with long short-term memory over time (equations: kernels/recurrent/cell.h).
    Hochreiter and Schmidhuber (1997).

    Arguments as for rnn, but: state is the pair (h, C) before the first step, each (layers *
    directions, N, units). Weights hold the gates i, f, g, o one below the other, (4 hidden,
    inputs), (4 hidden, outputs), (4 hidden,), (4 hidden,); behind them weight_hr (outputs,
    hidden) if h is projected to fewer outputs, and, with peephole, (3, hidden): how i, f and o
    see the cell state (Gers and Schmidhuber, 2000). Returns y, h and C at the ends. ValueError
    where shapes do not fit.
    """
    return layers("lstm", "lstm", input, state, weights, num_layers, bias, dropout, training, bidirectional,
                  batch_first, lengths, peephole)


def gru(input: Arrays, state: Arrays | None, weights: Sequence[Arrays], *, num_layers: int = 1,
        bias: bool = True, dropout: float = 0.0, training: bool = False, bidirectional: bool = False,
        batch_first: bool = False, lengths: Arrays | None = None) -> tuple[Arrays, Arrays]:
    """Layers of gated recurrent units over time (equations: kernels/recurrent/cell.h). Cho et al.
    (2014), in torch's form.

    Arguments, results and errors as for rnn; weights hold r, z, n one below the other: (3 hidden,
    inputs), (3 hidden, hidden), (3 hidden,).
    """
    return layers("gru", "gru", input, state, weights, num_layers, bias, dropout, training, bidirectional,
                  batch_first, lengths)


# ---- layers

def layers(name, cell, x, state, weights, num_layers, bias, dropout, training, bidirectional, batch_first,
           lengths, peephole=False):
    if len(x.shape) not in (2, 3):
        raise ValueError(f"{name}: input must have 2 or 3 axes, got {tuple(x.shape)}")
    directions = 2 if bidirectional else 1
    each = by_direction(name, cell, list(weights), num_layers * directions, bias, peephole)
    if len(x.shape) == 2:
        if state is not None:
            state = [unsqueeze(s, 1) for s in parts_of(name, cell, state)]
            state = state if cell == "lstm" else state[0]
        y, *ends = layers(name, cell, unsqueeze(x, 1), state, weights, num_layers, bias, dropout, training,
                          bidirectional, False, lengths, peephole)
        return squeeze(y, 1), *(squeeze(end, 1) for end in ends)
    steps, samples = (x.shape[1], x.shape[0]) if batch_first else x.shape[:2]
    lengths = checked_lengths(name, lengths, steps, samples)
    states = [None, None] if state is None else [*parts_of(name, cell, state), None][:2]
    for s in states:
        if s is not None and (len(s.shape) != 3 or s.shape[0] != num_layers * directions):
            raise ValueError(f"{name}: state {tuple(s.shape)} must begin with {num_layers * directions}, "
                             "layers times directions")
    row, ends = ROWS[name], []
    for layer in range(num_layers):
        if layer and dropout and training:
            x = drop(x, dropout)
        own = each[layer * directions:(layer + 1) * directions]
        before = [s if s is None or num_layers == 1 else narrow(s, 0, layer * directions, directions)
                  for s in states]
        if steps == 1 and not getattr(x, "prepares_weights", False):
            x, *end = one_step(name, cell, x, before, own, batch_first)
        else:
            flat = [w for direction in own for w in direction] + [None] * (6 if directions == 1 else 0)
            inputs = (x, *before, lengths, *flat)
            x, *end = (TRAINING[name] if recorded(inputs)
                       else row)(*inputs, cell=cell, batch_first=batch_first)[:3 if cell == "lstm" else 2]
        ends.append(end)
    return x, *(parts[0] if num_layers == 1 else cat(parts, 0) for parts in zip(*ends))


def by_direction(name, cell, weights, count, bias, peephole):
    """The flat list as (w_ih, w_hh, b_ih, b_hh, w_hr, peephole) for each direction of each
    layer."""
    least = 2 + 2 * bias + peephole
    projected = cell == "lstm" and len(weights) == count * (least + 1)
    if len(weights) != count * (least + projected):
        raise ValueError(
            f"{name}: {count} directions of layers take {least} weights "
            f"each{', or one more for a projection' * (cell == 'lstm')}, got {len(weights)} in all")
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


def recorded(inputs):
    return recording() and any(isinstance(v, Tensor) and v.requires_grad for v in inputs)


def one_step(name, cell, x, states, weights, batch_first):
    """A single step of both directions: weights are read once, so they are not packed."""
    time = 1 if batch_first else 0
    now, ends = select(x, time, 0), []
    plan(name, cell, tuple(x.shape), *(None if s is None else tuple(s.shape) for s in states), None,
         tuple(None if w is None else tuple(w.shape) for direction in weights for w in direction)
         + (None,) * (6 if len(weights) == 1 else 0), batch_first)
    for d, (w_ih, w_hh, b_ih, b_hh, w_hr, peep) in enumerate(weights):
        zeros = lambda units: np.zeros_like(w_ih, shape=(now.shape[0], units))  # noqa: B023, E731
        h = zeros(w_hh.shape[1]) if states[0] is None else select(states[0], 0, d)
        if cell == "lstm":
            c = zeros(w_ih.shape[0] // 4) if states[1] is None else select(states[1], 0, d)
            ends.append(lstm_cell(now, (h, c), w_ih, w_hh, b_ih, b_hh, w_hr, peep))
        else:
            ends.append((gru_cell(now, h, w_ih, w_hh, b_ih, b_hh) if cell == "gru"
                         else rnn_cell(now, h, w_ih, w_hh, b_ih, b_hh, cell),))
    stacked = [unsqueeze(part[0], 0) if len(part) == 1 else cat([unsqueeze(p, 0) for p in part], 0)
               for part in zip(*ends)]
    y = ends[0][0] if len(ends) == 1 else cat([end[0] for end in ends], -1)
    return unsqueeze(y, time), *stacked
