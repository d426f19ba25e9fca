"""Of a convolution whose result is cut along image axes, as causal layers have it that are padded on both
sides, only those outputs are computed that are left.
"""
from __future__ import annotations

from ..ir import Graph, Node, Value


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    for cut in list(graph.nodes):
        if cut.op != "getitem" or not isinstance(cut.inputs[0], Value):
            continue
        conv = cut.inputs[0].node
        if conv is None or conv.op != "conv" or graph.only_consumer(conv.output, consumers) is not cut:
            continue
        axes = kept(cut, len(conv.attrs["size"]))
        attrs = None if axes is None else cropped(conv, axes)
        if attrs is not None:
            conv.attrs = attrs
            whole = conv.output
            conv.outputs[0] = Value(cut.output.shape, whole.dtype, conv, whole.name)
            cut.inputs[0] = conv.output
            consumers[conv.output] = consumers.pop(whole)
            graph.drop(cut, conv.output, consumers)


def kept(cut: Node, axes: int) -> list[tuple[int, int]] | None:
    """(first, behind the last) along each of the last `axes` axes, where others are whole; None for
    another cut."""
    shape, index = cut.inputs[0].shape, list(cut.attrs["index"])
    if any(type(n) is not int for n in shape) or any(i is not Ellipsis and not isinstance(i, slice) for i in index):
        return None
    at = index.index(Ellipsis) if Ellipsis in index else len(index)
    missing = len(shape) - len(index) + (Ellipsis in index)
    index[at:at + 1] = [slice(None)] * missing
    ranges = [each.indices(n) for each, n in zip(index, shape, strict=True)]
    whole = all((first, end) == (0, n) for (first, end, _), n in zip(ranges[:-axes], shape[:-axes]))
    if not whole or any(step != 1 or first >= end for first, end, step in ranges):
        return None
    return [(first, end) for first, end, _ in ranges[-axes:]]


def cropped(conv: Node, axes: list[tuple[int, int]]) -> dict | None:
    """The attributes of those outputs; None where they would begin within the image."""
    a = conv.attrs
    # kernels of single taps take the image's pixels as one row: theirs are its outputs
    if all(n == 1 for n in conv.inputs[1].shape[2:]) and 1 in a["stride"]:
        return None
    padding = tuple(p - first * s for p, (first, _), s in zip(a["padding"], axes, a["stride"]))
    size = tuple(end - first for first, end in axes)
    image = conv.inputs[0].shape[-len(size):]
    # every window begins within the padded image, and padding stays one
    if any(p < 0 or (out - 1) * s + 1 > n + 2 * p for p, out, s, n in zip(padding, size, a["stride"], image)):
        return None
    return {**a, "padding": padding, "size": size}
