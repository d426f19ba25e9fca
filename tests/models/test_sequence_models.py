"""The wirings of recurrent layers: each learns a small task that it is made for; padding changes
nothing; what does not fit is refused."""
import numpy as np
import pytest

import pyops
from pyops import functional as F, models, optim
from pyops.models.sequence.teacher_forcing import NO_TARGET, forced

DIGITS = "0123456789+"
LETTERS = "abcdefghijklmnopqrstuvwxyz-"
KINDS = ["rnn", "lstm", "gru", "peephole"]


def learn(model, loss_of_a_batch, steps, lr):
    rule = optim.Adam(model.parameters(), lr)
    schedule = optim.CosineAnnealingLR(rule, steps, lr / 20)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        rule.zero_grad()
        loss_of_a_batch(rng).backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        rule.step()
        schedule.step()


def padded(sequences):
    """Lists of numbers as (numbers (N, T), lengths (N,)); behind the end stands what must not
    matter."""
    lengths = np.array([len(s) for s in sequences])
    numbers = np.zeros((len(sequences), lengths.max()), np.int64)
    for row, sequence in zip(numbers, sequences):
        row[:len(sequence)] = sequence
    return numbers, lengths


def exact(written, wanted):
    """The share of sequences that are right from end to end."""
    return np.mean([list(a) == list(b) for a, b in zip(written, wanted, strict=True)])


# ---- many to one

@pytest.mark.parametrize("kind, bidirectional", [("rnn", True), ("peephole", False), ("gru", False)])
def test_a_sequence_is_classified_by_what_stood_in_it_once(kind, bidirectional):
    """One of two markers stands somewhere among noise; rows have different lengths."""
    pyops.manual_seed(0)
    model = models.sequence_classifier(10, 2, kind, 32, bidirectional=bidirectional)

    def batch(rng, n=64):
        x, lengths, y = rng.integers(2, 10, (n, 16)), rng.integers(4, 17, n), rng.integers(0, 2, n)
        x[np.arange(n), rng.integers(0, lengths)] = y
        return x, y, lengths

    def loss(rng):
        x, y, lengths = batch(rng)
        return F.cross_entropy(model(x, lengths), y)
    learn(model, loss, 70, 1e-2)
    x, y, lengths = batch(np.random.default_rng(1), 300)
    assert (np.argmax(model(x, lengths).data, -1) == y).mean() >= 0.98


# ---- many to many

def test_numbers_are_added_digit_by_digit_at_any_length():
    """Two numbers come lowest digit first; the carry is what has to be remembered. Learned on 8
    digits, tried on 25."""
    pyops.manual_seed(0)
    model = models.sequence_tagger(20, 10, "gru", 48)

    def batch(rng, n=64, digits=8):
        a, b = rng.integers(0, 10, (2, n, digits))
        b = np.where(rng.random((n, digits)) < 0.3, 9 - a, b)   # a carry that comes in goes on
        a[:, -1] = b[:, -1] = 0
        total, carry = np.empty((n, digits), np.int64), 0
        for t in range(digits):
            carry, total[:, t] = np.divmod(a[:, t] + b[:, t] + carry, 10)
        return np.concatenate([np.eye(10, dtype=np.float32)[d] for d in (a, b)], -1), total

    def loss(rng):
        x, y = batch(rng)
        return F.cross_entropy(F.reshape(model(x), (-1, 10)), y.reshape(-1))
    learn(model, loss, 500, 2e-2)
    x, y = batch(np.random.default_rng(1), 200, 25)
    assert (np.argmax(model(x).data, -1) == y).all(1).mean() >= 0.95


