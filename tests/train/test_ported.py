"""Code as people bring it along: torch's loop, NumPy's loop, an evaluation in scikit-learn's
manner, filters of scikit-image."""
import numpy as np
import pytest

import pyops
import pyops.functional as F
import pyops.nn as nn
import pyops.optim as optim
from pyops import Tensor

RNG = np.random.default_rng(0)
CENTRES = RNG.standard_normal((3, 8))
LABELS = RNG.integers(0, 3, 240)
DATA = (CENTRES[LABELS] + 0.3 * RNG.standard_normal((240, 8))).astype(np.float32)


def test_the_loop_of_torchs_tutorial(capsys):
    """Net, criterion, zero_grad, backward, step, running loss in an f-string, accuracy by
    comparison with labels."""
    pyops.manual_seed(0)
    device = "cpu"

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 6, 3, padding=1)
            self.fc1 = nn.Linear(6 * 4 * 4, 32)
            self.fc2 = nn.Linear(32, 3)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.conv1(x)), 2)
            x = x.view(-1, 6 * 4 * 4)
            x = F.relu(self.fc1(x))
            return F.log_softmax(self.fc2(x), dim=1)

    images = np.repeat(np.repeat(DATA[:, None, None, :], 8, axis=2), 1, axis=1)
    loader = [(images[i:i + 40], LABELS[i:i + 40]) for i in range(0, 200, 40)]
    model = Net().to(device)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model.train()
    for epoch in range(4):
        running_loss = 0.0
        for batch_idx, (data, target) in enumerate(loader):
            data, target = Tensor(data).to(device), Tensor(target).to(device)
            optimizer.zero_grad()
            output = model(data)
            loss = F.nll_loss(output, target)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            if batch_idx % 4 == 0:
                print(f"Train Epoch: {epoch} [{batch_idx * len(data)}/{len(DATA)}]\tLoss: {loss:.6f}")
    model.eval()
    correct = 0
    with pyops.no_grad():
        output = model(Tensor(images[200:]))
        pred = output.argmax(dim=1, keepdim=True)
        correct += (pred == Tensor(LABELS[200:]).view_as(pred)).sum().item()
    print("Test set: accuracy {}/{} ({:.0f}%), loss {:.4f}".format(correct, 40, 100.0 * correct / 40,   # noqa: UP032
                                                                   F.nll_loss(output, LABELS[200:])))
    said = capsys.readouterr().out
    assert correct >= 38 and "Train Epoch: 3 [160/240]\tLoss: 0." in said and running_loss / len(loader) < 0.3


def test_a_loop_of_numpys():
    """Weights by hand, np.exp and np.mean in the loss, an update within no_grad, accuracy by
    np.mean of a comparison."""
    w = Tensor(np.zeros((8, 3), np.float32), requires_grad=True)
    b = Tensor(np.zeros(3, np.float32), requires_grad=True)
    onehot = np.eye(3, dtype=np.float32)[LABELS]
    losses = []
    for step in range(60):
        scores = np.matmul(DATA, w) + b
        scores = scores - np.max(scores, axis=1, keepdims=True)
        probabilities = np.exp(scores) / np.sum(np.exp(scores), axis=1, keepdims=True)
        loss = (-np.mean(np.sum(onehot * np.log(np.clip(probabilities, 1e-7, 1.0)), axis=1))
                + np.float64(1e-3) * np.sum(w ** 2))
        w.grad = b.grad = None
        loss.backward()
        with pyops.no_grad():
            w -= 0.5 * w.grad
            b -= 0.5 * b.grad
        losses.append(float(loss))
        assert f"step {step}: {loss:.3f}" == f"step {step}: {losses[-1]:.3f}"
    accuracy = np.mean(np.argmax(np.matmul(DATA, w) + b, axis=1) == LABELS)
    assert losses[0] == pytest.approx(np.log(3), rel=1e-5) and losses[-1] < 0.2 and accuracy > 0.97
    # the last gradient, against one written out
    exact = Tensor(w.numpy().astype(np.float64), requires_grad=True)
    s = DATA.astype(np.float64) @ exact.numpy() + b.numpy()
    p = np.exp(s - s.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    F.cross_entropy(np.matmul(DATA.astype(np.float64), exact) + b.numpy().astype(np.float64),
                    LABELS).backward()
    np.testing.assert_allclose(exact.grad, DATA.T.astype(np.float64) @ (p - onehot) / 240, rtol=1e-8,
                               atol=1e-12)


class Classifier:
    """fit, predict, predict_proba and score, as scikit-learn has them."""

    def __init__(self, hidden=16, epochs=40):
        self.hidden, self.epochs = hidden, epochs

    def fit(self, X, y):
        pyops.manual_seed(1)
        self.classes_ = np.unique(y)
        self.model_ = nn.Sequential(nn.Linear(X.shape[1], self.hidden), nn.Tanh(),
                                    nn.Linear(self.hidden, len(self.classes_)))
        optimizer = optim.Adam(self.model_.parameters(), lr=0.02)
        for _ in range(self.epochs):
            optimizer.zero_grad()
            F.cross_entropy(self.model_(Tensor(X)), np.searchsorted(self.classes_, y)).backward()
            optimizer.step()
        return self

    def predict_proba(self, X):
        with pyops.no_grad():
            return np.asarray(self.model_(Tensor(X)).softmax(dim=1))

    def predict(self, X):
        return self.classes_[np.argmax(self.predict_proba(X), axis=1)]

    def score(self, X, y):
        return np.mean(self.predict(X) == y)


def test_an_evaluation_as_in_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    y = np.array([10, 20, 30])[LABELS]
    model = Classifier().fit(DATA[:200], y[:200])
    assert model.score(DATA[200:], y[200:]) >= 0.95
    confusion = metrics.confusion_matrix(y[200:], model.predict(DATA[200:]))
    assert confusion.sum() == 40 and np.trace(confusion) == round(40 * model.score(DATA[200:], y[200:]))
    proba = model.predict_proba(DATA[200:])
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-6)
    with pyops.no_grad():   # Tensors themselves, too
        scores = model.model_(Tensor(DATA[200:]))
    assert metrics.accuracy_score(LABELS[200:], scores.argmax(1)) == model.score(DATA[200:], y[200:])
    assert metrics.log_loss(LABELS[200:],
                            proba) == pytest.approx(F.cross_entropy(scores, LABELS[200:]).item(), rel=1e-5)


