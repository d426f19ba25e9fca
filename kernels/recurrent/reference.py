"""Recurrent layers in NumPy: the definitions, one step after the other."""
import numpy as np


def sigmoid(v):
    e = np.exp(-np.abs(v))
    return np.where(v < 0, e, 1) / (1 + e)


# ---- one step: step(x, h, c, weights) -> (h, c, what its gradient needs). weights are w_ih, w_hh,
# b_ih, b_hh, w_hr, peephole

def linear(x, w, b):
    return x @ w.T if b is None else x @ w.T + b


def rnn_step(activation):
    def step(x, h, c, w):
        new = activation(linear(x, w[0], w[2]) + linear(h, w[1], w[3]))
        return new, c, (new,)
    return step


def lstm_step(x, h, c, w):
    """f, i, o are gates, g the candidates (C~ of the lecture); C = f C + i g, h = o tanh(C)."""
    i, f, g, o = np.split(linear(x, w[0], w[2]) + linear(h, w[1], w[3]), 4, -1)
    p = w[5]
    if p is not None:
        i, f = i + c * p[0], f + c * p[1]
    i, f, g = sigmoid(i), sigmoid(f), np.tanh(g)
    new = f * c + i * g
    o = sigmoid(o if p is None else o + new * p[2])
    hidden = o * np.tanh(new)
    return hidden if w[4] is None else hidden @ w[4].T, new, (i, f, g, o, new, hidden)


def gru_step(x, h, c, w):
    xr, xz, xn = np.split(linear(x, w[0], w[2]), 3, -1)
    hr, hz, hn = np.split(linear(h, w[1], w[3]), 3, -1)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    n = np.tanh(xn + r * hn)
    return (1 - z) * n + z * h, c, (r, z, n, hn)


STEPS = {"tanh": rnn_step(np.tanh), "relu": rnn_step(lambda v: np.where(v < 0, 0, v)), "lstm": lstm_step,
         "gru": gru_step}


# ---- their gradients: slope(dh, dc, h, c, kept, weights) -> (d of x's sums, d of h's sums, what
# goes on to h besides, dc, dw_hr, dpeephole)

def tanh_slope(dh, dc, h, c, kept, w):
    d = dh * (1 - kept[0] ** 2)
    return d, d, 0, dc, None, None


def relu_slope(dh, dc, h, c, kept, w):
    d = np.where(kept[0] > 0, dh, 0)
    return d, d, 0, dc, None, None


def lstm_slope(dh, dc, h, c, kept, w):
    i, f, g, o, new, hidden = kept
    dw_hr = None if w[4] is None else dh.T @ hidden
    dh = dh if w[4] is None else dh @ w[4]
    t = np.tanh(new)
    do = dh * t * o * (1 - o)
    dc = dc + dh * o * (1 - t * t)
    p, dp = w[5], None
    if p is not None:
        dc = dc + do * p[2]
    di, df, dg = dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g)
    dc = dc * f
    if p is not None:
        dc = dc + di * p[0] + df * p[1]
        dp = np.stack([(di * c).sum(0), (df * c).sum(0), (do * new).sum(0)])
    d = np.concatenate([di, df, dg, do], -1)
    return d, d, 0, dc, dw_hr, dp


def gru_slope(dh, dc, h, c, kept, w):
    r, z, n, hn = kept
    dn = dh * (1 - z) * (1 - n * n)
    dz, dr = dh * (h - n) * z * (1 - z), dn * hn * r * (1 - r)
    return np.concatenate([dr, dz, dn], -1), np.concatenate([dr, dz, dn * r], -1), dh * z, dc, None, None


SLOPES = {"tanh": tanh_slope, "relu": relu_slope, "lstm": lstm_slope, "gru": gru_slope}


# ---- over time

def steps_of(lengths, direction):
    """(samples that have an s-th step, its time in each) for s = 0, 1, ...: in the reverse
    direction the first is a sequence's last."""
    for s in range(lengths.max(initial=0)):
        live = np.flatnonzero(lengths > s)
        yield live, lengths[live] - 1 - s if direction else np.full(len(live), s)


