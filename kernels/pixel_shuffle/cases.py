"""Cases of the rows of pyops/ops/pixel_shuffle.py, and calls that they refuse."""
from ...core.cases import A, bad, case

CASES = {
    "pixel_shuffle": [
        case("factor2", "pixel_shuffle", A(2, 12, 5, 37), 2, batch=True),
        case("factor3", "pixel_shuffle", A(2, 18, 4, 19), 3, batch=True),
        case("channel_shuffle", "channel_shuffle", A(2, 12, 5, 3), 3), case("channel_shuffle_1d", "channel_shuffle", A(2, 4, 5), 2),
        case("factor1", "pixel_shuffle", A(1, 2, 3, 4), 1),
        *(case(f"width{w}", "pixel_shuffle", A(1, 4, 2, w), 2) for w in (1, 7, 8, 9, 15, 16, 17)),
        case("no_batch_axis", "pixel_shuffle", A(4, 3, 5), 2),
        case("two_leading_axes", "pixel_shuffle", A(2, 3, 4, 3, 5), 2),
        # torch returns an empty input as it is
        case("no_samples", "pixel_shuffle", A(0, 4, 3, 5), 2, torch=None),
    ],
    "pixel_unshuffle": [
        case("factor2", "pixel_unshuffle", A(2, 3, 6, 38), 2, batch=True),
        case("factor3", "pixel_unshuffle", A(2, 2, 6, 57), 3, batch=True),
        *(case(f"width{w}", "pixel_unshuffle", A(1, 1, 2, 2 * w), 2) for w in (1, 7, 8, 9, 15, 16, 17)),
        case("no_batch_axis", "pixel_unshuffle", A(4, 4, 6), 2),
        case("no_samples", "pixel_unshuffle", A(0, 4, 4, 6), 2, torch=None),
    ],
}
REFUSES = {
    "pixel_shuffle": [
        bad("channel_shuffle", "channel_shuffle", A(1, 5, 2, 2), 2, match="multiple of groups 2"),
        bad("channels", "pixel_shuffle", A(1, 6, 2, 2), 2, match="multiple of 2 x 2"),
        bad("rank", "pixel_shuffle", A(4, 4), 2, match="axes"),
        bad("zero_factor", "pixel_shuffle", A(1, 4, 2, 2), 0, match="at least 1"),
        bad("float_factor", "pixel_shuffle", A(1, 4, 2, 2), 2.0, match="int", error=TypeError),
    ],
    "pixel_unshuffle": [
        bad("width", "pixel_unshuffle", A(1, 1, 4, 5), 2, match="multiples of 2"),
        bad("rank", "pixel_unshuffle", A(4, 4), 2, match="axes"),
        bad("negative_factor", "pixel_unshuffle", A(1, 1, 4, 4), -2, match="at least 1"),
    ],
}
