"""Cases of the rows of pyops/ops/im2col.py, and calls that they refuse."""
from ...core.cases import A, bad, case

CASES = {
    "unfold": [
        case("3x3_same", "unfold", A(2, 3, 9, 21), 3, padding=1, batch=True),
        case("stride2_odd", "unfold", A(2, 3, 11, 38), (2, 3), stride=2, padding=(0, 1), batch=True),
        case("stride3_dilation2", "unfold", A(1, 2, 17, 55), (3, 2), dilation=(2, 3), padding=(2, 1), stride=(1, 3)),
        case("patches", "unfold", A(2, 3, 8, 12), 4, stride=4),
        case("places_all_on_padding", "unfold", A(1, 2, 2, 3), 2, padding=4, stride=2),
        case("tap_beyond_image", "unfold", A(1, 1, 2, 2), (1, 7), padding=(0, 3)),
        case("1x1", "unfold", A(1, 2, 5, 7), 1),
        case("whole_image", "unfold", A(2, 2, 4, 5), (4, 5)),
        case("no_batch_axis", "unfold", A(3, 6, 18), [3, 3]),
        case("no_samples", "unfold", A(0, 3, 6, 7), 3),
    ],
    "fold": [
        case("3x3_same", "fold", A(2, 27, 9 * 21), (9, 21), 3, padding=1, batch=True),
        case("stride2_odd", "fold", A(2, 18, 5 * 19), (11, 38), (2, 3), stride=2, padding=(0, 1), batch=True),
        case("stride3_dilation2", "fold", A(1, 12, 17 * 18), (17, 55), (3, 2), dilation=(2, 3), padding=(2, 1), stride=(1, 3)),
        case("patches_square", "fold", A(2, 48, 4), 8, 4, stride=4),
        case("pixels_no_window_reaches", "fold", A(1, 4, 4), (5, 6), 2, stride=3),
        case("no_batch_axis", "fold", A(27, 4 * 16), (6, 18), 3),
        case("no_samples", "fold", A(0, 27, 20), (6, 7), 3),
    ],
}
REFUSES = {
    "unfold": [
        bad("rank", "unfold", A(3, 4), 2, match="unfold: input must have axes"),
        bad("window_larger", "unfold", A(1, 1, 3, 3), 4, match="smaller than a window"),
        bad("zero_stride", "unfold", A(1, 1, 4, 4), 2, stride=0, match="stride must be at least 1"),
        bad("negative_padding", "unfold", A(1, 1, 4, 4), 2, padding=-1, match="padding must be at least 0"),
        bad("zero_kernel", "unfold", A(1, 1, 4, 4), (0, 2), match="kernel_size must be at least 1"),
        bad("float_kernel", "unfold", A(1, 1, 4, 4), 2.0, match="kernel_size", error=TypeError),
        bad("three_strides", "unfold", A(1, 1, 4, 4), 2, stride=(1, 2, 3), match="2 ints"),
    ],
    "fold": [
        bad("rank", "fold", A(2, 2, 2, 2), 2, 1, match="fold: input must have axes"),
        bad("rows", "fold", A(1, 5, 4), (3, 3), 2, match="multiple of"),
        bad("columns", "fold", A(1, 4, 5), (3, 3), 2, match="2 x 2 places"),
        bad("window_larger", "fold", A(1, 4, 1), (1, 1), 2, match="smaller than a window"),
        bad("zero_size", "fold", A(1, 4, 1), (0, 2), 2, match="output_size must be at least 1"),
    ],
}
