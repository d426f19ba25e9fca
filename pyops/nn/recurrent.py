"""RNN, LSTM, GRU and their cells: a layer over time is one call, a cell's step a handful of them.

x_t is the input of a step, h its last output, [a; b] one below the other; weights as torch stacks
them, gate under gate.

    RNN    h' = tanh(W_ih x_t + b_ih + W_hh h + b_hh), or relu
    LSTM   i, f, g, o = the four parts of W_ih x_t + b_ih + W_hh h + b_hh;  C' = sigmoid(f) C + sigmoid(i) tanh(g);
           h' = sigmoid(o) tanh(C'), with a projection W_hr of that
    GRU    r, z = sigmoid of the first two parts;  n = tanh(W_in x_t + b_in + r (W_hn h + b_hn));  h' = (1 - z) n + z h
    peephole LSTM (Gers and Schmidhuber, 2000): i and f also see C, and o sees C', each through a
    weight of its own for every unit
"""
from __future__ import annotations

from typing import Any

import numpy as np

from .. import functional as F
from ..core.tensor import Tensor
from ..core.types import DType
from . import init
from .module import Module, Parameter


def known(nonlinearity: Any) -> Any:
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"RNN: nonlinearity must be one of tanh, relu, got {nonlinearity!r}")
    return nonlinearity


class _Recurrent(Module):
    """What cells and layers share: parameters of one step under torch's names, and states."""

    gates: int
    two_states = False   # h and C
    peephole = False

    def _sizes(self, input_size: int, hidden_size: int, proj_size: int = 0) -> None:
        for name, value in (("input_size", input_size), ("hidden_size", hidden_size)):
            if value < 1:
                raise ValueError(f"{type(self).__name__}: {name} must be at least 1, got {value}")
        if not 0 <= proj_size < hidden_size:
            raise ValueError(
                f"{type(self).__name__}: proj_size must be within 0 .. hidden_size - 1, got {proj_size}")
        self.input_size, self.hidden_size, self.proj_size = input_size, hidden_size, proj_size
        self.output_size = proj_size or hidden_size

    def _parameters_of_a_step(self, suffix: Any, input_size: int, bias: Any, dtype: DType) -> None:
        rows = self.gates * self.hidden_size
        shapes = {"weight_ih": (rows, input_size), "weight_hh": (rows, self.output_size),
                  "bias_ih": (rows,) if bias else None, "bias_hh": (rows,) if bias else None,
                  "weight_hr": (self.proj_size, self.hidden_size) if self.proj_size else None,
                  "weight_peephole": (3, self.hidden_size) if self.peephole else None}
        for name, shape in shapes.items():
            setattr(self, name + suffix, None if shape is None else Parameter(np.empty(shape, dtype)))

    def _weights(self, suffix: str = "") -> Any:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_peephole")
        return [w for w in (getattr(self, name + suffix) for name in names) if w is not None]

    def reset_parameters(self) -> None:
        bound = self.hidden_size ** -0.5
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def _state(self, state: Any, lead: Any, like: Any) -> Any:
        """The state as a tuple of arrays (*lead, units), zeros if None. ValueError where
        a shape is another."""
        shapes = [(*lead, self.output_size)] + [(*lead, self.hidden_size)] * self.two_states
        if state is None:
            zeros = [np.zeros(shape, like.dtype) for shape in shapes]
            return tuple(map(Tensor, zeros)) if isinstance(like, Tensor) else tuple(zeros)
        parts = tuple(state) if self.two_states and isinstance(state, (tuple, list)) else (state,)
        if [tuple(getattr(p, "shape", ())) for p in parts] != shapes:
            raise ValueError(f"{type(self).__name__}: the state must have shape{'s' * self.two_states} "
                             f"{', '.join(map(str, shapes))}, got "
                             f"{', '.join(str(getattr(p, 'shape', type(p).__name__)) for p in parts)}")
        return parts

    def _told(self, state: Any) -> Any:
        return tuple(state) if self.two_states else state[0]

    def _refuse_width(self, x: Any, axes: Any) -> None:
        if len(x.shape) not in axes or x.shape[-1] != self.input_size:
            raise ValueError(f"{type(self).__name__}: input must have {axes[0]} or {axes[1]} axes, the last "
                             f"of {self.input_size}, got {tuple(x.shape)}")


class _Cell(_Recurrent):
    """One step. forward(x, state=None): x (N, input_size) or (input_size,); state like the
    result, zeros if None."""
    step: Any   # the function of one step

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, *,
                 dtype: DType = np.float32) -> None:
        self._sizes(input_size, hidden_size)
        self._parameters_of_a_step("", input_size, bias, dtype)
        self.reset_parameters()

    def forward(self, x: Any, state: Any = None) -> Any:
        self._refuse_width(x, (1, 2))
        return self.step(x, self._told(self._state(state, x.shape[:-1], x)), *self._weights())

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


