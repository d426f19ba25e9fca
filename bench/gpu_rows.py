"""What bench/gpu.sh times: calls on device arrays, beside the same call of torch. Shapes are named
by the network layer they come from."""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """ours(F, *arrays) and theirs(torch.nn.functional, *tensors) on `shapes`, in each of
    `precisions`.

    bytes_moved, of the arrays' element size: the least memory traffic; flops: of the definition.
    bound says which ceiling is the floor. channels_last: arrays of four axes lie so, on both sides.
    ready: what of (ours, theirs) is done before and not timed, arrays in and arguments out, as the
    forward pass of a gradient is.
    """
    name: str
    shapes: tuple[tuple[int, ...], ...]
    ours: Callable
    theirs: Callable
    elements: int            # read and written at least
    flops: float = 0
    precisions: tuple[str, ...] = ("f32",)
    channels_last: bool = False
    ready: tuple[Callable, Callable] | None = None

    @property
    def bound(self) -> str:
        return "compute" if self.flops else "memory"

    @property
    def hopper(self) -> bool:
        """Whether PYOPS_HOPPER=1 sends it to wgmma."""
        return "bf16" in self.precisions and (self.name.startswith("linear")
                                              or self.channels_last and self.bound == "compute")

    def ready_ours(self, F, *arrays):
        return self.ready[0](F, *arrays) if self.ready else arrays

    def ready_theirs(self, F, *tensors):
        return self.ready[1](F, *tensors) if self.ready else tensors


def direct(op, *arrays, **attrs):
    """A row of OPS on device arrays, its statistics float32 whatever the type of the rest: what a
    gradient on the device does."""
    from ..core.backends import BACKENDS
    from ..cuda.arrays import REALS, on_device
    if not on_device(arrays):
        return op(*arrays, **attrs)
    return op.forward(BACKENDS["cuda"].kernels(REALS[arrays[0].dtype.name]), *arrays, **attrs)


def rows_named(*names):
    from ..core.registry import OPS
    return [OPS[name] for name in names]


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


def _attention_within(batch, heads, length, features):
    """Of texts as long as there is room for: torch is given their mask."""
    shape = batch, heads, length, features

    def lengths(F, q, k, v):
        import numpy as np
        ends = np.full((batch, 1, 1), length, np.int64)
        if hasattr(q, "__cuda_array_interface__"):
            import cupy
            ends = cupy.asarray(ends)
        return q, k, v, ends

    def mask(F, q, k, v):
        import torch
        return q, k, v, torch.zeros((batch, 1, 1, length), device="cuda", dtype=q.dtype)
    return Row(f"attention within lengths {'x'.join(map(str, shape))}", (shape,) * 3,
               lambda F, q, k, v, ends: F.scaled_dot_product_attention(q, k, v, key_end=ends),
               lambda F, q, k, v, mask: F.scaled_dot_product_attention(q, k, v, mask), 4 * _size(*shape),
               4.0 * _size(*shape) * length, ("f32", "bf16"), ready=(lengths, mask))


def _backward(name, call, forward, backward, shapes, elements, flops=0, precisions=("f32", "bf16")):
    """The gradient of a call for all its inputs but the last, which is the result's gradient.
    forward(*arrays) is what `backward` takes behind dy; torch's is autograd's."""
    def run_theirs(F, inputs, y, dy):
        import torch
        return torch.autograd.grad(y, inputs, dy, retain_graph=True)

    def theirs_ready(F, *tensors):
        inputs = [t.detach().requires_grad_() for t in tensors[:-1]]
        return inputs, call(F, *inputs), tensors[-1]
    return Row(f"{name} backward {'x'.join(map(str, shapes[0]))}", shapes,
               lambda F, *arrays: backward(*arrays), run_theirs, elements, flops, precisions,
               ready=(lambda F, *arrays: (arrays[-1], *forward(*arrays[:-1])), theirs_ready))


