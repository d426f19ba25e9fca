"""The backends: what they are called, whether this machine has them, and which one calls go to.

A backend that is asked for by name is honoured or refused, never replaced in silence.
"""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from typing import TYPE_CHECKING, Any

from .. import _C
from .kernel_set import DTYPES, REGISTERED, Into, KernelSet, check_out

if TYPE_CHECKING:
    from .kernels_protocol import Backend


class NativeBackend:
    """Kernels of the extension, compiled for one instruction set."""

    by_default = True   # `pyops validate` runs it unasked

    def __init__(self, isa: str):
        self.name = isa
        module = getattr(_C, isa, None)
        self.missing = "" if module else f"this CPU or this build has no {isa}"
        self.sets = {real: KernelSet(real, {
            k: f for k, f in vars(getattr(module, real)).items() if not k.startswith("_")})
                     for real in DTYPES} if module else {}
        self.f32, self.f64 = self.sets.get("f32"), self.sets.get("f64")   # where OpBase finds them
        self._by_sample: NativeBackend | None = None

    def by_sample(self) -> NativeBackend:
        """The same kernels, whose algorithms are chosen as for one sample, whatever the batch: those
        that ask for it are convolutions of float32 (kernels/convolution/winograd_planar.h), products
        and linear layers (kernels/gemm/cpu.cpp) and attention of few queries (kernels/attention/cpu.cpp)."""
        if self._by_sample is None:
            made = copy(self)
            made.sets = {real: KernelSet(real, {**vars(kernels), **{name: chosen_by_sample(getattr(kernels, name))
                                                                    for name in CHOOSING}})
                         for real, kernels in self.sets.items()}
            made.f32, made.f64 = made.sets.get("f32"), made.sets.get("f64")
            made._by_sample = made
            self._by_sample = made
        return self._by_sample

    def __repr__(self):
        return f"<backend {self.name}{': ' + self.missing if self.missing else ''}>"

    def run(self, op, real, inputs, attrs, out=None):
        kernels = self.sets[real]
        try:
            if out is None:
                return op.forward(kernels, *inputs, **attrs)
            into = Into(kernels, out, op.name)
            result = op.forward(into, *inputs, **attrs)
        except MemoryError as why:
            text = str(why)
            raise MemoryError(
                f"{op.name}: "
                f"{'no memory for its workspace' if text in ('', 'std::bad_alloc') else text}") from None
        except IndexError as why:   # of a kernel, or of NumPy, which do not know whose index it is
            text = str(why)
            named = text.partition(" ")[0].endswith(":")
            raise IndexError(text if named else f"{op.name}: {text}") from None
        if into.unused:
            raise TypeError(f"{op.name}: takes no out=, its result is a view of the input")
        return result


# by the batch, or by the rows of a sample, among other things
CHOOSING = ("conv", "conv_transpose", "gemm", "linear", "attention", "attention_within")


def chosen_by_sample(kernel: Callable[..., None]) -> Callable[..., None]:
    def call(*args: Any) -> None:
        before = _C.choose_by_sample(True)
        try:
            kernel(*args)
        finally:
            _C.choose_by_sample(before)
    return call


class ReferenceBackend:
    """The NumPy definitions in kernels/*/reference.py. Slow, any float type: what every other
    backend is tested against."""

    name, missing, by_default = "reference", "", False
    sets: dict[str, KernelSet] = {}

    def __repr__(self):
        return "<backend reference>"

    def run(self, op, real, inputs, attrs, out=None):
        if op.check is not None:
            op.check(*inputs, **attrs)
        result = op.reference(*inputs, **attrs)
        if out is not None:
            first = result[0] if isinstance(result, tuple) else result
            check_out(op.name, out, first.shape, first.dtype)
            out[...] = first
            return (out, *result[1:]) if isinstance(result, tuple) else out
        return result


ISAS = _C.ISAS   # the rows of csrc/isas.inc, preferred first
_all: tuple[Backend, ...] = (*map(NativeBackend, ISAS), ReferenceBackend(), *REGISTERED)
BACKENDS: dict[str, Backend] = {b.name: b for b in _all}


def available() -> list[str]:
    """Names of the backends that run on this machine, best first."""
    return [b.name for b in BACKENDS.values() if not b.missing]


def get_backend(name: str | None = None) -> Backend:
    """The backend called `name`, or the active one. ValueError says why a backend cannot run
    here."""
    if name is None:
        return active.get()
    if name not in BACKENDS:
        raise ValueError(f"backend {name!r} is not one of {', '.join(BACKENDS)}")
    if BACKENDS[name].missing:
        raise ValueError(f"backend {name!r}: {BACKENDS[name].missing}")
    return BACKENDS[name]


def _default() -> Backend:
    """The best backend this machine has, at most PYOPS_MAX_ISA; PYOPS_BACKEND names one
    outright."""
    if os.environ.get("PYOPS_BACKEND"):
        return get_backend(os.environ["PYOPS_BACKEND"])
    limit = os.environ.get("PYOPS_MAX_ISA")
    if limit and limit not in ISAS:
        raise ValueError(f"PYOPS_MAX_ISA={limit!r} is not one of {', '.join(ISAS)}")
    allowed = ISAS[ISAS.index(limit):] if limit else ISAS
    return next(BACKENDS[name] for name in allowed if not BACKENDS[name].missing)


active: ContextVar[Backend] = ContextVar("pyops_backend", default=_default())   # noqa: B039  (one object, on purpose)
_C.route_calls(active, NativeBackend)


by_sample: ContextVar[bool] = ContextVar("pyops_by_sample", default=False)


@contextmanager
def batch_invariant() -> Iterator[None]:
    """Within the block a sample gets the same bits whatever the batch it is in: convolutions and linear
    layers choose their algorithm as for one sample, and attention gives a query the bits that it has
    among others. (Threads change no bit anywhere.) What is compiled within it is batch invariant, too.
    Rows that join samples, such as the gradients of weights, are none."""
    token, backend = by_sample.set(True), active.get()
    running = active.set(backend.by_sample() if isinstance(backend, NativeBackend) else backend)
    try:
        yield
    finally:
        active.reset(running)
        by_sample.reset(token)


class use_backend:   # called like a function
    """Ops run on `backend` from now on, in this thread: a name, or an object with `run` (a
    test's guarded backend).

    As a context, `with use_backend("scalar"):`, until the end of the block. ValueError for a
    backend that cannot run here.
    """

    def __init__(self, backend: Any) -> None:
        self.backend = get_backend(backend) if isinstance(backend, str) else backend
        if by_sample.get() and isinstance(self.backend, NativeBackend):
            self.backend = self.backend.by_sample()
        self._token: Any = active.set(self.backend)

    def __enter__(self) -> None:
        if self._token is None:
            raise RuntimeError("use_backend: this block has ended; call use_backend again")

    def __exit__(self, *_: object) -> None:
        token, self._token = self._token, None
        active.reset(token)

    def __repr__(self) -> str:
        return f"use_backend({getattr(self.backend, 'name', type(self.backend).__name__)!r})"
