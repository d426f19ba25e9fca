"""Saved programs with their plans changed: numbers, shapes, places, kernels, types, constants; and
with bytes of the file changed.

A file is refused by a ValueError, or it runs: what runs may be wrong, but it reads and writes
within its arrays.
"""

from __future__ import annotations

import copy
import io
import json
import math
import random
from functools import lru_cache

import numpy as np

import pyops
import pyops.functional as F
from pyops import nn
from pyops.graph import control

# MemoryError: of an arena or a result that a program may well have; IndexError: of an index of the run
REFUSED = (ValueError, MemoryError, IndexError)
MEMORY = 2 << 30
ROUNDS = 1 << 12

NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    4,
    5,
    7,
    15,
    16,
    17,
    31,
    64,
    255,
    1 << 16,
    10**6,
    (1 << 31) - 1,
    1 << 31,
    1 << 32,
    1 << 40,
    1 << 62,
    (1 << 63) - 1,
    1 << 63,
    1 << 64,
    -(1 << 31),
    -(1 << 63),
    0.5,
    1e300,
    float("nan"),
    float("inf"),
    True,
    None,
    "x",
    "O",
    [],
    [1],
    {},
    [[1]],
)
KERNELS = (
    "relu",
    "conv",
    "direct_conv",
    "strassen_conv",
    "grouped_conv",
    "slice_channels",
    "pick_channels",
    "attention",
    "pool_scatter",
    "embedding",
    "embedding_backward",
    "recurrent",
    "winograd_conv",
    "winograd_dilated",
    "winograd_line",
    "winograd_grouped",
    "winograd_depth",
    "winograd_stride_two",
    "winograd_transposed",
    "cat_copy",
    "strided_copy",
    "machine_copy",
    "sgd_step",
    "gemm",
    "pack_weights",
    "branch",
    "loop",
    "nonzero",
    "suppress",
    "take",
    "put_blocks",
    "no such kernel",
    "",
    3,
)


