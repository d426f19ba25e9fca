"""Modules: what they hold, how they load, and that every layer answers as torch's with the same
arguments and weights."""
import copy
import inspect

import numpy as np
import pytest

import pyops
from pyops import Tensor, functional as F, nn
from pyops.nn.layer import Layer


def small_network():
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


# ---- what a module holds

def test_names_and_order_are_torchs():
    assert list(small_network().state_dict()) == [
        "0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var",
        "1.num_batches_tracked", "4.weight", "4.bias"]
    assert [n for n, _ in small_network().named_parameters()] == ["0.weight", "0.bias", "1.weight", "1.bias",
                                                                  "4.weight", "4.bias"]
    assert [n for n, _ in small_network().named_buffers()] == ["1.running_mean", "1.running_var",
                                                               "1.num_batches_tracked"]


def test_a_shared_module_is_one_module_but_saved_under_both_names():
    shared = nn.Linear(2, 2)
    model = nn.Sequential(shared, shared)
    assert len(list(model.parameters())) == 2 and len(list(model.modules())) == 2
    assert list(model.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_a_buffer_that_is_not_persistent_is_not_saved():
    module = nn.Module()
    module.register_buffer("kept", np.zeros(2))
    module.register_buffer("scratch", np.zeros(2), persistent=False)
    module.register_buffer("absent", None)
    assert list(module.state_dict()) == ["kept"] and len(list(module.buffers())) == 2
    assert nn.Module()._buffers == {}, "an instance's buffers must not become the class's"


def test_train_and_eval_reach_every_module():
    model = small_network().eval()
    assert not any(m.training for m in model.modules())
    assert all(m.training for m in model.train().modules())


def test_apply_and_zero_grad():
    model, seen = small_network(), []
    model.apply(lambda m: seen.append(type(m).__name__))
    assert seen[-1] == "Sequential" and len(seen) == 6
    for p in model.parameters():
        p.grad = np.ones_like(p.data)
    model.zero_grad(set_to_none=False)
    assert all((p.grad == 0).all() for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_to_double_and_back():
    model = small_network().double()
    assert {a.dtype.name for a in model.state_dict().values()} == {"float64", "int64"}
    assert {a.dtype.name for a in model.float().state_dict().values()} == {"float32", "int64"}
    with pytest.raises(TypeError, match="float16"):
        model.to(np.float16)


def test_a_copy_shares_nothing():
    model = small_network()
    other = copy.deepcopy(model)
    other[0].weight.data[...] = 7
    assert not (model[0].weight.data == 7).any()


def test_containers():
    model = nn.Sequential({"first": nn.Linear(2, 3), "second": nn.ReLU()})
    assert list(model.state_dict()) == ["first.weight", "first.bias"] and isinstance(model[-1], nn.ReLU)
    assert isinstance(small_network()[1:3], nn.Sequential) and len(small_network()[1:3]) == 2
    held = nn.ModuleList([nn.Linear(2, 2)]).append(nn.Linear(2, 1))
    held[1] = nn.Identity()
    assert len(held) == 2 and list(held.state_dict()) == ["0.weight", "0.bias"]
    named = nn.ModuleDict({"a": nn.ReLU()})
    named["b"] = nn.Linear(1, 1)
    assert list(named) == ["a", "b"] and "b" in named and list(named.state_dict()) == ["b.weight", "b.bias"]
    del named["a"]
    assert named.keys() == ["b"]
    with pytest.raises(KeyError, match="forward"):
        named["forward"] = nn.ReLU()
    with pytest.raises(TypeError, match="int"):
        nn.ModuleList([3])


def test_repr_shows_the_tree():
    assert repr(nn.Sequential(nn.Linear(2, 3, bias=False), nn.LeakyReLU(0.2))) == (
        "Sequential(\n  (0): Linear(in_features=2, out_features=3, bias=False)\n"
        "  (1): LeakyReLU(negative_slope=0.2, inplace=False)\n)")


# ---- loading

def test_load_state_dict_copies():
    a, b = small_network(), small_network()
    assert b.load_state_dict(a.state_dict()) == ([], [])
    assert all(np.array_equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))
    a[0].weight.data[...] = 9
    assert not (b[0].weight.data == 9).any()


def test_a_state_that_does_not_fit_is_refused_in_full_and_changes_nothing():
    model = small_network()
    before = {k: v.copy() for k, v in model.state_dict().items()}
    state = {k: v + 1 for k, v in before.items()}
    del state["0.bias"]
    state["extra"] = np.zeros(1)
    state["4.weight"] = np.zeros((3, 5), np.float32)
    with pytest.raises(ValueError) as error:
        model.load_state_dict(state)
    for said in ("missing: 0.bias", "unexpected: extra",
                 "4.weight has shape (3, 5), the module's is (3, 16)"):
        assert said in str(error.value)
    with pytest.raises(ValueError, match="4.weight"):
        model.load_state_dict(state, strict=False)
    assert all(np.array_equal(before[k], v) for k, v in model.state_dict().items())
    del state["4.weight"]
    assert model.load_state_dict(state, strict=False) == (["0.bias", "4.weight"], ["extra"])
    assert np.array_equal(model[0].weight.data, before["0.weight"] + 1)


def test_a_checkpoint_older_than_batch_counts_loads():
    model = small_network()
    state = {k: v + 1 for k, v in model.state_dict().items() if k != "1.num_batches_tracked"}
    assert model.load_state_dict(state) == ([], [])
    assert model[1].running_mean[0] == 1 and model[1].num_batches_tracked == 0


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError):
        nn.MaxPool2d(2, window=3)
    for make, match in [
            (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups"), (lambda: nn.Conv2d(3, 4, 0), "kernel_size"),
            (lambda: nn.Conv2d(3, 4, 3, padding="full"), "padding"), (lambda: nn.Dropout(1.5), "p must"),
            (lambda: nn.StochasticDepth(-0.1, "row"), "p must"),
            (lambda: nn.StochasticDepth(0.1, "rows"), "mode"),
            (lambda: nn.Conv2d(3, 4, 3, 2, padding="same"), "same"),
            (lambda: nn.GroupNorm(3, 4), "num_groups"),
            (lambda: nn.Embedding(3, 2, padding_idx=3), "padding_idx"),
            (lambda: nn.ZeroPad2d((1, 2)), "padding")]:
        with pytest.raises(ValueError, match=match):
            make()


def test_the_seed_decides_the_start():
    def drawn(seed):
        pyops.manual_seed(seed)
        return small_network()[0].weight.data
    assert np.array_equal(drawn(1), drawn(1)) and not np.array_equal(drawn(1), drawn(2))


def test_skip_draws_leaves_the_generator_alone():
    pyops.manual_seed(1)
    with nn.init.skip_draws():
        nn.Linear(3, 3)
    assert np.array_equal(pyops.core.random.default_generator().random(2), pyops.manual_seed(1).random(2))


# ---- every layer beside torch's

torch = pytest.importorskip("torch")


def X(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


IMAGE = X(2, 4, 9, 10)
LAYERS = [   # name, constructor arguments, inputs
    ("Linear", dict(in_features=5, out_features=3), [X(2, 5)]),
    ("Linear", dict(in_features=5, out_features=3, bias=False), [X(2, 4, 5)]),
    ("Identity", {}, [X(3)]),
    ("Conv1d", dict(in_channels=4, out_channels=6, kernel_size=3, stride=2, padding=1, groups=2), [X(2, 4, 11)]),
    ("Conv2d", dict(in_channels=4, out_channels=6, kernel_size=(3, 2), dilation=(1, 2), bias=False), [IMAGE]),
    ("Conv2d",
     dict(in_channels=4, out_channels=6, kernel_size=(4, 3), padding="same", padding_mode="reflect"),
     [IMAGE]),
    ("Conv2d", dict(in_channels=4, out_channels=6, kernel_size=3, padding=(1, 2), padding_mode="circular"), [IMAGE]),
    ("Conv3d", dict(in_channels=2, out_channels=3, kernel_size=3, padding=1), [X(1, 2, 4, 5, 6)]),
    ("ConvTranspose1d",
     dict(in_channels=4, out_channels=6, kernel_size=3, stride=2, output_padding=1, groups=2), [X(2, 4, 7)]),
    ("ConvTranspose2d", dict(in_channels=4, out_channels=6, kernel_size=3, stride=2, padding=1, dilation=2), [IMAGE]),
    ("ConvTranspose3d", dict(in_channels=2, out_channels=3, kernel_size=2, stride=2), [X(1, 2, 3, 4, 5)]),
    *[(f"MaxPool{n}d", dict(kernel_size=3, stride=2, padding=1, ceil_mode=True), [X(2, 3, *(9, 8, 7)[:n])])
      for n in (1, 2, 3)],
    ("MaxPool2d", dict(kernel_size=2, dilation=2, return_indices=True), [IMAGE]),
    *[(f"AvgPool{n}d", dict(kernel_size=3, stride=2, padding=1, count_include_pad=False),
       [X(2, 3, *(9, 8, 7)[:n])]) for n in (1, 2, 3)],
    ("AvgPool2d", dict(kernel_size=2, divisor_override=1), [IMAGE]),
    *[(f"LPPool{n}d", dict(norm_type=2, kernel_size=2), [abs(X(2, 3, *(9, 8, 7)[:n]))]) for n in (1, 2, 3)],
    *[(f"AdaptiveAvgPool{n}d", dict(output_size=3), [X(2, 3, *(9, 8, 7)[:n])]) for n in (1, 2, 3)],
    *[(f"AdaptiveMaxPool{n}d", dict(output_size=3, return_indices=True), [X(2, 3, *(9, 8, 7)[:n])]) for n in (1, 2, 3)],
    ("AdaptiveAvgPool2d", dict(output_size=(None, 1)), [IMAGE]),
    ("BatchNorm1d", dict(num_features=5), [X(4, 5)]),
    ("BatchNorm2d", dict(num_features=4, momentum=None, eps=1e-3), [IMAGE]),
    ("BatchNorm2d", dict(num_features=4, affine=False, track_running_stats=False), [IMAGE]),
    ("BatchNorm3d", dict(num_features=2), [X(2, 2, 3, 4, 5)]),
    ("InstanceNorm1d", dict(num_features=3), [X(2, 3, 8)]),
    ("InstanceNorm2d", dict(num_features=4, affine=True, track_running_stats=True), [IMAGE]),
    ("InstanceNorm2d", dict(num_features=4), [X(4, 5, 6)]),
    ("InstanceNorm3d", dict(num_features=2), [X(2, 2, 3, 4, 5)]),
    ("LayerNorm", dict(normalized_shape=(9, 10)), [IMAGE]),
    ("LayerNorm", dict(normalized_shape=10, bias=False), [IMAGE]),
    ("GroupNorm", dict(num_groups=2, num_channels=4), [IMAGE]),
    ("LocalResponseNorm", dict(size=3, alpha=0.1, k=2.0), [IMAGE]),
    *[(name, {}, [X(3, 7)])
      for name in ("ReLU", "ReLU6", "SELU", "SiLU", "Mish", "Hardswish", "Hardsigmoid", "LeakyReLU", "ELU",
                   "CELU", "Hardtanh", "GELU", "Softplus", "Sigmoid", "LogSigmoid", "Tanh", "Softsign")],
    ("ReLU", dict(inplace=True), [X(3)]),
    ("GELU", dict(approximate="tanh"), [X(3, 7)]),
    ("Softmax", dict(dim=1), [X(3, 7)]),
    ("LogSoftmax", dict(dim=-1), [X(3, 7)]),
    ("PReLU", dict(num_parameters=4), [IMAGE]),
    ("Flatten", {}, [IMAGE]),
    ("Flatten", dict(start_dim=0, end_dim=2), [IMAGE]),
    ("Upsample", dict(scale_factor=2), [IMAGE]),
    ("Upsample", dict(size=(5, 17), mode="bilinear", align_corners=True), [IMAGE]),
    ("Unfold", dict(kernel_size=3, padding=1, stride=2), [IMAGE]),
    ("Fold", dict(output_size=(4, 5), kernel_size=2), [X(2, 12, 12)]),
    *[(f"{kind}Pad{n}d", dict(padding=2), [X(2, 3, *(5, 6, 7)[:n])])
      for kind in ("Zero", "Reflection", "Replication", "Circular") for n in (1, 2, 3)],
    ("ConstantPad2d", dict(padding=(1, -1, 2, 0), value=3.5), [IMAGE]),
    ("Embedding", dict(num_embeddings=7, embedding_dim=3, padding_idx=-2), [np.array([[1, 5], [0, 6]])]),
    ("CrossEntropyLoss", dict(weight=abs(X(4)), ignore_index=2, label_smoothing=0.1),
     [X(5, 4), np.array([0, 1, 2, 3, 3])]),
    ("NLLLoss", {}, [X(5, 4), np.array([0, 1, 2, 3, 3])]),
    ("BCELoss", {}, [np.full((3, 2), 0.3, np.float32), np.ones((3, 2), np.float32)]),
    ("BCEWithLogitsLoss", dict(pos_weight=abs(X(2))), [X(3, 2), np.ones((3, 2), np.float32)]),
    *[(name, dict(reduction="sum"), [X(3, 2), X(2, 3).T.copy()])
      for name in ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss")],
    ("KLDivLoss", dict(reduction="batchmean", log_target=True), [X(3, 2), X(3, 2) - 1]),
]


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name, arguments, inputs", LAYERS,
                         ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(LAYERS)])
def test_layer_is_torchs(name, arguments, inputs, training):
    """The same constructor call, torch's weights loaded: the same result, the same gradients, the
    same buffers after."""
    theirs = getattr(torch.nn, name)(
        **{k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()})
    ours = getattr(nn, name)(**arguments)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    theirs.train(training), ours.train(training)
    mine = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in inputs]
    other = [torch.from_numpy(a.copy()).requires_grad_(a.dtype.kind == "f") for a in inputs]
    got, want = ours(*mine), theirs(*(t.clone() for t in other))
    if isinstance(want, tuple):
        assert np.array_equal(got[1].data, want[1].numpy())
        got, want = got[0], want[0]
    close(got.data, want.detach().numpy(), "output")
    if want.requires_grad:
        weight = np.random.default_rng(1).standard_normal(got.shape).astype(np.float32)
        got.backward(weight), want.backward(torch.from_numpy(weight))
        for a, b in zip([*mine, *ours.parameters()], [*other, *theirs.parameters()]):
            if b.grad is not None and a.requires_grad:
                close(a.grad, b.grad.numpy(), "gradient")
    for (key, a), b in zip(ours.state_dict().items(), theirs.state_dict().values()):
        close(a, b.numpy(), key)


