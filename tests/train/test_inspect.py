"""Looking inside: maps are the layers', evidence lies where it was put, ascent raises what it
shall, and the command writes its sheets."""
import json

import numpy as np
import pytest

import pyops
from pyops import Tensor, cli, inspect, nn, no_grad
from pyops.models import recipe, weights
from pyops.models.keras_layout import to_keras
from pyops.train import (
    ArrayDataset,
    Digits,
    ImageFolder,
    Normalize,
    Split,
    Trainer,
    checkpoint,
    load_model,
    replace_head,
    uci_digits,
)
from pyops.train.description import describe_images

Image = pytest.importorskip("PIL.Image")


def network():
    pyops.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(),
                         nn.MaxPool2d(2), nn.Conv2d(6, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(4, 3))


class Corner(nn.Module):
    """Class 1's score is the brightness of the lower right quarter; class 0's is 0."""

    def __init__(self):
        self.conv = nn.Conv2d(1, 1, 1, bias=False)
        self.conv.weight.data[...] = 1

    def forward(self, input):
        maps = self.conv(input)
        mask = np.zeros((1, 1, 8, 8), np.float32)
        mask[..., 4:, 4:] = 1 / 16
        score = pyops.functional.sum(pyops.functional.mul(maps, mask), (2, 3))
        return pyops.functional.cat([pyops.functional.mul(score, 0.0), score], 1)


def test_filters_and_maps_are_the_layers():
    model, x = network(), np.random.default_rng(0).standard_normal((2, 3, 12, 12)).astype(np.float32)
    assert len(inspect.filters(model)) == 6 and np.array_equal(inspect.filters(model)[2],
                                                               model[0].weight.data[2])
    assert np.allclose(inspect.filters(model, "3")[1], model[3].weight.data[1].mean(0))
    maps = inspect.feature_maps(model.train(), x)
    with no_grad():
        assert list(maps) == ["0", "3"] and np.array_equal(maps["0"], model[0](Tensor(x)).data)
    assert model.training and not model[0]._hooks
    for bad in (lambda: inspect.filters(model, "1"), lambda: inspect.feature_maps(model, x, ["9"])):
        with pytest.raises(ValueError, match="0, 3"):
            bad()


def test_lenet5s_partial_convolution_is_one_of_its_convolutions():
    model, x = (pyops.models.classification.lenet5(),
                np.random.default_rng(0).standard_normal((1, 1, 32, 32)).astype(np.float32))
    assert [(name, m.shape[1:]) for name, m in inspect.feature_maps(model, x).items()] == [
        ("C1", (6, 28, 28)), ("C3", (16, 10, 10)), ("C5", (120, 1, 1))]
    kernels = inspect.filters(model, "C3")
    assert len(kernels) == 60 and np.array_equal(kernels[7].ravel(), model.C3.weight.data[7])
    assert np.array_equal(inspect.grad_cam(model, x[0], 3), inspect.grad_cam(model, x[0], 3, "C3"))


def test_evidence_lies_where_it_was_put():
    image = np.ones((1, 8, 8), np.float32)
    covered = inspect.occlusion(Corner(), image, 1, 2, 1)
    assert (np.allclose(covered[5:, 5:], 4 / 16) and np.allclose(covered[:3, :3], 0)
            and np.allclose(inspect.occlusion(Corner(), image, 0, 2), 0))
    image = np.zeros((1, 8, 8), np.float32)
    image[0, 6, 1] = 1
    assert np.unravel_index(inspect.grad_cam(Corner(), image, 1).argmax(), (8, 8)) == (6, 1)
    for bad, said in ((lambda: inspect.occlusion(Corner(), image, 2, 2), "0 .. 1"),
                      (lambda: inspect.occlusion(Corner(), image, 0, 9), "1 .. 8"),
                      (lambda: inspect.grad_cam(Corner(), image, 5), "0 .. 1"),
                      (lambda: inspect.grad_cam(Corner(), image, 0, "x"), "no layer 'x'")):
        with pytest.raises(ValueError, match=said):
            bad()


def test_grad_cam_is_the_papers_formula():
    torch = pytest.importorskip("torch")
    model, x = network(), np.random.default_rng(1).standard_normal((3, 12, 12)).astype(np.float32)
    state = {k: torch.from_numpy(v) for k, v in model.state_dict().items()}
    maps = torch.nn.functional.conv2d(torch.nn.functional.max_pool2d(torch.relu(torch.nn.functional.conv2d(
        torch.from_numpy(x)[None], state["0.weight"], state["0.bias"], padding=1)),
                                                                     2),
                                      state["3.weight"], state["3.bias"], padding=1).requires_grad_()
    score = torch.nn.functional.linear(torch.relu(maps).mean((2, 3)), state["7.weight"],
                                       state["7.bias"])[0, 2]
    g, = torch.autograd.grad(score, maps)
    cam = torch.nn.functional.interpolate(
        torch.relu((g.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True)), size=(12, 12),
        mode="bilinear")[0, 0]
    want = (cam / cam.max()).detach().numpy()
    assert np.abs(inspect.grad_cam(model, x, 2) - want).max() < 1e-4


