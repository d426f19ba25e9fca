"""The first stage: whether anything runs at all. One launch of each kind of argument, memory beyond
what a kernel gets unasked, half types in and out of torch, and where the machine code came from."""
from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np


def cases(small: bool) -> list[tuple[str, Callable[[], dict]]]:
    return [("device", device), ("a launch", a_launch), ("null, sizes and a table", arguments),
            ("shared memory of two sizes", shared_memory), ("tensor map", a_map),
            ("bfloat16 of torch", bfloat16), ("subnormals", subnormals), ("host time", host_time),
            ("machine code", machine_code)]


def device() -> dict:
    import cupy

    from ...cuda import nvrtc
    p = cupy.cuda.runtime.getDeviceProperties(0)
    headers = {} if nvrtc.missing() else {"nvrtc": nvrtc.version(), "headers": list(nvrtc.header_options())}
    return {"device": p["name"].decode(), "capability": f"{p['major']}.{p['minor']}",
            "multiprocessors": p["multiProcessorCount"], "driver": cupy.cuda.runtime.driverGetVersion(),
            "nvrtc missing": nvrtc.missing(), **headers}


def on_device(array, real="f32"):
    import cupy

    from ...cuda.emulated import dtype_of
    return cupy.asarray(np.asarray(array).astype(dtype_of(real)))


def agree(got, want, allowed=1e-5) -> dict:
    """AssertionError unless two arrays agree to `allowed` of the largest value."""
    import cupy
    got = cupy.asnumpy(got).astype(np.float64)
    error = float(np.abs(got - want).max() / max(1.0, np.abs(want).max()))
    assert error <= allowed, f"off by {error:.1e} of the largest value, {allowed:.0e} allowed"
    return {"error": error}


def a_launch() -> dict:
    from ... import functional as F
    x = np.linspace(-3, 3, 1000).reshape(10, 100)
    return agree(F.relu(on_device(x)), np.maximum(x, 0))


def arguments() -> dict:
    """A null pointer for the bias left out, a Dims, a table of the host's that goes to the device."""
    from ... import functional as F
    from ...core.backends import use_backend
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 9, 8)), rng.standard_normal((4, 3, 3, 3))
    with use_backend("reference"):
        wants = F.conv2d(x, w, padding=1), F.sum(x, (1, 3))
    found = agree(F.conv2d(on_device(x), on_device(w), padding=1), wants[0])
    return {"error": max(found["error"], agree(F.sum(on_device(x), (1, 3)), wants[1])["error"])}


def shared_memory() -> dict:
    """Recurrent layers of 128, 64 and again 128 units: the same kernel with other amounts of dynamic
    shared memory, of which the first is more than a kernel has unasked."""
    from ... import functional as F
    from ...core.backends import use_backend
    rng, worst = np.random.default_rng(0), 0.0
    for hidden in (128, 64, 128):
        values = [0.1 * rng.standard_normal(s) for s in ((3, 2, 16), (4 * hidden, 16), (4 * hidden, hidden))]
        with use_backend("reference"):
            want, *_ = F.lstm(values[0], None, values[1:], bias=False)
        x, *weights = map(on_device, values)
        got, *_ = F.lstm(x, None, weights, bias=False)
        worst = max(worst, agree(got, want)["error"])
    return {"error": worst}


def a_map() -> dict:
    """Whether the driver takes a tensor map, tiled and im2col; nothing is copied by them."""
    from ...core.backends import BACKENDS
    target = BACKENDS["cuda"].kernels("bf16").device
    if tuple(target.capability) != (9, 0):
        return {"skipped": "capability 9.0 alone has them"}
    target.tensor_map(target.zeros((2, 128, 64)), (128, 64))
    target.im2col_map(target.zeros((2, 16, 16, 64)), (-1, -1), (-1, -1), (2, 2), 128, 64)
    return {"maps": 2}


def bfloat16() -> dict:
    import torch

    from ... import functional as F
    x = torch.randn((64, 40), device="cuda", dtype=torch.float32).to(torch.bfloat16)
    y = F.relu(x)
    assert str(y.dtype) == "torch.bfloat16", f"the result is {y.dtype}"
    want = torch.nn.functional.relu(x)
    error = float((y.float() - want.float()).abs().max())
    assert error == 0, f"relu of bfloat16 is off by {error}"
    return {"error": error, "DLPack takes it itself": takes_bfloat16(x)}


def takes_bfloat16(tensor) -> bool:
    import cupy
    try:
        return cupy.from_dlpack(tensor).dtype.name == "bfloat16"
    except Exception:   # which one is the library's affair; that it does is all that is asked
        return False


def subnormals() -> dict:
    """What becomes of 1e-40 in float32: kept or flushed to zero (docs/cuda.md)."""
    import cupy

    from ... import functional as F
    x = on_device(np.full(4, 1e-40))
    return {name: "kept" if float(cupy.asnumpy(y)[0]) else "flushed"
            for name, y in (("relu", F.relu(x)), ("mul", F.mul(x, 1.0)))}


def host_time() -> dict:
    """Microseconds of Python a call, the device's work being queued."""
    import cupy

    from ... import functional as F
    x, image, weight = (on_device(np.ones(s)) for s in ((8,), (1, 8, 6, 6), (8, 8, 3, 3)))
    found = {}
    for name, call in (("relu", lambda: F.relu(x)), ("conv2d", lambda: F.conv2d(image, weight))):
        call()
        cupy.cuda.runtime.deviceSynchronize()
        begun = time.perf_counter()
        for _ in range(20):
            call()
        found[f"{name} us"] = round(1e6 * (time.perf_counter() - begun) / 20, 1)
        cupy.cuda.runtime.deviceSynchronize()
    return found


def machine_code() -> dict:
    """How many of the modules so far came from the cache folder, and how many lie there."""
    from ...cuda.device import module
    from ...cuda.emulator import cache_folder
    return {"modules": module.cache_info().currsize,
            "cubins": len(list(cache_folder().glob("*.cubin")))}
