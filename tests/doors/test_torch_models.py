"""torch's models through our kernels: pyops.compile of a torch module, and
torch.compile(backend="pyops")."""
import copy
import subprocess
import sys

import numpy as np
import pytest

import pyops

torch = pytest.importorskip("torch")
nn, TF = torch.nn, torch.nn.functional
door = pytest.importorskip("pyops.torch")


def images(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def randomised(model, seed=0):
    """In evaluation, with batch norms that do something."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def assert_same(got, want, allowed=1e-4):
    if isinstance(want, dict):
        assert set(got) == set(want)
        return [assert_same(got[k], want[k], allowed) for k in want]
    if isinstance(want, (tuple, list)):
        assert len(got) == len(want)
        return [assert_same(g, w, allowed) for g, w in zip(got, want)]
    got, want = np.asarray(got), want.detach().numpy()
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= allowed * max(np.abs(want).max(), 1e-30)


class Everything(nn.Module):
    """In-place calls, a residual whose branch was changed in place, constants that are computed,
    sizes that are asked for."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 20, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(20),
                                  nn.ReLU(inplace=True))
        self.same = nn.Conv2d(20, 20, 3, padding="same", dilation=2)
        self.up = nn.ConvTranspose2d(20, 12, 2, stride=2)
        self.squeeze, self.excite = nn.Linear(20, 5), nn.Linear(5, 20)
        self.norm, self.group = nn.LayerNorm(12), nn.GroupNorm(4, 12)
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.head = nn.Linear(12, 7)
        self.register_buffer("table", torch.arange(12.0))

    def forward(self, x):
        x = self.stem(x)
        y = self.same(x)
        y += x
        x = TF.hardswish(y, inplace=True) + y
        gate = torch.sigmoid(self.excite(TF.silu(self.squeeze(x.mean((2, 3))))))
        x = x * gate[:, :, None, None]
        x = TF.max_pool2d(self.up(x), 3, 2, 1)
        x = self.group(TF.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False))
        a, b = x.chunk(2, dim=1)
        x = torch.cat([b, a], 1)[:, :, 1:-1, ::2]
        tokens = x.flatten(2).transpose(1, 2)
        tokens = self.norm(tokens + torch.sin(self.table * 2)) * (self.table.max() / 11)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return {"tokens": torch.roll(tokens, 3, 1), "class": TF.softmax(self.head(tokens.mean(1)), -1)}


def test_a_torch_module_becomes_a_program():
    model, x = randomised(Everything()), images(2, 3, 24, 20)
    program = pyops.compile(model, x)
    with torch.no_grad():
        assert_same(program(x), model(x), 2e-5)
    assert "conv+act stem.0" in program.explain("stem.0")   # layers keep the names of their modules
    assert np.array_equal(program(x.numpy())["class"], program(x)["class"])


def test_another_batch_is_exported_anew():
    model, x = randomised(Everything()), images(2, 3, 24, 20)
    program = pyops.compile(model, x, dynamic_batch=True)
    y = images(3, 3, 24, 20, seed=1)
    with torch.no_grad():
        assert_same(program(y), model(y), 2e-5)


def test_several_inputs_and_results():
    class Two(nn.Module):
        def forward(self, a, b):
            return a + b, [a * b, (a - b).relu()]
    a, b = images(2, 5), images(2, 5, seed=1)
    assert_same(pyops.compile(Two().eval(), (a, b))(a, b), Two()(a, b))


def test_what_is_made_of_smaller_calls_is_taken_apart():
    class Einsum(nn.Module):
        def forward(self, x):
            return torch.einsum("bhwc,bhvc->bhwv", x,
                                x) + torch.addcmul(x[..., :1], x[..., :1], x[..., :1], value=0.5)
    x = images(2, 3, 4, 5)
    assert_same(pyops.compile(Einsum().eval(), x)(x), Einsum()(x), 1e-5)


def test_all_that_is_missing_is_named():
    class Strange(nn.Module):
        def forward(self, x):
            return torch.logcumsumexp(torch.cummax(x, 0).values, 0)
    with pytest.raises(
            door.UnsupportedOp,
            match=r"aten\.cummax\.default \(.*test_torch_models\.py:\d+\); aten\.logcumsumexp\.default"):
        pyops.compile(Strange().eval(), images(2, 3))
    with pytest.raises(ValueError, match="training mode"):
        pyops.compile(Strange(), images(2, 3))


