"""nn.RNN, LSTM, GRU and their cells answer as torch's, forward and backward, with rows of
different length too."""
import numpy as np
import pytest

import pyops
from pyops import Tensor, nn

torch = pytest.importorskip("torch")
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

LAYERS = [("RNN", {}), ("RNN", {"nonlinearity": "relu"}), ("LSTM", {}), ("LSTM", {"proj_size": 3}),
          ("GRU", {})]
SHAPES = [{}, {"num_layers": 2}, {"bidirectional": True, "batch_first": True},
          {"num_layers": 3, "bidirectional": True}, {"bias": False}]


def arrays(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


def pair(name, arguments):
    theirs = getattr(torch.nn, name)(**arguments).double()
    ours = getattr(nn, name)(**arguments, dtype=np.float64)
    assert [(k, v.shape) for k, v in ours.state_dict().items()] == [(k, tuple(v.shape))
                                                                    for k, v in theirs.state_dict().items()]
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def parts(value):
    """A result with a state that may be a pair, flat."""
    return [leaf for v in value for leaf in parts(v)] if isinstance(value, tuple) else [value]


def compare(ours, theirs, mine, other, got, want):
    """Results, and the gradients of their sum with random weights for inputs and parameters."""
    got, want = parts(got), parts(want)
    assert len(got) == len(want)
    for a, b, g in zip(got, want, arrays(*(b.shape for b in want), seed=1)):
        np.testing.assert_allclose(a.data, b.detach().numpy(), rtol=1e-12, atol=1e-12)
        a.backward(g), b.backward(torch.from_numpy(g), retain_graph=True)
    for a, b in zip([*mine, *ours.parameters()], [*other, *theirs.parameters()], strict=True):
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=1e-10, atol=1e-10)


def states(name, shapes):
    """The same state for both: a list of ours, of theirs, and how each module takes it."""
    values = arrays(*shapes[:2 if name.startswith("LSTM") else 1], seed=2)
    mine, other = [Tensor(v, requires_grad=True) for v in values], [torch.from_numpy(v).requires_grad_()
                                                                    for v in values]
    return mine, other, *(tuple(s) if len(s) == 2 else s[0] for s in (mine, other))


@pytest.mark.parametrize("name, arguments", LAYERS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("with_state", [False, True])
def test_layers_are_torchs(name, arguments, shape, with_state):
    ours, theirs = pair(name, {"input_size": 4, "hidden_size": 5, **arguments, **shape})
    x, = arrays((3, 6, 4) if shape.get("batch_first") else (6, 3, 4))
    count = shape.get("num_layers", 1) * (2 if shape.get("bidirectional") else 1)
    mine, other = [Tensor(x, requires_grad=True)], [torch.from_numpy(x).requires_grad_()]
    given = (None, None)
    if with_state:
        more, others, *given = states(name, [(count, 3, arguments.get("proj_size", 5)), (count, 3, 5)])
        mine, other = mine + more, other + others
    compare(ours, theirs, mine, other, ours(mine[0], given[0]), theirs(other[0], given[1]))


@pytest.mark.parametrize("name, arguments", LAYERS, ids=str)
@pytest.mark.parametrize("shape", [{}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True}],
                         ids=str)
