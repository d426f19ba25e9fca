"""What the recurrent models share: the kind of layer by its name, and states."""
from __future__ import annotations

from .. import nn

LAYERS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU, "peephole": nn.PeepholeLSTM}


def recurrent(kind: str, input_size: int, hidden_size: int, num_layers: int = 1, *, dropout: float = 0.0, bidirectional: bool = False):
    """The layer of this kind over (N, T, input_size). ValueError where there is none."""
    if kind not in LAYERS:
        raise ValueError(f"kind must be one of {', '.join(LAYERS)}, got {kind!r}")
    return LAYERS[kind](input_size, hidden_size, num_layers, batch_first=True, dropout=dropout if num_layers > 1 else 0.0,
                        bidirectional=bidirectional)


def detached(state):
    """The same numbers without the graph that made them: gradients end here. state: a Tensor, a tuple of them, or None."""
    if isinstance(state, tuple):
        return tuple(map(detached, state))
    return None if state is None else state.detach()


def hidden_of(state):
    """h of a state: an LSTM's is (h, C), the others' is h."""
    return state[0] if isinstance(state, tuple) else state
