"""Cases of the rows of pyops/ops/ctc.py, and calls that they refuse."""
import numpy as np

from ...core.cases import A, Array, I, bad, case


class LogProbs(Array):
    """Logarithms of probabilities along the last axis."""

    def make(self, dtype, rng):
        x = rng.standard_normal(self.shape)
        return np.asarray(x - np.log(np.exp(x).sum(-1, keepdims=True)), dtype)


def L(*shape):
    return LogProbs(shape)


# torch's gradient is that behind log_softmax: tests/fuzz/against_torch.py compares it there
OWN = {"torch": None}
CASES = {
    "ctc_loss": [
        *(case(f"batch_{r}", "ctc_loss", L(12, 3, 6), I(3, 4, high=6, low=1), [12, 10, 9], [4, 3, 2], reduction=r, **OWN)
          for r in ("none", "mean", "sum")),
        case("one_behind_the_other", "ctc_loss", L(9, 3, 5), I(7, high=5, low=1), [9, 9, 8], [3, 0, 4], **OWN),
        case("one_sample", "ctc_loss", L(9, 5), I(3, high=5, low=1), 9, 3, **OWN),
        case("other_blank", "ctc_loss", L(9, 2, 5), I(2, 3, high=4), [9, 9], [3, 2], blank=4, **OWN),
        case("repeats", "ctc_loss", L(12, 2, 3), np.array([[1, 1, 1, 2], [2, 2, 1, 1]]), [12, 8], [4, 4], **OWN),
        case("many_states", "ctc_loss", L(60, 2, 30), I(2, 25, high=30, low=1), [60, 57], [25, 21], **OWN),
        case("whole_vectors", "ctc_loss", L(40, 2, 12), I(2, 16, high=12, low=1), [40, 40], [16, 15], **OWN),
        case("just_long_enough", "ctc_loss", L(4, 1, 9), np.array([[1, 2, 3, 4]]), [4], [4], **OWN),
        case("too_long_zero", "ctc_loss", L(3, 2, 9), np.array([[1, 2, 3, 4], [1, 2, 0, 0]]), [3, 3], [4, 2], reduction="none", zero_infinity=True, **OWN),
        case("too_long", "ctc_loss", L(3, 2, 9), np.array([[1, 2, 3, 4], [1, 2, 0, 0]]), [3, 3], [4, 2], reduction="none", gradient=False, **OWN),
        case("no_steps", "ctc_loss", L(3, 2, 4), np.array([[1, 2], [1, 2]]), [0, 3], [0, 2], reduction="none", **OWN),
        case("no_labels", "ctc_loss", L(5, 2, 4), np.zeros((2, 0), np.int64), [5, 4], [0, 0], **OWN),
    ],
}
REFUSES = {
    "ctc_loss": [
        bad("axes", "ctc_loss", A(5), I(2, high=3), [5], [2], match="log_probs must be"),
        bad("blank", "ctc_loss", L(5, 1, 4), I(1, 2, high=3), [5], [2], blank=4, match="blank must be"),
        bad("label", "ctc_loss", L(5, 1, 4), I(1, 2, high=5, low=4), [5], [2], match="target 4 is not one of the 4"),
        bad("input_length", "ctc_loss", L(5, 1, 4), I(1, 2, high=4, low=1), [6], [2], match="input_lengths must be within"),
        bad("target_length", "ctc_loss", L(5, 1, 4), I(1, 2, high=4, low=1), [5], [3], match="target_lengths must fit"),
        bad("target_length_negative", "ctc_loss", L(5, 1, 4), I(1, 2, high=4, low=1), [5], [-1], match="target_lengths must fit"),
        bad("flat_too_short", "ctc_loss", L(5, 2, 4), I(3, high=4, low=1), [5, 5], [2, 2], match="target_lengths must fit"),
        bad("lengths_shape", "ctc_loss", L(5, 2, 4), I(2, 3, high=4, low=1), [5], [2, 2], match="must be 2 whole"),
        bad("reduction", "ctc_loss", L(5, 1, 4), I(1, 2, high=4, low=1), [5], [2], reduction="max", match="'max'"),
        bad("targets", "ctc_loss", L(5, 2, 4), I(3, 3, high=4, low=1), [5, 5], [2, 2], match="targets must be"),
    ],
}
