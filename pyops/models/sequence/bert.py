"""BERT: Devlin et al. (2019), "BERT: pre-training of deep bidirectional transformers".

The encoder of the Transformer with the norm behind each sum, GELU, and learned embeddings of token,
position and segment, added and normalised. Pre-training guesses masked words (cls.predictions) and
whether the second sentence follows the first (cls.seq_relationship, from the first token's pooled
vector). Names of arrays are those of transformers' Bert classes.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ... import functional as F, nn
from ...core.tensor import no_grad
from ..registry import network
from .configuration import Configuration, divided
from .folder import Names, family
from .gpt_neox import drawn
from .heads import activation, attend_seen, check_ids, join_heads, split_heads, visible
from .packing import Spans, checked, laid, rows
from .programs import Programs

__all__ = ["BertConfiguration", "BertForMaskedWords", "BertForPreTraining", "BertForQuestions",
           "BertForSequences", "BertForTokens", "BertVectors", "bert_base", "bert_large"]


class EncoderConfiguration(Configuration):
    """What BERT and DistilBERT share: classes of a head, which config.json counts by naming
    them."""

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Any:
        labels = found.get("id2label")
        return super().from_json({**found, "num_labels": len(labels)} if labels else found)

    def to_json(self) -> dict[str, Any]:
        found = super().to_json()
        labels = [f"LABEL_{i}" for i in range(found.pop("num_labels"))]
        return found | {"id2label": {str(i): label for i, label in enumerate(labels)},
                        "label2id": {label: i for i, label in enumerate(labels)}}


@dataclass
class BertConfiguration(EncoderConfiguration):
    """Defaults: BERT base. initializer_range: deviation of weights before training, which suits
    published widths; a network w wide learns sooner from about 1 / sqrt(w)."""
    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    classifier_dropout: float | None = None
    num_labels: int = 2
    initializer_range: float = 0.02

    model_type = "bert"
    FIXED = {"is_decoder": (False,), "add_cross_attention": (False,), "tie_word_embeddings": (True,),
             "position_embedding_type": ("absolute",)}
    SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
             "max_position_embeddings", "type_vocab_size", "num_labels")

    def __post_init__(self) -> None:
        super().__post_init__()
        divided(self, "hidden_size", "num_attention_heads")


class Embeddings(nn.Module):
    def __init__(self, c: BertConfiguration):
        self.word_embeddings = nn.Embedding(c.vocab_size, c.hidden_size, c.pad_token_id)
        self.position_embeddings = nn.Embedding(c.max_position_embeddings, c.hidden_size)
        self.token_type_embeddings = nn.Embedding(c.type_vocab_size, c.hidden_size)
        self.LayerNorm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)
        self.dropout = nn.Dropout(c.hidden_dropout_prob)

    def forward(self, ids, segments, positions=None):
        t = ids.shape[1]
        most = self.position_embeddings.num_embeddings
        if positions is None and t > most:
            raise ValueError(f"BERT: {t} tokens are more than the model's {most} positions")
        segments = np.zeros((1, 1), np.int64) if segments is None else segments
        words, kinds, places = self.word_embeddings, self.token_type_embeddings, self.position_embeddings
        x = F.embedding_sum(ids, words.weight, segments, kinds.weight, positions, places.weight,
                            padding_idx=words.padding_idx)
        return self.dropout(self.LayerNorm(x))


class SelfAttention(nn.Module):
    def __init__(self, c: BertConfiguration):
        self.heads, self.p = c.num_attention_heads, c.attention_probs_dropout_prob
        self.query, self.key, self.value = (nn.Linear(c.hidden_size, c.hidden_size) for _ in range(3))

    def forward(self, x, mask):
        q, k, v = (split_heads(f(x), self.heads) for f in (self.query, self.key, self.value))
        return join_heads(attend_seen(q, k, v, mask, self.p if self.training else 0.0))


class Sum(nn.Module):
    """norm(residual + linear(x)), behind attention and behind the feed-forward layer."""

    def __init__(self, inputs: int, c: BertConfiguration):
        self.dense = nn.Linear(inputs, c.hidden_size)
        self.LayerNorm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)
        self.dropout = nn.Dropout(c.hidden_dropout_prob)

    def forward(self, x, residual):
        return self.LayerNorm(F.add(self.dropout(self.dense(x)), residual))


class Attention(nn.Module):
    def __init__(self, c: BertConfiguration):
        self.self, self.output = SelfAttention(c), Sum(c.hidden_size, c)

    def forward(self, x, mask):
        return self.output(self.self(x, mask), x)


class Intermediate(nn.Module):
    def __init__(self, c: BertConfiguration):
        self.dense, self.activation = nn.Linear(c.hidden_size, c.intermediate_size), activation(c.hidden_act)

    def forward(self, x):
        return self.activation(self.dense(x))


class Layer(nn.Module):
    def __init__(self, c: BertConfiguration):
        self.attention, self.intermediate = Attention(c), Intermediate(c)
        self.output = Sum(c.intermediate_size, c)

    def forward(self, x, mask):
        x = self.attention(x, mask)
        return self.output(self.intermediate(x), x)


class Encoder(nn.Module):
    def __init__(self, c: BertConfiguration):
        self.layer = nn.ModuleList([Layer(c) for _ in range(c.num_hidden_layers)])

    def forward(self, x, mask):
        for layer in self.layer:
            x = layer(x, mask)
        return x


class Pooler(nn.Module):
    def __init__(self, c: BertConfiguration):
        self.dense = nn.Linear(c.hidden_size, c.hidden_size)

    def forward(self, first):
        """Of the vectors (N, hidden_size) of each text's first token."""
        return F.tanh(self.dense(first))


