"""Cases of the rows of pyops/ops/places.py that take boxes, and calls that they refuse."""
import numpy as np

from ...core.cases import A, Array, bad, case

# Corners (x1, y1, x2, y2) in pairs that overlap by 0.6, 0.5 and not at all, the second of a pair with the
# better score; and two boxes of no area.
PAIRS = np.array([[0, 0, 4, 4], [1, 0, 5, 4], [10, 0, 13, 3], [11, 0, 14, 3], [20, 0, 21, 1], [30, 0, 31, 1],
                  [2, 2, 2, 9], [2, 2, 2, 9]], np.float32)
SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.9, 0.9], np.float32)



class Regions(Array):
    """(k, 5): a sample of two, and corners of which the second is greater, some outside of the image."""

    def make(self, dtype, rng):
        k = self.shape[0]
        low = rng.uniform(-3, 8, (k, 2))
        return np.concatenate([rng.integers(0, 2, (k, 1)), low, low + rng.uniform(0.1, 9, (k, 2))], 1).astype(dtype)


def _regions(k):
    return Regions((k, 5), grad=False)


CASES = {
    "roi_align": [
        *(case(f"ratio{ratio}{'_aligned' * aligned}_{scale}", "roi_align", A(2, 5, 9, 11), _regions(6), (3, 2), scale, ratio, aligned, torch=None)
          for ratio in (-1, 1, 2) for aligned in (False, True) for scale in (1.0, 0.5)),
        case("many_channels", "roi_align", A(2, 19, 6, 7), _regions(3), 2, torch=None),
        case("no_regions", "roi_align", A(2, 3, 6, 7), A(0, 5, grad=False), 2, torch=None),
        case("listed", "roi_align", A(2, 3, 6, 7),
             [A(1, 4, values="positive", scale=3.0, grad=False), A(2, 4, values="positive", scale=3.0, grad=False)], 2, torch=None, gradient=False),
    ],
    "suppress": [
        case("random", "nms", A(40, 4, values="positive"), A(40, values="distinct"), 0.3, gradient=False,
             torch=None),
        case("pairs_above", "nms", PAIRS, SCORES, 0.55, gradient=False, torch=None),
        case("pairs_at_half", "nms", PAIRS, SCORES, 0.5, gradient=False, torch=None),
        case("pairs_below", "nms", PAIRS, SCORES, 0.4, gradient=False, torch=None),
        case("one", "nms", A(1, 4, values="positive"), A(1), 0.5, gradient=False, torch=None),
        case("equal_scores", "nms", PAIRS, np.zeros(8, np.float32), 0.2, gradient=False,
             torch=None),
        case("not_a_number", "nms", PAIRS[:3],
             np.array([np.nan, 1, -np.inf], np.float32), 0.99, gradient=False, torch=None),
        case("no_boxes", "nms", A(0, 4), A(0), 0.5, gradient=False, torch=None),
    ],
}

REFUSES = {
    "roi_align": [bad("boxes", "roi_align", A(2, 3, 6, 7), A(4, 4), 2, match="boxes \\(K, 5\\)"),
                  bad("sample", "roi_align", A(2, 3, 6, 7), np.array([[2, 0, 0, 1, 1]], np.float32), 2, match="one of the 2 samples"),
                  bad("endless", "roi_align", A(2, 3, 6, 7), np.array([[0, 0, 0, np.inf, 1]], np.float32), 2, match="finite"),
                  bad("huge", "roi_align", A(2, 3, 6, 7), np.array([[0, 0, 0, 1e9, 1]], np.float32), 2, match="pixels along a cell"),
                  bad("size", "roi_align", A(2, 3, 6, 7), np.zeros((1, 5), np.float32), 0, match="output_size must be"),
                  bad("list", "roi_align", A(2, 3, 6, 7), [np.zeros((1, 4), np.float32)], 2, match="2 arrays")],
    "suppress": [bad("three_numbers", "nms", A(5, 3), A(5), 0.5, match="boxes \\(n, 4\\)"),
                 bad("scores", "nms", A(5, 4), A(4), 0.5, match="scores \\(n,\\)")],
}
