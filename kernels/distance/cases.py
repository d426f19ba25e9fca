"""Cases of the rows of pyops/ops/distance.py, and calls that they refuse."""
import math

from ...core.cases import A, bad, case

CASES = {
    "cdist": [
        *(case(f"p{p}_{m}", "cdist", A(2, 5, m), A(2, 19, m), p) for p in (1.0, 2.0, 3.0, 0.5, math.inf) for m in (1, 7, 16, 33)),
        case("p0", "cdist", A(2, 5, 7), A(2, 3, 7), 0.0), case("two_axes", "cdist", A(9, 4), A(6, 4)),
        case("more_axes", "cdist", A(2, 3, 4, 5), A(3, 6, 5)),
        case("one_batch_broadcast", "cdist", A(1, 4, 5), A(3, 6, 5)),
        case("batch", "cdist", A(3, 4, 5), A(3, 6, 5), batch=True, batched=(0, 1)),
        case("no_rows", "cdist", A(2, 0, 5), A(2, 3, 5)), case("no_columns", "cdist", A(2, 3, 5), A(2, 0, 5)),
        # torch ends in a division by zero
        case("no_values", "cdist", A(2, 3, 0), A(2, 4, 0), torch=None),
    ],
    "pdist": [
        *(case(f"p{p}_{n}_{m}", "pdist", A(n, m), p) for p in (1.0, 2.0, 3.0, math.inf) for n, m in ((6, 7), (67, 5), (37, 33), (19, 260))),
        case("p0", "pdist", A(21, 7), 0.0), case("two_rows", "pdist", A(2, 5)),
        # whose gradients end torch's process
        case("one_row", "pdist", A(1, 5), torch=None), case("no_rows", "pdist", A(0, 5), torch=None),
    ],
}
REFUSES = {
    "cdist": [
        bad("widths", "cdist", A(3, 4), A(3, 5), match="takes x1"), bad("axes", "cdist", A(4), A(4), match="takes x1"),
        bad("batches", "cdist", A(2, 3, 4), A(3, 3, 4), match="takes x1"), bad("negative", "cdist", A(3, 4), A(3, 4), -1.0, match="p must"),
        bad("mode", "cdist", A(3, 4), A(3, 4), compute_mode="fast", match="compute_mode must"),
    ],
    "pdist": [bad("axes", "pdist", A(3), match=r"\(N, M\)"), bad("negative", "pdist", A(3, 4), -1.0, match="p must")],
}
