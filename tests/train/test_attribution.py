"""Why a network answers as it does: each method against its definition, by finite differences, by
plain torch code or by brute force, for networks of ours and torch modules."""
import numpy as np
import pytest

import pyops
from pyops import functional as F, inspect, nn
from pyops.inspect import objective as o
from pyops.inspect.rules import deconvolved, guided
from pyops.inspect.subject import subject

RNG = np.random.default_rng(5)
IMAGE = RNG.normal(size=(3, 12, 10))


def layers(kinds, bias=True):
    return [kinds.Conv2d(3, 6, 3, padding=1, bias=bias), kinds.ReLU(), kinds.MaxPool2d(2),
            kinds.Conv2d(6, 5, 3, bias=bias), kinds.ReLU(), kinds.AvgPool2d(2), kinds.Flatten(),
            kinds.Linear(10, 4, bias=bias)]


def network(bias=True):
    pyops.manual_seed(0)
    return nn.Sequential(*layers(nn, bias)).double()


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def twin(torch, model):
    made = torch.nn.Sequential(*layers(torch.nn)).double()
    made.load_state_dict({k: torch.from_numpy(v) for k, v in model.state_dict().items()})
    return made


def score(model, image, target):
    return float(subject(model).look(image[None], [None])[None][0, target])


def test_saliency_is_the_slope():
    model, step = network(), 1e-6
    g = inspect.saliency(model, IMAGE, 2)
    for place in zip(*(RNG.integers(n, size=12) for n in IMAGE.shape)):
        moved = np.zeros_like(IMAGE)
        moved[place] = step
        want = (score(model, IMAGE + moved, 2) - score(model, IMAGE - moved, 2)) / (2 * step)
        assert np.isclose(g[place], want, atol=1e-8)
    assert np.allclose(inspect.saliency(model, IMAGE, o.score(2) - o.score(0)), g - inspect.saliency(model, IMAGE, 0))


def test_smooth_grad_is_a_mean_of_gradients():
    model, rng = network(), np.random.default_rng(4)
    noise = 0.2 * np.ptp(IMAGE) * rng.standard_normal((5, *IMAGE.shape))
    want = np.mean([inspect.saliency(model, IMAGE + one, 1) for one in noise], 0)
    assert np.allclose(inspect.smooth_grad(model, IMAGE, 1, 5, 0.2, seed=4), want)
    assert np.allclose(inspect.smooth_grad(model, IMAGE, 1, 20, 0.0), inspect.saliency(model, IMAGE, 1))


@pytest.mark.parametrize("baseline", [0.0, 0.3, -IMAGE])
def test_integrated_gradients_are_complete(baseline, torch):
    """They add up to what the score gained over the baseline."""
    model = network()
    parts = inspect.integrated_gradients(model, IMAGE, 3, baseline, steps=300)
    gained = score(model, IMAGE, 3) - score(model, np.zeros_like(IMAGE) + baseline, 3)
    assert abs(gained) > 1e-3 and abs(parts.sum() - gained) < 1e-3 * np.abs(parts).sum()
    assert np.allclose(inspect.integrated_gradients(twin(torch, model), IMAGE, 3, baseline, steps=300), parts)