def close(got, want, what):
    assert np.abs(got - want).max(initial=0) <= 2e-5 * max(1, np.abs(want).max(initial=0)), what


@pytest.mark.parametrize("n", [1, 2, 3])
def test_max_unpool_is_torchs(n):
    x = X(2, 3, *(8, 6, 4)[:n])
    results = []
    for home, value in ((nn, Tensor(x)), (torch.nn, torch.from_numpy(x))):
        pooled, indices = getattr(home, f"MaxPool{n}d")(2, return_indices=True)(value)
        results.append(np.asarray(getattr(home, f"MaxUnpool{n}d")(2)(pooled, indices)))
    assert np.array_equal(*results)


def test_conv_transpose_output_size():
    ours, theirs = nn.ConvTranspose2d(2, 3, 3, stride=2), torch.nn.ConvTranspose2d(2, 3, 3, stride=2)
    ours.load_state_dict(theirs.state_dict())
    x = X(1, 2, 4, 5)
    close(ours(x, output_size=(10, 11)).data,
          theirs(torch.from_numpy(x), output_size=(10, 11)).detach().numpy(), "output")
    with pytest.raises(ValueError, match="output_size"):
        ours(x, output_size=(13, 11))


@pytest.mark.parametrize("mode, parts", [("row", 400), ("batch", 1)])
def test_stochastic_depth(mode, parts):
    """Branches are dropped whole, as often as said, and the rest grows; nothing
    happens in evaluation."""
    layer, x = nn.StochasticDepth(0.25, mode), Tensor(1 + abs(X(400, 3, 2)), requires_grad=True)
    pyops.manual_seed(0)
    y = layer(x)
    kept = (y.data != 0).reshape(parts, -1)
    assert (kept.all(1) | ~kept.any(1)).all()
    if parts > 1:
        assert 0.15 < 1 - kept.mean() < 0.35
    factor = kept.reshape(x.shape) / 0.75
    close(y.data, x.data * factor, "output")
    y.backward(np.ones_like(y.data))
    close(x.grad, factor, "gradient")
    assert layer.eval()(x) is x and repr(layer) == f"StochasticDepth(p=0.25, mode={mode})"


