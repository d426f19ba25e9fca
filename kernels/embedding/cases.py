"""Cases of the rows of pyops/ops/embedding.py, and calls that they refuse."""
from ...core.cases import A, I, bad, case

CASES = {
    "embedding": [
        *(case(f"width{w}", "embedding", I(7, high=5), A(5, w)) for w in (1, 8, 15, 16, 17, 300)),
        case("sentences", "embedding", I(3, 5, high=11), A(11, 20), batch=True),
        case("scalar_index", "embedding", I(high=4), A(4, 6)),
        # what padding_idx and scale_grad_by_freq give is no derivative:
        # tests/rows/test_embedding.py compares it with torch
        case("padding", "embedding", I(30, high=5), A(5, 6), padding_idx=2, gradient=False),
        case("by_frequency", "embedding", I(30, high=5), A(5, 6), scale_grad_by_freq=True, gradient=False),
        case("one_row_many_times", "embedding", I(1000, high=1), A(3, 33)),
        case("many_rows_rarely", "embedding", I(50, high=3000), A(3000, 24)),
        case("no_indices", "embedding", I(0, 3, high=1), A(5, 6)),
        case("no_width", "embedding", I(3, high=5), A(5, 0)),
    ],
}
REFUSES = {
    "embedding": [
        bad("index_too_large", "embedding", I(3, high=6, low=5), A(5, 2), match="index 5 is not one of the 5 rows"),
        bad("index_negative", "embedding", I(3, high=0, low=-1), A(5, 2), match="index -1"),
        bad("no_rows", "embedding", I(3, high=1), A(0, 2), match="0 rows"),
        bad("index_real", "embedding", A(3), A(5, 2), match="integer", error=TypeError),
        bad("weight_of_one_axis", "embedding", I(3, high=5), A(5), match=r"weight must be \(rows, width\)"),
        bad("padding_outside", "embedding", I(3, high=5), A(5, 2), 5, match="padding_idx 5"),
        bad("sparse", "embedding", I(3, high=5), A(5, 2), sparse=True, match="sparse"),
    ],
}
