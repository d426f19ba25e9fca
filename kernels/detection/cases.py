"""Cases of the rows of pyops/ops/places.py that take boxes, and calls that they refuse."""
import numpy as np

from ...core.cases import A, bad, case

# Corners (x1, y1, x2, y2) in pairs that overlap by 0.6, 0.5 and not at all, the second of a pair with the
# better score; and two boxes of no area.
PAIRS = np.array([[0, 0, 4, 4], [1, 0, 5, 4], [10, 0, 13, 3], [11, 0, 14, 3], [20, 0, 21, 1], [30, 0, 31, 1],
                  [2, 2, 2, 9], [2, 2, 2, 9]], np.float32)
SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.9, 0.9], np.float32)

CASES = {
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
    "suppress": [bad("three_numbers", "nms", A(5, 3), A(5), 0.5, match="boxes \\(n, 4\\)"),
                 bad("scores", "nms", A(5, 4), A(4), 0.5, match="scores \\(n,\\)")],
}
