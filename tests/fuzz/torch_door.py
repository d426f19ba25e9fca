"""Random small torch modules through every door, against eager in float64."""

from __future__ import annotations

import copy
import random
import warnings

import torch
from torch import nn
from torch.nn import functional as TF

import pyops
import pyops.torch as door

REFUSED = (door.UnsupportedOp,)
MEMORY, SILENCE = 12 << 30, 120.0

POINTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.ELU, nn.CELU, nn.SELU, nn.Mish, nn.Hardswish, nn.Hardsigmoid),
    *(nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Softsign, nn.LogSigmoid, nn.LeakyReLU, nn.Hardtanh, nn.RReLU),
)


def prepare():
    """A forked child has none of torch's threads, and would wait for them."""
    torch.set_num_threads(1)


def pointwise(rng, c):
    return rng.choice(POINTWISE)()


def convolution(rng, c):
    """Keeps the size and the channels."""
    kernel = rng.choice((1, 3, 5))
    groups = rng.choice([g for g in (1, 2, c) if c % g == 0])
    bias = rng.random() < 0.5
    dilation = rng.choice((1, 1, 2))
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(c, c, kernel, padding=padding, dilation=dilation, groups=groups, bias=bias)


def norm(rng, c):
    groups = rng.choice([g for g in (1, 2, c) if c % g == 0])
    return rng.choice(
        (
            nn.BatchNorm2d(c),
            nn.GroupNorm(groups, c),
            nn.InstanceNorm2d(c, affine=rng.random() < 0.5),
            nn.LocalResponseNorm(3),
        )
    )


def pool(rng, c):
    return rng.choice(
        (
            nn.MaxPool2d(3, 1, 1),
            nn.AvgPool2d(3, 1, 1, count_include_pad=rng.random() < 0.5),
            nn.MaxPool2d(2, ceil_mode=rng.random() < 0.5),
            nn.AdaptiveAvgPool2d(rng.randint(3, 6)),
            nn.AdaptiveMaxPool2d(rng.randint(3, 6)),
            nn.Upsample(scale_factor=2, mode=rng.choice(("nearest", "bilinear"))),
        )
    )


class Residual(nn.Module):
    """x + body(x), by one of several ways of putting two maps of one size together."""

    def __init__(self, rng, c):
        super().__init__()
        self.body = nn.Sequential(convolution(rng, c), pointwise(rng, c), convolution(rng, c))
        self.way, self.mix = rng.choice(("add", "in place", "mul", "cat")), nn.Conv2d(2 * c, c, 1)

    def forward(self, x):
        y = self.body(x)
        if self.way == "add":
            return x + y
        if self.way == "in place":
            y += x
            return y
        return x * torch.sigmoid(y) if self.way == "mul" else self.mix(torch.cat((x, y), 1))


class Reordered(nn.Module):
    """Views, permutations and slices on the way."""

    def __init__(self, rng, c):
        super().__init__()
        self.way, self.linear = rng.choice(("last", "chunk", "roll", "crop", "flat")), nn.Linear(c, c)

    def forward(self, x):
        if self.way == "last":
            return self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        if self.way == "chunk":
            a, b = x[:, :-1], x[:, -1:]
            return torch.cat((b, a), 1)
        if self.way == "roll":
            return torch.roll(x, 1, 2) + x
        if self.way == "crop":
            return TF.pad(x[:, :, 1:], (1, 0, 0, 1))
        return self.linear(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)


class Attention(nn.Module):
    def __init__(self, rng, c):
        super().__init__()
        self.attention, self.norm = (
            nn.MultiheadAttention(c, 2 if c % 2 == 0 else 1, batch_first=True),
            nn.LayerNorm(c),
        )

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        tokens = self.norm(tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0])
        return tokens.transpose(1, 2).reshape(x.shape)


class Gate(nn.Module):
    """Squeeze and excitation, or a gate that comes from weights alone."""

    def __init__(self, rng, c):
        super().__init__()
        self.own, self.one, self.two = rng.random() < 0.3, nn.Linear(c, 3), nn.Linear(3, c)
        self.scale = nn.Parameter(torch.rand(c))

    def forward(self, x):
        gate = self.scale.exp() if self.own else torch.sigmoid(self.two(TF.silu(self.one(x.mean((2, 3))))))
        return x * (gate[:, None, None] if self.own else gate[:, :, None, None])


BLOCKS = (convolution, convolution, pointwise, norm, pool, Residual, Residual, Reordered, Attention, Gate)


