"""A backend for tests: convolutions on the emulator with every array's channels last, as device
arrays of that layout reach the kernels."""
import numpy as np

from pyops.core.backends import BACKENDS
from pyops.cuda import channels_last
from pyops.kernels.convolution import channels_last as kernels


class ChannelsLast:
    name, missing, sets = "channels-last", "", {}

    def run(self, op, real, inputs, attrs, out=None):
        emulated = BACKENDS["cuda-emulated"].kernels(real)
        kept = channels_last.CONVOLUTIONS.get(op.name, ())
        arrays = [kernels.channels_last(emulated.device, a) if i in kept
                  and a.ndim == len(attrs["stride"]) + 2 else a for i, a in enumerate(inputs)]
        return channels_last.forward(op, emulated, arrays, attrs, np.ascontiguousarray)
