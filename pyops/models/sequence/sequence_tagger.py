"""Many-to-many, in step: a class for every element of a sequence, as in part-of-speech tagging."""
from __future__ import annotations

from ... import nn
from .recurrent import recurrent

__all__ = ["SequenceTagger", "sequence_tagger"]


class SequenceTagger(nn.Module):
    """Vectors (N, T, features) to scores (N, T, classes). For tokens put an
    nn.Embedding before it."""

    def __init__(self, features: int, classes: int, kind: str = "lstm", hidden: int = 64, layers: int = 1,
                 dropout: float = 0.0, bidirectional: bool = False):
        self.rnn = recurrent(kind, features, hidden, layers, dropout=dropout, bidirectional=bidirectional)
        self.head = nn.Linear((2 if bidirectional else 1) * hidden, classes)

    def forward(self, x, lengths=None, state=None):
        """lengths: integers (N,), how many steps of each row count; scores behind them mean
        nothing. Returns the scores only; a stream that is read piece by piece calls `rnn` and
        `head` itself and keeps the state."""
        y, _ = self.rnn(x, state, lengths)
        return self.head(y)


def sequence_tagger(features: int, classes: int, kind: str = "lstm", hidden: int = 64, layers: int = 1,
                    dropout: float = 0.0, bidirectional: bool = False) -> SequenceTagger:
    """kind: "rnn", "lstm", "gru" or "peephole". A bidirectional network also sees what is still to
    come before it names an element."""
    return SequenceTagger(features, classes, kind, hidden, layers, dropout, bidirectional)
