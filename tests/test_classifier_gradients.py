"""Gradients of a training step of the networks without batch norm (and the plain ones), beside torch on the same weights, in float64 to 1e-3 of
each array's greatest. Of AlexNet and VGG it is the trunk's step: the linear layers above, hundreds of megabytes, are those of every network.
The other families' are in test_classifiers.py and test_models.py."""
import numpy as np
import pytest

import pyops
from pyops import Tensor, models, nn
from pyops import functional as F
from pyops.models.lenet5 import C3_SEES, REJECTION

torch = pytest.importorskip("torch")
tf = torch.nn.functional
TOLERANCE = 1e-3


@pytest.fixture(autouse=True)
def one_thread():
    """Two libraries' threads in one process wait for each other's cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pyops.num_threads(1):
        yield
    torch.set_num_threads(before)


def image(*shape):
    return np.random.default_rng(0).standard_normal(shape)


def ready(name, **settings):
    """The network in float64 and in training mode, without dropout, and its arrays as leaves of torch."""
    with nn.init.skip_draws():   # the linear layers of AlexNet and VGG, which are left out, would be drawn first
        model = models.create_model(name, **settings).train()
    rng = np.random.default_rng(1)
    for key, p in model.named_parameters():
        scale = np.sqrt(2 / max(1, p.size // len(p.data))) if p.ndim > 1 else 0.1
        p.data[...] = scale * rng.standard_normal(p.shape) + (p.ndim == 1 and key.endswith("weight"))
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    model.double()
    return model, {k: torch.from_numpy(v.copy()).requires_grad_(v.dtype.kind == "f") for k, v in model.state_dict().items()}


def same_step(model, ours, theirs, leaves, tolerance=TOLERANCE):
    """Both losses, then every gradient."""
    assert abs(ours.item() - theirs.item()) <= 1e-4 * abs(theirs.item())
    ours.backward(), theirs.backward()
    for name, p in model.named_parameters():
        want = leaves[name].grad.numpy()
        assert np.abs(want).max() > 0 and np.abs(p.grad - want).max() <= tolerance * np.abs(want).max(), name


def chain(x, leaves, layers):
    """Convolutions with what follows each: (name, stride, padding, groups, functions)."""
    for name, stride, padding, groups, functions in layers:
        x = tf.conv2d(x, leaves[f"{name}.weight"], leaves[f"{name}.bias"], stride, padding, 1, groups)
        for function in functions:
            x = function(x)
    return x


def pool(x):
    return tf.max_pool2d(x, 3, 2)


def lrn(x):
    """The paper's: alpha times the sum of squares of five neighbours."""
    squares = tf.pad(x.square().unsqueeze(1), (0, 0, 0, 0, 2, 2))
    return x / (2 + 1e-4 * sum(squares[:, 0, i:i + x.shape[1]] for i in range(5))) ** 0.75


ALEXNETS = {
    "alexnet": [("features.0", 4, 2, 1, (torch.relu, pool)), ("features.3", 1, 2, 1, (torch.relu, pool)), ("features.6", 1, 1, 1, (torch.relu,)),
                ("features.8", 1, 1, 1, (torch.relu,)), ("features.10", 1, 1, 1, (torch.relu, pool))],
    "alexnet_2012": [("features.0", 4, 2, 1, (torch.relu, lrn, pool)), ("features.4", 1, 2, 2, (torch.relu, lrn, pool)),
                     ("features.8", 1, 1, 1, (torch.relu,)), ("features.10", 1, 1, 2, (torch.relu,)), ("features.12", 1, 1, 2, (torch.relu, pool))],
}


@pytest.mark.parametrize("name", ALEXNETS)
def test_alexnets_step_is_torchs(name):
    model, leaves = ready(name, include_top=False, pooling="avg")
    x, target = image(2, 3, 96, 80), np.array([3, 200])
    want = chain(torch.from_numpy(x), leaves, ALEXNETS[name]).mean((2, 3))
    same_step(model, F.cross_entropy(F.mul(model(Tensor(x)), 10.0), target), tf.cross_entropy(10 * want, torch.from_numpy(target)), leaves)


@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn"])
def test_vggs_step_is_torchvisions(name):
    torchvision = pytest.importorskip("torchvision_schemas").torchvision
    model, _ = ready(name, include_top=False, pooling="avg")
    with torch.device("meta"):
        whole = getattr(torchvision.models, name)(init_weights=False)
    reference = whole.features.to_empty(device="cpu").double().train()
    reference.load_state_dict({k.removeprefix("features."): torch.from_numpy(np.array(v)) for k, v in model.state_dict().items()})
    x, target = image(2, 3, 40, 33), np.array([3, 200])
    ours = F.cross_entropy(model(Tensor(x)), target)
    theirs = tf.cross_entropy(reference(torch.from_numpy(x)).amax((2, 3)), torch.from_numpy(target))   # maps of one pixel
    leaves = {f"features.{k}": p for k, p in reference.named_parameters()}
    ours.backward(), theirs.backward()
    greatest = max(float(p.grad.abs().max()) for p in leaves.values())
    for key, p in model.named_parameters():
        want = leaves[key].grad.numpy()   # a bias before a norm has no gradient but for rounding
        assert np.abs(p.grad - want).max() <= TOLERANCE * max(np.abs(want).max(), 1e-9 * greatest), key


