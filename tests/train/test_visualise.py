"""Feature visualisation: every piece of the ascent is the gradient of what it says it is, in pyops
and in torch, and images come to please their objective."""
import numpy as np
import pytest

import pyops
from pyops import inspect, nn
from pyops.inspect import objective as o
from pyops.inspect.image import Parametrised
from pyops.inspect.robust import Seen
from pyops.inspect.rules import unhindered
from pyops.inspect.subject import subject
from pyops.inspect.visualise import total_variation, variation_slope

RNG = np.random.default_rng(3)


def network(dtype=np.float64):
    pyops.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 3), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).to(dtype=dtype)


def as_torch(model):
    torch = pytest.importorskip("torch")
    t = torch.nn
    twin = t.Sequential(t.Conv2d(3, 6, 3, padding=1), t.Tanh(), t.MaxPool2d(2), t.Conv2d(6, 4, 3), t.ReLU(inplace=True),
                        t.AdaptiveAvgPool2d(1), t.Flatten(), t.Linear(4, 3)).to(torch.float64)
    twin.load_state_dict({k: torch.from_numpy(v) for k, v in model.state_dict().items()})
    return twin


def slope(value, at, change, step=1e-6):
    return (value(at + step * change) - value(at - step * change)) / (2 * step)


GOALS = {
    "channel": lambda: o.channel("3", 2), "channels": lambda: o.channel("3", [0, 3]),
    "neuron": lambda: o.neuron("1", 4), "placed": lambda: o.neuron("0", 4, (0, 7)), "layer": lambda: o.layer("3"),
    "class": lambda: o.score(2), "unit": lambda: o.channel("7", 1),
    "direction": lambda: o.direction("3", [1, -2, 0.5, 1]),
    "angle": lambda: o.direction("0", RNG.normal(size=(2, 6)), cosine=2.0),
    "angle of one": lambda: o.direction("1", np.arange(6.0) - 2, 1.0, (3, 3), everywhere=False),
    "pair": lambda: o.pair(o.channel("3", 0), o.score(1), 2), "diversity": lambda: o.diversity("3"),
    "sum": lambda: 2 * o.channel("1", 0) - o.neuron("3", 1) * 0.3}


@pytest.mark.parametrize("goal", GOALS)
def test_seeds_are_the_gradient_of_the_objective(goal):
    goal, model, x = GOALS[goal](), network(), RNG.normal(size=(2, 3, 10, 9))
    looked = subject(model)

    def value(inputs):
        return goal.measure(looked.look(inputs, goal.layers))[0].sum()
    g = looked.pull(x, goal.layers, lambda answers: goal.measure(answers)[1])[1]
    change = RNG.normal(size=x.shape)
    assert np.abs(g).max() > 0 and np.isclose((g * change).sum(), slope(value, x, change), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("goal", ["channels", "placed", "layer", "class", "angle", "diversity", "sum"])
def test_torch_modules_are_seen_as_ours_are(goal):
    goal, model, x = GOALS[goal](), network(), RNG.normal(size=(2, 3, 10, 9))
    twin = as_torch(model)
    twin.train()
    answers, gradients = zip(*(subject(m).pull(x, goal.layers, lambda a: goal.measure(a)[1]) for m in (model, twin)))
    assert np.allclose(*gradients, atol=1e-12) and all(np.allclose(answers[0][k], answers[1][k]) for k in answers[0])
    assert twin.training and all(p.requires_grad for p in twin.parameters())


def test_what_a_layer_answers_is_not_what_the_next_one_writes_into_it():
    torch = pytest.importorskip("torch")
    twin, x = as_torch(network()), RNG.normal(size=(1, 3, 8, 8))
    want = twin[:4](torch.from_numpy(x)).detach().numpy()
    assert want.min() < 0 and np.array_equal(subject(twin).look(x, ["3"])["3"], want)
    answers, g = subject(twin).pull(x, [None], lambda a: {None: np.ones_like(a[None])}, to="3")
    assert np.array_equal(answers["3"], want) and g.shape == want.shape and (g[want < 0] == 0).all()


@pytest.mark.parametrize("shape", [(2, 3, 7, 8), (1, 3, 6, 9), (2, 1, 5, 5)])
@pytest.mark.parametrize("fourier", [True, False])
def test_parametrised_images_pull_gradients_back(shape, fourier):
    image, weight = Parametrised(shape, fourier=fourier, noise=0.3), RNG.normal(size=shape)
    image.parameter.data = image.parameter.data.astype(np.float64)
    change = RNG.normal(size=image.parameter.data.shape)

    def value(parameter):
        image.parameter.data = parameter
        image.image()
        return (weight * image.values).sum()
    begin = image.parameter.data
    want = slope(value, begin, change, 1e-5)
    value(begin)
    image.pull(weight)
    assert np.isclose((image.parameter.grad * change).sum(), want, rtol=1e-4, atol=1e-6)


def test_octaves_of_noise_have_equal_power():
    """As those of photographs do, whose power falls by the square of the frequency."""
    image = Parametrised((32, 1, 64, 64), noise=0.01, seed=1)
    image.image()
    power = (np.abs(np.fft.fft2(np.log(image.values / (1 - image.values)))) ** 2).mean((0, 1))
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64)[None])
    rings = [power[(low <= frequency) & (frequency < 2 * low)].sum() for low in (1 / 32, 1 / 16, 1 / 8, 1 / 4)]
    assert max(rings) < 1.3 * min(rings)


