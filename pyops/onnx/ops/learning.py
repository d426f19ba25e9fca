"""Domains beside ONNX's own: classical models of ai.onnx.ml, optimisers of ai.onnx.preview.training.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from ... import functional as F
from ...ops.typed import as_type
from .row import Unsupported, known, needs, op, rank, traced
from .select import taken

ML, TRAINING = "ai.onnx.ml", "ai.onnx.preview.training"


@op(f"{ML}.ArrayFeatureExtractor", keeps=True)
def extract(call):
    """Entries of the last axis; of a vector as a matrix of one row."""
    needs(call, 2)
    x, index = call[0], known(call[1], "the indices").reshape(-1)
    if not rank(x) or np.any((index < 0) | (index >= x.shape[-1])):
        raise ValueError(f"indices {index[:8].tolist()} of the last axis of shape {tuple(x.shape)}")
    y = taken(x, rank(x) - 1, index)
    shape = (*((1,) if rank(x) == 1 else x.shape[:-1]), len(index))
    return F.reshape(y, shape) if traced(y) else np.reshape(y, shape)


@op(f"{ML}.Binarizer", keeps=True)
def binarize(call):
    needs(call, 1)
    x, threshold = call[0], call.attr("threshold", 0.0)
    return as_type(F.gt(x, threshold), x.dtype) if traced(x) else (x > threshold).astype(x.dtype)


@op(f"{ML}.LabelEncoder", keeps=True)
def encode(call):
    """For each entry what a table has beside it, or a default."""
    needs(call, 1)
    x = known(call[0], "the operand")

    def table(side):
        for kind in ("strings", "int64s", "floats", "tensor"):
            found = call.attr(f"{side}_{kind}")
            if found is not None:
                return kind, found.reshape(-1).tolist() if kind == "tensor" else list(found)
        raise ValueError(f"has no {side}")

    (_, keys), (kind, values) = table("keys"), table("values")
    if len(keys) != len(values):
        raise ValueError(f"{len(keys)} keys for {len(values)} values")
    default, dtype = {
        "strings": (call.attr("default_string", "_Unused"), object),
        "int64s": (call.attr("default_int64", -1), np.int64),
        "floats": (call.attr("default_float", -0.0), np.float32),
        "tensor": (call.attr("default_tensor"), None),
    }[kind]
    if kind == "tensor":
        dtype = call.attr("values_tensor").dtype
        default = {"O": "_Unused", "f": -0.0}.get(dtype.kind, -1) if default is None else default.reshape(-1)[0]
    classes = dict(zip(map(same, keys), values))
    return np.array([classes.get(same(v), default) for v in x.reshape(-1).tolist()], dtype).reshape(x.shape)


def same(key):
    """A key that NaN finds, too; float32's keys meet float32's numbers."""
    if isinstance(key, float):
        return "NaN" if key != key else float(np.float32(key))
    return ("text", key) if isinstance(key, str) else key


COMPARE = (np.less_equal, np.less, np.greater_equal, np.greater, np.equal, np.not_equal)
MEMBER = len(COMPARE)
SUM, AVERAGE, LEAST = 1, 0, 2  # aggregate_function; 3 is the greatest


@op(f"{ML}.TreeEnsemble", keeps=True)
def trees(call):
    """(N, features) -> (N, n_targets): what the leaves say that a row comes to."""
    needs(call, 1)
    x = known(call[0], "the operand")
    if x.ndim != 2:
        raise ValueError(f"takes (N, features), got shape {x.shape}")

    def numbers(name, like=None, default=0):
        value = call.attr(name)
        if value is None and like is not None:
            return np.full(len(like), default)
        value = np.asarray(value).reshape(-1)
        if like is not None and len(value) != len(like):
            raise ValueError(f"{name} has {len(value)} entries, not {len(like)}")
        return value

    modes = numbers("nodes_modes").astype(np.int64)
    splits, features = numbers("nodes_splits", modes), numbers("nodes_featureids", modes)
    nan_is_true = numbers("nodes_missing_value_tracks_true", modes).astype(bool)
    branches = np.stack([numbers("nodes_falsenodeids", modes), numbers("nodes_truenodeids", modes)])
    leafs = np.stack([numbers("nodes_falseleafs", modes), numbers("nodes_trueleafs", modes)]).astype(bool)
    weights = numbers("leaf_weights")
    targets, roots, count = numbers("leaf_targetids", weights), numbers("tree_roots"), call.attr("n_targets", 1)
    sizes = np.where(leafs, len(weights), len(modes))
    if (np.any((branches < 0) | (branches >= sizes)) or np.any((features < 0) | (features >= x.shape[1]))
            or np.any((roots < 0) | (roots >= len(modes))) or np.any((modes < 0) | (modes > MEMBER))
            or count is None or np.any((targets < 0) | (targets >= count))):
        raise ValueError("a node, a leaf, a feature, a target or a mode that there is none of")
    sets = member_sets(call.attr("membership_values"), modes)
    call.room((len(x), len(roots), 8), np.int64, copies=4)
    at, done = np.broadcast_to(roots, (len(x), len(roots))).copy(), np.zeros((len(x), len(roots)), bool)
    rows = np.arange(len(x))[:, None]
    for _ in range(len(modes)):
        if done.all():
            break
        call.work(64 * at.size)
        node = np.where(done, 0, at)
        value = x[rows, features[node]]
        met = held(modes[node], value, splits[node], sets, node) | np.isnan(value) & nan_is_true[node]
        side = met.astype(np.int64)
        at = np.where(done, at, branches[side, node])
        done = done | leafs[side, node]
    if not done.all():
        raise ValueError("a tree whose branches come back to a node")
    return transformed(gathered(weights[at], targets[at], count, call.attr("aggregate_function", SUM)),
                       call.attr("post_transform", 0)).astype(x.dtype)


def member_sets(values, modes) -> dict:
    """The members of each node that asks for them, in the order of nodes; NaN ends a set."""
    asking = np.flatnonzero(modes == MEMBER).tolist()
    sets: list[list] = [[]]
    for v in [] if values is None else np.asarray(values).reshape(-1):
        if np.isnan(v):
            sets.append([])
        else:
            sets[-1].append(v)
    if len([s for s in sets if s]) < len(asking):
        raise ValueError(f"{len(asking)} nodes ask for members of sets")
    return dict(zip(asking, sets))


def held(modes, value, split, sets, node):
    """Whether each node's condition holds."""
    found = np.zeros(value.shape, bool)
    for mode, compare in enumerate(COMPARE):
        found |= (modes == mode) & compare(value, split)
    for i, members in sets.items():
        found |= (node == i) & np.isin(value, members)
    return found


