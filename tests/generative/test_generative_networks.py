"""Networks that make images beside the same layers in torch, in float64: what they make, and the
gradient of every array for a loss of the result."""
import numpy as np
import pytest

import pyops
from pyops import Tensor, models
from pyops.models.generative.base import Turn, with_maps
from pyops.models.registry import NETWORKS

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
    for p, q in zip((*ours.parameters(), *mine), (*twins.in_order(theirs), *other)):
        near(p.grad, q.grad, tolerance)


def near(got, want, tolerance):
    want = want.detach().numpy()
    assert np.abs(got - want).max() <= tolerance * max(1.0, np.abs(want).max())


@pytest.mark.parametrize("size, channels", [(8, 1), (32, 3)])
def test_dcgans_networks(size, channels):
    model = models.DCGAN(size, channels, base=4, latent=7)
    assert_same(model.generator, twins.dcgan_generator(size, channels, 4, 7), numbers(3, 7))
    assert_same(model.discriminator, twins.dcgan_discriminator(size, channels, 4), numbers(3, channels, size, size))


def test_the_first_gan():
    model = models.GAN(6, latent=5, hidden=8, units=4, pieces=3, dropout=0.0)
    assert_same(model.generator, twins.gan_generator(6, 5, 8), numbers(3, 5))
    assert_same(model.discriminator, twins.gan_discriminator(6, 4, 3), numbers(3, 1, 6, 6))


def test_pix2pix():
    model = models.Pix2Pix(64, 2, 3, base=2, depth=6, layers=2, dropout=0.0)
    assert_same(model.generator, twins.UNetBlock(2, 3, [2, 4, 8, 16, 16, 16]), numbers(2, 2, 64, 64), tolerance=1e-8)
    assert_same(model.discriminator, twins.patch_discriminator(5, 2, 2, torch.nn.BatchNorm2d, False),
                numbers(2, 5, 64, 64))


def test_cyclegan():
    model = models.CycleGAN(16, 2, base=4, blocks=2, layers=1)
    for ours in (model.there, model.back):
        assert_same(ours, twins.resnet_generator(2, 4, 2), numbers(2, 2, 16, 16), tolerance=1e-8)
    assert_same(model.judge_a, twins.patch_discriminator(2, 4, 1, torch.nn.InstanceNorm2d, True), numbers(2, 2, 16, 16),
                tolerance=1e-8)


def test_stylegan():
    model = models.StyleGAN(16, 2, base=4, latent=6, style=5, layers=3)
    assert_same(model.generator, twins.StyleGenerator(2, [8, 4], 6, 5, 3), numbers(3, 6))


@pytest.mark.parametrize("name", ["srcnn", "espcn"])
def test_super_resolution(name):
    model = pyops.create_model(name, factor=2, channels=2)
    nn = torch.nn
    if name == "srcnn":
        theirs = nn.Sequential(nn.Upsample(scale_factor=2, mode="bicubic"), nn.Conv2d(2, 64, 9, padding=4), nn.ReLU(),
                               nn.Conv2d(64, 32, 1), nn.ReLU(), nn.Conv2d(32, 2, 5, padding=2))
    else:
        theirs = nn.Sequential(nn.Conv2d(2, 64, 5, padding=2), nn.Tanh(), nn.Conv2d(64, 32, 3, padding=1), nn.Tanh(),
                               nn.Conv2d(32, 8, 3, padding=1), nn.PixelShuffle(2))
    assert_same(model, theirs, numbers(2, 2, 7, 9))


def test_vaes_loss(monkeypatch):
    model = models.VAE(8, 2, base=3, latent=4, hidden=7, beta=2.5)
    theirs = twins.Vae(8, 2, [3], 4, 7)
    twins.same_weights(model, theirs)
    x = np.tanh(numbers(5, 2, 8, 8))
    pyops.manual_seed(3)
    parts = model.objective("autoencoder", Turn(x, None, model.players))
    noise = pyops.manual_seed(3).standard_normal((5, 4), np.float32).astype(float)
    want = theirs(torch.from_numpy(x), torch.from_numpy(noise), 2.5)
    for got, w in zip(parts.values(), want):
        near(got.data, w, 1e-9)
    sum(parts.values(), Tensor(np.zeros(()))).backward()
    sum(want).backward()
    for p, q in zip(model.parameters(), theirs.parameters()):
        near(p.grad, q.grad, 1e-8)


