"""A drawing of a model's graph as SVG: boxes in layers from top to bottom, an edge for each value.

A box is a module, at most `depth` names deep, or an op outside of such modules; norms and
activations are written into the box before them, and equal boxes in a row become one with "x n". A
box stands below all that it reads (its layer is the longest way to it from the input); within a
layer boxes are ordered by the mean place of what they read.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

from .describe import graph_of
from .ir import Graph, Node, Value

WIDTH, HEIGHT, ACROSS, DOWN, MARGIN = 168, 36, 20, 26, 16
WRITTEN_INTO = {"batch_norm": "norm"}   # a short name; these and activations join the box before
FILLS = {"conv": "#dbe9f6", "pool": "#fbe3d0", "linear": "#e3dcf1", "module": "#e1f0da", "other": "#f1f1f1"}


@dataclass(eq=False)
class Box:
    title: str
    shape: tuple[int, ...]
    fill: str
    reads: list[Box] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    times: int = 1
    layer: int = 0
    place: float = 0.0

    @property
    def text(self) -> str:
        return ", ".join([self.title, *self.extra]) + (f"  \u00d7{self.times}" if self.times > 1 else "")


def size_of(window) -> str:
    return "\u00d7".join(map(str, window))


def op_title(node: Node) -> tuple[str, str]:
    """What an op is called in its box, and the kind of box."""
    if node.op in ("conv", "conv_transpose"):
        weight, stride, groups = node.inputs[1].shape, node.attrs.get("stride",
                                                                      ()), node.attrs.get("groups", 1)
        kind = "depthwise" if 1 < groups == weight[0] else node.op.replace("_", " ")
        step = f" /{max(stride)}" if stride and max(stride) > 1 else ""
        return f"{kind} {size_of(weight[2:])}, {weight[0]}{step}", "conv"
    window = node.attrs.get("window")
    if window is not None and hasattr(window, "kernel"):
        kernel, stride = window.kernel[-window.axes:], window.stride[-window.axes:]
        step = f" /{max(stride)}" if max(stride) > 1 else ""
        whole = window.output[-window.axes:] == (1,) * window.axes
        return ("global " if whole
                else "") + f"{node.op.replace('_', ' ')} {size_of(kernel)}{'' if whole else step}", "pool"
    if node.op == "linear":
        return f"linear {node.output.shape[-1]}", "linear"
    return WRITTEN_INTO.get(node.op, node.op.replace("_", " ")), "other"


def groups(graph: Graph, depth: int) -> list[tuple[str, list[Node]]]:
    """The nodes in runs of one module, by its name cut to `depth` parts; an op above that depth is
    a run of its own, named ""."""
    runs: list[tuple[str, list[Node]]] = []
    for node in graph.nodes:
        parts = node.module.split(".") if node.module else []
        path = ".".join(parts[:depth]) if len(parts) >= depth else ""
        if path and runs and runs[-1][0] == path:
            runs[-1][1].append(node)
        else:
            runs.append((path, [node]))
    return runs


def boxes_of(model, graph: Graph, depth: int) -> list[Box]:
    modules = dict(model.named_modules())
    start = Box("input", graph.inputs[0].shape[1:], "other")
    boxes, made_by = [start], {graph.inputs[0]: start}
    read_by: dict[Value, int] = {v: len(nodes) for v, nodes in graph.consumers().items()}
    for path, nodes in groups(graph, depth):
        inside = {v for n in nodes for v in n.outputs}
        outer = list(dict.fromkeys(v for n in nodes for v in n.values() if v not in inside))
        reads = list(dict.fromkeys(made_by[v] for v in outer if v in made_by))
        single = nodes[0] if len(nodes) == 1 else None
        joins = single is not None and (single.op in WRITTEN_INTO or single.row.activation)
        if joins and len(reads) == 1 and reads[0] is not start and read_by[outer[0]] == 1:
            box = reads[0]
            box.extra.append(op_title(single)[0])
        else:
            title, kind = op_title(single) if single else (type(modules[path]).__name__ if path in modules
                                                           else nodes[0].op, "module")
            box = Box(title, nodes[-1].outputs[0].shape[1:], kind, reads)
            boxes.append(box)
        made_by.update(dict.fromkeys(inside, box))
    return boxes


def merge_repeats(boxes: list[Box]) -> list[Box]:
    """Equal boxes, each read only by the next, as one."""
    readers: dict[Box, list[Box]] = {}
    for box in boxes:
        for read in box.reads:
            readers.setdefault(read, []).append(box)
    kept, stands_for = [], {}
    for box in boxes:
        before = stands_for.get(box.reads[0], box.reads[0]) if len(box.reads) == 1 else None
        if before is not None and len(readers[box.reads[0]]) == 1 and (before.text.split("  ")[0],
                                                                       before.shape) == (box.text, box.shape):
            before.times += 1
            stands_for[box] = before
        else:
            box.reads = list(dict.fromkeys(stands_for.get(r, r) for r in box.reads))
            kept.append(box)
    return kept


def arrange(boxes: list[Box]) -> list[list[Box]]:
    layers: list[list[Box]] = []
    for box in boxes:   # they come in an order in which they can run
        box.layer = 1 + max((r.layer for r in box.reads), default=-1)
        while len(layers) <= box.layer:
            layers.append([])
        layers[box.layer].append(box)
    for layer in layers:
        layer.sort(key=lambda b: sum(r.place for r in b.reads) / max(1, len(b.reads)))
        for i, box in enumerate(layer):
            box.place = i - (len(layer) - 1) / 2
    return layers


def svg(model, shape: tuple[int, ...] | None = None, depth: int = 2) -> str:
    """The drawing. shape: of one input, None for the published size. depth: how many names deep
    modules are opened, at least 1."""
    if not isinstance(depth, int) or depth < 1:
        raise ValueError(f"draw: depth must be a positive int, got {depth!r}")
    boxes = merge_repeats(boxes_of(model, graph_of(model, shape), depth))
    layers = arrange(boxes)
    widest = max(map(len, layers))
    width = 2 * MARGIN + widest * (WIDTH + ACROSS) + ACROSS
    height = 2 * MARGIN + len(layers) * (HEIGHT + DOWN) - DOWN
    drawn = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
             f'height="{height}" font-family="sans-serif" font-size="11" text-anchor="middle">',
             f'<rect width="{width}" height="{height}" fill="#fff"/>']
    drawn += [edge(read, box, width) for box in boxes for read in box.reads]
    drawn += [drawn_box(box, width) for box in boxes]
    return "\n".join([*drawn, "</svg>"]) + "\n"


def corner(box: Box, width: int) -> tuple[float, float]:
    """The middle of its upper edge."""
    return width / 2 + box.place * (WIDTH + ACROSS), MARGIN + box.layer * (HEIGHT + DOWN)


def edge(read: Box, box: Box, width: int) -> str:
    (x0, y0), (x1, y1) = corner(read, width), corner(box, width)
    y0 += HEIGHT
    if box.layer - read.layer == 1 or x0 != x1:
        bend = DOWN if box.layer - read.layer == 1 else (y1 - y0) / 2
        way = f"M{x0:g} {y0:g} C{x0:g} {y0 + bend:g} {x1:g} {y1 - bend:g} {x1:g} {y1:g}"
    else:   # around the boxes that lie straight between
        aside = x0 + WIDTH / 2 + ACROSS
        way = (f"M{x0:g} {y0:g} C{aside:g} {y0:g} {aside:g} {y0 + DOWN:g} {aside:g} {(y0 + y1) / 2:g} "
               f"S{aside:g} {y1:g} {x1:g} {y1:g}")
    return f'<path d="{way}" fill="none" stroke="#888"/>'


def drawn_box(box: Box, width: int) -> str:
    x, y = corner(box, width)
    text = box.text if len(box.text) <= 30 else box.text[:29] + "\u2026"
    return (f'<g><title>{escape(box.text)}</title><rect x="{x - WIDTH / 2:g}" y="{y:g}" width="{WIDTH}" '
            f'height="{HEIGHT}" rx="4" fill="{FILLS[box.fill]}" stroke="#666"/><text x="{x:g}" '
            f'y="{y + 15:g}">{escape(text)}</text><text x="{x:g}" y="{y + 29:g}" '
            f'fill="#666">{size_of(box.shape)}</text></g>')
