"""What BERT and T5 are trained on: shares as their papers say, and nothing lost."""
import numpy as np
import pytest

from pyops.text import corrupt_spans, mask_words


def test_masked_words_have_the_papers_shares():
    ids = np.random.default_rng(0).integers(5, 1000, (300, 200))
    ids[:, 0], ids[:, -1] = 1, 2
    read, words = mask_words(ids, 3, 1000, np.random.default_rng(1), special=(1, 2))
    at = words != -100
    assert not at[:, [0, -1]].any() and np.array_equal(words[at], ids[at]) and np.array_equal(read[~at], ids[~at])
    n = at.sum()
    deviation = 4 / np.sqrt(n)   # four standard deviations of a share of n draws, at most
    assert abs(at[:, 1:-1].mean() - 0.15) < 4 * np.sqrt(0.15 * 0.85 / at[:, 1:-1].size)
    assert abs((read[at] == 3).mean() - 0.8) < 0.5 * deviation
    assert abs((read[at] == ids[at]).mean() - 0.1) < 0.5 * deviation
    again = mask_words(ids, 3, 1000, np.random.default_rng(1), special=(1, 2))
    assert np.array_equal(again[0], read) and np.array_equal(again[1], words)


def put_back(source, target, sentinels):
    """The text: every sentinel of the source is replaced by what follows it in the target."""
    spans, mark = {}, None
    for token in target:
        if token in sentinels:
            mark = token
            spans[mark] = []
        else:
            spans[mark].append(token)
    return [t for token in source for t in (spans[token] if token in sentinels else [token])]


@pytest.mark.parametrize("length, rate, mean", [
    (2, 0.15, 3), (20, 0.15, 3), (100, 0.5, 3), (100, 0.15, 10), (7, 1.0, 1), (50, 0.0, 2)])
def test_spans_come_back(length, rate, mean):
    sentinels, ids = list(range(1000, 1060)), np.arange(length)
    for seed in range(20):
        source, target = corrupt_spans(ids, sentinels, np.random.default_rng(seed), rate, mean, end=7000)
        assert source[-1] == target[-1] == 7000
        source, target = source[:-1].tolist(), target[:-1].tolist()
        assert put_back(source, target, set(sentinels)) == ids.tolist()
        left_out = min(max(round(rate * length), 1), length - 1)
        marks = [t for t in source if t >= 1000]
        assert len(source) - len(marks) == length - left_out
        assert marks == sentinels[:len(marks)] and [t for t in target if t >= 1000] == sentinels[:len(marks) + 1]
        assert len(marks) == max(1, min(round(left_out / mean), length - left_out))


def test_bad_input_is_named():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="5 spans need 6 sentinels, got 3"):
        corrupt_spans(np.arange(100), [1, 2, 3], rng)
    with pytest.raises(ValueError, match="one text of at least two tokens"):
        corrupt_spans([4], [1, 2], rng)
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\], got 1.5"):
        corrupt_spans([4, 5], [1, 2], rng, 1.5)
    with pytest.raises(ValueError, match="ids must be whole numbers, got float64"):
        mask_words([[0.5]], 1, 10, rng)
    with pytest.raises(ValueError, match="below the vocabulary of 10"):
        mask_words([[11]], 1, 10, rng)
