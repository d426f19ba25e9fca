"""The classification networks beside independent implementations with the same weights: answers,
and the published numbers of parameters; create_model; weights from files; every family compiled."""
import numpy as np
import pytest

import pyops
from pyops import Tensor, functional as F, models, nn, no_grad
from pyops.models import weights
from pyops.models.keras_layout import to_keras
from pyops.models.registry import NETWORKS, families

FAMILIES = families()
CLASSIFIERS = [n for n in NETWORKS.values() if n.task == "classification"]
PUBLISHED = {n.name: n.published for n in CLASSIFIERS if n.published is not None}
SAME_AS_TIMM = {n.name: n.timm for n in CLASSIFIERS if n.timm is not None}
SMALL = {n.name: n.smallest for n in CLASSIFIERS if n.smallest is not None}
OF_TORCHVISION = ["squeezenet1_0", "squeezenet1_1", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0",
                  "shufflenet_v2_x1_5", "shufflenet_v2_x2_0",
                  "efficientnet_v2_s", "efficientnet_v2_m", "efficientnet_v2_l"]
FIRST = [makes[0].name for makes in FAMILIES.values()]


def image(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def theirs(name, **settings):
    torch = pytest.importorskip("torch")
    # timm imports torchvision too
    torchvision = pytest.importorskip("pyops.bench.torchvision_schemas").torchvision
    torch.manual_seed(0)
    if name in SAME_AS_TIMM:
        return pytest.importorskip("timm").create_model(SAME_AS_TIMM[name],
                                                        num_classes=settings["num_classes"])
    return getattr(torchvision.models, name)(**settings)


def scatter(model, x):
    """Batch norms with factors that are not all one and the statistics of x, so that the answer
    depends on the image."""
    import torch
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5), torch.nn.init.uniform_(norm.bias, -0.2, 0.2)
        norm.kept, norm.momentum = norm.momentum, 1.0
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    with torch.no_grad():
        model.train()(torch.from_numpy(x))
    for norm in norms:
        norm.momentum = norm.kept
    return model.eval()


def without_dropout(model):
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
        elif isinstance(layer, nn.StochasticDepth):
            layer.p = 0.0
    return model


def count(model):
    return sum(p.size for p in model.parameters())


@pytest.fixture
def one_thread():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pyops.num_threads(1):
        yield
    torch.set_num_threads(before)


def same_answers(model, reference, x):
    """In float64 to 1e-6 (torch's hardswish divides by a rounded 6); in float32 to 1e-4, or where
    the network magnifies rounding more than that, to a few times torch's own error."""
    import torch
    with torch.no_grad(), no_grad():
        single, got = reference.eval()(torch.from_numpy(x)).numpy(), model.eval()(Tensor(x)).data
        want, double = (reference.double()(torch.from_numpy(x).double()).numpy(),
                        model.double()(Tensor(x.astype(np.float64))).data)
    greatest = np.abs(want).max()
    assert np.abs(want[0] - want[1]).max() > 1e-3 * greatest, "the image must matter"
    assert np.abs(double - want).max() <= 1e-6 * greatest
    rounding = np.abs(single - want).max() / greatest
    assert rounding < 1e-3, "float32 must say something"
    assert np.abs(got - want).max() <= max(1e-4, 5 * rounding) * greatest


@pytest.mark.parametrize("name", [*SAME_AS_TIMM, *OF_TORCHVISION])
def test_a_networks_answer_is_the_independent_one(name, one_thread):
    """The other networks of torchvision are in test_models.py, NASNets and all gradients in
    test_classifier_gradients.py."""
    # of fewer images its norms make noise
    x = image(6 if name == "efficientnet_v2_l" else 3, *SMALL.get(name, (3, 64, 50)))
    reference = scatter(theirs(name, num_classes=7), x)
    with nn.init.skip_draws():
        model = models.create_model(name, classes=7)
    assert sorted(model.state_dict()) == sorted(reference.state_dict())
    model.load_state_dict(reference.state_dict())
    same_answers(model, reference, x)


