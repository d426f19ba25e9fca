"""RNN, LSTM and GRU: by our kernels where they are torch's, else step by step in NumPy."""

from __future__ import annotations

from functools import partial

import numpy as np

from ... import functional as F
from ...ops.gather import TAKE_ALONG
from ..limits import PER_NODE
from .row import known, op, rank, traced

ORDER = {
    "RNN": [0],
    "LSTM": [0, 2, 3, 1],
    "GRU": [1, 0, 2],
}  # ONNX's gates (iofc, zrh) in the order of torch's (ifgo, rzn)
USUAL = {"RNN": ["tanh"], "LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"]}
STATES = {"RNN": 1, "LSTM": 2, "GRU": 1}


def reordered(array, cell):
    """A weight or bias, (gates x hidden, ...), with its gates in torch's order."""
    parts = np.split(array, len(ORDER[cell]))
    return np.concatenate([parts[i] for i in ORDER[cell]])


@op("RNN", "LSTM", "GRU")
def recurrent(call):
    cell = call.node.op
    x, weights, recurrences = call[0], known(call[1], "W"), known(call[2], "R")
    hidden, way = recurrences.shape[2], call.attr("direction", "forward")
    directions = weights.shape[0]
    biases = None if call[3] is None else known(call[3], "B")
    lengths = None if call[4] is None else known(call[4], "sequence_lens")
    states = [call[5], call[6]][: STATES[cell]]
    peepholes = known(call[7], "P") if cell == "LSTM" and call[7] is not None else None
    names = [a.lower() for a in call.attr("activations") or USUAL[cell] * directions]
    check_cell(call, cell, x, weights, recurrences, biases, way, names)
    batch_first = bool(call.attr("layout", 0))
    if batch_first:
        swap = (
            (lambda v: F.transpose(v, 0, 1))
            if traced(x)
            else (lambda v: np.ascontiguousarray(np.swapaxes(v, 0, 1)))
        )
        x, states = swap(x), [None if s is None else swap(s) for s in states]
    relu = cell == "RNN" and names == ["relu"] * directions
    plain = (
        (names == USUAL[cell] * directions or relu)
        and call.attr("clip") is None
        and not call.attr("input_forget", 0)
        and not call.attr("activation_alpha")
        and (cell != "GRU" or call.attr("linear_before_reset", 0))
    )
    check_lengths(lengths, x)
    if plain and (lengths is None or np.all(lengths > 0)):
        y, ends = by_kernels(cell, x, weights, recurrences, biases, lengths, states, peepholes, directions, way, relu)
    else:
        y, ends = by_steps(
            call,
            known(x, "x"),
            weights,
            recurrences,
            biases,
            lengths,
            [None if s is None else known(s, "a state") for s in states],
            peepholes,
            names,
            hidden,
            way,
        )
    if batch_first:
        return (F.permute(y, (2, 0, 1, 3)) if traced(y) else np.transpose(y, (2, 0, 1, 3))), *(
            swap(e) for e in ends
        )
    return y, *ends


def check_lengths(lengths, x):
    if lengths is not None and (
        lengths.shape != (x.shape[1],) or np.any((lengths < 0) | (lengths > x.shape[0]))
    ):
        raise ValueError(f"sequence_lens must be {x.shape[1]} numbers from 0 to {x.shape[0]}")


def turned(x, lengths):
    """(steps, samples, ...) with each sample's steps backwards, as many as it has."""
    if lengths is None:
        return F.flip(x, [0])
    step = np.arange(x.shape[0])[:, None]
    index = np.where(step < lengths, lengths - 1 - step, step).reshape(*x.shape[:2], *[1] * (rank(x) - 2))
    index = np.ascontiguousarray(np.broadcast_to(index, x.shape))
    return TAKE_ALONG(x, index, dim=0, wrap=False) if traced(x) else np.take_along_axis(x, index, 0)


def by_kernels(cell, x, weights, recurrences, biases, lengths, states, peepholes, directions, way, relu):
    flat = []
    for d in range(directions):
        flat += [reordered(weights[d], cell), reordered(recurrences[d], cell)]
        if biases is not None:
            flat += [reordered(b, cell) for b in np.split(biases[d], 2)]
        if peepholes is not None:  # of i, o and f here, of i, f and o there
            flat.append(np.stack([np.split(peepholes[d], 3)[i] for i in (0, 2, 1)]))
    if way == "reverse":
        x = turned(x, lengths)
    hidden = recurrences.shape[2]
    if any(s is not None for s in states):
        empty = np.zeros((directions, x.shape[1], hidden), np.float32)
        states = [empty if s is None else s for s in states]
    state = None if states[0] is None else tuple(states) if cell == "LSTM" else states[0]
    kind = {"nonlinearity": "relu"} if relu else {}
    if peepholes is not None:
        kind["peephole"] = True
    if lengths is not None and np.any(lengths < x.shape[0]):
        kind["lengths"] = lengths.astype(np.int64)
    y, *ends = getattr(F, cell.lower())(
        x, state, flat, bias=biases is not None, bidirectional=directions == 2, **kind
    )
    if way == "reverse":
        y = turned(y, lengths)
    y = F.permute(F.reshape(y, (*x.shape[:2], directions, hidden)), (0, 2, 1, 3))
    return y, [e for group in ends for e in (group if isinstance(group, tuple) else (group,))]


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