def arranged(x, h0, c0, lengths, weights, cell, batch_first):
    """x over time first, states, lengths, and the weights of each direction."""
    x = x.swapaxes(0, 1) if batch_first else x
    directions = [weights[:6], weights[6:]] if weights[6] is not None else [weights[:6]]
    hidden = weights[0].shape[0] // {"lstm": 4, "gru": 3}.get(cell, 1)
    state = (len(directions), x.shape[1])
    h0 = np.zeros((*state, weights[1].shape[1]), x.dtype) if h0 is None else h0
    c0 = np.zeros((*state, hidden), x.dtype) if c0 is None else c0
    lengths = np.full(x.shape[1], x.shape[0]) if lengths is None else lengths
    return x, h0, c0, lengths, directions


def run(x, h0, c0, lengths, weights, cell, batch_first, each=lambda *_: None):
    """(y over time first, h, c); each(direction, live, times, states before, kept) sees every
    step."""
    x, h0, c0, lengths, directions = arranged(x, h0, c0, lengths, weights, cell, batch_first)
    outputs = h0.shape[-1]
    y = np.zeros((*x.shape[:2], len(directions) * outputs), x.dtype)
    h, c = h0.copy(), c0.copy()
    for d, w in enumerate(directions):
        for live, times in steps_of(lengths, d):
            new_h, new_c, kept = STEPS[cell](x[times, live], h[d, live], c[d, live], w)
            each(d, live, times, h[d, live], c[d, live], kept)
            h[d, live], c[d, live] = new_h, new_c
            y[times, live, d * outputs:(d + 1) * outputs] = new_h
    return y, h, c


def recurrent(x, h0, c0, lengths, *weights, cell, batch_first):
    """y, h at the ends and, for an LSTM, C at the ends."""
    y, h, c = run(x, h0, c0, lengths, weights, cell, batch_first)
    y = np.ascontiguousarray(y.swapaxes(0, 1)) if batch_first else y
    return (y, h, c) if cell == "lstm" else (y, h)


def recurrent_training(x, *rest, cell, batch_first):
    """And the gates and cell states that kernels keep for the gradient; here it
    computes them again."""
    return (*recurrent(x, *rest, cell=cell, batch_first=batch_first),
            *[np.empty(0, x.dtype)] * (2 if cell == "lstm" else 1))


def recurrent_backward(dy, dh_n, dc_n, x, h0, c0, lengths, *rest, cell, batch_first, needs):
    weights = rest[:12]
    steps = []
    run(x, h0, c0, lengths, weights, cell, batch_first, lambda *step: steps.append(step))
    first, h0, c0, lengths, directions = arranged(x, h0, c0, lengths, weights, cell, batch_first)
    outputs = h0.shape[-1]
    dy = (np.zeros((*first.shape[:2], len(directions) * outputs), x.dtype) if dy is None
          else dy.swapaxes(0, 1) if batch_first else dy)
    dh = np.zeros_like(h0) if dh_n is None else dh_n.copy()
    dc = np.zeros_like(c0) if dc_n is None else dc_n.copy()
    dx, grads = np.zeros_like(first), [None if w is None else np.zeros_like(w) for w in weights]
    for d, live, times, h, c, kept in reversed(steps):
        w, g = directions[d], grads[6 * d:6 * d + 6]
        here = dh[d, live] + dy[times, live, d * outputs:(d + 1) * outputs]
        of_x, of_h, direct, dc[d, live], dw_hr, dp = SLOPES[cell](here, dc[d, live], h, c, kept, w)
        dh[d, live] = of_h @ w[1] + direct
        dx[times, live] += of_x @ w[0]
        for total, part in zip(g, (of_x.T @ first[times, live], of_h.T @ h, of_x.sum(0), of_h.sum(0), dw_hr,
                                   dp)):
            if total is not None:
                total += part
    dx = np.ascontiguousarray(dx.swapaxes(0, 1)) if batch_first else dx
    return dx, dh, *([dc] if cell == "lstm" else []), *(g for g in grads if g is not None)
