"""Trainer: the same bits after kill -9, schedules, penalties, early stopping, and a NaN's layer."""
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops import nn, optim
from pyops.train import (
    ArrayDataset,
    NonFiniteError,
    Split,
    Trainer,
    checkpoint,
    confusion_matrix,
    first_non_finite,
    measure,
    penalty,
    top_k,
    training_batches,
)

pytest.importorskip("safetensors")


def blobs(count=96, classes=3, seed=0):
    """Images (N, 1, 6, 6) of noise around one pattern a class."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(99).normal(size=(classes, 1, 6, 6))
    labels = rng.integers(0, classes, count)
    return ArrayDataset((patterns[labels] + rng.normal(size=(count, 1, 6, 6))).astype(np.float32), labels)


def network(seed=0, classes=3):
    pyops.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2),
                         nn.Flatten(), nn.Linear(144, classes))


def trainer(out, model=None, **settings):
    return Trainer(model or network(), Split(blobs(), blobs(48, seed=1)), out,
                   **{"epochs": 3, "batch_size": 16, "lr": 1e-2, "seed": 3, "draw_curve": False, **settings})


def weights(path):
    return checkpoint.load(path)[0]


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


# ---- resuming

TO_BE_KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
from test_trainer import trainer
from pyops import optim
import numpy as np
from pyops.train import ArrayDataset

def noisy(images, rng):
    return images + rng.normal(size=images.shape).astype(np.float32) * 0.1

t = trainer({out!r}, epochs=4, checkpoint_every=2, clip_norm=1.0, l2=1e-3, patience=9, workers={workers})
t.split.train.augment = noisy
t.tick = lambda *_: time.sleep(0.03)   # 24 steps: a signal comes long before the end
t.fit(resume=True)
"""


def run_training(out, workers, kill_after=None):
    code = TO_BE_KILLED.format(tests=os.path.dirname(__file__), out=str(out), workers=workers)
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stderr=subprocess.PIPE)
    if kill_after is not None:
        begun = out / "checkpoint.safetensors"
        before = begun.stat().st_mtime_ns if begun.exists() else 0
        # it has got further than the last
        while child.poll() is None and (begun.stat().st_mtime_ns if begun.exists() else 0) == before:
            time.sleep(0.001)
        time.sleep(kill_after)
        child.send_signal(signal.SIGKILL)
    error = child.communicate()[1]
    return child.returncode, error.decode()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_training_ends_with_the_same_bits(tmp_path):
    code, error = run_training(tmp_path / "whole", 0)
    assert code == 0, error
    rng, kills = np.random.default_rng(), 0
    for _ in range(5):
        code, error = run_training(tmp_path / "killed", 2, kill_after=rng.uniform(0, 0.07))
        assert code in (0, -signal.SIGKILL), error
        kills += code == -signal.SIGKILL
        assert checkpoint.load(tmp_path / "killed" / "checkpoint.safetensors"), "whole at any time"
        if code == 0:
            break
    assert kills >= 2
    assert run_training(tmp_path / "killed", 1)[0] == 0
    for name in ("checkpoint.safetensors", "best.safetensors"):
        (whole, told), (killed, said) = (checkpoint.load(tmp_path / run / name, resuming=True)
                                         for run in ("whole", "killed"))
        assert same(whole, killed) and told["epoch"] == said["epoch"]
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == ["best.safetensors",
                                                                       "checkpoint.safetensors"], "leftovers"