@pytest.mark.parametrize("layer", [None, "3"])
def test_ascent_raises_the_unit(layer):
    model = network()
    made = inspect.maximise(model, (3, 12, 12), 1, layer, steps=30)

    def value(image):
        maps = inspect.feature_maps(model, image[None], [layer or "7"])
        return maps[layer or "7"][0, 1].mean()
    noise = 0.1 * np.random.default_rng(0).standard_normal((3, 12, 12)).astype(np.float32)
    assert (value(made) > value(noise) + 0.2
            and all(p.requires_grad and p.grad is None for p in model.parameters()))
    with pytest.raises(ValueError, match="units 0 .."):
        inspect.maximise(model, (3, 12, 12), 99, layer, steps=1)


def test_a_sheet_holds_its_tiles(tmp_path):
    tiles = [(np.full((4, 4), v, np.uint8), "x") for v in (10, 200, 90)]
    inspect.sheet(tmp_path / "a.png", tiles, "title")
    seen = {int(v) for v in np.unique(np.asarray(Image.open(tmp_path / "a.png").convert("L")))}
    assert {10, 200, 90} <= seen
    with pytest.raises(ValueError, match="a tile must be"):
        inspect.sheet(tmp_path / "a.png", [(np.zeros((2, 4, 4, 4)), "")])
    assert inspect.heat(np.array([[0.0, 1.0]])).tolist() == [[[20, 30, 90], [255, 250, 200]]]


def test_the_command_writes_its_sheets(tmp_path, capsys):
    pytest.importorskip("safetensors")
    model = pyops.create_model("squeezenet1_1", classes=4)
    file, picture = tmp_path / "a.safetensors", tmp_path / "a.png"
    checkpoint.save(file, model.state_dict(), {
        "model": "squeezenet1_1", "settings": json.dumps({"classes": 4}), "image": "[3, 48, 40]"})
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 50, 3), np.uint8)).save(picture)
    arguments = ["inspect", str(file), str(picture), "-o", str(tmp_path / "out"), "--steps", "2"]
    assert cli.main(arguments) == 0 and "class" in capsys.readouterr().out
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert ({"filters.png", "maximised.png", "evidence.png"} <= names
            and sum(n.startswith("maps-") for n in names) >= 3)
    (tmp_path / "bad.png").write_bytes(b"no")
    for changed, said in ((["inspect", str(file), str(tmp_path / "bad.png")], "cannot be read"),
                          (["inspect", str(file), "none.png"], "no such file"),
                          ([*arguments, "--class", "9"], "0 .. 3"),
                          (["inspect", "none", str(picture)], "no such file")):
        assert cli.main(changed) == 2 and said in capsys.readouterr().err
    checkpoint.save(file, model.state_dict(), {})
    assert cli.main(arguments) == 2 and "names no network" in capsys.readouterr().err


# ---- a checkpoint says what its network is and what its images were like

def settled(name, **settings):
    pyops.manual_seed(0)
    return pyops.create_model(name, **settings)


BUILT = {
    "settings": lambda: settled("mobilenet_v1", classes=3, width_mult=0.25, dropout=0.0),
    "activation": lambda: settled("squeezenet1_1", classes=3, classifier_activation="sigmoid"),
    "keras": lambda: in_keras_layout(settled("mobilenet_v1", classes=3, width_mult=0.25)),
    "head": lambda: replace_head(settled("mobilenet_v1", include_top=False, width_mult=0.25), 3, hidden=(8,),
                                 dropout=0.1, pooling="max"),
    "head_for_top": lambda: replace_head(in_keras_layout(settled("resnet50_v2", classes=7)), 3),
    "trunk": lambda: settled("squeezenet1_1", include_top=False, pooling="max"),
    "tuple": lambda: settled("densenet121", classes=3, block_config=(1, 2), growth_rate=8),
    "numpy": lambda: settled("squeezenet1_1", classes=3, dropout=np.float32(0.25)),
}


def in_keras_layout(model):
    to_keras(model)
    return model


@pytest.mark.parametrize("name", BUILT)
def test_a_file_of_weights_builds_its_network_again(name, tmp_path):
    pytest.importorskip("safetensors")
    model = BUILT[name]()
    weights.save(model, tmp_path / "a.safetensors")
    again, metadata = load_model(tmp_path / "a.safetensors")
    x = Tensor(np.random.default_rng(0).standard_normal((2, 3, 64, 50)).astype(np.float32))
    with no_grad():
        assert not again.training and np.array_equal(again(x).data, model.eval()(x).data)
    drops = [[m.p for m in one.modules() if isinstance(m, nn.Dropout)] for one in (model, again)]
    assert drops[0] == drops[1] and metadata["model"] in pyops.models.list_models()
    weights.save(again, tmp_path / "b.safetensors")
    assert load_model(tmp_path / "b.safetensors")[1] == metadata