def gathered(weights, targets, count: int, how: int):
    """(N, trees) weights and targets -> (N, count)."""
    n = len(weights)
    at = (np.arange(n)[:, None], targets)
    if how in (SUM, AVERAGE):
        y = np.zeros((n, count), np.float64)
        np.add.at(y, at, weights)
        return y / weights.shape[1] if how == AVERAGE else y
    if how not in (2, 3):
        raise ValueError(f"aggregate_function {how} is none")
    extreme = np.minimum if how == LEAST else np.maximum
    y = np.full((n, count), np.inf if how == LEAST else -np.inf)
    extreme.at(y, at, weights)
    return np.where(np.isinf(y), 0, y)  # a target that no leaf names


def transformed(y, how: int):
    """post_transform: 0 none, 1 softmax, 2 logistic, 3 softmax of what is not zero, 4 probit."""
    if how == 0:
        return y
    if how == 2:
        return 1 / (1 + np.exp(-y))
    if how == 4:
        return np.vectorize(lambda p: NormalDist().inv_cdf(p) if 0 < p < 1 else np.nan, otypes=[float])(y)
    if how not in (1, 3):
        raise ValueError(f"post_transform {how} is none")
    e = np.exp(y - y.max(-1, keepdims=True, initial=-np.inf))
    e = np.where(y == 0, 0, e) if how == 3 else e
    total = e.sum(-1, keepdims=True)
    return e / np.where(total == 0, 1, total)


# ---- optimisers: the rate, how often it was updated, then all arrays, gradients and states


def optimiser(name, states: int):
    """Enters function(call, rate, step, x, g, *states) -> the new x and states, for several arrays."""

    def enter(function):
        @op(f"{TRAINING}.{name}")
        def row(call):
            count, over = divmod(len(call.inputs) - 2, 2 + states)
            if count < 1 or over or any(v is None for v in call.inputs):
                raise ValueError(f"{len(call.inputs)} inputs: takes R, T and {2 + states} for each array")
            rate, step = call.inputs[:2]
            groups = [call.inputs[2 + i * count : 2 + (i + 1) * count] for i in range(2 + states)]
            for x, *rest in zip(*groups):
                if any(tuple(v.shape) != tuple(x.shape) or v.dtype != x.dtype for v in rest):
                    raise ValueError(f"an array of shape {tuple(x.shape)} with gradients and states of others")
            found = [function(call, as_type(rate, x.dtype), as_type(step, x.dtype), x, *rest)
                     for x, *rest in zip(*groups)]
            return tuple(v for same in zip(*found) for v in same)

        return row

    return enter


def regularised(call, x, g):
    return F.add(F.mul(x, call.attr("norm_coefficient", 0.0)), g)


@optimiser("Adagrad", 1)
def adagrad(call, rate, step, x, g, h):
    """Duchi et al. (2011)."""
    rate = F.div(rate, F.add(F.mul(step, call.attr("decay_factor", 0.0)), 1.0))
    g = regularised(call, x, g)
    h = F.add(h, F.mul(g, g))
    return F.sub(x, F.div(F.mul(rate, g), F.add(F.sqrt(h), call.attr("epsilon", 0.0)))), h


@optimiser("Adam", 2)
def adam(call, rate, step, x, g, v, h):
    """Kingma and Ba (2015); the step's first update has no bias to correct."""
    a, b = call.attr("alpha", 0.9), call.attr("beta", 0.999)
    g = regularised(call, x, g)
    v = F.add(F.mul(v, a), F.mul(g, 1 - a))
    h = F.add(F.mul(h, b), F.mul(F.mul(g, g), 1 - b))
    corrected = F.div(F.mul(rate, F.sqrt(F.sub(1.0, F.pow(powered(b, x), step)))),
                      F.sub(1.0, F.pow(powered(a, x), step)))
    rate = F.where(F.gt(step, 0.0), corrected, rate)
    x = F.sub(x, F.mul(rate, F.div(v, F.add(F.sqrt(h), call.attr("epsilon", 0.0)))))
    return F.mul(x, 1 - call.attr("norm_coefficient_post", 0.0)), v, h


def powered(base: float, like):
    return np.asarray(base, like.dtype)


@optimiser("Momentum", 1)
def momentum(call, rate, step, x, g, v):
    """Standard or Nesterov's; the first gradient counts in full."""
    mode, a = call.attr("mode", "standard"), call.attr("alpha", 0.0)
    if mode not in ("standard", "nesterov"):
        raise Unsupported(f"mode {mode!r}")
    g = regularised(call, x, g)
    part = F.where(F.gt(step, 0.0), powered(call.attr("beta", 0.0), x), powered(1.0, x))
    v = F.add(F.mul(v, a), F.mul(part, g))
    return F.sub(x, F.mul(rate, v if mode == "standard" else F.add(g, F.mul(v, a)))), v
