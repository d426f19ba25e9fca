"""DistilBERT's distillation, on a small pair: a student that hears its teacher beside one that does
not."""
from functools import partial

import numpy as np
import pytest

import pyops
from pyops import models, no_grad
from pyops.text import mask_words
from pyops.train.language import loop

MASK, FIRST, VOCABULARY, LENGTH = 1, 2, 25, 14


def texts(count, generator):
    """Seven tokens, and the same again: what is masked stands in the other half."""
    return np.tile(generator.integers(FIRST, VOCABULARY, (count, LENGTH // 2)), 2)


def batches(seed, size=32, few=None):
    """few: texts that there are, None for as many as one likes."""
    generator = np.random.default_rng(seed)
    fixed = None if few is None else texts(few, generator)
    while True:
        chosen = texts(size, generator) if fixed is None else fixed[generator.integers(0, few, size)]
        yield mask_words(chosen, MASK, VOCABULARY, generator, 0.2, special=(0, MASK))


def teacher(layers=2):
    pyops.manual_seed(0)
    return models.bert_base(models.BertForMaskedWords, vocab_size=VOCABULARY, hidden_size=32, num_attention_heads=4,
                            num_hidden_layers=layers, intermediate_size=64, max_position_embeddings=LENGTH,
                            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.1)


def test_a_student_of_all_layers_is_its_teacher():
    model = teacher(4).eval()
    rng = np.random.default_rng(0)
    for p in model.parameters():
        p.data += 0.05 * rng.standard_normal(p.shape).astype(np.float32)
    ids = texts(3, rng)
    scores = model(ids).data
    same = models.student_of(model, 4).eval()
    assert np.abs(same(ids).data - scores).max() <= 1e-5 * np.abs(scores).max()
    half = models.student_of(model)
    words = half.distilbert.embeddings.word_embeddings.weight
    assert half.config.n_layers == 2 and half.vocab_projector.weight is words
    for i in range(2):
        assert np.array_equal(half.distilbert.transformer.layer[i].ffn.lin1.weight.data,
                              model.bert.encoder.layer[2 * i].intermediate.dense.weight.data)
    words.data[:] = 0   # its own arrays
    assert np.array_equal(model(ids).data, scores)
    with pytest.raises(ValueError, match="layers must be 1 to the teacher's 4, got 5"):
        models.student_of(model, 5)


@pytest.mark.slow
def test_a_student_learns_more_from_its_teacher_than_alone():
    """From 64 texts: the teacher's answers say of each masked place more than the word does."""
    taught = teacher()
    loop.teach(taught, batches(1), lambda batch: taught.loss(*batch), steps=500, lr=5e-3)
    asked = [batch for batch, _ in zip(batches(2, 64), range(4))]

    def right(model):
        with no_grad():
            return np.mean([(model(ids).data.argmax(-1) == words)[words != -100].mean() for ids, words in asked])

    def hears(student, batch):
        ids, words = batch
        hidden = student.distilbert(ids)
        with no_grad():
            theirs = taught.bert(ids)
            scores = taught.head(theirs, None)
        return models.distillation_loss(student.words(hidden), scores.data, words, hidden, theirs.data)
    assert right(taught) > 0.8   # both places of a token may be masked
    found = {}
    for name, loss in (("distilled", hears), ("alone", lambda student, batch: student.loss(*batch))):
        pyops.manual_seed(5)
        student = models.distilbert(vocab_size=VOCABULARY, dim=32, n_heads=4, n_layers=1, hidden_dim=64, dropout=0.0,
                                    max_position_embeddings=LENGTH, attention_dropout=0.0, initializer_range=0.1)
        loop.teach(student, batches(3, few=64), partial(loss, student), steps=300, lr=3e-3)
        found[name] = right(student)
    assert found["distilled"] > found["alone"] + 0.01, found
