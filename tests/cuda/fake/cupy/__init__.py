"""A stand-in for CuPy on a machine with no GPU: as much of it as pyops uses, its arrays in the host's
memory, its kernels run by the emulator. In its folder lies one for torch. First on PYTHONPATH they
let everything that is done with a GPU be tried without one.

As strict as CuPy where that is what goes wrong: an array is no NumPy array and does not become one
unasked, host and device arrays do not meet in an operation, machine code is loaded from whole ELF
files, dynamic shared memory is limited for each kernel of a module, and after a fault of a kernel
nothing runs any more. PYOPS_FAKE names, with commas between, what else may be met on a device:
no-bfloat16 (DLPack refuses it), die-in=NAME and hang-in=NAME (a kernel that ends or stops the
process), sticky-in=NAME (one that faults).
"""
from __future__ import annotations

import os
import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np

__version__ = "14.2.0"   # the one whose behaviour is stood in for
MODES = dict(m.partition("=")[::2] for m in os.environ.get("PYOPS_FAKE", "").split(",") if m)
MULTIPROCESSORS, SHARED_OPTIN, SHARED_STATIC = 132, 232448, 48 << 10
ALIGNMENT = 256   # bytes, of an allocation


class CUDARuntimeError(RuntimeError):
    pass


class CUDADriverError(RuntimeError):
    pass


class OutOfMemoryError(MemoryError):
    pass


class CompileException(Exception):
    pass


_fault: list[str] = []   # of a kernel: no call is answered after it


def _alive():
    if _fault:
        raise CUDARuntimeError(f"cudaErrorIllegalAddress: {_fault[0]}")


def _allocated(shape, dtype):
    _alive()
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = np.full(count + ALIGNMENT, 0x7b, np.uint8)   # whatever was there before
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first:first + count].view(dtype).reshape(shape)


def _unwrapped(value, operation="an operation"):
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError(f"Unsupported type {type(value)} in {operation}: a host array among device arrays")
    if isinstance(value, (tuple, list)):
        return type(value)(_unwrapped(v, operation) for v in value)
    return value


def _wrapped(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(np.asarray(value))
    return type(value)(map(_wrapped, value)) if isinstance(value, (tuple, list)) else value


class ndarray:
    def __init__(self, host):
        self._host = host

    @property
    def __cuda_array_interface__(self):
        return {"version": 3, **{k: self._host.__array_interface__[k]
                                 for k in ("data", "shape", "typestr", "strides")}}

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, function, method, *values, **how):
        _alive()
        return _wrapped(getattr(function, method)(
            *(_unwrapped(v, function.__name__) for v in values),
            **{k: _unwrapped(v, function.__name__) for k, v in how.items()}))

    def __array_function__(self, function, types, values, how):
        _alive()
        return _wrapped(function(*_unwrapped(tuple(values)), **{k: _unwrapped(v) for k, v in how.items()}))

    def __getattr__(self, name):
        found = getattr(self._host, name)
        if callable(found):
            return lambda *values, **how: _wrapped(
                found(*map(_unwrapped, values), **{k: _unwrapped(v) for k, v in how.items()}))
        return _wrapped(found) if isinstance(found, np.ndarray) else found

    def __getitem__(self, at):
        return _wrapped(self._host[_unwrapped(at)])

    def __setitem__(self, at, value):
        self._host[_unwrapped(at)] = _unwrapped(value, "an assignment")

    def __len__(self):
        return len(self._host)

    def __bool__(self):
        return bool(self._host)

    def __float__(self):
        return float(self._host)

    def __int__(self):
        return int(self._host)

    def __index__(self):
        return self._host.__index__()

    @property
    def device(self):
        return Device(0)

    @property
    def data(self):
        return SimpleNamespace(ptr=self._host.ctypes.data)

    def get(self):
        _alive()
        return self._host.copy()

    def __dlpack__(self, **_):
        return self._host

    def __dlpack_device__(self):
        return 2, 0   # CUDA


def _operator(name):
    def call(self, *others):
        _alive()
        others = [_unwrapped(o, name) for o in others]
        return _wrapped(getattr(self._host, name)(*others))
    return call


for _name in ("add radd sub rsub mul rmul truediv rtruediv floordiv mod pow matmul lt le gt ge eq ne and or "
              "xor invert neg abs").split():
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))


def empty(shape, dtype=np.float64):
    return ndarray(_allocated(shape, dtype))


def full(shape, value, dtype=None):
    array = empty(shape, np.asarray(value).dtype if dtype is None else dtype)
    array._host[...] = value
    return array


def zeros(shape, dtype=np.float64):
    return full(shape, 0, dtype)


def asarray(value, dtype=None):
    if isinstance(value, ndarray):
        return value if dtype in (None, value.dtype) else ndarray(value._host.astype(dtype))
    value = np.asarray(value, dtype)
    array = empty(value.shape, value.dtype)
    array._host[...] = value
    return array


def asnumpy(value):
    return value.get() if isinstance(value, ndarray) else np.asarray(value)


def ascontiguousarray(value):
    if value.flags.c_contiguous:
        return value
    return asarray(value._host)


def from_dlpack(value):
    host = value.__dlpack__()
    if host.dtype.name == "bfloat16" and "no-bfloat16" in MODES:
        raise BufferError("Unsupported dtype: bfloat16")
    return ndarray(host)


def get_default_memory_pool():
    return SimpleNamespace(free_all_blocks=lambda: None)


# ---- modules and kernels

