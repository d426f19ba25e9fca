"""A training step of every network beside an independent implementation with the same weights: the
logits, the loss, the gradient of every array and the norms' statistics. Both take the step in
float64 and at full depth, on small images.

The norms of a few small maps magnify rounding, and a value within rounding of a ReLU's edge sends
its gradient elsewhere: in float32 two right implementations of a deep network differ by more than
1e-3, in float64 by 1e-5 at most (torch's hardswish has a rounded 1 / 6).
"""
import numpy as np
import pytest
from classifier_peers import LENETS, NAMES, NASNETS, drawn, peer, undrawn

import pyops
from pyops import Tensor, models, no_grad
from pyops.models import keras_names
from pyops.models.classification.lenet5 import C3_SEES, REJECTION
from pyops.models.keras_layout import to_keras

torch = pytest.importorskip("torch")
tf = torch.nn.functional
GRADIENT, FORWARD, FORWARD_FLOAT32 = 1e-5, 1e-6, 1e-4
CLASSES = 7
# Of the image. timm pads EfficientNetV2-B as TensorFlow does, which is the same where every stride
# of 2 meets an odd size: 65, 33, 17, 9, 5, 3.
SIZES = {"alexnet": (64, 70), "alexnet_2012": (224, 224), "inception_v3": (299, 299),
         "inception_resnet_v2": (75, 80), "xception": (71, 75),
         **dict.fromkeys(["all_cnn_a", "all_cnn_b", "all_cnn_c"], (32, 32)),
         **{f"efficientnet_v2_b{i}": (65, 65) for i in range(4)}}
# the auxiliary classifiers', of the papers
WEIGHTS_OF_OUTPUTS = {"googlenet": (1, 0.3, 0.3), "inception_v3": (1, 0.4)}


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


def several(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)


def assert_same_answers(got, want, tolerance):
    for a, b in zip(several(got), several(want), strict=True):
        b = b.detach().numpy()
        assert a.shape == b.shape and np.abs(b[0] - b[1]).max() > 1e-3 * np.abs(
            b).max(), "the image must matter"
        assert np.abs(a.data - b).max() <= tolerance * np.abs(b).max()


def assert_same_gradients(model, wanted):
    """Array by array. A bias before a norm has no gradient but for rounding: 1e-8 of the
    network's greatest is none."""
    greatest = max(np.abs(want).max() for want in wanted.values())
    assert wanted.keys() == {key for key, _ in model.named_parameters()} and greatest > 0
    for key, p in model.named_parameters():
        scale = max(np.abs(wanted[key]).max(), 1e-8 * greatest)
        p.grad -= wanted[key]
        assert np.abs(p.grad, out=p.grad).max() <= GRADIENT * scale, key


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_is_the_independent_one(name):
    model = drawn(name, CLASSES)
    reference, names = peer(name, model, CLASSES)
    size = SIZES.get(name, (40, 33))
    x = image(2 if max(size) > 100 else 3, 3, *size)
    target = np.array([3, 0, 6])[:len(x)]

    want = reference(torch.from_numpy(x))
    weights = WEIGHTS_OF_OUTPUTS.get(name, (1,))
    their_loss = sum(w * tf.cross_entropy(y, torch.from_numpy(target))
                     for w, y in zip(weights, several(want), strict=True))
    their_loss.backward()
    got = model(Tensor(x))
    loss = pyops.train.metrics.loss_of(model)(got, target)
    loss.backward()

    assert_same_answers(got, want, FORWARD)
    assert abs(loss.item() - their_loss.item()) <= FORWARD * their_loss.item()
    assert_same_gradients(model, {names[key]: p.grad.numpy() for key, p in reference.named_parameters()})
    buffers = dict(model.named_buffers())
    for key, theirs in reference.named_buffers():
        assert np.abs(buffers[names[key]] - theirs.numpy()).max() <= FORWARD * theirs.abs().max(), key