@pytest.mark.parametrize("name", ["all_cnn_a", "all_cnn_b", "all_cnn_c"])
def test_all_cnns_step_is_torchs(name):
    rows = {"all_cnn_a": [(1, 2), (2, 1), (1, 2), (2, 1)], "all_cnn_b": [(1, 2), (1, 0), (2, 1)] * 2,
            "all_cnn_c": [(1, 1), (1, 1), (2, 1)] * 2}[name] + [(1, 0), (1, 0), (1, 0)]
    model, leaves = ready(name)
    names = [k.removesuffix(".weight") for k in leaves if k.endswith(".weight")]
    x, target = image(3, 3, 32, 32), np.array([3, 0, 9])
    layers = [(n, stride, padding, 1, (torch.relu,)) for n, (stride, padding) in zip(names, rows, strict=True)]
    same_step(model, F.cross_entropy(model(Tensor(x)), target),
              tf.cross_entropy(chain(torch.from_numpy(x), leaves, layers).mean((2, 3)), torch.from_numpy(target)), leaves)


def test_the_modern_lenets_step_is_torchs():
    model, leaves = ready("lenet5_modern")
    x, target = image(3, 1, 32, 32), np.array([3, 0, 9])
    halved = (torch.relu, lambda y: tf.max_pool2d(y, 2))
    y = chain(torch.from_numpy(x), leaves, [("conv1", 1, 0, 1, halved), ("conv2", 1, 0, 1, halved)]).flatten(1)
    for i in (1, 2, 3):
        y = tf.linear(y, leaves[f"fc{i}.weight"], leaves[f"fc{i}.bias"])
        y = torch.relu(y) if i < 3 else y
    same_step(model, model.loss(model(Tensor(x)), target), tf.cross_entropy(y, torch.from_numpy(target)), leaves)


def test_lenet5s_step_is_torchs():
    """The network of 1998: A tanh(S a), trainable subsampling, table I's connections, distances, equation 9."""
    model, leaves = ready("lenet5")
    x, target = image(3, 1, 32, 32), np.array([3, 0, 9])

    def squash(y):
        return 1.7159 * torch.tanh(2 / 3 * y)

    def subsampled(name, y):
        return squash(4 * tf.avg_pool2d(y, 2) * leaves[f"{name}.coefficient"] + leaves[f"{name}.bias"])
    dense, kernels = [], iter(leaves["C3.weight"].reshape(60, 5, 5))
    for seen in C3_SEES:
        dense.append(torch.stack([next(kernels) if one in seen else torch.zeros(5, 5, dtype=torch.float64) for one in range(6)]))
    y = subsampled("S2", squash(tf.conv2d(torch.from_numpy(x), leaves["C1.weight"], leaves["C1.bias"])))
    y = subsampled("S4", squash(tf.conv2d(y, torch.stack(dense), leaves["C3.bias"])))
    y = squash(tf.conv2d(y, leaves["C5.weight"], leaves["C5.bias"])).flatten(1)
    y = squash(tf.linear(y, leaves["F6.weight"], leaves["F6.bias"]))
    distances = (y[:, None] - leaves["prototypes"].detach()).square().sum(-1)
    wrong = torch.cat([-distances, torch.full((3, 1), -REJECTION, dtype=torch.float64)], 1).logsumexp(1)
    same_step(model, model.loss(model(Tensor(x)), target), (distances[range(3), target] + wrong).mean(), leaves)


def test_a_plain_networks_step_is_torchs():
    torchvision = pytest.importorskip("torchvision_schemas").torchvision

    class Block(torchvision.models.resnet.BasicBlock):
        def forward(self, x):
            return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
    reference = torchvision.models.ResNet(Block, [2, 2, 2, 2], num_classes=7).double()
    for stage in (reference.layer2, reference.layer3, reference.layer4):
        stage[0].downsample = None
    model, _ = ready("plain18", classes=7)
    reference.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in model.state_dict().items()})
    x, target = image(3, 3, 40, 33), np.array([3, 0, 6])
    same_step(model, F.cross_entropy(model(Tensor(x)), target), tf.cross_entropy(reference.train()(torch.from_numpy(x)), torch.from_numpy(target)),
              dict(reference.named_parameters()))
