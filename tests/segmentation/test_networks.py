"""Networks that label pixels beside independent ones with the same weights, in float64: logits, and
the gradient of every array in a training step."""
import numpy as np
import pytest
import torch_segmentation as twins

import pyops
from pyops import Tensor, models, nn, no_grad
from pyops.models.registry import NETWORKS
from pyops.models.segmentation.trunk import dilated_resnet

torch = pytest.importorskip("torch")
SIZES = {"fcn": (33, 50), "deeplabv3plus": (64, 96)}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pyops.num_threads(1):
        yield
    torch.set_num_threads(before)


def image(*shape):
    return np.random.default_rng(0).standard_normal(shape)


def blank(make, *args, **settings):
    """A network whose arrays hold zeros, which nobody needs to draw."""
    with nn.init.skip_draws():
        model = make(*args, **settings)
    for p in model.parameters():
        p.data[...] = 0
    return model


def filled(model, seed=0):
    rng = np.random.default_rng(seed)
    for key, p in model.named_parameters():
        if not key.startswith(("twice", "upscore")):   # bilinear
            p.data[...] = rng.standard_normal(p.shape) * (2 / max(1, p.size // len(p.data))) ** 0.5
    return model


def undrawn(*networks):
    for network in networks:
        for layer in network.modules():
            if type(layer).__name__ == "Dropout":
                layer.p = 0.0


def assert_same_step(ours, theirs, x, names=lambda name: name, tolerance=1e-8):
    """Both in training, ours with theirs' weights. names: ours of a name of theirs."""
    theirs, ours = theirs.double().train(), ours.double().train()
    state = {names(k): v for k, v in theirs.state_dict().items()}
    assert sorted(state) == sorted(ours.state_dict())
    ours.load_state_dict(state)
    undrawn(ours, theirs)
    got, want = ours(Tensor(x)), theirs(torch.from_numpy(x))
    got = got if isinstance(got, tuple) else (got,)
    want = list(want.values()) if isinstance(want, dict) else list(want) if isinstance(want, tuple) else [want]
    their_loss = 0
    loss = 0
    for ours_out, theirs_out in zip(got, want, strict=True):
        expected = theirs_out.detach().numpy()
        assert ours_out.shape == expected.shape
        assert np.abs(ours_out.data - expected).max() <= tolerance * np.abs(expected).max()
        factor = np.random.default_rng(1).standard_normal(expected.shape)
        their_loss = their_loss + (theirs_out * torch.from_numpy(factor)).sum()
        loss = loss + (ours_out * factor).sum()
    loss.backward(), their_loss.backward()
    wanted = {names(k): p.grad.numpy() for k, p in theirs.named_parameters()}
    greatest = max(np.abs(w).max() for w in wanted.values())
    for key, p in ours.named_parameters():
        scale = max(np.abs(wanted[key]).max(), 1e-8 * greatest)   # a bias before a norm has none but rounding
        assert np.abs(p.grad - wanted[key]).max() <= 1e-5 * scale, key


def torchvision_segmentation():
    return pytest.importorskip("pyops.bench.torchvision_schemas").torchvision.models.segmentation


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large",
                                  "fcn_resnet50", "deeplabv3_resnet50"])
def test_torchvisions_weights_give_torchvisions_step(name):
    settings = {} if name.startswith("lraspp") else {"aux_loss": True}
    theirs = getattr(torchvision_segmentation(), name)(weights=None, weights_backbone=None, num_classes=5,
                                                       **settings)
    ours = blank(pyops.create_model, name, classes=5, **settings)
    assert_same_step(ours, theirs, image(2, 3, 49, 66))