@pytest.mark.parametrize("name", ["plain18", "plain34"])
def test_a_plain_network_is_a_residual_one_without_its_shortcuts(name, one_thread):
    from pyops.bench.torchvision_schemas import torchvision

    class Block(torchvision.models.resnet.BasicBlock):
        def forward(self, x):
            x = self.relu(self.bn1(self.conv1(x)))
            return self.relu(self.bn2(self.conv2(x)))
    reference = torchvision.models.ResNet(Block, [2, 2, 2, 2] if name == "plain18" else [3, 4, 6, 3],
                                          num_classes=7)
    for stage in (reference.layer2, reference.layer3, reference.layer4):
        stage[0].downsample = None
    x = image(2, 3, 64, 50)
    scatter(reference, x)
    model = models.create_model(name, classes=7).eval()
    model.load_state_dict(reference.state_dict())
    same_answers(model, reference, x)


@pytest.mark.parametrize("name", ["all_cnn_a", "all_cnn_b", "all_cnn_c"])
def test_all_cnn_is_the_papers_tables(name, one_thread):
    """Tables 1 and 2, written down once more for torch."""
    from torch import from_numpy, no_grad as without_tape, relu
    from torch.nn.functional import conv2d
    rows = {"all_cnn_a": [(5, 1, 2), (3, 2, 1), (5, 1, 2), (3, 2, 1)],
            "all_cnn_b": [(5, 1, 2), (1, 1, 0), (3, 2, 1)] * 2,
            "all_cnn_c": [(3, 1, 1), (3, 1, 1), (3, 2, 1)] * 2}[name] + [(3, 1, 0), (1, 1, 0), (1, 1, 0)]
    model = models.create_model(name).eval()
    arrays = list(model.state_dict().values())
    x = image(2, 3, 32, 32)
    y = from_numpy(x)
    with without_tape():
        for (kernel, stride, padding), weight, bias in zip(rows, arrays[::2], arrays[1::2], strict=True):
            assert weight.shape[-1] == kernel
            y = relu(conv2d(y, from_numpy(weight), from_numpy(bias), stride, padding))
    assert y.shape[1:] == (10, 6, 6)
    want = y.mean((2, 3)).numpy()
    with no_grad():
        got = model(Tensor(x)).data
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("name", ["b0", "b1", "b2", "b3"])
def test_efficientnet_v2_b_is_timms(name, one_thread):
    """timm pads as TensorFlow does, which is the same where every stride of 2 meets an odd size:
    65, 33, 17, 9, 5, 3."""
    pytest.importorskip("pyops.bench.torchvision_schemas")
    timm = pytest.importorskip("timm")
    x = image(3, 3, 65, 65)
    reference = scatter(timm.create_model(f"tf_efficientnetv2_{name}", num_classes=7), x)
    model = make(f"efficientnet_v2_{name}", classes=7)
    # in the same order under other names
    model.load_state_dict(dict(zip(model.state_dict(), reference.state_dict().values(), strict=True)))
    same_answers(model, reference, x)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_network_has_the_published_parameters(name):
    # torchvision's number is without them
    model = make(name, **({"aux_logits": False} if name == "googlenet" else {}))
    if name.endswith("_v2") and name.startswith("resnet"):
        to_keras(model)   # some convolutions have biases there
    # Keras' Inception-ResNet v2 has no scales in its norms
    less = (sum(m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d))
            if name == "inception_resnet_v2" else 0)
    assert count(model) - less == PUBLISHED[name]


def test_networks_without_a_published_number_have_it_from_others():
    """alexnet_2012's is in test_models.py. The paper rounds those of All-CNN-C; plain networks are
    residual ones without projections."""
    assert round(count(make("all_cnn_c")) / 1e6, 1) == 1.4
    projections = sum(128 * 2 ** i * (64 * 2 ** i + 2) for i in range(3))   # 1x1 convolutions and their norms
    for plain, residual in (("plain18", "resnet18"), ("plain34", "resnet34")):
        assert count(make(plain)) == count(make(residual)) - projections
    assert set(models.list_models(task="classification")) - set(PUBLISHED) == {"alexnet_2012", "all_cnn_a", "all_cnn_b",
                                                          "all_cnn_c", "plain18", "plain34"}


