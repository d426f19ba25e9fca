"""Optimisers and schedules walk the same path as torch's."""
import numpy as np
import pytest

from pyops import optim
from pyops.core.backends import BACKENDS, ISAS, use_backend
from pyops.nn import Parameter

torch = pytest.importorskip("torch")
SHAPES = [(3, 5), (17,), (), (0, 2), (40000,)]   # a tail, one element, nothing, more than one thread's grain


def paths(name, dtype, steps=12, groups=False, **settings):
    """Parameters after every step, ours and torch's, with the same random gradients; the learning
    rate changes on the way."""
    rng = np.random.default_rng(0)
    start = [np.asarray(rng.standard_normal(s), dtype) for s in SHAPES]
    ours, theirs = [Parameter(a.copy()) for a in start], [torch.nn.Parameter(torch.from_numpy(a.copy()))
                                                          for a in start]
    split = (lambda ps: [{"params": ps[:2], "lr": 0.5}, {"params": ps[2:]}]) if groups else list
    a, b = getattr(optim, name)(split(ours), **settings), getattr(torch.optim,
                                                                  name)(split(theirs), **settings)
    for step in range(steps):
        for p, t in zip(ours, theirs):
            g = np.asarray(rng.standard_normal(p.shape) * 3, dtype)
            p.grad, t.grad = g, torch.from_numpy(g.copy())
        # a parameter without gradient stays, and its count of steps too
        ours[1].grad = theirs[1].grad = None
        if step == 5:
            a.param_groups[0]["lr"] = b.param_groups[0]["lr"] = 0.03
        a.step(), b.step()
        yield a, b, ours, theirs


SETTINGS = [
    ("SGD", dict(lr=0.1)),
    ("SGD", dict(lr=0.1, momentum=0.9)),
    ("SGD", dict(lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.01)),
    ("SGD", dict(lr=0.1, momentum=0.9, nesterov=True, maximize=True)),
    ("Adam", dict(lr=0.1)),
    ("Adam", dict(betas=(0.5, 0.9), eps=1e-3, weight_decay=0.1, amsgrad=True)),
    ("AdamW", dict(lr=0.1)),
    ("AdamW", dict(weight_decay=0.3, amsgrad=True, maximize=True)),
    ("RMSprop", dict()),
    ("RMSprop", dict(lr=0.1, alpha=0.9, weight_decay=0.1, momentum=0.8)),
    ("RMSprop", dict(centered=True, momentum=0.8, maximize=True)),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("backend_name", [*(n for n in ISAS if not BACKENDS[n].missing), "reference"])
@pytest.mark.parametrize("name, settings", SETTINGS, ids=[f"{n}-{'-'.join(s)}" for n, s in SETTINGS])
def test_same_path_as_torch(name, settings, backend_name, dtype):
    with use_backend(backend_name):
        for a, b, ours, theirs in paths(name, dtype, **settings):
            for p, t in zip(ours, theirs):
                t = t.detach().numpy()
                # a step divides by a root that may be small, so rounding grows with the path: 100
                # eps of the largest value
                assert (np.abs(p.data - t).max(initial=0)
                        <= 100 * np.finfo(dtype).eps * max(1, np.abs(t).max(initial=0)))


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_groups_and_state_dict(name):
    """A state saved half-way, ours or torch's, continues on the same path."""
    settings = {"momentum": 0.9} if name != "Adam" else {}
    for a, b, ours, theirs in paths(name, np.float64, groups=True, **settings):
        for saved in (a.state_dict(), b.state_dict()):
            copies = [Parameter(p.data.copy()) for p in ours]
            again = getattr(optim, name)([{"params": copies[:2]}, {"params": copies[2:]}])
            again.load_state_dict(saved)
            follow = [p.data.copy() for p in ours]
            keep = a.state_dict()
            state = {i: {k: np.copy(v) if isinstance(v, np.ndarray) else v for k, v in s.items()}
                     for i, s in keep["state"].items()}
            for p, q in zip(ours, copies):
                q.grad = p.grad
            a.step(), again.step()
            assert all(np.allclose(p.data, q.data, rtol=1e-12) for p, q in zip(ours, copies))
            for p, data in zip(ours, follow):
                p.data[...] = data
            a.load_state_dict({**keep, "state": state})
    with pytest.raises(ValueError, match="groups"):
        again.load_state_dict({"state": {}, "param_groups": [{"params": [0]}]})


def test_a_parameter_that_is_not_contiguous_is_stepped_too():
    p = Parameter(np.arange(6.0).reshape(2, 3).T)
    p.grad = np.ones((3, 2))
    optim.SGD([p], lr=1.0).step()
    assert np.array_equal(p.data, np.arange(6.0).reshape(2, 3).T - 1)


def test_refusals():
    p = Parameter(np.zeros(3))
    for make, match in [(lambda: optim.SGD([]), "no parameters"), (lambda: optim.SGD([p], lr=-1), "lr"),
                        (lambda: optim.SGD([p, p]), "twice"),
                        (lambda: optim.SGD([p], nesterov=True), "nesterov"),
                        (lambda: optim.Adam([p], betas=(1.0, 0.9)), "beta1"),
                        (lambda: optim.Adam([{"params": [p], "momentum": 1}]), "momentum")]:
        with pytest.raises(ValueError, match=match):
            make()
    with pytest.raises(TypeError, match="ndarray"):
        optim.SGD([np.zeros(3)])
    p.grad = np.zeros(4)
    with pytest.raises(ValueError, match="gradient is"):
        optim.SGD([p]).step()


@pytest.mark.parametrize("norm_type", [1.0, 2.0, float("inf")])
@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_clip_grad_norm(norm_type, limit):
    shared = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    ours, theirs = [Parameter(np.zeros((3, 4), np.float32))
                    for _ in range(2)], [torch.nn.Parameter(torch.zeros(3, 4)) for _ in range(2)]
    for p, t in zip(ours, theirs):
        p.grad, t.grad = shared, torch.from_numpy(shared.copy())
    assert (optim.clip_grad_norm_(ours, limit, norm_type)
            == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs, limit, norm_type).item()))
    for p, t in zip(ours, theirs):
        assert np.allclose(p.grad, t.grad.numpy(), rtol=1e-5)
    optim.clip_grad_value_(ours, 0.01)
    assert max(np.abs(p.grad).max() for p in ours) <= np.float32(0.01)