class Everything(nn.Module):
    """A convolutional network that reaches most of the kernels in blocked layout."""

    def __init__(self):
        self.stem = nn.Conv2d(3, 24, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(24, 24, 5, padding=2, groups=24)
        self.wide = nn.Conv2d(24, 48, 3, padding=1, bias=False)
        self.grouped = nn.Conv2d(48, 48, 3, padding=1, groups=12)
        self.gate = nn.Conv2d(48, 48, 1)
        self.up = nn.ConvTranspose2d(96, 24, 2, stride=2)
        self.dilated = nn.Conv2d(24, 10, (1, 3), padding=(0, 2), dilation=(1, 2))
        self.head = nn.Linear(10, 7)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.hardswish(self.depthwise(x))
        a = F.leaky_relu(self.wide(x), 0.1)
        b = F.silu(self.grouped(a) + a)
        b = b * F.sigmoid(self.gate(F.adaptive_avg_pool2d(b, 1)))
        c = F.avg_pool2d(F.max_pool2d(b, 3, 1, 1), 3, 1, 1)
        x = F.relu6(self.up(F.cat([a[:, 7:39] * c[:, 16:], c, a[:, 16:32]], 1)))
        x = F.max_pool2d(self.dilated(F.interpolate(x, scale_factor=2, mode="bilinear")), 2)
        return self.head(F.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def planar(x):
    """Kernels that glue calls: broadcasts, reductions, norms, products, pads, shuffles, pooling in
    three axes.
    """
    y = F.softmax(F.layer_norm(x, (6,)) * np.ones((1, 4, 1), np.float32) + F.sum(x, 2, keepdim=True), 1)
    z = F.pad(F.group_norm(y, 2), (1, 2), mode="reflect")
    z = F.conv1d(z, np.ones((4, 4, 3), np.float32)) + F.matmul(x, np.ones((6, 7), np.float32))
    pooled, at = F.max_pool1d(z, 2, return_indices=True)
    return {"a": pooled, "at": at, 1: (F.cat([F.exp(x), y], 2), [F.argmax(x, 1), F.var(x, 1)], "text", None)}


class Steps(nn.Module):
    def __init__(self):
        self.lstm = nn.LSTM(3, 5, num_layers=2)

    def forward(self, x, state):
        return self.lstm(x, state)


def attention(q):
    return F.scaled_dot_product_attention(q, q * 2, q + 1, is_causal=True)


def decides(x, boxes):
    """Branches within loops, what they collect, and lengths that the run finds."""

    def round(i, state, other):
        (s,) = control.branch(F.gt(F.sum(state), 0.0), lambda: (F.relu(other),), lambda: (F.exp(other) - 1.0,))
        return F.lt(F.sum(s), 50.0), (other, s), (state, i)

    found = control.loop(round, (x, x * 2), limit=6)
    (last,) = control.branch(F.gt(x[0, 0], 0.5), lambda: (x[:2],), lambda: (x,))
    return found.states, found.collected, last, F.masked_select(x, x > 0), F.nms(boxes, boxes[:, 0], 0.4)


@lru_cache(1)
def bases() -> list[bytes]:
    """Saved programs, every one of a different kind. The weights are all the same number: a mutant
    needs a file that does not change.
    """
    rng = np.random.default_rng(0)
    x = lambda *shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
    state = (np.zeros((2, 2, 5), np.float32),) * 2
    inverted = nn.Sequential(
        nn.Conv2d(8, 96, 1),
        nn.ReLU6(),
        nn.Conv2d(96, 96, 3, padding=1, groups=96),
        nn.ReLU6(),
        nn.Conv2d(96, 16, 1),
    )
    vgg = nn.Sequential(
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.Tanh(),
    )
    programs = [
        pyops.compile(constant_weights(Everything()), x(2, 3, 16, 18)),
        pyops.compile(planar, x(2, 4, 6)),
        pyops.compile(attention, x(2, 3, 5, 8)),
        pyops.compile(constant_weights(Steps()), x(3, 2, 3), state=state),
        pyops.compile(constant_weights(inverted), x(1, 8, 64, 72)),
        pyops.compile(constant_weights(vgg), x(1, 8, 14, 14), "fast"),
        pyops.compile(
            lambda a: F.cross_entropy(a, np.array([1, 0, 2])) + F.embedding(np.array([2, 1]), a)[0, 0],
            x(3, 4),
        ),
        pyops.compile(decides, (x(3, 4), x(9, 4))),
    ]
    files = []
    for program in programs:
        file = io.BytesIO()
        program.save(file)
        files.append(file.getvalue())
    return files


def constant_weights(model):
    for array in model.state_dict().values():
        array[...] = 0.25
    return model.eval()


def prepare() -> None:
    bases()


def content_of(data: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    with np.load(io.BytesIO(data)) as held:
        arrays = {name: held[name] for name in held.files}
    return json.loads(arrays.pop("plan").tobytes()), arrays


def packed(plan, arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, plan=np.frombuffer(json.dumps(plan).encode(), np.uint8), **arrays)
    return file.getvalue()


def places(value, path=()):
    """The paths of everything in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in items:
        yield from places(inside, (*path, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


def change_plan(draw, plan) -> None:
    """One change somewhere in the plan, mostly in what kernels are told."""
    steps = plan.get("steps")
    root = plan
    if draw.random() < 0.05:
        plan["cuts"] = [[draw.choice(NUMBERS[:16]) for _ in range(3)] for _ in range(draw.randrange(4))]
        return
    if isinstance(steps, list) and steps and draw.random() < 0.8:
        root = draw.choice(steps)
        if isinstance(root, dict) and draw.random() < 0.9:
            root = root.get("args", root)
    paths = [p for p in places(root) if p]
    if not paths:
        return
    *before, key = draw.choice(paths)
    inside = at(root, before)
    old = inside[key]
    how = draw.randrange(6)
    if how == 0 and isinstance(old, int):
        inside[key] = old + draw.choice((-1, 1, -16, 16, 64, -64))
    elif how == 1 and isinstance(old, (int, float)):
        inside[key] = draw.choice(
            (old * 2, old * 16, -old, old // 2 if old == old and abs(old) < 1e300 else 0)
        )
    elif how == 2 and len(paths) > 1:
        inside[key] = copy.deepcopy(at(root, draw.choice(paths)))
    elif how == 3 and isinstance(inside, list):
        inside.insert(key, copy.deepcopy(old)) if draw.random() < 0.5 else inside.pop(key)
    elif key == "kernel":
        inside[key] = draw.choice(KERNELS)
    else:
        inside[key] = copy.deepcopy(draw.choice(NUMBERS))


def change_steps(draw, plan) -> None:
    steps = plan["steps"]
    how = draw.randrange(4)
    if how == 0:
        draw.choice(steps)["kernel"] = draw.choice(KERNELS)
    elif how == 1:
        draw.shuffle(steps)
    elif how == 2:
        a, b = draw.choice(steps), draw.choice(steps)
        a["args"], b["args"] = b["args"], a["args"]
    else:
        steps.pop(draw.randrange(len(steps)))


def change_constants(draw, plan, arrays) -> None:
    if not arrays:
        return
    name = draw.choice(sorted(arrays))
    a = np.atleast_1d(arrays[name])
    arrays[name] = draw.choice(
        (
            lambda: a.reshape(-1)[:1],
            lambda: np.float32(1),
            lambda: a.astype(np.float64),
            lambda: a[..., :-1],
            lambda: a.reshape(-1),
            lambda: np.full(a.shape, 10**6).astype(a.dtype),
            lambda: a.astype(np.int64) - 7,
            lambda: np.asfortranarray(a),
            lambda: a.view(np.uint8),
            lambda: a.astype(np.complex64),
            lambda: a[:0],
            lambda: a.swapaxes(0, -1),
        )
    )()
    if draw.random() < 0.1:
        del arrays[name]


def make(seed: int) -> bytes:
    draw = random.Random(seed)
    base = draw.choice(bases())
    if draw.random() < 0.08:
        data = bytearray(base)
        for _ in range(draw.choice((1, 3, 20))):
            data[draw.randrange(len(data))] = draw.randrange(256)
        return bytes(data[: draw.randrange(len(data))] if draw.random() < 0.2 else data)
    plan, arrays = content_of(base)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        kind = draw.random()
        if kind < 0.8:
            change_plan(draw, plan)
        elif (
            kind < 0.88
            and isinstance(plan.get("steps"), list)
            and all(isinstance(s, dict) and "args" in s for s in plan["steps"])
            and plan["steps"]
        ):
            change_steps(draw, plan)
        elif kind < 0.97:
            change_constants(draw, plan, arrays)
        else:
            arrays[draw.choice(("c0", "c7", "plan2", "c-1"))] = np.zeros(3, np.float32)
    return packed(plan, arrays)


def attempt(data: bytes) -> None:
    program = pyops.Program.load(io.BytesIO(data), threads=2)
    rounds = [step.args[3] for step in program.steps if step.kernel == "loop"]
    if math.prod(rounds) > ROUNDS:   # which a file may well ask for
        return
    given = [
        np.ones(shape, dtype) for shape, dtype in program.inputs if np.prod(shape, dtype=float) < 1 << 26
    ]
    if len(given) < len(program.inputs):
        return
    before = [a.copy() for a in given]
    program(*given)
    program(*given)
    assert all(np.array_equal(a, b) for a, b in zip(given, before)), "a program wrote into its input"
    if program.plan.states:
        program.step(*given[: len(given) - program.plan.states])


def one(seed: int) -> None:
    attempt(make(seed))
