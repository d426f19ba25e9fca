"""Chains of calls as compiled programs meet them: maps in blocked layout (csrc/view.h), epilogues,
and several rows in one kernel.
Each is a function of F and arrays, of which the first is given at run time and the others are
weights. Channels fill blocks of 16, or do not.
"""
import math

from ...core.cases import A, Array, chain


def W(*shape):
    """Weights such that what they make is of the size of what they are given."""
    return Array(shape, scale=math.prod(shape[1:]) ** -0.5)


def statistics(channels):
    """Mean, variance, weight and bias of a batch norm."""
    return A(channels), A(channels, values="positive"), A(channels), A(channels)


# Functions of one array that may stand between two convolutions.
POINTWISE = {
    "relu": lambda F, x: F.relu(x), "relu6": lambda F, x: F.relu6(x),
    "hardtanh": lambda F, x: F.hardtanh(x, -0.3, 0.7),
    "threshold": lambda F, x: F.threshold(x, 0.1, -2.0), "leaky_relu": lambda F, x: F.leaky_relu(x, 0.2),
    "leaky_relu_that_turns": lambda F, x: F.leaky_relu(x, -1.5), "elu": lambda F, x: F.elu(x, 0.7),
    "selu": lambda F, x: F.selu(x),
    "celu": lambda F, x: F.celu(x, 0.6), "gelu": lambda F, x: F.gelu(x),
    "gelu_tanh": lambda F, x: F.gelu(x, "tanh"),
    "silu": lambda F, x: F.silu(x), "mish": lambda F, x: F.mish(x), "hardswish": lambda F, x: F.hardswish(x),
    "hardsigmoid": lambda F, x: F.hardsigmoid(x), "scaled_tanh": lambda F, x: F.scaled_tanh(x),
    "logsigmoid": lambda F, x: F.logsigmoid(x),
    "softplus": lambda F, x: F.softplus(x, 2.0), "softsign": lambda F, x: F.softsign(x),
    "sigmoid": lambda F, x: F.sigmoid(x),
    "tanh": lambda F, x: F.tanh(x), "exp": lambda F, x: F.exp(x), "expm1": lambda F, x: F.expm1(x),
    "abs": lambda F, x: F.abs(x),
    "neg": lambda F, x: F.neg(x), "square": lambda F, x: F.square(x), "erf": lambda F, x: F.erf(x),
    "clamp": lambda F, x: F.clamp(x, -0.5, 0.5),
    "sqrt": lambda F, x: F.sqrt(F.abs(x)), "rsqrt": lambda F, x: F.rsqrt(F.add(F.square(x), 0.5)),
    "reciprocal": lambda F, x: F.reciprocal(F.add(F.square(x), 0.5)),
    "log": lambda F, x: F.log(F.add(F.square(x), 0.5)),
    "log1p": lambda F, x: F.log1p(F.square(x)), "times_a_number": lambda F, x: F.mul(x, 1.5),
    "plus_a_number": lambda F, x: F.add(x, 1.5),
    "over_a_number": lambda F, x: F.div(x, 1.5),
    "a_number_over": lambda F, x: F.div(1.5, F.add(F.square(x), 0.5)),
    "above_a_number": lambda F, x: F.maximum(x, 0.1), "below_a_number": lambda F, x: F.minimum(x, 0.1),
    "to_the_power": lambda F, x: F.pow(F.abs(x), 1.5), "product": lambda F, x: F.mul(x, F.sigmoid(x)),
    "quotient": lambda F, x: F.div(x, F.add(F.abs(x), 1.0)),
}
FUSED = ("relu", "relu6", "hardtanh", "leaky_relu", "leaky_relu_that_turns", "elu", "gelu", "gelu_tanh", "silu", "hardswish", "hardsigmoid",
         # what stands behind a sum, a norm, a depthwise or a linear layer
         "sigmoid", "tanh", "mish", "softplus", "logsigmoid")
X, Y = A(2, 20, 9, 11), A(2, 33, 9, 11)   # a block and a part of one; two and a part


def then(f):
    return lambda F, x, w, b, v: F.conv2d(f(F, F.conv2d(x, w, b, padding=1)), v, padding=1)


