"""Cases of the rows of pyops/ops/deform_conv.py, and calls that they refuse."""
from ...core.cases import A, bad, case


def deform(why, x, weight, stride=1, padding=0, dilation=1, offset_groups=1, mask=True, bias=True, scale=1.0, **more):
    """A case with offsets of so many groups; torchvision's own operator is held to it where there is one."""
    kernel = weight[2:]
    two = [v if isinstance(v, tuple) else (v, v) for v in (stride, padding, dilation)]
    out = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(x[2:], kernel, *two)]
    taps = offset_groups * kernel[0] * kernel[1]
    how = {"mask": A(x[0], taps, *out, values="unit")} if mask else {}
    return case(why, "deform_conv2d", A(*x), A(x[0], 2 * taps, *out, scale=scale), A(*weight),
                A(weight[0]) if bias else None, stride, padding, dilation, torch=None, **how, **more)


CASES = {
    "deform_conv": [
        deform("3x3", (2, 5, 7, 9), (4, 5, 3, 3), padding=1),
        deform("no_mask", (2, 5, 7, 9), (4, 5, 3, 3), padding=1, mask=False, bias=False),
        deform("far", (1, 3, 6, 5), (2, 3, 3, 3), padding=2, scale=4.0),
        deform("strided", (2, 4, 9, 11), (6, 4, 3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
        deform("groups", (2, 6, 7, 8), (4, 3, 3, 3), padding=1),
        deform("offset_groups", (2, 6, 7, 8), (5, 6, 3, 3), padding=1, offset_groups=3),
        deform("offset_groups_across_groups", (1, 12, 6, 6), (8, 6, 2, 2), offset_groups=3),
        deform("depthwise", (1, 8, 6, 7), (8, 1, 3, 3), padding=1, offset_groups=2),
        deform("1x1", (1, 20, 5, 5), (17, 20, 1, 1)),
        deform("many_channels", (1, 40, 8, 8), (24, 40, 3, 3), padding=1, tolerance=2048),
        deform("deep_and_wide", (1, 400, 5, 30), (9, 400, 3, 3), padding=1, tolerance=8192, gradient=False),
        deform("several_panels", (1, 3, 33, 35), (3, 3, 3, 3), padding=1),
        deform("one_pixel", (1, 2, 1, 1), (3, 2, 3, 3), padding=1),
        deform("no_samples", (0, 2, 5, 5), (3, 2, 3, 3)),
    ],
}
X, W = (1, 4, 6, 6), (4, 4, 3, 3)
REFUSES = {
    "deform_conv": [
        bad("offset_shape", "deform_conv2d", A(*X), A(1, 18, 6, 6), A(*W), match="offset must be"),
        bad("offset_groups", "deform_conv2d", A(*X), A(1, 54, 4, 4), A(*W), match="divide 4 channels"),
        bad("mask", "deform_conv2d", A(*X), A(1, 18, 4, 4), A(*W), mask=A(1, 18, 4, 4), match="mask must be"),
        bad("bias", "deform_conv2d", A(*X), A(1, 18, 4, 4), A(*W), A(3), match="bias must be"),
        bad("channels", "deform_conv2d", A(*X), A(1, 18, 4, 4), A(4, 3, 3, 3), match="groups"),
        bad("filters", "deform_conv2d", A(*X), A(1, 18, 4, 4), A(3, 2, 3, 3), match="groups"),
        bad("weight_axes", "deform_conv2d", A(*X), A(1, 18, 4, 4), A(4, 36), match="weight must be"),
        bad("too_small", "deform_conv2d", A(1, 4, 2, 2), A(1, 18, 4, 4), A(*W), match="smaller than a window"),
        bad("stride", "deform_conv2d", A(*X), A(1, 18, 4, 4), A(*W), stride=0, match="stride must be at least 1"),
    ],
}
