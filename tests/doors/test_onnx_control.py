"""ONNX files whose branches, loops and lengths depend on data: they are Programs, and give what onnx's own
reference gives.
"""

import io

import numpy as np
import pytest

import pyops

onnx = pytest.importorskip("onnx")
import onnx.reference  # noqa: E402, F811
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import pyops.onnx as door  # noqa: E402

F, INT, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
node = helper.make_node


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def graph(nodes, inputs, outputs, constants=()):
    """inputs: name -> (type, shape). outputs: name -> type."""
    return helper.make_graph(
        nodes, "g", [value(n, *i) for n, i in inputs.items()],
        [value(n, t, None) if not isinstance(t, tuple) else value(n, *t) for n, t in outputs.items()],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in dict(constants).items()])


def model(*args, opset=20, **kwargs):
    return helper.make_model(graph(*args, **kwargs), opset_imports=[helper.make_opsetid("", opset)],
                             ir_version=10)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def check(proto, *feeds, rtol=1e-5, atol=1e-6):
    """A Program, itself and out of a file, beside onnx's reference."""
    program = door.load(proto)
    assert isinstance(program, pyops.Program), getattr(program, "left_out", program)
    file = io.BytesIO()
    program.save(file)
    file.seek(0)
    loaded = pyops.Program.load(file)
    reference = onnx.reference.ReferenceEvaluator(proto)
    for given in feeds:
        want = reference.run(None, given)
        for p in (program, loaded):
            p._native.poison()
            got = p(*given.values())
            got = got if isinstance(got, tuple) else (got,)
            for g, w in zip(got, want, strict=True):
                assert g.shape == np.shape(w) and g.dtype == np.asarray(w).dtype
                np.testing.assert_allclose(g, w, rtol=rtol, atol=atol)
    return program


def left_out(proto, text):
    loaded = door.load(proto)
    assert text in loaded.left_out, loaded.left_out
    return loaded


# ---- If

def branch(outputs, *nodes, constants=()):
    return graph(nodes, {}, dict.fromkeys(outputs, F), constants)


def test_if_on_a_computed_condition():
    yes = branch(["a", "b"], node("Relu", ["x"], ["a"]), node("Mul", ["x", "t"], ["b"]))
    no = branch(["c", "d"], node("Exp", ["x"], ["c"]), node("Identity", ["k"], ["d"]),
                constants={"k": normal(0, 3, 4)})
    check(model([node("ReduceSum", ["x"], ["s"], keepdims=0), node("Greater", ["s", "zero"], ["go"]),
                 node("Tanh", ["x"], ["t"]), node("If", ["go"], ["p", "q"], then_branch=yes, else_branch=no),
                 node("Add", ["p", "t"], ["r"])], {"x": (F, [3, 4])}, {"r": F, "q": F},
                {"zero": np.float32(0)}), *({"x": normal(i, 3, 4)} for i in range(6)))


def test_results_whose_lengths_differ():
    yes = branch(["a"], node("Concat", ["x", "x"], ["a"], axis=1))
    no = branch(["b"], node("Neg", ["x"], ["b"]))
    program = check(model([node("ReduceMax", ["x"], ["s"], keepdims=0), node("Greater", ["s", "one"], ["go"]),
                           node("If", ["go"], ["p"], then_branch=yes, else_branch=no),
                           node("Exp", ["p"], ["q"]), node("ReduceMean", ["p", "ax"], ["m"], keepdims=0)],
                          {"x": (F, [3, 4])}, {"p": F, "q": F, "m": F}, {"one": np.float32(1), "ax": [1]}),
                    *({"x": normal(i, 3, 4) * k} for i in range(4) for k in (np.float32(0.2), np.float32(2))))
    assert program.outputs[0][0] == (3, 8)


def test_other_shapes_are_left_out_by_name():
    yes = branch(["a"], node("Transpose", ["x"], ["a"]))
    no = branch(["b"], node("Neg", ["x"], ["b"]))
    proto = model([node("ReduceMax", ["x"], ["s"], keepdims=0), node("Greater", ["s", "one"], ["go"]),
                   node("If", ["go"], ["p"], "the_branch", then_branch=yes, else_branch=no)],
                  {"x": (F, [3, 4])}, {"p": F}, {"one": np.float32(1)})
    loaded = left_out(proto, "If the_branch")
    assert loaded(np.ones((3, 4), np.float32) * 2).shape == (4, 3)


