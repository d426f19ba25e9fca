"""Cases of the rows of pyops/ops/embedding.py, and calls that they refuse."""
import numpy as np

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
    "embedding_sum": [
        *(case(f"width{w}", "embedding_sum", I(3, 5, high=9), A(9, w), I(3, 5, high=2), A(2, w), I(1, 5, high=7), A(7, w), torch=None)
          for w in (1, 7, 8, 16, 33, 300)),
        case("places_are_counted", "embedding_sum", I(3, 5, high=9), A(9, 20), np.zeros((1, 1), np.int64), A(2, 20), None, A(6, 20), torch=None),
        case("two", "embedding_sum", I(3, 5, high=9), A(9, 20), None, A(5, 20), torch=None),
        case("third_alone", "embedding_sum", I(4, high=9), A(9, 20), None, None, I(4, high=3), A(3, 20), torch=None),
        case("one", "embedding_sum", I(4, high=9), A(9, 20), torch=None),
        case("last_axes", "embedding_sum", I(2, 3, 4, high=9), A(9, 6), I(3, 4, high=5), A(5, 6), I(4, high=5), A(5, 6), torch=None),
        case("one_step", "embedding_sum", I(3, 1, high=9), A(9, 16), I(3, 1, high=5), A(5, 16), torch=None),
        case("many", "embedding_sum", I(20, 64, high=90), A(90, 64), I(20, 64, high=2), A(2, 64), None, A(100, 64), torch=None),
        case("no_indices", "embedding_sum", I(0, 3, high=1), A(5, 6), I(0, 3, high=1), A(2, 6), None, A(3, 6), torch=None),
        case("padding", "embedding_sum", I(3, 5, high=4), A(4, 6), None, A(5, 6), padding_idx=2, torch=None, gradient=False),
    ],
    "embedding_bag": [
        *(case(f"{mode}_{width}", "embedding_bag", I(4, 5, high=9), A(9, width), mode=mode)
          for mode in ("sum", "mean", "max") for width in (1, 7, 16, 33)),
        *(case(f"{mode}_offsets", "embedding_bag", I(11, high=9), A(9, 6), np.array([0, 3, 3, 7]), mode=mode)
          for mode in ("sum", "mean", "max")),
        *(case(f"{mode}_padding", "embedding_bag", I(4, 5, high=3), A(3, 6), mode=mode, padding_idx=1)
          for mode in ("sum", "mean", "max")),
        case("last_offset", "embedding_bag", I(11, high=9), A(9, 6), np.array([0, 3, 3, 11]), mode="sum", include_last_offset=True),
        case("factors", "embedding_bag", I(4, 5, high=9), A(9, 6), mode="sum", per_sample_weights=A(4, 5)),
        case("factors_offsets_padding", "embedding_bag", I(11, high=4), A(4, 6), np.array([0, 3, 8]), mode="sum",
             per_sample_weights=A(11), padding_idx=2),
        # no derivative: tests/rows/test_embedding.py compares it with its definition
        case("by_frequency", "embedding_bag", I(4, 5, high=3), A(3, 6), mode="sum", scale_grad_by_freq=True, gradient=False),
        case("no_indices", "embedding_bag", I(0, high=1), A(3, 6), np.array([0, 0]), mode="max"),
        case("no_bags", "embedding_bag", I(0, high=1), A(3, 6), np.zeros(0, np.int64)),
        case("many", "embedding_bag", I(60, 40, high=500), A(500, 64)),
    ],
}
REFUSES = {
    "embedding_sum": [
        bad("index", "embedding_sum", np.array([[0, 5]]), A(5, 6), match="index 5 is not one of the 5 rows"),
        bad("second_index", "embedding_sum", I(2, 3, high=4), A(5, 6), np.full((2, 3), -1), A(2, 6), match="index -1"),
        bad("second_alone", "embedding_sum", I(2, 3, high=4), A(5, 6), I(2, 3, high=2), match="second comes without second_weight"),
        bad("second_shape", "embedding_sum", I(2, 3, high=4), A(5, 6), I(2, 1, high=2), A(2, 6), match="second \\(2, 1\\) must be"),
        bad("widths", "embedding_sum", I(2, 3, high=4), A(5, 6), I(2, 3, high=2), A(2, 7), match="must be \\(rows, 6\\)"),
        bad("few_places", "embedding_sum", I(2, 3, high=4), A(5, 6), None, A(2, 6), match="has 2 rows, fewer than the 3 places"),
    ],
    "embedding_bag": [
        bad("mode", "embedding_bag", I(4, 5, high=3), A(3, 6), mode="min", match="mode must be"),
        bad("index", "embedding_bag", I(4, 5, high=4, low=3), A(3, 6), match="index 3 is not one of the 3 rows"),
        bad("offsets_fall", "embedding_bag", I(5, high=3), A(3, 6), np.array([0, 3, 2]), match="offsets must begin"),
        bad("offsets_far", "embedding_bag", I(5, high=3), A(3, 6), np.array([0, 6]), match="offsets must begin"),
        bad("offsets_begin", "embedding_bag", I(5, high=3), A(3, 6), np.array([1, 2]), match="offsets must begin"),
        bad("last_offset", "embedding_bag", I(5, high=3), A(3, 6), np.array([0, 4]), include_last_offset=True, match="at the end"),
        bad("no_offsets", "embedding_bag", I(5, high=3), A(3, 6), match="takes input"),
        bad("two_kinds_of_bags", "embedding_bag", I(5, 2, high=3), A(3, 6), np.array([0]), match="takes input"),
        bad("factors_of_mean", "embedding_bag", I(5, 2, high=3), A(3, 6), per_sample_weights=A(5, 2), match="mode 'sum'"),
        bad("frequency_of_max", "embedding_bag", I(5, 2, high=3), A(3, 6), mode="max", scale_grad_by_freq=True, match="does not go"),
    ],
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