class RawModule:
    def __init__(self, *, code=None, path=None, options=()):
        self.code, self.path, self.options = code, path, options
        self._limits: dict[str, int] = {}   # of a function, whichever object it is called by

    def get_function(self, name):
        _alive()
        source, static = self._source()
        from pyops.cuda.kernel_names import kernels_of
        if name not in kernels_of(source.text):
            raise CUDADriverError(f"CUDA_ERROR_NOT_FOUND: {name}")
        return RawKernel(self, source, name, static.get(name, 0))

    def _source(self):
        """What was compiled, and each kernel's static shared memory."""
        from pyops.cuda import nvrtc
        from pyops.cuda.source import cuda_files, named_source
        if self.path is None:
            path = next((p for p in cuda_files() if p.read_text() == self.code), None)
            if path is None:
                raise CompileException("not a file of pyops")
            defines = dict(o[2:].partition("=")[::2] for o in self.options if o.startswith("-D"))
            real = next(d[5:] for d in defines if d.startswith("REAL_"))
            chosen = [f"{k}={v}" for k, v in sorted(defines.items())
                      if not k.startswith("REAL_") and k != "SOURCE_DIGEST"]
            return named_source(" ".join([f"{path.parent.name}/{path.name}", real, *chosen])), {}
        with open(self.path, "rb") as file:
            if file.read(4) != b"\x7fELF":
                raise CUDADriverError("CUDA_ERROR_INVALID_IMAGE: device kernel image is invalid")
        with open(f"{os.fspath(self.path)[:-len('.cubin')]}.log", "rb") as file:
            log = file.read().decode(errors="replace").split("\n", 1)[1]
        return (named_source(log.split("\n", 1)[0]),
                {kernel: r.shared for kernel, r in nvrtc.resources(log).items()})


class RawKernel:
    def __init__(self, module, source, name, static):
        self._module, self._source, self.name, self.shared_size_bytes = module, source, name, static

    @property
    def max_dynamic_shared_size_bytes(self):
        return self._module._limits.get(self.name, SHARED_STATIC - self.shared_size_bytes)

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size):
        if not 0 <= size <= SHARED_OPTIN - self.shared_size_bytes:
            raise CUDADriverError(f"CUDA_ERROR_INVALID_VALUE: {size} bytes of dynamic shared memory")
        self._module._limits[self.name] = size

    def __call__(self, grid, block, args, *, shared_mem=0, stream=None):
        _alive()
        if MODES.get("die-in") == self.name:
            os._exit(139)
        if MODES.get("hang-in") == self.name:
            time.sleep(3600)
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise CUDADriverError(f"CUDA_ERROR_INVALID_VALUE: {self.name} asks for {shared_mem} bytes of "
                                  f"dynamic shared memory, {self.max_dynamic_shared_size_bytes} are allowed")
        from pyops.cuda.emulated import KernelFault, run
        try:
            if MODES.get("sticky-in") == self.name:
                raise KernelFault("as asked for")
            run(self._source, self.name, grid, block, [_value(self.name, a) for a in args], shared_mem)
        except KernelFault as why:
            _fault.append(str(why))   # as on a device, it is seen by the next call that waits


def _value(kernel, passed):
    """What the emulator takes for an argument."""
    if isinstance(passed, ndarray):
        if not passed.flags.c_contiguous:
            raise TypeError(f"{kernel}: an array that is not contiguous")
        return passed._host
    if isinstance(passed, np.ndarray):
        if passed.size != 1:
            raise TypeError(f"{kernel}: a host array of {passed.size} values by value")
        return passed.reshape(-1)[0]
    if passed is None or isinstance(passed, np.generic):
        return passed
    raise TypeError(f"{kernel}: Unsupported type {type(passed)}")


# ---- the runtime

class Device:
    attributes = {"MultiProcessorCount": MULTIPROCESSORS, "ComputeCapabilityMajor": 9,
                  "ComputeCapabilityMinor": 0, "MaxSharedMemoryPerBlockOptin": SHARED_OPTIN}
    compute_capability = "90"

    def __init__(self, id=0):
        self.id = id

    def synchronize(self):
        _alive()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


class Event:
    def record(self, stream=None):
        _alive()
        self.at = time.perf_counter()

    def synchronize(self):
        _alive()


class Stream:
    ptr = 0

    def synchronize(self):
        _alive()


@contextmanager
def _external(pointer, device=0):
    yield Stream()


runtime = SimpleNamespace(
    CUDARuntimeError=CUDARuntimeError, driverGetVersion=lambda: 13000, runtimeGetVersion=lambda: 13000,
    getDeviceCount=lambda: 1, getDevice=lambda: 0, memGetInfo=lambda: (130 << 30, 139 << 30),
    deviceSynchronize=_alive,
    getDeviceProperties=lambda i: {"major": 9, "minor": 0, "name": b"Stand-in H200 (the emulator)",
                                   "multiProcessorCount": MULTIPROCESSORS, "totalGlobalMem": 139 << 30})
cuda = SimpleNamespace(
    runtime=runtime, driver=SimpleNamespace(CUDADriverError=CUDADriverError),
    memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    compiler=SimpleNamespace(CompileException=CompileException), Device=Device, Event=Event, Stream=Stream,
    ExternalStream=_external, get_current_stream=Stream, is_available=lambda: True,
    get_elapsed_time=lambda begin, end: 1e3 * (end.at - begin.at))


def _maps():
    """The driver makes tensor maps: the emulator's take their place."""
    from pyops.cuda import device, tensor_map
    device.tensor_map, device.im2col_map = tensor_map.emulated_map, tensor_map.emulated_im2col_map


_maps()
