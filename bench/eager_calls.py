"""The calls that `pyops bench --ops` times beside torch eager: of networks of all families, in one, two
and three dimensions, and of odd and tiny sizes. A call is a function's name, which pyops.functional and
torch share, its arrays' shapes, and its settings."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Ids:
    """Whole numbers below `below`, of a shape."""
    shape: Shape
    below: int


@dataclass(frozen=True)
class Call:
    """inputs: shapes of floats, or Ids. smooth: has gradients."""
    op: str
    inputs: tuple[Shape | Ids, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    smooth: bool = True

    @property
    def name(self) -> str:
        shapes = [x.shape if isinstance(x, Ids) else x for x in self.inputs]
        return " ".join([self.op, *("x".join(map(str, s)) for s in shapes),
                         *(f"{k}={v}".replace(" ", "") for k, v in self.settings.items())])


def call(op: str, *inputs: Shape | Ids, smooth: bool = True, **settings) -> Call:
    return Call(op, inputs, settings, smooth)


def convolution(batch: int, channels: int, filters: int, size, kernel, bias: bool = True, op: str = "",
                **settings) -> Call:
    """size and kernel: of every axis, or a tuple. groups are counted in the filters' shape."""
    size, kernel = ((s,) if isinstance(s, int) else s for s in (size, kernel))
    kernel = kernel * len(size) if len(kernel) == 1 else kernel
    groups = settings.get("groups", 1)
    turned = op.startswith("conv_transpose")
    filter_ = (channels, filters // groups, *kernel) if turned else (filters, channels // groups, *kernel)
    name = op or f"conv{len(size)}d"
    return call(name, (batch, channels, *size), filter_, *([(filters,)] if bias else []), **settings)


def transposed(batch, channels, filters, size, kernel, **settings):
    dims = 1 if isinstance(size, int) else len(size)
    return convolution(batch, channels, filters, size, kernel, op=f"conv_transpose{dims}d", **settings)


def square(n: int) -> Shape:
    return (n, n)


CONVOLUTIONS = [
    # stems
    convolution(1, 3, 64, square(224), 7, stride=2, padding=3),
    convolution(8, 3, 64, square(224), 7, stride=2, padding=3),
    convolution(1, 3, 32, square(224), 3, stride=2, padding=1),
    convolution(8, 3, 24, square(224), 3, stride=2, padding=1),
    convolution(1, 3, 96, square(224), 4, stride=4),
    convolution(1, 3, 64, square(224), 11, stride=4, padding=2),
    convolution(1, 3, 768, square(224), 16, stride=16), convolution(32, 1, 6, square(28), 5, padding=2),
    convolution(64, 3, 32, square(32), 3, padding=1),
    # 3x3
    convolution(1, 64, 64, square(56), 3, padding=1), convolution(8, 64, 64, square(56), 3, padding=1),
    convolution(1, 128, 128, square(28), 3, padding=1), convolution(8, 256, 256, square(14), 3, padding=1),
    convolution(8, 512, 512, square(7), 3, padding=1), convolution(1, 512, 512, square(7), 3, padding=1),
    convolution(32, 16, 16, square(32), 3, padding=1), convolution(1, 20, 36, square(53), 3, padding=1),
    convolution(1, 256, 36, square(40), 3, padding=1), convolution(1, 512, 512, square(28), 3, padding=1),
    convolution(1, 64, 64, (24, 200), 3, padding=1),
    # 3x3, strides
    convolution(8, 128, 128, square(28), 3, stride=2, padding=1),
    convolution(1, 64, 128, square(112), 3, stride=2, padding=1),
    convolution(1, 256, 512, square(40), 3, stride=2, padding=1),
    convolution(8, 16, 32, square(32), 3, stride=2, padding=1),
    # 1x1
    convolution(1, 256, 64, square(56), 1), convolution(8, 64, 256, square(56), 1),
    convolution(8, 512, 128, square(28), 1), convolution(1, 1024, 256, square(19), 1),
    convolution(1, 512, 255, square(13), 1), convolution(8, 512, 2048, square(7), 1),
    convolution(1, 16, 96, square(112), 1), convolution(8, 40, 160, square(28), 1),
    convolution(8, 256, 512, square(56), 1, stride=2), convolution(1, 728, 728, square(19), 1),
    convolution(1, 2048, 256, square(28), 1),
    # 5x5, 1x7, large
    convolution(1, 32, 32, square(128), 5, padding=2), convolution(8, 64, 192, square(27), 5, padding=2),
    convolution(8, 64, 64, square(56), (1, 7), padding=(0, 3)),
    convolution(8, 64, 64, square(56), (7, 1), padding=(3, 0)),
    convolution(8, 192, 192, square(17), (1, 7), padding=(0, 3)),
    convolution(1, 64, 64, square(64), 7, padding=3), convolution(64, 16, 16, square(14), 5),
    # dilation
    convolution(1, 512, 64, square(33), 3, padding=12, dilation=12),
    convolution(4, 64, 64, square(56), 3, padding=2, dilation=2),
    convolution(1, 256, 256, square(28), 3, padding=4, dilation=4),
    convolution(1, 2048, 256, square(28), 3, padding=36, dilation=36),
    # groups
    convolution(8, 256, 256, square(28), 3, padding=1, groups=32),
    convolution(1, 128, 128, square(56), 3, padding=1, groups=32),
    convolution(8, 64, 64, square(56), 3, padding=1, groups=4),
    convolution(1, 320, 320, square(14), 3, padding=1, groups=20),
    convolution(8, 240, 480, square(28), 1, groups=3),
    # depthwise
    convolution(8, 144, 144, square(28), 5, stride=2, padding=2, groups=144),
    convolution(8, 144, 144, square(56), 3, padding=1, groups=144),
    convolution(1, 96, 96, square(112), 3, stride=2, padding=1, groups=96),
    convolution(8, 960, 960, square(7), 3, padding=1, groups=960),
    convolution(1, 96, 96, square(56), 7, padding=3, groups=96),
    convolution(8, 40, 40, square(28), 5, padding=2, groups=40),
    convolution(1, 728, 728, square(19), 3, padding=1, groups=728),
    convolution(1, 960, 960, square(14), 3, padding=2, dilation=2, groups=960),
    # one and three dimensions
    convolution(8, 64, 64, 512, 9, padding=4), convolution(8, 64, 64, 512, 3, padding=4, dilation=4),
    convolution(1, 1, 64, 16000, 80, stride=4), convolution(1, 256, 256, 400, 31, padding=15, groups=256),
    convolution(16, 128, 256, 100, 1), convolution(2, 16, 32, (16, 32, 32), 3, padding=1),
    convolution(1, 3, 64, (8, 112, 112), (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3)),
    convolution(1, 64, 64, (8, 56, 56), (1, 3, 3), padding=(0, 1, 1)),
    convolution(1, 64, 64, (8, 56, 56), (3, 1, 1), padding=(1, 0, 0)),
    # transposed
    transposed(16, 128, 64, square(16), 4, stride=2, padding=1),
    transposed(4, 64, 32, square(32), 3, stride=2, padding=1, output_padding=1),
    transposed(64, 100, 512, square(1), 4), transposed(64, 64, 3, square(32), 4, stride=2, padding=1),
    transposed(1, 512, 256, square(28), 2, stride=2), transposed(1, 21, 21, square(34), 4, stride=2),
    transposed(8, 64, 64, square(28), 3, padding=1), transposed(4, 64, 32, 256, 4, stride=2, padding=1),
    transposed(1, 32, 16, (8, 16, 16), 2, stride=2),
    transposed(1, 21, 21, square(28), 16, stride=8, padding=4, groups=21),
    # sizes that no network above has: boards, last layers, speech, volumes
    convolution(1, 1, 32, square(28), 3), convolution(16, 48, 48, square(7), 3, padding=1),
    convolution(1, 1280, 1280, square(8), 3, padding=1), convolution(1, 64, 27, square(80), 3, padding=1),
    convolution(1, 64, 3, square(128), 9, padding=4), convolution(2, 33, 65, (37, 41), 1),
    convolution(1, 512, 2048, square(7), 1), convolution(256, 4, 16, square(9), 3, padding=1),
    convolution(32, 8, 16, square(28), 3, padding=1), convolution(8, 6, 16, square(14), 5),
    convolution(1, 384, 384, square(14), 7, padding=3, groups=384), convolution(1, 80, 512, 300, 5, padding=2),
    convolution(1, 1, 512, 16000, 10, stride=5), convolution(8, 32, 32, 1000, 2, dilation=16),
    convolution(4, 512, 512, 800, 3, stride=2), convolution(2, 1024, 1024, 100, 4, padding=3, groups=1024),
    convolution(1, 32, 64, (16, 28, 28), 3, stride=2, padding=1), convolution(1, 16, 16, (32, 32, 32), 5, padding=2),
    convolution(1, 24, 24, (16, 28, 28), 3, padding=1, groups=24),
    convolution(2, 8, 16, (24, 24, 24), 3, padding=2, dilation=2),
    convolution(1, 3, 45, (8, 112, 112), (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3)),
    transposed(2, 256, 128, square(32), 2, stride=2), transposed(32, 256, 256, square(4), 4, stride=2, padding=1),
    transposed(1, 512, 256, 100, 16, stride=8, padding=4), transposed(8, 128, 1, square(28), 7, padding=3),
    transposed(1, 64, 64, (12, 12, 12), 4, stride=2, padding=1), transposed(1, 128, 128, (31, 33), 3, stride=3),
    # many small images, small volumes with dilation, long rows: each was far behind once
    convolution(512, 8, 16, square(6), 3, padding=1), convolution(1024, 1, 16, square(8), 3, padding=1),
    convolution(256, 6, 12, square(7), 3, stride=2, padding=1), convolution(64, 3, 128, square(8), 2, stride=2),
    convolution(64, 2, 4, (5, 5, 5), 3, padding=1), convolution(2, 32, 32, (12, 12, 12), 3, padding=4, dilation=4),
    convolution(1, 32, 32, (20, 20, 20), 4, stride=2, padding=1),
    transposed(1, 128, 64, 6400, 4, stride=2, padding=1), transposed(1, 128, 16, square(13), 8, stride=4, padding=2),
    transposed(64, 64, 32, square(8), 3, stride=2, padding=1, output_padding=1),
    transposed(1, 128, 64, (6, 6, 6), 4, stride=2, padding=1),
]

POOLING = [
    call("max_pool2d", (8, 64, 112, 112), kernel_size=3, stride=2, padding=1),
    call("max_pool2d", (1, 64, 224, 224), kernel_size=2),
    call("max_pool2d", (1, 512, 19, 19), kernel_size=13, stride=1, padding=6),
    call("max_pool2d", (32, 6, 28, 28), kernel_size=2), call("avg_pool2d", (8, 64, 56, 56), kernel_size=2),
    call("avg_pool2d", (1, 192, 35, 35), kernel_size=3, stride=1, padding=1),
    call("adaptive_avg_pool2d", (8, 2048, 7, 7), output_size=1),
    call("adaptive_avg_pool2d", (8, 256, 33, 33), output_size=6),
    call("adaptive_max_pool2d", (8, 256, 13, 13), output_size=5),
    call("max_pool1d", (8, 64, 1000), kernel_size=4), call("max_pool3d", (1, 64, 8, 56, 56), kernel_size=2),
    call("avg_pool3d", (2, 32, 8, 28, 28), kernel_size=2),
    call("lp_pool2d", (8, 64, 28, 28), norm_type=2.0, kernel_size=2),
    call("max_pool2d", (16, 192, 28, 28), kernel_size=3, stride=1, padding=1),
    call("max_pool3d", (2, 32, 16, 28, 28), kernel_size=3, stride=2, padding=1),
    call("avg_pool3d", (1, 64, 16, 16, 16), kernel_size=3, stride=1, padding=1),
    call("adaptive_avg_pool1d", (16, 256, 100), output_size=7),
    call("adaptive_avg_pool3d", (4, 512, 2, 7, 7), output_size=1),
    call("max_unpool2d", (2, 64, 14, 14), Ids((2, 64, 14, 14), 784), kernel_size=2),
    call("adaptive_avg_pool1d", (8, 128, 50), output_size=5),
    call("adaptive_avg_pool2d", (4, 64, 14, 14), output_size=3),
    call("adaptive_max_pool1d", (16, 64, 100), output_size=7), call("max_pool2d", (1, 64, 28, 28), kernel_size=4),
    call("avg_pool3d", (2, 16, 12, 12, 12), kernel_size=3),
]

NORMS = [
    call("layer_norm", (8192, 64), (64,), (64,)), call("layer_norm", (8, 197, 768), (768,), (768,)),
    call("layer_norm", (1, 128, 512), (512,), (512,)), call("layer_norm", (64, 100), (100,), (100,)),
    call("group_norm", (8, 64, 56, 56), (64,), (64,), num_groups=32),
    call("group_norm", (1, 256, 64, 64), (256,), (256,), num_groups=32),
    call("instance_norm", (4, 64, 64, 64)), call("instance_norm", (1, 256, 64, 64)),
    call("batch_norm", (8, 64, 56, 56), (64,), (64,)), call("batch_norm", (64, 256), (256,), (256,)),
    call("batch_norm", (8, 512, 7, 7), (512,), (512,)), call("rms_norm", (8, 128, 768), (768,)),
    call("local_response_norm", (8, 64, 27, 27), size=5), call("normalize", (512, 512)),
    call("layer_norm", (3136, 96), (96,), (96,)), call("instance_norm", (8, 64, 500)),
    call("group_norm", (2, 32, 8, 16, 16), (32,), (32,), num_groups=8),
    call("batch_norm", (2, 32, 8, 16, 16), (32,), (32,)), call("rms_norm", (1, 4096), (4096,)),
]

ACTIVATIONS = [
    *(call(op, (8, 64, 56, 56)) for op in
      ("relu", "gelu", "relu6", "sigmoid", "tanh", "silu", "hardswish", "leaky_relu", "elu", "mish", "softplus",
       "hardsigmoid")),
    *(call(op, (8, 197, 3072)) for op in ("gelu", "relu")), call("gelu", (8, 197, 3072), approximate="tanh"),
    call("relu", (1, 64)), call("tanh", (16, 128)), call("prelu", (8, 64, 56, 56), (64,)),
    call("glu", (8, 128, 512)), call("dropout", (8, 197, 768), p=0.0),
    *(call(op, (32, 128, 14, 14)) for op in ("celu", "softsign", "logsigmoid", "tanhshrink", "hardshrink")),
]

ELEMENTWISE = [
    call("add", (8, 64, 56, 56), (8, 64, 56, 56)), call("mul", (8, 64, 56, 56), (8, 64, 1, 1)),
    call("add", (8, 64, 56, 56), (1, 64, 1, 1)), call("add", (8, 197, 768), (768,)),
    call("mul", (128, 1), (1, 128)), call("div", (8, 12, 128, 128), (8, 12, 128, 1)),
    call("sub", (8, 64, 28, 28), (8, 64, 28, 28)), call("add", (16,), (16,)), call("exp", (8, 64, 56, 56)),
    call("abs", (8, 64, 56, 56)), call("sin", (1024, 512)), call("maximum", (8, 64, 28, 28), (8, 64, 28, 28)),
    call("add", (1, 64, 112, 112), (1, 64, 112, 112)), call("clamp", (8, 64, 56, 56), min=-1.0, max=1.0),
    call("square", (8, 64, 56, 56)),
    *(call(op, (64, 1000)) for op in ("atan", "expm1", "cosh", "round")), call("add", (4, 256, 1, 1), (4, 256, 32, 32)),
    *(call(op, (64, 1000), (64, 1000), smooth=False) for op in ("fmod", "remainder", "eq", "lt")),
    *(call(op, Ids((64, 1000), 1000), Ids((64, 1000), 1000), smooth=False) for op in ("add", "maximum", "bitwise_xor")),
]

REDUCTIONS = [
    call("sum", (8, 64, 56, 56), dim=1), call("sum", (8, 64, 56, 56), dim=(2, 3)),
    call("mean", (8, 64, 56, 56), dim=(2, 3)), call("mean", (8, 197, 768), dim=1),
    call("sum", (1024, 1024), dim=0), call("amax", (8, 64, 56, 56), dim=1), call("var", (512, 1024), dim=1),
    call("std", (8, 64, 56, 56), dim=(2, 3)), call("logsumexp", (512, 1000), dim=1),
    call("softmax", (8, 12, 197, 197), dim=-1), call("softmax", (1, 21, 128, 128), dim=1),
    call("log_softmax", (128, 1000), dim=1), call("softmax", (8192, 17), dim=-1),
    call("cumsum", (512, 1024), dim=1), call("argmax", (8, 21, 64, 64), dim=1, smooth=False),
    call("mean", (32, 10)), call("prod", (512, 64), dim=1),
    call("sum", (64, 128, 100), dim=1), call("sum", (16, 64, 56, 56)), call("norm", (64, 1000), dim=1),
    call("var", (64, 128, 28), dim=(0, 2)), call("cumsum", (8, 128, 64), dim=1),
    call("sum", Ids((64, 1000), 1000), dim=1, smooth=False), call("argmax", Ids((64, 1000), 1000), dim=1, smooth=False),
]

PRODUCTS = [
    call("linear", (1024, 768), (3072, 768), (3072,)), call("linear", (1024, 3072), (768, 3072), (768,)),
    call("linear", (1, 2048), (1000, 2048), (1000,)), call("linear", (8, 25088), (4096, 25088), (4096,)),
    call("linear", (64, 256), (10, 256), (10,)), call("linear", (32, 400), (120, 400), (120,)),
    call("linear", (16, 784), (128, 784), (128,)), call("linear", (4, 128, 512), (512, 512), (512,)),
    call("linear", (197, 192), (576, 192), (576,)), call("matmul", (2048, 2048), (2048, 2048)),
    call("matmul", (512, 512), (512, 512)), call("matmul", (64, 64), (64, 64)),
    call("matmul", (96, 197, 64), (96, 64, 197)), call("matmul", (1000, 33), (33, 77)),
    call("matmul", (8, 1, 1024), (8, 1024, 128)), call("matmul", (128, 1024), (1024,)),
    call("bilinear", (32, 64), (32, 48), (20, 64, 48), (20,)),
    call("scaled_dot_product_attention", (8, 12, 197, 64), (8, 12, 197, 64), (8, 12, 197, 64)),
    call("scaled_dot_product_attention", (1, 8, 1024, 64), (1, 8, 1024, 64), (1, 8, 1024, 64), is_causal=True),
    call("scaled_dot_product_attention", (1, 12, 1, 64), (1, 12, 1024, 64), (1, 12, 1024, 64)),
    call("scaled_dot_product_attention", (4, 4, 33, 40), (4, 4, 65, 40), (4, 4, 65, 40)),
    call("linear", (7, 33), (65, 33), (65,)), call("matmul", (256, 3, 3), (256, 3, 3)),
    call("bmm", (64, 17, 33), (64, 33, 19)), call("matmul", (1, 4096), (4096, 4096)),
    call("matmul", (1000, 3, 3), (1000, 3, 1)), call("bmm", (128, 12, 12), (128, 12, 12)),
    call("matmul", (512, 2, 2), (512, 2, 2)), call("matmul", (8, 100, 1), (8, 1, 100)),
    call("cdist", (100, 64), (200, 64)), call("pdist", (64, 32)),
    call("scaled_dot_product_attention", (64, 4, 49, 32), (64, 4, 49, 32), (64, 4, 49, 32)),
]

LOSSES = [
    call("cross_entropy", (64, 10), Ids((64,), 10)), call("cross_entropy", (128, 1000), Ids((128,), 1000)),
    call("cross_entropy", (4, 21, 64, 64), Ids((4, 64, 64), 21)),
    call("nll_loss", (128, 1000), Ids((128,), 1000)), call("mse_loss", (64, 3, 64, 64), (64, 3, 64, 64)),
    call("l1_loss", (64, 3, 64, 64), (64, 3, 64, 64)), call("smooth_l1_loss", (2000, 4), (2000, 4)),
    call("huber_loss", (64, 1000), (64, 1000)), call("binary_cross_entropy_with_logits", (64, 1), (64, 1)),
    call("binary_cross_entropy_with_logits", (2, 80, 8400), (2, 80, 8400)),
    call("cosine_similarity", (512, 256), (512, 256)),
    call("multi_margin_loss", (128, 1000), Ids((128,), 1000)),
    call("triplet_margin_loss", (128, 128), (128, 128), (128, 128)),
    call("cross_entropy", (128, 1000), Ids((128,), 1000), label_smoothing=0.1),
    call("cross_entropy", (2, 5, 8, 16, 16), Ids((2, 8, 16, 16), 5)), call("huber_loss", (8, 4), (8, 4)),
]

MOVES = [
    call("embedding", Ids((32, 64), 10000), (10000, 256)),
    call("embedding", Ids((1, 128), 30522), (30522, 768)),
    call("one_hot", Ids((4096,), 21), num_classes=21, smooth=False),
    call("cat", (8, 64, 56, 56), (8, 64, 56, 56), dim=1), call("stack", (64, 512), (64, 512), dim=1),
    call("pad", (8, 64, 56, 56), pad=(1, 1, 1, 1)),
    call("pad", (4, 64, 64, 64), pad=(3, 3, 3, 3), mode="reflect"), call("flip", (8, 3, 224, 224), dims=(3,)),
    call("roll", (8, 56, 56, 96), shifts=(3, 3), dims=(1, 2)), call("topk", (64, 1000), k=5, smooth=False),
    call("sort", (64, 1000), smooth=False), call("gather", (512, 256), Ids((512, 64), 256), dim=1),
    call("index_select", (1000, 256), Ids((300,), 1000), dim=0), call("tril", (512, 512)),
    call("interpolate", (8, 64, 28, 28), scale_factor=2.0, mode="nearest"),
    call("interpolate", (1, 21, 28, 28), size=(224, 224), mode="bilinear"),
    call("interpolate", (4, 3, 64, 64), size=(224, 224), mode="bicubic"),
    call("interpolate", (1, 256, 20, 20), scale_factor=2.0, mode="nearest"),
    call("pixel_shuffle", (4, 64, 56, 56), upscale_factor=2),
    call("pixel_unshuffle", (4, 16, 112, 112), downscale_factor=2),
    call("channel_shuffle", (8, 116, 28, 28), groups=2),
    call("unfold", (4, 32, 28, 28), kernel_size=3, padding=1),
    call("grid_sample", (4, 32, 32, 32), (4, 32, 32, 2), align_corners=False),
    call("embedding", Ids((64, 128), 5000), (5000, 64)), call("pad", (1, 8, 16, 16, 16), pad=(1, 1, 1, 1, 1, 1)),
    call("pad", (1, 3, 32, 32), pad=(1, 1, 1, 1)), call("topk", (8400,), k=300, smooth=False),
    call("topk", (64, 50257), k=50, smooth=False), call("sort", (1000, 16), smooth=False),
    call("sort", (100, 64), dim=0, smooth=False), call("sort", Ids((32, 2000), 1 << 40), smooth=False),
    call("take_along_dim", (64, 100), Ids((64, 5), 100), dim=1), call("gather", (8400, 4), Ids((300, 4), 8400), dim=0),
    call("scatter_add", (100, 64), Ids((300, 64), 100), (300, 64), dim=0), call("triu", (8, 32, 32)),
    call("channel_shuffle", (1, 240, 28, 28), groups=3), call("channel_shuffle", (1, 116, 28, 28), groups=2),
    call("channel_shuffle", (1, 24, 56, 56), groups=4), call("embedding", Ids((32, 100), 100), (100, 16)),
    call("pad", (8, 8, 16, 16), pad=(2, 2, 2, 2), mode="replicate"),
    call("pad", (2, 4, 8, 20, 20), pad=(2, 2, 0, 1, 1, 1)),
    call("gather", (64, 1000), Ids((64, 100), 1000), dim=1), call("triu", (64, 64)),
    call("tile", (64, 100), dims=(2, 4)),
    call("grid_sample", (1, 3, 32, 32), (1, 32, 32, 2), mode="nearest", align_corners=False),
    call("interpolate", (1, 16, 16, 16, 16), scale_factor=2.0, mode="trilinear"),
    call("fold", (2, 288, 784), output_size=(28, 28), kernel_size=3, padding=1),
    call("grid_sample", (2, 16, 28, 28), (2, 28, 28, 2), mode="nearest", align_corners=False),
]

CALLS = (*CONVOLUTIONS, *POOLING, *NORMS, *ACTIVATIONS, *ELEMENTWISE, *REDUCTIONS, *PRODUCTS, *LOSSES, *MOVES)