def test_integrated_gradients_of_a_polynomial_are_exact():
    class Cubic(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(np.ones(1))

        def forward(self, x):
            value = pyops.functional.sum(x * x * x, (2, 3))
            return value * self.weight
    parts = inspect.integrated_gradients(Cubic(), IMAGE, 1, 0.0, steps=2)   # two points integrate cubics
    assert np.allclose(parts[1], IMAGE[1] ** 3) and not parts[0].any()


def test_guided_backpropagation_is_torchs_with_hooks(torch):
    model = network()
    other = twin(torch, model)
    for module in other:
        if isinstance(module, torch.nn.ReLU):
            module.register_full_backward_hook(lambda m, inner, outer: (inner[0] * (outer[0] > 0),))
    x = torch.from_numpy(IMAGE)[None].requires_grad_()
    want, = torch.autograd.grad(other(x)[0, 2], x)
    got = inspect.guided_backprop(model, IMAGE, 2)
    assert np.abs(got).max() > 0 and np.allclose(got, want[0].numpy())
    assert np.allclose(inspect.guided_backprop(twin(torch, model), IMAGE, 2), got)
    assert not np.allclose(got, inspect.saliency(model, IMAGE, 2))


def test_the_deconvnet_is_transposed_convolutions_and_switches(torch):
    """Written forward, as in the paper."""
    f, model = torch.nn.functional, network()
    state = {k: torch.from_numpy(v) for k, v in model.state_dict().items()}
    x = torch.relu(f.conv2d(torch.from_numpy(IMAGE)[None], state["0.weight"], state["0.bias"], padding=1))
    pooled, switches = f.max_pool2d(x, 2, return_indices=True)
    r = state["7.weight"][2].reshape(1, 5, 2, 1)
    r = torch.nn.functional.interpolate(r, scale_factor=2) / 4          # the mean's share
    r = f.pad(r, (0, pooled.shape[3] - 2 - r.shape[3], 0, pooled.shape[2] - 2 - r.shape[2]))
    r = f.conv_transpose2d(torch.relu(r), state["3.weight"])
    r = f.max_unpool2d(r, switches, 2, output_size=x.shape[2:])
    want = f.conv_transpose2d(torch.relu(r), state["0.weight"], padding=1)[0].numpy()
    got = inspect.deconvnet(model, IMAGE, 2)
    assert np.abs(got).max() > 0 and np.allclose(got, want)
    assert np.allclose(inspect.deconvnet(twin(torch, model), IMAGE, 2), got)


@pytest.mark.parametrize("name", ["relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "hardswish", "mish",
                                  "softplus"])
@pytest.mark.parametrize("rule", [guided, deconvolved])
def test_rectifiers_are_the_same_in_torch(rule, name, torch):
    class Act(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(np.ones(1))

        def forward(self, x):
            return self.weight * pyops.functional.sum(getattr(pyops.functional, name)(x) * IMAGE, (2, 3))

    class TorchAct(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))

        def forward(self, x):
            return self.weight * (getattr(torch.nn.functional, name)(x) * torch.from_numpy(IMAGE)).sum((2, 3))
    ours, theirs = (subject(m).pull(3 * IMAGE[None], [None], lambda a: {None: np.ones_like(a[None])}, rectify=rule)[1]
                    for m in (Act(), TorchAct()))
    assert np.allclose(ours, theirs) and (ours[0][IMAGE < 0] == 0).all() and np.abs(ours).max() > 0


def test_grad_cam_is_torchs_with_hooks(torch):
    model, kept, shown = network(), {}, 0
    other = twin(torch, model)
    other[3].register_forward_hook(lambda m, i, out: kept.update(maps=out))
    other[3].register_full_backward_hook(lambda m, i, out: kept.update(g=out[0]))
    for target in range(4):
        other(torch.from_numpy(IMAGE)[None].requires_grad_())[0, target].backward()
        cam = torch.relu((kept["g"].mean((2, 3), keepdim=True) * kept["maps"]).sum(1, keepdim=True))
        cam = torch.nn.functional.interpolate(cam, size=IMAGE.shape[1:], mode="bilinear")[0, 0].detach().numpy()
        shown += cam.max() > 0
        for one in (model, twin(torch, model)):
            for layer in ("3", None):
                got = inspect.grad_cam(one, IMAGE, target, layer)
                assert np.allclose(got, cam / (cam.max() or 1), atol=1e-6)
    assert shown >= 2


def test_convolutions_that_do_not_run_are_passed_over():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.aside = model[0].__class__(3, 2, 3)
    model.forward = lambda x: model[2](model[1](model[0](x)))
    assert inspect.grad_cam(model, IMAGE.astype(np.float32), 1).max() == 1
    with pytest.raises(ValueError, match="does not run aside"):
        inspect.grad_cam(model, IMAGE.astype(np.float32), 1, "aside")


def test_grad_cam_plus_plus_is_derivatives_of_exp(torch):
    """Equation 19's second and third derivatives, taken by torch one value at a time."""
    model = network()
    other = twin(torch, model)
    maps = other[:4](torch.from_numpy(IMAGE)[None]).detach()
    y = lambda value, k, i, j: torch.exp(other[4:](value)[0, 1])   # noqa: E731
    weights = np.zeros(maps.shape[1])
    for k in range(maps.shape[1]):
        for i in range(maps.shape[2]):
            for j in range(maps.shape[3]):
                one = maps[0, k, i, j].clone().requires_grad_()
                value = maps.clone()
                value[0, k, i, j] = one
                first, = torch.autograd.grad(y(value, k, i, j), one, create_graph=True)
                if not first.requires_grad or not first.item():
                    continue
                second, = torch.autograd.grad(first, one, create_graph=True)
                third, = torch.autograd.grad(second, one)
                share = second / (2 * second + third * maps[0, k].sum())
                weights[k] += (share * torch.relu(first)).item()
    cam = np.maximum((weights[:, None, None] * maps[0].numpy()).sum(0), 0)
    cam = torch.nn.functional.interpolate(torch.from_numpy(cam)[None, None], size=IMAGE.shape[1:], mode="bilinear")
    want = (cam / cam.max()).numpy()[0, 0]
    assert np.isfinite(want).all()
    for one in (model, other):
        assert np.allclose(inspect.grad_cam_plus_plus(one, IMAGE, 1, "3"), want, atol=1e-6)


def test_occlusion_is_brute_force(torch):
    model, size, stride = network(), 4, 3
    total, count = np.zeros((12, 10)), np.zeros((12, 10))
    for y in (0, 3, 6, 8):
        for x in (0, 3, 6):
            covered = IMAGE.copy()
            covered[:, y:y + size, x:x + size] = 0.5
            total[y:y + size, x:x + size] += score(model, IMAGE, 2) - score(model, covered, 2)
            count[y:y + size, x:x + size] += 1
    for one in (model, twin(torch, model)):
        for batch in (1, 5, 64):
            assert np.allclose(inspect.occlusion(one, IMAGE, 2, size, stride, 0.5, batch), total / count, atol=1e-6)


# ---- relevance

def dense(layer, shape):
    """A linear layer as a matrix, (outputs, inputs), by what it makes of each unit image."""
    size = int(np.prod(shape))
    with pyops.no_grad():
        zero = layer(pyops.Tensor(np.zeros((1, *shape)))).data
        each = layer(pyops.Tensor(np.eye(size).reshape(size, *shape))).data - zero
    return each.reshape(size, -1).T, each.shape[1:]


def by_matrices(model, image, target, rule):
    """Relevance as the formulas have it, unit by unit, of network(bias=False)."""
    steps, x, shape = [], image.ravel(), image.shape
    for layer in list(model.children())[:-1]:
        with pyops.no_grad():
            y = layer(pyops.Tensor(x.reshape(1, *shape))).data[0]
        if isinstance(layer, nn.MaxPool2d):
            w, picked = np.zeros((y.size, x.size)), x.reshape(shape)
            for place in np.ndindex(y.shape):
                window = picked[place[0], 2 * place[1]:2 * place[1] + 2, 2 * place[2]:2 * place[2] + 2]
                i, j = np.unravel_index(window.argmax(), window.shape)
                w[np.ravel_multi_index(place, y.shape),
                  np.ravel_multi_index((place[0], 2 * place[1] + i, 2 * place[2] + j), shape)] = 1
            steps.append((w, x, False))
        elif not isinstance(layer, (nn.ReLU, nn.Flatten)):
            w, _ = dense(layer, shape)
            steps.append((w, x, isinstance(layer, nn.Conv2d)))
        x, shape = y.ravel(), y.shape
    steps.append((model[7].weight.data, x, False))
    r = np.zeros(4)
    r[target] = (model[7].weight.data @ x)[target]
    for w, x, convolution in steps[::-1]:
        z = w * x
        if convolution and rule != "epsilon":
            z = np.maximum(z, 0)
        total = z.sum(1)
        r = (z / np.where(total != 0, total, 1)[:, None] * r[:, None]).sum(0)
    return r.reshape(image.shape)


@pytest.mark.parametrize("rule", ["epsilon", "composite"])
def test_relevance_is_its_formula(rule):
    model = network(bias=False)
    found = inspect.relevance(model, IMAGE, 1, rule, epsilon=0)
    assert np.allclose(found.values, by_matrices(model, IMAGE, 1, rule))
    assert np.isclose(found.score, score(model, IMAGE, 1))


@pytest.mark.parametrize("rule, alpha", [("epsilon", 1), ("alpha-beta", 1), ("alpha-beta", 2), ("composite", 1)])
def test_relevance_is_conserved(rule, alpha):
    """Without biases all of the score arrives at the image."""
    model = network(bias=False)
    found = inspect.relevance(model, IMAGE, 2, rule, epsilon=1e-12, alpha=alpha)
    assert abs(found.score) > 1e-3 and abs(found.kept) < 1e-6 * abs(found.score)


def test_biases_keep_their_share():
    model = nn.Sequential(nn.Flatten(), nn.Linear(360, 3)).double()
    found = inspect.relevance(model, IMAGE, 1, "epsilon", epsilon=0)
    assert np.isclose(found.kept, model[1].bias.data[1]) and np.isclose(found.score, score(model, IMAGE, 1))
    want = model[1].weight.data[1] * IMAGE.ravel()
    assert np.allclose(found.values.ravel(), want)


@pytest.mark.parametrize("rule", ["epsilon", "composite"])
def test_a_batch_norm_is_part_of_the_layer_before(rule):
    def built(norm):
        pyops.manual_seed(1)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4) if norm else nn.Identity(), nn.ReLU(),
                             nn.ConvTranspose2d(4, 6, 2, groups=2), nn.BatchNorm2d(6) if norm else nn.Identity(),
                             nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)).double().eval()
    normed, folded = built(True), built(False)
    for i, axis in ((0, 0), (3, 1)):
        norm = normed[i + 1]
        norm.weight.data[:], norm.running_var[:] = RNG.uniform(0.5, 2, (2, len(norm.weight.data)))
        norm.bias.data[:], norm.running_mean[:] = RNG.normal(size=(2, len(norm.weight.data)))
        by = norm.weight.data / np.sqrt(norm.running_var + norm.eps)
        rows = by if axis == 0 else by.reshape(2, 1, 3).repeat(2, 1).reshape(4, 3)
        folded[i].weight.data[...] = normed[i].weight.data * rows.reshape(*rows.shape, *[1] * (4 - rows.ndim))
        folded[i].bias.data[:] = (normed[i].bias.data - norm.running_mean) * by + norm.bias.data
    a, b = (inspect.relevance(m, IMAGE, 1, rule) for m in (normed, folded))
    assert np.isclose(a.score, b.score) and np.allclose(a.values, b.values) and np.abs(a.values).max() > 0