def test_a_bidirectional_tagger_sees_what_comes():
    """Tagged is whether a zero is still to come: nothing that only reads forwards can say."""
    pyops.manual_seed(0)
    model = models.sequence_tagger(6, 2, "gru", 16, bidirectional=True)

    def batch(rng, n=64):
        x, lengths = rng.integers(0, 6, (n, 12)), rng.integers(1, 13, n)
        inside = np.arange(12) < lengths[:, None]
        coming = np.flip(np.cumsum(np.flip((x == 0) & inside, 1), 1), 1) - (x == 0) > 0
        return np.eye(6, dtype=np.float32)[x], np.where(inside, coming, NO_TARGET).astype(np.int64), lengths

    def loss(rng):
        x, y, lengths = batch(rng)
        return F.cross_entropy(F.reshape(model(x, lengths), (-1, 2)), y.reshape(-1), ignore_index=NO_TARGET)
    learn(model, loss, 150, 2e-2)
    x, y, lengths = batch(np.random.default_rng(1), 300)
    right = np.argmax(model(x, lengths).data, -1) == y
    assert right[y != NO_TARGET].mean() >= 0.98


# ---- one to many

def names_of_numbers():
    small = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
             "sixteen seventeen eighteen nineteen").split()
    tens = "twenty thirty forty fifty sixty seventy eighty ninety".split()
    return small + [ten + (f"-{small[unit]}" if unit else "") for ten in tens for unit in range(10)]


