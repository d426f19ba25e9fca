"""Characters as numbers, drawing the next one, the text that every Python carries,
and chunks of a text."""
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, strategies as st

from pyops import models
from pyops.text import Characters, draw, standard_library
from pyops.train import chunks


@given(st.text(min_size=1), st.text())
def test_characters_go_to_numbers_and_back(text, other):
    characters = Characters.of(text)
    numbers = characters.encode(text)
    assert characters.decode(numbers) == text and characters.alphabet == "".join(sorted(set(text)))
    assert numbers.dtype == np.int64 and set(numbers) == set(range(len(characters)))
    unknown = sorted(set(other) - set(text))
    if unknown:
        with pytest.raises(ValueError) as error:
            characters.encode(other)
        assert repr(unknown[0]) in str(error.value)
    else:
        assert characters.decode(characters.encode(other)) == other


def test_unknown_characters_are_named():
    with pytest.raises(
            ValueError,
            match=r"these characters are not among the 3 known: 'é' \(U\+00E9\), '東' \(U\+6771\)$"):
        Characters("abc").encode("a東bé")
    with pytest.raises(ValueError, match=r"this character is not among the 3 known: '\\n' \(U\+000A\)$"):
        Characters("abc").encode("a\n")
    with pytest.raises(ValueError, match=", ...$"):
        Characters("a").encode("bcdefghijklm")


@pytest.mark.parametrize("alphabet, match", [("", "none"), ("aba", "twice")])
def test_an_alphabet_that_is_none(alphabet, match):
    with pytest.raises(ValueError, match=match):
        Characters(alphabet)
    with pytest.raises(ValueError, match="empty"):
        Characters.of("")


# ---- drawing

@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("top_k", [None, 3, 100])
def test_draws_have_the_softmaxs_frequencies(temperature, top_k):
    rng, scores = np.random.default_rng(0), np.float32([1.0, -2.0, 0.5, 3.0, 2.5])
    p = np.exp(scores.astype(np.float64) / temperature)
    if top_k == 3:
        p[[1, 2]] = 0
    p /= p.sum()
    n = 20000
    got = np.bincount([draw(scores, rng, temperature, top_k) for _ in range(n)], minlength=5) / n
    assert (np.abs(got - p) <= 5 * np.sqrt(p * (1 - p) / n)).all()


def test_the_extremes_of_drawing():
    rng, scores = np.random.default_rng(0), np.float32([-1e30, 1e30, 5, 1e30])
    assert draw(scores, rng, 1.0, 1) == 1, "of equals the first"
    assert ({draw(scores, rng, 1e-300) for _ in range(50)} == {1, 3}
            and {draw(scores, rng, 1e300) for _ in range(99)} == {0, 1, 2, 3})
    assert draw(np.float32([7]), rng) == 0
    for bad in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="temperature"):
            draw(scores, rng, bad)
    with pytest.raises(ValueError, match="top_k"):
        draw(scores, rng, 1.0, 0)
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            draw(np.float32([0, bad]), rng)


# ---- the standard library

def test_the_librarys_text_is_always_the_same_ascii():
    text = standard_library(200_000)
    assert len(text) == 200_000 and text.isascii() and "import" in text and "\r\n" not in text
    assert text == standard_library(300_000)[:200_000] and standard_library(100) == text[:100]
    code = ("import hashlib; from pyops.text import standard_library; "
            "print(hashlib.sha256(standard_library(200_000).encode()).hexdigest())")
    said = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
            for _ in range(2)}
    assert len(said) == 1


def test_a_library_without_sources_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no Python sources"):
        standard_library()


# ---- chunks

@pytest.mark.parametrize("count, batch, length",
                         [(101, 4, 5), (100, 3, 7), (8, 1, 7), (50, 7, 7), (41, 4, 10)])
def test_chunks_go_on_where_they_ended(count, batch, length):
    numbers = np.arange(count)
    got = list(chunks(numbers, batch, length))
    x, y = (np.concatenate(part, 1) for part in zip(*got))
    assert (np.array_equal(y, x + 1)
            and all(a.shape == b.shape and a.shape[0] == batch and 1 <= a.shape[1] <= length for a, b in got))
    assert np.array_equal(
        np.ravel(x), numbers[:x.size]) and count - 1 - x.size < batch, "a stream is one stretch of the text"


@pytest.mark.parametrize("count, batch, length", [(0, 1, 1), (1, 1, 1), (7, 1, 7), (20, 4, 5)])
def test_a_text_without_a_whole_chunk_is_refused(count, batch, length):
    with pytest.raises(ValueError, match=f"needs {batch * length + 1};"):
        chunks(np.arange(count), batch, length)


# ---- the network

@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru", "peephole"])
def test_char_rnn_reads_in_pieces_as_in_one(kind):
    model = models.char_rnn(11, kind, hidden=8, layers=2, embedding=5).eval()
    x = np.random.default_rng(0).integers(0, 11, (3, 9))
    whole, end = model(x)
    state, pieces = None, []
    for begin, length in ((0, 1), (1, 5), (6, 3)):
        scores, state = model(x[:, begin:begin + length], state)
        pieces.append(scores.data)
    assert whole.shape == (3, 9, 11)
    np.testing.assert_allclose(np.concatenate(pieces, 1), whole.data, atol=1e-6)
    for a, b in zip(*(s if isinstance(s, tuple) else (s,) for s in (state, end))):
        np.testing.assert_allclose(a.data, b.data, atol=1e-6)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru", "peephole"])
@pytest.mark.parametrize("vocabulary, hidden, layers",
                         [(2, 16, 1), (96, 128, 2), (30, 512, 1), (1000, 64, 3)])
def test_the_loss_starts_at_ln_vocabulary(kind, vocabulary, hidden, layers):
    model = models.char_rnn(vocabulary, kind, hidden, layers)
    x = np.random.default_rng(0).integers(0, vocabulary, (4, 21))
    loss = model.loss(model(x[:, :-1])[0], x[:, 1:]).item()
    assert abs(loss / np.log(vocabulary) - 1) <= 0.05


def test_generate_is_lazy_seeded_and_leaves_the_tape_on():
    model = models.char_rnn(7, "gru", hidden=8).eval()
    endless = model.generate([1, 2], generator=np.random.default_rng(3))
    first = [next(endless) for _ in range(20)]
    assert (first == list(model.generate(np.array([1, 2]), 20, generator=np.random.default_rng(3)))
            and set(first) <= set(range(7)))
    scores, _ = model(np.array([[1]]))
    assert scores.requires_grad, "a generator under way must not stop recording elsewhere"
    assert list(model.generate([1], 0)) == []
    greedy = list(model.generate([1], 5, top_k=1))
    assert greedy == list(model.generate([1], 5, temperature=1e-200))


def test_char_rnn_refuses():
    for options, match in (({"vocabulary": 0}, "vocabulary"), ({"hidden": 0}, "hidden"),
                           ({"layers": 0}, "layers"), ({"embedding": 0}, "embedding"),
                           ({"kind": "LSTM"}, "rnn, lstm, gru, peephole"),
                           ({"dropout": 1.5}, "dropout|p must|probab")):
        with pytest.raises(ValueError, match=match):
            models.char_rnn(**{"vocabulary": 5, **options})
    model = models.char_rnn(5)
    for options, match in (({"prompt": []}, "at least one"), ({"temperature": 0}, "temperature"),
                           ({"top_k": 0}, "top_k")):
        with pytest.raises(ValueError, match=match):
            model.generate(**{"prompt": [1], **options})
    with pytest.raises(ValueError, match="index 5"):
        model(np.array([[5]]))
