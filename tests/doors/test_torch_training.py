"""Training through torch.compile(backend="pyops"), torch.ops.pyops and replace_modules, against
torch's own gradients."""
import copy
import os
import subprocess
import sys
import textwrap

import pytest

torch = pytest.importorskip("torch")
door = pytest.importorskip("pyops.torch")
nn, TF, P = torch.nn, torch.nn.functional, torch.ops.pyops
# what other packages warn of as they are traced is not ours to answer for
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def fresh():
    torch.manual_seed(0)
    torch._dynamo.reset()
    door.compile_report(clear=True)


def network():
    """Every kind of call that training takes over, and some that it does not."""
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
                         nn.MaxPool2d(3, 2, 1), nn.Conv2d(8, 8, 3, groups=8), nn.GroupNorm(2, 8), nn.SiLU(),
                         nn.AvgPool2d(2, 1, 1, count_include_pad=False), nn.ConvTranspose2d(8, 6, 3, 2, 1, 1),
                         nn.BatchNorm2d(6, affine=False), nn.AdaptiveAvgPool2d((3, 2)), nn.Flatten(),
                         nn.LayerNorm(36), nn.Linear(36, 10), nn.Softmax(-1))


def assert_close(got, want, allowed=2e-5):
    assert (got - want).abs().max() <= allowed * want.abs().max().clamp_min(1e-12)


def gradients(model, call, x, target):
    model.zero_grad()
    loss = TF.cross_entropy(call(x), target)
    loss.backward()
    return loss.detach(), [p.grad.clone() for p in model.parameters()]


def test_training_steps_are_torchs():
    """Losses, gradients and the statistics of batch norm, over steps with changing weights and
    another batch size in the last."""
    ours = network()
    theirs = copy.deepcopy(ours)
    call = torch.compile(ours, backend=door.pyops)
    steps = [torch.optim.SGD(m.parameters(), 0.1, momentum=0.9) for m in (ours, theirs)]
    for batch in (4, 4, 7):
        x, target = torch.randn(batch, 3, 16, 17), torch.randint(0, 10, (batch,))
        loss, got = gradients(ours, call, x, target)
        wanted_loss, want = gradients(theirs, theirs, x, target)
        assert_close(loss, wanted_loss)
        # a bias before batch norm has a gradient of zero, and rounding
        greatest = max(w.abs().max() for w in want)
        for g, w in zip(got, want):
            assert (g - w).abs().max() <= 2e-5 * greatest
        for g, w in zip(ours.buffers(), theirs.buffers()):
            assert_close(g.float(), w.float())
        for step in steps:
            step.step()
    forward, backward = door.compile_report()[:2]
    assert forward.kind == backward.kind == "training"
    assert forward.share == backward.share == 1 and backward.flops > 1.5 * forward.flops > 1e6
    assert (forward.ours["aten.convolution.default"] == 3
            and backward.ours["aten.convolution_backward.default"] == 3)
    assert not any(op in report.torch for report in (forward, backward)
                   for op in ("aten.convolution.default", "aten.native_batch_norm_backward.default",
                              "aten.max_pool2d_with_indices_backward.default", "aten.mm.default"))


def test_channels_last_and_double():
    for change in (lambda v: v.to(memory_format=torch.channels_last), lambda v: v.double()):
        torch._dynamo.reset()
        ours = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        ours, x = change(ours), change(torch.randn(2, 4, 9, 8))
        theirs = copy.deepcopy(ours)
        # a view that only channels_last allows
        call = torch.compile(lambda v: ours(v).permute(0, 2, 3, 1).flatten(1), backend=door.pyops)   # noqa: B023
        results = []
        for model, run in ((ours, call), (theirs, lambda v: theirs(v).permute(0, 2, 3, 1).flatten(1))):  # noqa: B023
            y = run(x)
            y.square().sum().backward()
            results.append([y.detach(), *(p.grad for p in model.parameters())])
        for g, w in zip(*results):
            assert g.dtype == w.dtype and (g - w).abs().max() <= 2e-5 * max(w.abs().max(), 1)


def test_batch_norm_moves_without_gradients():
    ours = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    theirs, x = copy.deepcopy(ours), torch.randn(2, 3, 8, 8)
    call = torch.compile(ours, backend=door.pyops)
    with torch.no_grad():
        assert_close(call(x), theirs(x))
    assert_close(ours[1].running_mean, theirs[1].running_mean)
    assert [r.kind for r in door.compile_report()] == ["training"]


def leaf(*shape):
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


def weights(gates):
    return [leaf(gates * 4, 3), leaf(gates * 4, 4), leaf(gates * 4), leaf(gates * 4)]


def pooled(x):
    """Maxima of 2 along the first axes and 3 along the last, and where they were."""
    y, places = getattr(TF, f"max_pool{x.ndim - 2}d")(x, (2,) * (x.ndim - 3) + (3,), return_indices=True)
    return y.detach().requires_grad_(), places