def test_wrong_rank_is_refused():
    for layer, shape in [(nn.BatchNorm2d(3), (2, 3, 4)), (nn.BatchNorm1d(3), (2, 3, 4, 5)),
                         (nn.InstanceNorm1d(3), (2, 3, 4, 5))]:
        with pytest.raises(ValueError, match="axes"):
            layer(X(*shape))


LEFT_OUT = ("device", "dtype", "size_average", "reduce", "min_value", "max_value", "sparse", "_weight",
            "_freeze")


@pytest.mark.parametrize("name",
                         sorted(n for n in dir(nn) if inspect.isclass(getattr(nn, n)) and hasattr(torch.nn, n)
                                and n not in ("Module", "Parameter", "Identity")))
def test_constructor_is_torchs(name):
    """The same argument names, order and defaults; torch's device and what it
    deprecates are left out."""
    def arguments(cls):
        return [(p.name, getattr(p.default, "__name__", p.default))
                for p in inspect.signature(cls).parameters.values()
                if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name not in LEFT_OUT]
    ours, theirs = arguments(getattr(nn, name)), arguments(getattr(torch.nn, name))
    if "Loss" in name:   # by keyword, so order is free
        ours, theirs = sorted(ours, key=str), sorted(theirs, key=str)
    if name in ("Sequential", "ModuleList", "ModuleDict"):
        assert len(ours) == len(theirs)
    elif name in ("RNN", "LSTM", "GRU"):   # torch's take *args
        assert not theirs
    elif name.startswith("MaxPool"):
        assert [a for a, _ in ours] == [a for a, _ in theirs]
    else:
        assert ours == theirs