def test_a_wrong_constant_of_one_norm_is_seen():
    model = drawn("resnet18", CLASSES)
    reference, names = peer("resnet18", model, CLASSES)
    reference.layer3[1].bn2.eps = 1e-3   # Keras'
    x, target = image(3, 3, 40, 33), np.array([3, 0, 6])
    tf.cross_entropy(reference(torch.from_numpy(x)), torch.from_numpy(target)).backward()
    pyops.functional.cross_entropy(model(Tensor(x)), target).backward()
    with pytest.raises(AssertionError):
        assert_same_gradients(model, {names[key]: p.grad.numpy() for key, p in reference.named_parameters()})


# ---- LeNet-5

def lenet(name):
    model = drawn(name, 10)
    return model, {k: torch.from_numpy(v.copy()).requires_grad_() for k, v in model.state_dict().items()}


def assert_same_step(model, leaves, x, target, their_loss):
    their_loss.backward()
    loss = model.loss(model(Tensor(x)), target)
    loss.backward()
    assert abs(loss.item() - their_loss.item()) <= FORWARD * their_loss.item()
    assert_same_gradients(model, {key: leaves[key].grad.numpy() for key, _ in model.named_parameters()})


def test_the_modern_lenets_step_is_torchs():
    model, leaves = lenet("lenet5_modern")
    x, target = image(3, 1, 32, 32), np.array([3, 0, 9])
    y = torch.from_numpy(x)
    for name in ("conv1", "conv2"):
        y = tf.max_pool2d(torch.relu(tf.conv2d(y, leaves[f"{name}.weight"], leaves[f"{name}.bias"])), 2)
    y = y.flatten(1)
    for i in (1, 2, 3):
        y = tf.linear(y, leaves[f"fc{i}.weight"], leaves[f"fc{i}.bias"])
        y = torch.relu(y) if i < 3 else y
    assert_same_step(model, leaves, x, target, tf.cross_entropy(y, torch.from_numpy(target)))


def test_lenet5s_step_is_torchs():
    """The network of 1998: A tanh(S a), trainable subsampling, table I's connections,
    distances, equation 9."""
    model, leaves = lenet("lenet5")
    x, target = image(3, 1, 32, 32), np.array([3, 0, 9])

    def squash(y):
        return 1.7159 * torch.tanh(2 / 3 * y)

    def subsampled(name, y):
        return squash(4 * tf.avg_pool2d(y, 2) * leaves[f"{name}.coefficient"] + leaves[f"{name}.bias"])
    dense, kernels = [], iter(leaves["C3.weight"].reshape(60, 5, 5))
    for seen in C3_SEES:
        dense.append(torch.stack([next(kernels) if one in seen else torch.zeros(5, 5, dtype=torch.float64)
                                  for one in range(6)]))
    y = subsampled("S2", squash(tf.conv2d(torch.from_numpy(x), leaves["C1.weight"], leaves["C1.bias"])))
    y = subsampled("S4", squash(tf.conv2d(y, torch.stack(dense), leaves["C3.bias"])))
    y = squash(tf.conv2d(y, leaves["C5.weight"], leaves["C5.bias"])).flatten(1)
    y = squash(tf.linear(y, leaves["F6.weight"], leaves["F6.bias"]))
    distances = (y[:, None] - leaves["prototypes"].detach()).square().sum(-1)
    wrong = torch.cat([-distances, torch.full((3, 1), -REJECTION, dtype=torch.float64)], 1).logsumexp(1)
    assert_same_step(model, leaves, x, target, (distances[range(3), target] + wrong).mean())


# ---- Keras' networks: NASNet, and what its layout does otherwise

KERAS = {   # name in keras.applications, settings there and here, image
    "nasnet_mobile": ("NASNetMobile", {}, {}, (64, 64)), "nasnet_large": ("NASNetLarge", {}, {}, (40, 40)),
    "mobilenet_v1": ("MobileNet", {"alpha": 0.25}, {"width_mult": 0.25}, (64, 50)),
    "mobilenet_v2": ("MobileNetV2", {"alpha": 0.35}, {"width_mult": 0.35}, (64, 50)),
    "mobilenet_v3_small": ("MobileNetV3Small", {"include_preprocessing": False}, {}, (64, 50)),
    "efficientnet_v2_b0": ("EfficientNetV2B0", {"include_preprocessing": False}, {}, (64, 50)),
    "resnet50_v2": ("ResNet50V2", {}, {}, (64, 50)), "resnet50": ("ResNet50", {}, {}, (64, 50)),
}


