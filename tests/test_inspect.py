"""Looking inside: maps are the layers', evidence lies where it was put, ascent raises what it shall, and the command writes its sheets."""
import json

import numpy as np
import pytest

import pyops
from pyops import Tensor, cli, inspect, nn, no_grad
from pyops.train import checkpoint

Image = pytest.importorskip("PIL.Image")


def network():
    pyops.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
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
    assert len(inspect.filters(model)) == 6 and np.array_equal(inspect.filters(model)[2], model[0].weight.data[2])
    assert np.allclose(inspect.filters(model, "3")[1], model[3].weight.data[1].mean(0))
    maps = inspect.feature_maps(model.train(), x)
    with no_grad():
        assert list(maps) == ["0", "3"] and np.array_equal(maps["0"], model[0](Tensor(x)).data)
    assert model.training and not model[0]._hooks
    for bad in (lambda: inspect.filters(model, "1"), lambda: inspect.feature_maps(model, x, ["9"])):
        with pytest.raises(ValueError, match="0, 3"):
            bad()


def test_evidence_lies_where_it_was_put():
    image = np.ones((1, 8, 8), np.float32)
    covered = inspect.occlusion(Corner(), image, 1, 2, 1)
    assert np.allclose(covered[5:, 5:], 4 / 16) and np.allclose(covered[:3, :3], 0) and np.allclose(inspect.occlusion(Corner(), image, 0, 2), 0)
    image = np.zeros((1, 8, 8), np.float32)
    image[0, 6, 1] = 1
    assert np.unravel_index(inspect.grad_cam(Corner(), image, 1).argmax(), (8, 8)) == (6, 1)
    for bad, said in ((lambda: inspect.occlusion(Corner(), image, 2, 2), "0 .. 1"), (lambda: inspect.occlusion(Corner(), image, 0, 9), "1 .. 8"),
                      (lambda: inspect.grad_cam(Corner(), image, 5), "0 .. 1"), (lambda: inspect.grad_cam(Corner(), image, 0, "x"), "no layer 'x'")):
        with pytest.raises(ValueError, match=said):
            bad()


def test_grad_cam_is_the_papers_formula():
    torch = pytest.importorskip("torch")
    model, x = network(), np.random.default_rng(1).standard_normal((3, 12, 12)).astype(np.float32)
    state = {k: torch.from_numpy(v) for k, v in model.state_dict().items()}
    maps = torch.nn.functional.conv2d(torch.nn.functional.max_pool2d(torch.relu(torch.nn.functional.conv2d(
        torch.from_numpy(x)[None], state["0.weight"], state["0.bias"], padding=1)), 2), state["3.weight"], state["3.bias"], padding=1).requires_grad_()
    score = torch.nn.functional.linear(torch.relu(maps).mean((2, 3)), state["7.weight"], state["7.bias"])[0, 2]
    g, = torch.autograd.grad(score, maps)
    cam = torch.nn.functional.interpolate(torch.relu((g.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True)), size=(12, 12), mode="bilinear")[0, 0]
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
    assert value(made) > value(noise) + 0.2 and all(p.requires_grad and p.grad is None for p in model.parameters())
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
    checkpoint.save(file, model.state_dict(), {"model": "squeezenet1_1", "settings": json.dumps({"classes": 4}), "image": "[3, 48, 40]"})
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 50, 3), np.uint8)).save(picture)
    arguments = ["inspect", str(file), str(picture), "-o", str(tmp_path / "out"), "--steps", "2"]
    assert cli.main(arguments) == 0 and "class" in capsys.readouterr().out
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"filters.png", "maximised.png", "evidence.png"} <= names and sum(n.startswith("maps-") for n in names) >= 3
    (tmp_path / "bad.png").write_bytes(b"no")
    for changed, said in ((["inspect", str(file), str(tmp_path / "bad.png")], "cannot be read"), (["inspect", str(file), "none.png"], "no such file"),
                          ([*arguments, "--class", "9"], "0 .. 3"), (["inspect", "none", str(picture)], "no such file")):
        assert cli.main(changed) == 2 and said in capsys.readouterr().err
    checkpoint.save(file, model.state_dict(), {})
    assert cli.main(arguments) == 2 and "names no network" in capsys.readouterr().err