CONVOLUTIONS = [
    *(chain(f"conv_{name}_conv", then(f), X, W(33, 20, 3, 3), A(33), W(20, 33, 3, 3)) for name, f in POINTWISE.items()),
    *(chain(f"1x1_{why}", lambda F, x, w, b: F.hardswish(F.conv2d(x, w, b)), X, W(k, 20, 1, 1), A(k))
      for why, k in (("narrow", 5), ("wide", 70))),
    chain("1x1_strided", lambda F, x, w: F.relu(F.conv2d(x, w, stride=2)), X, W(33, 20, 1, 1)),
    chain("5x5_strided", lambda F, x, w, b: F.silu(F.conv2d(x, w, b, stride=2, padding=2)), X, W(33, 20, 5, 5), A(33)),
    chain("dilated", lambda F, x, w: F.conv2d(x, w, padding=(2, 3), dilation=(2, 3)), X, W(33, 20, 3, 3)),
    chain("a_row", lambda F, x, w, v: F.conv2d(F.conv2d(x, w, padding=(0, 3)), v, padding=(3, 0)), X, W(33, 20, 1, 7), W(18, 33, 7, 1)),
    chain("wider_than_a_tile", lambda F, x, w: F.relu(F.conv2d(x, w, padding=1)), A(2, 17, 5, 70), W(48, 17, 3, 3)),
    chain("many_channels", lambda F, x, w: F.conv2d(x, w, padding=1), A(2, 150, 7, 7), W(130, 150, 3, 3)),
    chain("lines", lambda F, x, w, v: F.max_pool1d(
        F.relu(F.conv1d(F.tanh(F.conv1d(x, w, padding=2)), v, stride=2)), 3, 2, 1),
          A(2, 20, 45), W(33, 20, 5), W(40, 33, 3)),
    *(chain(f"stem_{channels}", lambda F, x, w, b, v: F.conv2d(
        F.leaky_relu(F.conv2d(x, w, b, stride=2, padding=3), 0.1), v, padding=1),
            A(2, channels, 21, 23), W(24, channels, 7, 7), A(24), W(16, 24, 3, 3)) for channels in (1, 3, 4)),
    chain("groups_fill_blocks", lambda F, x, w: F.gelu(F.conv2d(x, w, padding=1, groups=2)), A(2, 32, 7, 9), W(64, 16, 3, 3)),
    chain("narrow_groups", lambda F, x, w: F.relu(F.conv2d(x, w, padding=1, groups=8)), A(2, 32, 7, 9), W(32, 4, 3, 3)),
    chain("groups_that_fill_no_block", lambda F, x, w, v: F.relu(F.add(F.conv2d(x, w, padding=1, groups=3),
                                                                       F.conv2d(x, v, padding=1, groups=3))),
          A(2, 15, 7, 9), W(21, 5, 3, 3), W(21, 5, 3, 3)),
    chain("filters_that_are_computed", lambda F, x, w: F.relu(F.add(F.conv2d(x, F.mul(w, F.mean(x)), padding=1), x)), X, W(20, 20, 3, 3), batch=False),
    chain("residual", lambda F, x, w, v: F.relu(F.add(F.conv2d(x, w, padding=1), F.conv2d(x, v))), X, W(33, 20, 3, 3), W(33, 20, 1, 1)),
    chain("residual_of_the_input", lambda F, x, w: F.tanh(F.add(F.conv2d(x, w, padding=1), x)), X, W(20, 20, 3, 3)),
    chain("residual_without_activation", lambda F, x, w, v: F.conv2d(F.add(x, F.conv2d(x, w, padding=1)), v), X, W(20, 20, 3, 3), W(16, 20, 1, 1)),
    chain("norm", lambda F, x, w, m, s, a, b: F.relu(F.batch_norm(F.conv2d(x, w, padding=1), m, s, a, b)), X, W(33, 20, 3, 3), *statistics(33)),
    chain("of_normalised", lambda F, x, w, m, s, a, b, v: F.conv2d(
        F.relu(F.batch_norm(F.cat([x, F.conv2d(x, w, padding=1)], 1), m, s, a, b)), v),
          X, W(16, 20, 3, 3), *statistics(36), W(24, 36, 1, 1)),
    chain("of_gated", lambda F, x, w, v, u: F.conv2d(
        F.mul(y := F.conv2d(x, w, padding=1), F.sigmoid(F.conv2d(F.adaptive_avg_pool2d(y, 1), v))), u),
          X, W(33, 20, 3, 3), W(33, 33, 1, 1), W(40, 33, 1, 1)),
    chain("beside_their_mean", lambda F, x, w, v, u: F.conv2d(F.relu(F.conv2d(
        F.cat([y := F.conv2d(x, w, padding=1), F.broadcast_to(F.mean(y, (2, 3), keepdim=True), (2, 33, 9, 11))], 1), v)), u),
          A(2, 20, 9, 11), W(33, 20, 3, 3), W(24, 66, 1, 1), W(16, 24, 1, 1), batch=False),
    chain("of_single_pixels",
          lambda F, x, w, b, v: F.conv2d(F.silu(F.conv2d(F.adaptive_avg_pool2d(x, 1), w, b)), v), X,
          W(70, 20, 1, 1), A(70), W(9, 70, 1, 1)),
    chain("pooled_by_winograd",
          lambda F, x, w, b, v: F.conv2d(F.max_pool2d(F.relu(F.conv2d(x, w, b, padding=1)), 2), v),
          A(2, 20, 10, 14), W(33, 20, 3, 3), A(33), W(16, 33, 1, 1)),
    chain("pooled_to_an_odd_size",
          lambda F, x, w, v: F.conv2d(F.max_pool2d(F.elu(F.conv2d(x, w, padding=1)), 2), v), A(2, 20, 11, 13),
          W(33, 20, 3, 3), W(16, 33, 1, 1)),
    chain("along_rows", lambda F, x, w, b: F.silu(F.conv2d(x, w, b, padding=(0, 3))), X, W(33, 20, 1, 7), A(33)),
    chain("along_columns", lambda F, x, w, b: F.relu(F.conv2d(x, w, b, padding=(1, 0))), X, W(33, 20, 3, 1), A(33)),
    chain("along_columns_and_a_sum", lambda F, x, w: F.relu(F.add(F.conv2d(
        y := F.conv2d(x, w, padding=(2, 0)), F.cat([w, w], 1)[:, :33], padding=(2, 0)), y)), X, W(33, 20, 5, 1)),
    chain("a_sequence", lambda F, x, w: F.gelu(F.conv1d(x, w, padding=2)), A(2, 20, 37), W(33, 20, 5)),
    chain("along_dilated_rows", lambda F, x, w, v: F.relu(F.conv2d(F.conv2d(x, w, padding=(0, 2), dilation=(1, 2)), v,
          padding=(3, 0), dilation=(3, 1))), A(2, 20, 9, 10), W(33, 20, 1, 3), W(17, 33, 3, 1)),
    chain("along_the_depth", lambda F, x, w, b, v: F.silu(F.conv3d(F.relu(F.conv3d(x, w, b, padding=(1, 0, 0))), v)),
          A(2, 20, 7, 4, 5), W(33, 20, 3, 1, 1), A(33), W(20, 33, 5, 1, 1)),
    chain("winograd_padding_2", lambda F, x, w: F.conv2d(x, w, padding=2), X, W(33, 20, 3, 3)),
    chain("winograd_without_padding", lambda F, x, w: F.gelu(F.conv2d(x, w)), X, W(33, 20, 3, 3)),
]
# log 0 is -inf in the lanes that fill the last block of channels (in the others are numbers about
# 8): no kernel may let those through.
EMPTY_LANES = [
    chain(f"empty_lanes_{name}",
          lambda F, x, w, b, *more, f=f: f(F, F.log(F.conv2d(x, w, b, padding=1)), *more), X, W(20, 20, 3, 3),
          A(20, offset=8.0), *more)
    for name, f, more in (
        ("1x1", lambda F, y, v: F.conv2d(y, v), (W(24, 20, 1, 1),)),
        ("3x3", lambda F, y, v: F.conv2d(y, v, padding=1), (W(24, 20, 3, 3),)),
        ("strided", lambda F, y, v: F.conv2d(y, v, stride=2, padding=2), (W(24, 20, 5, 5),)),
        ("transposed", lambda F, y, v: F.conv_transpose2d(y, v, stride=2), (W(20, 24, 3, 3),)),
        ("depthwise", lambda F, y, v: F.conv2d(y, v, padding=1, groups=20), (W(20, 1, 3, 3),)),
        ("gated", lambda F, y, v: F.conv2d(F.mul(y, F.adaptive_avg_pool2d(y, 1)), v), (W(24, 20, 1, 1),)),
        ("normalised", lambda F, y, m, s, v: F.conv2d(F.relu(F.batch_norm(y, m, s)), v),
         (*statistics(20)[:2], W(24, 20, 1, 1))),
        ("joined", lambda F, y, v: F.conv2d(F.cat([y, F.relu(y)], 1), v), (W(24, 40, 1, 1),)),
        ("pooled",
         lambda F, y, v: F.conv2d(F.avg_pool2d(F.max_pool2d(y, 3, 1, 1), 2), v), (W(24, 20, 1, 1),)),
        ("resampled", lambda F, y, v: F.conv2d(F.interpolate(y, (7, 12), mode="bilinear"), v),
         (W(24, 20, 1, 1),)),
        ("norm_of_channels", lambda F, y, g, v: F.conv2d(F.permute(F.layer_norm(
            F.permute(y, (0, 2, 3, 1)), (20,), g), (0, 3, 1, 2)), v), (A(20), W(24, 20, 1, 1))),
        ("norm_of_groups", lambda F, y, g, v: F.conv2d(F.group_norm(y, 4, g), v), (A(20), W(24, 20, 1, 1))),
        ("padded", lambda F, y, v: F.conv2d(F.pad(y, (1, 1, 1, 1), "reflect"), v), (W(24, 20, 1, 1),)),
        ("residual", lambda F, y, v, u: F.conv2d(F.relu(F.add(F.conv2d(y, v), y)), u), (W(20, 20, 1, 1), W(24, 20, 1, 1))))]