@pytest.mark.parametrize("lengths", [[6, 4, 1], [2, 5, 3]], ids=str)
def test_lengths_are_packing(name, arguments, shape, lengths):
    """Behind the end stand NaN, which nothing may read."""
    ours, theirs = pair(name, {"input_size": 4, "hidden_size": 5, **arguments, **shape})
    first = shape.get("batch_first", False)
    x, = arrays((3, 6, 4) if first else (6, 3, 4))
    poisoned = x.copy() if first else x.transpose(1, 0, 2).copy()
    poisoned[np.arange(6) >= np.array(lengths)[:, None]] = np.nan
    count = shape.get("num_layers", 1) * (2 if shape.get("bidirectional") else 1)
    more, others, ours_given, theirs_given = states(name, [(count, 3, arguments.get("proj_size", 5)),
                                                           (count, 3, 5)])
    mine = [Tensor(poisoned if first else poisoned.transpose(1, 0, 2).copy(), requires_grad=True), *more]
    other = [torch.from_numpy(x).requires_grad_(), *others]
    y, end = theirs(pack_padded_sequence(other[0], lengths, batch_first=first, enforce_sorted=False),
                    theirs_given)
    y, _ = pad_packed_sequence(y, batch_first=first, total_length=6)
    compare(ours, theirs, mine, other, ours(mine[0], ours_given, lengths=lengths), (y, end))


@pytest.mark.parametrize("name, arguments",
                         [("RNNCell", {}), ("RNNCell", {"nonlinearity": "relu", "bias": False}),
                          ("LSTMCell", {}), ("GRUCell", {}), ("GRUCell", {"bias": False})], ids=str)
@pytest.mark.parametrize("lead", [(), (3,)])
@pytest.mark.parametrize("with_state", [False, True])
def test_cells_are_torchs(name, arguments, lead, with_state):
    ours, theirs = pair(name, {"input_size": 4, "hidden_size": 5, **arguments})
    x, = arrays((*lead, 4))
    mine, other, given = [Tensor(x, requires_grad=True)], [torch.from_numpy(x).requires_grad_()], (None, None)
    if with_state:
        more, others, *given = states(name, [(*lead, 5)] * 2)
        mine, other = mine + more, other + others
    compare(ours, theirs, mine, other, ours(mine[0], given[0]), theirs(other[0], given[1]))


def test_one_sequence_without_a_batch():
    for name in ("RNN", "LSTM", "GRU"):
        ours, theirs = pair(name, {"input_size": 4, "hidden_size": 5, "num_layers": 2, "batch_first": True})
        x, = arrays((6, 4))
        mine, other, a, b = states(name, [(2, 5)] * 2)
        mine, other = [Tensor(x, requires_grad=True), *mine], [torch.from_numpy(x).requires_grad_(), *other]
        compare(ours, theirs, mine, other, ours(mine[0], a), theirs(other[0], b))


def test_the_peephole_lstm_is_its_equations():
    """Step by step in NumPy; and without its peepholes it is an LSTM."""
    pyops.manual_seed(0)
    layer = nn.PeepholeLSTM(4, 5, dtype=np.float64)
    assert list(layer.state_dict()) == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0",
                                        "weight_peephole_l0"]
    w = {k.removesuffix("_l0"): v for k, v in layer.state_dict().items()}
    x, h, c = arrays((6, 3, 4), (3, 5), (3, 5))
    y, (last_h, last_c) = layer(x, (h[None], c[None]))

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))
    for t in range(6):
        i, f, g, o = np.split(x[t] @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"], 4,
                              -1)
        i, f = i + c * w["weight_peephole"][0], f + c * w["weight_peephole"][1]
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o + c * w["weight_peephole"][2]) * np.tanh(c)
        np.testing.assert_allclose(y.data[t], h, rtol=1e-12)
    (np.testing.assert_allclose(last_h.data[0], h, rtol=1e-12),
     np.testing.assert_allclose(last_c.data[0], c, rtol=1e-12))
    layer.weight_peephole_l0.data[...] = 0
    plain = nn.LSTM(4, 5, dtype=np.float64)
    plain.load_state_dict({k: v for k, v in layer.state_dict().items() if "peephole" not in k})
    np.testing.assert_allclose(layer(x)[0].data, plain(x)[0].data, rtol=1e-14)


