"""What must hold of the calls that choose and repeat others (csrc/program.cpp): their numbers are there,
and their parts lie within the part around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .arguments import ELEMENTS, INT, LARGEST, Spaces, array, is_size, need

BOOL = ELEMENTS["bool"]
CONTROL = ("branch", "loop", "shorten")
DEEPEST = 64  # of parts within parts


def check(kernel: str, arguments: tuple, spaces: Spaces) -> None:
    """Raises Refused where a number is no number, or of another type."""
    if kernel == "shorten":
        need(len(arguments) == 3, "what shortens has a count, a room and places")
        number(arguments[0], INT, spaces)
        need(is_size(arguments[1]) and arguments[1] >= 1, "there is room for an entry")
        need(type(arguments[2]) is tuple and all(map(is_size, arguments[2])), "places are those of arguments")
        return
    need(len(arguments) == (3 if kernel == "branch" else 5), f"{kernel} has a place for each of its numbers")
    need(all(is_size(n) for n in arguments[-2:]), f"the parts of a {kernel} are counts of calls")
    if kernel == "branch":
        number(arguments[0], BOOL, spaces)
        return
    number(arguments[0], INT, spaces, writes=True)
    for given, dtype in zip(arguments[1:3], (INT, BOOL)):
        if given is not None:
            number(given, dtype, spaces)
    need(arguments[3] < LARGEST, "a loop has a greatest number of rounds")


def number(given: Any, dtype: np.dtype, spaces: Spaces, writes: bool = False) -> None:
    need(array(given, spaces, dtype, writes).size >= 1, "a number that is read is there")


def parts(kernel: str, arguments: tuple) -> tuple[int, ...]:
    """How many calls each part of a call has; () for a kernel."""
    if kernel == "shorten":
        return (1,)
    return arguments[1:] if kernel == "branch" else arguments[-1:] if kernel == "loop" else ()


def nested(steps: Sequence[Any], begin: int, end: int, depth: int = 0) -> None:
    """Raises Refused where a part of a call is not wholly within the part that the call is in."""
    while begin < end:
        kernel, arguments = steps[begin].kernel, steps[begin].args
        begin += 1
        if kernel == "shorten":
            need(begin < end and arguments[2] == shortened(steps[begin].kernel, steps[begin].args, arguments[1]),
                 "a call that is shortened keeps the entries of its first axis apart")
        for count in parts(kernel, arguments):
            need(depth < DEEPEST, f"branches and loops are at most {DEEPEST} deep")
            need(count <= end - begin, "a part of a branch or loop lies within the part around it")
            nested(steps, begin, begin + count, depth + 1)
            begin += count


# Kernels that keep the entries of their arrays' first axis apart, and samples of maps, so that their contract
# holds for the first of them if it holds for all: places of what is then shorter. Arrays, maps and shapes
# that are broadcast to.
SHORT: dict[str, tuple[int, ...]] = {
    **dict.fromkeys("neg abs square sqrt rsqrt reciprocal exp expm1 log log1p erf tanh sigmoid relu gelu gelu_tanh "
                    "silu mish hardswish hardsigmoid scaled_tanh logsigmoid softsign cast sign whole_neg whole_abs "
                    "bitwise_not floor ceil round trunc sin cos tan asin acos atan sinh cosh asinh acosh atanh isnan "
                    "logical_not".split(), (0, 1)),
    **dict.fromkeys("add_flat leaky_relu".split(), (0, 2)),
    **dict.fromkeys("clamp hardtanh threshold shrink softplus isinf".split(), (0, 3)),
    "elu": (0, 4),
    "add": (2, 6),
    "expand": (1, 4),
    **dict.fromkeys("where select".split(), (3, 7)),
    **dict.fromkeys("mul div pow maximum minimum prelu equal not_equal less less_equal whole_add whole_sub whole_mul "
                    "whole_div whole_pow whole_maximum whole_minimum bitwise_and bitwise_or bitwise_xor shift_left "
                    "shift_right floor_divide remainder fmod".split(), (2, 5)),
    **dict.fromkeys("strided_move strided_copy".split(), (2,)),
    **dict.fromkeys("cat_move cat_copy".split(), (0,)),
    "take": (1, 6),
    "take_blocks": (1, 6),
    **dict.fromkeys("put_blocks put_blocks_add put_blocks_mul put_blocks_max put_blocks_min".split(), (1, 0)),
    **dict.fromkeys("softmax log_softmax".split(), (0, 2)),
    "layer_norm": (0, 4, 5, 6),
    "rms_norm": (0, 3, 4),
    "group_norm": (0, 5, 6, 7),
    "batch_norm": (0, 6),
    **dict.fromkeys("linear_packed linear_rows".split(), (0, 4)),
    "linear_stored": (0, 5),
    "roi_align": (1, 5),
    "ps_roi_align": (1, 4),
    **dict.fromkeys("roi_pool ps_roi_pool".split(), (1, 3)),
    "roi_align_level": (1, 2, 8),
    **dict.fromkeys("to_blocked from_blocked last_to_blocked last_from_blocked adaptive_avg_pool_blocked "
                    "global_avg_pool".split(), (0, 1)),
    "activate_flat": (1,),
    "add_maps": (0, 1, 3),
    "affine_channels": (0, 4),
    "slope_channels": (0, 2),
    **dict.fromkeys("scale_channels shift_channels".split(), (0, 1, 3)),
    **dict.fromkeys("copy_channels repeat_channels".split(), (0, 3)),
    "slice_channels": (0, 4),
    "pick_channels": (0, 1, 3),
    "direct_conv": (0, 4, 7, 11),
    "strassen_conv": (0, 6, 8),
    "grouped_conv": (0, 4, 9),
    "stem_conv": (0, 5),
    "transposed_conv": (0, 4, 7),
    "depthwise_conv": (0, 3, 6),
    "depthwise_conv_mean": (0, 3, 6, 7),
    "inverted_residual": (0, 12, 14),
    "expand_depthwise_mean": (0, 9, 10),
    "winograd_conv": (0, 5, 9),
    "winograd_dilated": (0, 5, 9),
    "winograd_line": (0, 6, 10),
    "winograd_grouped": (0, 5, 10),
    **dict.fromkeys("winograd_stride_two winograd_transposed".split(), (0, 6)),
    "layer_norm_blocked": (0, 6),
    "group_norm_blocked": (0, 7),
    "max_pool_blocked": (0, 2),
    "avg_pool_blocked": (0, 3),
    "resample_blocked": (0, 5),
    "pad_blocked": (0, 4),
}
SHORT["add_flat"] = (0, 1, 2)


def shortened(kernel: str, arguments: tuple, room: int) -> tuple[int, ...] | None:
    """Places of the arguments that are shorter where a call is run on the first of so many entries; None
    where it cannot be. arguments: of a step, planned or not."""
    name = kernel.partition(".")[0]
    places, by_blocks = SHORT.get(name), name.startswith(("take_blocks", "put_blocks"))
    if places is None or mixes(name, arguments, by_blocks):
        return None
    places = tuple(place for place in places if arguments[place] is not None)
    shapes = [a if type(a) is tuple and all(type(n) is int for n in a) else shape_of(a)
              for a in (arguments[place] for place in places)]
    if not all(shape and shape[0] % room == 0 for shape in shapes):
        return None
    # an entry is made of whole rows, or of whole indices
    parts = arguments[1] if name.startswith("cat_") else len(arguments[2]) if by_blocks else 1
    return places if parts and math.prod(shapes[0]) // room % parts == 0 else None


def mixes(name: str, arguments: tuple, by_blocks: bool) -> bool:
    """Whether a kernel, with these arguments, does not keep entries apart: several axes, or a softmax over
    the first."""
    if name in ("softmax", "log_softmax"):
        return not arguments[1]
    return name == "take" and arguments[2] != 1 or by_blocks and arguments[3] != 1


def shape_of(given: Any) -> tuple[int, ...]:
    return tuple(given[3]) if type(given) is tuple else tuple(given.shape)
