"""pyops.compile(dynamic=...): one tracing for many sizes, with the results of a Program made for each."""
from __future__ import annotations

import numpy as np
import pytest
from joined import check_each

import pyops
import pyops.functional as F
from pyops import nn
from pyops.core.registry import OPS
from pyops.core.symbolic import Formulas, SymInt, at
from pyops.graph.compile import REFUSED, passes, simplified
from pyops.graph.ir import Value
from pyops.graph.sized import Sized
from pyops.graph.trace import TraceError
from pyops.models import create_model
from pyops.validate import Refused
from pyops.validate_compiled import forms, inputs_of, model_of

RNG = np.random.default_rng(5)


def array(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def counted(model):
    """The model, and the list of its calls."""
    calls = []

    def counting(*inputs):
        calls.append([tuple(x.shape) for x in inputs])
        return model(*inputs)
    counting.__wrapped__ = getattr(model, "forward", model)   # the names of its arguments
    return counting, calls


def agree(model, example, dynamic, others):
    """Each size gives what a Program for it gives, bit for bit; how often the model was traced."""
    counting, calls = counted(model)
    example = example if isinstance(example, tuple) else (example,)
    program = pyops.compile(counting, example, dynamic=dynamic)
    for inputs in (example, *others):
        inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        ours, theirs = program(*inputs), pyops.compile(model, inputs)(*inputs)
        for a, b in zip(*(r if isinstance(r, tuple) else (r,) for r in (ours, theirs))):
            if isinstance(a, int):
                assert a == b
                continue
            assert a.shape == b.shape and np.array_equal(a, b, equal_nan=True), [x.shape for x in inputs]
    return len(calls)


# ---- formulas

def test_a_formula_is_worked_out_for_other_numbers():
    formulas = Formulas()
    h, w = formulas.symbol(224), formulas.symbol(160)
    out = ((h + 2 * 3 - 6 - 1) // 2 + 1, 3 * w * h - w, h / 4, -(-w // 32), round(h * 0.3), 7 // h, w % 9)
    done = formulas.closed()
    for a, b in ((224, 160), (37, 91), (1, 2)):
        assert at(out, done.at([a, b])) == ((a - 1) // 2 + 1, 3 * b * a - b, a / 4, -(-b // 32), round(a * 0.3),
                                            7 // a, b % 9)


def test_a_size_that_is_not_changed_stays_the_same_object():
    n = Formulas().symbol(9)
    assert (n + 2 - 3 + 1) // 1 * 1 is n and n - n == 0 and n % 1 == 0
    assert n * 3 is 3 * n and n + n * 2 is n * 2 + n


@pytest.mark.parametrize("use", [int, float, bool, hash, range, lambda n: [0] * 99 and list(range(99))[n],
                                 lambda n: n > 5, lambda n: n == 7, lambda n: n in (3, 7), np.zeros,
                                 lambda n: {7: 0}[n]])
def test_what_makes_a_plain_number_of_it_is_a_guard(use):
    formulas = Formulas()
    use(formulas.symbol(7))
    done = formulas.closed()
    assert done.at([7]) is not None
    if use is not bool:
        assert done.at([4]) is None
    else:
        assert done.at([0]) is None


def test_a_formula_that_fails_for_a_number_is_for_others():
    formulas = Formulas()
    n = formulas.symbol(5)
    assert isinstance(7 // (n - 3), SymInt)
    assert formulas.closed().at([3]) is None


# ---- rows: a graph that is filled in is the graph of a model that is traced for these sizes

def other_sizes(inputs):
    """Shapes like these: all axes longer, the first or the last one, and those of one size together."""
    shapes = [x.shape for x in inputs]
    yield [tuple(n + 1 for n in s) for s in shapes]
    yield [tuple(2 * n for n in s) for s in shapes]
    for axis in (0, -1):
        yield [(*s[:axis % len(s)], s[axis] + 2, *s[axis % len(s) + 1:]) if s else s for s in shapes]
    for size in sorted({n for s in shapes for n in s}):
        yield [tuple(n + 3 if n == size else n for n in s) for s in shapes]


def numbered(graph):
    """The graph as data, with its values numbered."""
    numbers = {}

    def number(v):
        if isinstance(v, Value):
            return numbers.setdefault(v, len(numbers)), tuple(v.shape), v.dtype
        return None if v is None else (v.shape, v.dtype.str, v.tobytes())
    inputs = [number(v) for v in graph.inputs]
    nodes = [(n.op, [number(v) for v in n.inputs], n.attrs, [number(v) for v in n.outputs],
              n.epilogue.activation, number(n.epilogue.residual), number(n.gate), len(n.before))
             for n in graph.nodes]
    return inputs, nodes, [number(v) for v in graph.outputs]


def zeros_of(shapes, inputs):
    return tuple(np.zeros(s, x.dtype) for s, x in zip(shapes, inputs))


FALLEN_BACK = []


def check_case(op, case):
    args, kwargs = case.arguments(np.float32)
    try:
        every = [places for _, places in forms(case, args, kwargs)]
    except Refused:
        return
    for places in every:
        check_form(model_of(case, args, kwargs, places), inputs_of(args, kwargs, places))


def check_form(model, inputs):
    axes = {(i, axis) for i, x in enumerate(inputs) for axis in range(x.ndim)}
    try:
        simplified(model, inputs)
    except (TypeError, ValueError, IndexError):
        return
    try:
        sized = Sized.of(model, inputs, axes, passes)
    except REFUSED:   # a function that computes with shapes by NumPy: then each size is traced
        FALLEN_BACK.append(model)
        return
    for shapes in ([x.shape for x in inputs], *other_sizes(inputs)):
        found = sized.filled(shapes)
        if found is None:
            continue
        plain, structure = simplified(model, zeros_of(shapes, inputs))
        assert repr(numbered(found[0])) == repr(numbered(plain)), shapes
        assert found[1] == structure
    assert sized.filled([x.shape for x in inputs]) is not None


# what they refuse depends on the numbers of boxes, which a case has for its own size
OF_REGIONS = ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool")


def test_every_row_for_other_sizes():
    FALLEN_BACK.clear()
    rows = [op for op in OPS.values() if op.name not in OF_REGIONS]
    check_each(((f"{op.name}: {case.why}", op, case) for op in rows for case in op.cases), check_case)
    assert len(FALLEN_BACK) < 0.02 * sum(len(op.cases) for op in rows)
    regions = [OPS[name] for name in OF_REGIONS]
    check_each(((f"{op.name}: {case.why}", op, case) for op in regions for case in op.cases), check_case)


# ---- programs

def test_a_network_is_traced_once_for_all_sizes():
    model = create_model("resnet18", classes=10)
    model.eval()
    sizes = [array(n, 3, h, w) for n, h, w in ((1, 64, 64), (3, 96, 64), (2, 65, 97), (5, 33, 224))]
    assert agree(model, array(2, 3, 64, 96), {0: {0: (1, 8), 2: (32, 300), 3: None}}, sizes) == 1


@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1", "densenet121", "vgg11", "googlenet",
                                  "shufflenet_v2_x1_0", "efficientnet_b0"])
def test_networks_agree_at_other_sizes(name):
    try:
        model = create_model(name, classes=7)
    except (KeyError, ValueError):
        pytest.skip(f"no network {name}")
    model.eval()
    assert agree(model, array(1, 3, 96, 96), {0: {0: None, 2: None, 3: None}},
                 [array(2, 3, 96, 128), array(1, 3, 65, 75)]) <= 3


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out, self.norm = nn.Linear(32, 96), nn.Linear(32, 32), nn.LayerNorm(32)

    def forward(self, x):
        n, length, d = x.shape
        q, k, v = (t.reshape(n, length, 4, d // 4).permute((0, 2, 1, 3))
                   for t in F.chunk(self.qkv(self.norm(x)), 3, -1))
        y = F.scaled_dot_product_attention(q, k, v).permute((0, 2, 1, 3)).reshape(n, length, d)
        return x + self.out(y)


def test_lengths_of_a_transformer():
    model = Attention()
    model.eval()
    assert agree(model, array(2, 7, 32), {"x": {0: (1, 9), 1: (1, 100)}},
                 [array(3, 50, 32), array(5, 2, 32), array(2, 100, 32)]) == 1


def test_lengths_of_a_recurrent_layer():
    model = nn.LSTM(8, 16, batch_first=True)
    model.eval()
    agree(lambda x: model(x)[0], array(2, 5, 8), {"x": {0: None, 1: None}}, [array(3, 9, 8), array(1, 1, 8)])


def test_the_model_takes_another_way_for_other_sizes():
    def model(x):
        return F.relu(x) if x.shape[1] > 10 else F.neg(x)
    assert agree(model, array(2, 5), {"x": {1: None}}, [array(2, 10), array(2, 11), array(2, 30), array(2, 6)]) == 2


def test_a_loop_over_a_length_is_traced_for_each():
    def model(x):
        h = x[:, 0]
        for i in range(1, x.shape[1]):
            h = F.tanh(h + x[:, i])
        return h
    assert agree(model, array(2, 3, 4), {"x": {0: None, 1: None}}, [array(5, 3, 4), array(2, 6, 4)]) == 2


def test_numbers_that_follow_from_sizes():
    def model(x):
        n, c, h, w = x.shape
        y = F.interpolate(x, size=(h // 2 + 1, w * 2), mode="bilinear")
        z = F.adaptive_avg_pool2d(x, (1, 1)) * (1.0 / (h * w)) + F.mean(x, (2, 3), keepdim=True)
        return F.pad(y, (0, 3 - w % 3)), z, F.reshape(x, (n, -1)), x[:, :, h // 2:, 1:-1], h
    agree(model, array(1, 3, 8, 9), {"x": {0: None, 2: None, 3: None}}, [array(2, 3, 11, 7), array(1, 3, 30, 31)])


def test_convolutions_of_other_kinds():
    w, t, d = array(16, 16, 3), array(16, 8, 4, 4), array(16, 1, 3, 3)

    def model(x):
        y = F.conv2d(F.conv_transpose2d(x, t, stride=2, padding=1), array_8, padding="same")
        z = F.conv1d(F.mean(x, 2), w, padding=1)
        return y, z, F.max_pool2d(F.conv2d(x, d, groups=16, padding=1), 3, 2, 1, ceil_mode=True)
    array_8 = array(8, 8, 3, 3)
    assert agree(model, array(2, 16, 9, 8), {0: {0: None, 2: None, 3: None}},
                 [array(1, 16, 12, 5), array(3, 16, 31, 33)]) == 1


def test_weights_are_packed_once():
    model = create_model("resnet18", classes=10)
    model.eval()
    program = pyops.compile(model, array(1, 3, 64, 64), dynamic={0: {2: None, 3: None}})
    a, b = (program.program_for(array(1, 3, n, n)) for n in (64, 72))
    large = [x for x in b.plan.constants if x.nbytes > 1 << 16]
    shared = {id(x) for x in a.plan.constants}
    assert large and sum(x.nbytes for x in large if id(x) in shared) > 0.5 * sum(x.nbytes for x in large)


def test_what_is_outside_of_the_range_is_named():
    program = pyops.compile(F.relu, array(2, 32), dynamic={0: {0: (1, 4), 1: (32, None)}})
    for wrong in (array(5, 32), array(2, 31), array(0, 32)):
        with pytest.raises(ValueError, match=r"input 'input' is float32\[.*takes float32 \[1 to 4, 32 or more\]"):
            program(wrong)
    with pytest.raises(ValueError, match="no file"):
        program.save("x.npz")


@pytest.mark.parametrize("dynamic, message", [
    ({"y": {0: None}}, "names the input 'y'"), ({0: {2: None}}, "names the axis 2"), ({0: {0: (3, 2)}}, "least, most"),
    ({0: {0: (3, 9)}}, "outside of dynamic's 3 to 9"), ({0: {0: 4}}, "least, most"), ({3: {0: None}}, "0 to 0"),
    ({0: {0: ("a", 2)}}, "least, most"), ({True: {0: None}}, "names the input True"), ({0: {0: (-1, 2)}}, "least")])
def test_ranges_that_are_none(dynamic, message):
    with pytest.raises(ValueError, match=message):
        pyops.compile(F.relu, array(2, 32), dynamic=dynamic)


def test_dynamic_must_be_a_dict():
    with pytest.raises(TypeError, match="must be a dict"):
        pyops.compile(F.relu, array(2, 32), dynamic=[0])
    with pytest.raises(TypeError, match="must be a dict of axes"):
        pyops.compile(F.relu, array(2, 32), dynamic={0: 1})
    with pytest.raises(ValueError, match="leave out dynamic_batch"):
        pyops.compile(F.relu, array(2, 32), dynamic={0: {0: None}}, dynamic_batch=True)


def test_a_model_that_cannot_be_compiled_says_so_at_once():
    with pytest.raises(TraceError, match="numbers"):
        pyops.compile(lambda x: F.relu(x) if x.sum() > 0 else x, array(2, 32), dynamic={0: {0: None}})


def test_arrays_of_sizes_in_a_result_are_those_of_the_run():
    """They were the example's, for every size, in arrays of objects."""
    program = pyops.compile(lambda x: (F.relu(x), np.array(x.shape) * 2), np.ones((2, 3), np.float32),
                            dynamic={0: {1: None}})
    for n in (3, 5, 0):
        found = program(np.ones((2, n), np.float32))[1]
        assert found.dtype == np.int64 and found.tolist() == [4, 2 * n]
