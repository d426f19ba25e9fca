"""Functions of pyops.functional with random arguments beside torch's of the same name, in float64:
values, and gradients of all float arrays.

A row of DRAWS makes the call: draw(random) -> (arrays, ours, theirs), both functions of the arrays.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch

from pyops import functional as F, validate
from pyops.core.tensor import Tensor

from .hunt import called

REFUSED = (ValueError, TypeError, IndexError)
MEMORY = 3 << 30
TF = torch.nn.functional


def normal(draw: random.Random, *shape: int, scale: float = 1.0) -> np.ndarray:
    return np.asarray(np.random.default_rng(draw.getrandbits(32)).standard_normal(shape) * scale)


def same(name: str, arrays, *args, **kwargs):
    """A call with these arguments on either side."""
    return arrays, lambda *a: getattr(F, name)(*a, *args, **kwargs), lambda *a: getattr(TF, name)(*a, *args, **kwargs)


def grid_sample(draw: random.Random):
    axes = draw.choice((2, 2, 3))
    n, c = draw.choice((1, 2)), draw.choice((1, 3, 8, 17))
    size = [draw.randint(1, 9) for _ in range(axes)]
    places = [draw.randint(1, 6) for _ in range(axes)]
    grid = normal(draw, n, *places, axes, scale=draw.choice((0.3, 1.0, 4.0)))
    mode = draw.choice(("nearest", "bilinear", "bicubic")[: 5 - axes])
    return same("grid_sample", [normal(draw, n, c, *size), grid], mode,
                draw.choice(("zeros", "border", "reflection")), draw.random() < 0.5)


def affine_grid(draw: random.Random):
    axes, n = draw.choice((2, 3)), draw.randint(1, 3)
    size = (n, 1, *(draw.randint(1, 6) for _ in range(axes)))
    return same("affine_grid", [normal(draw, n, axes, axes + 1)], size, draw.random() < 0.5)


def einsum(draw: random.Random):
    """Operands of a few letters each, of which some repeat, are hidden or are of size one."""
    letters, count = "abcdXY"[: draw.randint(1, 6)], draw.choice((1, 2, 2, 2, 3, 4))
    sizes, terms, arrays = {n: draw.randint(1, 4) for n in letters}, [], []
    hidden = [draw.randint(1, 3) for _ in range(draw.randint(0, 2))]
    for _ in range(count):
        names = [draw.choice(letters) for _ in range(draw.randint(0, 4))]
        shape = [sizes[n] if names.count(n) > 1 or draw.random() < 0.9 else 1 for n in names]
        term = "".join(names)
        if hidden and draw.random() < 0.7:
            at = draw.randint(0, len(names))
            own = [n if draw.random() < 0.8 else 1 for n in hidden[draw.randint(0, len(hidden)):]]
            term, shape = term[:at] + "..." + term[at:], [*shape[:at], *own, *shape[at:]]
        terms.append(term)
        arrays.append(normal(draw, *shape))
    equation = ",".join(terms)
    if draw.random() < 0.7:
        used = sorted({c for c in equation if c.isalpha()})
        draw.shuffle(used)
        out = used[: draw.randint(0, len(used))]
        if "..." in equation:   # torch may leave them out, and so may we
            out.insert(draw.randint(0, len(out)), "...")
        equation += "->" + "".join(out)
    return arrays, lambda *a: F.einsum(equation, *a), lambda *a: torch.einsum(equation, *a)


def shape_of(draw: random.Random, least: int = 1, most: int = 4, high: int = 6) -> list[int]:
    return [draw.randint(1, high) for _ in range(draw.randint(least, most))]


def reduction(draw: random.Random) -> str:
    return draw.choice(("none", "mean", "sum"))


def signs(draw: random.Random, *shape: int) -> np.ndarray:
    return np.asarray(np.sign(normal(draw, *shape)).astype(np.int64))


def normalize(draw: random.Random):
    shape = shape_of(draw)
    return same("normalize", [normal(draw, *shape)], draw.choice((1.0, 2.0, 3.5, float("inf"))),
                draw.randrange(-len(shape), len(shape)), draw.choice((1e-12, 0.5)))


def cosine_similarity(draw: random.Random):
    shape = shape_of(draw)
    other = [n if draw.random() < 0.8 else 1 for n in shape][draw.choice((0, 0, len(shape) - 1)):]
    return same("cosine_similarity", [normal(draw, *shape), normal(draw, *other)],
                draw.randrange(-len(other), len(shape)) if len(other) == len(shape) else -1)


def pairwise_distance(draw: random.Random):
    shape = shape_of(draw)
    return same("pairwise_distance", [normal(draw, *shape), normal(draw, *shape)],
                draw.choice((1.0, 2.0, 3.0, float("inf"))), draw.choice((1e-6, 0.1)), draw.random() < 0.5)


def pdist(draw: random.Random):
    # torch's gradient of fewer rows than two divides by zero and ends the process
    return same("pdist", [normal(draw, draw.randint(2, 6), draw.randint(1, 5))], draw.choice((1.0, 2.0, 3.0)))


def cdist(draw: random.Random):
    lead, m = shape_of(draw, 0, 2, 3), draw.choice((1, 3, 8, 17))
    other = [n if draw.random() < 0.8 else 1 for n in lead]
    arrays = [normal(draw, *lead, draw.randint(1, 20), m), normal(draw, *other, draw.randint(1, 20), m)]
    p = draw.choice((0.5, 1.0, 2.0, 3.0, float("inf")))
    return arrays, lambda a, b: F.cdist(a, b, p), lambda a, b: torch.cdist(a, b, p)


def halves(draw: random.Random):
    shape = shape_of(draw)
    dim = draw.randrange(len(shape))
    shape[dim] *= 2
    return same("glu", [normal(draw, *shape)], dim - draw.choice((0, len(shape))))


def shrink(draw: random.Random):
    name = draw.choice(("hardshrink", "softshrink", "tanhshrink"))
    limit = () if name == "tanhshrink" else (draw.choice((0.0, 0.5, 1.5)),)
    return same(name, [normal(draw, *shape_of(draw, 0))], *limit)


def bilinear(draw: random.Random):
    lead, (i, j, k) = shape_of(draw, 0, 3), [draw.randint(1, 5) for _ in range(3)]
    bias = [normal(draw, k)] if draw.random() < 0.5 else []
    return same("bilinear", [normal(draw, *lead, i), normal(draw, *lead, j), normal(draw, k, i, j), *bias])


def channel_shuffle(draw: random.Random):
    groups = draw.randint(1, 4)
    return same("channel_shuffle", [normal(draw, 2, groups * draw.randint(1, 4), *shape_of(draw, 1, 3))], groups)


def put_slices(draw: random.Random):
    shape = shape_of(draw)
    dim = draw.randrange(-len(shape), len(shape))
    x, n = normal(draw, *shape), shape[dim]
    if draw.random() < 0.5:
        at = draw.randrange(-n, n)
        arrays = [x, normal(draw, *x.take(0, dim).shape)]
        return (arrays, lambda a, b: F.select_scatter(a, b, dim, at),
                lambda a, b: torch.select_scatter(a, b, dim, at))
    start, end, step = draw.randint(0, n), draw.choice((None, draw.randint(0, n))), draw.randint(1, 3)
    places = len(range(*slice(start, end, step).indices(n)))
    arrays = [x, normal(draw, *x.take(range(places), dim).shape)]
    return (arrays, lambda a, b: F.slice_scatter(a, b, dim, start, end, step),
            lambda a, b: torch.slice_scatter(a, b, dim, start, end, step))


def clip(draw: random.Random):
    shape = shape_of(draw)
    low, high = (normal(draw, *(n if draw.random() < 0.7 else 1 for n in shape)) for _ in range(2))
    return [normal(draw, *shape), low, high], F.clip, torch.clip


def triplet_margin_loss(draw: random.Random):
    shape = shape_of(draw, 1, 3)
    return same("triplet_margin_loss", [normal(draw, *shape) for _ in range(3)], margin=draw.choice((0.5, 2.0)),
                p=draw.choice((1, 2, 3)), eps=draw.choice((1e-6, 1e-2)), swap=draw.random() < 0.5,
                reduction=reduction(draw))


def triplet_with_distance(draw: random.Random):
    shape = shape_of(draw, 2, 2)
    arrays, how = [normal(draw, *shape) for _ in range(3)], {"swap": draw.random() < 0.5, "reduction": reduction(draw)}
    name = "triplet_margin_with_distance_loss"
    squared = lambda x, y: ((x - y) ** 2).sum(1)  # noqa: E731
    return same(name, arrays, distance_function=squared, **how)


def cosine_embedding_loss(draw: random.Random):
    lead, width = draw.choice(((), (draw.randint(1, 5),))), draw.randint(1, 6)
    return same("cosine_embedding_loss",
                [normal(draw, *lead, width), normal(draw, *lead, width), signs(draw, *lead)],
                margin=draw.choice((0.0, 0.3)), reduction=reduction(draw))


def multi_margin_loss(draw: random.Random):
    lead, classes = draw.choice(((), (draw.randint(1, 5),))), draw.randint(1, 6)
    target = np.asarray(np.random.default_rng(draw.getrandbits(32)).integers(0, classes, lead))
    arrays, how = [normal(draw, *lead, classes), target], {
        "p": draw.choice((1, 2)), "margin": draw.choice((1.0, 0.3)), "reduction": reduction(draw)}
    if draw.random() < 0.5:   # torch gives weights no gradient
        weight = abs(normal(draw, classes))
        return (arrays, lambda *a: F.multi_margin_loss(*a, weight=weight, **how),
                lambda *a: TF.multi_margin_loss(*a, weight=torch.from_numpy(weight), **how))
    return same("multi_margin_loss", arrays, **how)


def multilabel_margin_loss(draw: random.Random):
    lead, classes = draw.choice(((), (draw.randint(1, 5),))), draw.randint(1, 6)
    target = np.random.default_rng(draw.getrandbits(32)).permuted(
        np.broadcast_to(np.arange(-2, classes), (*lead, classes + 2)), axis=-1)[..., :classes]
    return same("multilabel_margin_loss", [normal(draw, *lead, classes), np.maximum(target, -1).astype(np.int64)],
                reduction=reduction(draw))


def multilabel_soft_margin_loss(draw: random.Random):
    shape = shape_of(draw, 2, 3)
    arrays = [normal(draw, *shape), 1 / (1 + np.exp(normal(draw, *shape)))]
    weight, how = abs(normal(draw, shape[-1])), reduction(draw)
    return (arrays, lambda *a: F.multilabel_soft_margin_loss(*a, weight, reduction=how),
            lambda *a: TF.multilabel_soft_margin_loss(*a, torch.from_numpy(weight), reduction=how))


def deform_conv2d(draw: random.Random):
    """Beside torch's grid_sample of each tap and a sum of products."""
    per, offset_groups = draw.randint(1, 3), draw.choice((1, 1, 2, 3))
    groups = draw.choice([g for g in (1, 2, 3) if per * offset_groups % g == 0])
    channels, filters = per * offset_groups, groups * draw.randint(1, 3)
    n, size = draw.randint(1, 2), [draw.randint(3, 8) for _ in range(2)]
    kernel, stride, padding, dilation = ([draw.randint(low, 2 + low) for _ in range(2)] for low in (1, 1, 0, 1))
    dilation = [d if d * (k - 1) < m + 2 * p else 1 for d, k, m, p in zip(dilation, kernel, size, padding)]
    out = [(m + 2 * p - d * (k - 1) - 1) // s + 1 for m, k, s, p, d in zip(size, kernel, stride, padding, dilation)]
    taps = kernel[0] * kernel[1]
    arrays = [normal(draw, n, channels, *size), normal(draw, n, 2 * offset_groups * taps, *out),
              normal(draw, filters, channels // groups, *kernel), normal(draw, filters),
              normal(draw, n, offset_groups * taps, *out)]

    def theirs(x, offset, weight, bias, mask):
        by = offset.reshape(n, offset_groups, taps, 2, *out)
        tap = torch.arange(taps)[:, None, None]
        h = torch.arange(out[0])[:, None] * stride[0] - padding[0] + tap // kernel[1] * dilation[0] + by[:, :, :, 0]
        w = torch.arange(out[1]) * stride[1] - padding[1] + tap % kernel[1] * dilation[1] + by[:, :, :, 1]
        grid = torch.stack([(2 * w + 1) / size[1] - 1, (2 * h + 1) / size[0] - 1], -1)
        grid = grid.reshape(n * offset_groups, -1, out[1], 2)
        columns = TF.grid_sample(x.reshape(n * offset_groups, -1, *size), grid, align_corners=False).reshape(
            n, offset_groups, -1, taps, *out)
        columns = columns * mask.reshape(n, offset_groups, 1, taps, *out)
        return torch.einsum("ngcthw,gfct->ngfhw", columns.reshape(n, groups, -1, taps, *out),
                            weight.reshape(groups, filters // groups, -1, taps)).flatten(1, 2) + bias[:, None, None]

    def ours(x, offset, weight, bias, mask):
        return F.deform_conv2d(x, offset, weight, bias, stride, padding, dilation, mask)
    return arrays, ours, theirs


def embedding_bag(draw: random.Random):
    rows, width, mode = draw.randint(1, 8), draw.choice((1, 3, 17)), draw.choice(("sum", "mean", "max"))
    indices = np.random.default_rng(draw.getrandbits(32)).integers
    how = {"mode": mode, "padding_idx": draw.choice((None, draw.randrange(rows), -1))}
    # not scale_grad_by_freq: torch 2.13 divides a row's gradient by another row's count
    weight = normal(draw, rows, width)
    if draw.random() < 0.5:
        index, offsets = indices(0, rows, (draw.randint(1, 4), draw.randint(1, 6))), []
    else:
        n = draw.randint(0, 9)
        index, ends = indices(0, rows, n), sorted(draw.randint(0, n) for _ in range(draw.randint(0, 4)))
        how["include_last_offset"] = draw.random() < 0.5
        offsets = [np.array([0, *ends, *([n] if how["include_last_offset"] else [])])]
    factors = [normal(draw, *index.shape)] if mode == "sum" and draw.random() < 0.5 else []

    def call(f):
        def of(weight, index, *rest):
            given = {"per_sample_weights": rest[-1]} if factors else {}
            return f(index, weight, *rest[:len(offsets)], **how, **given)
        return of
    return [weight, index, *offsets, *factors], call(F.embedding_bag), call(TF.embedding_bag)


def ctc_loss(draw: random.Random):
    """Behind log_softmax, where torch's gradient is the true one."""
    steps, samples, classes = draw.randint(1, 12), draw.randint(1, 3), draw.randint(2, 6)
    blank = draw.randrange(classes)
    ins = [draw.randint(1, steps) for _ in range(samples)]
    outs = [draw.randint(0, draw.choice((2, 8))) for _ in range(samples)]
    flat, most = draw.random() < 0.4, max(outs)
    integers = np.random.default_rng(draw.getrandbits(32)).integers
    labels = integers(0, classes - 1, sum(outs) if flat else (samples, most))
    labels = labels + (labels >= blank)
    how = {"blank": blank, "reduction": reduction(draw), "zero_infinity": True}
    lead = [] if samples == 1 and draw.random() < 0.5 and not flat else [samples]
    given = (ins, outs) if lead else (ins[0], outs[0])
    target = labels if lead else labels[0]

    def theirs(x):
        lengths = [torch.tensor(v) for v in given]
        return TF.ctc_loss(TF.log_softmax(x, -1), torch.from_numpy(target), *lengths, **how)
    return ([normal(draw, steps, *lead, classes)],
            lambda x: F.ctc_loss(F.log_softmax(x, -1), target, *given, **how), theirs)


def dft(draw: random.Random):
    lead, size = shape_of(draw, 0, 2, 3), draw.choice((1, 2, 3, 4, 5, 7, 8, 12, 16, 30, 31, 37, 64, 74, 97, 100))
    n = draw.choice((None, size, max(size - 2, 1), size + 3))
    dim, parts = draw.randrange(len(lead) + 1), draw.choice((1, 2))
    shape = [*lead[:dim], size, *lead[dim:], parts]
    norm, inverse = draw.choice(("backward", "ortho", "forward")), draw.random() < 0.5
    onesided = (parts == 1) != inverse and draw.random() < 0.6 and (not inverse or size > 1 or n is not None)

    def theirs(x):
        z = x[..., 0] if parts == 1 else torch.view_as_complex(x.contiguous())
        if onesided:
            return torch.view_as_real(torch.fft.rfft(z, n, dim, norm)) if parts == 1 else (
                torch.fft.irfft(z, n, dim, norm)[..., None])
        return torch.view_as_real((torch.fft.ifft if inverse else torch.fft.fft)(z, n, dim, norm).resolve_conj())
    return ([normal(draw, *shape)],
            lambda x: F.dft(x, n, dim, inverse, onesided, norm=norm), theirs)


def frames(draw: random.Random) -> tuple[int, dict, list[np.ndarray]]:
    """n_fft, and arguments and windows of stft and istft."""
    n = draw.choice((4, 6, 7, 8, 15, 16, 20, 37))
    win = draw.choice((n, n, n - 1))
    window = [np.abs(normal(draw, win)) + 0.5] if draw.random() < 0.7 else []
    how = {"hop_length": draw.randint(1, max(n // 2 - 1, 1)), "win_length": win, "center": draw.random() < 0.6,
           "normalized": draw.random() < 0.5, "onesided": draw.random() < 0.7}
    return n, how, window


def stft(draw: random.Random):
    n, how, window = frames(draw)
    lead = draw.choice(([], [draw.randint(1, 3)]))
    how["pad_mode"] = draw.choice(("reflect", "constant", "replicate"))

    def call(f, **more):
        return lambda x, *w: f(x, n, window=w[0] if w else None, **how, **more)
    theirs = call(torch.stft, return_complex=True)
    return ([normal(draw, *lead, n + draw.randint(0, 60)), *window], call(F.stft),
            lambda *a: torch.view_as_real(theirs(*a)))


def istft(draw: random.Random):
    n, how, window = frames(draw)
    how["center"] = True if how["win_length"] < n else how["center"]
    lead, count = draw.choice(([], [draw.randint(1, 3)])), draw.randint(3, 9)
    if draw.random() < 0.4:
        how["length"] = draw.randint(1, n + how["hop_length"] * count)
    values = n // 2 + 1 if how["onesided"] else n

    def call(f):
        return lambda x, *w: f(x, n, window=w[0] if w else None, **how)
    theirs = call(torch.istft)
    try:   # torch wants weight everywhere
        theirs(torch.ones((*lead, values, count), dtype=torch.complex128), *map(torch.from_numpy, window))
    except RuntimeError:
        return istft(draw)
    return ([normal(draw, *lead, values, count, 2), *window], call(F.istft),
            lambda x, *w: theirs(torch.view_as_complex(x.contiguous()), *w))


DRAWS: dict[str, Callable] = {draw.__name__: draw for draw in (
    affine_grid, bilinear, cdist, channel_shuffle, clip, cosine_embedding_loss, cosine_similarity,
    ctc_loss, deform_conv2d, dft, einsum, embedding_bag, grid_sample, halves, istft,
    multi_margin_loss, multilabel_margin_loss, multilabel_soft_margin_loss, normalize,
    pairwise_distance, pdist, put_slices, shrink, stft, triplet_margin_loss, triplet_with_distance,
)}


def one(seed: int) -> None:
    draw = random.Random(seed)
    compare(draw.choice(list(DRAWS)), draw)


def compare(name: str, draw: random.Random) -> None:
    """One draw of a row, ours beside torch's."""
    arrays, ours, theirs = DRAWS[name](draw)
    real = [a.dtype.kind == "f" for a in arrays]
    mine = [Tensor(a, requires_grad=f) for a, f in zip(arrays, real)]
    other = [torch.from_numpy(a.copy()).requires_grad_(f) for a, f in zip(arrays, real)]
    called()
    want, got = validate.flat(theirs(*other)), validate.flat(ours(*mine))
    assert len(want) == len(got), f"{name}: {len(got)} results"
    for g, w in zip(got, want):
        validate.assert_close(g.data, w.detach().numpy(), 1e5, f"{name}: value")
    leaves = [(m, o) for m, o, f in zip(mine, other, real) if f]
    given = [(g, w) for g, w in zip(got, want) if w.requires_grad]
    for g, w in given:
        weight = normal(draw, *w.shape)
        g.backward(weight)
        w.backward(torch.from_numpy(np.asarray(weight)), retain_graph=True)
    for i, (m, o) in enumerate(leaves if given else ()):
        want_grad = np.zeros(m.shape) if o.grad is None else o.grad.numpy()
        got_grad = np.zeros(m.shape) if m.grad is None else m.grad
        validate.assert_close(got_grad, want_grad, 1e5, f"{name}: gradient {i}")