@pytest.mark.parametrize("name", [n.name for n in NETWORKS.values() if n.task == "segmentation"])
def test_every_network_labels_every_pixel(name):
    """And the published numbers of parameters, of torchvision's with their auxiliary classifier."""
    with nn.init.skip_draws():
        auxiliary = {"aux_loss": True} if name.startswith(("deeplabv3_", "fcn_")) and "small" not in name else {}
        model = pyops.create_model(name, **auxiliary)
        if NETWORKS[name].published is not None:
            assert sum(p.size for p in model.parameters()) == NETWORKS[name].published
        model = pyops.create_model(name, classes=3).eval()
    if name in ("fcn32s", "fcn16s", "fcn8s"):   # an image grows by 200 pixels
        model.fc6, model.fc7, model.score = nn.Conv2d(512, 4, 7), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 3, 1)
    size = NETWORKS[name].smallest or (3, 48, 64)
    with no_grad():
        labels = model.labels(Tensor(image(1, *size).astype(np.float32)))
    assert labels.shape == (1, *size[1:]) and labels.dtype == np.uint8


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_fcn_is_the_papers(stride):
    """Against torch's functions, written down once more; and of a constant image that the network
    passes on, each class is interpolated by itself."""
    model = blank(models.FCN, stride, num_classes=2)
    # 4,096 channels would take gigabytes
    model.fc6, model.fc7, model.score = nn.Conv2d(512, 6, 7), nn.Conv2d(6, 5, 1), nn.Conv2d(5, 2, 1)
    filled(model.double().eval())
    x = image(1, 3, 40, 33)
    with torch.no_grad(), no_grad():
        want = twins.fcn({k: torch.from_numpy(v) for k, v in model.state_dict().items()}, torch.from_numpy(x), stride)
        got = model(Tensor(x)).data
    assert got.shape == (1, 2, 40, 33)
    assert np.abs(got - want.numpy()).max() <= 1e-10 * np.abs(got).max()


@pytest.mark.parametrize("name, settings", [("segnet", {}), ("segnet", {"depth": 2}), ("segnet_basic", {})])
def test_segnet_is_the_same_network_in_torch(name, settings):
    ours = pyops.create_model(name, classes=4, base=8, **settings)
    theirs = twins.SegNet(ours) if name == "segnet" else twins.SegNetBasic(ours)
    assert_same_step(ours, theirs, image(2, 3, 37, 50))


@pytest.mark.parametrize("name", ["deeplab_largefov", "deeplab_aspp_s"])
def test_deeplab_is_the_same_network_in_torch(name):
    ours = filled(blank(pyops.create_model, name, classes=4))
    theirs = twins.DeepLab((12,) if name == "deeplab_largefov" else (2, 4, 8, 12), 4, name == "deeplab_largefov")
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
    assert_same_step(ours, theirs, image(1, 3, 41, 50))


@pytest.mark.parametrize("stride, blocks", [
    (2, [(8, 8, 2, 1, 1), (8, 16, 1, 1, 2), (16, 32, 1, 2, 4), (32, 32, 1, 4, 16)]),
    (8, [(8, 8, 2, 1, 1), (8, 16, 2, 1, 1), (16, 32, 2, 1, 1), (32, 32, 1, 1, 4)])])
def test_deeplab_v3_small_is_the_same_network_in_torch(stride, blocks):
    theirs = twins.DeepLabV3Small(blocks, torchvision_segmentation().deeplabv3.ASPP(32, [2, 4, 6], 32), 5)
    ours = blank(pyops.create_model, "deeplabv3_small", classes=5, base=8, output_stride=stride)
    assert_same_step(ours, theirs, image(2, 3, 33, 50))


@pytest.mark.parametrize("make, settings, match", [
    ("segnet", {"depth": 6}, "SegNet: depth must be 1 to 5, .* got 6"),
    ("segnet", {"depth": 0}, "got 0"), ("segnet", {"depth": 2.0}, "got 2.0"),
    ("segnet", {"depth": True}, "depth must be an int, got True"), ("unet", {"base": 0}, "base must be at least 1"),
    ("unet", {"padded": 1}, "padded must be True or False, got 1"), ("fcn8s", {"num_classes": 0}, "at least 1, got 0"),
    ("fcn8s", {"dropout": None}, "dropout must be a number, got None"),
    ("deeplabv3_small", {"rates": 3}, "rates must be a sequence of ints, got 3"),
    ("pspnet_resnet50", {"bins": (1, 0)}, "PSPNet: bins must be at least 1, got 0"),
    ("deeplabv3_small", {"rates": (2, 2.5)}, "rates must be an int, got 2.5"),
    ("vae_32", {"beta": float("nan")}, "beta must be finite, got nan"), ("pix2pix", {"layers": 0}, "at least 1, got 0"),
    ("deeplabv3_small", {"output_stride": 3}, "output_stride must be 1, 2, 4, 8 or 16, got 3")])
