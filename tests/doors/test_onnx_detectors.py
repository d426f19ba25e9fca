"""What detectors do behind their heads, as torchvision's exports spell it: each class keeps its best of
those above a threshold, classes are kept apart while boxes are suppressed, and levels of a pyramid
are pooled each by itself and put together again.
"""
import numpy as np
import pytest

pytest.importorskip("onnx")
from onnx import numpy_helper
from test_onnx_control import INT, F, check, model, node

import pyops.onnx as door

BOXES, CLASSES, BEST = 40, 3, 6


def best_of_class(c: int) -> list:
    """Boxes, scores and labels of a class, as many as are above the threshold, at most BEST."""
    at = f"{c}_"
    return [
        node("Gather", ["scores", f"class{c}"], [at + "all"], axis=1),
        node("Greater", [at + "all", "threshold"], [at + "keep"]),
        node("NonZero", [at + "keep"], [at + "found"]),
        node("Transpose", [at + "found"], [at + "rows"], perm=[1, 0]),
        node("GatherND", [at + "all", at + "rows"], [at + "above"]),
        node("GatherND", ["boxes", at + "rows"], [at + "boxes"]),
        node("Shape", [at + "above"], [at + "shape"]),
        node("Gather", [at + "shape", "zero"], [at + "count"], axis=0),
        node("Unsqueeze", [at + "count", "axis0"], [at + "list"]),
        node("Concat", ["best", at + "list"], [at + "both"], axis=0),
        node("ReduceMin", [at + "both"], [at + "k"], keepdims=0),
        node("Reshape", [at + "k", "one"], [at + "k1"]),
        node("TopK", [at + "above", at + "k1"], [at + "top", at + "order"], axis=-1),
        node("Gather", [at + "boxes", at + "order"], [at + "chosen"], axis=0),
        node("Shape", [at + "top"], [at + "size"]),
        node("ConstantOfShape", [at + "size"], [at + "label"],
             value=numpy_helper.from_array(np.array([c], np.int64))),
    ]


def detector():
    each = [f"{c}_" for c in range(CLASSES)]
    nodes = [n for c in range(CLASSES) for n in best_of_class(c)] + [
        node("Concat", [a + "chosen" for a in each], ["b"], axis=0),
        node("Concat", [a + "top" for a in each], ["s"], axis=0),
        node("Concat", [a + "label" for a in each], ["l"], axis=0),
        # a class's boxes lie apart from those of others
        node("ReduceMax", ["b"], ["far"], keepdims=0),
        node("Add", ["far", "1"], ["step"]),
        node("Cast", ["l"], ["labels"], to=F),
        node("Mul", ["labels", "step"], ["offsets"]),
        node("Slice", ["offsets", "axis0", "end", "axis0", "one"], ["every"]),
        node("Unsqueeze", ["every", "one"], ["column"]),
        node("Add", ["b", "column"], ["apart"]),
        node("Unsqueeze", ["apart", "axis0"], ["boxes3"]),
        node("Unsqueeze", ["s", "axis01"], ["scores3"]),
        node("NonMaxSuppression", ["boxes3", "scores3", "most", "iou"], ["picked"]),
        node("Gather", ["picked", "two"], ["third"], axis=1),
        node("Squeeze", ["third", "one"], ["keep"]),
        node("Gather", ["b", "keep"], ["out_boxes"], axis=0),
        node("Gather", ["s", "keep"], ["out_scores"], axis=0),
        node("Gather", ["l", "keep"], ["out_labels"], axis=0),
    ]
    constants = {"threshold": np.float32(0.6), "zero": np.int64(0), "axis0": np.array([0]),
                 "best": np.array([BEST]), "one": np.array([1]), "1": np.float32(1), "axis01": np.array([0, 1]),
                 "end": np.array([2**63 - 1]), "most": np.array([100]), "iou": np.array([0.5], np.float32),
                 "two": np.array([2]), **{f"class{c}": np.int64(c) for c in range(CLASSES)}}
    return model(nodes, {"boxes": (F, (BOXES, 4)), "scores": (F, (BOXES, CLASSES))},
                 {"out_boxes": F, "out_scores": F, "out_labels": INT}, constants=constants)


