"""Cases of the rows of pyops/ops/interpolate.py, and calls that they refuse."""
from ...core.cases import A, bad, case

_2D = (("x2", (5, 21), (10, 42)), ("x3_ragged", (4, 17), (13, 50)), ("shrink", (19, 45), (7, 13)),
       ("shrink_a_little", (9, 40), (8, 33)),
       ("mixed", (4, 33), (11, 9)), ("from_one_pixel", (1, 1), (5, 18)), ("to_one_pixel", (6, 19), (1, 1)),
       ("same_height", (5, 18), (5, 31)), ("same_width", (5, 18), (9, 18)), ("same_size", (3, 5), (3, 5)))


CASES = {
    "resample": [
        case(f"{mode}_{why}", "interpolate", A(2, 3, *x), y, mode=mode, batch=True)
        for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area") for why, x, y in _2D
    ] + [
        case(f"{mode}_corners_{why}", "interpolate", A(2, 3, *x), y, mode=mode, align_corners=True)
        for mode in ("bilinear", "bicubic") for why, x, y in _2D
    ] + [
        case(f"{mode}_antialias_{why}", "interpolate", A(2, 3, *x), y, mode=mode, antialias=True)
        for mode in ("bilinear", "bicubic") for why, x, y in _2D
    ] + [
        case(f"{mode}_scale_{scale}", "interpolate", A(2, 3, 7, 20), scale_factor=scale, mode=mode)
        for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area") for scale in (2, 0.5, (1.3, 2.6))
    ] + [
        # floor(7 x 1.1) is 7 again, yet positions advance by 1 / 1.1
        case(f"{mode}_unchanged_size_scaled", "interpolate", A(2, 3, 7, 20), scale_factor=1.1, mode=mode)
        for mode in ("nearest-exact", "bilinear", "bicubic", "area")
    ] + [
        case(f"1d_{mode}_{why}", "interpolate", A(2, 3, n), o, mode=mode)
        for mode in ("nearest", "nearest-exact", "linear", "area") for why, n, o in (("x2", 19, 38), ("shrink", 50, 17), ("one", 1, 5))
    ] + [
        case(f"3d_{mode}_{why}", "interpolate", A(2, 2, *x), y, mode=mode)
        for mode in ("nearest", "trilinear", "area")
        for why, x, y in (("x2", (3, 4, 9), (6, 8, 18)), ("shrink", (7, 6, 19), (3, 4, 8)), ("mixed", (3, 9, 17), (7, 4, 40)), ("depth_only", (3, 5, 6), (7, 5, 6)))
    ] + [
        case("3d_corners", "interpolate", A(1, 2, 3, 4, 9), (5, 8, 18), mode="trilinear", align_corners=True),
        case("scale_recomputed", "interpolate", A(1, 2, 7, 9), scale_factor=1.45, mode="bilinear",
             recompute_scale_factor=True),
        case("scale_not_recomputed", "interpolate", A(1, 2, 7, 9), scale_factor=1.45, mode="bilinear",
             recompute_scale_factor=False),
        case("antialias_scale", "interpolate", A(1, 2, 17, 29), scale_factor=0.37, mode="bicubic",
             antialias=True),
        case("size_is_an_int", "interpolate", A(1, 2, 7, 9), 12),
        case("no_samples", "interpolate", A(0, 2, 7, 9), 12, mode="bilinear"),
        case("upsample", "upsample", A(1, 2, 7, 9), None, 2, "bilinear", True),
    ],
}
REFUSES = {
    "resample": [
        bad("mode", "interpolate", A(1, 1, 4, 4), 2, mode="lanczos", match="mode must be one of"),
        bad("axes_of_mode", "interpolate", A(1, 1, 4), 2, mode="bilinear", match="takes axes"),
        bad("rank", "interpolate", A(4, 4), 2, match="takes axes"),
        bad("neither_size_nor_scale", "interpolate", A(1, 1, 4, 4), match="either size or scale_factor"),
        bad("both_size_and_scale", "interpolate", A(1, 1, 4, 4), 2, 2.0, match="either size or scale_factor"),
        bad("corners_of_nearest", "interpolate", A(1, 1, 4, 4), 2, align_corners=False, match="align_corners"),
        bad("antialias_of_nearest", "interpolate", A(1, 1, 4, 4), 2, antialias=True, match="antialias"),
        bad("three_sizes", "interpolate", A(1, 1, 4, 4), (1, 2, 3), match="2 numbers"),
        bad("zero_size", "interpolate", A(1, 1, 4, 4), (0, 3), match="at least 1"),
        bad("empty_input", "interpolate", A(1, 1, 0, 4), 3, match="at least 1"),
        bad("scaled_to_nothing", "interpolate", A(1, 1, 4, 4), scale_factor=0.1, match="at least 1"),
        bad("negative_scale", "interpolate", A(1, 1, 4, 4), scale_factor=-1.0, match="positive"),
        bad("infinite_scale", "interpolate", A(1, 1, 4, 4), scale_factor=float("inf"), match="finite"),
        bad("float_size", "interpolate", A(1, 1, 4, 4), (2.5, 3), match="ints", error=TypeError),
        bad("recompute_with_size", "interpolate", A(1, 1, 4, 4), 2, recompute_scale_factor=True, match="recompute_scale_factor"),
    ],
}