def test_settings_that_no_network_has_are_refused(make, settings, match):
    with pytest.raises(ValueError, match=match):
        pyops.create_model(make, **settings)


@pytest.mark.parametrize("made", [lambda: models.SegNet(depth=True), lambda: models.UNet(num_classes=True),
                                  lambda: nn.Conv2d(3, True, 1)])
def test_truth_values_are_no_sizes(made):
    with pytest.raises(TypeError, match="must be an int, got True"):
        made()


def test_largefov_has_the_papers_parameters():
    """Table 2: 20.5 million."""
    with nn.init.skip_draws():
        assert round(sum(p.size for p in models.deeplab_largefov().parameters()) / 1e6, 1) == 20.5


@pytest.mark.parametrize("make", ["deeplabv2_resnet101", "pspnet_resnet50"])
def test_heads_on_a_dilated_resnet_are_the_same_in_torch(make):
    """With ResNet-50 for both: the trunks are torchvision's, the heads written in the test."""
    torchvision = pytest.importorskip("pyops.bench.torchvision_schemas").torchvision
    ours = blank(pyops.create_model, make, classes=3)
    ours.backbone = blank(dilated_resnet, models.resnet50, 8)
    theirs = twins.OnResNet(torchvision.models.resnet50(replace_stride_with_dilation=[False, True, True]),
                            twins.AddedScores(3) if make.startswith("deeplab") else twins.Pyramid(3),
                            None if make.startswith("deeplab") else twins.auxiliary(3))
    assert_same_step(ours, theirs, image(2, 3, 49, 66))


def test_deeplab_v3_plus_is_the_same_network_in_torch():
    torchvision = pytest.importorskip("pyops.bench.torchvision_schemas").torchvision
    ours = blank(models.deeplabv3plus_resnet50, 3)
    theirs = twins.DeepLabV3Plus(torchvision.models.resnet50(replace_stride_with_dilation=[False, False, True]), 3)
    assert_same_step(ours, theirs, image(2, 3, 64, 96))