OPERATORS = {
    "conv1d": lambda: (leaf(2, 4, 7), leaf(6, 4, 3), None, [1], [1], [1], 1),
    "conv2d": lambda: (leaf(2, 4, 7, 8), leaf(6, 2, 3, 3), leaf(6), [1, 2], [1, 0], [1, 1], 2),
    "conv3d": lambda: (leaf(1, 2, 4, 5, 4), leaf(3, 2, 2, 2, 3), leaf(3), [1, 2, 1], [1, 0, 1], [1, 1, 1], 1),
    "conv_transpose1d": lambda: (leaf(2, 4, 5), leaf(4, 3, 3), None, [2], [1], [1], 1, [1]),
    "conv_transpose2d": lambda: (leaf(1, 4, 4, 5), leaf(4, 2, 3, 3), leaf(4), [2, 2], [1, 1], [1, 0], 2,
                                 [1, 1]),
    "conv_transpose3d": lambda: (leaf(1, 2, 2, 3, 3), leaf(2, 2, 2, 2, 2), None, [1, 2, 1], [0, 0, 0],
                                 [0, 0, 0], 1, [1, 1, 1]),
    "linear": lambda: (leaf(3, 4, 5), leaf(6, 5), leaf(6)),
    "max_pool1d": lambda: (leaf(2, 3, 9), [3], [2], [1], [1], False),
    "max_pool2d": lambda: (leaf(2, 3, 8, 9), [3, 3], [2, 2], [1, 1], [1, 1], True),
    "max_pool3d": lambda: (leaf(1, 2, 4, 5, 4), [2, 2, 2], [2, 2, 2], [0, 0, 0], [1, 1, 1], False),
    "avg_pool1d": lambda: (leaf(2, 3, 9), [2], [2], [1], False, True),
    "avg_pool2d": lambda: (leaf(2, 3, 8, 9), [2, 2], [2, 2], [1, 1], False, False, None),
    "avg_pool3d": lambda: (leaf(1, 2, 4, 5, 4), [2, 2, 2], [2, 1, 2], [0, 0, 0], False, True, 3),
    "adaptive_avg_pool1d": lambda: (leaf(2, 3, 9), [4]),
    "adaptive_avg_pool2d": lambda: (leaf(2, 3, 8, 9), [3, 4]),
    "adaptive_avg_pool3d": lambda: (leaf(1, 2, 4, 5, 4), [2, 2, 3]),
    "adaptive_max_pool1d": lambda: (leaf(2, 3, 9), [4]),
    "adaptive_max_pool2d": lambda: (leaf(2, 3, 8, 9), [3, 4]),
    "adaptive_max_pool3d": lambda: (leaf(1, 2, 4, 5, 4), [2, 2, 3]),
    "lp_pool1d": lambda: (leaf(2, 3, 9), 2.0, [3], [2], False),
    "lp_pool2d": lambda: (leaf(2, 3, 8, 9), 2.0, [3, 2], [], True),
    "lp_pool3d": lambda: (leaf(1, 2, 4, 5, 4), 4.0, [2, 2, 2], [2, 1, 2], False),
    "max_unpool1d": lambda: (leaf(1, 2, 3), torch.tensor([[[0, 2, 6], [1, 3, 4]]]), [2], [2], [0], [7]),
    "max_unpool2d": lambda: (*pooled(leaf(2, 3, 8, 9)), [2, 3], [], [0, 0], []),
    "max_unpool3d": lambda: (*pooled(leaf(1, 2, 4, 5, 7)), [2, 2, 3], [2, 2, 3], [0, 0, 0], [4, 5, 7]),
    "interpolate": lambda: (leaf(2, 3, 5, 4), None, [1.5, 0.8], "bilinear", False, True),
    "unfold": lambda: (leaf(2, 3, 6, 7), [2, 3], [2, 1], [1, 0], [1, 2]),
    "fold": lambda: (leaf(2, 12, 9), [5, 6], [2, 2], [1, 1], [1, 0], [2, 2]),
    "embedding": lambda: (torch.tensor([[1, 4, 1], [0, 2, 1]]), leaf(6, 3), 3, False),
    "instance_norm": lambda: (leaf(3, 4, 5), leaf(4), leaf(4), 1e-5),
    "batch_norm": lambda: (leaf(3, 4, 5), torch.randn(4, dtype=torch.float64),
                           torch.rand(4, dtype=torch.float64) + 0.5, leaf(4), leaf(4), 1e-5),
    "layer_norm": lambda: (leaf(3, 4, 5), [4, 5], leaf(4, 5), leaf(4, 5), 1e-5),
    "rms_norm": lambda: (leaf(3, 5), [5], leaf(5), 1e-5),
    "group_norm": lambda: (leaf(3, 4, 5), 2, leaf(4), leaf(4), 1e-5),
    "local_response_norm": lambda: (leaf(2, 7, 3), 5, 1e-1, 0.75, 1.0),
    **{name: lambda: (leaf(33),)
       for name in ("relu", "silu", "mish", "hardswish", "hardsigmoid", "softsign", "logsigmoid")},
    "gelu": lambda: (leaf(33), "tanh"), "elu": lambda: (leaf(33), 0.7), "leaky_relu": lambda: (leaf(33), 0.2),
    "softplus": lambda: (leaf(33), 1.0, 20.0),
    "softmax": lambda: (leaf(3, 4, 5), 1), "log_softmax": lambda: (leaf(3, 4, 5), -1),
    "attention": lambda: (leaf(1, 2, 5, 4), leaf(1, 2, 6, 4), leaf(1, 2, 6, 3), None, False, None),
    "lstm": lambda: (leaf(5, 2, 3), leaf(2, 2, 4), leaf(2, 2, 4), weights(4) + weights(4), True, 1, True,
                     False),
    "gru": lambda: (leaf(2, 5, 3), leaf(1, 2, 4), weights(3), True, 1, False, True),
    "rnn": lambda: (leaf(5, 2, 3), leaf(1, 2, 4), weights(1), "tanh", True, 1, False, False),
}