SCHEDULES = {
    "default": lambda m: {},
    "sgd_step": lambda m: (lambda o: {"optimizer": o, "schedule": optim.StepLR(o, 2, 0.5), "schedule_every": "epoch"})(
        optim.SGD(m.parameters(), 0.05, momentum=0.9, nesterov=True)),
    "sequential": lambda m: (lambda o: {"optimizer": o, "schedule": optim.SequentialLR(
        o, [optim.LinearLR(o, 0.1, total_iters=4), optim.CosineAnnealingLR(o, 14)], [4])})(
            optim.Adam(m.parameters(), 1e-2, amsgrad=True)),
    "plateau": lambda m: (lambda o: {"optimizer": o,
                                     "schedule": optim.ReduceLROnPlateau(o, patience=0, threshold=0.5)})(
                                         optim.RMSprop(m.parameters(), 1e-3, momentum=0.5, centered=True)),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("stop", [4, 6, 9])   # inside the first epoch, at its end, inside the second
def test_resuming_with_every_schedule(tmp_path, name, stop):
    def begin(out):
        model = network()
        return trainer(out, model, checkpoint_every=1, **SCHEDULES[name](model))
    begin(tmp_path / "a").fit()
    first, count = begin(tmp_path / "b"), [0]

    def press(epoch, batch, loss):
        count[0] += 1
        if count[0] > stop:
            raise KeyboardInterrupt
    first.tick = press
    first.fit()
    assert first.interrupted
    pyops.manual_seed(12345)   # another process
    second = begin(tmp_path / "b")
    second.fit(resume=True)
    assert same(
        *(checkpoint.load(tmp_path / run / "checkpoint.safetensors", resuming=True)[0] for run in "ab"))
    assert len(second.history) == 3


def test_resuming_another_training_is_refused(tmp_path):
    trainer(tmp_path, epochs=1).fit()
    with pytest.raises(ValueError, match="batch_size was 16, is 8"):
        trainer(tmp_path, epochs=1, batch_size=8).fit(resume=True)
    with pytest.raises(ValueError,
                       match=r"checkpoint\.safetensors: holds another model: (?s:.*)unexpected: 5.weight"):
        trainer(tmp_path, nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), epochs=1).fit(resume=True)
    checkpoint.save(tmp_path / "checkpoint.safetensors", network().state_dict(), {})
    with pytest.raises(ValueError, match="weights only"):
        trainer(tmp_path, epochs=1).fit(resume=True)


def test_training_state_is_no_part_of_the_weights(tmp_path):
    trainer(tmp_path, epochs=1).fit()
    network().load_state_dict(weights(tmp_path / "checkpoint.safetensors"))   # strict
    assert any(k.startswith("@")
               for k in checkpoint.load(tmp_path / "checkpoint.safetensors", resuming=True)[0])


# ---- order

def test_batches_do_not_depend_on_threads_or_on_where_one_starts():
    data = blobs()
    data.augment = lambda images, rng: images + rng.normal(size=images.shape).astype(np.float32)
    plain = list(training_batches(data, 10, 7, 2))
    assert len(plain) == 10 and len(plain[-1][1]) == 6
    for workers in (1, 2, 5):
        for (x, y), (u, v) in zip(plain[3:], training_batches(data, 10, 7, 2, first=3, workers=workers),
                                  strict=True):
            assert np.array_equal(x, u) and np.array_equal(y, v)
    other = next(training_batches(data, 10, 7, 3))
    assert not np.array_equal(plain[0][1], other[1])


def test_an_error_in_a_worker_is_raised():
    data = blobs()
    data.augment = lambda images, rng: 1 / 0
    with pytest.raises(ZeroDivisionError):
        list(training_batches(data, 10, 0, 1, workers=2))


# ---- steps

def test_penalties_are_what_they_say(tmp_path):
    """One step of plain gradient descent with rate 1 moves weights by the sum of the three
    gradients."""
    images, labels = blobs().take(np.arange(16))
    moved = {}
    for l1, l2 in ((0, 0), (0.25, 0), (0, 0.5), (0.25, 0.5)):
        model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
        nn.init.normal_(model[1].weight, generator=np.random.default_rng(0))
        nn.init.zeros_(model[1].bias)
        start = model[1].weight.data.copy()
        trainer(tmp_path, model, optimizer=optim.SGD(model.parameters(), 1.0), l1=l1,
                l2=l2).batch(images, labels)
        moved[l1, l2] = start - model[1].weight.data, model[1].bias.data.copy()
    for (l1, l2), (step, bias) in moved.items():
        assert np.allclose(step, moved[0, 0][0] + l1 * np.sign(start) + l2 * start, atol=1e-5)
        assert np.array_equal(bias, moved[0, 0][1]), "biases are left alone"
    model[1].weight.data[...] = start
    assert (penalty(model, 0.25, 0.5)
            == pytest.approx(0.25 * np.abs(start).sum() + 0.25 * (start.astype(float) ** 2).sum(), rel=1e-6))