class Bert(nn.Module):
    """The trunk: ids, segments (whole numbers) and mask (N, T) to vectors (N, T, hidden_size)."""

    def __init__(self, c: BertConfiguration, pooled: bool):
        self.embeddings, self.encoder = Embeddings(c), Encoder(c)
        self.pooler = Pooler(c) if pooled else None

    def forward(self, ids, segments=None, mask=None):
        check_ids("BERT", ids, self.embeddings.word_embeddings.num_embeddings)
        if segments is not None:
            given = tuple(getattr(segments, "shape", ()))
            if given != tuple(ids.shape):
                raise ValueError(f"BERT: segments must have the shape of ids, {tuple(ids.shape)}, got {given}")
            check_ids("BERT", segments, self.embeddings.token_type_embeddings.num_embeddings, "segments")
        return self.encoder(self.embeddings(ids, segments), visible(mask, ids))

    def packed(self, ids, segments, positions, begin, end):
        """Of texts side by side in rows (packing.py), all (R, L)."""
        return self.encoder(self.embeddings(ids, segments, positions), Spans.of(begin, end))


class Transform(nn.Module):
    def __init__(self, c: BertConfiguration):
        self.dense, self.activation = nn.Linear(c.hidden_size, c.hidden_size), activation(c.hidden_act)
        self.LayerNorm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)

    def forward(self, x):
        return self.LayerNorm(self.activation(self.dense(x)))


class Predictions(nn.Module):
    """Scores of words, by the embeddings' own weights and a bias."""

    def __init__(self, c: BertConfiguration, weight: nn.Parameter):
        self.bias = nn.Parameter(np.zeros(c.vocab_size, np.float32))
        self.transform = Transform(c)
        self.decoder = nn.Linear(c.hidden_size, c.vocab_size)
        self.decoder.weight, self.decoder.bias = weight, self.bias

    def forward(self, x):
        return self.decoder(self.transform(x))


class PreTrainingHead(nn.Module):
    def __init__(self, c: BertConfiguration, weight: nn.Parameter, sentences: bool):
        self.predictions = Predictions(c, weight)
        self.seq_relationship = nn.Linear(c.hidden_size, 2) if sentences else None


