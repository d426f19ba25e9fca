"""One-to-many: a vector to a sequence, as in image captioning. Vinyals et al. (2015), "Show and
tell"."""
from __future__ import annotations

from ... import functional as F, nn
from .recurrent import WITH_CELL_STATE, recurrent
from .teacher_forcing import forced, sequence_loss, write

__all__ = ["Captioner", "captioner"]


class Captioner(nn.Module):
    """A vector (N, features), such as what a convolutional network makes of an image, becomes the
    first state; the tokens follow."""

    def __init__(self, features: int, vocabulary: int, kind: str = "lstm", hidden: int = 128, layers: int = 1,
                 dropout: float = 0.0):
        self.end, self.layers, self.hidden = vocabulary, layers, hidden
        self.states = 2 if kind in WITH_CELL_STATE else 1   # h and C, or h
        self.to_state = nn.Linear(features, self.states * layers * hidden)
        self.embedding = nn.Embedding(vocabulary + 1, hidden)
        self.rnn = recurrent(kind, hidden, hidden, layers, dropout=dropout)
        self.head = nn.Linear(hidden, vocabulary + 1)

    def first_state(self, vector):
        all_of_it = F.reshape(F.tanh(self.to_state(vector)), (-1, self.states, self.layers, self.hidden))
        each = tuple(F.transpose(one, 0, 1) for one in F.unbind(all_of_it, 1))   # (layers, N, hidden)
        return each if self.states == 2 else each[0]

    def step(self, tokens, state):
        """Scores (N, T, vocabulary + 1) of what follows each of tokens (N, T), and
        the state after them."""
        y, state = self.rnn(self.embedding(tokens), state)
        return self.head(y), state

    def loss(self, vector, tokens, lengths=None):
        """Mean cross-entropy of the wanted tokens (N, T), of which the first lengths (N,) of a row
        count, and of the end after them."""
        inputs, targets = forced(tokens, lengths, self.end)
        return sequence_loss(self.step(inputs, self.first_state(vector))[0], targets)

    def generate(self, vector, most: int = 100) -> list[list[int]]:
        """The likeliest token at each place until the end or until there are `most`; a
        list for each vector."""
        return write(self.step, self.first_state(vector), len(vector), self.end, most)


def captioner(features: int, vocabulary: int, kind: str = "lstm", hidden: int = 128, layers: int = 1,
              dropout: float = 0.0) -> Captioner:
    """For sequences of `vocabulary` tokens. kind: "rnn", "lstm", "gru" or "peephole"; hidden: units
    of a layer, width of the embedding."""
    return Captioner(features, vocabulary, kind, hidden, layers, dropout)
