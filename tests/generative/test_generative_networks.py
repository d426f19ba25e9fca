"""Networks that make images beside the same layers in torch, in float64: what they make, and the
gradient of every array for a loss of the result."""
import numpy as np
import pytest

import pyops
from pyops import Tensor, models
from pyops.models.generative.base import with_maps

torch = pytest.importorskip("torch")
twins = pytest.importorskip("torch_generative")


def numbers(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape)


def assert_same(ours, theirs, *inputs, tolerance=1e-9):
    """Results and gradients, of arrays and inputs, of a random projection of the result."""
    twins.same_weights(ours, theirs)
    mine, other = [Tensor(x, True) for x in inputs], [torch.from_numpy(x).requires_grad_() for x in inputs]
    got, want = ours(*mine), theirs(*other)
    assert got.shape == tuple(want.shape)
    near(got.data, want, tolerance)
    seed = numbers(*got.shape, seed=2)
    got.backward(seed)
    want.backward(torch.from_numpy(seed))
    for p, q in zip((*ours.parameters(), *mine), (*theirs.parameters(), *other)):
        near(p.grad, q.grad, tolerance)


def near(got, want, tolerance):
    want = want.detach().numpy()
    assert np.abs(got - want).max() <= tolerance * max(1.0, np.abs(want).max())


@pytest.mark.parametrize("size, channels", [(8, 1), (32, 3)])
def test_dcgans_networks(size, channels):
    model = models.DCGAN(size, channels, base=4, latent=7)
    assert_same(model.generator, twins.dcgan_generator(size, channels, 4, 7), numbers(3, 7))
    assert_same(model.discriminator, twins.dcgan_discriminator(size, channels, 4), numbers(3, channels, size, size))


def test_dcgan_has_as_many_parameters_as_torchs_example():
    with pyops.nn.init.skip_draws():
        model = pyops.create_model("dcgan_64")
    assert sum(p.size for p in model.generator.parameters()) == 3_576_704
    assert sum(p.size for p in model.discriminator.parameters()) == 2_765_568


def test_a_class_is_asked_for():
    model = pyops.create_model("cdcgan_32", channels=1, base=4, latent=5, num_classes=3)
    codes = model.codes(4, [0, 1, 2, 1])
    assert np.array_equal(codes[:, 5:], np.eye(3)[[0, 1, 2, 1]]) and codes.dtype == np.float32
    assert np.array_equal(model.codes(4)[:, 5:].argmax(1), [0, 1, 2, 0])
    images = model.paint(codes)
    assert images.shape == (4, 1, 32, 32) and np.abs(images).max() <= 1
    seen = model.discriminator[0].weight.shape
    assert seen[1] == 1 + 3, "an image and a map a class"
    maps = with_maps(Tensor(images), np.array([0, 1, 2, 1]), 3).data
    assert np.array_equal(maps[:, 1:, 5, 6], np.eye(3)[[0, 1, 2, 1]]) and np.array_equal(maps[:, :1], images)


@pytest.mark.parametrize("labels, words", [([0, 1], "3 whole numbers"), ([0, 1, 5], r"0 \.\. 2"),
                                           ([0.0, 1.0, 2.0], "whole numbers")])
def test_labels_that_are_none(labels, words):
    model = pyops.create_model("cdcgan_32", base=2, num_classes=3)
    with pytest.raises(ValueError, match=words):
        model.codes(3, labels)


def test_what_cannot_be_made():
    with pytest.raises(ValueError, match="power of two"):
        models.DCGAN(48)
    with pytest.raises(ValueError, match="loss must be one of"):
        models.DCGAN(loss="least squares")
    with pytest.raises(ValueError, match="no classes"):
        models.DCGAN(8, base=2).codes(2, [0, 1])
    with pytest.raises(ValueError, match="codes must have shape"):
        models.DCGAN(8, base=2).paint(np.zeros((2, 7)))


def test_a_generator_is_one_program():
    model = pyops.create_model("dcgan_32", base=4).eval()
    codes = model.codes(3)
    program = pyops.compile(model, codes)
    assert np.abs(np.asarray(program(codes)) - model.paint(codes)).max() < 1e-5
