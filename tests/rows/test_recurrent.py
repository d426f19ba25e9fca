"""Recurrent kernels beyond their rows' cases: independence of the batch, accuracy of gates,
compiled programs, streaming."""
import numpy as np
import pytest

import pyops
from pyops import functional as F, nn
from pyops.core.backends import use_backend
from pyops.core.cases import Array
from pyops.core.threads import num_threads
from pyops.kernels.recurrent.cases import weights_of

KINDS = [(nn.RNN, {}), (nn.RNN, {"nonlinearity": "relu"}), (nn.LSTM, {}), (nn.LSTM, {"proj_size": 37}),
         (nn.PeepholeLSTM, {}), (nn.GRU, {})]
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def sequence(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def flat(result):
    y, state = result
    return [np.asarray(getattr(a, "data", a))
            for a in (y, *(state if isinstance(state, tuple) else (state,)))]


def made(name, inputs, hidden, dtype, layers=1, directions=1):
    """A call of F.<name> on x alone, with fixed weights."""
    rng = np.random.default_rng(1)
    weights = [a.make(dtype, rng) for a in weights_of(inputs, hidden, GATES[name], layers, directions)]
    return lambda x, **kwargs: getattr(F, name)(x, None, weights, num_layers=layers,
                                                bidirectional=directions == 2, **kwargs)


# ---- a sequence's result is its own

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("samples, hidden", [(7, 150), (40, 48), (23, 20)])
def test_each_sequence_is_as_if_alone(backend, name, samples, hidden, dtype):
    """Bit for bit, whatever its length, whether threads share units or samples; and a NaN
    stays in its sequence."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, samples, 9)).astype(dtype)
    lengths = rng.integers(1, 6, samples)
    with use_backend(backend), num_threads(2):
        run = made(name, 9, hidden, dtype, directions=2)
        y, h, *_ = run(x, lengths=lengths)
        for n in (0, samples // 2, samples - 1):
            own = int(lengths[n])
            alone, end, *_ = run(np.ascontiguousarray(x[:own, n:n + 1]))
            if own > 1:   # a single step alone is composed of other ops
                assert np.array_equal(y[:own, n:n + 1], alone) and np.array_equal(h[:, n:n + 1], end)
            assert not y[own:, n].any()
        x[0, 1] = np.nan
        spoilt, bad, *_ = run(x, lengths=lengths)
    others = np.arange(samples) != 1
    assert np.array_equal(spoilt[:, others], y[:, others]) and np.array_equal(bad[:, others], h[:, others])
    assert np.isnan(spoilt[:lengths[1], 1]).any()


@pytest.mark.parametrize("name", GATES)
def test_a_nan_behind_the_end_reaches_nothing(name):
    run = made(name, 9, 20, np.float32, directions=2, layers=2)
    x, lengths = sequence(6, 3, 9), [4, 6, 2]
    want = run(x, lengths=lengths)
    for n, own in enumerate(lengths):
        x[own:, n] = np.nan
    assert all(np.array_equal(a, b) for a, b in zip(run(x, lengths=lengths), want))


def test_threads_give_the_same_bits():
    """Where threads meet once a step, one of more threads than cores among them."""
    for name in GATES:
        run = made(name, 40, 200, np.float32)
        x = sequence(30, 5, 40)
        results = []
        for threads in (1, 2, 3, 7):
            with num_threads(threads):
                results.append(run(x))
        assert all(np.array_equal(a, b) for other in results[1:] for a, b in zip(results[0], other))


# ---- the gates

@pytest.mark.parametrize("dtype, low", [(np.float32, -86), (np.float64, -700)])
def test_gates_are_accurate(backend, dtype, low):
    """tanh through a network that does nothing else; sigmoid as the forget gate of an LSTM that
    only forgets. At most 3 units in the last place, on a dense grid."""
    grid = np.concatenate([np.linspace(low, 40, 200_003), np.linspace(-1, 1, 60_001),
                           np.geomspace(1e-20, 1, 20_001)]).astype(dtype)
    x, one, none = np.stack([grid, grid])[:, :, None], np.ones((1, 1), dtype), np.zeros((1, 1), dtype)
    with use_backend(backend):
        tanh, _ = F.rnn(x, None, [one, none], bias=False)
        forget = np.array([[0], [1], [0], [0]], dtype)
        _, _, sigmoid = F.lstm(x[:2], (np.zeros((1, len(grid), 1), dtype), np.ones((1, len(grid), 1), dtype)),
                               [forget, np.zeros((4, 1), dtype)], bias=False, lengths=[1] * len(grid))
    exact = grid.astype(np.longdouble)
    for got, want in ((tanh[0, :, 0], np.tanh(exact)), (sigmoid[0, :, 0], 1 / (1 + np.exp(-exact)))):
        ulp = np.spacing(np.abs(want).astype(dtype)).astype(np.longdouble)
        assert (np.abs(got - want) / ulp).max() <= 3


def test_gates_of_what_is_not_finite():
    x = np.array([np.nan, np.inf, -np.inf, -0.0, 1e30], np.float32)[None, :, None].repeat(2, 0)
    one, none = np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32)
    y, _ = F.rnn(x, None, [one, none], bias=False)
    assert np.array_equal(y[0, :, 0], [np.nan, 1, -1, 0, 1], equal_nan=True)


# ---- pyops.compile

@pytest.mark.parametrize("kind, more", KINDS, ids=str)
@pytest.mark.parametrize("shape", [{}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True}],
                         ids=str)
def test_a_program_is_the_module(kind, more, shape):
    model = kind(9, 150, **more, **shape).eval()
    x = sequence(3, 6, 9) if shape.get("batch_first") else sequence(6, 3, 9)
    want = flat(model(x))
    for threads in (1, 2, 3):
        program = pyops.compile(model, x, threads=threads)
        assert all(np.array_equal(a, b) for a, b in zip(want, flat(program(x))))
    assert [s.algorithm
            for s in program.steps if s.kernel == "recurrent"] == ["packed"] * shape.get("num_layers", 1)
    assert not any(s.kernel == "recurrent_pack"
                   for s in program.steps), "weights are packed when the program is made"


def test_a_program_takes_lengths_as_constants():
    model, x, lengths = nn.GRU(5, 20, bidirectional=True).eval(), sequence(7, 4, 5), [3, 7, 1, 5]
    program = pyops.compile(lambda x: model(x, lengths=lengths), x)
    assert all(np.array_equal(a, b) for a, b in zip(flat(model(x, lengths=lengths)), flat(program(x))))


def test_a_model_around_a_layer_compiles():
    class Tagger(nn.Module):
        def __init__(self):
            self.rnn, self.head = nn.LSTM(5, 20, batch_first=True, bidirectional=True), nn.Linear(40, 3)

        def forward(self, x):
            return F.softmax(self.head(self.rnn(x)[0]), -1)
    model, x = Tagger().eval(), sequence(2, 7, 5)
    np.testing.assert_allclose(pyops.compile(model, x)(x), model(x).data, rtol=1e-5, atol=1e-6)


# ---- streaming

def zeros_of(kind, more, layers, units):
    h = np.zeros((layers, 1, more.get("proj_size", units)), np.float32)
    return (h, np.zeros((layers, 1, units), np.float32)) if issubclass(kind, nn.LSTM) else h


@pytest.mark.parametrize("kind, more", KINDS, ids=str)
def test_steps_are_the_sequence(tmp_path, kind, more):
    model, x = kind(9, 50, num_layers=2, **more).eval(), sequence(8, 1, 9)
    want, state = model(x)
    program = pyops.compile(model, x[:1], state=zeros_of(kind, more, 2, 50))
    program.save(tmp_path / "steps.npz")
    for p in (program, type(program).load(tmp_path / "steps.npz")):
        for _ in range(2):
            got = [p.step(x[t:t + 1]) for t in range(8)]
            assert np.array_equal(np.concatenate(got), want.data)
            p.reset()
        half = model(x[:4])[1]
        p.reset(half)
        assert np.array_equal(np.concatenate([p.step(x[t:t + 1]) for t in range(4, 8)]), want.data[4:])
        y, end = p(x[:1], *(state if isinstance(state, tuple) else (state,)))
        assert y.shape == (1, 1, want.shape[-1]) and isinstance(end, tuple) == issubclass(
            kind, nn.LSTM), "a call keeps nothing"


def test_what_streaming_refuses():
    model, x, z = nn.GRU(4, 5).eval(), sequence(1, 1, 4), np.zeros((1, 1, 5), np.float32)
    with pytest.raises(ValueError, match="without a state"):
        pyops.compile(model, x).step(x)
    with pytest.raises(ValueError, match="without a state"):
        pyops.compile(model, x).reset()
    with pytest.raises(ValueError, match=r"\(results, new state\)"):
        pyops.compile(lambda x, s: model(x, s)[0], x, state=z)
    with pytest.raises(ValueError, match=r"\(results, new state\)"):
        pyops.compile(lambda x, s: (model(x, s)[1], (s, s)), x, state=z)
    with pytest.raises(TypeError, match="float32"):
        pyops.compile(model, x, state=z.astype(np.float64))
    with pytest.raises(ValueError, match="dynamic_batch"):
        pyops.compile(model, x, state=z, dynamic_batch=True)
    program = pyops.compile(model, x, state=z)
    with pytest.raises(ValueError, match=r"must be float32\[1, 1, 5\], got float32\[1, 2, 5\]"):
        program.reset(np.zeros((1, 2, 5), np.float32))
    with pytest.raises(TypeError, match="takes 2 inputs"):
        program.step(x, x)


# ---- the benchmark

@pytest.mark.parametrize("shape", [("LSTM", 12, 20, 2, 3, 6), ("GRU", 12, 12, 1, 4, 5, True),
                                   ("RNN", 7, 18, 1, 2, 4), ("LSTM", 5, 8, 1, 2, 4, False, True)], ids=str)
def test_peers_compute_the_same(shape):
    from pyops.bench import peers, recurrent_suite
    work = recurrent_suite.Work(recurrent_suite.Shape(*shape))
    want = work.want()
    for name in peers.NEEDS:
        if hasattr(work, name) and not peers.missing(name):
            np.testing.assert_allclose(getattr(work, name)(1)(), want, rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(work.pyops(1)(), want, rtol=1e-4, atol=1e-5)
    if not peers.missing("torch"):
        np.testing.assert_allclose(work.pyops_training(1)(), work.torch_training(1)(), rtol=1e-3, atol=1e-4)


def test_arrays_of_a_case_are_scaled():
    assert np.abs(Array((1000,), scale=0.01).make(np.float32, np.random.default_rng(0))).max() < 0.1