def test_a_file_that_cannot_be_built_again_says_why(tmp_path):
    pytest.importorskip("safetensors")
    path, arrays = tmp_path / "a.safetensors", settled("squeezenet1_1", classes=3).state_dict()
    for told, said in (({}, "names no network"), ({"model": "resnet5O"}, "did you mean resnet50"),
                       ({"model": "resnet18"}, "missing"),
                       ({"model": "squeezenet1_1", "settings": '{"blocks": 3}'}, "blocks"),
                       ({"model": "squeezenet1_1", "settings": "{"}, "no JSON"),
                       ({"model": "squeezenet1_1", "settings": '{"classes": 3}', "head": '{"width": 3}'},
                        "width")):
        checkpoint.save(path, arrays, told)
        with pytest.raises(ValueError, match=f"(?s){path}: .*{said}"):
            load_model(path)
    assert recipe.describe(network()) == {} == recipe.describe(pyops.models.squeezenet1_1())


@pytest.mark.parametrize("name", ["settings", "keras", "head"])
def test_a_trainers_checkpoint_is_inspected_without_further_argument(name, tmp_path, capsys):
    """The image reaches the network as the folder's images did in training."""
    pytest.importorskip("safetensors")
    rng = np.random.default_rng(0)
    for kind in ("ant", "bee", "cat"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(rng.integers(0, 256, (60, 50, 3),
                                         np.uint8)).save(tmp_path / "data" / kind / f"{i}.png")
    folder = ImageFolder(tmp_path / "data", (40, 32), resize=(48, 40),
                         prepare=Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    model = BUILT[name]()
    trainer = Trainer(model, Split(folder, folder), tmp_path / "run", epochs=1, batch_size=3,
                      draw_curve=False, metadata={"note": "x"})
    trainer.fit()
    picture = tmp_path / "data" / "bee" / "1.png"
    assert cli.main(["inspect", str(trainer.checkpoint), str(picture), "-o", str(tmp_path / "out"), "--steps",
                     "1"]) == 0
    said = capsys.readouterr().out
    inputs, _ = folder.take(np.array([folder.paths.index(picture)]))
    with no_grad():
        scores = model.eval()(Tensor(inputs)).data[0]
    best = int(scores.argmax())
    assert f"class {best} ({folder.classes[best]}): score {scores[best]:.3f}" in said
    assert (cli.main(["predict", str(trainer.checkpoint), str(picture)]) == 0
            and capsys.readouterr().out.strip() in said)
    assert (checkpoint.load(trainer.checkpoint)[1]["note"] == "x"
            and load_model(trainer.checkpoint)[0].layout == model.layout)


def test_a_checkpoint_of_digits_is_inspected_as_digits(tmp_path, capsys):
    pytest.importorskip("safetensors")
    pytest.importorskip("sklearn")
    data = uci_digits()
    small = Digits(data.name, data.box, data.train_images[:64], data.train_labels[:64], data.test_images[:20],
                   data.test_labels[:20])
    trainer = Trainer(settled("lenet5_modern"), small, tmp_path, epochs=1, draw_curve=False)
    trainer.fit()
    Image.fromarray(255 - data.test_images[0]).resize((90, 90)).save(tmp_path / "digit.png")
    assert cli.main(["inspect", str(trainer.checkpoint), str(tmp_path / "digit.png"), "-o",
                     str(tmp_path / "out"), "--steps", "1"]) == 0
    assert "class" in capsys.readouterr().out
    weights.save(settled("squeezenet1_1", include_top=False), tmp_path / "trunk.safetensors")
    assert cli.main(["inspect", str(tmp_path / "trunk.safetensors"), str(tmp_path / "digit.png")]) == 2
    assert "without a classifier" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["1998", "modern"])
def test_a_checkpoint_of_train_lenet5_is_a_model_again(form, tmp_path):
    pytest.importorskip("safetensors")
    model = pyops.models.classification.lenet5() if form == "1998" else pyops.models.lenet5_modern()
    checkpoint.save(tmp_path / "a.safetensors", model.state_dict(),
                    {"model": "lenet5", "form": form, "box": 24})
    again, _ = load_model(tmp_path / "a.safetensors")
    x = Tensor(np.random.default_rng(0).standard_normal((2, 1, 32, 32)).astype(np.float32))
    with no_grad():
        assert np.array_equal(again(x).data, model.eval()(x).data)


def test_images_that_only_the_caller_can_prepare_are_named(tmp_path):
    data = ArrayDataset(np.zeros((3, 1, 4, 4), np.float32), np.arange(3), prepare=lambda images: images)
    told = describe_images(data, Split(data, data))
    assert told == {"image": "[1, 4, 4]",
                    "prepare": "test_images_that_only_the_caller_can_prepare_are_named.<locals>.<lambda>"}