class BertModel(nn.Module):
    """Base of BERT with a head: ids (N, T), segments (N, T), by default 0, and mask (N, T), 1 at
    tokens and 0 at padding.

    A head is head(x, first): of vectors (N, T, hidden_size), and of those of the first tokens.
    """

    POOLED = False
    BY_TOKEN: tuple[bool, ...] = (True,)   # whether an output is of each token, or of a whole text
    DYNAMIC = {"packed": {**{i: {0: None, 1: None} for i in range(5)}, 5: {0: None}}}

    def __init__(self, config: BertConfiguration):
        self.config = config
        self.bert = Bert(config, self.POOLED)
        self.make_head(config)
        self.apply(partial(drawn, std=config.initializer_range))

    def make_head(self, c: BertConfiguration) -> None:
        raise NotImplementedError

    def head(self, x, first) -> Any:
        raise NotImplementedError

    def forward(self, ids, segments=None, mask=None):
        x = self.bert(ids, segments, mask)
        return self.head(x, x[:, 0])

    def packed(self, ids, segments, positions, begin, end, first):
        """What the head gives for texts side by side in rows; first (N,): where each begins, rows
        joined."""
        x = self.bert.packed(ids, segments, positions, begin, end)
        return self.head(x, F.embedding(first, F.reshape(x, (-1, x.shape[-1]))))

    def ragged(self, texts, segments=None, compiled: bool = True):
        """Scores of texts of any lengths, as the model gives them for each alone, but that next to no
        padding is computed: short texts share rows (packing.py).

        texts: rows of whole numbers; segments: as many for each, by default 0. Returns what forward
        does: of outputs for every token a list of arrays (T, ...), else (N, ...). compiled: by a
        Program, which is made at the first call and again when weights have changed. ValueError for
        texts that are empty, too long, or beyond the vocabulary, and for a model in training mode.
        """
        if self.training:
            raise ValueError("ragged: the model is in training mode; call .eval() first")
        c = self.config
        found = rows(own := checked("ragged", texts, c.vocab_size, c.max_position_embeddings))
        kinds = [np.zeros(len(text), np.int64) for text in own] if segments is None else checked(
            "ragged", segments, c.type_vocab_size, c.max_position_embeddings, "segments")
        if [len(kind) for kind in kinds] != [len(text) for text in own]:
            raise ValueError(f"ragged: segments must count as the texts do, {[len(t) for t in own]}, got "
                             f"{[len(kind) for kind in kinds]}")
        length = found.ids.shape[1]
        first = np.array([row * length + begin for row, begin in found.places])
        given = found.ids, laid(found, kinds), found.positions, found.begin, found.end, first
        with no_grad():
            scores = Programs.of(self).run("packed", given) if compiled else self.packed(*given)
        out = []
        for a, by_token in zip(scores if isinstance(scores, (tuple, list)) else [scores], self.BY_TOKEN):
            a = np.asarray(getattr(a, "data", a))
            out.append([a[row, begin:begin + len(text)] for (row, begin), text in zip(found.places, own)]
                       if by_token else a)
        return tuple(out) if len(out) > 1 else out[0]


class BertForMaskedWords(BertModel):
    """Returns scores (N, T, vocab_size) of the word at each place."""

    def make_head(self, c: BertConfiguration) -> None:
        self.cls = PreTrainingHead(c, self.bert.embeddings.word_embeddings.weight, False)

    def head(self, x, first):
        return self.cls.predictions(x)

    def loss(self, ids, words, segments=None, mask=None):
        """Mean cross-entropy at the places where words (N, T) is not -100."""
        return word_loss(self(ids, segments, mask), words)


