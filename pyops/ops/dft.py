"""Discrete Fourier transforms: dft, stft and istft. Complex numbers are pairs along the last axis, real
and imaginary part, as torch.view_as_real has them."""
from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from ..core import dispatch
from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context
from ..core.types import Array, Arrays
from .elementwise import div, mul
from .im2col import unfold
from .pad import pad
from .reduction import sum as sum_of
from .shape import _axis, getitem, movedim, permute, reshape, transpose
from .spatial import ints
from .typed import NO_CUDA, dtype_of

reference = LateFunctions("pyops.kernels.dft.reference")

__all__ = ["dft", "istft", "stft"]

LARGEST_FACTOR = 31   # kernels/dft/cpu.cpp: beyond it by Bluestein's algorithm


def dft(input: Arrays, n: int | None = None, dim: int = -2, inverse: bool = False, onesided: bool = False, *,
        norm: str = "backward") -> Arrays:
    """The discrete Fourier transform along axis `dim` of complex numbers (..., 2) or real ones (..., 1).

    n: the length, to which the axis is cut or filled with zeros. inverse: the other sign, divided by
    n. onesided: of a real input the first n // 2 + 1 values, all others being their conjugates; with
    inverse those are what is given, and the result is real, (..., 1). norm: 'backward' divides the
    inverse by n, 'ortho' both ways by its root, 'forward' the other way. float32 or float64. Raises
    ValueError where axes do not fit. Source: Cooley & Tukey (1965), Bluestein (1970).
    """
    axes = len(input.shape)
    if axes < 2 or input.shape[-1] not in (1, 2):
        raise ValueError("dft: the last axis holds real parts, or those and imaginary ones, got shape "
                         f"{tuple(input.shape)}")
    dim = _axis("dft", dim, axes)
    if dim == axes - 1:
        raise ValueError("dft: dim must not be the last axis, which holds the parts")
    if norm not in ("backward", "ortho", "forward"):
        raise ValueError(f"dft: norm must be backward, ortho or forward, got {norm!r}")
    real_result = inverse and onesided
    if onesided and input.shape[-1] != (2 if inverse else 1):
        raise ValueError("dft: onesided takes real numbers, or complex ones for the inverse, got shape "
                         f"{tuple(input.shape)}")
    size = input.shape[dim]
    if n is None:
        n = 2 * (size - 1) if real_result else size
    elif isinstance(n, float):
        raise TypeError(f"dft: n must be an int, got {n}")
    if n < 1:
        raise ValueError(f"dft: the length must be positive, got {n}")
    x, dims = movedim(input, dim, -2), [i for i in range(axes) if i != dim]
    wanted = n // 2 + 1 if real_result else n
    if size > wanted:
        x = getitem(x, (..., slice(0, wanted), slice(None)))
    taken, lead = min(size, wanted), tuple(input.shape[i] for i in dims[:-1])
    flat = reshape(x, (math.prod(lead), taken, input.shape[-1]))
    if real_result:
        flat = mul(flat, dispatch.beside(twice(n, taken, np.dtype(dtype_of(input))), input))
    scale = {"backward": 1 / n if inverse else 1.0, "ortho": n ** -0.5, "forward": 1.0 if inverse else 1 / n}[norm]
    y = DFT(flat, None, n=n, taken=taken, hop=0, frames=1, m=n // 2 + 1 if onesided and not inverse else n,
            parts=1 if real_result else 2, inverse=bool(inverse), scale=scale)
    return movedim(reshape(y, (*lead, *y.shape[2:])), -2, dim)


