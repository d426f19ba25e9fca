"""The networks: LeNet-5 is the paper's, torchvision's weights give torchvision's answers."""
import numpy as np
import pytest

import pyops
from pyops import Tensor, models, nn, no_grad
from pyops.models import bitmaps
from pyops.models.lenet5 import C3_SEES, PartialConv2d


def count(module):
    return sum(p.size for p in module.parameters())


def test_lenet5_has_the_papers_parameters():
    model = models.lenet5()
    assert {name: count(layer) for name, layer in model.named_children()} == {
        "C1": 156, "S2": 12, "C3": 1516, "S4": 32, "C5": 48120, "F6": 10164}
    assert count(model) == 60_000


def test_lenet5s_maps_have_the_papers_sizes():
    model, x, seen = models.lenet5(), Tensor(np.zeros((2, 1, 32, 32), np.float32)), []
    for name in ("C1", "S2", "C3", "S4", "C5"):
        x = getattr(model, name)(x)
        seen.append(x.shape[1:])
    assert seen == [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120, 1, 1)]


def test_c3_breaks_symmetry_as_the_table_does():
    """Six maps see 3 neighbours, nine see 4, one all; every map of S2 is seen ten times."""
    assert sorted(map(len, C3_SEES)) == [3] * 6 + [4] * 9 + [6] and len(set(C3_SEES)) == 16
    assert [sum(i in maps for maps in C3_SEES) for i in range(6)] == [10] * 6


def test_partial_convolution_is_a_convolution_with_zeros_where_nothing_connects():
    torch = pytest.importorskip("torch")
    layer = PartialConv2d(6, C3_SEES, 5)
    dense, kernels = np.zeros((16, 6, 5, 5), np.float32), iter(layer.weight.data.reshape(60, 5, 5))
    for out, maps in enumerate(C3_SEES):
        for one in maps:
            dense[out, one] = next(kernels)
    x = np.random.default_rng(0).standard_normal((2, 6, 14, 14)).astype(np.float32)
    want = torch.conv2d(torch.from_numpy(x), torch.from_numpy(dense), torch.from_numpy(layer.bias.data)).numpy()
    got = layer(x)
    assert np.abs(got.data - want).max() <= 1e-6 * np.abs(want).max()
    got.backward(np.ones_like(want))
    assert layer.weight.grad.shape == (60, 25)


def test_the_drawn_digits_are_codes():
    codes = bitmaps.digits()
    assert codes.shape == (10, 84) and set(np.unique(codes)) == {-1, 1}
    distance = ((codes[:, None] - codes) ** 2).sum(-1) + 1000 * np.eye(10)
    assert distance.min() >= 40, "two digits drawn too much alike"


def test_lenet5s_loss_is_equation_9():
    model = models.lenet5()
    distances, target = np.random.default_rng(0).uniform(0, 9, (4, 10)).astype(np.float32), np.array([3, 0, 9, 3])
    want = np.mean(distances[range(4), target] + np.log(np.exp(-5.0) + np.exp(-distances.astype(float)).sum(1)))
    assert model.loss(Tensor(distances), target).item() == pytest.approx(want, rel=1e-6)
    p = model.probabilities(Tensor(distances)).data
    assert p.shape == (4, 10) and np.array_equal(p.argmax(1), distances.argmin(1)) and (p.sum(1) < 1).all()


@pytest.mark.parametrize("make", [models.lenet5, models.lenet5_modern])
def test_lenet5_learns_one_batch(make):
    pyops.manual_seed(0)
    model, rng = make(), np.random.default_rng(0)
    x, y = rng.standard_normal((16, 1, 32, 32)).astype(np.float32), rng.integers(0, 10, 16)
    optimizer, losses = pyops.optim.AdamW(model.parameters(), 3e-3), []
    for _ in range(60):
        loss = model.loss(model(Tensor(x)), y)
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert all(np.abs(p.grad).max() > 0 for p in model.parameters())


def test_alexnet_2012_is_the_papers():
    model = models.alexnet_2012()
    assert count(model) == 60_965_224
    with no_grad():
        maps = model.features[:1](Tensor(np.zeros((1, 3, 224, 224), np.float32)))
        assert maps.shape == (1, 96, 55, 55)
        logits = model.eval()(Tensor(np.ones((1, 3, 224, 224), np.float32)))
    assert logits.shape == (1, 1000) and np.isfinite(logits.data).all()


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"])
def test_torchvisions_weights_give_torchvisions_answer(name):
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision_schemas").torchvision
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)(num_classes=10, **({} if name == "alexnet" else {"init_weights": False})).eval()
    for module in theirs.modules():   # statistics and factors that are not all the same
        if isinstance(module, torch.nn.BatchNorm2d):
            for array, low in ((module.running_mean, -0.1), (module.running_var, 0.5), (module.weight.data, 0.5), (module.bias.data, -0.1)):
                torch.nn.init.uniform_(array, low, low + 1)
    with nn.init.skip_draws():
        ours = getattr(models, name)(num_classes=10).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).standard_normal((1, 3, 96, 64)).astype(np.float32)
    with torch.no_grad(), no_grad():
        want, got = theirs(torch.from_numpy(x)).numpy(), ours(Tensor(x)).data
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()