VISION = {"resnet18": 64, "mobilenet_v2": 64, "mobilenet_v3_small": 64, "squeezenet1_1": 64,
          "shufflenet_v2_x0_5": 64, "densenet121": 64, "googlenet": 64,
          "mnasnet0_5": 64, "efficientnet_b0": 64, "regnet_y_400mf": 64, "convnext_tiny": 64, "vgg11_bn": 64,
          "swin_t": 64, "vit_b_32": 224}


def vision(name):
    from pyops.bench.torchvision_schemas import torchvision
    torch.manual_seed(0)
    kwargs = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    return randomised(getattr(torchvision.models, name)(weights=None, **kwargs))


@pytest.mark.parametrize("name", VISION)
def test_torchvision(name):
    """Models that nobody here wrote."""
    model, x = vision(name), images(1, 3, VISION[name], VISION[name])
    with torch.no_grad():
        assert_same(pyops.compile(model, x)(x), model(x))


# ---- torch.compile(backend="pyops")


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    door.compile_report(clear=True)


def compiled(model, **options):
    return torch.compile(model, backend=door.pyops, **({"options": options} if options else {}))


def test_the_backend_is_registered():
    assert "pyops" in torch.compiler.list_backends()


def test_inference_through_torch_compile():
    model, x = randomised(Everything()), images(2, 3, 24, 20)
    fast = compiled(model, threads=1)
    with torch.no_grad():
        for _ in range(2):
            assert_same(fast(x), model(x), 2e-5)
        report, = door.compile_report()
        assert not report.why and report.steps and report.flops > 1e5
        model.head.weight.mul_(2)   # a weight changes: the packed one must not be used
        assert_same(fast(x), model(x), 2e-5)
        model.head.weight = nn.Parameter(torch.ones_like(model.head.weight))
        assert_same(fast(x), model(x), 2e-5)


class Partly(nn.Module):
    """Calls of ours and of torch's in turn: whole numbers, running sums, a choice, and a
    value that both read."""

    def __init__(self):
        super().__init__()
        self.embed, self.first, self.second, self.head = (nn.Embedding(9, 6), nn.Conv1d(6, 16, 3, padding=1),
                                                          nn.Conv1d(16, 16, 3, padding=1), nn.Linear(16, 4))

    def forward(self, words):
        x = TF.relu(self.first(self.embed(words).transpose(1, 2)))
        y = self.second(torch.logcumsumexp(x, 1)) + x
        best = torch.cummax(self.head(y.mean(2)), 1)
        return {"values": best.values, "where": best.indices}


def test_single_calls_stay_torchs():
    model, words = Partly().eval(), torch.randint(0, 9, (3, 11))
    fast = compiled(model)
    with torch.no_grad():
        got, want = fast(words), model(words)
    assert_same(got["values"], want["values"], 2e-5)
    assert torch.equal(got["where"], want["where"])
    report, = door.compile_report()
    assert report.torch == {"aten.logcumsumexp.default": 1,
                            "aten.cummax.default": 1}
    assert (report.steps and report.share == 1 and set(report.torch_ms) == set(report.torch)
            and all(ms > 0 for ms in report.torch_ms.values()))
    assert "aten.cummax.default 1 (" in str(report) and pyops.compile_report() == [report]


def test_what_is_not_worth_a_program_torch_does():
    def strange(x):
        return torch.logcumsumexp(x, 0) + 1
    x = images(2, 3)
    with torch.no_grad(), pytest.warns(UserWarning, match=r"aten\.logcumsumexp"):
        assert torch.equal(compiled(strange)(x), strange(x))
    report, = door.compile_report()
    assert report.kind == "torch" and "aten.logcumsumexp" in report.why


def test_other_sizes_are_planned_when_they_come():
    """After the first change dynamo passes sizes as numbers; a size that was seen before is
    not planned again."""
    model = randomised(Everything())
    fast = compiled(model)
    with torch.no_grad():
        for batch in (2, 3, 5, 3, 4, 5):
            x = images(batch, 3, 24, 20, seed=batch)
            assert_same(fast(x), model(x), 2e-5)
    assert len(door.compile_report()) == 4 and all(r.kind == "program" for r in door.compile_report())


def test_sizes_are_not_planned_without_end(monkeypatch):
    monkeypatch.setattr("pyops.torch.backend.SIZES", 2)
    model = nn.Linear(6, 4).eval()
    fast = compiled(model)
    with torch.no_grad(), pytest.warns(UserWarning, match="planned for 2 sizes"):
        for batch in (2, 3, 4, 5, 6, 3):
            assert_same(fast(images(batch, 6)), model(images(batch, 6)))
    # dynamo's first graph is of one size
    assert [r.kind for r in door.compile_report()] == ["program"] * 3 + ["torch"]