def test_a_vector_is_described_in_letters():
    """The vector says tens and units; what is written is the number's English name, up to fifty."""
    pyops.manual_seed(0)
    names, one = names_of_numbers()[:50], np.eye(10, dtype=np.float32)
    vectors = np.concatenate([one[np.arange(50) // 10], one[np.arange(50) % 10]], 1)
    tokens, lengths = padded([[LETTERS.index(c) for c in name] for name in names])
    model = models.captioner(20, len(LETTERS), "lstm", 64)

    def loss(rng):
        chosen = rng.choice(50, 25)
        return model.loss(vectors[chosen], tokens[chosen], lengths[chosen])
    learn(model, loss, 220, 1.5e-2)
    written = ["".join(LETTERS[c] for c in row) for row in model.generate(vectors)]
    assert exact(written, names) >= 0.95, [(a, b) for a, b in zip(written, names) if a != b]


# ---- encoder and decoder

@pytest.mark.parametrize("task, kind", [("copy", "lstm"), ("reverse", "gru")])
def test_sequences_are_copied_and_reversed(task, kind):
    pyops.manual_seed(0)
    model = models.seq2seq(10, 10, kind, 64)

    def batch(rng, n=32):
        source = [rng.integers(0, 10, rng.integers(1, 6)) for _ in range(n)]
        return source, [s if task == "copy" else s[::-1] for s in source]

    def loss(rng):
        source, target = map(padded, batch(rng))
        return model.loss(source[0], target[0], source[1], target[1])
    learn(model, loss, 250 if task == "copy" else 350, 1.2e-2)
    source, target = batch(np.random.default_rng(1), 200)
    assert exact(model.generate(*padded(source)), target) >= 0.95
    if task == "reverse":
        (x, s), (y, _) = padded([source[0]] * 2), padded([target[0]] * 2)
        weights = model.alignment(x, y, s)
        assert (weights.shape == (2, len(source[0]) + 1, len(source[0]))
                and np.allclose(weights.sum(-1), 1, atol=1e-5))


def test_sums_are_written_out():
    """"37+5" to "42", read and written as characters (the sum from its lowest digit). The pairs
    tried were never seen."""
    pyops.manual_seed(0)
    model = models.seq2seq(11, 10, "gru", 96)

    def held_out(a, b):
        return (7 * a + 3 * b) % 11 == 0

    def batch(rng, n=64, seen=True):
        pairs = [(a, b) for a, b in rng.integers(0, 100, (12 * n, 2)) if held_out(a, b) != seen][:n]
        return ([[DIGITS.index(c) for c in f"{a}+{b}"] for a, b in pairs],
                [[int(c) for c in str(a + b)[::-1]] for a, b in pairs])

    def loss(rng):
        source, target = map(padded, batch(rng))
        return model.loss(source[0], target[0], source[1], target[1])
    learn(model, loss, 450, 8e-3)
    source, target = batch(np.random.default_rng(1), 200, seen=False)
    assert exact(model.generate(*padded(source)), target) >= 0.9


# ---- padding and the ends

@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 2])
def test_what_stands_behind_the_end_changes_nothing(kind, layers):
    rng = np.random.default_rng(0)
    source, target, s, t = (rng.integers(0, 7, (3, 6)), rng.integers(0, 5, (3, 4)), np.array([6, 2, 4]),
                            np.array([1, 4, 3]))
    other_source, other_target = source.copy(), target.copy()
    other_source[np.arange(6) >= s[:, None]] = 6
    other_target[np.arange(4) >= t[:, None]] = 4
    model = models.seq2seq(7, 5, kind, 8, layers)
    assert model.loss(source, target, s, t).item() == model.loss(other_source, other_target, s, t).item()
    assert model.generate(source, s, 9) == model.generate(other_source, s, 9)
    alone = [model.generate(source[i:i + 1, :s[i]], most=9)[0] for i in range(3)]
    assert model.generate(source, s, 9) == alone, "neighbours of a batch have no say"
    classifier = models.sequence_classifier(7, 3, kind, 8, layers, bidirectional=True)
    assert np.array_equal(classifier(source, s).data, classifier(other_source, s).data)
    for i in range(3):
        np.testing.assert_allclose(classifier(source[i:i + 1, :s[i]]).data[0], classifier(source, s).data[i],
                                   atol=1e-6)
    writer = models.captioner(4, 5, kind, 8, layers)
    vectors = rng.standard_normal((3, 4), np.float32)
    assert writer.loss(vectors, target, t).item() == writer.loss(vectors, other_target, t).item()
    assert [writer.generate(vectors[i:i + 1], 9)[0] for i in range(3)] == writer.generate(vectors, 9)


def test_what_is_read_and_answered_in_training():
    inputs, targets = forced(np.array([[1, 2, 3], [4, 0, 0], [0, 0, 0]]), np.array([3, 1, 0]), 9)
    assert inputs.tolist() == [[9, 1, 2, 3], [9, 4, 9, 9], [9, 9, 9, 9]]
    no = NO_TARGET
    assert targets.tolist() == [[1, 2, 3, 9], [4, 9, no, no], [9, no, no, no]]
    whole = forced(np.array([[1, 2]]), None, 9)
    assert whole[0].tolist() == [[9, 1, 2]] and whole[1].tolist() == [[1, 2, 9]]


def test_writing_ends_at_most():
    model = models.captioner(4, 5, "gru", 8)
    model.head.bias.data[2] = 100
    assert model.generate(np.ones((2, 4), np.float32), 7) == [[2] * 7] * 2
    assert model.generate(np.ones((2, 4), np.float32), 0) == [[], []]
    model.head.bias.data[5] = 200
    assert model.generate(np.ones((2, 4), np.float32), 7) == [[], []]


@pytest.mark.parametrize("call, match", [
    (lambda: models.seq2seq(5, 5, hidden=7), "even"), (lambda: models.seq2seq(5, 5, "transformer"), "kind"),
    (lambda: models.sequence_classifier(5, 2, "tree"), "kind"),
    (lambda: models.captioner(5, 2, "tree"), "kind"),
    (lambda: models.captioner(5, 2).loss(np.ones((2, 5), np.float32), np.zeros((2, 3))), "integers"),
    (lambda: models.captioner(5, 2).loss(np.ones((2, 5), np.float32), np.zeros(3, int)), "integers"),
    (lambda: models.captioner(5, 2).loss(np.ones((2, 5), np.float32), np.zeros((2, 3), int), [4, 1]),
     "lengths"),
    (lambda: models.captioner(5, 2).loss(np.ones((2, 5), np.float32), np.zeros((2, 3), int), [1]), "lengths"),
    (lambda: models.captioner(5, 2).loss(np.ones((2, 5), np.float32), np.full((2, 3), 3)), "index 3 is not"),
    (lambda: models.sequence_classifier(5, 2)(np.zeros((2, 3), int), [4, 1]), "length"),
    (lambda: models.sequence_classifier(5, 2)(np.zeros((2, 3), int), [0, 1]), "length"),
    (lambda: models.sequence_tagger(5, 2)(np.zeros((2, 3, 4), np.float32)), "4")])
def test_what_does_not_fit_is_refused(call, match):
    with pytest.raises((ValueError, TypeError), match=match):
        call()
