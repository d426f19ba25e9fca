"""Weights that Keras wrote: create_model's answer with them is Keras', family by family; what does
not fit is reported."""
from functools import partial

import numpy as np
import pytest

import pyops
from pyops import Tensor, models, no_grad
from pyops.models import ResNet, keras_names, weights
from pyops.models.classification.resnet import Bottleneck
from pyops.models.classification.resnet_v2 import ResNetV2

EVEN = (64, 50)   # at strides of 2 TensorFlow's padding and torch's differ where sizes are even


@pytest.fixture
def keras(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip("torch")
    return pytest.importorskip("keras")


def scattered(reference, size=(64, 64), scale=1.0, seed=0):
    """Random scales, shifts and biases, so that none can be mistaken or left out, and the
    statistics of some images."""
    rng = np.random.default_rng(seed)
    norms = [layer for layer in reference.layers if type(layer).__name__ == "BatchNormalization"]
    for layer in reference.layers:
        arrays = layer.get_weights()
        if layer in norms:
            shift, statistics = rng.uniform(-0.2, 0.2, arrays[-1].shape), arrays[-2:]
            layer.set_weights([*([rng.uniform(0.5, 1.5, shift.shape)] if len(arrays) == 4 else []), shift,
                               *statistics])
            layer.momentum = 0.0
        elif len(arrays) == 2 and arrays[1].ndim == 1:
            layer.set_weights([arrays[0], rng.uniform(-0.2, 0.2, arrays[1].shape)])
    if norms:
        reference(rng.standard_normal((3, *size, 3)).astype(np.float32) * scale, training=True)
    return reference


def saved(reference, folder):
    path = folder / "of_keras.weights.h5"
    reference.save_weights(path)
    return path


def same(model, reference, size, scale=1.0):
    """On normalised images; `scale` turns them into the pixels that a network with its own
    normalisation wants."""
    x = np.random.default_rng(1).standard_normal((2, *size, 3)).astype(np.float32)
    want = reference(x * scale, training=False).detach().numpy()
    want = want.transpose(0, 3, 1, 2) if want.ndim == 4 else want
    with no_grad():
        got = model.eval()(Tensor(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))).data
    assert got.shape == want.shape
    assert np.abs(want[0] - want[1]).max() > 1e-3 * np.abs(want).max(), "the image must matter"
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


NAMES = {"mobilenet_v1": ("MobileNet", {"alpha": 0.25}, {"width_mult": 0.25}),
         "mobilenet_v2": ("MobileNetV2", {"alpha": 0.35}, {"width_mult": 0.35}),
         "mobilenet_v3_small": ("MobileNetV3Small", {"include_preprocessing": False}, {}),
         "inception_v3": ("InceptionV3", {}, {"aux_logits": False}), "xception": ("Xception", {}, {}),}
PLAIN = {"weights": None, "classes": 7, "classifier_activation": None}


@pytest.mark.parametrize("name", NAMES)
def test_a_network_with_keras_weights_answers_as_keras_does(name, keras, tmp_path):
    theirs, settings, ours = NAMES[name]
    make = partial(getattr(keras.applications, theirs), **PLAIN, **settings)
    size = {"inception_v3": (75, 96), "xception": (71, 80)}.get(name, EVEN)
    reference = scattered(make(input_shape=(*size, 3)), size)
    model = models.create_model(name, saved(reference, tmp_path), classes=7, **ours)
    same(model, reference, size)
    if name in ("mobilenet_v1", "mobilenet_v2", "xception"):
        size = tuple(n + 1 for n in size)
        of_other_size = make(input_shape=(*size, 3))
        of_other_size.set_weights(reference.get_weights())
        same(model, of_other_size, size)


@pytest.mark.parametrize("version", [1, 2])
def test_efficientnets_of_fewer_blocks(version, keras, tmp_path):
    from keras.src.applications.efficientnet import EfficientNet
    from keras.src.applications.efficientnet_v2 import EfficientNetV2
    if version == 1:
        reference = EfficientNet(1.0, 0.4, 224, name="b0", **PLAIN, input_shape=(*EVEN, 3), weights_name="b0")
    else:
        reference = EfficientNetV2(1.0, 0.4, 224, name="efficientnetv2-b0", **PLAIN, input_shape=(*EVEN, 3),
                                   include_preprocessing=False)
    scale = 255.0 if version == 1 else 1.0   # the first divides
    reference = scattered(reference, EVEN, scale)
    same(models.create_model(f"efficientnet_{'v2_' * (version - 1)}b0", saved(reference, tmp_path),
                             classes=7, depth_mult=0.4),
         reference, EVEN, scale)


