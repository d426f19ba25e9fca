"""Cases of the rows of pyops/ops/pooling.py, and calls that they refuse."""
import math
from dataclasses import dataclass

import numpy as np

from ...core.cases import A, Array, I, bad, case

MAX_POOL_CASES = [
    ("k2", "max_pool2d", A(2, 3, 8, 10), 2),
    ("k3s2_alexnet_odd", "max_pool2d", A(2, 2, 27, 55), 3, 2),
    ("k3s2_padded_resnet", "max_pool2d", A(1, 2, 20, 37), 3, 2, 1),
    ("k3s1_same", "max_pool2d", A(2, 2, 9, 35), 3, 1, 1),
    ("two_tiles_of_a_row", "max_pool2d", A(1, 1, 3, 4611), (2, 3), (1, 2), (0, 1)),
    ("row_shorter_than_a_vector", "max_pool2d", A(2, 3, 3, 3), 2, 1),
    ("stride4_kernel5", "max_pool2d", A(1, 2, 17, 83), 5, 4, 2),
    ("stride_beyond_kernel", "max_pool2d", A(1, 2, 14, 39), 2, 3),
    ("dilation_padding", "max_pool2d", A(1, 2, 14, 40), (3, 2), (2, 1), 1, (2, 3)),
    ("ceil_mode_short_last", "max_pool2d", A(1, 2, 10, 12), 3, 2, 0, 1, True),
    ("ceil_mode_drops_window_in_padding", "max_pool2d", A(1, 2, 5, 7), 2, 3, 1, 1, True),
    ("unbatched", "max_pool2d", A(3, 9, 11), (3, 2)),
    ("no_samples", "max_pool2d", A(0, 3, 8, 8), 2),
    ("stride_list", "max_pool2d", A(1, 2, 9, 9), [3, 2], [2, 1]),
    ("1d", "max_pool1d", A(2, 3, 50), 3, 2, 1),
    ("1d_unbatched_long", "max_pool1d", A(1, 5003), 7, 1, 3),
    ("3d", "max_pool3d", A(2, 2, 6, 7, 20), 2),
    ("3d_overlap_mixed", "max_pool3d", A(1, 2, 7, 6, 19), (3, 2, 3), (2, 1, 2), (1, 0, 1), (1, 2, 1), True),
    ("3d_unbatched", "max_pool3d", A(2, 4, 5, 6), (2, 3, 2), 1),
]


def _distinct(array):
    return Array(array.shape, "distinct")


def _batches(array, call):
    return len(array.shape) == int(call[-2]) + 2 and array.shape[0] > 0


@dataclass(slots=True, eq=False)
class PositionsOf(Array):
    """Positions in a plane of `high` elements, no two equal within a plane, as max_pool gives them
    for windows that do not overlap."""
    spatial: int = 2

    def make(self, dtype, rng):
        planes = self.shape[:len(self.shape) - self.spatial]
        n = math.prod(self.shape[len(planes):])
        rows = [rng.permutation(self.high)[:n] for _ in range(math.prod(planes))]
        return np.array(rows, np.int64).reshape(self.shape)


def positions(spatial, shape, plane):
    return PositionsOf(shape, "int", high=plane, spatial=spatial)


def _global_torch(reduce):
    def counterpart(torch, x, keepdim=False):
        dims = tuple(range(2, x.ndim))
        return x.mean(dims, keepdim=keepdim) if reduce == "mean" else x.amax(dims, keepdim=keepdim)
    return counterpart


AVG_POOL_CASES = [
    ("k3s1", "avg_pool2d", A(2, 3, 13, 37), 3, 1),
    ("k2_lenet", "avg_pool2d", A(2, 6, 28, 28), 2),
    ("k3s1_padded", "avg_pool2d", A(2, 2, 9, 35), 3, 1, 1),
    ("k3s2_padding_not_counted", "avg_pool2d", A(1, 2, 11, 36), 3, 2, 1, False, False),
    ("ceil_mode_counts_to_padding", "avg_pool2d", A(1, 2, 10, 12), 3, 2, 1, True),
    ("ceil_mode_counts_inputs", "avg_pool2d", A(1, 2, 10, 12), 3, 2, 1, True, False),
    ("divisor", "avg_pool2d", A(1, 2, 8, 9), (2, 3), 1, (1, 1), True, True, -5),
    ("stride_beyond_kernel", "avg_pool2d", A(1, 2, 14, 39), 2, 3),
    ("stride5_kernel7", "avg_pool2d", A(1, 2, 22, 60), 7, 5, 3),
    ("two_tiles_of_a_row", "avg_pool2d", A(1, 1, 3, 4611), (2, 3), (1, 2), (0, 1)),
    ("unbatched_no_overlap", "avg_pool2d", A(3, 9, 11), (3, 2)),
    ("no_samples", "avg_pool2d", A(0, 3, 8, 8), 2),
    ("1d", "avg_pool1d", A(2, 3, 50), 4, 3, 2, True, False),
    ("1d_unbatched_long", "avg_pool1d", A(1, 5003), 7, 1, 3),
    ("3d", "avg_pool3d", A(2, 2, 6, 7, 20), 2),
    ("3d_overlap_mixed", "avg_pool3d", A(1, 2, 7, 6, 19), (3, 2, 3), (2, 1, 2), (1, 0, 1), True, False),
    ("3d_divisor", "avg_pool3d", A(2, 4, 5, 6), (2, 3, 2), 1, 1, False, True, 7),
]


