"""A recurrent network that reads a text character by character and says which comes next. Karpathy
(2015), "The unreasonable effectiveness of recurrent neural networks"."""
from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ... import functional as F, nn
from ...core.random import default_generator
from ...core.tensor import no_grad
from ...text.sampling import check_sampling, draw
from .recurrent import detached, recurrent

__all__ = ["CharRNN", "char_rnn"]


class CharRNN(nn.Module):
    """Numbers of characters (N, T) to scores of the next one (N, T, vocabulary), and the
    state after the last."""

    def __init__(self, vocabulary: int, kind: str = "lstm", hidden: int = 128, layers: int = 2,
                 dropout: float = 0.0, embedding: int | None = None):
        width = hidden if embedding is None else embedding
        self.embedding = nn.Embedding(vocabulary, width)
        self.rnn = recurrent(kind, width, hidden, layers, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, vocabulary)
        # Before training all characters are about equally likely: the loss starts at ln(vocabulary).
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, x, state=None):
        """x: integers (N, T); state: what an earlier call returned for the same N texts, None
        at their beginning."""
        y, state = self.rnn(self.embedding(x), state)
        return self.head(self.dropout(y)), state

    def loss(self, scores, target):
        """Mean cross-entropy in nats a character. target: (N, T), what came next."""
        return F.cross_entropy(F.reshape(scores, (-1, scores.shape[-1])), np.reshape(target, -1))

    def generate(self, prompt, length: int | None = None, temperature: float = 1.0, top_k: int | None = None,
                 generator: np.random.Generator | None = None) -> Iterator[int]:
        """Numbers of the characters that follow `prompt` (integers, at least one), each drawn from
        what the network says and read back.

        length: how many, None for no end. temperature, top_k: see text.draw. The state is the
        network's own: O(1) a character.
        The model must be in evaluation mode if it has dropout.
        """
        check_sampling(temperature, top_k)
        if not len(prompt):
            raise ValueError("CharRNN.generate: the prompt must have at least one character")
        return self._generated(np.asarray(prompt, np.int64)[None], length, temperature, top_k,
                               generator or default_generator())

    def _generated(self, x, length, temperature, top_k, generator):
        state = None
        while length is None or length > 0:
            # entered anew for each: whoever takes the characters must not run without a tape
            with no_grad():
                scores, state = self(x, detached(state))
            number = draw(scores.data[0, -1], generator, temperature, top_k)
            yield number
            x = np.array([[number]])
            length = None if length is None else length - 1


def char_rnn(vocabulary: int, kind: str = "lstm", hidden: int = 128, layers: int = 2, dropout: float = 0.0,
             embedding: int | None = None) -> CharRNN:
    """A network for `vocabulary` distinct characters.

    kind: "rnn" (tanh), "lstm", "gru" or "peephole" (an LSTM whose gates see the cell state).
    hidden: units of each of the `layers`. dropout: the share of outputs dropped after each layer in
    training. embedding: width of a character's vector, `hidden` unless given. ValueError where one
    of them makes no sense.
    """
    for name, value in (("vocabulary", vocabulary), ("hidden", hidden), ("layers", layers),
                        ("embedding", embedding)):
        if value is not None and value < 1:
            raise ValueError(f"char_rnn: {name} must be at least 1, got {value}")
    return CharRNN(vocabulary, kind, hidden, layers, dropout, embedding)