def test_what_the_doors_cost(capsys, monkeypatch):
    from pyops.bench import torch_door
    monkeypatch.setattr("sys.argv",
                        ["torch_door", "--model", "squeezenet1_1", "--size", "64", "--seconds", "0"])
    assert torch_door.main() == 0
    out = capsys.readouterr().out
    assert out.count("us shortest") == 3 and "freeze=True" in out and "within 3 % of the Program" in out


def test_frozen_weights_are_not_looked_at_again():
    model, x = nn.Linear(6, 4).eval(), images(2, 6)
    fast = compiled(model, freeze=True)
    with torch.no_grad():
        before = fast(x)
        model.weight.zero_()
        assert torch.equal(fast(x), before)


def test_a_frozen_graph_takes_other_sizes_and_writes_where_it_must():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(2),
                          nn.Flatten(), nn.Linear(16, 5))
    trains, fast = copy.deepcopy(model), compiled(model.eval(), freeze=True)
    with torch.no_grad():
        for batch in (2, 3, 4, 2):   # from the second on, sizes are arguments of the graph
            assert_same(fast(images(batch, 3, 9, 8)), model(images(batch, 3, 9, 8)))
        assert all(r.kind == "program" for r in door.compile_report())
        want, x = copy.deepcopy(trains), images(2, 3, 9, 8)
        with pytest.warns(UserWarning, match="writes to a buffer"):
            got = compiled(trains, freeze=True)(x)
        assert_same(got, want(x))
        assert_same(trains[2].running_var, want[2].running_var)


def test_frozen_weights_are_constants_of_the_graph(monkeypatch):
    """Nothing of the model is passed in a call, by either door; other compilations are not frozen
    with it, and training still trains."""
    model, x = randomised(Everything()), images(2, 3, 24, 20)
    passed = []
    monkeypatch.setattr("pyops.torch.backend.Compiled.__call__",
                        lambda self, *inputs: passed.append(len(inputs))
                        or self.plans[self.key(inputs)].run(*inputs))
    for fast in (door.compile(model, freeze=True, threads=1),
                 torch.compile(model, backend="pyops", options={"freeze": True})):
        torch._dynamo.reset()
        passed.clear()
        with torch.no_grad():
            for _ in range(2):
                assert_same(fast(x), model(x), 2e-5)
        assert passed == [1, 1] and not torch._dynamo.config.prepare_freezing
    learns = nn.Linear(6, 4)
    door.compile(learns, freeze=True)(images(2, 6)).square().sum().backward()
    got = learns.weight.grad.clone()
    learns.zero_grad()
    learns(images(2, 6)).square().sum().backward()
    assert_same(got, learns.weight.grad)
    with pytest.raises(TypeError, match="not mode"):
        door.compile(model, freeze=True, mode="default")


ZOO = ("resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "lraspp_mobilenet_v3_large",
       "timm/ghostnet_050", "timm/convnext_atto_rms", "timm/fasternet_t0", "timm/tnt_s_legacy_patch16_224")


@pytest.mark.parametrize("name", ZOO)
def test_zoo(name):
    """What make zoo does with all of them: torch.compile, batch 1 and 3."""
    from pyops.bench import zoo
    row = zoo.row(name, seconds=0)
    assert not row.wrong and row.error <= zoo.ALLOWED and row.share >= 0.99, row


def test_unknown_options_are_refused():
    with torch.no_grad(), pytest.raises(Exception, match="no option speed"):
        compiled(nn.Linear(3, 2), speed=1)(images(4, 3))


def test_torch_modules_need_no_import_of_the_door():
    """The compiler knows no front end; a torch module brings its own."""
    code = ("import sys, torch, pyops; model = torch.nn.Linear(3, 2).eval(); assert 'pyops.torch' not in "
            "sys.modules;" "import pyops.graph; assert 'pyops.torch' not "
            "in sys.modules; pyops.compile(lambda x: x * 2, torch.zeros(1).numpy());"
            "assert 'pyops.torch' not in sys.modules; program = pyops.compile(model, torch.ones(1, "
            "3)); assert 'pyops.torch' in sys.modules;"
            "assert abs(program(torch.ones(1, 3)) - model(torch.ones(1, 3)).detach().numpy()).max() < 1e-6")
    subprocess.run([sys.executable, "-c", code], check=True)