def _softmax_backward(shape):
    softmax, back = rows_named("softmax", "softmax_backward")
    return _backward("softmax", lambda F, x: F.softmax(x, -1), lambda x: (direct(softmax, x, dim=1),),
                     lambda dy, y: direct(back, dy, y, dim=1), (shape, shape), 3 * _size(*shape))


def _layer_norm_backward(rows, features):
    norm, back = rows_named("layer_norm", "layer_norm_backward")

    def forward(x, w, b):
        _, mean, rstd = direct(norm, x, w, b, ndim=1, eps=1e-5)
        return x, w, mean, rstd
    shape = rows, features
    return _backward("layer_norm", lambda F, x, w, b: F.layer_norm(x, (features,), w, b), forward,
                     lambda dy, *kept: direct(back, dy, *kept, ndim=1),
                     (shape, (features,), (features,), shape), 3 * _size(*shape))


def _attention_backward(batch, heads, length, features):
    attend, back = rows_named("attention", "attention_backward")
    shape, attrs = (batch, heads, length, features), {"causal": False, "scale": features ** -0.5, "gqa": False}

    def forward(q, k, v):
        y, logsum = direct(attend, q, k, v, None, **attrs)
        return q, k, v, None, y, logsum
    return _backward("attention", lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v), forward,
                     lambda dy, *kept: direct(back, dy, *kept, **attrs), (shape,) * 4, 8 * _size(*shape),
                     10.0 * _size(*shape) * length)


def _cross_entropy(rows, classes):
    """Of classes that are told by the logits themselves, so that both sides see the same."""
    return Row(f"cross_entropy {rows}x{classes}", ((rows, classes),),
               lambda F, x, t: F.cross_entropy(x, t), lambda F, x, t: F.cross_entropy(x, t),
               _size(rows, classes), precisions=("f32", "bf16"), ready=(_with_targets, _with_targets))


def _with_targets(F, x):
    import numpy as np
    rows, classes = x.shape
    targets = np.arange(rows, dtype=np.int64) * 7919 % classes
    if type(x).__module__ == "torch":
        import torch
        return x, torch.from_numpy(targets).to(x.device)
    if hasattr(x, "__cuda_array_interface__"):
        import cupy
        return x, cupy.asarray(targets)
    return x, targets


def _reduction(name, call, shape):
    return Row(f"{name} {'x'.join(map(str, shape))}", (shape,), call, call, _size(*shape),
               precisions=("f32", "bf16"))


def _adam(count):
    """A step of AdamW: reads four arrays and writes three."""
    settings = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 1e-2}

    def ours(F, p, g, mean, square):
        from ..core.backends import BACKENDS, get_backend
        kernels = (BACKENDS["cuda"].kernels("f32") if hasattr(p, "__cuda_array_interface__")
                   else getattr(get_backend(), "direct", None))   # of who only notes launches
        if kernels:
            s = settings
            kernels.adam_step(
                g, p, mean, square, g[:0], s["lr"], s["beta1"], s["beta2"], s["eps"], s["weight_decay"], True,
                1 - s["beta1"], 1 - s["beta2"], False)
        return p

    def theirs(F, p, g, mean, square, step):
        import torch
        torch._fused_adamw_([p], [g], [mean], [square], [], [step], amsgrad=False, maximize=False, **settings)
        return p

    def theirs_ready(F, p, g, mean, square):
        import torch
        return (p.clone(), g, mean * 0.1, square * square,
                torch.ones((), device="cuda", dtype=torch.float32))
    return Row(f"adamw step {count}", ((count,),) * 4, ours, theirs, 7 * count,
               ready=(lambda F, p, g, m, v: (p.copy(), g, m * 0.1 if count else m, v * v), theirs_ready))