@pytest.fixture
def keras(monkeypatch):
    """In float64 throughout; its result types would take norms back to float32.
    Nothing is drawn twice."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    from keras.src.backend.common import dtypes
    before, policy = keras.config.floatx(), keras.config.dtype_policy()
    monkeypatch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")
    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__",
                        lambda self, shape, dtype=None: torch.empty(tuple(shape), dtype=torch.float64))
    keras.config.set_floatx("float64"), keras.config.set_dtype_policy("float64")
    yield keras
    keras.config.set_floatx(before), keras.config.set_dtype_policy(policy)


def draw_keras(reference):
    """He's uniform for its kernels, scales and variances around 1, no dropout."""
    torch.manual_seed(0)
    for layer in reference.layers:
        if type(layer).__name__ == "Dropout":
            layer.rate = 0.0
        for variable in layer.weights:
            array = variable.value.data
            kind = variable.path.rpartition("/")[2]
            if array.ndim == 1:
                (array.uniform_(0.8, 1.2) if kind in ("gamma", "moving_variance")
                 else array.uniform_(-0.2, 0.2))
            else:
                fan_in = array[..., 0].numel() if "depthwise" not in kind else array[..., 0, 0].numel()
                array.uniform_(-1, 1).mul_((6 / fan_in) ** 0.5)


def keras_layout_of(name, settings):
    model = undrawn(name, CLASSES, **settings)
    to_keras(model)
    return model


def by_our_names(model, reference, array_of):
    return keras_names.state(model, keras_names.counted({layer.name: [array_of(v) for v in layer.weights]
                                                         for layer in reference.layers if layer.weights}))


def nasnet_mobile(**settings):
    """Keras refuses its NASNetMobile on the torch backend, but not what it is made of."""
    from keras.src.applications.nasnet import NASNet
    return NASNet(penultimate_filters=1056, num_blocks=4, stem_block_filters=32, skip_reduction=False,
                  filter_multiplier=2, default_size=224, **settings)


def assert_same_evaluation(model, single, x, want):
    """single: the model in float32, without its numbers yet."""
    single.load_state_dict(model.state_dict())
    with no_grad():
        assert_same_answers(model.eval()(x), want, FORWARD)
        assert_same_answers(single.eval()(Tensor(x.data.astype(np.float32))), want, FORWARD_FLOAT32)
    model.train()


@pytest.mark.parametrize("name", KERAS)
def test_a_training_step_is_keras(name, keras):
    """NASNets, which are nowhere else at full depth, answer in evaluation mode first; the others do
    in test_keras_weights.py."""
    theirs, their_settings, settings, size = KERAS[name]
    plain = {"weights": None, "classes": CLASSES, "classifier_activation": None, "input_shape": (*size, 3)}
    reference = (nasnet_mobile(**plain) if name == "nasnet_mobile"
                 else getattr(keras.applications, theirs)(**plain, **their_settings))
    draw_keras(reference)
    model = keras_layout_of(name, settings)
    model.load_state_dict(by_our_names(model, reference, lambda v: v.value.detach().numpy()))
    x, target = image(2 if name == "nasnet_large" else 3, *size, 3), np.array([3, 0, 6])
    ours, theirs, target = (Tensor(np.ascontiguousarray(x.transpose(0, 3, 1, 2))), torch.from_numpy(x),
                            target[:len(x)])
    if name in NASNETS:
        assert_same_evaluation(model, keras_layout_of(name, settings).float(), ours,
                               reference(theirs, training=False))

    want = reference(theirs, training=True)
    their_loss = tf.cross_entropy(want, torch.from_numpy(target))
    their_loss.backward()
    got = model(ours)
    loss = pyops.functional.cross_entropy(got, target)
    loss.backward()
    assert_same_answers(got, want, FORWARD)
    gradients = by_our_names(model, reference,
                             lambda v: np.zeros(v.shape) if v.value.grad is None else v.value.grad.numpy())
    assert_same_gradients(model, {key: gradients[key] for key, _ in model.named_parameters()})


def test_no_network_is_left_out():
    assert {*NAMES, *LENETS, *KERAS} == set(models.list_models(task="classification")) and set(NASNETS) <= set(KERAS)