def test_clipping_bounds_the_step(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    before = {k: v.copy() for k, v in model.state_dict().items()}
    one = trainer(tmp_path, model, optimizer=optim.SGD(model.parameters(), 1.0), clip_norm=1e-3)
    _, _, norm = one.batch(*blobs().take(np.arange(16)))
    length = np.sqrt(sum(((before[k] - v) ** 2).sum() for k, v in model.state_dict().items()))
    assert norm > 0.01 and length == pytest.approx(1e-3, rel=1e-3)


def test_early_stopping_puts_the_best_weights_back(tmp_path):
    model = network()
    begun = trainer(tmp_path, model, epochs=50, patience=2,
                    optimizer=optim.SGD(model.parameters(), 2.0, momentum=0.9))
    losses = [e.test_loss for e in begun.fit()]
    best = int(np.argmin(losses))
    assert len(losses) < 50 and len(losses) == best + 3
    assert measure(model, begun.split.test).loss == pytest.approx(losses[best], rel=1e-6)
    assert checkpoint.load(tmp_path / "best.safetensors")[1]["epoch"] == str(best + 1)
    again = trainer(tmp_path, network(), epochs=50, patience=2,
                    optimizer=optim.SGD(network().parameters(), 2.0, momentum=0.9))
    assert len(again.fit(resume=True)) == len(losses), "a training that has stopped stays stopped"


@pytest.mark.parametrize("settings, match", [({"batch_size": 0}, "batch_size"),
                                             ({"clip_norm": 0}, "clip_norm"), ({"l1": -1}, "l1"),
                                             ({"monitor": "speed"}, "speed"), ({"l2": float("nan")}, "l2")])
def test_bad_settings_are_refused(tmp_path, settings, match):
    with pytest.raises(ValueError, match=match):
        trainer(tmp_path, **settings)


@pytest.mark.parametrize("settings, kind, match", [
    ({"batch_size": 2.5}, TypeError, "batch_size must be an int, got 2.5"),
    ({"epochs": "3"}, TypeError, "epochs must be an int, got '3'"),
    ({"optimizer": "adam"}, TypeError, "optimizer must be one of pyops.optim"),
    ({"schedule": "cosine"}, TypeError, "schedule must be one"),
    ({"model": lambda: pyops.create_model("squeezenet1_1", include_top=False)}, ValueError,
     "has no classifier; call replace_head"),
    ({"model": lambda: pyops.create_model("squeezenet1_1", classifier_activation="softmax")}, ValueError,
     "ends in softmax, but")])
def test_what_cannot_be_trained_is_refused(tmp_path, settings, kind, match):
    with nn.init.skip_draws(), pytest.raises(kind, match=f"Trainer: .*{match}"):
        trainer(tmp_path, settings.pop("model", network)(), **settings)


def test_another_number_of_classes_is_named(tmp_path):
    data = blobs()
    with pytest.raises(ValueError, match="the data has 3 classes, the model 2; create it with classes=3"):
        trainer(tmp_path, network(classes=2)).fit()
    assert not tmp_path.joinpath("checkpoint.safetensors").exists()
    data.classes = ("ant", "bee", "cat")
    for classes, outcome in (
            (2, pytest.raises(ValueError, match=r"3 classes \(ant, bee, cat\), the model 2")),
            (9, pytest.warns(UserWarning, match=r"the model has 9 classes, the data 3 \(ant, bee, cat\)"))):
        with outcome:
            Trainer(network(classes=classes), Split(data, data), tmp_path, epochs=1, draw_curve=False).fit()


def test_a_last_batch_of_one_image_that_norms_cannot_take_is_explained(tmp_path):
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(1, 3))
    with pytest.raises(
            ValueError,
            match="more than one value .* holds 1 of 96 images: choose another batch_size than 19"):
        trainer(tmp_path, model, batch_size=19).fit()


# ---- values that are not finite

class Log(nn.Module):
    def forward(self, input):
        return F.log(input)


BROKEN = {
    "log_of_negative": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 8), Log(), nn.Linear(8, 3)), "2",
                        "value"),
    "weight": (lambda: poisoned(nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3))),
               "3", "parameter"),
    "overflow": (lambda: scaled(nn.Sequential(nn.Flatten(), nn.Linear(36, 8),
                                              nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3)))),
                 "2.0", "value"),
}


def poisoned(model):
    model[3].weight.data[1, 2] = np.nan
    return model


def scaled(model):
    model[1].weight.data *= np.float32(1e20)
    model[2][0].weight.data *= np.float32(1e20)
    return model


@pytest.mark.parametrize("name", BROKEN)
def test_the_first_layer_that_is_not_finite_is_named(tmp_path, name):
    make, layer, what = BROKEN[name]
    model = make()
    before = {k: v.copy() for k, v in model.state_dict().items()}
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="Usual causes") as error:
        trainer(tmp_path, model).fit()
    assert (error.value.found.layer, error.value.found.what) == (layer, what), str(error.value)
    assert all(np.array_equal(before[k], v, equal_nan=True)
               for k, v in model.state_dict().items()), "no step was made"


class Root(nn.Module):
    """A square root of 0 in the network's own forward: its value is finite, its gradient is not."""

    def __init__(self):
        self.first, self.second = nn.Linear(36, 8), nn.Linear(8, 3)

    def forward(self, input):
        return self.second(F.sqrt(F.mul(self.first(F.flatten(input, 1)), 0.0)))