def test_moved_images_pull_gradients_back():
    images, robust = RNG.random((2, 3, 9, 12)), inspect.Robustness(3, (0.7, 1.3), 30)
    place = robust.draw((9, 12), np.random.default_rng(0))
    seen, weight, change = Seen(images, place), RNG.normal(size=images.shape), RNG.normal(size=images.shape)
    want = slope(lambda x: (weight * Seen(x, place).images).sum(), images, change)
    assert np.isclose((seen.pull(weight) * change).sum(), want, rtol=1e-6)
    assert np.allclose(Seen(images, np.eye(2, 3)).images, images)
    far = Seen(images, np.array([[1, 0, 9.0], [0, 1, 9.0]])).images
    assert np.allclose(far, 0.5)   # nothing of the image: grey
    turned = Seen(images, inspect.Robustness(0, (1, 1), 0).draw((9, 12), np.random.default_rng(0))).images
    assert np.allclose(turned, images)


def test_a_turn_is_a_turn():
    """By a quarter, of an image that is not square, pixels keep their distances."""
    robust = inspect.Robustness(0, (1, 1), 90)

    class Quarter:
        def uniform(self, low, high, size=None):
            return high if size is None else np.zeros(size)
    image = np.zeros((1, 1, 7, 11))
    image[0, 0, 3, 7] = 1            # two to the right of the middle
    turned = Seen(image, robust.draw((7, 11), Quarter())).images[0, 0]
    assert np.unravel_index(turned.argmax(), (7, 11)) in ((1, 5), (5, 5)) and turned.max() > 0.99


def test_total_variation_and_its_slope():
    images, change = RNG.random((2, 3, 6, 5)), RNG.normal(size=(2, 3, 6, 5))
    torch = pytest.importorskip("torch")
    t = torch.from_numpy(images)
    want = ((t[:, :, 1:] - t[:, :, :-1]).abs().sum((1, 2, 3)) + (t[..., 1:] - t[..., :-1]).abs().sum((1, 2, 3))) / 30
    assert np.allclose(total_variation(images), want.numpy())
    want = slope(lambda x: total_variation(x).sum(), images, change)
    assert np.isclose((variation_slope(images) * change).sum(), want)


@pytest.mark.parametrize("fourier", [True, False])
def test_ascent_pleases_its_objective(fourier):
    model = network(np.float32)
    goal = o.channel("3", [0, 1])
    how = dict(count=2, steps=40, fourier=fourier, mean=(0.5, 0.5, 0.5), std=0.25)
    made = inspect.visualise(model, goal, (3, 16, 16), **how)
    assert made.images.shape == (2, 3, 16, 16) and 0 <= made.images.min() <= made.images.max() <= 1
    assert (made.values[-5:].mean(0) > made.values[:5].mean(0) + 0.05).all()
    again = inspect.visualise(model, goal, (3, 16, 16), **how)
    assert np.array_equal(made.images, again.images)
    smooth = inspect.visualise(model, goal, (3, 16, 16), variation=50.0, **how)
    assert (total_variation(smooth.images) < 0.5 * total_variation(made.images)).all()


def test_a_unit_behind_a_closed_rectifier_is_reached():
    model = network(np.float32)
    model[3].bias.data[1] = -0.3
    goal = o.channel("4", 1)
    made = inspect.visualise(model, goal, (3, 16, 16), steps=60, rate=0.2)
    assert not made.values[0].any() and made.values[-1] > 0.01
    x = RNG.normal(size=(1, 3, 9, 9)).astype(np.float32)
    passed = subject(model).pull(x, ["4"], lambda a: goal.measure(a)[1], rectify=unhindered)[1]
    before = subject(model).pull(x, ["3"], lambda a: o.channel("3", 1).measure(a)[1])[1]
    assert np.abs(before).max() > 0 and np.allclose(passed, before)


def test_images_of_a_batch_differ_by_the_diversity_term():
    model, goal = network(np.float32), o.channel("3", 1)
    alike, different = (inspect.visualise(model, goal, (3, 16, 16), count=3, steps=60, diversity=d).images
                        for d in (0.0, 3.0))
    looked = subject(model)
    score = [o.diversity("3").measure(looked.look(images, ["3"]))[0].mean() for images in (alike, different)]
    assert score[1] > score[0]


