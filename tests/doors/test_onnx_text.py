"""Strings, n-grams, classical models and optimisers in ONNX files."""

import math

import numpy as np
import pytest

from pyops.graph.program import Program

pytest.importorskip("onnx")
from onnx import TensorProto, helper
from onnx_files import BOOL, FLOAT, LONG, file, floats, node

import pyops.onnx as door

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
STRING = TensorProto.STRING


def called(op, inputs, outputs=(FLOAT,), domain="", opset=21, **attrs):
    """What one node makes of arrays."""
    names = [f"i{i}" for i in range(len(inputs))]
    arrays = [np.asarray(x) for x in inputs]
    codes = [STRING if x.dtype.kind in "UO" else helper.np_dtype_to_tensor_dtype(x.dtype) for x in arrays]
    made = helper.make_node(op, names, [f"o{i}" for i in range(len(outputs))], domain=domain, **attrs)
    model = file([made], {n: (c, x.shape) for n, c, x in zip(names, codes, arrays)},
                 {f"o{i}": (c, None) for i, c in enumerate(outputs)}, opset=opset)
    if domain:
        model.opset_import.add(domain=domain, version=5 if domain == "ai.onnx.ml" else 1)
    results = list(door.run(model, dict(zip(names, arrays))).values())
    return results[0] if len(outputs) == 1 else results


def test_strings_are_joined_and_split():
    a, b = np.array([["a"], ["bé"]]), np.array(["x", "", "yz"])
    assert called("StringConcat", [a, b], [STRING]).tolist() == [["ax", "a", "ayz"], ["béx", "bé", "béyz"]]
    x = np.array([["a b  c", ""], [" d", "e f"]])
    parts, counts = called("StringSplit", [x], [STRING, LONG])
    assert counts.tolist() == [[3, 0], [1, 2]] and parts.shape == (2, 2, 3)
    assert parts.tolist() == [[["a", "b", "c"], ["", "", ""]], [["d", "", ""], ["e", "f", ""]]]
    parts, counts = called("StringSplit", [np.array(["a,b,,c", "d"])], [STRING, LONG], delimiter=",", maxsplit=2)
    assert parts.tolist() == [["a", "b", ",c"], ["d", "", ""]] and counts.tolist() == [3, 1]


def test_whole_matches_of_patterns():
    x = np.array(["www.a.com", "www.b.org", "", "x"])
    pattern = r"www\.[\w.-]+\.(com|org)"
    assert called("RegexFullMatch", [x], [BOOL], pattern=pattern).tolist() == [True, True, False, False]
    assert called("RegexFullMatch", [x], [BOOL], pattern="(?:ab){0,3}x?").tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    "pattern, match",
    [
        ("(a+)+b", "repeats what repeats"),
        ("((a*)b?)*", "repeats what repeats"),
        ("(a|aa)*c", "repeats what repeats"),
        ("(", "missing"),
        (".*" * 12, "takes more than"),
    ],
)
def test_patterns_that_would_take_for_ever(pattern, match, monkeypatch):
    monkeypatch.setattr("pyops.onnx.ops.text.linear", lambda pattern: None)  # without google-re2
    with pytest.raises(door.ModelError, match=match):
        called("RegexFullMatch", [np.array(["a" * 200])], [BOOL], pattern=pattern)


def test_words_are_normalised():
    x = np.array(["Monday", "tuesday", "MONDAY"])

    def run(x=x, **attrs):
        return called("StringNormalizer", [x], [STRING], **attrs).tolist()

    assert run(stopwords=["monday"]) == ["tuesday"]
    assert run(stopwords=["Monday"], is_case_sensitive=1, case_change_action="UPPER") == ["TUESDAY", "MONDAY"]
    assert run(x[None], stopwords=["monday", "TUESDAY"]) == [[""]]


