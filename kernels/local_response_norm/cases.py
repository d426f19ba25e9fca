"""Cases of the rows of pyops/ops/local_response_norm.py, and calls that they refuse."""
from ...core.cases import A, bad, case


def lrn(why, shape, *args, **options):
    return case(why, "local_response_norm", A(*shape), *args, batch=True, **options)


CASES = {
    "local_response_norm": [
        lrn("alexnet", (2, 9, 5, 7), 5, 1e-1, 0.75, 2.0),
        lrn("defaults_with_vectors_and_tail", (2, 6, 67), 3),
        lrn("even_size_is_lopsided", (2, 7, 4, 5), 4, 0.5, 0.75, 1.0),
        lrn("one_channel_window", (2, 3, 4, 5), 1, 0.5),
        lrn("window_beyond_all_channels", (2, 3, 17), 9, 0.5),
        lrn("size_far_beyond_channels", (1, 3, 5), 1000, 50.0),
        lrn("beta_half", (2, 5, 19), 5, 0.5, 0.5, 1.5),
        lrn("beta_one", (2, 5, 19), 5, 0.5, 1.0, 1.5),
        lrn("beta_general", (2, 5, 19), 5, 0.5, 0.6, 1.5),
        lrn("beta_negative", (2, 5, 19), 5, 0.5, -0.75, 1.5),
        lrn("volume", (2, 5, 2, 3, 5), 3, 0.5),
        lrn("several_blocks_of_pixels", (1, 4, 30, 40), 3, 0.5),
        lrn("many_channels", (1, 1100, 19), 5, 0.5),
        case("no_samples", "local_response_norm", A(0, 3, 4), 3),
        case("no_channels", "local_response_norm", A(2, 0, 4), 3),
        case("no_pixels", "local_response_norm", A(2, 3, 0, 4), 3),
    ],
}
REFUSES = {
    "local_response_norm": [
        bad("two_axes", "local_response_norm", A(2, 3), 3, match="three axes"),
        bad("no_window", "local_response_norm", A(2, 3, 4), 0, match="size"),
        bad("size_not_whole", "local_response_norm", A(2, 3, 4), 2.5, match="integer", error=TypeError),
    ],
}