def test_a_flag_that_is_given_still_chooses_a_plan():
    """A rate, say: both branches need not be in one Program."""
    yes, no = branch(["a"], node("Relu", ["x"], ["a"])), branch(["b"], node("Transpose", ["x"], ["b"]))
    loaded = door.load(model([node("Equal", ["rate", "k"], ["go"]),
                              node("If", ["go"], ["p"], then_branch=yes, else_branch=no)],
                             {"x": (F, [3, 4]), "rate": (INT, [])}, {"p": F}, {"k": np.int64(16000)}))
    x = normal(0, 3, 4)
    assert loaded(x, np.array(16000)).shape == (3, 4) and loaded(x, np.array(8000)).shape == (4, 3)
    assert loaded.programs == 2


# ---- Loop and Scan

def body(nodes, states, extra=(), constants=()):
    """A Loop's: states s0, s1, ... become t0, t1, ...; go is its condition."""
    return graph(nodes, {"i": (INT, []), "before": (B, []), **{f"s{k}": s for k, s in enumerate(states)}},
                 {"go": B, **{f"t{k}": s for k, s in enumerate(states)}, **dict.fromkeys(extra, F)}, constants)


GROWS = body([node("Mul", ["s0", "two"], ["t0"]), node("ReduceSum", ["t0"], ["r"], keepdims=0),
              node("Less", ["r", "big"], ["go"]), node("Tanh", ["s0"], ["c"])], [(F, [3])], ["c"],
             {"two": np.float32(1.5), "big": np.float32(100)})


@pytest.mark.parametrize("most", [0, 3, 10, 3000])
def test_a_loop_that_the_run_ends(most):
    """What it collects is as long as there were rounds."""
    program = door.load(model([node("Loop", ["most", "", "x"], ["y", "c"], body=GROWS),
                               node("Mul", ["c", "c"], ["d"]), node("ReduceSum", ["c", "axes"], ["e"], keepdims=0)],
                              {"x": (F, [3])}, {"y": F, "c": F, "d": F, "e": F},
                              {"most": np.int64(most), "axes": [0]}))
    assert isinstance(program, pyops.Program)
    for first in (0.01, 1, 40, 90):
        state, rows, rounds = np.full(3, first, np.float32), [], 0
        while rounds < most and (not rounds or state.sum() < 100):
            rows.append(np.tanh(state))
            state, rounds = state * np.float32(1.5), rounds + 1
        c = np.array(rows, np.float32).reshape(-1, 3)
        for got, want in zip(program(np.full(3, first, np.float32)), (state, c, c * c, c.sum(0)), strict=True):
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=1e-5)


def test_a_count_and_a_condition_of_the_run():
    proto = model([node("Cast", ["n"], ["m"], to=INT), node("Less", ["n", "zero"], ["stop"]),
                   node("Not", ["stop"], ["go0"]),
                   node("Loop", ["m", "go0", "x", "n"], ["y", "z"], body=body(
                       [node("Add", ["s0", "x"], ["t0"]), node("Mul", ["s1", "t0"], ["u"]),
                        node("ReduceMax", ["u"], ["t1"], keepdims=0), node("Identity", ["before"], ["go"])],
                       [(F, [2]), (F, [])]))], {"x": (F, [2]), "n": (F, [])}, {"y": F, "z": F},
                  {"zero": np.float32(0)})
    check(proto, *({"x": normal(0, 2), "n": np.array(n, np.float32)} for n in (0, 1, 5, -3)))


def test_more_is_collected_than_there_is_room_for_is_left_out():
    proto = model([node("Cast", ["n"], ["m"], to=INT),
                   node("Loop", ["m", "", "x"], ["y", "c"], "the_loop", body=GROWS)],
                  {"x": (F, [3]), "n": (F, [])}, {"y": F, "c": F})
    assert "Loop the_loop" in left_out(proto, "nobody knows how many rounds").left_out