IMAGE = np.add.outer(np.sin(np.arange(24) / 3), np.cos(np.arange(20) / 4))


def by_hand(image, kernel):
    """Correlation with the image mirrored at its edge, entry by entry."""
    padded = np.pad(image, 1, mode="symmetric")
    return np.array([[(padded[i:i + 3, j:j + 3] * kernel).sum() for j in range(image.shape[1])]
                     for i in range(image.shape[0])])


def test_filters_of_scikit_image():
    """Sobel's edges, their magnitude, a Gaussian blur, unsharp masking and a threshold, by
    convolutions on planes."""
    horizontal = np.array([[1, 2, 1], [0, 0, 0], [-1, -2, -1]]) / 4
    blur = np.outer([1, 2, 1], [1, 2, 1]) / 16

    def filtered(image, kernel):
        padded = np.pad(image, 1, mode="symmetric")
        return F.conv2d(padded[None, None], kernel[None, None])[0, 0]

    sobel_h, sobel_v = filtered(IMAGE, horizontal), filtered(IMAGE, horizontal.T)
    np.testing.assert_allclose(sobel_h, by_hand(IMAGE, horizontal), atol=1e-12)
    magnitude = np.sqrt(sobel_h ** 2 + sobel_v ** 2) / np.sqrt(2)
    sharp = np.clip(IMAGE + 2.0 * (IMAGE - filtered(IMAGE, blur)), -2, 2)
    np.testing.assert_allclose(sharp, np.clip(3 * IMAGE - 2 * by_hand(IMAGE, blur), -2, 2), atol=1e-12)
    edges = magnitude > magnitude.mean()
    assert edges.dtype == bool and 0 < edges.sum() < edges.size
    # the same on Tensors gives the same, and a gradient
    t = Tensor(IMAGE, requires_grad=True)
    smooth = F.conv2d(np.pad(t, 1, mode="edge")[None, None], blur[None, None])[0, 0]
    np.testing.assert_allclose(smooth.numpy()[1:-1, 1:-1], by_hand(IMAGE, blur)[1:-1, 1:-1], atol=1e-12)
    (smooth[5, 5] * 2).backward()
    np.testing.assert_allclose(t.grad[4:7, 4:7], 2 * blur)
    assert t.grad.sum() == pytest.approx(2)


# ---- mistakes, and what is said of them

IMAGES, FILTERS = np.zeros((2, 3, 8, 8), np.float32), np.zeros((4, 3, 3, 3), np.float32)
LOGITS = np.zeros((4, 3), np.float32)


def leaf():
    return Tensor([1.0, 2.0, 3.0], requires_grad=True)


