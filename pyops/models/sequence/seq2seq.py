"""Encoder and decoder with attention: a sequence to another of any length, as in translation.

Sutskever et al. (2014) for the two networks; Bahdanau et al. (2015) for the bidirectional encoder
and for attention, which looks at all of the source where the state alone would have to remember
it; Luong et al. (2015) for attending with the decoder's output, so that the decoder reads a whole
known target at once.
"""
from __future__ import annotations

import numpy as np

from ... import functional as F, nn
from ...core.tensor import no_grad
from .recurrent import recurrent
from .teacher_forcing import forced, sequence_loss, write

__all__ = ["Seq2Seq", "seq2seq"]


class Seq2Seq(nn.Module):
    """Tokens (N, S) of one vocabulary to tokens of another. Of an encoder layer's `hidden` units
    half read forwards, half backwards."""

    def __init__(self, source_vocabulary: int, target_vocabulary: int, kind: str = "lstm", hidden: int = 128,
                 layers: int = 1, dropout: float = 0.0):
        if hidden % 2:
            raise ValueError(
                f"Seq2Seq: hidden must be even, half for each direction of the encoder, got {hidden}")
        self.end, self.layers, self.hidden = target_vocabulary, layers, hidden
        self.source_embedding = nn.Embedding(source_vocabulary, hidden)
        self.encoder = recurrent(kind, hidden, hidden // 2, layers, dropout=dropout, bidirectional=True)
        self.target_embedding = nn.Embedding(target_vocabulary + 1, hidden)
        self.decoder = recurrent(kind, hidden, hidden, layers, dropout=dropout)
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.combine = nn.Linear(2 * hidden, hidden)
        self.head = nn.Linear(hidden, target_vocabulary + 1)

    def encode(self, source, lengths=None):
        """(memory (N, S, hidden), mask, state): what attention looks at and where it may, and the
        decoder's first state."""
        memory, state = self.encoder(self.source_embedding(source), None, lengths)
        mask = None if lengths is None else np.arange(memory.shape[1]) < np.asarray(lengths)[:, None, None]
        return (memory, mask,
                tuple(map(self._joined, state)) if isinstance(state, tuple) else self._joined(state))

    def _joined(self, state):
        """(layers * 2, N, hidden / 2), both directions of a layer in turn, as
        (layers, N, hidden)."""
        n = state.shape[1]
        state = F.transpose(F.reshape(state, (self.layers, 2, n, self.hidden // 2)), 1, 2)
        return F.reshape(state, (self.layers, n, self.hidden))

    def decode(self, tokens, state, memory, mask=None):
        """Scores (N, T, target_vocabulary + 1) of what follows each of tokens (N, T), and
        the state after them."""
        y, state = self.decoder(self.target_embedding(tokens), state)
        context = F.scaled_dot_product_attention(self.query(y), memory, memory, mask)
        return self.head(F.tanh(self.combine(F.cat([context, y], -1)))), state

    def loss(self, source, target, source_lengths=None, target_lengths=None):
        """Mean cross-entropy of the wanted tokens (N, T) and of the end after them; lengths (N,)
        say how many of a row count."""
        memory, mask, state = self.encode(source, source_lengths)
        inputs, targets = forced(target, target_lengths, self.end)
        return sequence_loss(self.decode(inputs, state, memory, mask)[0], targets)

    def generate(self, source, source_lengths=None, most: int = 100) -> list[list[int]]:
        """The likeliest token at each place until the end or until there are `most`; a
        list for each source."""
        with no_grad():
            memory, mask, state = self.encode(source, source_lengths)
        return write(lambda tokens, state: self.decode(tokens, state, memory, mask), state, len(source),
                     self.end, most)

    def alignment(self, source, target, source_lengths=None):
        """The attention's weights (N, T + 1, S): where it looks in the source before it writes each
        of the target's tokens and the end."""
        with no_grad():
            memory, mask, state = self.encode(source, source_lengths)
            y, _ = self.decoder(self.target_embedding(forced(target, None, self.end)[0]), state)
            scores = F.matmul(self.query(y), F.transpose(memory, 1, 2)).data * self.hidden ** -0.5
        return F.softmax(scores if mask is None else np.where(mask, scores, np.float32(-np.inf)), -1)


def seq2seq(source_vocabulary: int, target_vocabulary: int, kind: str = "lstm", hidden: int = 128,
            layers: int = 1, dropout: float = 0.0) -> Seq2Seq:
    """kind: "rnn", "lstm", "gru" or "peephole"; hidden: units of a layer, even, and width
    of the embeddings."""
    return Seq2Seq(source_vocabulary, target_vocabulary, kind, hidden, layers, dropout)
