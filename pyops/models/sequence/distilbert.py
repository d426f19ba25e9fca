"""DistilBERT: Sanh et al. (2019), "DistilBERT, a distilled version of BERT".

BERT with half of the layers, without segments and pooler, trained to answer as a larger one does:
distillation_loss. Names of arrays are those of transformers' DistilBert classes.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from ... import functional as F, nn
from ..registry import network
from .bert import BertForMaskedWords, EncoderConfiguration, word_loss
from .configuration import divided
from .folder import Names, family
from .gpt_neox import drawn
from .heads import activation, check_ids, join_heads, split_heads, visible

__all__ = ["DistilBertConfiguration", "DistilBertForMaskedWords", "DistilBertForQuestions",
           "DistilBertForSequences", "DistilBertForTokens", "DistilBertVectors", "distilbert",
           "distillation_loss", "student_of"]
EPS = 1e-12


@dataclass
class DistilBertConfiguration(EncoderConfiguration):
    """Defaults: DistilBERT base."""
    vocab_size: int = 30522
    max_position_embeddings: int = 512
    n_layers: int = 6
    n_heads: int = 12
    dim: int = 768
    hidden_dim: int = 3072
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation: str = "gelu"
    qa_dropout: float = 0.1
    seq_classif_dropout: float = 0.2
    pad_token_id: int | None = 0
    num_labels: int = 2
    initializer_range: float = 0.02

    model_type = "distilbert"
    FIXED = {"tie_word_embeddings": (True,), "sinusoidal_pos_embds": (False,)}
    ALIASES = {"hidden_size": "dim", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers"}
    SIZES = ("vocab_size", "max_position_embeddings", "n_layers", "n_heads", "dim", "hidden_dim", "num_labels")

    def __post_init__(self) -> None:
        super().__post_init__()
        divided(self, "dim", "n_heads")


class Embeddings(nn.Module):
    def __init__(self, c: DistilBertConfiguration):
        self.word_embeddings = nn.Embedding(c.vocab_size, c.dim, c.pad_token_id)
        self.position_embeddings = nn.Embedding(c.max_position_embeddings, c.dim)
        self.LayerNorm, self.dropout = nn.LayerNorm(c.dim, EPS), nn.Dropout(c.dropout)

    def forward(self, ids):
        t, most = ids.shape[1], self.position_embeddings.num_embeddings
        if t > most:
            raise ValueError(f"DistilBERT: {t} tokens are more than the model's {most} positions")
        words = self.word_embeddings
        x = F.embedding_sum(ids, words.weight, None, self.position_embeddings.weight, padding_idx=words.padding_idx)
        return self.dropout(self.LayerNorm(x))


class Attention(nn.Module):
    def __init__(self, c: DistilBertConfiguration):
        self.heads, self.p = c.n_heads, c.attention_dropout
        self.q_lin, self.k_lin, self.v_lin, self.out_lin = (nn.Linear(c.dim, c.dim) for _ in range(4))

    def forward(self, x, mask):
        q, k, v = (split_heads(f(x), self.heads) for f in (self.q_lin, self.k_lin, self.v_lin))
        y = F.scaled_dot_product_attention(q, k, v, mask, self.p if self.training else 0.0)
        return self.out_lin(join_heads(y))


class FeedForward(nn.Module):
    def __init__(self, c: DistilBertConfiguration):
        self.lin1, self.lin2 = nn.Linear(c.dim, c.hidden_dim), nn.Linear(c.hidden_dim, c.dim)
        self.activation, self.dropout = activation(c.activation), nn.Dropout(c.dropout)

    def forward(self, x):
        return self.dropout(self.lin2(self.activation(self.lin1(x))))


class Layer(nn.Module):
    def __init__(self, c: DistilBertConfiguration):
        self.attention, self.sa_layer_norm = Attention(c), nn.LayerNorm(c.dim, EPS)
        self.ffn, self.output_layer_norm = FeedForward(c), nn.LayerNorm(c.dim, EPS)

    def forward(self, x, mask):
        x = self.sa_layer_norm(F.add(self.attention(x, mask), x))
        return self.output_layer_norm(F.add(self.ffn(x), x))


class Stack(nn.Module):
    def __init__(self, c: DistilBertConfiguration):
        self.layer = nn.ModuleList([Layer(c) for _ in range(c.n_layers)])

    def forward(self, x, mask):
        for layer in self.layer:
            x = layer(x, mask)
        return x


class DistilBert(nn.Module):
    """The trunk: ids and mask (N, T) to vectors (N, T, dim)."""

    def __init__(self, c: DistilBertConfiguration):
        self.embeddings, self.transformer = Embeddings(c), Stack(c)

    def forward(self, ids, mask=None):
        check_ids("DistilBERT", ids, self.embeddings.word_embeddings.num_embeddings)
        return self.transformer(self.embeddings(ids), visible(mask, ids))


class DistilBertModel(nn.Module):
    """Base of DistilBERT with a head: ids (N, T) and mask (N, T), 1 at tokens and 0 at padding."""

    def __init__(self, config: DistilBertConfiguration):
        self.config = config
        self.distilbert = DistilBert(config)
        self.make_head(config)
        self.apply(partial(drawn, std=config.initializer_range))

    def make_head(self, c: DistilBertConfiguration) -> None:
        raise NotImplementedError


class DistilBertForMaskedWords(DistilBertModel):
    """Returns scores (N, T, vocab_size) of the word at each place."""

    def make_head(self, c: DistilBertConfiguration) -> None:
        self.vocab_transform, self.vocab_layer_norm = nn.Linear(c.dim, c.dim), nn.LayerNorm(c.dim, EPS)
        self.vocab_projector = nn.Linear(c.dim, c.vocab_size)
        self.vocab_projector.weight = self.distilbert.embeddings.word_embeddings.weight
        self.activation = activation(c.activation)

    def forward(self, ids, mask=None):
        return self.words(self.distilbert(ids, mask))

    def words(self, x):
        """Scores of words from the trunk's vectors."""
        return self.vocab_projector(self.vocab_layer_norm(self.activation(self.vocab_transform(x))))

    def loss(self, ids, words, mask=None):
        """Mean cross-entropy at the places where words (N, T) is not -100."""
        return word_loss(self(ids, mask), words)


