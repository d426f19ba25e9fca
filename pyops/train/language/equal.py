"""An LSTM with as many parameters as a Transformer has."""
from __future__ import annotations

from ...models.sequence.char_rnn import CharRNN, char_rnn
from ...nn import init


def count(model) -> int:
    """Parameters; what is shared counts once."""
    return sum(p.size for p in model.parameters())


def lstm_like(model, vocabulary: int, layers: int = 2) -> CharRNN:
    """models.char_rnn's LSTM of `layers` layers, whose width brings it nearest to model's number of
    parameters."""
    wanted = count(model)

    def size(hidden: int) -> int:
        with init.skip_draws():
            return count(char_rnn(vocabulary, "lstm", hidden, layers))
    low, high = 1, 2
    while size(high) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) < wanted else (low, middle)
    return char_rnn(vocabulary, "lstm", min((low, high), key=lambda hidden: abs(size(hidden) - wanted)), layers)
