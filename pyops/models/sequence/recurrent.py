"""What the recurrent models share: the kind of layer by its name, and states."""
from __future__ import annotations

from ... import nn

LAYERS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU, "peephole": nn.PeepholeLSTM}
WITH_CELL_STATE = ("lstm", "peephole")   # gates in the order i, f, C~, o; a state is (h, C)


def recurrent(kind: str, input_size: int, hidden_size: int, num_layers: int = 1, *, dropout: float = 0.0,
              bidirectional: bool = False):
    """The layer of this kind over (N, T, input_size). ValueError where there is none.

    An LSTM's forget gates start open, with a bias of 1: otherwise they halve the cell state at
    every step, and what is ten steps old is learned late or never. Gers et al. (2000),
    Jozefowicz et al. (2015).
    """
    if kind not in LAYERS:
        raise ValueError(f"kind must be one of {', '.join(LAYERS)}, got {kind!r}")
    layer = LAYERS[kind](input_size, hidden_size, num_layers, batch_first=True,
                         dropout=dropout if num_layers > 1 else 0.0, bidirectional=bidirectional)
    if kind in WITH_CELL_STATE:
        for name, p in layer.named_parameters():
            if name.startswith("bias_"):   # both are added
                p.data[hidden_size:2 * hidden_size] = 0.5
    return layer


def detached(state):
    """The same numbers without the graph that made them: gradients end here. state: a Tensor, a
    tuple of them, or None."""
    if isinstance(state, tuple):
        return tuple(map(detached, state))
    return None if state is None else state.detach()


def hidden_of(state):
    """h of a state: an LSTM's is (h, C), the others' is h."""
    return state[0] if isinstance(state, tuple) else state