class BertForPreTraining(BertModel):
    """Returns scores of words (N, T, vocab_size), and (N, 2) of "follows" and "does not"."""

    POOLED, BY_TOKEN = True, (True, False)

    def make_head(self, c: BertConfiguration) -> None:
        self.cls = PreTrainingHead(c, self.bert.embeddings.word_embeddings.weight, True)

    def head(self, x, first):
        return self.cls.predictions(x), self.cls.seq_relationship(self.bert.pooler(first))

    def loss(self, ids, words, follows, segments=None, mask=None):
        """The sum of both tasks' mean cross-entropies. follows (N,): 0 where the second sentence
        follows the first, else 1."""
        scores, sentences = self(ids, segments, mask)
        return F.add(word_loss(scores, words), F.cross_entropy(sentences, follows))


class BertForSequences(BertModel):
    """Returns scores (N, num_labels) of the whole text's class."""

    POOLED, BY_TOKEN = True, (False,)

    def make_head(self, c: BertConfiguration) -> None:
        self.dropout, self.classifier = dropout_of(c), nn.Linear(c.hidden_size, c.num_labels)

    def head(self, x, first):
        return self.classifier(self.dropout(self.bert.pooler(first)))


class BertForTokens(BertModel):
    """Returns scores (N, T, num_labels) of each token's class."""

    def make_head(self, c: BertConfiguration) -> None:
        self.dropout, self.classifier = dropout_of(c), nn.Linear(c.hidden_size, c.num_labels)

    def head(self, x, first):
        return self.classifier(self.dropout(x))


class BertForQuestions(BertModel):
    """Returns scores (N, T) of where the answer begins, and of where it ends."""

    BY_TOKEN = (True, True)

    def make_head(self, c: BertConfiguration) -> None:
        self.qa_outputs = nn.Linear(c.hidden_size, 2)

    def head(self, x, first):
        return F.unbind(self.qa_outputs(x), -1)


class BertVectors(BertModel):
    """Returns vectors (N, T, hidden_size) of the tokens, and what the pooler makes of the first one's,
    (N, hidden_size): the trunk alone, as folders of sentence encoders have it."""

    POOLED, BY_TOKEN = True, (True, False)

    def make_head(self, c: BertConfiguration) -> None:
        """There is none."""

    def head(self, x, first):
        return x, self.bert.pooler(first)


def dropout_of(c: BertConfiguration) -> nn.Dropout:
    return nn.Dropout(c.hidden_dropout_prob if c.classifier_dropout is None else c.classifier_dropout)


def word_loss(scores, words):
    """Mean cross-entropy of scores (N, T, vocabulary) where words (N, T) is not -100."""
    return F.cross_entropy(F.reshape(scores, (-1, scores.shape[-1])), np.reshape(words, -1), ignore_index=-100)


family(BertConfiguration,
       {"BertForPreTraining": BertForPreTraining, "BertForMaskedLM": BertForMaskedWords,
        "BertForSequenceClassification": BertForSequences, "BertForTokenClassification": BertForTokens,
        "BertForQuestionAnswering": BertForQuestions, "BertModel": BertVectors},
       Names(prefix="bert.", skip=(r"(bert\.)?embeddings\.position_ids",),
             tied={"cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
                   "cls.predictions.decoder.bias": "cls.predictions.bias"},
             rename=((r"\.gamma$", ".weight"), (r"\.beta$", ".bias")), fresh=(r"bert\.pooler\..*",)))


@network(image=(), published=110_106_428, source="Devlin et al. (2019)")
def bert_base(head: type[BertModel] = BertForPreTraining, **settings) -> BertModel:
    """12 layers, 768 wide: 110,106,428 parameters for pre-training. head: one of this module's
    classes; settings: fields of BertConfiguration."""
    return head(BertConfiguration(**settings))


@network(image=(), published=336_226_108, source="Devlin et al. (2019)")
def bert_large(head: type[BertModel] = BertForPreTraining, **settings) -> BertModel:
    """24 layers, 1024 wide, 16 heads: 336,226,108 parameters for pre-training."""
    return bert_base(head, **{"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
                              "intermediate_size": 4096} | settings)