@pytest.mark.parametrize("cls", [c for c in vars(nn).values() if inspect.isclass(c) and issubclass(c, Layer)],
                         ids=lambda c: c.__name__)
def test_every_layer_has_its_function(cls):
    assert hasattr(F, cls.function)


# ---- initialisation: the distribution, not the numbers, is torch's

INITS = [("uniform_", (-1.0, 3.0)), ("normal_", (1.0, 2.0)), ("trunc_normal_", (0.0, 1.0, -1.0, 2.0)),
         ("xavier_uniform_", (2.0,)), ("xavier_normal_", ()), ("kaiming_uniform_", (1.0, "fan_out")),
         ("kaiming_normal_", (0, "fan_in", "relu")), ("orthogonal_", (2.0,)),
         ("sparse_", (0.3,)), ("eye_", ()), ("ones_", ()), ("zeros_", ()), ("constant_", (4.0,))]


@pytest.mark.parametrize("name, arguments", INITS, ids=[n for n, _ in INITS])
def test_init_has_torchs_distribution(name, arguments):
    pyops.manual_seed(0), torch.manual_seed(0)
    ours = getattr(nn.init, name)(np.empty((300, 200), np.float32), *arguments)
    theirs = getattr(torch.nn.init, name)(torch.empty(300, 200), *arguments).numpy()
    bounded = name.endswith("uniform_") or name == "trunc_normal_"
    for q in (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, *((0, 1) if bounded else ())):
        assert abs(np.quantile(ours, q) - np.quantile(theirs, q)) <= 0.05 * theirs.std() + 1e-6, q


def test_dirac_and_gains():
    for groups in (1, 2):
        theirs = torch.nn.init.dirac_(torch.empty(4, 3, 3, 2), groups).numpy()
        assert np.array_equal(nn.init.dirac_(np.empty((4, 3, 3, 2), np.float32), groups), theirs)
    for name in ("linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        assert nn.init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    q = nn.init.orthogonal_(np.empty((5, 8)))
    assert np.allclose(q @ q.T, np.eye(5))


@pytest.mark.parametrize("make", [lambda h: h.Linear(90, 60), lambda h: h.Conv2d(8, 60, 3, groups=2),
                                  lambda h: h.ConvTranspose2d(60, 8, 3)],
                         ids=["linear", "conv", "conv_transpose"])
def test_layers_start_in_torchs_range(make):
    for ours, theirs in zip(make(nn).state_dict().values(), make(torch.nn).state_dict().values()):
        assert np.abs(ours).max() == pytest.approx(theirs.abs().max().item(), rel=0.1)
