"""Many-to-one: a whole sequence to one class, as in sentiment analysis."""
from __future__ import annotations

from ... import functional as F, nn
from .recurrent import hidden_of, recurrent

__all__ = ["SequenceClassifier", "sequence_classifier"]


class SequenceClassifier(nn.Module):
    """Tokens (N, T) to scores (N, classes), from the states after the last step: of a bidirectional
    network those of both ends."""

    def __init__(self, vocabulary: int, classes: int, kind: str = "lstm", hidden: int = 64, layers: int = 1,
                 dropout: float = 0.0, bidirectional: bool = False):
        self.directions = 2 if bidirectional else 1
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.rnn = recurrent(kind, hidden, hidden, layers, dropout=dropout, bidirectional=bidirectional)
        self.head = nn.Linear(self.directions * hidden, classes)

    def forward(self, x, lengths=None):
        """x: integers (N, T); lengths: integers (N,), how many of each row count; all by
        default."""
        _, state = self.rnn(self.embedding(x), None, lengths)
        h = hidden_of(state)   # (layers * directions, N, hidden), the last layer's at the end
        return self.head(F.cat([F.select(h, 0, d) for d in range(-self.directions, 0)], -1))


def sequence_classifier(vocabulary: int, classes: int, kind: str = "lstm", hidden: int = 64, layers: int = 1,
                        dropout: float = 0.0, bidirectional: bool = False) -> SequenceClassifier:
    """For sequences of `vocabulary` tokens. kind: "rnn", "lstm", "gru" or "peephole"; hidden: units
    of a layer, width of the embedding."""
    return SequenceClassifier(vocabulary, classes, kind, hidden, layers, dropout, bidirectional)