def test_vqvae_takes_the_nearest_entry_and_passes_gradients_on():
    model = models.VQVAE(8, 1, hidden=4, entries=6, depth=3).double()
    x = np.tanh(numbers(2, 1, 8, 8))
    model.book.weight.data[...] = np.moveaxis(model.encoder(Tensor(x)).data, 1, -1).reshape(-1, 3)[:6] + 1e-3
    found, codes = model.encode(Tensor(x))
    vectors, book = torch.from_numpy(np.moveaxis(found.data, 1, -1)), torch.from_numpy(model.book.weight.data)
    away = torch.cdist(vectors.reshape(-1, 3), book)
    assert np.array_equal(codes.ravel(), away.argmin(1)) and len(np.unique(codes)) > 1
    parts = model.objective("autoencoder", Turn(x, None, model.players))
    nearest = np.moveaxis(book.numpy()[codes], -1, 1)
    assert parts["book"].item() == pytest.approx(((found.data - nearest) ** 2).mean())
    assert parts["commitment"].item() == pytest.approx(0.25 * parts["book"].item())
    parts["reconstruction"].backward()
    assert model.book.weight.grad is None, "the decoder's gradient goes past the book"
    leaf = Tensor(nearest.copy(), True)
    pyops.functional.mse_loss(model.decoder(leaf), x).backward()
    encoder = [p.grad for p in model.encoder.parameters()]
    for p in model.encoder.parameters():
        p.grad = None
    model.encoder(Tensor(x)).backward(leaf.grad)
    for got, p in zip(encoder, model.encoder.parameters()):
        assert np.abs(got - p.grad).max() < 1e-12
    drawn = model.codes(500, rng=np.random.default_rng(0))
    assert drawn.shape == (500, 2, 2) and set(np.unique(drawn)) <= set(np.unique(codes))


@pytest.mark.parametrize("kind", ["Conv2d", "ConvTranspose2d", "Linear"])
def test_spectral_norm_is_torchs(kind):
    settings = (3, 5, 4) if kind != "Linear" else (7, 5)
    norm = torch.nn.utils.parametrizations.spectral_norm
    theirs = norm(getattr(torch.nn, kind)(*settings).double(), n_power_iterations=2).train()
    ours = pyops.nn.spectral_norm(getattr(pyops.nn, kind)(*settings, dtype=np.float64), n_power_iterations=2).train()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = numbers(2, 7) if kind == "Linear" else numbers(2, 3, 6, 6)
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        got, want = ours(Tensor(x)), theirs(torch.from_numpy(x))
        near(got.data, want, 1e-12)
    for mode in (True, False):
        ours.train(mode)
        theirs.train(mode)
        got, want, seed = ours(Tensor(x)), theirs(torch.from_numpy(x)), numbers(*got.shape, seed=4)
        got.backward(seed)
        want.backward(torch.from_numpy(seed))
    near(ours.parametrizations.weight.original.grad, theirs.parametrizations.weight.original.grad, 1e-11)
    for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values()):
        near(a, b, 1e-12)


def test_a_normalised_layer_is_copied_and_pickled():
    import copy
    import pickle
    layer = pyops.nn.spectral_norm(pyops.nn.Conv2d(2, 3, 3)).eval()
    x = numbers(1, 2, 5, 5).astype(np.float32)
    want = layer(Tensor(x)).data
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert np.array_equal(other(Tensor(x)).data, want) and type(other).__name__ == "ParametrizedConv2d"
        assert other.parametrizations.weight.original is not layer.parametrizations.weight.original
    slope = np.linalg.svd(layer.weight.data.reshape(3, -1))[1][0]
    assert slope == pytest.approx(1, abs=0.02)
    for arguments, words in (((layer,), "normalised already"), ((pyops.nn.ReLU(),), "has no parameter 'weight'"),
                             ((pyops.nn.Linear(2, 2), "weight", 0), "must be positive"),
                             ((pyops.nn.Linear(2, 2), "weight", 1, 1e-12, 2), "dim 2 is no axis")):
        with pytest.raises(ValueError, match=words):
            pyops.nn.spectral_norm(*arguments)


def test_the_gradient_penalty_is_torchs():
    """Its own gradient too, which is a second derivative."""
    critic = models.WGAN(16, 2, base=3, latent=4, penalty=10.0).discriminator
    theirs = torch.nn.Sequential(*(layer for a, b in ((2, 3), (3, 6)) for layer in (
        torch.nn.Conv2d(a, b, 4, 2, 1), torch.nn.LeakyReLU(0.2))), torch.nn.Conv2d(6, 1, 4), torch.nn.Flatten())
    twins.same_weights(critic, theirs)
    real, made = numbers(5, 2, 16, 16), numbers(5, 2, 16, 16, seed=2)
    got = models.gradient_penalty(critic, real, made, np.random.default_rng(7))
    share = torch.from_numpy(np.random.default_rng(7).random((5, 1, 1, 1)))
    x = (share * torch.from_numpy(made) + (1 - share) * torch.from_numpy(real)).requires_grad_()
    slope, = torch.autograd.grad(theirs(x).sum(), x, create_graph=True)
    want = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
    near(got.data, want, 1e-9)
    got.backward()
    want.backward()
    for p, q in zip(critic.parameters(), theirs.parameters()):
        if q.grad is not None and p.grad is not None:
            near(p.grad, q.grad, 1e-9)
        else:
            assert (p.grad is None or not p.grad.any()) and (q.grad is None or not q.grad.any()), "the last bias"