SCHEDULES = [
    ("StepLR", dict(step_size=3)),
    ("MultiStepLR", dict(milestones=[7, 2, 2], gamma=0.5)),
    ("ExponentialLR", dict(gamma=0.9)),
    ("LinearLR", dict(start_factor=0.1, total_iters=4)),
    ("CosineAnnealingLR", dict(T_max=6, eta_min=0.01)),
    ("LambdaLR", dict(lr_lambda=lambda e: 1 / (1 + e))),
    ("OneCycleLR", dict(max_lr=[0.5, 0.2], total_steps=20)),
    ("OneCycleLR", dict(max_lr=0.5, epochs=4, steps_per_epoch=5, three_phase=True, anneal_strategy="linear")),
]


@pytest.mark.parametrize("rule", ["SGD", "Adam"])
@pytest.mark.parametrize("name, settings", SCHEDULES, ids=[f"{n}-{'-'.join(s)}" for n, s in SCHEDULES])
def test_same_rates_as_torch(name, settings, rule):
    extra = {"momentum": 0.9} if rule == "SGD" else {}
    a = getattr(optim,
                rule)([{"params": [Parameter(np.zeros(1))]}, {"params": [Parameter(np.zeros(1))], "lr": 0.3}],
                      lr=0.1, **extra)
    b = getattr(torch.optim, rule)([{"params": [torch.nn.Parameter(torch.zeros(1))]},
                                    {"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.3}],
                                   lr=0.1, **extra)
    ours, theirs = getattr(optim, name)(a, **settings), getattr(torch.optim.lr_scheduler, name)(b, **settings)
    for _ in range(19):
        for g, t in zip(a.param_groups, b.param_groups):
            assert g["lr"] == pytest.approx(t["lr"], rel=1e-9)
            assert g.get("momentum", g.get("betas")) == pytest.approx(t.get("momentum", t.get("betas")))
        b.step(), ours.step(), theirs.step()
    resumed = getattr(optim, name)(a, **settings)
    resumed.load_state_dict(ours.state_dict())
    assert resumed.at(5) == pytest.approx(ours.at(5))


@pytest.mark.filterwarnings("ignore")
def test_warm_up_then_cosine_is_torchs():
    a, b = optim.SGD([Parameter(np.zeros(1))], lr=0.1), torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))],
                                                                        lr=0.1)

    def make(home, optimizer):
        return home.SequentialLR(optimizer, [home.LinearLR(optimizer, 0.1, total_iters=3),
                                             home.CosineAnnealingLR(optimizer, 8)],
                                 [3])
    ours, theirs = make(optim.lr_scheduler, a), make(torch.optim.lr_scheduler, b)
    for _ in range(11):
        assert a.param_groups[0]["lr"] == pytest.approx(b.param_groups[0]["lr"], rel=1e-9, abs=1e-12)
        b.step(), ours.step(), theirs.step()


@pytest.mark.parametrize("settings", [dict(patience=1), dict(mode="max", patience=0, threshold_mode="abs",
                                                             threshold=0.1, cooldown=2, min_lr=1e-3)])
def test_reduce_on_plateau_is_torchs(settings):
    a, b = optim.SGD([Parameter(np.zeros(1))], lr=0.1), torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))],
                                                                        lr=0.1)
    ours, theirs = (optim.ReduceLROnPlateau(a, **settings),
                    torch.optim.lr_scheduler.ReduceLROnPlateau(b, **settings))
    for metric in np.random.default_rng(0).uniform(0.5, 1, 40).tolist() + [-1.0, -2.0, -2.0, -2.0, -2.0]:
        ours.step(metric), theirs.step(metric)
        assert a.param_groups[0]["lr"] == pytest.approx(b.param_groups[0]["lr"])


def test_one_cycle_ends():
    schedule = optim.OneCycleLR(optim.SGD([Parameter(np.zeros(1))], momentum=0.9), 1.0, total_steps=2)
    schedule.step(), schedule.step()
    with pytest.raises(ValueError, match="2 steps"):
        schedule.step()
