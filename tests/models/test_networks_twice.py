"""create_graph=True through whole networks, in float64: the second derivatives of a loss for the input
are symmetric, and those for input and weights agree from either side."""
import numpy as np
import pytest

import pyops
from pyops import Tensor, functional as F

NETWORKS = {
    "lenet5": ((1, 32, 32), {}), "lenet5_modern": ((1, 32, 32), {}), "all_cnn_a": ((3, 32, 32), {}),
    "squeezenet1_1": ((3, 48, 48), {}), "shufflenet_v2_x0_5": ((3, 32, 32), {}),
    "mobilenet_v3_small": ((3, 32, 32), {}), "mobilenet_v2": ((3, 32, 32), {}),
    "resnet18": ((3, 32, 32), {}), "efficientnet_b0": ((3, 32, 32), {}),
    "unet": ((3, 16, 16), {"base": 4, "depth": 2, "batch_norm": True}), "segnet": ((3, 32, 32), {"base": 4}),
    "lraspp_mobilenet_v3_large": ((3, 32, 32), {}), "dcgan_32": ((100,), {"base": 4}),
    "pix2pix": ((3, 32, 32), {"base": 4, "depth": 5}), "cyclegan": ((3, 16, 16), {"base": 4, "blocks": 1}),
    "stylegan_32": ((64,), {"base": 4}), "vae_32": ((16,), {"base": 4}), "espcn": ((1, 9, 9), {})}


@pytest.mark.parametrize("name", NETWORKS)
def test_second_derivatives_are_symmetric(name):
    shape, settings = NETWORKS[name]
    pyops.manual_seed(0)
    model = pyops.create_model(name, **settings).double().train()
    for layer in model.modules():
        if type(layer).__name__ in ("Dropout", "StochasticDepth"):
            layer.p = 0.0
    twice(model, np.random.default_rng(1).standard_normal((3, *shape)) * 0.5)


def twice(model, x):
    rng = np.random.default_rng(2)
    u, v = rng.standard_normal((2, *x.shape))
    weights = [p for p in model.parameters() if p.requires_grad]
    w = [rng.standard_normal(p.shape) * 0.1 for p in weights]
    leaf = Tensor(x, True)
    result = model(leaf)
    result = result[0] if isinstance(result, tuple) else result
    loss = F.mean(F.square(F.sub(result, rng.standard_normal(result.shape))))
    slope, *slopes = pyops.grad(loss, [leaf, *weights], create_graph=True)
    along = pyops.grad(F.sum(F.mul(slope, u)), [leaf, *weights])
    across, = pyops.grad(F.sum(F.mul(slope, v)), [leaf])
    assert dot(along[0], v) == pytest.approx(dot(across, u), rel=1e-6, abs=1e-10) and np.abs(across).max() > 0
    by_weights = [F.sum(F.mul(g, d)) for g, d in zip(slopes, w) if isinstance(g, Tensor)]
    mixed, = pyops.grad(sum(by_weights[1:], by_weights[0]), [leaf])
    want = sum(dot(h, d) for h, d in zip(along[1:], w) if h is not None)
    assert dot(mixed, u) == pytest.approx(want, rel=1e-6, abs=1e-10)


def dot(a, b) -> float:
    return float((np.asarray(a) * b).sum())


def test_a_transformer():
    layer = pyops.nn.TransformerEncoderLayer(12, 3, 20, dropout=0.0, activation="gelu").double()
    twice(layer, np.random.default_rng(1).standard_normal((2, 5, 12)))


def test_what_has_none_is_named():
    layer = pyops.nn.LSTM(3, 4).double()
    x = Tensor(np.random.default_rng(0).standard_normal((5, 2, 3)), True)
    slope, = pyops.grad(F.sum(F.square(layer(x)[0])), [x], create_graph=True)
    with pytest.raises(ValueError, match="backward: lstm_backward has no gradient rule"):
        F.sum(F.square(slope)).backward()