class DistilBertVectors(DistilBertModel):
    """Returns vectors (N, T, dim) of the tokens: the trunk alone."""

    def make_head(self, c: DistilBertConfiguration) -> None:
        """There is none."""

    def forward(self, ids, mask=None):
        return self.distilbert(ids, mask)


class DistilBertForSequences(DistilBertModel):
    """Returns scores (N, num_labels) of the whole text's class."""

    def make_head(self, c: DistilBertConfiguration) -> None:
        self.pre_classifier, self.classifier = nn.Linear(c.dim, c.dim), nn.Linear(c.dim, c.num_labels)
        self.dropout = nn.Dropout(c.seq_classif_dropout)

    def forward(self, ids, mask=None):
        first = self.distilbert(ids, mask)[:, 0]
        return self.classifier(self.dropout(F.relu(self.pre_classifier(first))))


class DistilBertForTokens(DistilBertModel):
    """Returns scores (N, T, num_labels) of each token's class."""

    def make_head(self, c: DistilBertConfiguration) -> None:
        self.dropout, self.classifier = nn.Dropout(c.dropout), nn.Linear(c.dim, c.num_labels)

    def forward(self, ids, mask=None):
        return self.classifier(self.dropout(self.distilbert(ids, mask)))


class DistilBertForQuestions(DistilBertModel):
    """Returns scores (N, T) of where the answer begins, and of where it ends."""

    def make_head(self, c: DistilBertConfiguration) -> None:
        self.qa_outputs, self.dropout = nn.Linear(c.dim, 2), nn.Dropout(c.qa_dropout)

    def forward(self, ids, mask=None):
        return F.unbind(self.qa_outputs(self.dropout(self.distilbert(ids, mask))), -1)


# our name -> BERT's, of one layer and outside of layers
LAYER = {"attention.q_lin": "attention.self.query", "attention.k_lin": "attention.self.key",
         "attention.v_lin": "attention.self.value", "attention.out_lin": "attention.output.dense",
         "sa_layer_norm": "attention.output.LayerNorm", "ffn.lin1": "intermediate.dense", "ffn.lin2": "output.dense",
         "output_layer_norm": "output.LayerNorm"}
OUTSIDE = {"vocab_transform": "cls.predictions.transform.dense",
           "vocab_layer_norm": "cls.predictions.transform.LayerNorm",
           "distilbert.embeddings.LayerNorm": "bert.embeddings.LayerNorm",
           "distilbert.embeddings.word_embeddings": "bert.embeddings.word_embeddings",
           "distilbert.embeddings.position_embeddings": "bert.embeddings.position_embeddings"}


