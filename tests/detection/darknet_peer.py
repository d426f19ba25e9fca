"""The original Darknet through cffi, where Debian's package is: installed, or unpacked into the
folder that DARKNET_ROOT names. It is linked with OpenCV, which nothing here calls: empty libraries
of its names stand in. It runs in a process of its own, because it may die of what it is given.
"""
import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(os.environ.get("DARKNET_ROOT", "/"))
LIBRARY = ROOT / "usr/lib/darknet/libdarknet.so"
HEADER = ROOT / "usr/lib/darknet/include/darknet.h"
OPENCV = ("core", "imgcodecs", "videoio", "highgui")


def darknet(folder, cfg, weights, images, truth=None, seen=0):
    """What Darknet computes of images (n, C, H, W), one at a time: a dict of arrays, "output 3" (n,
    outputs) of layer 3. With truth (n, ...) also "cost" (n,) and "delta 3" of a training step each,
    minus the gradient of what Darknet minimises. It also writes its weights as saved.weights. Skips
    where there is no Darknet."""
    if not LIBRARY.is_file() or shutil.which("gcc") is None:
        pytest.skip("the original Darknet is not here")
    pytest.importorskip("cffi")
    given = {} if truth is None else {"truth": np.asarray(truth, np.float32)}
    np.savez(folder / "given.npz", images=np.asarray(images, np.float32), seen=seen, **given)
    done = subprocess.run([sys.executable, __file__, folder, cfg, weights], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(folder / "found.npz") as found:
        return dict(found)


def library(folder):
    """(ffi, lib)"""
    import cffi
    for name in OPENCV:
        stub = folder / f"libopencv_{name}.so.406"
        subprocess.run(["gcc", "-shared", "-o", stub, f"-Wl,-soname,{stub.name}", "-x", "c", os.devnull],
                       check=True)
        ctypes.CDLL(str(stub), mode=os.RTLD_LAZY | os.RTLD_GLOBAL)
    for name in ("stdlib", "stdio", "string", "pthread"):
        (folder / f"{name}.h").touch()
    header = subprocess.run(["gcc", "-E", "-P", "-nostdinc", f"-I{folder}", HEADER], check=True,
                            capture_output=True, text=True).stdout
    header = re.sub(r"void \(\*(\w+)\)\s*\([^;]*\);", r"void *\1;", header)
    ffi = cffi.FFI()
    ffi.cdef("typedef unsigned long pthread_t; typedef long clock_t; typedef struct _F FILE;\n" + header
             + "void forward_network(network *net); void backward_network(network *net);", override=True)
    return ffi, ffi.dlopen(str(LIBRARY), 1)


def run(folder, cfg, weights):
    ffi, lib = library(folder)
    net = lib.load_network(cfg.encode(), weights.encode(), 0)
    lib.set_batch_network(net, 1)
    lib.save_weights(net, str(folder / "saved.weights").encode())

    def array(pointer, count):
        return np.frombuffer(ffi.buffer(pointer, 4 * count), np.float32)
    given = np.load(folder / "given.npz")
    net.seen[0] = int(given["seen"])
    found = {}
    for n, image in enumerate(given["images"]):
        if "truth" in given:
            net.train = 1
            array(net.input, image.size)[...] = image.ravel()
            array(net.truth, given["truth"][n].size)[...] = given["truth"][n].ravel()
            lib.forward_network(net)
            lib.backward_network(net)
            found.setdefault("cost", []).append(net.cost[0])
        else:
            image = np.ascontiguousarray(image)
            lib.network_predict(net, ffi.cast("float*", image.ctypes.data))
        for i in range(net.n):
            layer = net.layers[i]
            found.setdefault(f"output {i}", []).append(array(layer.output, layer.outputs).copy())
            if "truth" in given and layer.delta != ffi.NULL:
                found.setdefault(f"delta {i}", []).append(array(layer.delta, layer.outputs).copy())
    np.savez(folder / "found.npz", **{k: np.array(v) for k, v in found.items()})
    os._exit(0)   # without freeing, which some of its networks do twice


if __name__ == "__main__":
    run(Path(sys.argv[1]), *sys.argv[2:])