def test_a_densenet_of_fewer_layers(keras, tmp_path):
    from keras.src.applications.densenet import DenseNet
    blocks = (2, 3, 2, 2)
    reference = scattered(DenseNet(blocks, **PLAIN, input_shape=(*EVEN, 3)), EVEN)
    same(models.create_model("densenet121", saved(reference, tmp_path), classes=7, block_config=blocks),
         reference, EVEN)


def test_an_inception_resnet_of_fewer_blocks(keras, tmp_path, monkeypatch):
    from keras.src.applications import inception_resnet_v2
    monkeypatch.setattr(inception_resnet_v2, "range", lambda first, last: range(first, first + 2),
                        raising=False)
    size = (75, 96)
    reference = scattered(inception_resnet_v2.InceptionResNetV2(**PLAIN, input_shape=(*size, 3)), size)
    with pyops.nn.init.skip_draws():
        model = models.inception_resnet_v2(num_classes=7)
    for repeated in ("repeat", "repeat_1", "repeat_2"):
        setattr(model, repeated, pyops.nn.Sequential(*list(getattr(model, repeated).children())[:2]))
    weights.load(model, saved(reference, tmp_path))
    same(model, reference, size)


def keras_resnet(blocks, preact, size):
    from keras.src.applications import resnet
    stack = resnet.stack_residual_blocks_v2 if preact else resnet.stack_residual_blocks_v1

    def stages(x):
        for number, (filters, count) in enumerate(zip((64, 128, 256, 512), blocks)):
            x = stack(x, filters, count, stride1=(1 if number == (3 if preact else 0) else 2),
                      name=f"conv{number + 2}")
        return x
    return resnet.ResNet(stages, preact, True, weights=None, classes=7, classifier_activation=None,
                         input_shape=(*size, 3))


@pytest.mark.parametrize("family", ["ResNet", "ResNetV2"])
def test_residual_networks_have_keras_strides_and_biases(family, keras, tmp_path):
    blocks = (2, 2, 3, 2)
    reference = scattered(keras_resnet(blocks, family == "ResNetV2", EVEN), EVEN)
    model = (ResNetV2(blocks, num_classes=7) if family == "ResNetV2"
             else ResNet(Bottleneck, blocks, num_classes=7))
    weights.load(model, saved(reference, tmp_path))
    same(model, reference, EVEN)
    # what is saved comes back in the same layout
    weights.save(model, tmp_path / "ours.safetensors")
    again = (ResNetV2(blocks, num_classes=7) if family == "ResNetV2"
             else ResNet(Bottleneck, blocks, num_classes=7))
    weights.load(again, tmp_path / "ours.safetensors")
    same(again, reference, EVEN)


@pytest.mark.parametrize("large", [False, True], ids=["as mobile", "as large"])
def test_nasnet_is_named(large, keras, tmp_path):
    from keras.src.applications.nasnet import NASNet
    filters, blocks = 8, 2
    reference = scattered(NASNet((64, 64, 3), 24 * filters, blocks, 6, large, 2, weights=None, classes=7,
                                 classifier_activation=None, default_size=64, include_top=True))
    model = models.NASNet(filters, blocks, 6, 64, large, num_classes=7)
    weights.load(model, saved(reference, tmp_path))
    same(model, reference, (64, 64))


def test_vggs_trunk_and_the_order_of_its_flattened_maps(keras, tmp_path):
    reference = scattered(keras.applications.VGG16(weights=None, include_top=False, input_shape=(*EVEN, 3)),
                          EVEN)
    same(models.create_model("vgg16", saved(reference, tmp_path), include_top=False), reference, EVEN)
    kernel = np.random.default_rng(0).standard_normal((7 * 7 * 512, 3)).astype(np.float32)
    maps = np.random.default_rng(1).standard_normal((2, 7, 7, 512)).astype(np.float32)
    ours = keras_names.kernel_of(pyops.nn.Linear(7 * 7 * 512, 3), kernel)
    assert np.allclose(maps.transpose(0, 3, 1, 2).reshape(2, -1) @ ours.T, maps.reshape(2, -1) @ kernel,
                       rtol=1e-3, atol=1e-3)