def test_a_gradient_that_is_not_finite_is_named(tmp_path):
    model = Root()
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError) as error:
        trainer(tmp_path, model).fit()
    assert error.value.found.what == "gradient" and error.value.found.layer == "first"


def test_an_input_that_is_not_finite_is_named():
    model = network()
    found = first_non_finite(model, F.cross_entropy, np.full((2, 1, 6, 6), np.inf, np.float32),
                             np.zeros(2, np.int64))
    assert found.what == "input" and found.infinities == 72
    assert first_non_finite(model, F.cross_entropy, np.zeros((2, 1, 6, 6), np.float32),
                            np.zeros(2, np.int64)) is None


def test_a_diverging_training_keeps_the_last_good_checkpoint(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Linear(16, 16), nn.Linear(16, 3))
    begun = trainer(tmp_path, model, epochs=60, optimizer=optim.SGD(model.parameters(), 1e-3),
                    loss=lambda y, t: F.mse_loss(y, np.eye(3, dtype=np.float32)[t]))
    good = []

    def report(epoch):
        good[:] = [weights(begun.checkpoint)]
        begun.optimizer.param_groups[0]["lr"] = 1e3
    begun.report = report
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="holds the last good state"):
        begun.fit()
    assert same(good[0], weights(begun.checkpoint)) and all(np.isfinite(v).all() for v in good[0].values())


# ---- metrics

def test_metrics_against_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(200, 7)), rng.integers(0, 7, 200)
    assert np.array_equal(confusion_matrix(labels, scores.argmax(1), 7),
                          sklearn.confusion_matrix(labels, scores.argmax(1), labels=range(7)))
    for k in (1, 3, 6):
        assert top_k(scores, labels,
                     k) == pytest.approx(sklearn.top_k_accuracy_score(labels, scores, k=k, labels=range(7)))
    assert top_k(scores, labels, 7) == 1
    ties = np.zeros((4, 3))
    assert top_k(ties, np.arange(3).repeat([2, 1, 1]), 1) == 0.5
    with pytest.raises(ValueError, match="k = 8"):
        top_k(scores, labels, 8)
    with pytest.raises(ValueError, match="labels must be 0"):
        confusion_matrix(np.array([7]), np.array([0]), 7)


def test_the_report_names_what_a_class_is_taken_for(tmp_path):
    begun = trainer(tmp_path, top_k=2)
    history = begun.fit()
    measured = begun.test()
    assert history[-1].test_top_k == measured.top_k(2) >= history[-1].test_accuracy
    lines = measured.report(["ant", "bee", "cat"]).splitlines()
    assert len(lines) == 4 and lines[1].split()[1] == str(measured.confusion[0].sum())


# ---- hooks

def test_hooks_see_and_replace():
    model, seen = nn.Sequential(nn.ReLU(), nn.ReLU()), []
    x = pyops.Tensor(np.array([-1.0, 2.0], np.float32))
    with model[0].register_forward_hook(lambda m, i, o: seen.append(SimpleNamespace(inputs=i, output=o))):
        assert model(x).data.tolist() == [0, 2]
    assert seen[0].inputs[0] is x and seen[0].output.data.tolist() == [0, 2]
    assert model(x) is not None and len(seen) == 1, "removed"
    handle = model[1].register_forward_pre_hook(lambda m, i: F.neg(i[0]))
    other = model.register_forward_hook(lambda m, i, o: F.add(o, 1))
    assert model(x).data.tolist() == [1, 1]
    handle.remove(), other.remove()
    assert model(x).data.tolist() == [0, 2] and "_hooks" not in model.state_dict()


# ---- forged checkpoints

def forged(path, change):
    """The checkpoint with its state of the training and its arrays changed."""
    arrays, metadata = checkpoint.load(path, resuming=True)
    arrays = {k: a.copy() for k, a in arrays.items()}
    told = json.loads(metadata["training"])
    told = change(told, arrays) or told
    checkpoint.save(path, arrays,
                    metadata | {"training": told if isinstance(told, str) else json.dumps(told)})


def set_in(told, *path, value):
    for key in path[:-1]:
        told = told[key]
    told[path[-1]] = value