def boxes_of(rng, n, size=20.0):
    corner, extent = rng.uniform(0, size, (n, 2)), rng.uniform(1, size / 2, (n, 2))
    return np.concatenate([corner, corner + extent], 1).astype(np.float32)


def test_the_best_of_each_class_are_suppressed_apart():
    feeds = []
    for seed, above in ((0, 1.0), (1, 1.3), (2, 0.65)):
        rng = np.random.default_rng(seed)
        feeds.append({"boxes": boxes_of(rng, BOXES),
                      "scores": (rng.random((BOXES, CLASSES)) * above).astype(np.float32)})
    feeds.append({"boxes": feeds[0]["boxes"], "scores": np.where(np.arange(CLASSES) == 1, 0.9, 0.1).astype(
        np.float32) + np.linspace(0, 0.01, BOXES, dtype=np.float32)[:, None]})   # of one class alone
    check(detector(), *feeds)


CHANNELS, PLACES = 3, 2


def pyramid():
    """Regions of two sizes, each pooled from its own level, put together in their order, and a layer."""
    nodes = [
        node("Split", ["regions"], ["x1", "y1", "x2", "y2"], axis=1, num_outputs=4),
        node("Sub", ["x2", "x1"], ["width2"]),
        node("Squeeze", ["width2", "one"], ["width"]),
        node("Greater", ["width", "little"], ["valid"]),
        node("NonZero", ["valid"], ["places"]),
        node("Squeeze", ["places", "axis0"], ["rows"]),
        node("Gather", ["regions", "rows"], ["kept"], axis=0),
        node("Gather", ["width", "rows"], ["wide"], axis=0),
        node("Greater", ["wide", "limit"], ["large"]),
        node("Shape", ["kept"], ["kept_shape"]),
        node("Gather", ["kept_shape", "0"], ["n"], axis=0),
        node("Unsqueeze", ["n", "axis0"], ["n1"]),
        node("Concat", ["n1", "map_shape"], ["all_shape"], axis=0),
        node("ConstantOfShape", ["all_shape"], ["pooled_none"]),
    ]
    into = "pooled_none"
    for level, mask in ((0, "small"), (1, "large")):
        at = f"{level}_"
        if level == 0:
            nodes.append(node("Not", ["large"], ["small"]))
        nodes += [
            node("NonZero", [mask], [at + "places"]),
            node("Squeeze", [at + "places", "axis0"], [at + "rows"]),
            node("Gather", ["kept", at + "rows"], [at + "regions"], axis=0),
            node("Shape", [at + "rows"], [at + "count"]),
            node("ConstantOfShape", [at + "count"], [at + "image"],
                 value=numpy_helper.from_array(np.array([0], np.int64))),
            node("RoiAlign", [f"map{level}", at + "regions", at + "image"], [at + "pooled"],
                 output_height=PLACES, output_width=PLACES, sampling_ratio=2, spatial_scale=1 / (1 + level)),
            # index.view(-1, 1, 1, 1).expand_as(pooled), whose shape may hold -1 for "as it is"
            node("Reshape", [at + "rows", "column"], [at + "index"]),
            node("Shape", [at + "pooled"], [at + "shape"]),
            node("Equal", [at + "shape", "minus"], [at + "open"]),
            node("Where", [at + "open", "ones", at + "shape"], [at + "to"]),
            node("Expand", [at + "index", at + "to"], [at + "indices"]),
            node("ScatterElements", [into, at + "indices", at + "pooled"], [at + "into"], axis=0),
        ]
        into = at + "into"
    nodes += [
        node("Flatten", [into], ["flat"], axis=1),
        node("Gemm", ["flat", "weight", "bias"], ["logits"]),
        node("Concat", ["n1", "minus1"], ["to"], axis=0),
        node("Reshape", ["logits", "to"], ["found"]),
        node("Shape", ["found"], ["found_shape"]),
        node("Gather", ["found_shape", "1i"], ["classes"], axis=0),
        node("Range", ["0", "classes", "1i"], ["numbers"]),
        node("Reshape", ["numbers", "row"], ["numbers1"]),
        node("Expand", ["numbers1", "found_shape"], ["labels"]),
    ]
    rng = np.random.default_rng(0)
    constants = {"one": np.array([1]), "axis0": np.array([0]), "0": np.int64(0), "1i": np.int64(1),
                 "little": np.float32(0.5), "limit": np.float32(6), "column": np.array([-1, 1, 1, 1]),
                 "row": np.array([1, -1]), "minus": np.array([-1, -1, -1, -1]), "ones": np.array([1, 1, 1, 1]),
                 "minus1": np.array([-1]), "map_shape": np.array([CHANNELS, PLACES, PLACES]),
                 "weight": rng.standard_normal((CHANNELS * PLACES**2, 5)).astype(np.float32),
                 "bias": rng.standard_normal(5).astype(np.float32)}
    return model(nodes, {"map0": (F, (1, CHANNELS, 16, 16)), "map1": (F, (1, CHANNELS, 8, 8)),
                         "regions": (F, (9, 4))}, {"found": F, "labels": INT}, opset=18, constants=constants)


