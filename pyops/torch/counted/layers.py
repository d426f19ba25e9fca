"""Layers and regions, whose samples do not mix."""

from __future__ import annotations

import math

from ... import functional as F
from ...graph.counted import Counted
from ..aten import OF_TORCHVISION, TABLE
from .rules import RULES, Refused, filled, like, of_the_run, rank, same_length, takes


def rows_only(name: str, last: int | None):
    """A rule for a layer: the entries stay apart along axis 0, or all axes but the last `last`."""
    def layer(x, *rest, **named):
        inner = rank(x) - 1 if last is None else last
        if not isinstance(x, Counted) or of_the_run(rest, named) or x.axis >= rank(x) - inner:
            raise Refused("an axis whose length a run decides, which it mixes")
        found = TABLE[f"aten.{name}"](x.values, *rest, **named)
        return like(x, found, x.axis)

    RULES[f"aten.{name}"] = layer


for _name in ("conv1d.default", "conv2d.default", "conv3d.default", "conv2d.padding", "conv_transpose2d.input",
              "max_pool2d.default", "avg_pool2d.default", "adaptive_avg_pool2d.default", "batch_norm.default",
              "_native_batch_norm_legit_no_training.default", "upsample_bilinear2d.vec", "upsample_nearest2d.vec",
              "upsample_bicubic2d.vec", "instance_norm.default", "group_norm.default"):
    if f"aten.{_name}" in TABLE:
        rows_only(_name, None)
rows_only("linear.default", 1)


@takes("aten.layer_norm.default")
def layer_norm(x, shape, *rest, **named):
    if of_the_run(rest, named) or x.axis >= rank(x) - len(shape):
        raise Refused("an axis whose length a run decides, which it mixes")
    return like(x, TABLE["aten.layer_norm.default"](x.values, shape, *rest, **named), x.axis)


def softmax_rule(name: str):
    """Behind the count stands what adds nothing to the sum."""
    def rule(x, dim, dtype=None):
        axis = dim % rank(x)
        values = filled(x, -math.inf) if axis == x.axis else x.values
        return like(x, TABLE[name](values, dim, dtype), x.axis)

    RULES[name] = rule


softmax_rule("aten.softmax.int")
softmax_rule("aten.log_softmax.int")


@takes("aten.addmm.default")
def addmm(bias, a, b, **named):
    if not isinstance(a, Counted) or a.axis or isinstance(b, Counted) or isinstance(bias, Counted):
        raise Refused("a product over an axis whose length a run decides")
    return like(a, TABLE["aten.addmm.default"](bias, a.values, b, **named), 0)


@takes("aten.mm.default", "aten.matmul.default")
def matmul(a, b):
    if isinstance(a, Counted) and isinstance(b, Counted) and a.axis == rank(a) - 1 and b.axis == 0:
        same_length([a, b])
        return F.matmul(filled(a, 0), filled(b, 0))
    if isinstance(a, Counted) and not isinstance(b, Counted) and a.axis < rank(a) - 1 and rank(b) <= 2:
        return like(a, F.matmul(a.values, b), a.axis)
    raise Refused("a product over an axis whose length a run decides")


def of_regions(name: str):
    def regions(x, boxes, *rest):
        if isinstance(x, Counted) or not isinstance(boxes, Counted) or boxes.axis:
            raise Refused("maps whose number a run decides")
        # regions behind the count are of the first map, and empty
        return like(boxes, OF_TORCHVISION[name](x, filled(boxes, 0), *rest), 0)

    RULES[name] = regions


of_regions("torchvision.roi_align.default")
