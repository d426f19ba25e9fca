"""Saved statistics of the CUDA backend's norms: in 16-bit types they are float32, as accurate as
their sums, and the gradient takes them so."""
import numpy as np
import pytest

from pyops.cuda.backend import EMULATED
from pyops.cuda.emulated import fast
from pyops.ops.batch_norm import BATCH_NORM_BACKWARD, BATCH_NORM_TRAINING
from pyops.ops.group_norm import GROUP_NORM, GROUP_NORM_BACKWARD
from pyops.ops.layer_norm import LAYER_NORM, LAYER_NORM_BACKWARD, RMS_NORM, RMS_NORM_BACKWARD
from pyops.validate import GuardedKernels

pytestmark = pytest.mark.skipif(bool(EMULATED.missing), reason=EMULATED.missing or "can run")
ROUNDING = {"f16": 2**-11, "bf16": 2**-8, "f32": 2**-24}

# op, its gradient, shape of x and of the weight, attributes of both, whether there is a bias
NORMS = {
    "layer_norm_row_in_a_warp": (LAYER_NORM, LAYER_NORM_BACKWARD, (5, 40), (40,), {"ndim": 1}, {"eps": 1e-5}, True),
    "layer_norm_row_in_a_block": (LAYER_NORM, LAYER_NORM_BACKWARD, (3, 1100), (1100,), {"ndim": 1},
                                  {"eps": 1e-5}, True),
    "layer_norm_wide_row": (LAYER_NORM, LAYER_NORM_BACKWARD, (3, 4500), (4500,), {"ndim": 1}, {"eps": 1e-5}, True),
    "layer_norm_wide_row_in_packets": (LAYER_NORM, LAYER_NORM_BACKWARD, (2, 8192), (8192,), {"ndim": 1},
                                       {"eps": 1e-5}, True),
    "layer_norm_long_row": (LAYER_NORM, LAYER_NORM_BACKWARD, (2, 8200), (8200,), {"ndim": 1}, {"eps": 1e-5}, True),
    "rms_norm": (RMS_NORM, RMS_NORM_BACKWARD, (5, 40), (40,), {"ndim": 1}, {"eps": 1e-5}, False),
    "rms_norm_wide_row": (RMS_NORM, RMS_NORM_BACKWARD, (2, 4100), (4100,), {"ndim": 1}, {"eps": 1e-5}, False),
    "group_norm": (GROUP_NORM, GROUP_NORM_BACKWARD, (2, 6, 5, 7), (6,), {"groups": 3, "eps": 1e-5}, {}, True),
    "batch_norm_in_a_block": (BATCH_NORM_TRAINING, BATCH_NORM_BACKWARD, (3, 4, 5, 7), (4,), {"eps": 1e-5}, {}, True),
    "batch_norm_in_pieces": (BATCH_NORM_TRAINING, BATCH_NORM_BACKWARD, (3, 2, 9, 9), (2,), {"eps": 1e-5}, {}, True),
    "batch_norm_of_columns": (BATCH_NORM_TRAINING, BATCH_NORM_BACKWARD, (30, 5), (5,), {"eps": 1e-5}, {}, True),
}


def close(got, want, allowed):
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=0,
                               atol=allowed * max(1, np.abs(want).max()))


@pytest.mark.parametrize("real", ["f16", "bf16", "f32"])
@pytest.mark.parametrize("name", NORMS)
def test_statistics_are_kept_in_float(name, real):
    op, backward, shape, channels, attributes, only_forward, has_bias = NORMS[name]
    kernels, rng = EMULATED.kernels(real), np.random.default_rng(0)
    x, dy = ((3 + 2 * rng.standard_normal(shape)).astype(kernels.dtype),
             rng.standard_normal(shape).astype(kernels.dtype))
    parameters = [rng.standard_normal(channels).astype(kernels.dtype) for _ in range(1 + has_bias)]
    training = {"training": True} if backward is BATCH_NORM_BACKWARD else {}
    exact = [a.astype(np.float64) for a in (x, *parameters)]
    with fast(7):
        y, *statistics = op.forward(GuardedKernels(kernels, []), x, *parameters, **attributes, **only_forward)
        gradients = backward.forward(GuardedKernels(kernels, []), dy, x, parameters[0], *statistics,
                                     **attributes, **training)
    want_y, *want = op.reference(*exact, **attributes, **only_forward)
    close(y, want_y, 4 * ROUNDING[real] + 1e-6)
    for got, s in zip(statistics, want, strict=True):
        assert got.dtype == np.float32
        close(got, s, 2e-6)
    wanted = backward.reference(dy.astype(np.float64), exact[0], exact[1],
                                *(s.astype(np.float64) for s in statistics), **attributes, **training)
    for got, g in zip(gradients, wanted, strict=True):
        close(got, g, 2 * ROUNDING[real] + 1e-5)   # sums of a row in float


@pytest.mark.parametrize("real", ["f16", "bf16"])
def test_running_statistics_have_the_type_of_the_input(real):
    """Evaluation and its gradient take them as they are."""
    from pyops.ops.batch_norm import BATCH_NORM
    kernels, rng = EMULATED.kernels(real), np.random.default_rng(0)
    x, dy = (rng.standard_normal((3, 4, 10)).astype(kernels.dtype) for _ in range(2))
    mean, weight, bias = (rng.standard_normal(4).astype(kernels.dtype) for _ in range(3))
    var = (rng.random(4) + 0.5).astype(kernels.dtype)
    wide = lambda *arrays: [a.astype(np.float64) for a in arrays]   # noqa: E731
    with fast(0):
        y = BATCH_NORM.forward(GuardedKernels(kernels, []), x, mean, var, weight, bias, eps=1e-5)
        gradients = BATCH_NORM_BACKWARD.forward(GuardedKernels(kernels, []), dy, x, weight, mean, var,
                                                eps=1e-5, training=False)
    close(y, BATCH_NORM.reference(*wide(x, mean, var, weight, bias), eps=1e-5), 2 * ROUNDING[real])
    for got, want in zip(gradients, BATCH_NORM_BACKWARD.reference(*wide(dy, x, weight, mean, var), eps=1e-5,
                                                                  training=False), strict=True):
        close(got, want, 2 * ROUNDING[real])


@pytest.mark.parametrize("shape, dims",
                         [((3, 257), (1,)), ((2, 40000), (1,)), ((300, 7), (0,)), ((5, 700, 3), (0, 1))])
@pytest.mark.parametrize("mean", [0, 1e4, 1e5, 1e6])
def test_a_variance_far_from_zero(shape, dims, mean):
    """Of deviations of about one, which float32 still holds beside the mean: from chunks and groups
    of rows, and from columns."""
    from pyops.ops.reduction import VAR
    kernels = EMULATED.kernels("f32")
    x = (mean + np.random.default_rng(len(shape)).standard_normal(shape)).astype(np.float32)
    want = x.astype(np.float64).var(dims, ddof=1)
    attributes = {"dims": dims, "shape": want.shape, "count": x.size // want.size, "correction": 1,
                  "root": False}
    with fast(7):
        got, _ = VAR.forward(GuardedKernels(kernels, []), x, **attributes)
    np.testing.assert_allclose(got, want, rtol=2e-5)