class Tokens(nn.Module):
    """Patches of 3x2 pixels through encoder layers; without biases, and with ReLU, so that relevance is
    input times gradient where attention's weights and norms' deviations are constants."""

    def __init__(self, first: bool, spelled_out: bool):
        self.patches = nn.Conv2d(3, 8, (3, 2), (3, 2), bias=False)
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(
            8, 2, 16, 0.0, batch_first=True, norm_first=first, bias=False), 2)
        self.head, self.spelled_out = nn.Linear(8, 4, bias=False), spelled_out

    def forward(self, x):
        x = F.permute(F.flatten(self.patches(x), 2), (0, 2, 1))
        if self.spelled_out:
            x = F.matmul(F.softmax(F.matmul(x, F.permute(x, (0, 2, 1))), -1), x)
        return self.head(F.mean(F.group_norm(F.permute(self.layers(x), (0, 2, 1)), 2), 2))


@pytest.mark.parametrize("first, spelled_out", [(False, False), (True, False), (True, True)])
def test_relevance_of_tokens_is_input_times_gradient_of_the_linear_part(first, spelled_out, torch):
    pyops.manual_seed(0)
    model = Tokens(first, spelled_out).double().eval()
    found = inspect.relevance(model, IMAGE, 2, "epsilon", epsilon=0)
    x = torch.tensor(IMAGE[None], requires_grad=True)
    score = tokens_in_torch(torch, {k: torch.from_numpy(v) for k, v in model.state_dict().items()}, x, first,
                            spelled_out)[0, 2]
    assert np.isclose(found.score, float(score.detach()))
    score.backward()
    assert np.allclose(found.values, (x * x.grad).detach().numpy()[0], atol=1e-9 * np.abs(found.values).max())
    assert abs(found.kept) <= 1e-9 * np.abs(found.values).sum()


