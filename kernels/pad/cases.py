"""Cases of the rows of pyops/ops/pad.py, and calls that they refuse."""
from ...core.cases import A, bad, case

CASES = {
    "pad": [
        case("constant_1_axis", "pad", A(2, 3, 35), (1, 2), value=1.5, batch=True),
        case("constant_long_rows", "pad", A(2, 3, 70), (2, 1), value=-0.5),
        case("constant_2_axes", "pad", A(2, 3, 5, 18), (1, 2, 3, 0), batch=True),
        case("constant_4_axes", "pad", A(2, 3, 4, 5), [0, 1, 2, 0, 1, 1, 1, 0], value=-2.0),
        case("constant_alternate_axes", "pad", A(2, 3, 2, 3, 2, 3), (0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 1, 1)),
        case("constant_channels_only", "pad", A(2, 3, 4, 5), (0, 0, 0, 0, 1, 2), batch=True),
        case("constant_infinite", "pad", A(2, 3), (1, 1), value=float("-inf"), gradient=False),
        case("crops", "pad", A(2, 3, 9, 21), (-1, -2, -3, 0), batch=True),
        case("crops_and_pads", "pad", A(2, 9, 21), (-4, 7, 2, -3)),
        case("crops_to_nothing", "pad", A(2, 5), (-2, -3)),
        case("one_axis", "pad", A(37), (3, 1)),
        case("from_empty", "pad", A(2, 0), (1, 2), value=3.0),
        case("nothing_to_do", "pad", A(2, 5), (0, 0)),
        case("no_pairs", "pad", A(2, 5), ()),
    ] + [case(f"{mode}_{why}", "pad", *args, mode=mode, **how) for mode in ("reflect", "replicate", "circular") for why, args, how in (
        ("1_axis", (A(2, 3, 19), (4, 3)), {"batch": True}),
        ("2_axes", (A(2, 3, 6, 35), (1, 2, 3, 0)), {"batch": True}),
        ("3_axes", (A(2, 3, 4, 5, 6), (1, 2, 3, 4, 3, 2)), {"batch": True}),
        ("no_batch_axis", (A(3, 6, 7), (2, 2, 1, 1)), {}),
        ("mixed_signs", (A(2, 8, 9), (3, -2, -2, 3)), {}),
        ("crops", (A(1, 2, 8, 9), (-3, -2, 0, -1)), {}),
        ("last_axis_unpadded", (A(2, 3, 4, 5), (0, 0, 2, 1)), {}),
        ("widest", (A(2, 3, 5), (4, 4)), {}),
        ("no_samples", (A(0, 3, 5), (1, 1)), {}),
    )],
}
REFUSES = {
    "pad": [
        bad("odd_list", "pad", A(2, 3), (1,), match="pairs"),
        bad("too_many_pairs", "pad", A(3), (1, 1, 1, 1), match="at most 1 pairs"),
        bad("mode", "pad", A(2, 3), (1, 1), mode="mirror", match="mode must be one of"),
        bad("crops_beyond", "pad", A(2, 5), (-3, -3), match="crop more"),
        bad("reflect_whole_axis", "pad", A(2, 5), (5, 0), mode="reflect", match="shorter than the axis"),
        bad("wraps_twice", "pad", A(2, 5), (6, 0), mode="circular", match="wrap around"),
        bad("wraps_beyond_the_crop", "pad", A(2, 5), (4, -2), mode="circular", match="wrap around"),
        bad("reflect_empties", "pad", A(2, 5), (-5, 0), mode="reflect", match="empty"),
        bad("replicate_of_nothing", "pad", A(2, 0), (1, 1), mode="replicate", match="empty"),
        bad("reflect_4d_one_pair", "pad", A(1, 2, 3, 4), (1, 1), mode="reflect", match="axes more"),
        bad("value_with_mode", "pad", A(2, 5), (1, 1), mode="reflect", value=1.0, match="takes no value"),
        bad("float_pad", "pad", A(2, 5), (1.0, 1), match="ints", error=TypeError),
        bad("integers", "pad", A(2, 5, values="int"), (1, 1), match="float32 or float64", error=TypeError),
    ],
}