def test_regions_are_pooled_from_the_level_of_their_size():
    feeds = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        regions = boxes_of(rng, 9, 14.0)
        regions[: 2 * seed, 2] = regions[: 2 * seed, 0] + 0.1   # too thin: fewer are kept, and few
        feeds.append({"map0": rng.standard_normal((1, CHANNELS, 16, 16)).astype(np.float32),
                      "map1": rng.standard_normal((1, CHANNELS, 8, 8)).astype(np.float32), "regions": regions})
    # onnx's reference rounds the places of samples to float32, the row does not: sums of them up to 10
    check(pyramid(), *feeds, rtol=1e-4, atol=4e-6)
    none = door.load(pyramid())(*{**feeds[0], "regions": np.zeros((9, 4), np.float32)}.values())
    assert [r.shape for r in none] == [(0, 5), (0, 5)]   # onnx's reference cannot flatten nothing


def test_an_index_behind_the_count_is_refused():
    """Scattering reaches what was found and no further, whatever room there is."""
    nodes = [node("Greater", ["x", "0"], ["above"]), node("Compress", ["x", "above"], ["found"], axis=0),
             node("NonZero", ["above"], ["places"]), node("Squeeze", ["places", "axis0"], ["where"]),
             node("ScatterElements", ["found", "where", "found"], ["y"], axis=0)]
    proto = model(nodes, {"x": (F, (5,))}, {"y": F}, constants={"0": np.float32(0), "axis0": np.array([0])})
    check(proto, {"x": np.array([1, 2, -3, -4, -5], np.float32)})
    with pytest.raises(IndexError, match="index"):
        door.load(proto)(np.array([1, 2, -3, -4, 5], np.float32))


def test_one_index_a_row_is_put_by_rows():
    """Indices that an Expand makes of one a row, as torch's x[rows] = values is exported; outside they are refused."""
    nodes = [node("Greater", ["score", "0"], ["above"]), node("Compress", ["x", "above"], ["found"], axis=0),
             node("Compress", ["rows", "above"], ["where"], axis=0), node("Reshape", ["where", "column"], ["index"]),
             node("Shape", ["found"], ["shape"]), node("Expand", ["index", "shape"], ["indices"]),
             node("ScatterElements", ["into", "indices", "found"], ["y"], axis=0)]
    proto = model(nodes, {"x": (F, (5, 3)), "score": (F, (5,)), "rows": (INT, (5,)), "into": (F, (6, 3))}, {"y": F},
                  constants={"0": np.float32(0), "column": np.array([-1, 1])})
    rng = np.random.default_rng(0)
    feeds = {"x": rng.standard_normal((5, 3)).astype(np.float32), "score": np.array([1, -1, 2, -2, 3], np.float32),
             "rows": np.array([4, 9, -1, -9, 0]), "into": rng.standard_normal((6, 3)).astype(np.float32)}
    check(proto, feeds, {**feeds, "score": -np.ones(5, np.float32)})
    program = door.load(proto)
    assert "put_along" not in program.summary()
    with pytest.raises(IndexError, match="index"):
        program(*{**feeds, "score": np.ones(5, np.float32)}.values())