def make(name, **settings):
    with nn.init.skip_draws():
        return models.create_model(name, **settings)


def test_googlenets_loss_weighs_the_auxiliary_classifiers():
    pyops.manual_seed(0)
    model, target = models.googlenet(num_classes=5), np.array([1, 4])
    outputs = model(Tensor(image(2, 3, 64, 64)))
    want = sum(w * F.cross_entropy(one, target).item() for w, one in zip((1, 0.3, 0.3), outputs))
    assert model.loss(outputs, target).item() == pytest.approx(want, rel=1e-6)
    model.loss(outputs, target).backward()
    assert all(p.grad is not None for p in model.parameters())
    alone = model.eval()(Tensor(image(2, 3, 64, 64)))
    assert model.loss(alone, target).item() == pytest.approx(F.cross_entropy(alone, target).item())


# ---- create_model

@pytest.mark.parametrize("name", FIRST)
def test_the_trunk_alone_gives_maps_or_their_pool(name):
    shape = SMALL.get(name, (3, 64, 64))
    x = Tensor(image(2, *shape))
    with no_grad():
        maps = make(name, include_top=False).eval()
        for p in maps.parameters():
            p.data[...] = 0.01
        whole = maps(x)
        for pooling, pool in (("avg", np.mean), ("max", np.max)):
            maps.pooling = pooling
            got = maps(x).data
            assert got.shape == whole.shape[:2] and np.allclose(got, pool(whole.data, (2, 3)), rtol=1e-4)
    assert len(whole.shape) == 4


def test_an_activation_follows_the_logits():
    pyops.manual_seed(0)
    plain = pyops.create_model("squeezenet1_1", classes=5).eval()
    x = Tensor(image(2, 3, 64, 64))
    with no_grad():
        logits = plain(x).data
        for activation, want in (("softmax", F.softmax(logits, 1)), ("sigmoid", F.sigmoid(logits))):
            plain.activation = activation
            assert np.array_equal(plain(x).data, want)


@pytest.mark.parametrize("call, said", [
    (lambda: pyops.create_model("resnet5O"), "resnet50"),
    (lambda: pyops.create_model("zzzz"), "there are lenet5"),
    (lambda: pyops.create_model("resnet18", pooling="avg"), "include_top=False"),
    (lambda: pyops.create_model("resnet18", include_top=False, pooling="mean"), "'avg' or 'max'"),
    (lambda: pyops.create_model("resnet18", classes=0), "positive int"),
    (lambda: pyops.create_model("lenet5", classes=1000), "10 classes, not 1000"),
    (lambda: pyops.create_model("resnet18", classifier_activation="relu"), "'softmax' or 'sigmoid'"),
    (lambda: pyops.create_model("resnet18", include_top="no"), "True or False"),
    (lambda: pyops.create_model("resnet18", classes=5, num_classes=6), "one setting"),
    (lambda: pyops.create_model("resnet18", classes=5.0), "positive int"),
    (lambda: pyops.create_model("mobilenet_v1", width_mult=-1), "width_mult must be positive, got -1"),
    (lambda: pyops.create_model("efficientnet_b0", depth_mult=0), "depth_mult must be positive, got 0"),
    (lambda: pyops.create_model("resnet18", dropout=0.5),
     "resnet18 has no setting dropout; it has num_classes, zero_init_residual"),
])
def test_bad_arguments_are_named(call, said):
    with pytest.raises((ValueError, TypeError), match=f"create_model: .*{said}"):
        call()


def test_numpys_int_is_a_number_of_classes():
    with nn.init.skip_draws():
        model = pyops.create_model("squeezenet1_1", classes=np.int64(5))
    assert model.classifier[1].out_channels == 5


# ---- weights from files

