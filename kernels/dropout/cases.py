"""Cases of the rows of pyops/ops/dropout.py, and calls that they refuse."""
import math

from ...core.cases import A, bad, case

CASES = {
    "dropout": [
        *(case(f"n{n}", "dropout", A(2, n), 0.3, seed=n, batch=True, torch=None) for n in (1, 7, 31, 33, 100)),
        case("several_ranges_of_threads", "dropout", A(70000), 0.5, seed=1, torch=None),
        case("seed_of_two_words", "dropout", A(100), 0.5, seed=(1 << 63) - 5, torch=None),
        case("nothing_dropped", "dropout", A(40), 0.0, seed=1, torch=None),
        case("all_dropped", "dropout", A(40), 1.0, seed=1, torch=None),
        case("evaluation", "dropout", A(40), 0.5, training=False),
        case("scalar", "dropout", A(), 0.5, seed=5, torch=None),
        case("empty", "dropout", A(3, 0), 0.5, seed=1, torch=None),
        case("channels_of_lines", "dropout1d", A(5, 30, 19), 0.4, seed=2, batch=True, torch=None),
        case("channels_of_one_line", "dropout1d", A(30, 19), 0.4, seed=2, torch=None),
        case("channels_of_images", "dropout2d", A(3, 7, 5, 7), 0.4, seed=3, batch=True, torch=None),
        case("channels_of_single_pixels", "dropout2d", A(3, 70, 1, 1), 0.4, seed=3, torch=None),
        case("channels_of_volumes", "dropout3d", A(3, 7, 2, 3, 5), 0.4, seed=4, batch=True, torch=None),
        case("channels_of_nothing", "dropout2d", A(3, 7, 0, 5), 0.4, seed=4, torch=None),
        case("samples", "stochastic_depth", A(9, 3, 5, 7), 0.4, "row", seed=5, batch=True, torch=None),
        case("samples_of_no_axes", "stochastic_depth", A(70), 0.4, "row", seed=5, batch=True, torch=None),
        case("whole_batch_kept", "stochastic_depth", A(3, 5, 7), 0.1, "batch", seed=5, torch=None),
        case("whole_batch_dropped", "stochastic_depth", A(3, 5, 7), 0.9, "batch", seed=5, torch=None),
        case("no_samples", "stochastic_depth", A(0, 5), 0.5, "row", seed=5, torch=None),
        case("selu", "alpha_dropout", A(100), 0.2, True, seed=6, torch=None),
        case("selu_channels", "feature_alpha_dropout", A(3, 70, 5), 0.2, True, seed=6, torch=None),
    ],
}
REFUSES = {
    "dropout": [
        bad("p_above_one", "dropout", A(3), 1.5, match="p must be in"),
        bad("p_negative", "alpha_dropout", A(3), -0.5, match="p must be in"),
        bad("p_not_a_number", "dropout", A(3), math.nan, match="p must be in"),
        bad("seed_negative", "dropout", A(3), seed=-1, match="seed"),
        bad("seed_not_whole", "dropout", A(3), seed=0.5, match="integer", error=TypeError),
        bad("mode", "stochastic_depth", A(3, 4), 0.5, "column", match="mode"),
        bad("four_axes_of_lines", "dropout1d", A(2, 3, 4, 5), match="dropout1d"),
        bad("two_axes_of_images", "dropout2d", A(2, 3), match="dropout2d"),
    ],
}