def student_of(teacher: BertForMaskedWords, layers: int | None = None) -> DistilBertForMaskedWords:
    """The student as it begins: every second layer of the teacher, or `layers` of them evenly, its
    embeddings and its head. Segments are left out, but that of the first sentence is added to the
    positions, which changes no number. Source: section 2 of the paper. ValueError for more layers
    than there are."""
    c, given = teacher.config, teacher.state_dict()
    count = c.num_hidden_layers // 2 if layers is None else layers
    if not 1 <= count <= c.num_hidden_layers:
        raise ValueError(f"student_of: layers must be 1 to the teacher's {c.num_hidden_layers}, got {count}")
    student = DistilBertForMaskedWords(DistilBertConfiguration(
        c.vocab_size, c.max_position_embeddings, count, c.num_attention_heads, c.hidden_size, c.intermediate_size,
        c.hidden_dropout_prob, c.attention_probs_dropout_prob, c.hidden_act, pad_token_id=c.pad_token_id,
        initializer_range=c.initializer_range))
    names = dict(OUTSIDE)
    for i in range(count):
        own, theirs = f"distilbert.transformer.layer.{i}.", f"bert.encoder.layer.{i * c.num_hidden_layers // count}."
        names |= {own + name: theirs + source for name, source in LAYER.items()}
    state = student.state_dict()
    for name, source in names.items():
        for part in ("weight", "bias"):
            if f"{name}.{part}" in state:
                state[f"{name}.{part}"] = given[f"{source}.{part}"]
    state["vocab_projector.bias"] = given["cls.predictions.bias"]
    state["vocab_projector.weight"] = given["bert.embeddings.word_embeddings.weight"]
    place = "distilbert.embeddings.position_embeddings.weight"
    state[place] = state[place] + given["bert.embeddings.token_type_embeddings.weight"][:1]
    student.load_state_dict({k: np.array(v) for k, v in state.items()})
    return student


def distillation_loss(student, teacher, words, student_hidden=None, teacher_hidden=None, temperature: float = 2.0,
                      weights: tuple[float, float, float] = (5.0, 2.0, 1.0)):
    """The loss by which a student learns to answer as its teacher does.

    student, teacher: scores (N, T, vocabulary) of words; words (N, T): the right ones, -100 where
    none was masked. The sum, with `weights`, of the divergence of the student's softened answers
    from the teacher's, KL(softmax(teacher / temperature) || softmax(student / temperature))
    temperature^2 a masked place, of the mean cross-entropy of the right words, and of
    1 - cos(student_hidden, teacher_hidden) a place, (N, T, width), where these are given. No
    gradient goes into the teacher.
    """
    masked = np.flatnonzero(np.reshape(words, -1) != -100)
    s, t = (F.reshape(x, (-1, x.shape[-1]))[masked] for x in (student, teacher))
    t = t.detach() if hasattr(t, "detach") else t
    softened = F.kl_div(F.log_softmax(F.div(s, temperature), -1), F.softmax(F.div(t, temperature), -1),
                        reduction="batchmean")
    loss = F.add(F.mul(softened, weights[0] * temperature ** 2), F.mul(word_loss(student, words), weights[1]))
    if student_hidden is None:
        return loss
    fixed = teacher_hidden.detach() if hasattr(teacher_hidden, "detach") else teacher_hidden
    apart = F.mean(F.sub(1.0, F.cosine_similarity(student_hidden, fixed, -1)))
    return F.add(loss, F.mul(apart, weights[2]))


family(DistilBertConfiguration,
       {"DistilBertForMaskedLM": DistilBertForMaskedWords,
        "DistilBertForSequenceClassification": DistilBertForSequences,
        "DistilBertForTokenClassification": DistilBertForTokens,
        "DistilBertForQuestionAnswering": DistilBertForQuestions, "DistilBertModel": DistilBertVectors},
       Names(prefix="distilbert.", skip=(r"(distilbert\.)?embeddings\.position_ids",),
             tied={"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"}))


@network(image=(), published=66_985_530, source="Sanh et al. (2019)")
def distilbert(head: type[DistilBertModel] = DistilBertForMaskedWords, **settings) -> DistilBertModel:
    """6 layers, 768 wide: 66,985,530 parameters with the head of masked words. settings: fields of
    DistilBertConfiguration."""
    return head(DistilBertConfiguration(**settings))