def _recurrent(kind, steps, samples, units):
    gates = {"lstm": 4, "gru": 3}[kind]

    def ours(F, x, *weights):
        return getattr(F, kind)(x, None, weights)[0]

    def theirs(F, x, *weights):
        import torch
        zero = torch.zeros((1, samples, units), device="cuda", dtype=x.dtype)
        state = (zero, zero) if kind == "lstm" else zero
        return getattr(torch._VF, kind)(x, state, list(weights), True, 1, 0.0, False, False, False)[0]

    def scaled(F, x, *weights):
        return x, *(w * units ** -0.5 for w in weights)
    shapes = ((steps, samples, units), (gates * units, units), (gates * units, units), (gates * units,),
              (gates * units,))
    return Row(f"{kind} {steps} steps of {samples}x{units}", shapes, ours, theirs,
               2 * steps * samples * units + 2 * gates * units * units,
               4.0 * steps * samples * gates * units * units, ready=(scaled, scaled))


def table(small=False) -> list[Row]:
    """The rows; `small`: of sizes that the emulator gets through."""
    few = (lambda *sizes: tuple(min(s, 8) for s in sizes)) if small else (lambda *sizes: sizes)
    n = few(64)[0]

    def conv(layer, batch, c, h, k, r, stride=1, groups=1, last=False):
        if small:
            c, k, groups = (c, k, groups) if c < 8 else (8, 8, 8 if groups > 1 else 1)
            batch, h = 2, max(r, 8)
        return _conv(layer, batch, c, h, k, r, stride, groups, last)

    def weight_gradient(layer, batch, c, h, k, r, stride=1):
        return _weight_gradient(layer, *((2, min(c, 8), max(r, 8), 8) if small else (batch, c, h, k)), r, stride)

    def rows_of(*shape):
        return (16, 40) if small else shape

    def attention(name, *shape, is_causal=False):
        return _attention(name, *((1, 2, 40, min(shape[-1], 64)) if small else shape), is_causal=is_causal)

    stem = {"n": 2, "c": 3, "h": 8, "out": 4} if small else {}
    normed = (4, 32, 5, 6) if small else (64, 256, 56, 56)
    image = (2, 4, 7, 9) if small else (16, 64, 64, 64)
    local = (2, 12, 5, 6) if small else (64, 96, 55, 55)
    up = ((2, 8, 5, 6), (8, 4, 2, 2)) if small else ((8, 128, 64, 64), (128, 64, 2, 2))
    per_row, wide, features = rows_of(32768, 1024), rows_of(8192, 16384), rows_of(32768, 768)
    channels = (normed[1],) * 1
    return [
        *(_elementwise(name, call, normed) for name, call in (
            ("relu", lambda F, x: F.relu(x)), ("gelu", lambda F, x: F.gelu(x)), ("silu", lambda F, x: F.silu(x)))),
        _pool("max_pool 3x3/2 (resnet stem)", lambda F, x: F.max_pool2d(x, 3, 2, 1), **stem),
        _pool("avg_pool 2x2/2", lambda F, x: F.avg_pool2d(x, 2, 2), **stem),
        *(Row(f"softmax {'x'.join(map(str, shape))}", (shape,), lambda F, x: F.softmax(x, -1), lambda F, x: F.softmax(x, -1), 2 * _size(*shape), precisions=precisions)
          for shape, precisions in ((per_row, ("f32", "bf16")), (wide, ("f32",)))),
        Row(f"layer_norm {'x'.join(map(str, features))}", (features, features[1:], features[1:]),
            lambda F, x, w, b: F.layer_norm(x, w.shape, w, b),
            lambda F, x, w, b: F.layer_norm(x, tuple(w.shape), w, b), 2 * _size(*features), precisions=("f32", "bf16")),
        Row(f"group_norm {'x'.join(map(str, normed))}, 32 groups", (normed, channels, channels),
            lambda F, x, w, b: F.group_norm(x, 32, w, b),
            lambda F, x, w, b: F.group_norm(x, 32, w, b), 2 * _size(*normed)),
        Row(f"batch_norm training {'x'.join(map(str, normed))}", (normed, channels, channels),
            lambda F, x, w, b: F.batch_norm(x, None, None, w, b, True),
            lambda F, x, w, b: F.batch_norm(x, None, None, w, b, True), 3 * _size(*normed)),
        Row(f"local_response_norm {'x'.join(map(str, local))}", (local,), lambda F, x: F.local_response_norm(x, 5),
            lambda F, x: F.local_response_norm(x, 5), 2 * _size(*local)),
        Row(f"interpolate bilinear {'x'.join(map(str, image))} x 2", (image,),
            lambda F, x: F.interpolate(x, scale_factor=2, mode="bilinear"),
            lambda F, x: F.interpolate(x, scale_factor=2, mode="bilinear"), 5 * _size(*image)),
        conv("mobilenet depthwise", n, 128, 56, 128, 3, groups=128),
        conv("mobilenet depthwise 5x5", n, 96, 28, 96, 5, groups=96),
        conv("mobilenet depthwise", n, 128, 56, 128, 3, groups=128, last=True),
        conv("mobilenet depthwise", n, 128, 56, 128, 3, 2, groups=128, last=True),
        conv("convnext depthwise 7x7", n, 192, 28, 192, 7, groups=192, last=True),
        conv("resnet stem", 32, 3, 224, 64, 7, 2),
        conv("resnet 3x3", 32, 64, 56, 64, 3),
        conv("resnet 3x3", 32, 256, 14, 256, 3),
        conv("resnet 3x3", 32, 64, 56, 64, 3, last=True),
        conv("resnet 3x3", 32, 256, 14, 256, 3, last=True),
        conv("resnet 3x3", 32, 256, 28, 256, 3, 2, last=True),
        conv("resnet 1x1", 32, 256, 56, 64, 1),
        conv("resnet 1x1", 32, 1024, 14, 256, 1),
        weight_gradient("resnet stem", 32, 3, 224, 64, 7, 2),
        weight_gradient("resnet 3x3", 32, 64, 56, 64, 3),
        weight_gradient("resnet 3x3", 32, 256, 14, 256, 3),
        weight_gradient("resnet 1x1", 32, 256, 56, 64, 1),
        Row(f"conv_transpose unet {'x'.join(map(str, up[0]))} -> {up[1][1]}, 2x2/2", up,
            lambda F, x, w: F.conv_transpose2d(x, w, stride=2), lambda F, x, w: F.conv_transpose2d(x, w, stride=2),
            _size(*up[0]) + up[0][0] * up[1][1] * 4 * math.prod(up[0][2:]),
            2.0 * _size(*up[0]) * up[1][1] * 4),
        _gemm("square", *((40, 48, 56) if small else (4096, 4096, 4096))),
        _gemm("transformer", *((24, 32, 40) if small else (8192, 3072, 768))),
        attention("", 8, 12, 1024, 64),
        attention("gpt causal", 4, 16, 2048, 64, is_causal=True),
        attention("llama causal", 2, 32, 2048, 128, is_causal=True),
        attention("stable diffusion", 2, 8, 4096, 40),
        _attention_within(*((1, 2, 40, 64) if small else (8, 12, 512, 64))),
        _softmax_backward(per_row),
        _layer_norm_backward(*features),
        _attention_backward(*((1, 2, 40, 64) if small else (8, 12, 1024, 64))),
        _cross_entropy(*rows_of(4096, 32000)),
        _reduction("sum of rows", lambda F, x: F.sum(x, -1) if hasattr(F, "sum") else x.sum(-1), per_row),
        _reduction("sum of columns", lambda F, x: F.sum(x, 0) if hasattr(F, "sum") else x.sum(0), per_row),
        _adam(100 if small else 1 << 24),
        *(_recurrent(kind, *((3, 4, 8) if small else (64, 64, units)))
          for kind, units in (("lstm", 128), ("lstm", 512), ("gru", 128))),
    ]


ROWS = table()