@pytest.mark.parametrize("norm, activation, loss", [
    ("batch", "GELU", "mse_loss"), ("instance", "SiLU", "smooth_l1_loss"), ("group", "Softplus", "huber_loss"),
    ("layer", "Mish", "binary_cross_entropy_with_logits"), ("batch", "ELU", "soft_margin_loss")])
def test_create_graph_through_a_network_is_torchs(norm, activation, loss):
    """The gradient of a gradient's norm, for every weight."""
    def layers(nn, normed):
        return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), normed, getattr(nn, activation)(), nn.MaxPool2d(2),
                             nn.ConvTranspose2d(4, 3, 2, stride=2), nn.Tanh())
    own = {"batch": lambda n: n.BatchNorm2d(4), "instance": lambda n: n.InstanceNorm2d(4, affine=True),
           "group": lambda n: n.GroupNorm(2, 4), "layer": lambda n: n.LayerNorm((4, 6, 6))}[norm]
    ours, theirs = layers(pyops.nn, own(pyops.nn)), layers(torch.nn, own(torch.nn))
    twins.same_weights(ours, theirs)
    x, target = numbers(3, 2, 6, 6), np.sign(numbers(3, 3, 6, 6, seed=3))
    mine, other = Tensor(x, True), torch.from_numpy(x).requires_grad_()
    value = getattr(pyops.functional, loss)(ours(mine), target)
    slope, = pyops.grad(value, [mine], create_graph=True)
    theirs_value = getattr(torch.nn.functional, loss)(theirs(other), torch.from_numpy(target))
    want, = torch.autograd.grad(theirs_value, other, create_graph=True)
    near(slope.data, want, 1e-10)
    pyops.functional.sum(slope * slope).backward()
    (want * want).sum().backward()
    near(mine.grad, other.grad, 1e-8)
    for p, q in zip(ours.parameters(), theirs.parameters()):
        near(np.zeros(p.shape) if p.grad is None else p.grad, torch.zeros(q.shape) if q.grad is None else q.grad, 1e-8)


@pytest.mark.parametrize("name", [n.name for n in NETWORKS.values() if n.task == "generative"])
def test_published_numbers_of_parameters(name):
    with pyops.nn.init.skip_draws():
        model = pyops.create_model(name)
    count = sum(p.size for p in model.parameters())
    assert NETWORKS[name].published in (None, count) and model.image == NETWORKS[name].image


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


SMALL = {"pix2pix": {"size": 32, "base": 4, "depth": 5}, "cyclegan": {"size": 16, "base": 4, "blocks": 1},
         "gan_mlp": {"hidden": 16, "units": 4}, "dcgan_64": {"base": 2}, "dcgan_128": {"base": 2},
         "vqvae_32": {"hidden": 8, "entries": 12, "depth": 5}, "vae_32": {"base": 4, "hidden": 16},
         "stylegan_32": {"base": 4}, "srcnn": {}, "espcn": {}}


def small(name):
    return pyops.create_model(name, **SMALL.get(name, {"base": 4}))


@pytest.mark.parametrize("name", [n.name for n in NETWORKS.values() if n.task == "generative"])
def test_a_generator_is_one_program(name):
    model = small(name).eval()
    if isinstance(model, models.ImageTranslator):
        codes = np.tanh(numbers(2, *model.image)).astype(np.float32)
    else:
        codes = model.codes(2)
    program = pyops.compile(model, codes)
    images = model.paint(codes)
    assert model.summary().parameters == sum(p.size for p in model.parameters())
    assert images.shape == (2, *model.pictures)
    assert np.abs(np.asarray(program(codes)) - images).max() < 1e-4 * max(1.0, np.abs(images).max())


def test_images_that_a_translator_cannot_take():
    model = small("pix2pix")
    with pytest.raises(ValueError, match="multiples of 32"):
        model.paint(np.zeros((1, 3, 40, 32)))
    with pytest.raises(ValueError, match=r"images must be \(N, 3, H, W\)"):
        model.paint(np.zeros((1, 1, 32, 32)))
    with pytest.raises(ValueError, match="made of images"):
        model.codes(2)
    with pytest.raises(ValueError, match=r"0 \.\. 11"):
        small("vqvae_32").paint(np.full((1, 8, 8), 12))
    with pytest.raises(ValueError, match="whole numbers"):
        small("vqvae_32").paint(np.zeros((1, 8, 8)))


def test_a_pool_of_images_exchanges_some():
    pool, rng = models.ImagePool(3), np.random.default_rng(0)
    first = np.arange(3, dtype=np.float32).reshape(3, 1, 1, 1)
    assert np.array_equal(pool.exchanged(first, rng), first), "until it is full"
    given = np.arange(3, 103, dtype=np.float32).reshape(100, 1, 1, 1)
    found = pool.exchanged(given, rng)
    kept = pool.images.ravel()
    assert 30 < (found != given).sum() < 70 and sorted([*found.ravel(), *kept]) == sorted([*range(103)][0:103])
    none = models.ImagePool(0)
    assert np.array_equal(none.exchanged(given, rng), given)
