"""Resizing and padding of images in blocked layout: kernels against float64, and
programs that use them."""
import numpy as np
import pytest
from maps import Image, MapOut, check

import pyops
import pyops.functional as F
from pyops import nn
from pyops.core.backends import use_backend
from pyops.ops.interpolate import plan, tables
from pyops.ops.pad import MODES

# (name of what it catches, n, channels, size, result, mode, align_corners, antialias)
RESAMPLE = [
    ("nearest x2", 2, 20, (5, 9), (10, 18), "nearest", None, False),
    ("nearest, shrinking", 1, 16, (13, 11), (5, 4), "nearest-exact", None, False),
    ("bilinear x2", 1, 35, (7, 6), (14, 12), "bilinear", False, False),
    ("bilinear, corners meet", 2, 16, (7, 6), (17, 5), "bilinear", True, False),
    ("bilinear of one pixel", 1, 16, (1, 1), (3, 4), "bilinear", False, False),
    ("height only", 1, 16, (4, 9), (8, 9), "bilinear", False, False),
    ("width only", 3, 16, (4, 9), (4, 23), "bilinear", False, False),
    ("bicubic", 1, 16, (6, 7), (13, 10), "bicubic", False, False),
    ("windows of many taps, some of which lack taps", 1, 20, (30, 29), (7, 8), "bilinear", False, True),
    ("area", 1, 16, (12, 13), (5, 4), "area", None, False),
]
# (name, n, channels, size, (left, right, top, bottom), mode, value)
PAD = [
    ("constant", 2, 20, (5, 6), (1, 2, 3, 0), "constant", -1.5),
    ("crop", 1, 16, (9, 8), (-2, -1, -3, -1), "constant", 0.0),
    ("crop here, pad there", 1, 35, (9, 8), (-4, 7, 2, -3), "constant", 2.0),
    ("nothing of the image is left", 1, 16, (3, 4), (-4, 9, 0, 0), "constant", 1.0),
    ("reflect", 2, 16, (5, 6), (3, 2, 4, 1), "reflect", 0.0),
    ("replicate", 1, 16, (5, 6), (7, 2, 1, 9), "replicate", 0.0),
    ("circular", 1, 16, (5, 6), (6, 3, 2, 5), "circular", 0.0),
]


def images(n, c, size):
    return np.random.default_rng(n * 100 + c).standard_normal((n, c, *size), np.float32)


@pytest.mark.parametrize("case", RESAMPLE, ids=[c[0] for c in RESAMPLE])
def test_resample(backend, case):
    _, n, c, size, result, mode, corners, antialias = case
    x = images(n, c, size)
    with use_backend("reference"):
        want = F.interpolate(x.astype(np.float64), result, mode=mode, align_corners=corners,
                             antialias=antialias)
    taps = [tables(spec, False, np.dtype(np.float32))
            for spec in plan(x.shape, result, None, mode, corners, False, antialias)]
    check(backend, "resample_blocked", Image(x), *taps[0], *taps[1], MapOut(want.shape), want=want,
          tolerance=64)   # positions up to 30 are rounded to float32, which moves weights by as many eps


@pytest.mark.parametrize("case", PAD, ids=[c[0] for c in PAD])
def test_pad(backend, case):
    _, n, c, size, pad, mode, value = case
    x = images(n, c, size)
    want = F.pad(x, pad, mode, value or None)
    check(backend, "pad_blocked", Image(x), (pad[2], pad[0]), MODES[mode], value, MapOut(want.shape),
          want=want, tolerance=0)


class Resizer(nn.Module):
    """A feature pyramid's top and its padded neighbour."""

    def __init__(self):
        self.first, self.second = nn.Conv2d(5, 20, 3, padding=1), nn.Conv2d(20, 20, 3, stride=2)

    def forward(self, x):
        x = F.relu(self.first(x))
        y = self.second(F.pad(x, (0, 1, 2, 1), value=0.5))
        z = F.interpolate(y, scale_factor=2, mode="bilinear")
        return F.pad(x, (-1, -1, 0, 0)) * 0.5 + z[:, :, :x.shape[2], :x.shape[3] - 2]


def test_programs_resize_and_pad_in_blocked_layout():
    x, model = images(2, 5, (12, 14)), Resizer().eval()
    with pyops.no_grad():
        want = np.asarray(model(x))
    program = pyops.compile(model, x)
    assert {"resample_blocked", "pad_blocked"} <= {step.kernel for step in program.steps}
    assert np.abs(program(x) - want).max() <= 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("read", ["by the caller", "by rows of any layout", "by a layer", "by a layer and the caller"])
def test_a_larger_image_is_made_in_the_layout_that_it_is_read_in(read):
    x, layer = images(2, 20, (7, 9)), nn.Conv2d(20, 20, 3, padding=1)

    def model(v):
        large = F.interpolate(layer(v), scale_factor=3, mode="bilinear")
        if read == "by the caller":
            return large
        if read == "by rows of any layout":
            return F.softmax(F.sigmoid(large), dim=1)
        return layer(large) if read == "by a layer" else (layer(large), large)

    program = pyops.compile(model, x)
    blocked = ["resample_blocked"] if "layer" in read else ["resample"]
    assert [s.kernel for s in program.steps if s.kernel.startswith("resample")] == blocked
    with pyops.no_grad():
        want = model(pyops.Tensor(x))
    for a, b in zip(*([v] if not isinstance(v, (tuple, list)) else v for v in (program(x), want))):
        np.testing.assert_allclose(a, b.data, rtol=1e-4, atol=1e-5)