class _Layers(_Recurrent):
    """Layers over time.

    forward(x, state=None, lengths=None) -> (y, state). x: (T, N, input_size), with batch_first (N,
    T, input_size), or (T, input_size) for one sequence; y: the last layer's outputs, like x, both
    directions side by side. state: (layers * directions, N, units), for an LSTM a pair (h, C);
    zeros if None. lengths: (N,) of 1 .. T, in any order: what stands behind a row's end is not
    read, y is 0 there, and its state is that at its end, as with torch's pack_padded_sequence.
    dropout: between layers, in training.
    """

    over_time: Any   # the function of a sequence

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 proj_size: int = 0, *, dtype: DType = np.float32) -> None:
        self._sizes(input_size, hidden_size, proj_size)
        if num_layers < 1 or not 0 <= dropout <= 1:
            raise ValueError(f"{type(self).__name__}: num_layers must be at least 1 and dropout within [0, "
                             f"1], got {num_layers} and {dropout}")
        self.num_layers, self.bias, self.batch_first = num_layers, bias, batch_first
        self.dropout, self.bidirectional = dropout, bidirectional
        self.suffixes = ("", "_reverse") if bidirectional else ("",)
        for layer in range(num_layers):
            for suffix in self.suffixes:
                width = len(self.suffixes) * self.output_size if layer else input_size
                self._parameters_of_a_step(f"_l{layer}{suffix}", width, bias, dtype)
        self.reset_parameters()

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> Any:
        self._refuse_width(x, (2, 3))
        if state is not None:
            samples = x.shape[:-1][1 - self.batch_first:2 - self.batch_first] if len(x.shape) == 3 else ()
            state = self._told(self._state(state, (self.num_layers * len(self.suffixes), *samples), x))
        weights = [w for layer in range(self.num_layers) for suffix in self.suffixes
                   for w in self._weights(f"_l{layer}{suffix}")]
        y, *end = self.over_time(x, state, weights, num_layers=self.num_layers, bias=self.bias,
                                 dropout=self.dropout, training=self.training,
                                 bidirectional=self.bidirectional, batch_first=self.batch_first,
                                 lengths=lengths, **self._more())
        return y, self._told(end)

    def _more(self) -> Any:
        """What only this network's op takes."""
        return {}

    def extra_repr(self) -> str:
        options = [("num_layers", 1), ("bias", True), ("batch_first", False), ("dropout", 0.0),
                   ("bidirectional", False), ("proj_size", 0)]
        return f"{self.input_size}, {self.hidden_size}" + "".join(
            f", {name}={getattr(self, name)}" for name, default in options if getattr(self, name) != default)


class RNNCell(_Cell):
    __doc__ = "A plain recurrent step, tanh or relu. " + str(_Cell.__doc__)
    gates = 1

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", *,
                 dtype: DType = np.float32) -> None:
        self.nonlinearity = known(nonlinearity)
        super().__init__(input_size, hidden_size, bias, dtype=dtype)

    def step(self, x: Any, state: Any, *weights: Any) -> Any:
        return F.rnn_cell(x, state, *weights, nonlinearity=self.nonlinearity)   # type: ignore[call-overload]


class LSTMCell(_Cell):
    __doc__ = "A step with long short-term memory; the state is (h, C). " + str(_Cell.__doc__)
    gates, two_states, step = 4, True, staticmethod(F.lstm_cell)


class GRUCell(_Cell):
    __doc__ = "A gated recurrent step. " + str(_Cell.__doc__)
    gates, step = 3, staticmethod(F.gru_cell)


class RNN(_Layers):
    __doc__ = "The plain recurrent network, tanh or relu. " + str(_Layers.__doc__)
    gates, over_time = 1, staticmethod(F.rnn)

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh",
                 bias: bool = True, batch_first: bool = False, dropout: float = 0.0,
                 bidirectional: bool = False, *, dtype: DType = np.float32) -> None:
        self.nonlinearity = known(nonlinearity)
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
                         dtype=dtype)

    def _more(self) -> Any:
        return {"nonlinearity": self.nonlinearity}


class LSTM(_Layers):
    __doc__ = ("Long short-term memory. Hochreiter and Schmidhuber (1997). proj_size: width to which h is "
               "projected. " + str(_Layers.__doc__))
    gates, two_states, over_time = 4, True, staticmethod(F.lstm)

    def _more(self) -> Any:
        return {"peephole": self.peephole}


class PeepholeLSTM(LSTM):
    __doc__ = """An LSTM whose gates see the cell state. Gers and Schmidhuber (2000). Beside torch's names
    there is weight_peephole_l{layer}, (3, hidden_size), for the gates i, f and o. """ + str(_Layers.__doc__)
    peephole = True


class GRU(_Layers):
    __doc__ = "Gated recurrent units. Cho et al. (2014), in torch's form. " + str(_Layers.__doc__)
    gates, over_time = 3, staticmethod(F.gru)

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False,
                 dropout: float = 0.0, bidirectional: bool = False, *, dtype: DType = np.float32) -> None:
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
                         dtype=dtype)
