"""The networks: LeNet-5 is the paper's, torchvision's weights give torchvision's answers."""
import numpy as np
import pytest

import pyops
from pyops import Tensor, models, nn, no_grad
from pyops.models.classification import bitmaps
from pyops.models.classification.lenet5 import C3_SEES, PartialConv2d


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
    want = torch.conv2d(torch.from_numpy(x), torch.from_numpy(dense),
                        torch.from_numpy(layer.bias.data)).numpy()
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
    distances, target = np.random.default_rng(0).uniform(0, 9,
                                                         (4, 10)).astype(np.float32), np.array([3, 0, 9, 3])
    want = np.mean(distances[range(4), target]
                   + np.log(np.exp(-5.0) + np.exp(-distances.astype(float)).sum(1)))
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


# ---- the networks that torchvision has too

CLASSICS = ["alexnet", "vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]
SIZES = {"inception_v3": (96, 75)} | dict.fromkeys(
    ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "googlenet", "densenet121", "densenet161",
     "densenet169", "densenet201",
     "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", *(f"efficientnet_b{i}" for i in range(8))],
    (64, 45))


@pytest.fixture
def one_thread():
    """Two libraries' threads in one process wait for each other's cores, many times longer than
    these networks take."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pyops.num_threads(1):
        yield
    torch.set_num_threads(before)


def pair(name, **settings):
    """Their network and ours with settings of the same meaning, each as its own initialisation
    leaves it, but for VGG's."""
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("pyops.bench.torchvision_schemas").torchvision
    torch.manual_seed(0), pyops.manual_seed(0)
    # GoogLeNet and Inception announce another default; VGG's 130 million numbers are drawn as
    # layers do, which is quicker
    init = ({"init_weights": not name.startswith("vgg")} if name in ("googlenet", "inception_v3")
            or name.startswith("vgg") else {})
    return (getattr(torchvision.models, name)(num_classes=10, **init, **settings),
            getattr(models, name)(num_classes=10, **settings))


def scatter_statistics(module):
    """Batch normalisation with statistics and factors that are not all the same."""
    import torch
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for array, low in ((layer.running_mean, -0.1), (layer.running_var, 0.5), (layer.weight.data, 0.5),
                               (layer.bias.data, -0.1)):
                torch.nn.init.uniform_(array, low, low + 1)


def as_if_trained(module, x):
    """Random weights, factors and statistics with which the answer depends on the image: the
    statistics are those of the maps of x.

    Freshly initialised mobile networks and GoogLeNet all but erase their input (two images' answers
    differ by 1e-7), and statistics that have nothing to do with the maps let a deep network's
    values grow until float32 says nothing (efficientnet_b7: to 1e7).
    """
    import torch
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    scatter_statistics(module)
    norms = [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train().momentum = 1.0
    with torch.no_grad():
        module(torch.from_numpy(x))
    for norm, momentum in zip(norms, momenta):
        norm.eval().momentum = momentum


def constants(module):
    """What no state_dict holds. Dropout of nothing may be left out."""
    layers = list(module.modules())
    return ([(m.eps, m.momentum) for m in layers if type(m).__name__ == "BatchNorm2d"],
            [m.p for m in layers if type(m).__name__ == "Dropout" and m.p])


def image(*shape, dtype=np.float32):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def assert_close(got, want, tolerance, what="output"):
    assert got.shape == want.shape and np.abs(got - want).max() <= tolerance * np.abs(want).max(), what


@pytest.mark.parametrize("name", CLASSICS)
def test_torchvisions_weights_give_torchvisions_answer(name, one_thread):
    with nn.init.skip_draws():
        theirs, ours = pair(name)
    import torch
    theirs.eval(), ours.eval(), scatter_statistics(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert count(ours) == sum(p.numel() for p in theirs.parameters())
    ours.load_state_dict(theirs.state_dict())
    x = image(1, 3, 96, 64)
    with torch.no_grad(), no_grad():
        want, got = theirs(torch.from_numpy(x)).numpy(), ours(Tensor(x)).data
    assert_close(got, want, 1e-5)


@pytest.mark.parametrize("name", SIZES)
def test_a_deep_networks_answer_is_torchvisions(name, one_thread):
    """In float64 the same but for torch's hardsigmoid and hardswish, whose 1 / 6 is rounded to
    float32. In float32 what rounding does depends on the network: no more than a few times what it
    does to torch's answer."""
    with nn.init.skip_draws():
        theirs, ours = pair(name)
    import torch
    theirs.eval(), ours.eval()
    x = image(4, 3, *SIZES[name])
    as_if_trained(theirs, x)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert count(ours) == sum(p.numel() for p in theirs.parameters())
    assert constants(ours) == constants(theirs)
    ours.load_state_dict(theirs.state_dict())
    x = x[:2]
    with torch.no_grad(), no_grad():
        single, got = theirs(torch.from_numpy(x)).numpy(), ours(Tensor(x)).data
        want, double = (theirs.double()(torch.from_numpy(x).double()).numpy(),
                        ours.double()(Tensor(x.astype(np.float64))).data)
    assert np.abs(want[0] - want[1]).max() > 0.05 * np.abs(want).max(), "the image must matter"
    assert_close(double, want, 1e-7)
    rounding = np.abs(single - want).max() / np.abs(want).max()
    assert rounding < 5e-4, "float32 must say something"
    assert_close(got, want, max(1e-5, 5 * rounding))


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "googlenet", "inception_v3", "densenet121",
                                  "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0"])
