"""A stand-in for torch beside that for CuPy: as much of it as python -m pyops.bench.gpu uses, its
"CUDA tensors" in the host's memory, its functions the NumPy definitions of pyops."""
from __future__ import annotations

import sys
import time
from types import ModuleType, SimpleNamespace

import numpy as np

__version__ = "2.11.0+stand-in"


class dtype:
    def __init__(self, name, host):
        self.name, self.host = name, np.dtype(host)

    itemsize = property(lambda self: self.host.itemsize)

    def __str__(self):
        return f"torch.{self.name}"


def _bfloat16():
    import ml_dtypes
    return ml_dtypes.bfloat16


float32, float64, float16 = (dtype(n, n) for n in ("float32", "float64", "float16"))
int16, int64, bfloat16 = dtype("int16", np.int16), dtype("int64", np.int64), dtype("bfloat16", _bfloat16())
_DTYPES = {d.host: d for d in (float32, float64, float16, int16, int64, bfloat16)}
channels_last = "channels_last"


class Tensor:
    is_cuda, device, requires_grad = True, SimpleNamespace(type="cuda", index=0), False

    def __init__(self, host, made=None):
        self.host, self._made = host, made   # made: (function, arguments) that it is the result of

    shape = property(lambda self: self.host.shape)
    dtype = property(lambda self: _DTYPES[self.host.dtype])

    @property
    def __cuda_array_interface__(self):
        if self.requires_grad:
            raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad.")
        if self.dtype is bfloat16:
            raise AttributeError("no typestr for bfloat16")
        return {"version": 3, "data": self.host.__array_interface__["data"]}

    def __dlpack__(self, **_):
        return self.host

    def to(self, where, memory_format=None):
        if not isinstance(where, dtype):
            return self
        host = self.host.astype(where.host)
        if memory_format == channels_last:
            host = np.ascontiguousarray(host.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        return Tensor(host)

    def view(self, other):
        return Tensor(self.host.view(other.host))

    def detach(self):
        return Tensor(self.host)

    def requires_grad_(self):
        self.requires_grad = True
        return self

    def clone(self):
        return Tensor(self.host.copy())

    def copy_(self, other):
        self.host[...] = other.host
        return self

    def float(self):
        return self.to(float32)

    def abs(self):
        return Tensor(np.abs(self.host))

    def max(self):
        return Tensor(self.host.max())

    def sum(self, axis):
        return Tensor(self.host.astype(np.float64).sum(axis).astype(self.host.dtype))

    def clamp(self, min):
        return Tensor(np.maximum(self.host, min))

    def numel(self):
        return self.host.size

    def __float__(self):
        return float(self.host)

    def __sub__(self, other):
        return Tensor(self.host - other.host)

    def __truediv__(self, other):
        return Tensor(self.host / other.host)

    def __mul__(self, other):
        return Tensor(self.host * (other.host if isinstance(other, Tensor) else self.host.dtype.type(other)))

    def __matmul__(self, other):
        return Tensor((self.host.astype(np.float32) @ other.host.astype(np.float32)).astype(self.host.dtype))


# ---- what makes tensors

class Generator:
    def __init__(self, device):
        pass

    def manual_seed(self, seed):
        self.random = np.random.default_rng(seed)
        return self


def randn(shape, device, dtype=float32, generator=None):
    random = generator.random if generator else np.random.default_rng(0)
    return Tensor(random.standard_normal(shape).astype(dtype.host))


def zeros(shape, device, dtype=float32):
    return Tensor(np.zeros(shape, dtype.host))


def ones(shape, device, dtype=float32):
    return Tensor(np.ones(shape, dtype.host))


empty = zeros


def empty_like(tensor):
    return Tensor(np.empty_like(tensor.host))


def from_numpy(array):
    return Tensor(array)


def from_dlpack(array):
    return Tensor(array.__dlpack__())


# ---- functions: pyops' definitions on wider values

def _wide(value):
    if isinstance(value, Tensor):
        return value.host.astype(np.float64) if value.host.dtype.kind != "i" else value.host
    return [_wide(v) for v in value] if isinstance(value, list) else value


def _reference(name, values, how):
    from pyops import functional, use_backend
    with use_backend("reference"):
        return getattr(functional, name)(*map(_wide, values), **how)


class functional(ModuleType):
    def __getattr__(self, name):
        def call(*values, **how):
            real = values[0].host.dtype
            return Tensor(np.asarray(_reference(name, values, how)).astype(real), (name, values, how))
        return call


def _gradients(result, inputs, dy, **_):
    from pyops import Tensor as Recorded, functional as F, use_backend
    name, values, how = result._made
    leaves = {id(t): Recorded(_wide(t), requires_grad=True) for t in inputs}
    with use_backend("reference"):
        y = getattr(F, name)(*(leaves.get(id(v), _wide(v)) for v in values), **how)
        y.backward(_wide(dy))
    return tuple(Tensor(leaves[id(t)].grad.astype(t.host.dtype)) for t in inputs)


def _weight_gradient(x, size, dy, stride, padding):
    from pyops import Tensor as Recorded, functional as F, use_backend
    weight = Recorded(np.zeros(size), requires_grad=True)
    with use_backend("reference"):
        F.conv2d(_wide(x), weight, stride=stride, padding=padding).backward(_wide(dy))
    return Tensor(weight.grad.astype(x.host.dtype))


def _recurrent(kind):
    def call(x, state, weights, *_):
        return tuple(Tensor(np.asarray(r).astype(x.host.dtype))
                     for r in _reference(kind, (x, None, weights), {}))
    return call


def _fused_adamw_(params, grads, means, squares, largest, steps, *, lr, beta1, beta2, eps, weight_decay,
                  amsgrad, maximize):
    p, g, m, v = (some[0].host for some in (params, grads, means, squares))
    p *= 1 - lr * weight_decay
    m += (1 - beta1) * (g - m)
    v *= beta2
    v += (1 - beta2) * g * g
    p -= lr / (1 - beta1) * m / (np.sqrt(v / (1 - beta2)) + eps)


nn = ModuleType("torch.nn")
nn.functional = functional("torch.nn.functional")
nn.grad = ModuleType("torch.nn.grad")
nn.grad.conv2d_weight = _weight_gradient
autograd = SimpleNamespace(grad=_gradients)
_VF = SimpleNamespace(lstm=_recurrent("lstm"), gru=_recurrent("gru"))
for _module in (nn, nn.functional, nn.grad):
    sys.modules[_module.__name__] = _module
backends = SimpleNamespace(cuda=SimpleNamespace(matmul=SimpleNamespace(allow_tf32=False)),
                           cudnn=SimpleNamespace(allow_tf32=False, benchmark=False))


class _Event:
    def record(self):
        self.at = time.perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, other):
        return 1e3 * (other.at - self.at)


cuda = SimpleNamespace(Event=lambda **_: _Event(), _sleep=lambda _: None, is_available=lambda: True,
                       current_stream=lambda index=0: SimpleNamespace(cuda_stream=0))
