"""Keys and values that are kept: in half the bits, and of as many entries as there are."""
import numpy as np
import pytest

import pyops
from pyops import models
from pyops.graph.packing import bfloat16
from pyops.kernels.attention.reference import widened
from pyops.models.sequence import folder
from pyops.models.sequence.causal import Reading
from pyops.models.sequence.encoder_decoder import Writing

RNG = np.random.default_rng(0)
PROMPTS = [RNG.integers(0, 61, n) for n in (7, 20, 1)]


@pytest.fixture(autouse=True)
def seeded():
    pyops.manual_seed(0)


def gpt2():
    return models.gpt2(vocab_size=61, n_embd=48, n_layer=2, n_head=3, n_positions=128).eval()


def neox():
    return models.pythia("14m", vocab_size=61, hidden_size=48, num_hidden_layers=2, num_attention_heads=3,
                         intermediate_size=96).eval()


def gpt3():
    return models.gpt3("small", vocab_size=61, n_embd=48, n_layer=2, n_head=3, n_positions=128, band=5).eval()


def t5():
    return models.t5_small(vocab_size=61, d_model=48, d_kv=20, d_ff=64, num_layers=2, num_heads=3).eval()


def translator():
    return models.transformer_base(61, d_model=48, nhead=3, num_layers=2, dim_feedforward=64).eval()


def reading_of(model, compiled, cache="float32"):
    kind = Writing if hasattr(model, "start") else Reading
    return kind(model, PROMPTS, 1, compiled, cache=cache)


def kept_in(reading):
    caches = getattr(reading.cache, "parts", (reading.cache,))
    return [of for of in (*caches, getattr(reading, "sources", None)) if of is not None]


@pytest.mark.parametrize("make", [gpt2, gpt3, neox, t5, translator])
@pytest.mark.parametrize("compiled", [False, True])
def test_bfloat16_is_a_float_cache_of_rounded_entries(make, compiled):
    model = make()
    stored, plain = (reading_of(model, compiled, cache) for cache in ("bf16", "float32"))
    for _ in range(70):   # more than a cache begins with
        for a, b in zip(kept_in(stored), kept_in(plain)):
            assert a.data.dtype == np.uint16 and a.data.nbytes * 2 == b.data.nbytes
            b.data[...] = widened(bfloat16(b.data))
            assert np.array_equal(widened(a.data), b.data)
        token = plain.scores.argmax(-1)
        for reading in (stored, plain):
            reading.read(token)
        # tails of features are summed by other instructions
        assert np.abs(stored.scores - plain.scores).max() <= 1e-6 * np.abs(plain.scores).max()


@pytest.mark.parametrize("make", [gpt2, t5])
def test_the_error_of_half_the_bits_is_told(make):
    error = make().stored_error(PROMPTS[1], cache="bf16")
    assert 0 < error < 0.01
    assert make().stored_error(PROMPTS[1]) < 1e-5


def test_the_error_is_told_of_a_prompt_that_leaves_one_position():
    assert 0 < gpt2().stored_error(np.arange(127) % 61, cache="bf16") < 0.01


@pytest.mark.parametrize("cache", ["float32", "bf16"])
@pytest.mark.parametrize("make", [gpt2, t5])
def test_what_no_entry_was_written_to_is_never_read(make, cache):
    model = make()
    found, wanted = (reading_of(model, True, cache) for _ in range(2))
    for kept in kept_in(found):
        for row, length in enumerate(kept.lengths):
            kept.data[:, :, row, :, length:] = np.nan if cache == "float32" else 0x7fc0
    token = wanted.scores.argmax(-1)
    for reading in (found, wanted):
        reading.read(token)
    assert np.array_equal(found.scores, wanted.scores)


@pytest.mark.parametrize("cache", ["float32", "bf16"])
def test_a_step_is_a_program_that_files_hold(cache, tmp_path):
    model = gpt2()
    reading = reading_of(model, True, cache)
    token = reading.scores.argmax(-1)
    given = token[:, None], reading.cache.lengths[:, None].copy(), reading.cache.data.copy()
    reading.read(token)
    reading.functions.made_for("step", given).program_for(*given).save(tmp_path / "step.npz")
    scores, _ = pyops.Program.load(tmp_path / "step.npz")(*given)
    assert np.array_equal(scores, reading.scores)


def test_texts_over_bfloat16():
    model = gpt2()
    found = model.generate(PROMPTS, 30, cache="bf16")
    assert found == model.generate(PROMPTS, 30, cache="bf16", compiled=False)
    assert found == [model.generate(prompt, 30, cache="bf16")[0] for prompt in PROMPTS]
    assert len(model.generate(PROMPTS, 9, num_beams=3, cache="bf16")) == 3
    with pytest.raises(ValueError, match="cache must be one of float32, bf16, got 'fp8'"):
        model.generate(PROMPTS, 2, cache="fp8")