def test_every_operator_is_tried():
    from pyops.torch.library import OPERATORS as all_of_them
    assert set(OPERATORS) == set(all_of_them)


@pytest.mark.parametrize("name", OPERATORS)
def test_operator(name):
    """torch's own check of schema, fake kernel and registration; gradients against differences."""
    arguments, operator = OPERATORS[name](), getattr(P, name)
    torch.library.opcheck(operator.default, arguments)
    flat = [v for a in arguments for v in (a if isinstance(a, list) else [a]) if isinstance(v, torch.Tensor)]

    def call(*tensors):
        given = iter(tensors)
        return operator(
            *([next(given) for _ in a] if isinstance(a, list) and a and isinstance(a[0], torch.Tensor)
              else next(given) if isinstance(a, torch.Tensor) else a for a in arguments))
    assert torch.autograd.gradcheck(call, flat)


def test_what_has_other_arguments_here_is_torchs():
    x = torch.randn(2, 3, 6, 5)
    y, places = pooled(x)
    for got, want in (
            (P.max_unpool2d(y, places, [2, 3], [], [0, 0], [7, 5]),
             TF.max_unpool2d(y, places, (2, 3), output_size=(7, 5))),
            (P.interpolate(x, [9, 4], None, "bicubic", True, False),
             TF.interpolate(x, (9, 4), mode="bicubic", align_corners=True)),
            (P.interpolate(x, None, [2.0, 1.5], "nearest", None, False), TF.interpolate(x, scale_factor=(2.0, 1.5))),
            (P.lp_pool2d(x.abs(), 3.0, [2, 2], [1, 2], False), TF.lp_pool2d(x.abs(), 3.0, (2, 2), (1, 2))),
            (P.embedding(places, torch.arange(60.0).reshape(30, 2), None, False),
             TF.embedding(places, torch.arange(60.0).reshape(30, 2))),
            (P.instance_norm(x, None, None, 1e-5), TF.instance_norm(x)),
            (P.fold(P.unfold(x, [2, 2], [1, 1], [0, 0], [2, 1]), [6, 5], [2, 2], [1, 1], [0, 0], [2, 1]),
             TF.fold(TF.unfold(x, (2, 2), stride=(2, 1)), (6, 5), (2, 2), stride=(2, 1)))):
        assert got.shape == want.shape
        assert_close(got, want)