MISTAKES = {
    "bias_as_a_list": (lambda: F.conv2d(IMAGES, FILTERS, [0, 0, 0, 0]), TypeError,
                       "conv2d: bias must be an array.*got list"),
    "weight_left_out": (lambda: F.linear(LOGITS, None), TypeError, "linear: weight must be an array.*NoneType"),
    "a_string_for_a_size": (lambda: nn.Conv2d("3", 4, 3), TypeError, "Conv2d: in_channels must be an int, got '3'"),
    "a_float_for_a_size": (lambda: nn.Linear(3.5, 4), TypeError, "Linear: in_features must be an int, got 3.5"),
    "an_image_with_channels_last": (lambda: F.conv2d(IMAGES.transpose(0, 2, 3, 1), FILTERS), ValueError,
                                    r"channels come before.*transpose\(\(0, 3, 1, 2\)\)"),
    "a_plane_without_channels": (lambda: F.conv2d(IMAGES[0, 0], FILTERS[0, 0]), ValueError,
                                 r"conv2d.*input\[None, None\]"),
    "another_type": (lambda: F.conv2d(IMAGES, FILTERS.astype(np.float64)), TypeError,
                     "conv2d: inputs must share one dtype.*astype"),
    "whole_numbers": (lambda: F.conv2d(IMAGES.astype(np.uint8), FILTERS), TypeError,
                      "conv2d: input must be float32 or float64, got uint8.*astype"),
    "a_model_to_the_gpu": (lambda: nn.Linear(3, 4).to("cuda"), ValueError, "no device 'cuda'.*CuPy"),
    "a_tensor_to_the_gpu": (lambda: leaf().to("cuda:0"), ValueError, "no device 'cuda:0'"),
    "backward_of_many": (lambda: (leaf() * 2).backward(), ValueError, "needs `gradient`.*mean"),
    "backward_without_a_leaf": (lambda: Tensor([1.0]).sum().backward(), ValueError,
                                "does not depend on anything that requires a gradient"),
    "gradients_of_whole_numbers": (lambda: Tensor([1, 2], requires_grad=True), TypeError,
                                   "only float tensors have gradients, got int64"),
    "targets_of_floats": (lambda: F.nll_loss(LOGITS, np.zeros(4)), TypeError,
                          "nll_loss: target must be an integer array, got float64"),
    "a_class_too_many": (lambda: F.cross_entropy(LOGITS, np.array([0, 1, 2, 3])), ValueError, "cross_entropy.*3"),
    "numpys_sine": (lambda: np.sin(leaf()), TypeError, r"numpy.sin.*detach\(\)"),
    "truth_of_many": (lambda: bool(leaf()), ValueError, r"truth.*\.any\(\) or \.all\(\)"),
    "a_format_of_many": (lambda: f"{leaf():.3f}", TypeError, "one element"),
    "an_update_that_loses_the_leaf": (lambda: leaf().__isub__(0.1), RuntimeError, r"no_grad\(\)"),
    "assignment_on_the_tape": (lambda: leaf().__setitem__(0, 1.0), RuntimeError, r"F\.where"),
    "another_backend": (lambda: pyops.use_backend("avx"), ValueError, "'avx' is not one of"),
    "a_list_of_tensors": (lambda: Tensor([leaf(), leaf()]), TypeError, "functional.stack"),
    "shapes_that_do_not_meet": (lambda: leaf() + np.zeros(4, np.float32), ValueError,
                                r"add: shapes \(3,\), \(4,\) do not broadcast"),
    "an_axis_too_many": (lambda: leaf().sum(axis=1), ValueError, r"sum: dim 1 is out of range.*\(3,\)"),
    "a_masked_array": (lambda: F.relu(np.ma.masked_array([1.0, 2.0])), TypeError,
                       "relu: input is a masked array.*filled"),
    "a_list_among_arrays": (lambda: F.cat([LOGITS, [1.0]]), TypeError, r"cat: tensors\[1\] must be an array.*got list"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(mistake):
    call, error, match = MISTAKES[mistake]
    with pytest.raises(error, match=match):
        call()


def test_softmax_without_an_axis_says_which_it_took():
    with pytest.warns(UserWarning, match="axis 1"):
        F.softmax(LOGITS)


def test_a_gradient_of_torchs_is_not_lost():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="relu: input requires a gradient in torch.*torch.ops.pyops"):
        F.relu(torch.zeros(3, requires_grad=True))


def test_use_backend_holds_from_its_call_or_for_its_block():
    before = pyops.get_backend()
    with pyops.use_backend("scalar"):
        assert pyops.get_backend().name == "scalar"
    assert pyops.get_backend() is before
    chosen = pyops.use_backend("reference")
    assert pyops.get_backend().name == "reference"
    with chosen:
        pass
    assert pyops.get_backend() is before


def test_a_listing_of_the_package_does_not_need_every_extra():
    import inspect
    import subprocess
    import sys
    code = ("import sys, inspect; sys.modules.update(onnx=None, torch=None)\n"
            "import pyops\n"
            "assert not hasattr(pyops, 'onnx') and not hasattr(pyops, 'torch') and hasattr(pyops, 'nn')\n"
            "print(len(inspect.getmembers(pyops)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and int(done.stdout) > 20, done.stderr
    assert inspect.getmembers(pyops)