def test_long_scans_are_loops():
    step = graph([node("Add", ["h", "e"], ["a"]), node("Tanh", ["a"], ["h2"]), node("Mul", ["h2", "w"], ["o"])],
                 {"h": (F, [2]), "e": (F, [2])}, {"h2": (F, [2]), "o": (F, [2])}, {"w": np.float32(3)})
    for directions, axis in (((0, 0), 0), ((1, 1), 1), ((1, 0), 1)):
        proto = model([node("Scan", ["h0", "x"], ["h", "y"], num_scan_inputs=1, body=step,
                            scan_input_directions=directions[:1], scan_output_directions=directions[1:],
                            scan_output_axes=[axis])], {"h0": (F, [2]), "x": (F, [700, 2])}, {"h": F, "y": F})
        program = door.load(proto)
        assert len(program.steps) < 30
        h0, x = normal(0, 2), normal(1, 700, 2)
        h, rows = h0, []
        for e in x[::-1] if directions[0] else x:
            h = np.tanh(h + e)
            rows.insert(0 if directions[1] else len(rows), h * 3)
        got = program(h0, x)
        np.testing.assert_allclose(got[0], h, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(got[1], np.stack(rows, axis), rtol=1e-5, atol=1e-6)


# ---- lengths that depend on data

FIND = [node("Greater", ["x", "half"], ["m"]), node("NonZero", ["m"], ["nz"]),
        node("Transpose", ["nz"], ["t"], perm=[1, 0])]
NAMED = {"half": np.float32(0.5), "zero": [0], "one": [1], "two": [2], "three": [3], "minus": [-1], "far": [1 << 62],
         "ends": [-1], "shape": [-1, 1], "pairs": [-1], "zeros": np.zeros((5, 7), np.float32),
         "w": normal(9, 2, 4), "c": np.int64(0), "last": np.int64(-1)}
CHAINS = {
    "places": ([], "t"),
    "rows_of_places": ([], "nz"),
    "values": ([node("GatherND", ["x", "t"], ["y"])], "y"),
    "arithmetic": ([node("GatherND", ["x", "t"], ["v"]), node("Mul", ["v", "v"], ["u"]),
                    node("Where", ["p", "u", "v"], ["y"]), ], "y"),
    "columns": ([node("Gather", ["t", "one"], ["y"], axis=1)], "y"),
    "column": ([node("Gather", ["t", "c"], ["y"], axis=1)], "y"),
    "rows_by_index": ([node("Gather", ["t", "c"], ["r"], axis=1), node("Gather", ["x", "r"], ["y"], axis=0)], "y"),
    "the_last": ([node("Gather", ["tp", "last"], ["y"], axis=0)], "y"),
    "squeezed": ([node("Slice", ["t", "one", "two", "one"], ["u"]), node("Squeeze", ["u", "one"], ["y"])], "y"),
    "unsqueezed": ([node("Unsqueeze", ["t", "zero"], ["y"])], "y"),
    "the_first": ([node("Slice", ["t", "zero", "three", "zero"], ["y"])], "y"),
    "behind_the_second": ([node("Slice", ["t", "two", "far", "zero"], ["y"])], "y"),
    "but_the_last": ([node("Slice", ["t", "zero", "ends", "zero"], ["y"])], "y"),
    "the_last_two_rows": ([node("Slice", ["t", "mtwo", "far", "zero"], ["y"])], "y"),
    "flattened": ([node("Reshape", ["t", "minus"], ["y"])], "y"),
    "a_column_more": ([node("Gather", ["t", "c"], ["r"], axis=1), node("Reshape", ["r", "shape"], ["y"])], "y"),
    "by_their_shape": ([node("Shape", ["t"], ["sh"]), node("Gather", ["sh", "zero"], ["n"]),
                        node("Concat", ["n", "two"], ["to"], axis=0), node("Reshape", ["nz", "to0"], ["u"]),
                        node("Reshape", ["t", "to"], ["y"])], "y"),
    "how_many": ([node("Shape", ["t"], ["y"])], "y"),
    "how_many_values": ([node("Size", ["t"], ["y"])], "y"),
    "side_by_side": ([node("Concat", ["t", "t"], ["y"], axis=1)], "y"),
    "one_behind_the_other": ([node("Concat", ["t", "k", "t"], ["y"], axis=0)], "y"),
    "product": ([node("Cast", ["t"], ["f"], to=F), node("MatMul", ["f", "w"], ["y"])], "y"),
    "softmax": ([node("Cast", ["t"], ["f"], to=F), node("Softmax", ["f"], ["y"], axis=1)], "y"),
    "sum": ([node("ReduceSum", ["t", "zero"], ["y"])], "y"),
    "sum_of_all": ([node("ReduceSum", ["t"], ["y"], keepdims=0)], "y"),
    "sum_of_rows": ([node("ReduceSum", ["t", "one"], ["y"], keepdims=0)], "y"),
    "running_sum": ([node("Cast", ["t"], ["f"], to=F), node("CumSum", ["f", "c"], ["y"])], "y"),
    "put": ([node("GatherND", ["x", "t"], ["v"]), node("ScatterND", ["zeros", "t", "v"], ["y"])], "y"),
    "added": ([node("GatherND", ["x", "t"], ["v"]), node("ScatterND", ["x", "t", "v"], ["y"], reduction="add")], "y"),
    "products_of_all": ([node("Cast", ["nz"], ["f"], to=F), node("Transpose", ["f"], ["ft"]),
                         node("MatMul", ["f", "ft"], ["y"])], "y"),
    "softmax_of_all": ([node("GatherND", ["x", "t"], ["v"]), node("Softmax", ["v"], ["s"], axis=0),
                        node("ReduceSum", ["s"], ["y"], keepdims=0)], "y"),
    "split": ([node("Split", ["t", "ones"], ["y", "z"], axis=1)], "y"),
    "tiled": ([node("Tile", ["t", "twice"], ["y"])], "y"),
    "padded": ([node("Pad", ["t", "pads"], ["y"])], "y"),
    "numbered": ([node("Shape", ["t"], ["sh"]), node("Gather", ["sh", "c"], ["n"]),
                  node("Range", ["c", "n", "next"], ["r"]), node("Unsqueeze", ["r", "one"], ["rr"]),
                  node("Concat", ["rr", "t"], ["y"], axis=1)], "y"),
    "zeros": ([node("Shape", ["t"], ["sh"]), node("ConstantOfShape", ["sh"], ["z"], value=numpy_helper.from_array(
        np.array([7]))), node("Add", ["z", "t"], ["y"])], "y"),
    "expanded": ([node("Shape", ["t"], ["sh"]), node("Expand", ["k", "sh"], ["e"]), node("Mul", ["e", "t"], ["y"])],
                 "y"),
    "as_many_rounds": ([node("Size", ["t"], ["n"])], "y"),
    "more_axes": ([node("Expand", ["t", "wide"], ["y"])], "y"),
    "compressed_again": ([node("Gather", ["t", "c"], ["r"], axis=1), node("Greater", ["r", "one"], ["q"]),
                          node("Compress", ["t", "q"], ["y"], axis=0)], "y"),
}


@pytest.mark.parametrize("name", CHAINS)
def test_what_stands_behind_a_length_of_the_run(name):
    nodes, result = CHAINS[name]
    extra = []
    if name == "arithmetic":
        extra = [node("GatherND", ["m", "t"], ["p"])]
        nodes = [nodes[0], *extra, *nodes[1:]]
    if name == "the_last":
        nodes = [node("Concat", ["k", "t"], ["tp"], axis=0), *nodes]
    if name == "as_many_rounds":
        turn = graph([node("Mul", ["s0", "half"], ["t0"]), node("Add", ["s0", "half"], ["o"]),
                      node("Identity", ["before"], ["go"])],
                     {"i": (INT, []), "before": (B, []), "s0": (F, [1])}, {"go": B, "t0": F, "o": F})
        nodes = [nodes[0], node("Loop", ["n", "yes", "start"], ["end", "y"], body=turn)]
    if name == "by_their_shape":
        nodes = [n for n in nodes if "to0" not in n.input]
    constants = NAMED | {"mtwo": [-2], "k": np.array([[1, 2]]), "ones": [1, 1],
                         "twice": [1, 2], "wide": [3, 1, 2], "pads": [0, 1, 0, 2], "next": np.int64(1),
                         "start": np.float32([3]), "yes": np.array(True)}
    used = {i for n in FIND + nodes for i in n.input}
    proto = model([*FIND, *nodes], {"x": (F, [5, 7])}, {result: INT if result in ("t", "nz") else 0},
                  {k: np.asarray(v) for k, v in constants.items() if k in used})
    # onnx's reference makes no loop of no round
    scales = (1, 100) if name == "as_many_rounds" else (1, 0, 100)
    check(proto, *({"x": normal(i, 5, 7) * np.float32(k)} for i in range(3) for k in scales))


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin", "ReduceMean", "ReduceProd", "ReduceL2", "ArgMax"])
def test_reductions_of_what_was_found(op):
    """One is found at least: of none there is no greatest."""
    axes = {"axis": 0, "keepdims": 0} if op == "ArgMax" else {"keepdims": 0}
    check(model([*FIND, node("GatherND", ["x", "t"], ["v"]), node(op, ["v"], ["y"], **axes)],
                {"x": (F, [5, 7])}, {"y": 0}, {"half": NAMED["half"]}),
          *({"x": normal(i, 5, 7) - np.float32(0 if i else 9) + np.eye(5, 7, dtype=np.float32) * 12}
            for i in range(4)))


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_compress(axis):
    attrs = {} if axis is None else {"axis": axis}
    n = 10 if axis is None else (4, 6)[axis]
    proto = model([node("Compress", ["x", "c"], ["y"], **attrs)], {"x": (F, [4, 6]), "c": (B, [n])}, {"y": F})
    check(proto, *({"x": normal(i, 4, 6), "c": np.random.default_rng(i).random(n) < i / 3} for i in range(4)))


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("kind, most", [(F, 3), (INT, 5), (F, 1)])
def test_unique(kind, most, order):
    """NumPy's; onnx's reference has another order where they are not sorted."""
    program = door.load(model([node("Unique", ["x"], ["y", "first", "each", "times"], sorted=order)],
                              {"x": (kind, [4, 9])}, {"y": kind, "first": INT, "each": INT, "times": INT}))
    assert isinstance(program, pyops.Program)
    for seed in range(4):
        x = np.random.default_rng(seed).integers(-most, most, (4, 9)).astype(np.float32 if kind == F else np.int64)
        y, first, each, times = program(x)
        values, at, counts = np.unique(x, return_index=True, return_counts=True)
        turned = np.arange(len(values)) if order else np.argsort(at)
        assert np.array_equal(y, values[turned]) and np.array_equal(first, at[turned])
        assert np.array_equal(times, counts[turned]) and np.array_equal(y[each], x.reshape(-1))


def test_the_best_of_what_was_found():
    """As many as there are, at most five: a k that the run computes."""
    proto = model([*FIND, node("GatherND", ["x", "t"], ["v"]), node("Shape", ["v"], ["n"]),
                   node("Min", ["n", "five"], ["k"]), node("TopK", ["v", "k"], ["y", "at"]),
                   node("Gather", ["t", "at"], ["z"], axis=0)],
                  {"x": (F, [5, 7])}, {"y": F, "at": INT, "z": INT}, {"half": NAMED["half"], "five": [5]})
    check(proto, *({"x": normal(i, 5, 7) * np.float32(k)} for i in range(3) for k in (0, 0.5, 1, 9)))


def test_fewer_than_the_best_that_are_asked_for():
    proto = model([*FIND, node("GatherND", ["x", "t"], ["v"]), node("TopK", ["v", "three"], ["y", "at"])],
                  {"x": (F, [5, 7])}, {"y": F, "at": INT}, {"half": NAMED["half"], "three": [3]})
    program = check(proto, {"x": normal(0, 5, 7)})
    with pytest.raises(IndexError):
        program(np.zeros((5, 7), np.float32))


def test_an_index_behind_what_was_found():
    proto = model([*FIND, node("Gather", ["t", "at"], ["y"], axis=0)], {"x": (F, [5, 7]), "at": (INT, [2])},
                  {"y": INT}, {"half": NAMED["half"]})
    x = normal(0, 5, 7)
    count = int((x > 0.5).sum())
    program = check(proto, {"x": x, "at": np.array([0, count - 1])}, {"x": x, "at": np.array([-1, -count])})
    for wrong in (count, -count - 1):
        with pytest.raises(IndexError):
            program(x, np.array([0, wrong]))


BOXES = [node("NonMaxSuppression", ["b", "s", "most", "iou", "least"], ["sel"]),
         node("Gather", ["sel", "two"], ["i"], axis=1), node("Squeeze", ["i", "one"], ["i1"]),
         node("Squeeze", ["b", "zero"], ["b0"]), node("Gather", ["b0", "i1"], ["boxes"], axis=0),
         node("Gather", ["sel", "one"], ["kind"], axis=1), node("Cast", ["kind"], ["kindf"], to=F),
         node("Transpose", ["s"], ["st"], perm=[0, 2, 1]), node("Gather", ["sel", "places"], ["nd"], axis=1),
         node("GatherND", ["st", "nd"], ["score"]), node("Unsqueeze", ["score", "one"], ["score1"]),
         node("Concat", ["boxes", "score1", "kindf"], ["all"], axis=1),
         node("Shape", ["score"], ["n"]), node("Min", ["n", "six"], ["k"]),
         node("TopK", ["score", "k"], ["best", "at"]), node("Gather", ["all", "at"], ["y"], axis=0)]


@pytest.mark.parametrize("center", [0, 1])
def test_a_detector_behind_its_network(center):
    """Boxes of each class that stay, their scores and classes, the six best of them."""
    BOXES[0].attribute.clear()
    BOXES[0].attribute.append(helper.make_attribute("center_point_box", center))
    proto = model(BOXES, {"b": (F, [1, 60, 4]), "s": (F, [1, 3, 60])}, {"y": F, "sel": INT, "all": F},
                  {"most": [20], "iou": np.float32([0.4]), "least": np.float32([0.3]), "zero": [0], "one": [1],
                   "two": [2], "six": [6], "places": [0, 2, 1]})
    feeds = []
    for seed, scale in ((0, 1), (1, 0.31), (2, 0.1)):
        rng = np.random.default_rng(seed)
        b = rng.random((1, 60, 4)).astype(np.float32)
        if not center:
            b[..., 2:] = b[..., :2] + b[..., 2:] / 3
        feeds.append({"b": b, "s": (rng.random((1, 3, 60)) * scale).astype(np.float32)})
    check(proto, *feeds)


def test_suppression_of_what_was_found():
    """Of the boxes with a score above a half; a score that is not there is not the best."""
    proto = model([node("ReduceMax", ["s", "zero"], ["best"], keepdims=0), node("Greater", ["best", "half"], ["q"]),
                   node("Compress", ["s", "q"], ["sq"], axis=1), node("Compress", ["b", "q"], ["bq"], axis=0),
                   node("Unsqueeze", ["sq", "zero"], ["s1"]), node("Unsqueeze", ["bq", "zero"], ["b1"]),
                   node("NonMaxSuppression", ["b1", "s1", "most", "iou"], ["y"])],
                  {"b": (F, [40, 4]), "s": (F, [3, 40])}, {"y": INT},
                  {"most": [9], "iou": np.float32([0.3]), "half": np.float32(0.5), "zero": [0]})
    feeds = []
    for seed, shift in ((0, 0.2), (1, 0), (2, -0.4)):
        rng = np.random.default_rng(seed)
        b = rng.random((40, 4)).astype(np.float32)
        b[:, 2:] = b[:, :2] + b[:, 2:] / 4
        feeds.append({"b": b, "s": (rng.random((3, 40)) + shift).astype(np.float32)})
    check(proto, *feeds)


def test_regions_of_what_was_found():
    """The second stage of a detector: a layer for each region that stayed."""
    proto = model([node("Greater", ["s", "half"], ["q"]), node("Compress", ["r", "q"], ["rq"], axis=0),
                   node("Compress", ["b", "q"], ["bq"], axis=0),
                   node("RoiAlign", ["x", "rq", "bq"], ["a"], output_height=2, output_width=3, sampling_ratio=2),
                   node("Flatten", ["a"], ["f"]), node("MatMul", ["f", "w"], ["y"])],
                  {"x": (F, [2, 3, 8, 9]), "r": (F, [6, 4]), "b": (INT, [6]), "s": (F, [6])}, {"a": F, "y": F},
                  {"half": np.float32(0.5), "w": normal(3, 18, 5)})
    feeds = []
    for seed in range(4):   # one stays at least: onnx's reference flattens nothing of none
        rng = np.random.default_rng(seed)
        r = rng.uniform(0, 5, (6, 4)).astype(np.float32)
        r[:, 2:] += r[:, :2]
        feeds.append({"x": normal(seed, 2, 3, 8, 9), "r": r, "b": rng.integers(0, 2, 6),
                      "s": np.maximum(rng.random(6), np.eye(6)[seed]).astype(np.float32)})
    check(proto, *feeds)


def test_what_takes_no_such_length_is_left_out_by_name():
    for nodes, text in (
        ([node("Einsum", ["t", "t"], ["y"], equation="ij,ij->ij")], "takes no value whose length depends"),
        ([node("Add", ["t", "nz"], ["y"])], "along several axes"),
        ([node("Reshape", ["nz", "pairs"], ["y"])], "length that depends on data"),
    ):
        proto = model([*FIND, *nodes], {"x": (F, [9, 9])}, {"y": INT},
                      {"half": NAMED["half"], **({"pairs": [-1]} if "pairs" in nodes[0].input else {})})
        assert f"{nodes[0].op_type} 'y'" in left_out(proto, text).left_out
