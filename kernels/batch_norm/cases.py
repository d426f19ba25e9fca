"""Cases of the rows of pyops/ops/batch_norm.py, and calls that they refuse."""
from ...core.cases import A, bad, case


def running(channels):
    """Running statistics of a case; torch gives them no gradient."""
    return A(channels, grad=False), A(channels, values="positive", grad=False)


def train(why, shape, *affine, **options):
    return case(why, "batch_norm", A(*shape, offset=options.pop("offset", 0.0)), None, None, *affine,
                training=True, **options)


CASES = {
    "batch_norm": [
        case("images", "batch_norm", A(2, 3, 5, 7), *running(3), A(3), A(3), batch=True),
        case("run_of_vectors_and_tail", "batch_norm", A(2, 2, 133), *running(2), A(2), A(2)),
        *(case(f"columns{c}", "batch_norm", A(5, c), *running(c), A(c), A(c), batch=True) for c in (1, 7, 16, 35)),
        case("volume_no_affine", "batch_norm", A(2, 3, 2, 3, 5), *running(3), eps=1e-3),
        case("no_weight", "batch_norm", A(2, 3, 4), *running(3), None, A(3)),
        case("no_samples", "batch_norm", A(0, 3, 4), *running(3), A(3), A(3)),
        case("no_channels", "batch_norm", A(2, 0, 4), *running(0)),
        case("no_pixels", "batch_norm", A(2, 3, 0), *running(3), A(3), A(3)),
    ],
    "batch_norm_training": [
        train("images", (4, 3, 5, 7), A(3), A(3)),
        train("one_sample", (1, 3, 6, 9), A(3), A(3)),
        train("short_runs", (5, 3, 3), A(3), A(3)),
        train("several_pieces_of_runs", (40, 2, 211), A(2), A(2)),
        train("runs_longer_than_a_piece", (2, 2, 4500), A(2), A(2)),
        *(train(f"columns{c}", (9, c), A(c), A(c)) for c in (1, 7, 16, 35)),
        train("columns_of_many_samples", (200, 19), A(19), A(19)),
        train("volume_no_affine", (3, 2, 2, 3, 5), eps=1e-3),
        train("no_bias", (3, 2, 4), A(2)),
        train("mean_far_from_zero", (2, 3, 257), A(3), A(3), offset=1e3, tolerance=4096),
        # half an ulp of the mean is 512 eps; the gradient of weight carries it times the sum of g
        train("columns_far_from_zero", (130, 5), A(5), A(5), offset=1e3, tolerance=16384),
        train("no_samples", (0, 3, 4), A(3), A(3)),
        train("no_channels", (2, 0, 4)),
    ],
}
REFUSES = {"batch_norm": [
    bad("one_axis", "batch_norm", A(3), *running(3), match=r"\(N, C, ...\)"),
    bad("no_statistics", "batch_norm", A(2, 3), None, None, match="running_mean and running_var"),
    bad("mean_of_other_width", "batch_norm", A(2, 3), *running(4), match=r"running_mean \(4,\)"),
    bad("weight_of_other_width", "batch_norm", A(2, 3), *running(3), A(2), match="weight"),
    bad("eps_negative", "batch_norm", A(2, 3), *running(3), eps=-1.0, match="eps"),
], "batch_norm_training": [
    bad("one_value_per_channel", "batch_norm", A(1, 3, 1), None, None, training=True, match="more than one value"),
    bad("bias_of_other_width", "batch_norm", A(2, 3), None, None, None, A(2), training=True, match="bias"),
    bad("running_of_other_width", "batch_norm", A(2, 3), A(2), A(2), training=True, match="running_mean"),
],}