@pytest.mark.parametrize("stride, sizes", [(8, (8, 12)), (16, (4, 6)), (32, (2, 3))])
def test_a_dilated_resnet_keeps_its_resolution(stride, sizes):
    with nn.init.skip_draws():
        trunk = dilated_resnet(models.resnet50, stride, (1, 2, 4))
    assert [block.conv2.dilation[0] for block in trunk.layer4] == [32 // stride * n for n in (1, 2, 4)]
    with no_grad():
        assert trunk.eval().stages(Tensor(image(1, 3, 64, 96).astype(np.float32)))[-1].shape[2:] == sizes


def test_multiple_scales_take_the_larger_score():
    model = models.unet(num_classes=3, base=4, depth=1).double().eval()
    x = Tensor(image(1, 3, 32, 48))
    with no_grad():
        both = models.multi_scale(model, x, (0.5, 1)).data
        one, half = (models.multi_scale(model, x, (scale,)).data for scale in (1, 0.5))
        assert np.array_equal(one, model(x).data)
    assert np.array_equal(both, np.maximum(one, half)) and (both > one).any() and (both == one).any()


def test_the_loss_leaves_unlabelled_pixels_out():
    rng = np.random.default_rng(0)
    model = models.unet(num_classes=4, base=4, depth=1)
    masks = rng.integers(0, 4, (2, 8, 8))
    masks[0, :4] = 255
    logits = rng.standard_normal((2, 4, 8, 8)).astype(np.float32)
    log = torch.log_softmax(torch.from_numpy(logits).double(), 1)
    want = torch.nn.functional.nll_loss(log, torch.from_numpy(masks), ignore_index=255).item()
    assert model.loss(Tensor(logits), masks).item() == pytest.approx(want, rel=1e-6)
    pair = model.loss((Tensor(logits), Tensor(logits)), masks).item()
    assert pair == pytest.approx(1.4 * want, rel=1e-6)


def test_the_papers_count_the_same_layers():
    """U-Net's section 2: 23 convolutional layers. SegNet's section 3: 13 layers each way; table 6: 117
    MB. PSPNet's figure 3: four levels of a quarter of the channels each beside the maps."""
    def kernels(module):
        return [p.shape for p in module.parameters() if p.ndim == 4]
    with nn.init.skip_draws():
        unet, segnet = models.unet(in_channels=1, padded=False), models.segnet(num_classes=12)
        pspnet = models.pspnet_resnet50()
    assert len(kernels(unet)) == 23
    assert [len(kernels(part)) for part in (segnet.down, segnet.up, segnet.head)] == [13, 12, 1]
    assert sum(4 * p.size for p in segnet.parameters()) // 10 ** 6 == 117
    first, *_ = (m for m in pspnet.modules() if type(m).__name__ == "Pyramid")
    assert kernels(first) == 4 * [(512, 2048, 1, 1)]
    assert (512, 4096, 3, 3) in kernels(pspnet)
    with nn.init.skip_draws():
        three = models.pspnet_resnet50(bins=(1, 2, 4))   # which do not divide 2048
    assert (512, 2048 + 3 * 682, 3, 3) in kernels(three)


# ---- U-Net

def test_unet_without_padding_has_the_papers_sizes():
    with nn.init.skip_draws():
        model = models.unet(in_channels=1, num_classes=1, padded=False)
    assert sum(p.size for p in model.parameters()) == 31_030_593
    assert model.result_size(572) == 388 and model.fitting_size(388) == 572 and model.fitting_size(1) == 188
    for labelled in (1, 4, 5, 20, 21, 388, 389):
        side = model.fitting_size(labelled)
        assert model.result_size(side) >= labelled and model.result_size(side - 16) < labelled
    small = models.unet(in_channels=1, num_classes=2, base=2, depth=2, padded=False).eval()
    with no_grad():
        assert small(Tensor(image(1, 1, 44, 60).astype(np.float32))).shape == (1, 2, 4, 20)
    with pytest.raises(ValueError, match=r"UNet: height and width must be 44 and multiples of 4 more, got \(46, 60\)"):
        small(Tensor(image(1, 1, 46, 60).astype(np.float32)))
    with pytest.raises(ValueError, match=r"multiples of 16, got \(47, 48\)"):
        models.unet(base=2)(Tensor(image(1, 3, 47, 48).astype(np.float32)))


def test_unet_without_padding_is_the_padded_one_in_the_middle():
    """What no padding reached is the same, where both pool the same pixels: at a depth of one."""
    padded = models.unet(in_channels=1, num_classes=2, base=3, depth=1).double().eval()
    bare = models.unet(in_channels=1, num_classes=2, base=3, depth=1, padded=False).double().eval()
    bare.load_state_dict(padded.state_dict())
    x = Tensor(image(1, 1, 52, 44))
    with no_grad():
        small, large = bare(x).data, padded(x).data
    assert small.shape[2:] == (36, 28)
    assert np.abs(small - large[:, :, 8:44, 8:36]).max() <= 1e-12 * np.abs(small).max()


def test_unet_for_volumes_is_the_papers():
    """19,069,955 parameters, which count neither norms nor what enlarging adds."""
    with nn.init.skip_draws():
        model = models.unet_3d()
    counted = sum(p.size for key, p in model.named_parameters()
                  if not isinstance(model.get_submodule(key.rpartition(".")[0]), nn.BatchNorm3d)
                  and not (key.startswith("up") and key.endswith("bias")))
    assert counted == 19_069_955
    ours = models.unet_3d(in_channels=2, num_classes=3, base=2, depth=2)
    assert_same_step(ours, twins.UNet3D(ours), image(2, 2, 8, 4, 12))


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "segnet", "unet"])
def test_a_program_labels_as_the_network_does(name):
    settings = {"base": 16} if name != "lraspp_mobilenet_v3_large" else {}
    model = filled(blank(pyops.create_model, name, classes=5, **settings)).eval()
    x = image(2, 3, 64, 64).astype(np.float32)
    program = pyops.compile(model, x)
    with no_grad():
        want = model(Tensor(x)).data
    assert np.abs(program(x) - want).max() <= 1e-4 * np.abs(want).max()
