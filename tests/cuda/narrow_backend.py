"""The emulator in a 16-bit type, for cases whose arrays are float32."""
import numpy as np

from pyops import use_backend, validate
from pyops.cuda.backend import EMULATED

ALLOWED = {"f16": 2**-9, "bf16": 2**-6}   # a few roundings of the type, of the largest value


class Narrow:
    """A backend that rounds its inputs to `real` and widens the results."""

    name = "cuda-emulated"

    def __init__(self, real):
        self.kernels = EMULATED.kernels(real)

    def run(self, op, real, inputs, attrs):
        rounded = [a.astype(self.kernels.dtype) if a is not None and a.dtype.kind == "f" else a
                   for a in inputs]
        results = op.forward(validate.GuardedKernels(self.kernels, []), *rounded, **attrs)
        return tuple(r.astype(np.float32) for r in validate.flat(results))


def check_narrow(case, real):
    args, kwargs = case.arguments(np.dtype(np.float32))
    with use_backend(Narrow(real)):
        got = validate.flat(validate.call(case, args, kwargs))
    for g, w in zip(got, validate.expected(case, np.float32), strict=True):
        allowed = ALLOWED[real] * max(1, np.abs(w).max(initial=0))
        assert np.all(np.abs(g - w) <= allowed), f"off by {np.abs(g - w).max()}, {allowed} allowed"