@lru_cache(256)
def twice(n: int, taken: int, dtype: np.dtype[Any]) -> Array:
    """Factors (taken, 2): 2 of values whose conjugates were left out, 1 of the others."""
    factors = np.full((taken, 2), 2, dtype)
    factors[0] = 1
    if n % 2 == 0 and taken > n // 2:
        factors[n // 2] = 1
    factors.flags.writeable = False
    return factors


def stft(input: Arrays, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
         window: Arrays | None = None, center: bool = True, pad_mode: str = "reflect", normalized: bool = False,
         onesided: bool | None = None) -> Arrays:
    """The Fourier transforms of frames of n_fft values, hop_length apart, times a window.

    input: (T,) or (N, T) real, float32 or float64. hop_length: None is n_fft // 4. window:
    (win_length,), with zeros around it up to n_fft; None is ones. center: the signal is padded by
    n_fft // 2 on both sides, by F.pad's mode, so that frames lie around their place. normalized:
    divided by the root of n_fft. onesided (None is True): n_fft // 2 + 1 values of each. Returns (N,
    values, frames, 2), real and imaginary parts: torch.view_as_real of what torch gives. Raises
    ValueError where sizes do not fit. Source: Allen & Rabiner (1977).
    """
    hop, weights = windowed("stft", n_fft, hop_length, win_length, window, input)
    if len(input.shape) not in (1, 2):
        raise ValueError(f"stft: input must be (T,) or (N, T), got shape {tuple(input.shape)}")
    x = input if len(input.shape) == 2 else reshape(input, (1, input.shape[0]))
    if center:
        half = n_fft // 2
        x = reshape(pad(reshape(x, (1, *x.shape)), (half, half), pad_mode), (x.shape[0], x.shape[1] + 2 * half))
    samples, length = x.shape
    if length < n_fft:
        raise ValueError(f"stft: a signal of {length} values, padding included, is shorter than n_fft {n_fft}")
    count = (length - n_fft) // hop + 1
    y = DFT(reshape(x, (samples, length, 1)), weights, n=n_fft, taken=n_fft, hop=hop, frames=count,
            m=n_fft // 2 + 1 if onesided is None or onesided else n_fft, parts=2, inverse=False,
            scale=n_fft ** -0.5 if normalized else 1.0)
    y = transpose(y, 1, 2)
    return y if len(input.shape) == 2 else reshape(y, tuple(y.shape[1:]))


def istft(input: Arrays, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
          window: Arrays | None = None, center: bool = True, normalized: bool = False, onesided: bool | None = None,
          length: int | None = None) -> Arrays:
    """The signal whose stft this is: frames transformed back, times the window, added where they lie,
    divided by the sum of the squared windows there.

    input: (values, frames, 2) or (N, values, frames, 2), as stft gives it; the other arguments: as
    there. length: of the result, else as far as frames reach. Returns (T,) or (N, T). Raises
    ValueError where sizes do not fit, or windows leave a place without weight. Source: Griffin & Lim
    (1984).
    """
    hop, weights = windowed("istft", n_fft, hop_length, win_length, window, input)
    values = n_fft // 2 + 1 if onesided is None or onesided else n_fft
    if len(input.shape) not in (3, 4) or tuple(input.shape[-3::2]) != (values, 2):
        raise ValueError(f"istft: input must be (N, {values}, frames, 2) or without N, got shape {tuple(input.shape)}")
    single = len(input.shape) == 3
    x = (input[None] if isinstance(input, np.ndarray) else reshape(input, (1, *input.shape))) if single else input
    samples, _, count, _ = x.shape
    # what stft gives is a view: turned back before a row sees it, it is not copied
    x = x.transpose(0, 2, 1, 3) if isinstance(x, np.ndarray) else transpose(x, 1, 2)
    if values > n_fft // 2 + 1:   # the others are their conjugates, as torch has it
        values = n_fft // 2 + 1
        x = getitem(x, (slice(None), slice(None), slice(0, values)))
    flat = reshape(x, (samples * count, values, 2))
    dtype = np.dtype(dtype_of(input))
    ones = np.ones((1, count, n_fft), dtype)
    factors, ones = (dispatch.beside(v, input) for v in (twice(n_fft, values, dtype), ones))
    frames = DFT(mul(flat, factors), None, n=n_fft, taken=values, hop=0, frames=1, m=n_fft,
                 parts=1, inverse=True, scale=n_fft ** -0.5 if normalized else 1 / n_fft)
    frames = reshape(frames, (samples, count, n_fft))
    total = n_fft + hop * (count - 1)
    added = OVERLAP_ADD(frames, weights, hop=hop)
    below = OVERLAP_ADD(ones, None if weights is None else mul(weights, weights), hop=hop)
    begin = n_fft // 2 if center else 0
    end = begin + length if length is not None else total - n_fft // 2 if center else total
    most = min(end, total)
    if isinstance(below, np.ndarray) and below[0, begin:most].min(initial=1) < 1e-11:
        raise ValueError("istft: the windows leave places without weight (their squares add up to 0)")
    y = div(getitem(added, (slice(None), slice(begin, most))), getitem(below, (slice(None), slice(begin, most))))
    if end > most:
        y = reshape(pad(reshape(y, (1, *y.shape)), (0, end - most)), (samples, end - begin))
    return reshape(y, tuple(y.shape[1:])) if single else y


def windowed(name: str, n_fft: int, hop: int | None, win_length: int | None, window: Any,
             beside: Any) -> tuple[int, Any]:
    """Validates; `beside`: what the window weights. Returns the hop, and the window with zeros around it, or
    None where it is ones."""
    n_fft = ints(n_fft, name, "n_fft")
    hop = n_fft // 4 if hop is None else ints(hop, name, "hop_length")
    size = n_fft if win_length is None else win_length
    if n_fft < 1 or hop < 1 or not 1 <= size <= n_fft or window is not None and tuple(window.shape) != (size,):
        raise ValueError(f"{name}: needs n_fft and hop_length positive, win_length within n_fft and a window of that "
                         f"length, got n_fft {n_fft}, hop_length {hop}, win_length {size} and "
                         f"{None if window is None else tuple(window.shape)}")
    if size == n_fft:
        return hop, window
    left = (n_fft - size) // 2
    window = dispatch.beside(np.ones(size, dtype_of(beside)), beside) if window is None else window
    return hop, reshape(pad(reshape(window, (1, 1, size)), (left, n_fft - size - left)), (n_fft,))


# ---- tables

@lru_cache(64)
def tables(n: int, length: int, dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """e^(-2 pi i j / n) as (n, 2); of Bluestein's algorithm for `length`, where that has a large prime
    factor: the chirp, its transform, and the table of that transform's length, else None."""
    made: list[Any] = [roots(n)]
    if not smooth(length):
        m = 1 << (2 * length - 2).bit_length()
        j = np.arange(length, dtype=np.int64)
        chirp = np.exp(-1j * np.pi * (j * j % (2 * length)) / length)   # exact, however large j j is
        turned = np.zeros(m, complex)
        turned[:length] = chirp.conj()
        turned[m - length + 1:] = chirp.conj()[:0:-1]
        made += [chirp, np.fft.fft(turned), roots(m)]
    arrays = [np.ascontiguousarray(np.stack([z.real, z.imag], -1).astype(dtype)) for z in made]
    for a in arrays:
        a.flags.writeable = False
    return *arrays, *(None,) * (4 - len(arrays))


def roots(n: int) -> Any:
    return np.exp(-2j * np.pi * np.arange(n) / n)


def smooth(n: int) -> bool:
    """Whether n has prime factors up to LARGEST_FACTOR alone."""
    for p in range(2, LARGEST_FACTOR + 1):
        while n % p == 0:
            n //= p
    return n == 1


# ---- the row

def check(x: Array, window: Array | None, *, n: int, taken: int, hop: int, frames: int, m: int, **_: Any) -> None:
    if len(x.shape) != 3 or x.shape[2] not in (1, 2) or not 1 <= taken <= n < 2**31 or not 0 <= m <= n \
            or frames < 1 or (frames - 1) * hop + taken > x.shape[1] or window is not None and window.shape != (taken,):
        raise ValueError(f"dft: {frames} frames of {taken} values, {hop} apart, for a transform of {n} do not lie in "
                         f"{x.shape}, or the window {None if window is None else window.shape} is not theirs")


def forward(k: Any, x: Array, window: Any, *, n: int, taken: int, hop: int, frames: int, m: int, parts: int,
            inverse: bool, scale: float) -> Array:
    check(x, window, n=n, taken=taken, hop=hop, frames=frames, m=m)
    y: Array = k.empty((x.shape[0], frames, m, parts))
    length = n // 2 if x.shape[2] == 1 and n % 2 == 0 else n
    k.dft(x, window, *tables(n, length, np.dtype(k.dtype)), taken, hop, inverse, scale, y)
    return y


def gradient(ctx: Context) -> tuple[Any, Any]:
    """The transform is linear, and its adjoint the one of the other sign, from m values to those taken;
    frames that overlap add up."""
    x, window = ctx.inputs
    a = ctx.attrs
    n, taken, hop, frames = (a[name] for name in ("n", "taken", "hop", "frames"))
    batch, values, parts = x.shape
    g = reshape(ctx.g, (batch * frames, a["m"], a["parts"]))
    back = DFT(g, None, n=n, taken=a["m"], hop=0, frames=1, m=taken, parts=parts, inverse=not a["inverse"],
               scale=a["scale"])
    back = reshape(back, (batch, frames, taken, parts))
    dwindow = None
    if window is not None and ctx.needs[1]:
        dwindow = sum_of(mul(framed(x, taken, hop, frames), back), (0, 1, 3))
    if not ctx.needs[0]:
        return None, dwindow
    reach = (frames - 1) * hop + taken
    if frames == 1:
        flat = reshape(back if window is None else mul(back, reshape(window, (taken, 1))), (batch, taken, parts))
    else:
        signals = permute(back, (0, 3, 1, 2))
        signals = OVERLAP_ADD(reshape(signals, (batch * parts, frames, taken)), window, hop=hop)
        flat = transpose(reshape(signals, (batch, parts, reach)), 1, 2)
    return (flat if reach == values else pad(flat, (0, 0, 0, values - reach))), dwindow


def framed(x: Any, taken: int, hop: int, frames: int) -> Any:
    """(batch, frames, taken, parts): the frames of x."""
    batch, _, parts = x.shape
    reach = (frames - 1) * hop + taken
    signals = transpose(getitem(x, (slice(None), slice(0, reach))), 1, 2)
    columns = unfold(reshape(signals, (batch * parts, 1, 1, reach)), (1, taken), stride=(1, max(hop, 1)))
    return permute(reshape(columns, (batch, parts, taken, frames)), (0, 3, 2, 1))


def check_frames(frames: Array, window: Array | None, *, hop: int) -> None:
    if len(frames.shape) != 3 or hop < 1 or frames.shape[1] < 1 \
            or window is not None and window.shape != frames.shape[2:]:
        raise ValueError(f"overlap_add: takes frames (N, frames, n) and a window (n,), got {frames.shape} and "
                         f"{None if window is None else window.shape}, hop {hop}")


def add_forward(k: Any, frames: Array, window: Any, *, hop: int) -> Array:
    check_frames(frames, window, hop=hop)
    y: Array = k.empty((frames.shape[0], frames.shape[2] + hop * (frames.shape[1] - 1)))
    k.overlap_add(frames, window, hop, y)
    return y


def add_gradient(ctx: Context) -> tuple[Any, Any]:
    frames, window = ctx.inputs
    batch, count, n = frames.shape
    g = reshape(framed(reshape(ctx.g, (*ctx.g.shape, 1)), n, ctx.attrs["hop"], count), (batch, count, n))
    dwindow = sum_of(mul(g, frames), (0, 1)) if window is not None and ctx.needs[1] else None
    return (g if window is None else mul(g, window)) if ctx.needs[0] else None, dwindow


OVERLAP_ADD = Op("overlap_add", "ro", add_forward, reference.overlap_add, add_gradient, check_frames,
                 kernels=("overlap_add",), per_sample=True, todo=NO_CUDA,
                 bytes=lambda frames, window, **_: 2 * frames.nbytes)
DFT = Op("dft", "ro", forward, reference.dft, gradient, check, kernels=("dft",), tolerance=256, per_sample=True,
         todo=NO_CUDA, flops=lambda x, window, *, n, frames, **_: int(5 * x.shape[0] * frames * n * math.log2(n + 1)),
         bytes=lambda x, window, *, m, frames, parts, **_: x.nbytes + x.shape[0] * frames * m * parts * x.itemsize)