FORGED = {
    "no JSON": lambda t, a: "{",
    "a list": lambda t, a: "[]",
    "deep": lambda t, a: "[" * 100_000,
    "no counts": lambda t, a: t.pop("counts") and None,
    "a rate of words": lambda t, a: set_in(t, "groups", 0, "lr", value="fast"),
    "a negative rate": lambda t, a: set_in(t, "groups", 0, "lr", value=-1.0),
    "a rate that is NaN": lambda t, a: set_in(t, "groups", 0, "lr", value=float("nan")),
    "one beta": lambda t, a: set_in(t, "groups", 0, "betas", value=[0.9]),
    "amsgrad of words": lambda t, a: set_in(t, "groups", 0, "amsgrad", value="yes"),
    "parameters of words": lambda t, a: set_in(t, "groups", 0, "params", value=["a"]),
    "a parameter twice": lambda t, a: set_in(t, "groups", 0, "params",
                                             value=[0] * len(t["groups"][0]["params"])),
    "two groups": lambda t, a: t["groups"].append(t["groups"][0]),
    "a count of another parameter": lambda t, a: set_in(t, "counts", "99.step", value=1),
    "a count of words": lambda t, a: set_in(t, "counts", "0.step", value="x"),
    "a negative count": lambda t, a: set_in(t, "counts", "0.step", value=-1),
    "a count of nothing": lambda t, a: set_in(t, "counts", "x", value=1),
    "no schedule": lambda t, a: set_in(t, "schedule", value=None),
    "another schedule": lambda t, a: set_in(t, "schedule", value={"a": 1}),
    "an epoch of words": lambda t, a: set_in(t, "schedule", "last_epoch", value="soon"),
    "a schedule without end": lambda t, a: set_in(t, "schedule", "last_epoch", value=10**400),
    "a generator of words": lambda t, a: set_in(t, "generator", "state", value="x"),
    "another generator": lambda t, a: set_in(t, "generator", "bit_generator", value="MT19937"),
    "progress of words": lambda t, a: set_in(t, "progress", "now", "epochs", value="one"),
    "negative progress": lambda t, a: set_in(t, "progress", "now", "batch", value=-1),
    "more progress": lambda t, a: set_in(t, "progress", "now", "x", value=1),
    "a history of words": lambda t, a: set_in(t, "progress", "history", value=["x"]),
    "half an epoch": lambda t, a: t["progress"]["history"][0].pop("number") and None,
    "a seed of words": lambda t, a: set_in(t, "progress", "seed", value="x"),
    "no settings": lambda t, a: t["progress"].pop("settings") and None,
    "settings of words": lambda t, a: set_in(t, "progress", "settings", value="x"),
    "a state of another shape": lambda t, a: a.update({"@optimizer.0.exp_avg": np.zeros(3, np.float32)}),
    "a complex state": lambda t, a: a.update({
       "@optimizer.0.exp_avg": a["@optimizer.0.exp_avg"].astype(np.complex64)}),
    "a state of nothing": lambda t, a: a.update({"@optimizer.x.exp_avg": np.zeros(3, np.float32)}),
    "a weight missing": lambda t, a: a.pop(next(k for k in a if not k.startswith("@"))) is None,
    "a weight of whole numbers": lambda t, a: a.update({k: v.astype(np.int8)
                                                        for k, v in a.items() if k.endswith("weight")}),
}


@pytest.mark.parametrize("why", FORGED)
def test_a_forged_checkpoint_changes_nothing(tmp_path, why):
    trainer(tmp_path, epochs=1).fit()
    forged(tmp_path / "checkpoint.safetensors", FORGED[why])
    second = trainer(tmp_path, epochs=1)
    before = {k: v.copy() for k, v in second.model.state_dict().items()}
    groups, history, progress = ([dict(g) for g in second.optimizer.param_groups], list(second.history),
                                 second.progress)
    drawn = pyops.core.random.default_generator().bit_generator.state
    with pytest.raises(ValueError, match="checkpoint.safetensors"):
        second.restore()
    assert all(np.array_equal(before[k], v) for k, v in second.model.state_dict().items())
    assert [dict(g) for g in second.optimizer.param_groups] == groups and not second.optimizer.state
    assert second.history == history and second.progress is progress
    assert pyops.core.random.default_generator().bit_generator.state == drawn


def test_a_checkpoint_says_no_more_than_it_holds(tmp_path):
    model = pyops.create_model("lenet5_modern")
    path = tmp_path / "m.safetensors"
    pyops.models.weights.save(model, path)
    arrays, metadata = checkpoint.load(path)
    for settings in ('{"classes": 1000000000000}', "[1, 2]", "[" * 100_000, '{"weights": "/etc/passwd"}',
                     '{"classes": {"a": 1}}', '"x"', "{",
                     '{"classes": NaN}', '{"no_such": 1}', '{"classes": -1}'):
        checkpoint.save(path, arrays, metadata | {"settings": settings})
        with pytest.raises(ValueError, match="m.safetensors"):
            pyops.train.load_model(path)