def test_a_network_starts_as_torchvisions(name):
    """The same mean and deviation of every array large enough to tell."""
    theirs, ours = pair(name)
    for key, got, want in zip(ours.state_dict(), ours.state_dict().values(), theirs.state_dict().values()):
        want = want.numpy()
        deviation, noise = want.std(), 6 / np.sqrt(want.size)
        assert got.size < 1000 or abs(got.std() - deviation) <= noise * deviation, key
        assert got.size < 1000 or abs(got.mean() - want.mean()) <= 2 * noise * deviation, key
        assert deviation > 0 or np.array_equal(got, want), key


@pytest.mark.parametrize("name, output",
                         [("inception_v3", models.InceptionOutputs), ("googlenet", models.GoogLeNetOutputs)])
def test_auxiliary_classifiers_answer_in_training_only(name, output, one_thread):
    theirs, ours = pair(name,
                        **({"dropout": 0.0, "dropout_aux": 0.0} if name == "googlenet" else {"dropout": 0.0}))
    import torch
    scatter_statistics(theirs), ours.load_state_dict(theirs.state_dict())
    theirs.train(), ours.train()
    # one image has no statistics of its own where maps are single points
    for module in (*theirs.modules(), *ours.modules()):
        if type(module).__name__ == "BatchNorm2d":
            module.eval()
    x = image(1, 3, *((299, 299) if name == "inception_v3" else (64, 64)))
    with torch.no_grad(), no_grad():
        want, got = theirs(torch.from_numpy(x)), ours(Tensor(x))
        assert isinstance(got, output) and got._fields == want._fields
        for a, b in zip(got, want):
            assert_close(a.data, b.numpy(), 1e-5)
        assert ours.eval()(Tensor(x[..., :96, :96])).shape == (1, 10)
    without = getattr(models, name)(aux_logits=False)
    assert not any("aux" in key.lower() for key in without.state_dict())


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_transform_input_is_torchvisions(name):
    torch = pytest.importorskip("torch")
    with torch.device("meta"), nn.init.skip_draws():   # no weights are needed
        theirs, ours = pair(name, transform_input=True, aux_logits=False)
    x = image(2, 3, 4, 5)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert_close(ours.transform(Tensor(x)).data, theirs._transform_input(torch.from_numpy(x)).numpy(), 1e-6)


@pytest.mark.parametrize("name, settings", [
    ("mobilenet_v2", {"width_mult": 0.35}), ("mobilenet_v2", {"width_mult": 1.4, "round_nearest": 4}),
    ("mobilenet_v3_small", {"width_mult": 0.75}), ("mobilenet_v3_large", {"width_mult": 1.25}),
    ("resnet18", {"zero_init_residual": True}), ("resnet50", {"zero_init_residual": True}),
    ("densenet121", {"bn_size": 2}), ("efficientnet_b0", {"stochastic_depth_prob": 0.5})])
def test_settings_mean_what_torchvisions_mean(name, settings):
    theirs, ours = pair(name, **settings)
    assert [(k, v.shape) for k, v in ours.state_dict().items()] == [(k, tuple(v.shape))
                                                                    for k, v in theirs.state_dict().items()]
    constant = [(k, v.min()) for k, v in ours.state_dict().items() if v.min() == v.max()]
    assert constant == [(k, v.min()) for k, v in theirs.state_dict().items() if v.min() == v.max()]
    drops = [[m.p for m in model.modules() if type(m).__name__ == "StochasticDepth"]
             for model in (ours, theirs)]
    assert drops[0] == drops[1] or not drops[1]


