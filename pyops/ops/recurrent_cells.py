"""Single recurrent steps, composed of ops: where weights are read only once, packing them for the
kernels of whole sequences would not pay."""
from __future__ import annotations

from collections.abc import Sequence

from ..core.types import Arrays
from .activation import relu
from .elementwise import add, mul, sigmoid, sub, tanh
from .matmul import linear
from .shape import chunk, unbind

__all__ = ["gru_cell", "lstm_cell", "rnn_cell"]


def rnn_cell(input: Arrays, state: Arrays, weight_ih: Arrays, weight_hh: Arrays,
             bias_ih: Arrays | None = None, bias_hh: Arrays | None = None,
             nonlinearity: str = "tanh") -> Arrays:
    """One step of a plain recurrent network: h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu.

    input: (N, inputs) or (inputs,), float32 or float64; state: h, (N, hidden) or (hidden,); weights
    as torch's: (hidden, inputs), (hidden, hidden), (hidden,). Returns h'. ValueError where shapes
    do not fit, or for another nonlinearity.
    """
    if nonlinearity not in ACTIVATIONS:
        raise ValueError(
            f"rnn_cell: nonlinearity must be one of {', '.join(ACTIVATIONS)}, got {nonlinearity!r}")
    fit("rnn_cell", 1, input, state, weight_ih, weight_hh)
    return ACTIVATIONS[nonlinearity](add(linear(input, weight_ih, bias_ih),
                                         linear(state, weight_hh, bias_hh)))


def lstm_cell(input: Arrays, state: Sequence[Arrays], weight_ih: Arrays, weight_hh: Arrays,
              bias_ih: Arrays | None = None, bias_hh: Arrays | None = None, weight_hr: Arrays | None = None,
              weight_peephole: Arrays | None = None) -> tuple[Arrays, Arrays]:
    """One step with long short-term memory (equations: kernels/recurrent/cell.h). Hochreiter
    and Schmidhuber (1997).

    input: (N, inputs) or (inputs,), float32 or float64; state: the pair h, C, (N, hidden) each;
    weights as torch's, the gates i, f, g, o one below the other: (4 hidden, inputs), (4 hidden,
    hidden), (4 hidden,). weight_hr (outputs, hidden): h is projected, and then (N, outputs).
    weight_peephole (3, hidden): how i, f and o see the cell state; Gers and Schmidhuber (2000).
    Returns (h', C'). ValueError where shapes do not fit.
    """
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise ValueError(f"lstm_cell: the state must be a pair (h, C), got {type(state).__name__}")
    h, c = state
    fit("lstm_cell", 4, input, h, weight_ih, weight_hh, c)
    i, f, g, o = chunk(add(linear(input, weight_ih, bias_ih), linear(h, weight_hh, bias_hh)), 4, -1)
    if weight_peephole is not None:
        to_i, to_f, to_o = unbind(weight_peephole)
        i, f = add(i, mul(c, to_i)), add(f, mul(c, to_f))
    c = add(mul(sigmoid(f), c), mul(sigmoid(i), tanh(g)))
    if weight_peephole is not None:
        o = add(o, mul(c, to_o))
    h = mul(sigmoid(o), tanh(c))
    return (h if weight_hr is None else linear(h, weight_hr)), c


def gru_cell(input: Arrays, state: Arrays, weight_ih: Arrays, weight_hh: Arrays,
             bias_ih: Arrays | None = None, bias_hh: Arrays | None = None) -> Arrays:
    """One step of gated recurrent units (equations: kernels/recurrent/cell.h). Cho et al.
    (2014), in torch's form.

    input: (N, inputs) or (inputs,), float32 or float64; state: h, (N, hidden) or (hidden,); weights
    as torch's, r, z, n one below the other: (3 hidden, inputs), (3 hidden, hidden), (3 hidden,).
    Returns h'. ValueError where shapes do not fit.
    """
    fit("gru_cell", 3, input, state, weight_ih, weight_hh)
    xr, xz, xn = chunk(linear(input, weight_ih, bias_ih), 3, -1)
    hr, hz, hn = chunk(linear(state, weight_hh, bias_hh), 3, -1)
    z = sigmoid(add(xz, hz))
    n = tanh(add(xn, mul(sigmoid(add(xr, hr)), hn)))
    return add(n, mul(z, sub(state, n)))


ACTIVATIONS = {"tanh": tanh, "relu": relu}


def fit(name, gates, x, h, w_ih, w_hh, c=None):
    """ValueError unless the shapes are those of one step."""
    x, h, w_ih, w_hh = (tuple(v.shape) for v in (x, h, w_ih, w_hh))
    if len(w_ih) != 2 or len(w_hh) != 2 or w_ih[0] != w_hh[0] or w_ih[0] % gates:
        raise ValueError(f"{name}: weight_ih {w_ih} and weight_hh {w_hh} must be ({gates} hidden, inputs) "
                         f"and ({gates} hidden, hidden)")
    if x[:-1] != h[:-1] or h[-1:] != w_hh[1:] or x[-1:] != w_ih[1:]:
        raise ValueError(f"{name}: input {x} and state {h} do not fit weight_ih {w_ih} and weight_hh {w_hh}")
    if c is not None and tuple(c.shape) != h[:-1] + (w_ih[0] // gates,):
        raise ValueError(f"{name}: the cell state {tuple(c.shape)} must be {h[:-1] + (w_ih[0] // gates,)}")