class Net(nn.Module):
    """A few blocks; the results are what comes out, and what a head makes of it, or views of
    these."""

    def __init__(self, rng):
        super().__init__()
        c = rng.randint(3, 9)
        self.shape = (rng.randint(1, 3), c, rng.randint(5, 11), rng.randint(5, 11))
        self.body = nn.Sequential(*(rng.choice(BLOCKS)(rng, c) for _ in range(rng.randint(2, 6))))
        if any(isinstance(m, (nn.BatchNorm2d, nn.InstanceNorm2d)) for m in self.modules()):
            # of one sample torch's gradient of theirs is wrong where what comes back lies channels last
            self.shape = (2, *self.shape[1:])
        self.head, self.ends = nn.Linear(c, 4), rng.choice(("one", "both", "view", "sorted"))

    def forward(self, x):
        y = self.body(x)
        z = self.head(y.mean((2, 3)))
        if self.ends == "one":
            return (z,)
        if self.ends == "both":
            return z, y
        if self.ends == "view":
            return z, y, y.transpose(1, 2)
        return torch.sort(z, 1).values, y * 2


def network(seed):
    rng = random.Random(seed)
    torch.manual_seed(seed)
    model = Net(rng)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    return model, torch.randn(model.shape), rng


def check(got, want, exact, what):
    """got may be off float64 (exact) by a few times what eager (want) is."""
    assert len(got) == len(want), what
    for i, (g, w, e) in enumerate(zip(got, want, exact)):
        g = torch.as_tensor(g)
        assert g.shape == w.shape and g.dtype == w.dtype, f"{what}, result {i}: {g.dtype} {tuple(g.shape)}"
        scale = e.abs().max().clamp(min=1e-3)
        # 2e-5 a layer is what "default" allows; torch's hardsigmoid in float64 has its sixth in float32
        allowed = max(1e-4, 8 * float((w - e).abs().max() / scale)) if g.dtype == torch.float32 else 1e-7
        error = float((g - e).abs().max() / scale)
        assert error <= allowed, (
            f"{what}, result {i}: off by {error:.2g} of the greatest value, {allowed:.2g} allowed"
        )


def in_float64(model, *inputs):
    return copy.deepcopy(model).double()(*(x.double() for x in inputs))


def by_program(model, x, rng):
    model.eval()
    with torch.no_grad():
        check(pyops.compile(model, x)(x), model(x), in_float64(model, x), "pyops.compile")


def by_backend(model, x, rng):
    """Twice with other weights, changed behind torch's back."""
    model.eval()
    fast = torch.compile(model, backend="pyops")
    with torch.no_grad():
        for _ in range(2):
            got, want = fast(x), model(x)
            check(got, want, in_float64(model, x), "torch.compile")
            shares = [
                [a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr() for a in r for b in r]
                for r in (got, want)
            ]
            assert shares[0] == shares[1] and [g.stride() for g in got] == [w.stride() for w in want], (
                "torch.compile: layout"
            )
            rng.choice(list(model.parameters())).data.mul_(1.5)


def gradients(model, call, x):
    x = x.clone().requires_grad_()
    results = call(x)
    sum(
        (r * torch.linspace(-1, 1, r.numel(), dtype=r.dtype).reshape(r.shape)).sum() for r in results
    ).backward()
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in model.parameters()]
    return (
        [r.detach() for r in results]
        + [x.grad]
        + grads
        + [b.clone() for b in model.buffers() if b.is_floating_point()]
    )


def by_training(model, x, rng):
    """In float64, where rounding is no excuse. Against torch's own AOTAutograd, into whose graphs
    our rows are put: where its gradients are not eager's (seed 1042: attention), that is torch's.
    """
    model, x = model.double().train(), x.double()
    results = []
    for backend in ("aot_eager", "pyops"):
        torch._dynamo.reset()
        torch.manual_seed(1)
        other = copy.deepcopy(model)
        results.append(gradients(other, torch.compile(other, backend=backend), x))
    want, got = results
    check(got, want, want, "training")


def by_replacement(model, x, rng):
    model, x = model.double().eval(), x.double()
    other = door.replace_modules(copy.deepcopy(model))
    want = gradients(model, model, x)
    check(gradients(other, other, x), want, want, "replace_modules")


DOORS = (by_program, by_backend, by_training, by_replacement)


def one(seed: int) -> None:
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", door.Fault)
        model, x, rng = network(seed)
        DOORS[seed % len(DOORS)](model, x, rng)