CASES = {
    "max_pool": [case(why, call, _distinct(x), *args, batch=_batches(x, call)) for why, call, x, *args in MAX_POOL_CASES] + [
        case("adaptive_unequal", "adaptive_max_pool2d", A(2, 3, 10, 13, values="distinct"), (4, 5),
             batch=True),
        case("adaptive_more_outputs_than_inputs", "adaptive_max_pool2d", A(1, 2, 3, 5, values="distinct"), 7),
        case("adaptive_equal", "adaptive_max_pool2d", A(2, 3, 12, 24, values="distinct"), (None, 12),
             batch=True),
        case("adaptive_unbatched_to_one", "adaptive_max_pool2d", A(3, 9, 7, values="distinct"), 1),
        # torch refuses its gradient
        case("adaptive_no_output", "adaptive_max_pool2d", A(1, 2, 5, 5), (0, 2), torch=None),
        case("adaptive_1d", "adaptive_max_pool1d", A(2, 3, 29, values="distinct"), 6, batch=True),
        case("adaptive_many_planes", "adaptive_max_pool2d", A(2, 9, 7, 11, values="distinct"), (3, 4), batch=True),
        case("far_apart", "max_pool2d", A(2, 17, 9, 14, values="distinct"), 4, batch=True),
        case("far_apart_gaps", "max_pool2d", A(3, 11, 8, 16, values="distinct"), 3, 5, ceil_mode=True, batch=True),
        case("adaptive_3d", "adaptive_max_pool3d", A(1, 2, 5, 7, 8, values="distinct"), (2, None, 3)),
        case("plane", "global_max_pool", A(2, 5, 9, 11, values="distinct"), torch=_global_torch("max"),
             batch=True),
        case("plane_keepdim_3d", "global_max_pool", A(2, 3, 3, 5, 7, values="distinct"), True,
             torch=_global_torch("max"), batch=True),
        case("plane_of_one_vector_1d", "global_max_pool", A(2, 3, 16, values="distinct"),
             torch=_global_torch("max")),
        case("lp_infinity", "lp_pool2d", A(2, 3, 9, 35), math.inf, 3, 2, torch=None, batch=True,
             gradient=False),
    ],
    "max_pool_indices": [case(why, call, _distinct(x), *args, batch=_batches(x, call), return_indices=True) for why, call, x, *args in MAX_POOL_CASES] + [
        case("adaptive_unequal", "adaptive_max_pool2d", A(2, 3, 10, 13, values="distinct"), (4, 5), True,
             batch=True),
        case("adaptive_3d", "adaptive_max_pool3d", A(1, 2, 5, 7, 8, values="distinct"), (2, None, 3), True),
        # torch refuses its gradient
        case("adaptive_no_output", "adaptive_max_pool1d", A(1, 2, 5), 0, True, torch=None),
    ],
    "avg_pool": [case(why, call, x, *args, batch=_batches(x, call)) for why, call, x, *args in AVG_POOL_CASES] + [
        case("adaptive_unequal", "adaptive_avg_pool2d", A(2, 3, 10, 13), (4, 5), batch=True),
        case("adaptive_more_outputs_than_inputs", "adaptive_avg_pool2d", A(1, 2, 3, 5), 7),
        case("adaptive_wide", "adaptive_avg_pool2d", A(1, 1, 4, 5001), (3, 7)),
        case("adaptive_many_planes", "adaptive_avg_pool2d", A(2, 9, 7, 11), (3, 4), batch=True),
        case("far_apart", "avg_pool2d", A(2, 17, 9, 14), 4, batch=True),
        case("far_apart_gaps", "avg_pool2d", A(3, 11, 8, 16), 3, 5, ceil_mode=True, batch=True),
        case("adaptive_equal", "adaptive_avg_pool2d", A(2, 3, 12, 24), (None, 12), batch=True),
        case("adaptive_to_one", "adaptive_avg_pool2d", A(2, 5, 7, 7), 1, batch=True),
        # torch refuses its gradient
        case("adaptive_no_output", "adaptive_avg_pool2d", A(1, 2, 5, 5), (0, 2), torch=None),
        case("adaptive_1d_unbatched", "adaptive_avg_pool1d", A(3, 29), 6),
        case("adaptive_3d", "adaptive_avg_pool3d", A(1, 2, 5, 7, 8), (2, None, 3)),
        case("plane", "global_avg_pool", A(2, 5, 9, 11), torch=_global_torch("mean"), batch=True),
        case("plane_keepdim_3d", "global_avg_pool", A(2, 3, 3, 5, 7), True, torch=_global_torch("mean"), batch=True),
        case("plane_large_1d", "global_avg_pool", A(2, 1, 10007), torch=_global_torch("mean")),
    ],
    "lp_pool": [
        case("norm2_k3s2", "lp_pool2d", A(2, 3, 19, 37, values="positive"), 2, 3, 2, batch=True),
        case("norm2_negative_inputs", "lp_pool2d", A(2, 3, 12, 18), 2, 2, batch=True),
        case("norm2_k3s1", "lp_pool2d", A(1, 2, 9, 35), 2.0, 3, 1),
        case("norm1_is_a_signed_sum", "lp_pool2d", A(2, 2, 9, 18), 1, 3, 2, batch=True),
        case("norm3", "lp_pool2d", A(1, 2, 9, 18, values="positive"), 3, 2, 2),
        case("norm4_negative_inputs", "lp_pool2d", A(1, 2, 8, 8), 4, 2),
        case("norm_fractional", "lp_pool1d", A(2, 2, 21, values="positive"), 1.5, 4, 3, batch=True),
        case("norm2_ceil_mode_scales_up", "lp_pool2d", A(1, 2, 10, 12, values="positive"), 2, 3, 2, True),
        case("norm3_ceil_mode_scales_up", "lp_pool1d", A(1, 2, 10, values="positive"), 3, 4, 3, True),
        case("3d_unbatched", "lp_pool3d", A(2, 5, 6, 17, values="positive"), 2, (2, 3, 2), torch=None),
        case("3d", "lp_pool3d", A(1, 2, 5, 6, 17, values="positive"), 2, 3, 2, batch=True),
        case("no_samples", "lp_pool2d", A(0, 3, 8, 8), 2, 2),
    ],
    "max_unpool": [
        case("2d", "max_unpool2d", A(1, 1, 2, 3), positions(2, (1, 1, 2, 3), 24), 2),
        case("2d_samples", "max_unpool2d", A(2, 3, 4, 5), positions(2, (2, 3, 4, 5), 80), 2, batch=True, batched=(0, 1)),
        case("2d_output_size", "max_unpool2d", A(2, 3, 4, 5), positions(2, (2, 3, 4, 5), 99), 3, 2, output_size=(9, 11)),
        case("2d_full_output_size", "max_unpool2d", A(1, 3, 4, 5), positions(2, (1, 3, 4, 5), 99), 3, 2, 0, (1, 3, 9, 11)),
        case("2d_unbatched_padding", "max_unpool2d", A(3, 4, 5), positions(2, (3, 4, 5), 63), 3, 2, 1),
        case("1d", "max_unpool1d", A(2, 3, 10), positions(1, (2, 3, 10), 20), 2),
        case("3d", "max_unpool3d", A(1, 2, 2, 3, 4), positions(3, (1, 2, 2, 3, 4), 192), 2),
        case("no_samples", "max_unpool2d", A(0, 3, 4, 5), positions(2, (0, 3, 4, 5), 80), 2),
    ],
}
REFUSES = {
    "max_pool": [
        bad("rank", "max_pool2d", A(4, 4), 2, match="3 or 4 axes"),
        bad("rank_1d", "max_pool1d", A(2, 3, 4, 4), 2, match="2 or 3 axes"),
        bad("kernel_zero", "max_pool2d", A(1, 1, 4, 4), 0, match="kernel_size must be at least 1"),
        bad("kernel_of_three", "max_pool2d", A(1, 1, 4, 4), (1, 2, 3), match="kernel_size"),
        bad("stride_zero", "max_pool2d", A(1, 1, 4, 4), 2, 0, match="stride must be at least 1"),
        bad("stride_negative", "max_pool2d", A(1, 1, 4, 4), 2, -1, match="stride must be at least 1"),
        bad("dilation_zero", "max_pool3d", A(1, 1, 4, 4, 4), 2, 1, 0, 0, match="dilation must be at least 1"),
        bad("padding_negative", "max_pool2d", A(1, 1, 4, 4), 2, 1, -1, match="padding must be at least 0"),
        bad("padding_beyond_half", "max_pool2d", A(1, 1, 4, 4), 3, 1, 2, match="at most half"),
        bad("empty_output", "max_pool2d", A(1, 1, 4, 4), 5, match="empty output"),
        bad("empty_axis", "max_pool2d", A(1, 1, 0, 4), 2, 1, 1, match="must not be empty"),
        bad("window_of_padding_only", "max_pool1d", A(1, 1, 1), 2, 1, 1, 2, match="holds no input"),
        bad("integers", "max_pool2d", I(1, 1, 4, 4, high=3), 2, match="float32 or float64", error=TypeError),
        bad("kernel_float", "max_pool2d", A(1, 1, 4, 4), 2.0, match="kernel_size", error=TypeError),
        bad("adaptive_negative", "adaptive_max_pool2d", A(1, 1, 4, 4), -1, match="output_size must be at least 0"),
        bad("adaptive_sizes", "adaptive_max_pool2d", A(1, 1, 4, 4), (1, 2, 3), match="output_size"),
        bad("plane_rank", "global_max_pool", A(3, 4), match="spatial axes"),
        bad("plane_empty", "global_max_pool", A(3, 4, 0), match="must not be empty"),
    ],
    "avg_pool": [
        bad("rank", "avg_pool3d", A(4, 4, 4), 2, match="4 or 5 axes"),
        bad("kernel_negative", "avg_pool1d", A(1, 1, 4), -2, match="kernel_size must be at least 1"),
        bad("stride_zero", "avg_pool2d", A(1, 1, 4, 4), 2, (1, 0), match="stride must be at least 1"),
        bad("padding_beyond_half", "avg_pool2d", A(1, 1, 4, 4), 3, 1, 2, match="at most half"),
        bad("empty_output", "avg_pool2d", A(1, 1, 4, 4), (2, 5), match="empty output"),
        bad("divisor_zero", "avg_pool2d", A(1, 1, 4, 4), 2, divisor_override=0, match="divisor_override"),
        bad("integers", "avg_pool2d", I(1, 1, 4, 4, high=3), 2, match="float32 or float64", error=TypeError),
        bad("adaptive_rank", "adaptive_avg_pool1d", A(4), 2, match="2 or 3 axes"),
        bad("adaptive_empty_axis", "adaptive_avg_pool2d", A(1, 1, 0, 4), 2, match="must not be empty"),
    ],
    "lp_pool": [
        bad("norm_zero", "lp_pool2d", A(1, 1, 4, 4), 0, 2, match="norm_type must be positive"),
        bad("norm_nan", "lp_pool2d", A(1, 1, 4, 4), math.nan, 2, match="norm_type must be positive"),
        bad("stride_zero", "lp_pool1d", A(1, 1, 4), 2, 2, 0, match="stride must be at least 1"),
        bad("empty_output", "lp_pool3d", A(1, 1, 4, 4, 4), 2, 5, match="empty output"),
    ],
    "max_unpool": [
        bad("rank", "max_unpool2d", A(4, 5), I(4, 5, high=1), 2, match="3 or 4 axes"),
        bad("indices_of_other_shape", "max_unpool2d", A(1, 1, 2, 2), I(1, 1, 2, 3, high=1), 2, match="shape of input"),
        bad("index_behind_plane", "max_unpool2d", A(1, 1, 2, 2), I(1, 1, 2, 2, low=16, high=17), 2, match=r"\[0, 16\)"),
        bad("index_negative", "max_unpool2d", A(1, 1, 2, 2), I(1, 1, 2, 2, low=-1, high=0), 2, match=r"\[0, 16\)"),
        bad("output_size_a_stride_away", "max_unpool2d", A(1, 1, 2, 2), I(1, 1, 2, 2, high=1), 2, output_size=(6, 4), match="less than stride"),
        bad("float_indices", "max_unpool2d", A(1, 1, 2, 2), A(1, 1, 2, 2), 2, match="integer array", error=TypeError),
    ],
}
