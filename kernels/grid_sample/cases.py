"""Cases of the rows of pyops/ops/grid_sample.py, and calls that they refuse."""
from ...core.cases import A, bad, case

MODES = ("nearest", "bilinear", "bicubic")
AROUND = ("zeros", "border", "reflection")

CASES = {
    "grid_sample": [
        case(f"{mode}_{around}{'_corners' * corners}_{why}", "grid_sample", A(2, 3, *x),
             A(2, *y, 2, values="unit", offset=offset, scale=scale), mode, around, corners, batch=True, batched=(0, 1))
        for mode in MODES for around in AROUND for corners in (False, True)
        for why, x, y, scale, offset in (
            ("inside", (7, 19), (5, 9), 1.2, -0.6), ("beyond", (6, 5), (3, 17), 6.0, -3.0))
    ] + [
        case(f"3d_{mode}_{around}{'_corners' * corners}", "grid_sample", A(2, 3, 4, 5, 6),
             A(2, 3, 4, 5, 3, values="unit", scale=3.0, offset=-1.5), mode, around, corners,
             torch=None if mode == "bicubic" else "", batch=True, batched=(0, 1))
        for mode in MODES for around in AROUND for corners in (False, True)
    ] + [
        case(f"one_pixel_{around}{'_corners' * corners}", "grid_sample", A(1, 2, 1, 1),
             A(1, 4, 5, 2, values="unit", scale=3.0, offset=-1.5), "bilinear", around, corners)
        for around in AROUND for corners in (False, True)
    ] + [
        case("many_channels", "grid_sample", A(1, 40, 9, 11), A(1, 7, 7, 2, values="unit", scale=2.0, offset=-1.0),
             align_corners=False),
        case("defaults", "grid_sample", A(1, 2, 5, 5), A(1, 3, 3, 2, values="unit", scale=2.0, offset=-1.0)),
        *(case(f"affine{'_corners' * corners}", "affine_grid", A(2, 2, 3), (2, 1, 5, 7), corners) for corners in (False, True)),
        *(case(f"affine_3d{'_corners' * corners}", "affine_grid", A(2, 3, 4), (2, 1, 3, 1, 5), corners) for corners in (False, True)),
        case("no_places", "grid_sample", A(2, 3, 4, 4), A(2, 0, 5, 2), align_corners=False),
        case("no_channels", "grid_sample", A(2, 0, 4, 4), A(2, 3, 5, 2), align_corners=False),
        case("no_samples", "grid_sample", A(0, 3, 4, 4), A(0, 3, 5, 2), align_corners=False),
    ],
}
REFUSES = {
    "grid_sample": [
        bad("mode", "grid_sample", A(1, 1, 4, 4), A(1, 2, 2, 2), "lanczos", match="mode must be one of"),
        bad("around", "grid_sample", A(1, 1, 4, 4), A(1, 2, 2, 2), padding_mode="wrap", match="padding_mode must be"),
        bad("axes", "grid_sample", A(1, 4, 4), A(1, 2, 2, 2), match="takes input"),
        bad("places_of_three", "grid_sample", A(1, 1, 4, 4), A(1, 2, 2, 3), match="takes input"),
        bad("samples", "grid_sample", A(2, 1, 4, 4), A(1, 2, 2, 2), match="takes input"),
        bad("empty_image", "grid_sample", A(1, 1, 0, 4), A(1, 2, 2, 2), match="pixels a plane"),
        bad("theta", "affine_grid", A(2, 3, 3), (2, 1, 4, 4), match="takes theta"),
        bad("size", "affine_grid", A(2, 2, 3), (2, 1, 4.5, 4), match="ints", error=TypeError),
        bad("no_rows", "affine_grid", A(2, 2, 3), (2, 1, 0, 4), match="positive"),
    ],
}
