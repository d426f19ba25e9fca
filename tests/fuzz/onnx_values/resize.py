"""Resize."""

from __future__ import annotations

import numpy as np

from .draw import FLOATS, ints, recipe


@recipe("Resize")
def resize(d, op):
    """By sizes, or by scales that are exact: the length by inexact ones is torch's and not the
    reference's.
    """
    x = d.values(
        (1, d.r.randint(1, 2), *(d.r.randint(1, 7) for _ in range(d.pick(1, 2, 2, 3)))), d.pick(*FLOATS[:4])
    )
    x = d.given(np.nan_to_num(x, posinf=9, neginf=-9), False)
    mode = d.pick("nearest", "linear", "cubic")
    where = d.pick(
        "half_pixel",
        "half_pixel_symmetric",
        "pytorch_half_pixel",
        "align_corners",
        "asymmetric",
        "tf_crop_and_resize",
    )
    attrs = {"mode": mode, "coordinate_transformation_mode": where}
    axes = list(range(x.ndim))
    if d.chance(0.4):
        axes = d.r.sample(axes, d.r.randint(1, x.ndim))
        attrs["axes"] = [a - x.ndim * d.pick(0, 1) for a in axes]
    if where == "tf_crop_and_resize":
        d.given(
            np.array(
                [d.pick(0.0, 0.25, -0.5) for _ in axes] + [d.pick(1.0, 0.75, 1.5) for _ in axes], np.float32
            )
        )
        attrs["extrapolation_value"] = d.pick(0.0, 9.0)
    else:
        d.absent()
    if d.chance(0.5) and where not in ("align_corners", "tf_crop_and_resize"):
        scales = [d.pick(1.0, 2.0, 0.5, 1.5, 3.0) for _ in axes]
        if (
            where == "half_pixel_symmetric" and mode == "nearest"
        ):  # positions that are whole but for a last bit
            attrs["coordinate_transformation_mode"] = "half_pixel"
        if where == "pytorch_half_pixel":
            scales = [s if int(x.shape[a] * s) > 1 else 1.0 for s, a in zip(scales, axes)]
        d.given(np.array(scales, np.float32))
    else:
        d.absent()
        sizes = [d.r.randint(1, 9) if a > 1 else x.shape[a] for a in axes]
        # the reference puts a single result at -0.5, the text at 0
        if where == "pytorch_half_pixel":
            sizes = [max(s, 2) if s != x.shape[a] else s for s, a in zip(sizes, axes)]
        d.given(ints(sizes))
        if d.chance(0.3) and where in ("half_pixel", "asymmetric"):
            attrs["keep_aspect_ratio_policy"] = d.pick("not_larger", "not_smaller")
    if mode == "nearest":
        attrs["nearest_mode"] = d.pick("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    else:
        # half_pixel_symmetric: the reference's choice of neighbours hangs on the last bit of a
        # position
        attrs["antialias"] = d.pick(0, 0, 1) if where != "half_pixel_symmetric" else 0
        attrs["exclude_outside"] = d.pick(0, 0, 1) if mode == "cubic" else 0
        attrs["cubic_coeff_a"] = d.pick(-0.75, -0.5)
    return attrs
