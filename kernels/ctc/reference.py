"""ctc_loss in NumPy: the definition, a state at a time. Graves et al. (2006)."""
import numpy as np


def states(targets, start, length, blank):
    """Labels with blanks around them, and whether each may be come to from the one before the last."""
    label = np.full(2 * length + 1, blank)
    label[1::2] = targets[start:start + length]
    skip = np.zeros(len(label), bool)
    skip[2:] = (label[2:] != blank) & (label[2:] != label[:-2])
    return label, skip


def joined(row, skip):
    """log of the sum of what comes from a state, the one before and, where it may, the one before that."""
    one, two = np.full(len(row), -np.inf), np.full(len(row), -np.inf)
    one[1:], two[2:] = row[:-1], row[:-2]
    return np.logaddexp(np.logaddexp(row, one), np.where(skip, two, -np.inf))


def ctc_loss(log_probs, targets, starts, input_lengths, target_lengths, *, blank, longest, zero_infinity):
    """The loss of each sample; the same before zero_infinity; alpha (samples, steps, states)."""
    steps, samples, _ = log_probs.shape
    alpha = np.full((samples, steps, 2 * longest + 1), -np.inf, log_probs.dtype)
    nll = np.empty(samples, log_probs.dtype)
    for n in range(samples):
        label, skip = states(targets, starts[n], target_lengths[n], blank)
        row = np.full(len(label), -np.inf)
        for t in range(input_lengths[n]):
            if t == 0:
                row[:2] = 0
            row = (joined(row, skip) if t else row) + log_probs[t, n, label]
            alpha[n, t, :len(label)] = row
        end = np.logaddexp.reduce(row[-2:])
        nll[n] = -end if input_lengths[n] else 0 if len(label) == 1 else np.inf
    return np.where(np.isposinf(nll) & zero_infinity, 0, nll), nll, alpha


def ctc_loss_backward(g, log_probs, targets, starts, input_lengths, target_lengths, nll, alpha, *, blank, longest,
                      zero_infinity):
    """d loss / d log_probs, log_probs being free: torch's adds what log_softmax takes away again."""
    d = np.zeros_like(log_probs)
    for n in range(log_probs.shape[1]):
        if not np.isfinite(nll[n]):
            d[:input_lengths[n], n] = 0 if zero_infinity else np.nan
            continue
        label, skip = states(targets, starts[n], target_lengths[n], blank)
        row = np.full(len(label), -np.inf)
        turned = np.zeros(len(label), bool)   # from the end: state s comes from s + 2 where that may skip
        turned[2:] = skip[:1:-1]
        for t in range(input_lengths[n] - 1, -1, -1):
            if t == input_lengths[n] - 1:
                row[-2:] = 0
            else:
                row = joined(row[::-1], turned)[::-1]
            before = row
            row = row + log_probs[t, n, label]
            there = np.isfinite(alpha[n, t, :len(label)]) & np.isfinite(row)
            share = np.where(there, np.exp(np.where(there, alpha[n, t, :len(label)] + before, 0) + nll[n]), 0)
            np.add.at(d[t, n], label, -g[n] * share)
    return d