def test_operators_refuse_like_their_functions():
    with pytest.raises(ValueError, match="conv2d: .*channels"):
        P.conv2d(torch.ones(1, 3, 8, 8), torch.ones(4, 2, 3, 3), None, [1, 1], [0, 0], [1, 1], 1)
    with pytest.raises(TypeError, match="float32 or float64"):
        P.relu(torch.ones(3, dtype=torch.int64))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 12)
        self.both = nn.LSTM(12, 8, 2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(16, 6, batch_first=True)
        self.plain = nn.RNN(6, 6, nonlinearity="relu", batch_first=True)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        y, _ = self.both(self.embed(x))
        y, state = self.gru(y)
        return self.head(self.plain(y)[0]) + state[-1, :, None, :5]


@pytest.mark.parametrize("make, shape", [(network, (3, 3, 16, 16)), (Recurrent, None)])
def test_replaced_modules(make, shape):
    """Same results and gradients as torch's layers, alone and under pyops.torch.compile; restored,
    they are torch's again."""
    theirs = make()
    ours = door.replace_modules(copy.deepcopy(theirs))
    assert list(ours.state_dict()) == list(theirs.state_dict()) and isinstance(ours, type(theirs))
    x = torch.randn(*shape) if shape else torch.randint(0, 20, (3, 7))
    for call in (ours, door.compile(ours)):
        results = []
        for model, run in ((ours, call), (theirs, theirs)):
            model.zero_grad()
            y = run(x)
            y.square().sum().backward()
            results.append([y.detach(), *(p.grad.clone() for p in model.parameters())])
        greatest = max(w.abs().max() for w in results[1])
        assert all((g - w).abs().max() <= 3e-5 * greatest for g, w in zip(*results))
    classes = [type(m) for m in theirs.modules()]
    assert [type(m) for m in door.restore_modules(ours).modules()] == classes


def test_what_replaced_modules_leave_to_torch():
    lstm = nn.LSTM(3, 4)
    packed = nn.utils.rnn.pack_sequence([torch.randn(4, 3), torch.randn(2, 3)])
    want = lstm(packed)[0].data
    assert torch.equal(door.replace_modules(lstm)(packed)[0].data, want)
    reflected = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")
    x = torch.randn(1, 3, 6, 6)
    want = reflected(x)
    assert torch.equal(door.replace_modules(reflected)(x), want)


def test_recurrent_layers_in_one_graph():
    model, x = Recurrent().eval(), torch.randint(0, 20, (3, 7))
    call = door.compile(model, threads=1)
    with torch.no_grad():
        assert_close(call(x), model(x))
    report, = door.compile_report()
    assert report.torch == {} and report.share == 1


TWO = """
    import os, sys, torch, torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel
    import pyops.torch
    rank, store, backend, order = int(sys.argv[1]), *sys.argv[2:]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
    torch.manual_seed(0)
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)

        def forward(self, x):
            return self.head(nn.functional.relu(self.norm(self.conv(x))).mean((2, 3)))
    model = Net()
    if order == "compiled_inside":
        call = DistributedDataParallel(torch.compile(model, backend=backend))
    else:
        call = torch.compile(DistributedDataParallel(model), backend=backend)
    step = torch.optim.SGD(model.parameters(), 0.1)
    data = torch.Generator().manual_seed(1 + rank)
    for _ in range(3):
        step.zero_grad()
        x, t = torch.randn(4, 3, 8, 8, generator=data), torch.randint(0, 4, (4,), generator=data)
        nn.functional.cross_entropy(call(x), t).backward()
        step.step()
    if backend == "pyops":
        ours = {op for r in pyops.torch.compile_report() for op in r.ours}
        assert {"aten.convolution.default", "aten.convolution_backward.default"} <= ours, pyops.torch.compile_report()
    print(*(f"{p.double().abs().sum():.6f}" for p in model.parameters()), flush=True)
    dist.barrier()
    os._exit(0)   # gloo may abort while one process tears down before the other
"""


def test_two_processes(tmp_path):
    """Under DistributedDataParallel both processes end with the same weights, those that torch
    alone would reach."""
    def train(backend, order):
        store = tmp_path / f"{backend}_{order}"
        command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(TWO)]
        running = [subprocess.Popen([*command, str(rank), str(store), backend, order], stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, text=True,
                                    env={**os.environ, "MASTER_ADDR": "127.0.0.1"})
                   for rank in range(2)]
        found = []
        for process in running:
            out, err = process.communicate(timeout=180)
            assert process.returncode == 0, err[-3000:]
            found.append([float(v) for v in out.split()])
        assert found[0] == found[1]
        return found[0]
    want = train("eager", "compiled_inside")
    for order in ("compiled_inside", "compiled_outside"):
        assert train("pyops", order) == pytest.approx(want, rel=1e-5)


def test_an_instance_norm_is_replaced():
    """Of one sample whose gradient comes back channels last torch's own gradients are wrong (2.13):
    the bias's is the sum of dy."""
    theirs = nn.InstanceNorm2d(6, affine=True).double()
    ours = door.replace_modules(copy.deepcopy(theirs))
    x, dy = torch.randn(1, 6, 9, 8).double(), torch.randn(1, 9, 8, 6).double().permute(0, 3, 1, 2)
    results = []
    for layer, g in ((theirs, dy.contiguous()), (ours, dy)):
        a = x.clone().requires_grad_()
        y = layer(a)
        y.backward(g)
        results.append((y.detach(), a.grad, layer.weight.grad, layer.bias.grad))
    for want, got in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(results[1][3], dy.sum((0, 2, 3)))
    # statistics; no batch axis
    for kept in (nn.InstanceNorm1d(3, track_running_stats=True), nn.InstanceNorm1d(3)):
        x = torch.randn(3, 7) if not kept.track_running_stats else torch.randn(2, 3, 7)
        want = copy.deepcopy(kept)(x)
        assert torch.equal(door.replace_modules(kept)(x), want)