def test_densenets_checkpoint_of_old_names_loads():
    """As torchvision's file has them: norm.1 for norm1, and no counts of batches."""
    model = models.densenet121(num_classes=10, block_config=(1, 2))
    state = {k.replace("norm1", "norm.1").replace("norm2", "norm.2")
             .replace("conv1", "conv.1").replace("conv2", "conv.2"): v + 1
             for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert "features.denseblock2.denselayer2.conv.1.weight" in state
    want = [v.copy() for v in state.values()]
    assert model.load_state_dict(state) == ([], [])
    assert all(np.array_equal(a, b)
               for a, b in zip(want, (v for k, v in model.state_dict().items() if "num_batches" not in k)))


def test_stochastic_depth_drops_whole_branches_in_training():
    """A dropped branch leaves the block's input as it was."""
    pyops.manual_seed(0)
    block = models.efficientnet_b0(stochastic_depth_prob=1.0).features[4][2]
    x, kept = image(64, 80, 4, 4), 1 - block.stochastic_depth.p
    for layer in block.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    with no_grad():
        trained, always = block(Tensor(x)).data, block.eval()(Tensor(x)).data
    dropped = (trained == x).all((1, 2, 3))
    assert 0.2 < dropped.mean() < 0.8 and 0.2 < kept < 0.8
    assert np.abs((trained - x)[~dropped] * kept - (always - x)[~dropped]).max() <= 1e-5 * np.abs(x).max()


# ---- U-Net

def torch_unet(state, x):
    """The paper's figure 1, from the arrays of a state_dict."""
    from torch.nn.functional import conv2d, conv_transpose2d, max_pool2d, relu

    def conv(name, x, padding=0):
        return conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)

    def double(name, x):
        return relu(conv(f"{name}.2", relu(conv(f"{name}.0", x, 1)), 1))
    import torch
    maps = [double("down.0", x)]
    for level in range(1, 5):
        maps.append(double(f"down.{level}", max_pool2d(maps[-1], 2)))
    x = maps[4]
    for i in range(4):
        up = conv_transpose2d(x, state[f"up.{i}.weight"], state[f"up.{i}.bias"], stride=2)
        x = double(f"merge.{i}", torch.cat([maps[3 - i], up], 1))
    return conv("head", x)


def test_unet_is_the_papers():
    with nn.init.skip_draws():
        model = models.unet(in_channels=1)
    convolutions = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    assert len(convolutions) == 23
    assert [m.out_channels for m in convolutions if m.kernel_size == (3, 3)][1::2] == [
        64, 128, 256, 512, 1024, 512, 256, 128, 64]


@pytest.mark.parametrize("settings, shape", [
    ({"base": 8}, (2, 3, 48, 32)), ({"in_channels": 1, "num_classes": 5, "base": 5}, (1, 1, 16, 80))])
def test_unet_is_the_same_network_in_torch(settings, shape, one_thread):
    torch = pytest.importorskip("torch")
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-12)):
        model = models.unet(**settings).to(dtype)
        state = {k: torch.from_numpy(v.copy()).requires_grad_() for k, v in model.state_dict().items()}
        x = image(*shape, dtype=dtype)
        got, want = model(Tensor(x)), torch_unet(state, torch.from_numpy(x))
        assert got.shape == (shape[0], settings.get("num_classes", 2), *shape[2:])
        assert_close(got.data, want.detach().numpy(), tolerance)
    weight = image(*want.shape, dtype=dtype)
    got.backward(weight), want.backward(torch.from_numpy(weight))
    for key, p in model.named_parameters():
        assert_close(p.grad, state[key].grad.numpy(), 1e-10, key)


# ---- what a tracer relies on

class Traced(Tensor):
    """A value whose ops are seen, and nothing else of it."""
    __slots__ = ()
    seen: list = []

    @staticmethod
    def __pyops_call__(op, inputs, attrs):
        result = Tensor.__pyops_call__(op, inputs, attrs)
        Traced.seen.append(op.name)
        return tuple(map(Traced, result)) if isinstance(result, tuple) else Traced(result)

    def looked_at(self, *_):
        raise AssertionError("the forward pass looks at values")
    __bool__ = __float__ = __array__ = __iter__ = item = numpy = looked_at


@pytest.mark.parametrize("name", ["googlenet", "resnet18", "resnet50", "densenet121", "mobilenet_v2",
                                  "mobilenet_v3_large", "efficientnet_b0", "unet"])
def test_a_forward_pass_is_ops_on_its_input(name):
    with nn.init.skip_draws():
        model = getattr(models, name)(**({"transform_input": True} if name == "googlenet" else {})).eval()
    for p in model.parameters():
        p.data[...] = 0.01
    x, runs = image(1, 3, 32, 32), []
    with no_grad():
        for value in (x, x + 1):
            Traced.seen = []
            assert type(model(Traced(value))) is Traced
            runs.append(Traced.seen)
    convolutions = sum(isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)) for m in model.modules())
    training_only = 2 if name == "googlenet" else 0   # the auxiliary classifiers'
    assert (runs[0] == runs[1]
            and sum(op in ("conv", "conv_transpose") for op in runs[0]) == convolutions - training_only)


def test_the_networks_to_measure_are_there():
    from pyops.bench.shapes import NETWORKS
    assert all(callable(getattr(models, network.function or name)) for name, network in NETWORKS.items())