def test_a_trunk_takes_a_file_with_a_head_and_earlier_versions_files_load(keras, tmp_path):
    reference = scattered(keras.applications.MobileNet(weights=None, classes=7, alpha=0.25,
                                                       input_shape=(64, 64, 3), classifier_activation=None))
    with_head = saved(reference, tmp_path)
    reference.save(tmp_path / "whole.h5")
    trunk = models.create_model("mobilenet_v1", with_head, include_top=False, width_mult=0.25)
    whole = models.create_model("mobilenet_v1", tmp_path / "whole.h5", classes=7, width_mult=0.25)
    assert np.array_equal(trunk.blocks[0][0].conv_dw.weight.data, whole.blocks[0][0].conv_dw.weight.data)
    same(whole, reference, (64, 64))


def test_a_keras_file_that_does_not_fit_is_reported(keras, tmp_path):
    path = saved(keras.applications.MobileNet(weights=None, classes=7, alpha=0.25, input_shape=(64, 64, 3)),
                 tmp_path)
    with pytest.raises(ValueError, match="has 7 classes, the model 9; create it with classes=7"):
        models.create_model("mobilenet_v1", path, classes=9, width_mult=0.25)
    with pytest.raises(ValueError, match=r"does not fit MobileNetV1: \d+ of its \d+ arrays match"):
        models.create_model("mobilenet_v1", path, classes=7)
    with pytest.raises(ValueError,
                       match=r"does not fit DenseNet: \d+ of its \d+ arrays match (?s:.*)features.conv0"):
        models.create_model("densenet121", path)
    with pytest.raises(ValueError, match="keras.applications has no SqueezeNet"):
        models.create_model("squeezenet1_1", path)
    with pytest.raises(ValueError, match="aux_logits=False"):
        models.create_model("inception_v3", path)
    (tmp_path / "bad.h5").write_bytes(b"\x10" * 40)
    with pytest.raises(ValueError, match="not an .h5 file of weights"):
        models.create_model("mobilenet_v1", tmp_path / "bad.h5")


def forged_h5(path, build):
    import h5py
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/x/vars")
        group.attrs["name"] = "conv2d"
        build(h5py, group)
    return path


@pytest.mark.parametrize("build, match", [
    (lambda h5py, g: g.create_dataset("0", (3,), "u1", external=[("/etc/passwd", 0, 3)]), "numbers in other files"),
    (lambda h5py, g: g.__setitem__("0", h5py.ExternalLink("/etc/other.h5", "/w")), "a link to '/etc/other.h5'"),
    (lambda h5py, g: g.__setitem__("0", h5py.SoftLink("/w")), "a link to '/w'"),
    (lambda h5py, g: g.create_virtual_dataset("0", h5py.VirtualLayout((3,), "f4")), "numbers in other files"),
    (lambda h5py, g: g.create_dataset("0", (1 << 40,), "f4", chunks=(1 << 10,)), "claims 4398046511104 bytes"),
    (lambda h5py, g: g.create_dataset("0", (3,), "f4", chunks=(3,), scaleoffset=2), "filter 6"),
    (lambda h5py, g: g.create_dataset("0", data=["a"]), "is of type object"),
    (lambda h5py, g: g.create_group("0"), "is no array"),
    (lambda h5py, g: g.__setitem__("abc", np.ones(3)), "arrays called 0, 1"),
], ids=["external", "link", "soft", "virtual", "claims", "filter", "strings", "group", "names"])
def test_an_h5_file_names_nothing_outside_and_claims_no_more_than_it_holds(tmp_path, build, match):
    with pytest.raises(ValueError, match=match):
        keras_names.read(forged_h5(tmp_path / "a.h5", build))


def test_what_an_h5_file_did_not_write_is_zero(tmp_path):
    def build(h5py, group):
        group.create_dataset("0", (4096, 64), "f4", chunks=(1024, 64), compression="gzip")[2048, 5] = 7
    (array,), = keras_names.read(forged_h5(tmp_path / "a.h5", build)).values()
    want = np.zeros((4096, 64), np.float32)
    want[2048, 5] = 7
    assert np.array_equal(array, want)
