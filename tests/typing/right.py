"""Programs as users write them, which a type checker must take. assert_type says what it must know;
nothing here is run."""
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import assert_type

import pyops
import pyops.functional as F
import pyops.nn as nn
import pyops.optim as optim
from pyops import Tensor

Floats = npt.NDArray[np.float32]


def arrays_give_arrays(x: Floats, w: Floats) -> None:
    y = F.conv2d(x, w, padding=1)
    assert_type(F.relu(y), npt.NDArray[Any])
    print(y.sum(), y[0].mean(), F.softmax(x, dim=-1).argmax(1))


def a_tensor_among_the_arguments_gives_a_tensor(x: Floats, w: Tensor) -> None:
    assert_type(F.linear(x, w), Tensor)
    assert_type(F.linear(Tensor(x), w, bias=None), Tensor)
    assert_type(F.add(x, w), Tensor)
    assert_type(F.conv2d(x, x, w), Tensor)
    assert_type(F.cat([w, w], dim=1), Tensor)
    F.mse_loss(w, x).backward()


def operators(t: Tensor, x: Floats) -> None:
    assert_type(t + 1, Tensor)
    assert_type(2.0 * t - t / 3 + t ** 2 - (-t), Tensor)
    assert_type(t @ t.T, Tensor)
    assert_type(t * x + np.float64(2) * t, Tensor)
    assert_type(abs(t), Tensor)
    total = t
    total += t
    assert_type(total, Tensor)


def comparisons_give_arrays(t: Tensor, labels: npt.NDArray[np.int64]) -> float:
    hits = t.argmax(1) == labels
    assert_type(t > 0, npt.NDArray[Any])
    return float(np.mean(hits)) + float(hits.sum())


def methods(t: Tensor) -> None:
    assert_type(t.sum(), Tensor)
    assert_type(t.mean(dim=(0, 2), keepdim=True), Tensor)
    assert_type(t.sum(axis=1, keepdims=True), Tensor)
    assert_type(t.reshape(2, -1).permute(1, 0).unsqueeze(0).softmax(dim=-1), Tensor)
    assert_type(t.max(), Tensor)
    assert_type(t.max(1).indices, Tensor)
    assert_type(t.clone().to("cpu").float().detach(), Tensor)
    assert_type(t.shape, tuple[int, ...])
    first, second = t.split(2)
    assert_type(first, Tensor)


def elements(t: Tensor, mask: npt.NDArray[np.bool_]) -> None:
    assert_type(t[0], Tensor)
    assert_type(t[..., None, 1:3], Tensor)
    assert_type(t[[0, 1]][mask], Tensor)
    for row in t:
        assert_type(row, Tensor)
    t[0] = 1.0


def numbers(loss: Tensor) -> None:
    print(f"{loss:.3f}", float(loss) + 1.0, int(loss), round(loss, 3), loss.item())
    if loss > 0.5 or bool(loss):
        print(loss.tolist(), len(loss), loss.size, loss.size())


def numpy_takes_tensors(t: Tensor) -> None:
    print(np.asarray(t).mean(), np.array(t, np.float64), t.numpy().std())


class Net(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, classes, bias=False)
        self.pool = nn.Sequential(nn.MaxPool2d(2, stride=2), nn.LeakyReLU(0.1), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.norm(self.conv(x))))
        y: Tensor = self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return y


def training(model: nn.Module, batches: list[tuple[Floats, npt.NDArray[np.int64]]]) -> None:
    optimizer = optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = optim.StepLR(optimizer, step_size=10)
    model.train()
    for images, labels in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(Tensor(images)), labels, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        schedule.step()
    with pyops.no_grad():
        model.eval()(Tensor(batches[0][0]))


def compiled(model: nn.Module, x: Floats, file: Path) -> None:
    program = pyops.compile(model, x, dynamic_batch=True)
    assert_type(program, pyops.Program)
    varying = pyops.compile(model, x, dynamic={"x": {0: (1, 8), 2: None}})
    print(varying(x), varying.program_for(x).arena_bytes)
    program.save(file)
    again = pyops.Program.load(file, threads=2)
    print(again(x), again.arena_bytes)


def pooling(x: Floats, t: Tensor) -> None:
    assert_type(F.max_pool2d(x, 2, stride=(2, 2), ceil_mode=True), npt.NDArray[Any])
    values, indices = F.max_pool2d(t, 2, return_indices=True)
    assert_type(F.max_unpool2d(values, indices, 2), Tensor)
    F.avg_pool1d(x, 3), F.lp_pool2d(x, 2.0, 3), F.adaptive_max_pool3d(x, (1, None, 2)), F.global_avg_pool(t)


def out_and_axis(x: Floats, y: Floats) -> None:
    F.relu(x, out=y)
    F.sum(x, axis=(0, 1), keepdims=True)
    F.logsumexp(x, dim=1)
    values, indices = F.max(x, 1)
    assert_type(F.max(x, axis=0).values, npt.NDArray[Any])


def gradients(t: Tensor) -> None:
    slope, = pyops.grad(F.sum(t * t), [t], create_graph=True)
    t.requires_grad_().backward(gradient=np.ones(3), create_graph=False)
    print(slope, t.grad, t.is_leaf)


def settings() -> None:
    pyops.use_backend("scalar")
    with pyops.use_backend("reference"), pyops.num_threads(2):
        pyops.manual_seed(0)
    model = pyops.create_model("resnet18", num_classes=10)
    print(pyops.available(), pyops.get_num_threads(), sum(p.size for p in model.parameters()))