def test_weights_load_from_torchs_file_and_from_safetensors(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file
    reference = theirs("shufflenet_v2_x0_5", num_classes=6)
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    save_file(reference.state_dict(), tmp_path / "weights.safetensors")
    for file in ("weights.pth", "weights.safetensors"):
        model = models.create_model("shufflenet_v2_x0_5", tmp_path / file, classes=6)
        for key, value in reference.state_dict().items():
            assert np.array_equal(model.state_dict()[key], value.numpy()), key
    weights.save(model, tmp_path / "ours.safetensors")
    again = models.create_model("shufflenet_v2_x0_5", tmp_path / "ours.safetensors", classes=6)
    assert all(np.array_equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values()))
    trunk = models.create_model("shufflenet_v2_x0_5", tmp_path / "weights.pth", include_top=False)
    assert np.array_equal(trunk.conv1[0].weight.data, model.conv1[0].weight.data)


def test_timms_vgg_is_renamed(tmp_path):
    pytest.importorskip("pyops.bench.torchvision_schemas")
    timm = pytest.importorskip("timm")
    from safetensors.torch import save_file
    state = timm.create_model("vgg11", num_classes=4).state_dict()
    save_file(state, tmp_path / "vgg.safetensors")
    model = models.create_model("vgg11", tmp_path / "vgg.safetensors", classes=4)
    assert np.array_equal(model.classifier[0].weight.data,
                          state["pre_logits.fc1.weight"].numpy().reshape(4096, -1))


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_b1"])
def test_timms_efficientnet_is_renamed(name, tmp_path, one_thread):
    pytest.importorskip("pyops.bench.torchvision_schemas")
    timm = pytest.importorskip("timm")
    from safetensors.torch import save_file
    x = image(3, 3, 64, 50)
    reference = scatter(timm.create_model(name, num_classes=7), x)
    save_file(reference.state_dict(), tmp_path / "b.safetensors")
    same_answers(models.create_model(name, tmp_path / "b.safetensors", classes=7), reference, x)


def test_weights_that_do_not_fit_are_reported(tmp_path):
    weights.save(make("squeezenet1_1", classes=6), tmp_path / "six.safetensors")
    with pytest.raises(ValueError, match="has 6 classes, the model 9; create it with classes=6"):
        models.create_model("squeezenet1_1", tmp_path / "six.safetensors", classes=9)
    with pytest.raises(ValueError, match=r"does not fit ShuffleNetV2: 0 of its 52 arrays match the model's "
                       r"\d+; it is of squeezenet1_1 with settings"):
        models.create_model("shufflenet_v2_x0_5", tmp_path / "six.safetensors")
    with pytest.raises(FileNotFoundError, match="no such file"):
        models.create_model("squeezenet1_1", tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"\x10" * 40)
    with pytest.raises(ValueError, match="not a safetensors file"):
        models.create_model("squeezenet1_1", tmp_path / "bad.safetensors")
    (tmp_path / "weights.txt").write_text("")
    with pytest.raises(ValueError, match="must end in"):
        models.create_model("squeezenet1_1", tmp_path / "weights.txt")


def test_a_report_shows_something_of_each_kind(tmp_path):
    weights.save(make("resnet18", classes=6), tmp_path / "a.safetensors")
    with pytest.raises(ValueError) as error:
        models.create_model("resnet50", tmp_path / "a.safetensors", classes=6)
    said = str(error.value)
    assert "missing: layer1.0.conv3.weight" in said and "more missing" in said
    assert ("layer1.0.conv1.weight has shape (64, 64, 3, 3), the module's is (64, 64, 1, 1)" in said
            and len(said.splitlines()) < 20)


@pytest.mark.parametrize("wrapped", [lambda s: {"model": s, "epoch": 3},
                                     lambda s: {"model_state_dict": s, "optimizer": {}},
                                     lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}}],
                         ids=["model", "state", "distributed"])
