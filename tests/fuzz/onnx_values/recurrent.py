"""Recurrent layers."""

from __future__ import annotations

import numpy as np

from .draw import recipe


@recipe("RNN", "LSTM", "GRU")
def recurrent(d, op):
    t, n, i, h = (d.r.randint(1, 4) for _ in range(4))
    gates, way = {"RNN": 1, "LSTM": 4, "GRU": 3}[op], d.pick("forward", "reverse", "bidirectional")
    directions, layout = 2 if way == "bidirectional" else 1, d.pick(0, 0, 1)
    real = d.pick(np.float32, np.float32, np.float64)
    normal = lambda *s: d.n.standard_normal(s).astype(real)  # noqa: E731
    d.given(normal(n, t, i) if layout else normal(t, n, i), False)
    d.given(normal(directions, gates * h, i))
    d.given(normal(directions, gates * h, h))
    d.given(normal(directions, 2 * gates * h)) if d.chance(0.7) else d.absent()
    d.absent()
    if d.chance(0.5):
        for _ in range(2 if op == "LSTM" else 1):
            d.given(normal(n, directions, h) if layout else normal(directions, n, h))
        if op == "LSTM" and d.chance(0.4):
            d.given(normal(directions, 3 * h))
    while not d.names[-1]:
        d.names.pop()
    d.outputs = 3 if op == "LSTM" else 2
    d.opset = 14
    return {
        "hidden_size": h,
        "direction": way,
        "layout": layout,
        **({"linear_before_reset": d.pick(0, 1)} if op == "GRU" else {}),
    }