@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
def test_n_grams_are_counted(mode, strings):
    """Windows written out: unigrams once, bigrams with 0 and 1 entries left out."""
    pool, starts, places = [2, 3, 5, 4, 5, 6, 7, 8], [0, 2], [0, 4, 1, 3, 2]  # 2; 3; (5, 4), (5, 6), (7, 8)
    x = np.array([[5, 4, 3, 7, 8, 8], [2, 2, 5, 6, 6, 4]], np.int64)
    weights = [0.5, 2.0, 3.0, 4.0, 5.0]
    counts = np.array([[0, 1, 2, 0, 1], [2, 0, 0, 2, 0]], np.float32)  # 3, (5,4), (7,8) twice; 2 twice, (5,6) twice
    by_place = np.zeros(5, np.float32)
    by_place[places] = weights
    want = {"TF": counts, "IDF": (counts > 0) * by_place, "TFIDF": counts * by_place}[mode]
    attrs = dict(mode=mode, min_gram_length=1, max_gram_length=2, max_skip_count=1, ngram_counts=starts,
                 ngram_indexes=places, weights=weights)
    attrs |= {"pool_strings": list(map(str, pool))} if strings else {"pool_int64s": pool}
    given = x.astype(str) if strings else x
    np.testing.assert_array_equal(called("TfIdfVectorizer", [given], **attrs), want)
    np.testing.assert_array_equal(called("TfIdfVectorizer", [given[0]], **attrs), want[0])


def test_labels_are_looked_up():
    run = lambda x, out, **attrs: called("LabelEncoder", [x], [out], "ai.onnx.ml", **attrs)  # noqa: E731
    x = np.array(["a", "c", "b"])
    assert run(x, LONG, keys_strings=["a", "b"], values_int64s=[3, 4], default_int64=9).tolist() == [3, 9, 4]
    assert run(x, STRING, keys_strings=["a", "b"], values_strings=["A", "B"]).tolist() == ["A", "_Unused", "B"]
    x = np.array([0.1, np.nan, 7], np.float32)
    assert run(x, LONG, keys_floats=[0.1, math.nan], values_int64s=[1, 2]).tolist() == [1, 2, -1]


def ensemble(x, **more):
    """x[0] <= 1 ? (x[1] in {2, 4} ? 5 : 6) : 7, of targets 0, 1, 0; and x[1] > 3 ? 10 : 20."""
    tensor = lambda name, values, code=FLOAT: helper.make_tensor(name, code, [len(values)], values)  # noqa: E731
    attrs = dict(
        n_targets=2,
        tree_roots=[0, 2],
        nodes_featureids=[0, 1, 1],
        nodes_modes=tensor("modes", [0, 6, 3], TensorProto.UINT8),
        nodes_splits=tensor("splits", [1, 0, 3]),
        nodes_truenodeids=[1, 0, 3],
        nodes_trueleafs=[0, 1, 1],
        nodes_falsenodeids=[2, 1, 4],
        nodes_falseleafs=[1, 1, 1],
        nodes_missing_value_tracks_true=[1, 0, 0],
        leaf_targetids=[0, 1, 0, 0, 1],
        leaf_weights=tensor("weights", [5, 6, 7, 10, 20]),
        membership_values=tensor("members", [2, 4, np.nan]),
    )
    return called("TreeEnsemble", [np.array(x, np.float32)], domain="ai.onnx.ml", **attrs | more)


def test_trees():
    x = [[0, 2], [1, 3], [2, 4], [np.nan, 4]]
    leaves = [[(0, 5), (1, 20)], [(1, 6), (1, 20)], [(0, 7), (0, 10)], [(0, 5), (0, 10)]]
    totals = np.zeros((4, 2))
    for row, found in zip(totals, leaves):
        for target, weight in found:
            row[target] += weight
    np.testing.assert_array_equal(ensemble(x), totals)
    np.testing.assert_array_equal(ensemble(x, aggregate_function=0), totals / 2)
    np.testing.assert_array_equal(ensemble(x, aggregate_function=2), [[5, 20], [0, 6], [7, 0], [5, 0]])
    np.testing.assert_array_equal(ensemble(x, aggregate_function=3), [[5, 20], [0, 20], [10, 0], [10, 0]])
    e = np.exp(totals - totals.max(1, keepdims=True))
    np.testing.assert_allclose(ensemble(x, post_transform=1), e / e.sum(1, keepdims=True), rtol=1e-6)
    np.testing.assert_allclose(ensemble(x, post_transform=2), 1 / (1 + np.exp(-totals)), rtol=1e-6)
    with pytest.raises(door.ModelError, match="come back"):
        ensemble(x, nodes_truenodeids=[0, 0, 3])
    with pytest.raises(door.ModelError, match="there is none of"):
        ensemble(x, tree_roots=[0, 9])


