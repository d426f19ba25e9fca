"""Strict generation: scores of a step over the cache have the bits of the model that has none."""
import numpy as np
import pytest
from test_cache import PROMPTS, gpt2, gpt3, neox, t5, translator

import pyops
import pyops.functional as F
from pyops import models
from pyops.core.threads import num_threads
from pyops.models.sequence.causal import Reading
from pyops.models.sequence.encoder_decoder import Writing

RNG = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def seeded():
    pyops.manual_seed(0)


def wider():
    """Of odd widths: 5 heads of 12, an inner layer of 93."""
    return models.gpt2(vocab_size=67, n_embd=60, n_layer=2, n_head=5, n_positions=150, n_inner=93,
                       activation_function="gelu", tie_word_embeddings=False).eval()


def stretched():
    return models.pythia("14m", vocab_size=61, hidden_size=48, num_hidden_layers=2, num_attention_heads=3,
                         intermediate_size=96, rotary_pct=0.5, use_parallel_residual=False,
                         rope_scaling={"rope_type": "yarn", "factor": 4.0}).eval()


def gated():
    return models.t5_small(vocab_size=61, d_model=48, d_kv=20, d_ff=64, num_layers=2, num_heads=3,
                           feed_forward_proj="gated-gelu", tie_word_embeddings=False).eval()


def pre_norm():
    return models.transformer_base(61, d_model=48, nhead=3, num_layers=2, dim_feedforward=64, norm_first=True).eval()


def whole(model, compiled):
    """Of each text, what follows it by the model without a cache."""
    def eager(*ids):
        with pyops.batch_invariant(), pyops.no_grad():
            return np.asarray(model(*ids).data)

    def program(*ids):
        if not made:
            made.append(pyops.compile(model, ids, dynamic={i: {1: None} for i in range(len(ids))},
                                      batch_invariant=True))
        return made[0](*ids)
    made = []
    return program if compiled else eager


@pytest.mark.parametrize("make", [gpt2, gpt3, neox, t5, translator, wider, stretched, gated, pre_norm])
@pytest.mark.parametrize("compiled", [False, True])
def test_bits_are_those_without_a_cache(make, compiled):
    model = make()
    writes = hasattr(model, "start")
    reading = (Writing if writes else Reading)(model, PROMPTS, 1, compiled, strict=True)
    texts = [np.array([model.start]) if writes else prompt for prompt in PROMPTS]
    forward = whole(model, compiled)
    for i in range(80):
        if i in (0, 1, 2, 3, 4, 5, 44, 79):   # caches grow in between; 100 tokens are more than one block of queries
            for row, text in enumerate(texts):
                given = (PROMPTS[row][None], text[None]) if writes else (text[None],)
                assert np.array_equal(forward(*given)[0, -1], reading.scores[row]), (i, row)
        tokens = RNG.integers(0, 61, len(texts))
        texts = [np.append(text, token) for text, token in zip(texts, tokens)]
        with num_threads(1 + i % 2):
            reading.read(tokens)


@pytest.mark.parametrize("form", ["int8", "bf16"])
def test_stored_weights_too(form):
    model = wider()
    reading, text = Reading(model, PROMPTS, 1, True, form, strict=True), PROMPTS[1]
    for _ in range(3):
        wanted = pyops.compile(model, text[None], batch_invariant=True, weights=form)(text[None])[0, -1]
        assert np.array_equal(reading.scores[1], wanted)
        reading.read(np.array([3, 5, 7]))
        text = np.append(text, 5)


def test_texts_are_those_without_a_cache_and_of_any_company():
    model = gpt2()
    texts = model.generate(PROMPTS, 20, strict=True)
    with pyops.batch_invariant():
        assert texts == model.generate(PROMPTS, 20)
        assert texts == [model.generate(prompt, 20)[0] for prompt in PROMPTS]
    assert model.generate(PROMPTS, 9, num_beams=3, strict=True) == [
        model.generate(prompt, 9, num_beams=3, strict=True)[0] for prompt in PROMPTS]
    with pytest.raises(ValueError, match="a cache of 'bf16' rounds what a strict one keeps"):
        model.generate(PROMPTS, 3, cache="bf16", strict=True)


@pytest.mark.parametrize("queries", [1, 2, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_few_queries_have_the_bits_they_have_among_many(backend, queries, dtype):
    """Grouped heads, ALiBi's slopes, bands, lengths."""
    heads, shared, keys = 6, 2, 300

    def array(*shape):
        return RNG.standard_normal(shape).astype(dtype)
    q, k, v = array(2, heads, keys, 20), array(2, shared, keys, 20), array(2, shared, keys, 12)
    slopes = (-np.exp2(-np.arange(1.0, heads + 1))).astype(dtype)
    alibi = slopes[:, None] * np.abs(np.arange(1 - keys, keys)).astype(dtype)
    for first in (0, 5, 131, keys - queries):
        rows = slice(first, first + queries)
        for how in ({}, {"key_begin": np.maximum(np.arange(keys) - 140, 0)}, {"distance_bias": alibi}):
            few = dict(how, key_end=np.arange(keys)[rows] + 1)
            if "key_begin" in how:
                few["key_begin"] = how["key_begin"][rows]
            if "distance_bias" in how:   # of queries that stand at first, not at 0
                at = keys - 1 - first - queries + 1
                few["distance_bias"] = np.ascontiguousarray(alibi[:, at:at + queries + keys - 1])
            with pyops.use_backend(backend), pyops.batch_invariant():
                wanted = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True, **how)[:, :, rows]
                some = np.ascontiguousarray(q[:, :, rows])
                found = F.scaled_dot_product_attention(some, k, v, enable_gqa=True, **few)
            assert np.array_equal(found, wanted), (first, list(how))