def test_a_training_scripts_file_holds_the_model_under_its_key(wrapped, tmp_path):
    torch = pytest.importorskip("torch")
    model = make("shufflenet_v2_x0_5", classes=3)
    torch.save(wrapped({k: torch.zeros(v.shape) for k, v in model.state_dict().items()}), tmp_path / "a.pth")
    assert not models.create_model("shufflenet_v2_x0_5", tmp_path / "a.pth",
                                   classes=3).conv1[0].weight.data.any()
    torch.save({"net": {"a": torch.zeros(2)}, "epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="no state_dict.* among net, epoch"):
        models.create_model("shufflenet_v2_x0_5", tmp_path / "a.pth")


class Shell:
    def __reduce__(self):
        return print, ("code ran",)


def test_a_torch_file_that_would_run_code_is_refused(tmp_path, capsys):
    torch = pytest.importorskip("torch")
    torch.save({"a": Shell()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="not a file of plain tensors: it holds Python objects"):
        models.create_model("squeezenet1_1", tmp_path / "evil.pth")
    assert "code ran" not in capsys.readouterr().out
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04" + bytes(90))
    with pytest.raises(ValueError, match="or a damaged one"):
        models.create_model("squeezenet1_1", tmp_path / "cut.pth")
    (tmp_path / "text.pth").write_bytes(b"hello, this is no file of weights")
    with pytest.raises(ValueError, match="not a file of torch.save"):
        models.create_model("squeezenet1_1", tmp_path / "text.pth")


# ---- compiled

@pytest.mark.parametrize("name", ["lenet5_modern", *FIRST[1:]])
def test_a_compiled_network_gives_the_eager_answer(name):
    pyops.manual_seed(0)
    shape = SMALL.get(name, (3, 64, 50))
    model, x = models.create_model(name, classes=7), image(2, *shape)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    with no_grad():
        for norm in norms:
            norm.momentum = 1.0
        if norms and name != "inception_v3":   # its auxiliary classifier needs larger images in training
            without_dropout(model).train()(Tensor(image(4, *SMALL.get(name, (3, 96, 96)), seed=1)))
        want = model.eval()(Tensor(x)).data
    got = pyops.compile(model, x)(x)
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


# ---- summary and drawing

def test_a_summary_counts_what_the_layers_hold():
    found = make("squeezenet1_1", include_top=True).summary()
    assert (found.parameters == 1_235_496
            and sum(layer.parameters for layer in found.layers) == found.parameters)
    first = found.layers[0]
    assert ((first.name, first.kind, first.shape) == ("features.0", "Conv2d", (1, 64, 111, 111))
            and first.macs == 64 * 111 * 111 * 27)
    assert "features.3.squeeze" in str(found) and "1,235,496" in str(found)
    model = make("resnet18")
    # torchvision's table: 1.81 billion
    assert model.summary((3, 64, 64)).macs < model.summary().macs == 1_814_073_344
    assert model.training
    with pytest.raises(ValueError, match="without its batch axis"):
        nn.Linear(2, 3).summary()
    assert nn.Linear(2, 3).summary((2,)).macs == 6


@pytest.mark.parametrize("name", ["lenet5", "resnet152", "googlenet", "inception_resnet_v2", "nasnet_mobile",
                                  "shufflenet_v2_x0_5"])
def test_a_drawing_shows_every_value_that_flows_down(name):
    from xml.etree import ElementTree

    from pyops.graph import draw
    model = make(name)
    boxes = draw.merge_repeats(draw.boxes_of(model, draw.graph_of(model, None), 2))
    draw.arrange(boxes)
    assert all(read.layer < box.layer for box in boxes for read in box.reads)
    assert all(box.reads for box in boxes[1:])
    root = ElementTree.fromstring(draw.svg(model))
    assert len(root.findall("{http://www.w3.org/2000/svg}g")) == len(boxes) > 3


def test_the_command_draws(tmp_path, capsys):
    from pyops import cli
    assert (cli.main(["draw", "lenet5", "-o", str(tmp_path / "a.svg")]) == 0
            and (tmp_path / "a.svg").stat().st_size > 500)
    assert cli.main(["draw", "lenet5", "--table"]) == 0 and "C1" in capsys.readouterr().out
    for arguments, said in ((["lenet6"], "lenet5"), (["lenet5", "--size", "9"], "--size"),
                            (["lenet5", "--depth", "0"], "depth"), (["lenet5", "--size", "4x4"], "conv"),
                            (["lenet5", "-o", str(tmp_path / "no" / "a.svg")], "No such file")):
        assert cli.main(["draw", *arguments]) == 2
        assert said in capsys.readouterr().err
