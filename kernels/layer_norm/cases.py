"""Cases of the rows of pyops/ops/layer_norm.py, and calls that they refuse."""
from ...core.cases import A, bad, case

CASES = {
    "layer_norm": [case(f"cols{c}", "layer_norm", A(3, c), (c,), A(c), A(c)) for c in (1, 7, 8, 9, 15, 16, 17, 33, 768)] + [
        case("no_rows", "layer_norm", A(0, 5), (5,), A(5), A(5)),
        case("no_weight", "layer_norm", A(2, 3, 5), (5,)),
        case("two_axes_no_bias", "layer_norm", A(4, 3, 5), (3, 5), A(3, 5), eps=1e-3, batch=True),
        case("mean_far_from_zero", "layer_norm", A(2, 257, offset=1e3), (257,), A(257), A(257),
             tolerance=4096),
    ],
    "rms_norm": [case(f"cols{c}", "rms_norm", A(3, c), (c,), A(c), batch=True) for c in (1, 7, 16, 35, 768)]
    + [
        case("no_rows", "rms_norm", A(0, 5), (5,), A(5)),
        case("no_weight", "rms_norm", A(2, 3, 5), (5,)),
        case("two_axes", "rms_norm", A(4, 3, 5), (3, 5), A(3, 5), 1e-3, batch=True),
        case("several_pieces", "rms_norm", A(2, 5000), (5000,), A(5000)),
    ],
}
REFUSES = {
    "layer_norm": [
        bad("weight_of_other_width", "layer_norm", A(3, 4), (4,), A(5), match="weight"),
        bad("shape_not_last_axes", "layer_norm", A(3, 4), (3,), match="normalized_shape"),
        bad("eps_negative", "layer_norm", A(3, 4), (4,), eps=-1.0, match="eps"),
    ],
    "rms_norm": [
        bad("weight_of_other_width", "rms_norm", A(3, 4), (4,), A(5), match="weight"),
        bad("shape_not_last_axes", "rms_norm", A(3, 4), (3,), match="normalized_shape"),
        bad("eps_negative", "rms_norm", A(3, 4), (4,), None, -1.0, match="eps"),
    ],
}
