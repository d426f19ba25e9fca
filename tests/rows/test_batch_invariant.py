"""pyops.batch_invariant() and pyops.compile(batch_invariant=True): the same bits for a sample whatever
the batch and the number of threads."""
from __future__ import annotations

import asyncio

import numpy as np
import pytest
from joined import check_each

import pyops
import pyops.functional as F
from pyops import _C, nn
from pyops.core.backends import ISAS, active
from pyops.core.registry import OPS
from pyops.core.threads import num_threads
from pyops.graph.program import Program
from pyops.models import create_model
from pyops.validate import call, flat

BATCHES, THREADS = (1, 2, 3, 5, 8), (1, 2, 3)
RNG = np.random.default_rng(8)
HERE = [isa for isa in ISAS if isa in pyops.available()]


def array(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def batches(x):
    """x in batches of other samples, in front and behind."""
    for n in BATCHES:
        others = RNG.standard_normal((n - 1, *x.shape[1:])).astype(x.dtype)
        at = n // 2
        yield n, at, np.concatenate([others[:at], x, others[at:]])


def check_bits(run, x):
    """run(batch, threads): the sample's part of each result is always the same."""
    want = None
    for n, at, batch in batches(x):
        for threads in THREADS:
            got = [np.array(r[at]) for r in run(batch, threads)]
            want = want or got
            for a, b in zip(want, got, strict=True):
                assert np.array_equal(a, b, equal_nan=True), f"batch of {n}, {threads} threads"


# ---- eager

@pytest.mark.parametrize("isa", HERE)
def test_powers_of_many_planes(isa):
    x = array(1, 2, 17, 16)
    with pyops.use_backend(isa), pyops.batch_invariant():
        want = np.asarray(F.lp_pool2d(x, 2.0, 3, 3))
        got = np.asarray(F.lp_pool2d(np.repeat(x, 9, 0), 2.0, 3, 3))
    assert np.array_equal(got, np.repeat(want, 9, 0))


def check_case(case, seed):
    args, kwargs = case.arguments(np.float32)
    first = [a[:1] for i, a in enumerate(args) if i in case.batched]
    rng = np.random.default_rng(seed)
    want = None
    for n in BATCHES:
        places = iter(first)
        given = [np.ascontiguousarray(np.concatenate([next(places), rng.permutation(np.repeat(a, n, 0))[:n - 1]]))
                 if i in case.batched else a for i, a in enumerate(args)]
        for threads in THREADS:
            with num_threads(threads), pyops.batch_invariant():
                got = [np.array(r[:1]) for r in flat(call(case, given, kwargs))]
            want = want or got
            for a, b in zip(want, got, strict=True):
                assert np.array_equal(a, b, equal_nan=True), f"batch of {n}, {threads} threads"


def test_every_row_that_keeps_samples_apart():
    check_each(((f"{op.name}: {case.why}", case, seed) for op in OPS.values() if op.per_sample
                for seed, case in enumerate(op.cases) if case.batch), check_case)


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("channels, filters, size", [(64, 64, 14), (32, 128, 28), (128, 128, 7), (256, 64, 9)])
def test_convolutions_choose_as_for_one_sample(channels, filters, size, isa):
    w, b, x = array(filters, channels, 3, 3), array(filters), array(1, channels, size, size)

    def run(batch, threads):
        with pyops.use_backend(isa), pyops.batch_invariant(), num_threads(threads):
            return [F.conv2d(batch, w, b, padding=1),
                    F.conv_transpose2d(batch, array_of_filters, padding=1)]
    array_of_filters = array(channels, filters, 3, 3)
    check_bits(run, x)


@pytest.mark.parametrize("isa", HERE)
def test_filters_that_come_some_at_a_time(isa):
    """A call of few samples packs and uses some filters, then others; one of more takes all at once. The
    channels are so many that they are added up in pieces, the same ones in both."""
    w = array(80, 512, 3, 3)

    def run(batch):
        with pyops.use_backend(isa), pyops.batch_invariant():
            return F.conv2d(batch, w, padding=12, dilation=12)
    x = array(5, 512, 32, 32)   # of which four are more than a cache holds
    assert np.array_equal(run(x)[:1], run(x[:1]))


@pytest.mark.parametrize("rows, features, outputs", [(1, 4096, 1000), (1, 33, 7), (1, 9216, 4096)])
def test_products_of_many_terms(rows, features, outputs):
    w, b = array(outputs, features), array(outputs)

    def run(batch, threads):
        with pyops.batch_invariant(), num_threads(threads):
            return [F.linear(batch, w, b), F.matmul(batch, w.T.copy())]
    check_bits(run, array(rows, features))


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_rows_of_a_linear_layer(isa, dtype):
    """Sixteen and more would go by another kernel, whose sums have another order."""
    w, b, x = (array(*shape).astype(dtype) for shape in ((64, 96), (64,), (40, 96)))
    with pyops.use_backend(isa), pyops.batch_invariant():
        one = F.linear(x[:1], w, b)
        for n in (2, 15, 16, 40):
            assert np.array_equal(F.linear(x[:n], w, b)[:1], one), n


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows, terms", [(1, 3), (2, 3), (3, 2), (4, 4)])
def test_small_matrices_by_one_column(rows, terms, dtype, isa):
    """A sample's rows fit into a vector, those of some samples do not: the column meets all of them."""
    x, column = (RNG.standard_normal(s).astype(dtype) for s in ((1, rows, terms), (terms, 1)))
    with pyops.use_backend(isa), pyops.batch_invariant():
        check_bits(lambda x, threads: [F.matmul(x, column)], x)
        check_bits(lambda x, threads: [F.matmul(x, np.broadcast_to(column, (len(x), terms, 1)))], x)
    if dtype == np.float32:
        run = pyops.compile(lambda x: F.matmul(x, column), x, batch_invariant=True, dynamic_batch=True)
        check_bits(lambda x, threads: [run(x)], x)


def test_the_scope_is_of_its_context():
    async def inside(flags):
        with pyops.batch_invariant():
            flags.append(active.get() is active.get().by_sample())
            await asyncio.sleep(0)
            with pyops.use_backend("scalar"):
                flags.append(active.get() is active.get().by_sample())
            flags.append(active.get() is active.get().by_sample())

    async def outside(flags):
        await asyncio.sleep(0)
        flags.append(active.get() is not active.get().by_sample())

    async def both():
        flags = []
        await asyncio.gather(inside(flags), outside(flags))
        return flags
    assert asyncio.run(both()) == [True] * 4
    assert not _C.choose_by_sample(False)
    with pyops.batch_invariant(), pytest.raises(ValueError):
        F.conv2d(array(1, 3, 4, 4), array(2, 4, 3, 3))
    assert not _C.choose_by_sample(False)


# ---- compiled

class Small(nn.Module):
    """Layers of other kinds: attention, a recurrent one, norms, a transposed convolution."""

    def __init__(self):
        super().__init__()
        self.conv, self.up = nn.Conv2d(16, 32, 3, padding=1), nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.norm, self.lstm = nn.GroupNorm(4, 16), nn.LSTM(64, 24, batch_first=True)
        self.qkv, self.head = nn.Linear(24, 72), nn.Linear(24, 5)

    def forward(self, x):
        y = F.silu(self.norm(self.up(F.relu(self.conv(x)))))
        y = F.max_pool2d(y, 2).reshape((x.shape[0], -1, 64))
        h = self.lstm(y)[0]
        q, k, v = F.chunk(self.qkv(h), 3, -1)
        return self.head(F.scaled_dot_product_attention(q, k, v).mean(1)), F.softmax(h, -1)


def results(value):
    return value if isinstance(value, tuple) else (value,)


def small(*shape):
    model = Small()
    return model, array(1, *shape)


def network(name, size):
    return create_model(name, classes=10), array(1, 3, size, size)


@pytest.mark.parametrize("make", [lambda: small(16, 8, 8), lambda: network("resnet18", 64),
                                  lambda: network("vgg11", 32), lambda: network("mobilenet_v2", 96),
                                  lambda: network("densenet121", 64), lambda: network("resnet50", 96)],
                         ids=["small", "resnet18", "vgg11", "mobilenet_v2", "densenet121", "resnet50"])
def test_networks(make):
    model, x = make()
    model.eval()
    programs = {}

    def run(batch, threads):
        n = len(batch)
        if n not in programs:
            programs[n] = pyops.compile(model, batch, batch_invariant=True)
        p = programs[n]
        return results(Program(p.plan, p.isa, threads, samples=p.samples)(batch))
    check_bits(run, x)


def test_sizes_as_they_come():
    model, x = network("resnet18", 64)
    model.eval()
    with pyops.batch_invariant():
        fixed, dynamic = (pyops.compile(model, x, dynamic_batch=True), pyops.compile(model, x, dynamic={0: {0: None}}))
    check_bits(lambda batch, _: [fixed(batch)], x)
    check_bits(lambda batch, _: [dynamic(batch)], x)


@pytest.mark.parametrize("form", ["float32", "int8", "bf16"])
@pytest.mark.parametrize("features, outputs", [(5000, 1024), (333, 40), (64, 16)])
def test_rows_of_a_linear_layer(features, outputs, form):
    """Few rows of large weights would be read where they lie, many widen stored ones first."""
    w, b, x = array(outputs, features), array(outputs), array(40, features)
    how = {"batch_invariant": True, "weights": form}
    one = pyops.compile(lambda x: F.linear(x, w, b), x[:1], **how)(x[:1])
    for n in (2, 3, 16, 17, 40):
        many = pyops.compile(lambda x: F.linear(x, w, b), x[:n], **how)(x[:n])
        assert np.array_equal(many[:1], one), n


@pytest.mark.parametrize("stride", [1, 2, (2, 1, 1)])
def test_layers_of_volumes(stride):
    """One sample's layer with strides along the depth would go tap by tap."""
    w, x = array(16, 16, 3, 3, 3), array(5, 16, 6, 10, 9)
    one, many = (pyops.compile(lambda x: F.conv3d(x, w, stride=stride, padding=1), part, batch_invariant=True)(part)
                 for part in (x[:1], x))
    assert np.array_equal(one, many[:1])


def test_it_is_needed():
    """Without it the algorithm of some layer depends on the batch."""
    model = create_model("resnet18", classes=10)
    model.eval()
    # filters that all samples meet may be made beforehand or as they are met: the same bits
    chosen = [[s.algorithm for s in pyops.compile(model, array(n, 3, 64, 64), batch_invariant=on).steps
               if s.algorithm != "filters"] for on in (False, True) for n in (1, 8)]
    assert chosen[0] != chosen[1] and chosen[2] == chosen[3]
