"""What bench/gpu.sh times: calls on device arrays, beside the same call of torch. Shapes are named
by the network layer they come from."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """ours(F, *arrays) and theirs(torch.nn.functional, *tensors) on `shapes`, in each of
    `precisions`.

    bytes_moved, of the arrays' element size: the least memory traffic; flops: of the definition.
    bound says which ceiling is the floor. channels_last: arrays of four axes lie so, on both sides.
    """
    name: str
    shapes: tuple[tuple[int, ...], ...]
    ours: Callable
    theirs: Callable
    elements: int            # read and written at least
    flops: float = 0
    precisions: tuple[str, ...] = ("f32",)
    channels_last: bool = False

    @property
    def bound(self) -> str:
        return "compute" if self.flops else "memory"


def _size(*shape):
    n = 1
    for s in shape:
        n *= s
    return n


def _elementwise(name, call, shape=(64, 256, 56, 56), reads=1):
    return Row(f"{name} {'x'.join(map(str, shape))}", (shape,) * reads, call, call,
               (reads + 1) * _size(*shape), precisions=("f32", "bf16"))


def _conv(layer, n, c, h, k, r, stride=1, groups=1, last=False):
    out = (h + 2 * (r // 2) - r) // stride + 1
    call = lambda F, x, w: F.conv2d(x, w, stride=stride, padding=r // 2, groups=groups)   # noqa: E731
    depthwise = groups == c
    precisions = {(False, False): ("f32", "tf32", "bf16"), (False, True): ("bf16",), (True, False): ("f32",),
                  (True, True): ("f32", "bf16")}
    name = (f"conv {layer} n{n} {c}x{h}x{h} -> {k}, {r}x{r}/{stride}" + (f" g{groups}" if groups > 1 else "")
            + (" channels_last" if last else ""))
    return Row(name, ((n, c, h, h), (k, c // groups, r, r)), call, call, n * c * h * h + n * k * out * out,
               0 if depthwise else 2.0 * n * k * out * out * (c // groups) * r * r,
               precisions[depthwise, last], last)


def _weight_gradient(layer, n, c, h, k, r, stride=1):
    """A convolution's gradient for its weight, of the input and of the result's gradient;
    torch's is cuDNN's."""
    out, padding = (h + 2 * (r // 2) - r) // stride + 1, r // 2

    def ours(F, x, dy):
        from ..ops.convolution import CONV_WEIGHT_GRADIENT
        return CONV_WEIGHT_GRADIENT(x, dy, stride=(stride, stride), padding=(padding, padding),
                                    dilation=(1, 1), groups=1, kernel=(r, r))

    def theirs(F, x, dy):
        from torch.nn.grad import conv2d_weight
        return conv2d_weight(x, (k, c, r, r), dy, stride=stride, padding=padding)
    return Row(f"weight gradient {layer} n{n} {c}x{h}x{h} -> {k}, {r}x{r}/{stride}",
               ((n, c, h, h), (n, k, out, out)), ours, theirs,
               n * c * h * h + n * k * out * out + k * c * r * r, 2.0 * n * k * out * out * c * r * r,
               ("f32", "tf32", "3xtf32", "bf16"))


def _gemm(name, m, n, k):
    call = lambda F, x, w: F.linear(x, w)   # noqa: E731
    return Row(f"linear {name} {m}x{k} x {n}", ((m, k), (n, k)), call, call, m * k + n * k + m * n,
               2.0 * m * n * k, ("f32", "tf32", "bf16"))


def _pool(name, call, n=64, c=64, h=112, out=56):
    return Row(f"{name} n{n} {c}x{h}x{h}", ((n, c, h, h),), call, call, n * c * (h * h + out * out))


def _attention(network, batch, heads, length, features, is_causal=False):
    call = lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=is_causal)   # noqa: E731
    shape = (batch, heads, length, features)
    return Row(" ".join(filter(None, ("attention", network, "x".join(map(str, shape))))), (shape,) * 3, call,
               call, 4 * _size(*shape),
               4.0 * _size(*shape) * length / (2 if is_causal else 1), ("f32", "bf16"))


ROWS = [
    _elementwise("relu", lambda F, x: F.relu(x)),
    _elementwise("gelu", lambda F, x: F.gelu(x)),
    _elementwise("silu", lambda F, x: F.silu(x)),
    _pool("max_pool 3x3/2 (resnet stem)", lambda F, x: F.max_pool2d(x, 3, 2, 1)),
    _pool("avg_pool 2x2/2", lambda F, x: F.avg_pool2d(x, 2, 2)),
    Row("softmax 32768x1024", ((32768, 1024),), lambda F, x: F.softmax(x, -1), lambda F, x: F.softmax(x, -1), 2 * 32768 * 1024, precisions=("f32", "bf16")),
    Row("softmax 8192x16384", ((8192, 16384),), lambda F, x: F.softmax(x, -1), lambda F, x: F.softmax(x, -1), 2 * 8192 * 16384),
    Row("layer_norm 32768x768", ((32768, 768), (768,), (768,)), lambda F, x, w, b: F.layer_norm(x, (768,), w, b),
        lambda F, x, w, b: F.layer_norm(x, (768,), w, b), 2 * 32768 * 768, precisions=("f32", "bf16")),
    Row("group_norm 64x256x56x56, 32 groups", ((64, 256, 56, 56), (256,), (256,)),
        lambda F, x, w, b: F.group_norm(x, 32, w, b),
        lambda F, x, w, b: F.group_norm(x, 32, w, b), 2 * 64 * 256 * 56 * 56),
    Row("batch_norm training 64x256x56x56", ((64, 256, 56, 56), (256,), (256,)),
        lambda F, x, w, b: F.batch_norm(x, None, None, w, b, True),
        lambda F, x, w, b: F.batch_norm(x, None, None, w, b, True), 3 * 64 * 256 * 56 * 56),
    Row("local_response_norm 64x96x55x55", ((64, 96, 55, 55),), lambda F, x: F.local_response_norm(x, 5),
        lambda F, x: F.local_response_norm(x, 5), 2 * 64 * 96 * 55 * 55),
    Row("interpolate bilinear 16x64x64x64 -> 128", ((16, 64, 64, 64),),
        lambda F, x: F.interpolate(x, scale_factor=2, mode="bilinear"),
        lambda F, x: F.interpolate(x, scale_factor=2, mode="bilinear"), 16 * 64 * 64 * 64 * 5),
    _conv("mobilenet depthwise", 64, 128, 56, 128, 3, groups=128),
    _conv("mobilenet depthwise 5x5", 64, 96, 28, 96, 5, groups=96),
    _conv("mobilenet depthwise", 64, 128, 56, 128, 3, groups=128, last=True),
    _conv("mobilenet depthwise", 64, 128, 56, 128, 3, 2, groups=128, last=True),
    _conv("convnext depthwise 7x7", 64, 192, 28, 192, 7, groups=192, last=True),
    _conv("resnet stem", 32, 3, 224, 64, 7, 2),
    _conv("resnet 3x3", 32, 64, 56, 64, 3),
    _conv("resnet 3x3", 32, 256, 14, 256, 3),
    _conv("resnet 3x3", 32, 64, 56, 64, 3, last=True),
    _conv("resnet 3x3", 32, 256, 14, 256, 3, last=True),
    _conv("resnet 3x3", 32, 256, 28, 256, 3, 2, last=True),
    _conv("resnet 1x1", 32, 256, 56, 64, 1),
    _conv("resnet 1x1", 32, 1024, 14, 256, 1),
    _weight_gradient("resnet stem", 32, 3, 224, 64, 7, 2),
    _weight_gradient("resnet 3x3", 32, 64, 56, 64, 3),
    _weight_gradient("resnet 3x3", 32, 256, 14, 256, 3),
    _weight_gradient("resnet 1x1", 32, 256, 56, 64, 1),
    Row("conv_transpose unet n8 128x64x64 -> 64, 2x2/2", ((8, 128, 64, 64), (128, 64, 2, 2)),
        lambda F, x, w: F.conv_transpose2d(x, w, stride=2),
        lambda F, x, w: F.conv_transpose2d(x, w, stride=2), 8 * 128 * 64 * 64 + 8 * 64 * 128 * 128,
        2.0 * 8 * 64 * 128 * 128 * 128),
    _gemm("square", 4096, 4096, 4096),
    _gemm("transformer", 8192, 3072, 768),
    _attention("", 8, 12, 1024, 64),
    _attention("gpt causal", 4, 16, 2048, 64, is_causal=True),
    _attention("llama causal", 2, 32, 2048, 128, is_causal=True),
    _attention("stable diffusion", 2, 8, 4096, 40),
]