LINES = [
    chain(f"lines_{name}", lambda F, x, w, v, f=POINTWISE[name]: F.conv1d(f(F, F.conv1d(x, w, padding=2)), v),
          A(2, 20, 45), W(33, 20, 5), W(20, 33, 3))
    for name in ("softsign", "mish", "plus_a_number", "product")]
DEPTHWISE = [
    *(chain(f"depthwise_{name}", lambda F, x, w, b, v, f=POINTWISE[name]: F.conv2d(
        f(F, F.conv2d(x, w, b, padding=1, groups=33)), v),
            Y, W(33, 1, 3, 3), A(33), W(16, 33, 1, 1)) for name in FUSED),
    *(chain(f"depthwise_times_{m}", lambda F, x, w, b, m=m: F.relu(F.add(F.conv2d(x, w, b, padding=1, groups=33), F.sin(
        F.cat([x] * m, 1)))), Y, W(33 * m, 1, 3, 3), A(33 * m)) for m in (2, 3, 5)),
    chain("depthwise_strided", lambda F, x, w: F.relu(F.conv2d(x, w, stride=2, padding=2, groups=33)), Y, W(33, 1, 5, 5)),
    chain("depthwise_dilated", lambda F, x, w: F.conv2d(x, w, padding=4, dilation=(4, 2), groups=33), Y, W(33, 1, 3, 3)),
    chain("depthwise_residual", lambda F, x, w: F.relu(F.add(F.conv2d(x, w, padding=3, groups=33), x)), Y, W(33, 1, 7, 7)),
    chain("depthwise_and_mean", lambda F, x, w: F.mul(y := F.silu(F.conv2d(x, w, padding=1, groups=33)), F.adaptive_avg_pool2d(y, 1)), Y, W(33, 1, 3, 3)),
]