def test_the_peepholes_gradient_is_a_difference_quotient():
    pyops.manual_seed(0)
    layer = nn.PeepholeLSTM(3, 4, dtype=np.float64)
    x, g = arrays((5, 2, 3), (5, 2, 4))
    layer(x)[0].backward(g)
    peep = layer.weight_peephole_l0
    for at in np.ndindex(peep.shape):
        ends = []
        for step in (1e-6, -1e-6):
            peep.data[at] += step
            ends.append((layer(x)[0].data * g).sum())
            peep.data[at] -= step
        assert peep.grad[at] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-8)


def test_dropout_is_between_layers_in_training_only():
    x = np.ones((4, 2, 3), np.float32)
    one = nn.GRU(3, 5, dropout=0.9)
    assert np.array_equal(one(x)[0].data, one.eval()(x)[0].data), "nothing follows the only layer"
    two = nn.GRU(3, 5, num_layers=2, dropout=0.5)
    assert (not np.array_equal(two(x)[0].data, two.eval()(x)[0].data)
            and np.array_equal(two(x)[0].data, two(x)[0].data))


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_a_nan_stays_in_its_row(name):
    layer = getattr(nn, name)(3, 4, bidirectional=True)
    x = np.random.default_rng(0).standard_normal((5, 3, 3)).astype(np.float32)
    want = layer(x, lengths=[5, 2, 4])[0].data
    x[1, 1] = np.nan
    got = layer(x, lengths=[5, 2, 4])[0].data
    assert (np.array_equal(got[:, [0, 2]], want[:, [0, 2]]) and np.isnan(got[:2, 1]).any()
            and not got[2:, 1].any())


def zeros(*shape):
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize("call, match", [
    (lambda: nn.LSTM(0, 4), "input_size"), (lambda: nn.GRU(4, 0), "hidden_size"),
    (lambda: nn.LSTM(4, 4, proj_size=4), "proj_size"),
    (lambda: nn.RNN(4, 4, num_layers=0), "num_layers"), (lambda: nn.RNN(4, 4, dropout=1.5), "dropout"),
    (lambda: nn.RNN(4, 4, nonlinearity="elu"), "elu"),
    (lambda: nn.LSTM(4, 5)(zeros(6, 3, 5)), "the last of 4"), (lambda: nn.LSTM(4, 5)(zeros(4)), "axes"),
    (lambda: nn.GRU(4, 5)(zeros(0, 3, 4)), "one step"),
    (lambda: nn.LSTM(4, 5)(zeros(6, 3, 4), zeros(1, 3, 5)), r"shapes \(1, 3, 5\), \(1, 3, 5\)"),
    (lambda: nn.GRU(4, 5)(zeros(6, 3, 4), zeros(2, 3, 5)), r"shape \(1, 3, 5\), got \(2, 3, 5\)"),
    (lambda: nn.GRU(4, 5)(zeros(6, 3, 4), (zeros(1, 3, 5),) * 2), "got tuple"),
    (lambda: nn.GRUCell(4, 5)(zeros(3, 4), zeros(2, 5)), "state must"),
    (lambda: nn.LSTMCell(4, 5)(zeros(3, 5)), "the last of 4"),
    (lambda: nn.GRU(4, 5)(zeros(6, 3, 4), lengths=[6, 7, 1]), "within 1 .. 6, got 1 .. 7"),
    (lambda: nn.GRU(4, 5)(zeros(6, 3, 4), lengths=[6, 0, 1]), "within 1 .. 6"),
    (lambda: nn.GRU(4, 5)(zeros(6, 3, 4), lengths=[6, 1]), "3 integers"),
    (lambda: nn.GRU(4, 5)(zeros(6, 3, 4), lengths=[6.0, 1.0, 1.0]), "3 integers, got float64")])
def test_what_does_not_fit_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_a_state_dict_with_another_count_of_gates_is_refused():
    with pytest.raises(ValueError, match=r"weight_ih_l0 has shape \(15, 4\), the module's is \(20, 4\)"):
        nn.LSTM(4, 5).load_state_dict(nn.GRU(4, 5).state_dict())