def tokens_in_torch(torch, state, x, first, spelled_out):
    """The network, with nothing flowing back into weights of attention and deviations."""
    import torch.nn.functional as T

    def attention(q, k, v, scale):
        return (q @ k.mT * scale).softmax(-1).detach() @ v

    def norm(x, weight=1.0, groups=None):
        of = x if groups is None else x.reshape(len(x), groups, -1)
        centred = of - of.mean(-1, keepdim=True)
        return (centred / (of.var(-1, keepdim=True, correction=0) + 1e-5).sqrt().detach()).reshape(x.shape) * weight
    x = T.conv2d(x, state["patches.weight"], stride=(3, 2)).flatten(2).mT
    if spelled_out:
        x = attention(x, x, x, 1)
    for i in range(2):
        w = {k[len(f"layers.layers.{i}."):]: v for k, v in state.items() if k.startswith(f"layers.layers.{i}.")}

        def attend(x, w=w):
            heads = (x @ w["self_attn.in_proj_weight"].mT).reshape(1, -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
            return attention(*heads, 0.5).transpose(1, 2).flatten(2) @ w["self_attn.out_proj.weight"].mT

        def forward(x, w=w):
            return (x @ w["linear1.weight"].mT).relu() @ w["linear2.weight"].mT
        if first:
            x = x + attend(norm(x, w["norm1.weight"]))
            x = x + forward(norm(x, w["norm2.weight"]))
        else:
            x = norm(x + attend(x), w["norm1.weight"])
            x = norm(x + forward(x), w["norm2.weight"])
    return norm(x.mT, groups=2).mean(2) @ state["head.weight"].mT


def test_sanity_of_a_network_of_tokens():
    """Relevance is among its methods, and changes with its weights."""
    pyops.manual_seed(0)
    model = Tokens(True, False).eval()
    found = {s.method.title: s for s in inspect.sanity(model, IMAGE.astype(np.float32), 1, ["relevance", "saliency"])}
    assert found["relevance (LRP)"].changes and found["saliency"].changes


@pytest.mark.parametrize("name, rule", [("resnet18", "composite"), ("squeezenet1_1", "composite"),
                                        ("mobilenet_v3_small", "epsilon"), ("shufflenet_v2_x0_5", "epsilon")])
def test_relevance_goes_through_whole_networks(name, rule):
    """Their biases are 0 and their norms those of no data, so that what is kept is what epsilon takes."""
    pyops.manual_seed(0)
    model = pyops.create_model(name, classes=5).double()
    for parameter in (p for n, p in model.named_parameters() if n.endswith("bias")):
        parameter.data[:] = 0
    found = inspect.relevance(model, RNG.normal(size=(3, 64, 64)), 3, rule, epsilon=1e-9)
    assert found.score and abs(found.kept) < 1e-3 * abs(found.score)


@pytest.mark.parametrize("ask, said", [
    (lambda m: inspect.saliency(m, IMAGE, 4), "units 0 .. 3, got 4"),
    (lambda m: inspect.saliency(m, IMAGE[0], 1), r"must be \(C, H, W\), got \(12, 10\)"),
    (lambda m: inspect.saliency(m, IMAGE * np.nan, 1), "NaN or infinity"),
    (lambda m: inspect.saliency(m, IMAGE[:2], 1), "takes no input of"),
    (lambda m: inspect.saliency(m, IMAGE[:, :8], 1), "takes no input of"),
    (lambda m: inspect.smooth_grad(m, IMAGE, 1, 0), "samples must be a positive int"),
    (lambda m: inspect.smooth_grad(m, IMAGE, 1, noise=-1.0), "noise must not be negative"),
    (lambda m: inspect.integrated_gradients(m, IMAGE, 1, np.zeros((3, 4, 4))), "the baseline must be"),
    (lambda m: inspect.grad_cam_plus_plus(m, IMAGE, 1, "7"), "7 answers with .*which are no maps"),
    (lambda m: inspect.relevance(m, IMAGE, 1, "gamma"), "rule must be epsilon, alpha-beta"),
    (lambda m: inspect.relevance(m, IMAGE, 1, alpha=0.5), "alpha at least 1"),
    (lambda m: inspect.relevance(nn.Sequential(nn.Flatten(), nn.Softmax(1)), IMAGE, 1), "no rule for softmax"),
    (lambda m: inspect.occlusion(m, IMAGE, 1, 3, 0), "stride positive, got 3 and 0")])
def test_what_cannot_be_explained_is_said(ask, said):
    with pytest.raises(ValueError, match=said):
        ask(network())


def test_other_kinds_are_refused(torch):
    for image in (np.zeros((3, 12, 10), np.uint8), np.zeros((3, 12, 10), np.uint16)):
        with pytest.raises(TypeError, match=f"must be floats .* got {image.dtype}"):
            inspect.guided_backprop(network(), image, 1)
    with pytest.raises(TypeError, match="takes networks of pyops, got a torch module"):
        inspect.relevance(twin(torch, network()), IMAGE, 1)


# ---- sanity checks, and all methods at once

def test_a_map_that_does_not_change_is_marked(torch):
    """One method shows the image alone, the others what the network makes of it."""
    from pyops.inspect import methods
    model, before = network(), network().state_dict()
    methods.METHODS["image"] = methods.Method("the image", "heat", False, lambda m, x, c, _: x[0])
    try:
        found = inspect.sanity(model, IMAGE, 1, ["image", "integrated_gradients", "saliency"], stages=3)
    finally:
        del methods.METHODS["image"]
    assert [one.changes for one in found] == [False, True, True] and np.allclose(found[0].similarity, 1)
    assert found[0].layers[-1] == "0" and [len(one.maps) for one in found] == [4, 4, 4]
    assert np.allclose(found[1].maps[0], inspect.of_pixels(inspect.integrated_gradients(model, IMAGE, 1)))
    assert all(np.array_equal(before[k], v) for k, v in model.state_dict().items())
    other = twin(torch, model)
    assert [one.changes for one in inspect.sanity(other, IMAGE, 1, ["saliency"], stages=2, draws=1)] == [True]
    assert np.array_equal(other[0].weight.detach().numpy(), before["0.weight"])


def test_every_method_draws_a_map(torch):
    for model, count in ((network(), 10), (twin(torch, network()), 9)):
        panels = inspect.explanations(model, IMAGE, 2)
        assert len(panels) == 1 + count
        assert all(p.array.shape == (12, 10) and np.isfinite(p.array).all() for p in panels[1:])
    softened = nn.Sequential(network(), nn.Softmax(1))
    assert "relevance (LRP)" not in [p.text for p in inspect.explanations(softened, IMAGE, 2)]
    with pytest.raises(ValueError, match="no rule for softmax"):
        inspect.explanations(softened, IMAGE, 2, names=["relevance"])
    with pytest.raises(ValueError, match="did you mean saliency"):
        inspect.explanations(network(), IMAGE, 2, names=["salency"])


def test_figures_are_wide_enough_and_marked(tmp_path):
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    panels = [inspect.Panel(IMAGE, "an image"), inspect.Panel(IMAGE[0], "a map", "signed", IMAGE),
              inspect.Panel(np.zeros((4, 4)), "nothing", "heat", mark=True)]
    for count in (1, 3):
        page = image.open(inspect.figure(tmp_path / "a.png", panels[:count], "title", note="note"))
        assert page.width >= 1200
    red = np.asarray(page.convert("RGB")).astype(int)
    assert ((red[..., 0] > 120) & (red[..., 1] < 60) & (red[..., 2] < 60)).sum() > 50   # "nothing" is marked


def test_the_command_explains(tmp_path, capsys):
    pytest.importorskip("safetensors")
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    from pyops.cli import main
    from pyops.models import weights
    pyops.manual_seed(0)
    weights.save(pyops.create_model("squeezenet1_1", classes=4), tmp_path / "a.safetensors")
    picture = tmp_path / "a.png"
    image.fromarray(RNG.integers(0, 256, (40, 50, 3), np.uint8)).save(picture)
    asked = ["inspect", str(tmp_path / "a.safetensors"), str(picture), "-o", str(tmp_path), "--methods",
             "saliency,grad_cam"]
    for show in ("evidence", "sanity"):
        assert main([*asked, "--show", show, "--class", "2"]) == 0
        assert image.open(tmp_path / f"{show}.png").width >= 1200
    assert "Grad-CAM  " in capsys.readouterr().out
    for more, said in ((["--class", "4"], "--class must be 0 .. 3"),
                       (["--methods", "gradcam"], "did you mean grad_cam"),
                       (["--layer", "nowhere"], "has no layer 'nowhere'")):
        assert main([*asked, "--show", "evidence", *more]) == 2
        assert said in capsys.readouterr().err