def inverted(F, x, expand, depth, project=None, stride=1, activation="relu6", residual=False):
    """An inverted residual block; expand or project None for those without."""
    f = POINTWISE[activation]
    wide = f(F, F.conv2d(x, expand)) if expand is not None else x
    y = f(F, F.conv2d(wide, depth, stride=stride, padding=depth.shape[2] // 2, groups=len(depth)))
    y = F.conv2d(y, project) if project is not None else y
    return F.add(y, x) if residual else y


# The wide map has 1.6 MB at two samples, where blocks begin to be one kernel, and half of it at
# one: the batch check compares both ways.
SMALL, WIDE = A(2, 20, 45, 46), 100
INVERTED = [
    *(chain(f"inverted_{name}",
            lambda F, x, e, d, p, name=name: inverted(F, x, e, d, p, activation=name, residual=True), SMALL,
            W(WIDE, 20, 1, 1), W(WIDE, 1, 3, 3), W(20, WIDE, 1, 1))
      for name in ("relu6", "hardswish", "silu", "elu", "mish")),
    chain("inverted_strided", lambda F, x, e, d, p: inverted(F, x, e, d, p, 2), SMALL, W(WIDE, 20, 1, 1), W(WIDE, 1, 5, 5), W(33, WIDE, 1, 1)),
    chain("inverted_without_expansion", lambda F, x, d, p: inverted(F, x, None, d, p), A(2, WIDE, 45, 46), W(WIDE, 1, 3, 3), W(24, WIDE, 1, 1)),
    chain("inverted_without_projection", lambda F, x, e, d: inverted(F, x, e, d, None, 2), SMALL, W(WIDE, 20, 1, 1), W(WIDE, 1, 3, 3)),
    chain("inverted_and_mean",
          lambda F, x, e, d: F.mul(y := inverted(F, x, e, d, None, 1, "silu"), F.adaptive_avg_pool2d(y, 1)),
          SMALL, W(WIDE, 20, 1, 1), W(WIDE, 1, 3, 3)),
]
TRANSPOSED = [
    chain("transposed", lambda F, x, w, b, v: F.conv2d(
        F.elu(F.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1)), v),
          X, W(20, 33, 3, 3), A(33), W(16, 33, 1, 1)),
    chain("transposed_residual", lambda F, x, w: F.relu(F.add(F.conv_transpose2d(x, w, padding=1), x)), X, W(20, 20, 3, 3)),
    chain("transposed_norm",
          lambda F, x, w, m, s, a, b: F.batch_norm(F.conv_transpose2d(x, w, stride=(2, 3)), m, s, a, b), X,
          W(20, 33, 2, 3), *statistics(33)),
    chain("transposed_groups", lambda F, x, w: F.silu(F.conv_transpose2d(x, w, stride=2, groups=2)), X, W(20, 9, 2, 2)),
    chain("transposed_dilated", lambda F, x, w: F.conv_transpose2d(x, w, stride=2, dilation=2), X, W(20, 17, 3, 3)),
]


def pooled(pool, *, after=False):
    """A pooling of a map, whose result is planar, or with `after` a map again."""
    if after:
        return lambda F, x, w, v: F.conv2d(pool(F, F.conv2d(x, w)), v)
    return lambda F, x, w: pool(F, F.conv2d(x, w))


MAX_POOLS = {"2": lambda F, x: F.max_pool2d(x, 2), "3_2_1": lambda F, x: F.max_pool2d(x, 3, 2, 1),
             "ceil": lambda F, x: F.max_pool2d(x, 2, 2, ceil_mode=True),
             "dilated": lambda F, x: F.max_pool2d(x, (3, 2), (1, 2), 1, (2, 3)),
             "13": lambda F, x: F.max_pool2d(x, 5, 1, 2),
             "adaptive": lambda F, x: F.adaptive_max_pool2d(x, (4, 3)),
             "global": lambda F, x: F.adaptive_max_pool2d(x, 1),}
AVG_POOLS = {"2": lambda F, x: F.avg_pool2d(x, 2), "padded": lambda F, x: F.avg_pool2d(x, 3, 2, 1),
             "not_counted": lambda F, x: F.avg_pool2d(x, 3, 2, 1, False, False),
             "ceil": lambda F, x: F.avg_pool2d(x, 2, 2, ceil_mode=True),
             "divisor": lambda F, x: F.avg_pool2d(x, 3, 1, 1, divisor_override=5),
             "adaptive": lambda F, x: F.adaptive_avg_pool2d(x, (4, 3)),
             "adaptive_larger": lambda F, x: F.adaptive_avg_pool2d(x, (13, 12)),
             "global": lambda F, x: F.adaptive_avg_pool2d(x, 1),
             "global_kernel": lambda F, x: F.avg_pool2d(x, (9, 11)),}
MEANS = {"mean": lambda F, x: F.mean(x, (2, 3)), "mean_kept": lambda F, x: F.mean(x, (-1, -2), True),
         "sum": lambda F, x: F.sum(x, (2, 3))}
SIZES = {"nearest": lambda F, x: F.interpolate(x, scale_factor=2),
         "bilinear": lambda F, x: F.interpolate(x, (14, 7), mode="bilinear"),
         "bilinear_corners": lambda F, x: F.interpolate(x, (14, 7), mode="bilinear", align_corners=True),
         "bicubic": lambda F, x: F.interpolate(x, (5, 23), mode="bicubic"),
         "area": lambda F, x: F.interpolate(x, (4, 5), mode="area"),}
PADS = {"zeros": lambda F, x: F.pad(x, (1, 2, 3, 0)), "ones": lambda F, x: F.pad(x, (1, 0, 0, 2), value=1.0),
        "reflect": lambda F, x: F.pad(x, (2, 1, 1, 2), "reflect"),
        "replicate": lambda F, x: F.pad(x, (2, 1, 1, 2), "replicate"),
        "circular": lambda F, x: F.pad(x, (2, 1, 1, 2), "circular"),
        "cropped": lambda F, x: F.pad(x, (-1, 2, 1, -2)),
        "infinite": lambda F, x: F.pad(x, (1, 1, 1, 1), value=-math.inf),
        "channels": lambda F, x: F.pad(x, (0, 0, 0, 0, 1, 2)),}


def of_maps(table):
    """Each function of a map on its own, and between two convolutions where its result is an image
    of as many channels.
    """
    images = [(name, f) for name, f in table.items()
              if name not in ("mean", "mean_kept", "sum", "channels", "infinite")]
    return [*(chain(f"map_{name}", pooled(f), X, W(33, 20, 1, 1)) for name, f in table.items()),
            *(chain(f"map_{name}_map", pooled(f, after=True), X, W(33, 20, 1, 1), W(16, 33, 1, 1))
              for name, f in images)]


ADDS = [
    *(chain(f"sum_{name}", lambda F, x, w, v, f=POINTWISE[name]: f(
        F, F.add(F.max_pool2d(F.conv2d(x, w), 3, 1, 1), F.max_pool2d(F.conv2d(x, v), 3, 1, 1))),
            X, W(33, 20, 1, 1), W(33, 20, 1, 1)) for name in FUSED),
    chain("sum_with_planar", lambda F, x, w: F.add(F.max_pool2d(F.conv2d(x, w), 3, 1, 1), x), X, W(20, 20, 1, 1)),
    chain("scaled_sum", lambda F, x, w: F.add(F.max_pool2d(F.conv2d(x, w), 3, 1, 1), x, alpha=0.5), X, W(20, 20, 1, 1)),
    chain("sum_with_numbers_a_channel", lambda F, x, w, b: F.add(F.max_pool2d(F.conv2d(x, w), 3, 1, 1), b), X, W(33, 20, 1, 1), A(33, 1, 1)),
]
MULS = [
    chain("gated", lambda F, x, w, v: F.mul(y := F.relu(F.conv2d(x, w)),
                                            F.sigmoid(F.conv2d(F.adaptive_avg_pool2d(y, 1), v))),
          X, W(33, 20, 1, 1), W(33, 33, 1, 1)),
    chain("gated_by_the_first", lambda F, x, w: F.mul(F.adaptive_avg_pool2d(y := F.conv2d(x, w), 1), y), X,
          W(33, 20, 1, 1)),
    chain("gated_then_grouped",
          lambda F, x, w, v: F.conv2d(F.mul(y := F.conv2d(x, w), F.adaptive_avg_pool2d(y, 1)), v, padding=1),
          X, W(32, 20, 1, 1), W(16, 32, 3, 3)),
]
NORMS = [
    chain("norm_of_channels", lambda F, x, w, g, b, v: F.conv2d(F.permute(F.layer_norm(
        F.permute(F.conv2d(x, w, padding=1), (0, 2, 3, 1)), (33,), g, b), (0, 3, 1, 2)), v),
          X, W(33, 20, 3, 3), A(33), A(33), W(16, 33, 1, 1)),
    chain("layers_of_channels", lambda F, x, w, g, b, e, p: F.add(x, F.permute(F.linear(F.gelu(F.linear(F.layer_norm(
        F.permute(F.conv2d(x, w, padding=3, groups=20), (0, 2, 3, 1)), (20,), g, b), e)), p), (0, 3, 1, 2))),
          X, W(20, 1, 7, 7), A(20), A(20), W(70, 20), W(20, 70)),
    chain("norm_of_groups", lambda F, x, w, g, b, v: F.conv2d(F.silu(F.group_norm(F.conv2d(x, w, padding=1), 3, g, b)), v),
          X, W(33, 20, 3, 3), A(33), A(33), W(16, 33, 1, 1)),
    chain("tokens_of_a_map", lambda F, x, w, v, u: F.conv2d(F.reshape(F.permute(F.linear(
        F.permute(F.flatten(F.conv2d(x, w), 2), (0, 2, 1)), v), (0, 2, 1)), (-1, 33, 9, 11)), u),
          X, W(33, 20, 1, 1), W(33, 33), W(16, 33, 1, 1)),
    *(chain(f"norm_of_a_map_{name}", lambda F, x, w, m, s, a, b, f=POINTWISE[name]: f(
       F, F.batch_norm(F.max_pool2d(F.conv2d(x, w), 3, 1, 1), m, s, a, b)),
            X, W(33, 20, 1, 1), *statistics(33)) for name in FUSED),
    chain("norm_without_weight",
          lambda F, x, w, m, s: F.batch_norm(F.max_pool2d(F.conv2d(x, w), 3, 1, 1), m, s), X, W(33, 20, 1, 1),
          *statistics(33)[:2]),
    chain("dense_layer", lambda F, x, w, m, s, a, b, v: F.conv2d(
       F.relu(F.batch_norm(F.max_pool2d(F.conv2d(x, w), 3, 1, 1), m, s, a, b)), v, padding=1),
          X, W(33, 20, 1, 1), *statistics(33), W(16, 33, 3, 3)),
]


PRELUS = [
    chain("slope_a_channel",
          lambda F, x, w, s, v: F.conv2d(F.prelu(F.conv2d(x, w, padding=1), s), v, padding=1), X,
          W(33, 20, 3, 3), A(33), W(20, 33, 3, 3)),
    chain("one_slope", lambda F, x, w, s, v: F.conv2d(F.prelu(F.conv2d(x, w, padding=1), s), v, padding=1), X,
          W(33, 20, 3, 3), A(1), W(20, 33, 3, 3)),
    chain("slopes_of_lines", lambda F, x, w, s, v: F.conv1d(F.prelu(F.conv1d(x, w), s), v), A(2, 20, 45),
          W(33, 20, 5), A(33), W(20, 33, 3)),
]


def dense(F, x, *weights):
    """Each layer reads what all before it made, as in dense blocks."""
    parts = [x]
    for w in weights:
        parts.append(F.relu(F.conv2d(F.cat(parts, 1), w, padding=1)))
    return F.cat(parts, 1)


JOINS = [
    chain("parts_fill_blocks", lambda F, x, w, v, u: F.conv2d(F.cat([F.conv2d(x, w), F.conv2d(x, v)], 1), u),
          X, W(32, 20, 1, 1), W(16, 20, 1, 1), W(20, 48, 1, 1)),
    chain("parts_fill_no_blocks",
          lambda F, x, w, v, u: F.conv2d(F.cat([F.conv2d(x, w), F.conv2d(x, v), F.conv2d(x, w)], 1), u), X,
          W(9, 20, 1, 1), W(30, 20, 1, 1), W(20, 48, 1, 1)),
    chain("a_part_twice", lambda F, x, w: F.cat([y := F.conv2d(x, w), y], 1), X, W(16, 20, 1, 1)),
    chain("an_input_joined", lambda F, x, w: F.relu(F.cat([F.conv2d(x, w), x], 1)), X, W(16, 20, 1, 1)),
    chain("a_constant_joined", lambda F, x, w, c: F.cat([F.conv2d(x, w), c], 1), X, W(16, 20, 1, 1), A(2, 3, 9, 11), batch=False),
    chain("pooled_parts", lambda F, x, w: F.cat(
        [F.max_pool2d(y := F.conv2d(x, w), 3, 1, 1), F.avg_pool2d(y, 3, 1, 1), F.max_pool2d(y, 5, 1, 2)], 1),
          X, W(32, 20, 1, 1)),
    chain("channels_within_blocks", lambda F, x, w, v: F.conv2d(F.conv2d(x, w)[:, 5:38], v), X, W(40, 20, 1, 1),
          W(17, 33, 1, 1)),
    chain("joined_along_rows", lambda F, x, w: F.cat([y := F.conv2d(x, w), y], 2), X, W(16, 20, 1, 1)),
    chain("dense_blocks", dense, A(2, 32, 7, 9), W(16, 32, 3, 3), W(16, 48, 3, 3), W(16, 64, 3, 3)),
    chain("dense_of_odd_width", dense, A(2, 20, 7, 9), W(12, 20, 3, 3), W(12, 32, 3, 3)),
    chain("part_pooled_by_winograd", lambda F, x, w, v: F.cat(
        [F.max_pool2d(F.relu(F.conv2d(x, w, padding=1)), 2), F.max_pool2d(F.conv2d(x, v), 2)], 1),
          A(2, 20, 8, 12), W(32, 20, 3, 3), W(16, 20, 1, 1)),
]
def shuffled(F, x, groups):
    """As networks write it down that were made before there was a name for it."""
    n, c, h, w = x.shape
    return F.reshape(F.transpose(F.reshape(x, (n, groups, c // groups, h, w)), 1, 2), x.shape)


SHUFFLES = [
    chain("shuffled", lambda F, x, w, v: F.conv2d(F.channel_shuffle(F.conv2d(x, w), 3), v), X, W(33, 20, 1, 1), W(16, 33, 1, 1)),
    chain("shuffled_to_many_groups", lambda F, x, w: shuffled(F, F.relu(F.conv2d(x, w)), 20), X, W(40, 20, 1, 1)),
    chain("shuffle_unit", lambda F, x, w, v, u: shuffled(F, F.cat(
        [(y := shuffled(F, F.cat([F.conv2d(x, w), F.relu(F.conv2d(x, v))], 1), 2))[:, :29], F.conv2d(y[:, 29:], u)], 1), 2),
          X, W(29, 20, 1, 1), W(29, 20, 1, 1), W(29, 29, 1, 1)),
    chain("every_third_channel", lambda F, x, w, v: F.conv2d(F.conv2d(x, w)[:, 2::3], v), X, W(40, 20, 1, 1), W(17, 13, 1, 1)),
]
LINEARS = [
    *(chain(f"linear_{name}", lambda F, x, w, b, f=POINTWISE[name]: f(F, F.linear(x, w, b)), A(7, 33), W(40, 33), A(40)) for name in FUSED),
    chain("linear_norm", lambda F, x, w, m, s, a, b: F.relu(F.batch_norm(F.linear(x, w), m, s, a, b)), A(7, 33), W(40, 33), *statistics(40)),
    chain("linear_of_sequences", lambda F, x, w, b: F.gelu(F.linear(x, w, b)), A(3, 5, 33), W(40, 33), A(40)),
    chain("linear_large", lambda F, x, w, b: F.sigmoid(F.linear(x, w, b)), A(3, 1030), W(4100, 1030), A(4100)),
    chain("linear_of_a_map", lambda F, x, w, v: F.linear(F.flatten(F.relu(F.conv2d(x, w)), 1), v), X, W(16, 20, 1, 1), W(10, 16 * 99)),
    chain("linear_of_its_mean", lambda F, x, w, v: F.linear(F.mean(F.conv2d(x, w), (2, 3)), v), X, W(16, 20, 1, 1), W(10, 16)),
]
def labels(scores, dtype=None, **how):
    """The likeliest channel of a chain's map, as int64 or another type."""
    def function(F, *args):
        found = F.argmax(scores(F, *args), 1, **how)
        return found if dtype is None else found.astype(dtype)
    return function


SCORES = {
    "1x1": (lambda F, x, w: F.conv2d(x, w), (21, 20, 1, 1)),
    "1x1_of_one_block": (lambda F, x, w: F.conv2d(x, w), (16, 20, 1, 1)),
    "clamped": (lambda F, x, w: F.relu(F.conv2d(x, w)), (21, 20, 1, 1)),
    "padded_5x5": (lambda F, x, w: F.conv2d(x, w, padding=2), (21, 20, 5, 5)),
    "strided": (lambda F, x, w: F.conv2d(x, w, stride=2, padding=1), (33, 20, 3, 3)),
    "dilated": (lambda F, x, w: F.conv2d(x, w, padding=4, dilation=4), (18, 20, 3, 3)),
    "winograd": (lambda F, x, w: F.conv2d(x, w, padding=1), (48, 20, 3, 3)),
    "few": (lambda F, x, w: F.conv2d(x, w), (3, 20, 1, 1)),
    "transposed": (lambda F, x, w: F.conv_transpose2d(x, F.permute(w, (1, 0, 2, 3)), stride=2), (21, 20, 2, 2)),
    "pooled": (lambda F, x, w: F.max_pool2d(F.conv2d(x, w), 3, 1, 1), (21, 20, 1, 1)),
    "enlarged": (lambda F, x, w: F.interpolate(F.conv2d(x, w), (31, 40), mode="bilinear"), (21, 20, 1, 1)),
    "rows_enlarged": (lambda F, x, w: F.interpolate(F.conv2d(x, w), (31, 11), mode="bilinear"), (21, 20, 1, 1)),
    "columns_enlarged": (lambda F, x, w: F.interpolate(F.conv2d(x, w), (9, 40), mode="bicubic"), (33, 20, 1, 1)),
    "repeated": (lambda F, x, w: F.interpolate(F.conv2d(x, w), scale_factor=3), (21, 20, 1, 1)),
    "residual": (lambda F, x, w: F.add(F.conv2d(x, w), x), (20, 20, 1, 1)),
    "gated": (lambda F, x, w: F.conv2d(F.mul(x, F.sigmoid(F.adaptive_avg_pool2d(x, 1))), w), (21, 20, 1, 1)),
}
LABELS = [
    *(chain(f"labels_{name}{'_' + kind if kind else ''}", labels(scores, kind), X, W(*weights))
      for name, (scores, weights) in SCORES.items() for kind in (None, "uint8")),
    chain("labels_biased", lambda F, x, w, b: F.argmax(F.conv2d(x, w, b), 1), X, W(37, 20, 1, 1), A(37)),
    chain("labels_int32", labels(SCORES["1x1"][0], "int32"), X, W(21, 20, 1, 1)),
    chain("labels_kept", labels(SCORES["1x1"][0], "uint8", keepdim=True), X, W(21, 20, 1, 1)),
    chain("labels_of_300", labels(SCORES["1x1"][0], "uint8"), X, W(300, 20, 1, 1)),
    chain("labels_of_lines", labels(lambda F, x, w: F.conv1d(x, w), "uint8"), A(2, 20, 45), W(33, 20, 5)),
    chain("labels_along_rows", lambda F, x, w: F.argmax(F.conv2d(x, w), 2), X, W(21, 20, 1, 1)),
    chain("scores_and_labels", lambda F, x, w: F.add(F.argmax(y := F.conv2d(x, w), 1, keepdim=True).astype(y.dtype), y), X,
          W(21, 20, 1, 1)),
    chain("largest_and_labels", lambda F, x, w: F.add(*(F.max(F.conv2d(x, w), 1))), X, W(21, 20, 1, 1)),
]
def both(f):
    """What f makes of a map, and the map itself once more."""
    return lambda F, x, w: F.add(f(F, y := F.conv2d(x, w)), y)


SOFTMAXES = [
    *(chain(f"{name}_of_a_map", lambda F, x, w, f=name: getattr(F, f)(F.conv2d(x, w), 1), X, W(21, 20, 1, 1))
      for name in ("softmax", "log_softmax")),
    chain("probabilities_enlarged", lambda F, x, w: F.softmax(F.interpolate(F.conv2d(x, w), (31, 40), mode="bilinear"), 1),
          X, W(21, 20, 1, 1)),
    chain("softmax_along_rows", lambda F, x, w: F.softmax(F.conv2d(x, w), -1), X, W(21, 20, 1, 1)),
    chain("softmax_of_linear", lambda F, x, w: F.softmax(F.linear(x, w), -1), A(7, 33), W(40, 33)),
    chain("softmax_twice", lambda F, x, w: F.softmax(F.log_softmax(F.conv2d(x, w), 1), 1), X, W(21, 20, 1, 1)),
    chain("scores_read_again", both(lambda F, y: F.softmax(y, 1)), X, W(21, 20, 1, 1)),
    chain("scores_read_again_reshaped", both(lambda F, y: F.reshape(F.softmax(F.flatten(y, 2), 1), y.shape)), X, W(21, 20, 1, 1)),
    chain("softmax_of_the_input", lambda F, x: F.add(F.softmax(x, 1), x), X),
]
CHAINS = {"conv": CONVOLUTIONS + EMPTY_LANES + LINES + DEPTHWISE + INVERTED, "conv_transpose": TRANSPOSED,
          "max_pool": of_maps(MAX_POOLS), "avg_pool": of_maps(AVG_POOLS),
          "sum": of_maps(MEANS), "resample": of_maps(SIZES), "pad": of_maps(PADS), "add": ADDS, "mul": MULS,
          "batch_norm": NORMS, "prelu": PRELUS, "cat": JOINS, "permute": SHUFFLES, "linear": LINEARS,
          "arg_max": LABELS, "softmax": SOFTMAXES}