OPTIMISERS = {
    "Adagrad": (dict(norm_coefficient=0.01, epsilon=1e-5, decay_factor=0.1), 1),
    "Adam": (dict(norm_coefficient=0.01, norm_coefficient_post=0.02, alpha=0.9, beta=0.99, epsilon=1e-4), 2),
    "Momentum": (dict(norm_coefficient=0.01, alpha=0.9, beta=0.5, mode="nesterov"), 1),
}


def stepped(name, a, rate, t, x, g, *states):
    """In float64, as the texts have it."""
    g = a["norm_coefficient"] * x + g
    if name == "Adagrad":
        h = states[0] + g * g
        return x - rate / (1 + t * a["decay_factor"]) * g / (np.sqrt(h) + a["epsilon"]), h
    if name == "Adam":
        v, h = a["alpha"] * states[0] + (1 - a["alpha"]) * g, a["beta"] * states[1] + (1 - a["beta"]) * g * g
        rate = rate * np.sqrt(1 - a["beta"] ** t) / (1 - a["alpha"] ** t) if t else rate
        return (1 - a["norm_coefficient_post"]) * (x - rate * v / (np.sqrt(h) + a["epsilon"])), v, h
    v = a["alpha"] * states[0] + (a["beta"] if t else 1) * g
    return x - rate * (g + a["alpha"] * v), v


@pytest.mark.parametrize("t", [0, 3])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_step_of_two_arrays(name, t):
    attrs, states = OPTIMISERS[name]
    shapes = [(3, 4), (5,)]
    groups = [[np.abs(floats(*s, seed=i)) if i > 1 else floats(*s, seed=i) for s in shapes]
              for i in range(2 + states)]
    given = {"r": np.float32(0.1), "t": np.int64(t)}
    given |= {f"{i}{k}": x for i, group in enumerate(groups) for k, x in enumerate(group)}
    outputs = [f"o{i}{k}" for i in range(1 + states) for k in range(2)]
    made = helper.make_node(name, list(given), outputs, domain="ai.onnx.preview.training", **attrs)
    inputs = {n: (LONG if n == "t" else FLOAT, np.shape(x)) for n, x in given.items()}
    program = door.load(file([made], inputs, dict.fromkeys(outputs, (FLOAT, None))))
    assert isinstance(program, Program), program
    found = program(*given.values())
    for k in range(2):
        want = stepped(name, attrs, 0.1, t, *(g[k].astype(np.float64) for g in groups))
        for got, value in zip(found[k::2], want, strict=True):
            np.testing.assert_allclose(got, value, rtol=1e-4, atol=1e-6)


def test_features_and_thresholds():
    run = lambda op, *x, **attrs: called(op, x, domain="ai.onnx.ml", **attrs)  # noqa: E731
    x = floats(2, 3, 4)
    np.testing.assert_array_equal(run("ArrayFeatureExtractor", x, np.array([3, 1])), x[..., [3, 1]])
    assert run("ArrayFeatureExtractor", x[0, 0], np.array([[2]])).shape == (1, 1)
    np.testing.assert_array_equal(run("Binarizer", x, threshold=0.25), (x > 0.25).astype(np.float32))
    with pytest.raises(door.ModelError, match="indices .* of the last axis"):
        run("ArrayFeatureExtractor", x, np.array([4]))


def test_a_string_goes_node_by_node():
    model = file([node("StringConcat", "a a", "b")], {"a": (STRING, (2,))}, {"b": (STRING, None)})
    loaded = door.load(model)
    assert isinstance(loaded, door.NodeByNode) and "programs take" in loaded.left_out
    assert loaded(np.array(["x", "yz"])).tolist() == ["xx", "yzyz"]