@pytest.mark.parametrize("ask, said", [
    (lambda m: inspect.visualise(m, o.channel("8", 0), (3, 16, 16)), "no layer '8'; its layers are 0, 1"),
    (lambda m: inspect.visualise(m, o.channel("3", 4), (3, 16, 16)), "3 has units 0 .. 3, got 4"),
    (lambda m: inspect.visualise(m, o.score(3), (3, 16, 16)), "classifier has units 0 .. 2, got 3"),
    (lambda m: inspect.visualise(m, o.channel("3", 1.5), (3, 16, 16)), "whole number"),
    (lambda m: inspect.visualise(m, o.neuron("3", 1, (9, 9)), (3, 16, 16)), r"maps of 3 are \(6, 6\)"),
    (lambda m: inspect.visualise(m, o.direction("3", np.ones(5)), (3, 16, 16)), "3 has 4 channels"),
    (lambda m: o.direction("3", np.zeros(4)), "other than 0"),
    (lambda m: inspect.visualise(m, o.channel("3", 0)), "needs the shape of an image"),
    (lambda m: inspect.visualise(m, o.channel("3", 0), (1, 16, 16)), "takes no input of"),
    (lambda m: inspect.visualise(m, o.channel("3", 0), (3, 16, 16), std=0), "std must be positive"),
    (lambda m: inspect.visualise(m, o.channel("3", 0), (3, 16, 16), mean=(1, 2)), "one for each of 3 channels"),
    (lambda m: inspect.visualise(m, o.channel("3", 0), (3, 16, 16), steps=0), "steps and rate must be positive"),
    (lambda m: inspect.visualise(m, o.score(0), (3, 16, 16), diversity=1.0), "names none"),
    (lambda m: inspect.Robustness(scale=(0, 1)), "scale must be"),
    (lambda m: o.channel("3", 0) * np.nan, "finite number")])
def test_what_cannot_be_visualised_is_said(ask, said):
    with pytest.raises(ValueError, match=said):
        ask(network(np.float32))


def test_only_networks_can_be_looked_into():
    with pytest.raises(TypeError, match="must be a module of pyops or torch, got int"):
        inspect.visualise(3, o.score(0), (3, 8, 8))


def test_the_command_draws_features(tmp_path, capsys):
    pytest.importorskip("safetensors")
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    from pyops.cli import main
    from pyops.models import weights
    pyops.manual_seed(0)
    weights.save(pyops.create_model("squeezenet1_1", classes=4), tmp_path / "a.safetensors")
    image.fromarray(RNG.integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / "a.png")
    asked = ["inspect", str(tmp_path / "a.safetensors"), "--show", "features", "--steps", "1", "--size", "40", "-o",
             str(tmp_path)]
    layer = ["--layer", "features.3"]
    pair = [*layer, "--unit", "3,5", "--of", "pair"]
    for more, name in (([], "features-classes"), (pair, "features-features.3-pair"),
                       ([*layer, "--of", "layer", "--count", "2"], "features-features.3-layer")):
        assert main([*asked, *more]) == 0
        assert image.open(tmp_path / f"{name}.png").width >= 1200
    assert main([*asked[:2], str(tmp_path / "a.png"), *asked[2:], *layer, "--of", "direction"]) == 0
    capsys.readouterr()
    for more, said in (([*layer, "--unit", "999"], "units 0 .. 127"), (["--layer", "x"], "no layer 'x'"),
                       (["--of", "neuron"], "needs --layer"), (["--of", "pair"], "two units"),
                       ([*layer, "--of", "direction"], "needs an image"), (["--show", "feature"], "did you mean"),
                       (["--seed", "-1"], "must not be negative")):
        assert main([*asked, *more]) == 2 and said in capsys.readouterr().err


def test_the_command_looks_into_networks_that_do_not_classify(tmp_path, capsys):
    for needed in ("safetensors", "matplotlib", "PIL"):
        pytest.importorskip(needed)
    from pyops.cli import main
    from pyops.models import weights
    pyops.manual_seed(0)
    file = str(tmp_path / "a.safetensors")
    weights.save(pyops.create_model("unet", base=4, depth=1), file)
    asked = ["inspect", file, "--show", "features", "--steps", "1", "--size", "16", "-o", str(tmp_path), "--unit", "1"]
    assert main([*asked, "--layer", "down.0"]) == 0 and (tmp_path / "features-down.0.png").is_file()
    capsys.readouterr()
    for command in (asked, ["predict", file, "a.png"], ["inspect", file, "a.png", "--show", "evidence"]):
        assert main(command) == 2
        assert "UNet, which does not say what an image as a whole shows" in capsys.readouterr().err
    weights.save(pyops.create_model("dcgan_32"), file)
    assert main([*asked, "--layer", "x"]) == 2 and "which takes no images" in capsys.readouterr().err


def test_the_pages_code_runs():
    """docs/inspect.md's, from top to bottom."""
    import re
    from pathlib import Path
    page = (Path(__file__).parents[2] / "docs" / "inspect.md").read_text()
    names: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S):
        exec(compile(block, "inspect.md", "exec"), names)
    assert names["made"].images.shape == (1, 3, 64, 64) and names["made"].values.shape == (8, 1)


def test_what_torchs_layers_do_not_take_is_said_as_of_ours():
    with pytest.raises(ValueError, match=r"Sequential takes no input of \(1, 1, 16, 16\)"):
        inspect.visualise(as_torch(network()), o.channel("3", 0), (1, 16, 16))
