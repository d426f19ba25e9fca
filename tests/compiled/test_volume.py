"""Convolutions over three axes as sums of convolutions over two, against the eager row in float64."""
import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.core.threads import num_threads

RNG = np.random.default_rng(0)


def array(*shape, scale=1.0):
    return (scale * RNG.standard_normal(shape)).astype(np.float32)


# what it catches, (n, c, d, h, w), (filters, channels a group, kd, kh, kw), attributes
LAYERS = [
    ("3x3x3", (1, 20, 5, 9, 8), (33, 20, 3, 3, 3), {"padding": 1}),
    ("several samples", (3, 20, 4, 9, 8), (33, 20, 3, 3, 3), {"padding": 1}),
    ("without padding", (2, 16, 5, 9, 8), (16, 16, 3, 3, 3), {}),
    ("strided", (1, 20, 7, 9, 8), (33, 20, 3, 3, 3), {"padding": 1, "stride": 2}),
    ("strided images of several samples", (2, 20, 5, 9, 8), (24, 20, 3, 3, 3), {"padding": 1, "stride": (1, 2, 2)}),
    ("dilated depth", (2, 16, 8, 5, 6), (16, 16, 3, 3, 3), {"padding": (2, 1, 1), "dilation": (2, 1, 1)}),
    ("a plane", (2, 16, 4, 9, 8), (24, 16, 1, 3, 3), {"padding": (0, 1, 1)}),
    ("a line of depth", (2, 16, 6, 9, 8), (24, 16, 3, 1, 1), {"padding": (1, 0, 0)}),
    ("one voxel, every second", (1, 16, 6, 9, 8), (24, 16, 1, 1, 1), {"stride": 2}),
    ("a filter a channel", (2, 24, 4, 9, 8), (24, 1, 3, 3, 3), {"padding": 1, "groups": 24}),
    ("depth of one", (2, 16, 1, 9, 8), (24, 16, 3, 3, 3), {"padding": 1}),
    ("depth of two, five taps", (1, 16, 2, 9, 8), (24, 16, 5, 3, 3), {"padding": (2, 1, 1)}),
]
APART = [
    ("few channels", (1, 3, 5, 9, 8), (33, 3, 3, 3, 3), {"padding": 1}),
    ("few filters", (1, 16, 5, 9, 8), (2, 16, 3, 3, 3), {"padding": 1}),
    ("groups", (1, 32, 4, 9, 8), (32, 16, 3, 3, 3), {"padding": 1, "groups": 2}),
    ("strided depth of several samples", (2, 16, 6, 9, 8), (24, 16, 3, 3, 3), {"padding": 1, "stride": 2}),
    ("no tap that every place sees", (1, 16, 2, 5, 6), (24, 16, 2, 3, 3), {"padding": 1}),
    ("single pixels", (1, 16, 4, 1, 1), (16, 16, 1, 1, 1), {}),
]


def layer(shape, w, attributes):
    w, b = array(*w, scale=np.prod(w[1:]) ** -0.5), array(w[0])
    return array(*shape), lambda x: F.conv3d(x, w.astype(x.dtype), b.astype(x.dtype), **attributes)


def checked(model, x, precision="default"):
    """The kernels of the program, which is right and gives the same bits with any threads."""
    program, want = pyops.compile(model, x, precision), model(x.astype(np.float64))
    program._native.poison()
    with num_threads(1):
        got = program(x)
    np.testing.assert_allclose(got, want, rtol=0, atol=3e-5 * np.abs(want).max())
    assert np.array_equal(pyops.compile(model, x, precision, threads=3)(x), got)
    return [s.kernel for s in program.steps]


@pytest.mark.parametrize("name, shape, w, attributes", LAYERS, ids=[case[0] for case in LAYERS])
@pytest.mark.parametrize("precision", ["strict", "default"])
def test_layers(name, shape, w, attributes, precision):
    x, conv = layer(shape, w, attributes)
    kernels = checked(lambda x: F.relu(conv(x)), x, precision)
    assert {"direct_conv", "winograd_conv", "depthwise_conv"} & set(kernels) and "conv" not in kernels


@pytest.mark.parametrize("name, shape, w, attributes", APART, ids=[case[0] for case in APART])
def test_others_stay(name, shape, w, attributes):
    x, conv = layer(shape, w, attributes)
    assert "conv" in checked(lambda x: F.relu(conv(x)), x)


@pytest.mark.parametrize("n", [1, 2])
def test_a_residual_block(n):
    x, first = layer((n, 20, 4, 9, 8), (20, 20, 3, 3, 3), {"padding": 1})
    _, second = layer((n, 20, 4, 9, 8), (20, 20, 3, 3, 3), {"padding": 1})
    kernels = checked(lambda x: F.relu(F.add(second(F.relu(first(x))), x)), x)
    assert kernels.count("to_blocked") == kernels.count("from_blocked") == 1 and kernels.count("add_maps") == 1


def test_what_is_read_planar_too():
    x, conv = layer((2, 20, 4, 9, 8), (24, 20, 3, 3, 3), {"padding": 1})

    def model(x):
        y = conv(x)
        return F.add(F.max_pool3d(y, 2), F.mul(F.adaptive_avg_pool3d(y, 1), 2.0))
    checked(model, x)


def test_a_scaled_sum_and_a_view_stay_right():
    x, conv = layer((1, 20, 9, 4, 8), (20, 20, 3, 3, 3), {"padding": 1})
    checked(lambda x: F.add(conv(F.permute(x, (0, 1, 3, 2, 4))), F.permute(x, (0, 1, 3, 2, 4)), alpha=0.5), x)


def test_pixels_that_outweigh_others_are_in_place_too():
    """Tiles whose outputs see pixels of different size are computed directly, each once."""
    x, conv = layer((1, 20, 5, 16, 16), (32, 20, 3, 3, 3), {"padding": 1})
    x[0, :, 2, 3, 3] *= 1e4
    program = pyops.compile(conv, x)
    want = conv(x.astype(np.float64))
    assert "winograd_conv" in [s.kernel for s in program.steps]
    far = np.s_[:, :, :, 8:, 8:]
    np.testing.assert_allclose(program(x)[far], want[far], rtol=0, atol=3e-5 * np.abs(want[far]).max())


def test_saved_and_of_sizes_that_vary(tmp_path):
    x, conv = layer((1, 20, 4, 9, 8), (24, 20, 3, 3, 3), {"padding": 1})
    program = pyops.compile(conv, x)
    program.save(tmp_path / "p.npz")
    assert np.array_equal(pyops.Program.load(tmp_path / "p.npz")(x), program(x))
    varying = pyops.compile(conv, x, dynamic={0: {0: None, 2: None, 3: None}})
    for shape in ((1, 20, 4, 9, 8), (2, 20, 3, 5, 8), (1, 20, 1, 1, 8)):
        x = array(*shape)
        want = conv(x.astype(np.float64))
        np.testing.assert_allclose(varying(x), want, rtol=0, atol=3e-5 * np.abs(want).max())


def test_batch_invariant():
    x, conv = layer((3, 20, 4, 9, 8), (24, 20, 3, 3, 3), {"padding": 1})
    alone = pyops.compile(conv, x[:1], batch_invariant=True)
    assert np.array_equal(pyops.compile(conv, x, batch_invariant=True)(x)[1:2], alone(x[1:2]))