ACTIVATIONS = {
    "sigmoid": lambda v, a, b: sigmoid(v),
    "tanh": lambda v, a, b: np.tanh(v),
    "relu": lambda v, a, b: np.maximum(v, 0),
    "affine": lambda v, a, b: a * v + b,
    "leakyrelu": lambda v, a, b: np.where(v < 0, a * v, v),
    "elu": lambda v, a, b: np.where(v < 0, a * np.expm1(v), v),
    "thresholdedrelu": lambda v, a, b: np.where(v > a, v, 0),
    "scaledtanh": lambda v, a, b: a * np.tanh(b * v),
    "hardsigmoid": lambda v, a, b: np.clip(a * v + b, 0, 1),
    "softsign": lambda v, a, b: v / (1 + np.abs(v)),
    "softplus": lambda v, a, b: np.logaddexp(0, v),
}
DEFAULTS = {
    "affine": (1.0, 0.0),
    "leakyrelu": (0.01, 0.0),
    "elu": (1.0, 0.0),
    "thresholdedrelu": (1.0, 0.0),
    "scaledtanh": (1.0, 1.0),
    "hardsigmoid": (0.2, 0.5),
}


def activated(function, a, b, clip, v):
    return function(v if clip is None else np.clip(v, -clip, clip), a, b)


def check_cell(call, cell, x, weights, recurrences, biases, way, names):
    """Refuses shapes that do not fit each other, and words that are none."""
    directions, gates = 2 if way == "bidirectional" else 1, len(ORDER[cell])
    if way not in ("forward", "reverse", "bidirectional"):
        raise ValueError(f"direction must be forward, reverse or bidirectional, got {way!r}")
    hidden = recurrences.shape[-1] if recurrences.ndim == 3 else 0
    wanted = (
        (directions, gates * hidden, x.shape[-1] if rank(x) == 3 else -1),
        (directions, gates * hidden, hidden),
    )
    if (
        (weights.shape, recurrences.shape) != wanted
        or biases is not None
        and biases.shape != (directions, 2 * gates * hidden)
    ):
        raise ValueError(
            f"x {tuple(x.shape)}, W {weights.shape}, R {recurrences.shape} and "
            f"B {None if biases is None else biases.shape} do not fit a {cell}, {way}"
        )
    if len(names) != directions * len(USUAL[cell]) or not set(names) <= set(ACTIVATIONS):
        raise ValueError(f"activations must be {directions * len(USUAL[cell])} of {', '.join(ACTIVATIONS)}")
    if call.attr("clip") is not None and not call.attr("clip") >= 0:
        raise ValueError(f"clip must not be negative, got {call.attr('clip')}")


def by_steps(call, x, weights, recurrences, biases, lengths, states, peepholes, names, hidden, way):
    """The definition, for empty sequences, clipping, other activations, and GRUs that reset before they
    multiply.
    """
    cell, (steps, samples, _), directions = call.node.op, x.shape, weights.shape[0]
    lengths = np.full(samples, steps) if lengths is None else lengths
    call.work(steps * directions * 8 * PER_NODE)
    each, clip = len(names) // directions, call.attr("clip")
    y = np.zeros((steps, directions, samples, hidden), x.dtype)
    ends = [np.zeros((directions, samples, hidden), x.dtype) for _ in states]
    alphas, betas = iter(call.attr("activation_alpha") or []), iter(call.attr("activation_beta") or [])
    for d in range(directions):
        own = []
        for name in names[d * each : (d + 1) * each]:
            a, b = DEFAULTS.get(name, (0.0, 0.0))
            if name in DEFAULTS:
                a, b = next(alphas, a), next(betas, b)
            own.append(partial(activated, ACTIVATIONS[name], a, b, clip))
        wb, rb = np.split(biases[d], 2) if biases is not None else (np.zeros(weights.shape[1], x.dtype),) * 2
        state = [np.zeros((samples, hidden), x.dtype) if s is None else s[d].copy() for s in states]
        backward = way == "reverse" or d == 1
        for t in range(steps):
            at = np.where(lengths > t, lengths - 1 - t if backward else t, -1)
            live = np.flatnonzero(at >= 0)
            if not live.size:
                break
            new = STEP[cell](
                call,
                x[at[live], live],
                weights[d],
                recurrences[d],
                wb,
                rb,
                [s[live] for s in state],
                own,
                None if peepholes is None else np.split(peepholes[d], 3),
            )
            for s, v in zip(state, new):
                s[live] = v
            y[at[live], d, live] = new[0]
        for end, s in zip(ends, state):
            end[d] = s
    return y, ends


def rnn_step(call, x, w, r, wb, rb, state, act, peep):
    return [act[0](x @ w.T + state[0] @ r.T + wb + rb)]


def lstm_step(call, x, w, r, wb, rb, state, act, peep):
    h, c = state
    i, o, f, g = np.split(x @ w.T + h @ r.T + wb + rb, 4, 1)
    pi, po, pf = peep or (0, 0, 0)
    i = act[0](i + pi * c)
    f = 1 - i if call.attr("input_forget", 0) else act[0](f + pf * c)
    c = f * c + i * act[1](g)
    return [act[0](o + po * c) * act[2](c), c]


def gru_step(call, x, w, r, wb, rb, state, act, peep):
    (h,) = state
    (wz, wr, wh), (rz, rr, rh) = np.split(w, 3), np.split(r, 3)
    (bz, br, bh), (cz, cr, ch) = np.split(wb, 3), np.split(rb, 3)
    z, reset = act[0](x @ wz.T + h @ rz.T + bz + cz), act[0](x @ wr.T + h @ rr.T + br + cr)
    inner = reset * (h @ rh.T + ch) if call.attr("linear_before_reset", 0) else (reset * h) @ rh.T + ch
    return [(1 - z) * act[1](x @ wh.T + bh + inner) + z * h]


STEP = {"RNN": rnn_step, "LSTM": lstm_step, "GRU": gru_step}