def test_a_summary_measures_attention_to_all_keys():
    """Lengths are inputs of a step: with none there would be nothing to measure."""
    from pyops.graph.program import lengths_of
    model, places = gpt2(), np.zeros((1, 1), np.int64)
    past = np.zeros((2, 2, 1, 3, 128, 16), np.float32)
    step = pyops.compile(model.step, (places, places, past))
    assert lengths_of(step.plan) == {1: 127}
    assert "attention_within" in step.summary(2)
    assert len(step.measured(2, (places, places + 5, past))) == len(step.steps)
    with pytest.raises(IndexError):
        step.measured(1, (places, places + 128, past))   # of no position


@pytest.mark.parametrize("band", [2, 5, 9])
@pytest.mark.parametrize("compiled", [False, True])
def test_banded_layers_keep_a_ring(band, compiled):
    """Prompts shorter and longer than the band, and texts that go round it several times."""
    model = models.gpt3("small", vocab_size=61, n_embd=48, n_layer=3, n_head=3, n_positions=128, band=band).eval()
    reading, texts = Reading(model, PROMPTS, 1, compiled), list(PROMPTS)
    dense, ring = reading.cache.parts
    begun = ring.data
    assert (dense.data.shape[0], ring.data.shape[0], ring.capacity) == (2, 1, band - 1)
    for i in range(60):
        if i % 7 < 2:
            whole = np.stack([np.asarray(model(text[None]).data)[0, -1] for text in texts])
            assert np.abs(reading.scores - whole).max() <= 2e-6 * np.abs(whole).max()
        tokens = RNG.integers(0, 61, len(texts))
        texts = [np.append(text, token) for text, token in zip(texts, tokens)]
        reading.read(tokens)
    assert ring.data is begun   # in place
    assert np.array_equal(ring.lengths, dense.lengths)
    assert model.generate(PROMPTS, 9, num_beams=3, compiled=compiled) == [
        model.generate(prompt, 9, num_beams=3, compiled=compiled)[0] for prompt in PROMPTS]


def test_a_band_longer_than_any_text_is_dense():
    wide = models.gpt3("small", vocab_size=61, n_embd=48, n_layer=2, n_head=3, n_positions=64, band=500).eval()
    assert wide.generate(PROMPTS, 30) == wide.generate(PROMPTS, 30, strict=True)


def test_prefill_and_step_share_packed_weights():
    """Also those that a layer has turned (Conv1D): what a second Program holds beside is small."""
    model = models.gpt2(vocab_size=61, n_embd=128, n_layer=2, n_head=4, n_positions=128).eval()
    reading = Reading(model, PROMPTS, 1, True)
    reading.read(reading.scores.argmax(-1))
    constants = [{id(a): a for program in varying._programs.values() for a in program.plan.constants}
                 for varying in reading.functions.made.values()]
    packed = [a for a in constants[0].values() if a.ndim == 3]
    assert len(packed) >= 8 and all(id(a) in constants[1] for a in packed)


def test_a_folder_is_held_once(tmp_path, monkeypatch):
    """Parameters are the arrays that were read."""
    read, real = [], folder.read_arrays

    def load(path):
        read.append(real(path))
        return read[-1]
    models.save_transformer(gpt2(), tmp_path)
    monkeypatch.setattr("pyops.models.sequence.folder.read_arrays", load)
    model = models.load_transformer(tmp_path)
    assert {id(p.data) for p in model.parameters()} <= {id(array) for array in read[0].values()}
    assert model.lm_head.weight is model.transformer.wte.weight
    assert all(p.data.flags.writeable and p.data.dtype == np.float32 for p in model.parameters())
    model.loss(PROMPTS[1][None]).backward()
    assert all(p.grad is not None for p in model.parameters())


def calls_and_bytes(layers):
    """Of one step of a warm reading: calls of functions, Python's and C's, and bytes that were allocated at
    most beyond the step's results."""
    import sys
    import tracemalloc
    model = models.gpt2(vocab_size=61, n_embd=48, n_layer=layers, n_head=3, n_positions=128).eval()
    reading, token, count = Reading(model, PROMPTS, 1, True), np.array([1, 2, 3]), 0

    def counted(frame, event, _):
        nonlocal count
        count += event in ("call", "c_call")
    for _ in range(3):
        reading.read(token)
    given = token[:, None], reading.cache.lengths[:, None], *reading.cache.arrays
    step = reading.functions.made_for("step", given).program_for(*given)
    step(*given)
    sys.setprofile(counted)
    try:
        reading.read(token)
    finally:
        sys.setprofile(None)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        results = step(*given)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    return count, peak - sum(r.nbytes for r in results), step._native.workspaces()


def test_a_step_has_no_python_and_no_memory_for_a_layer():
    (calls, few, spaces), (more_calls, many, more_spaces) = calls_and_bytes(1), calls_and_bytes(6)
    assert calls == more_calls
    assert max(few, many) < 8192 and abs(many - few) < 1024
    assert spaces == more_spaces == 1   # the arena, kept from run to run
