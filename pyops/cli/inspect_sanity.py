"""pyops inspect --show sanity: which explanations change when the network's weights are drawn anew."""
from __future__ import annotations

from .inspect_evidence import chosen, shown
from .opened import Opened


def draw(found: Opened, args):
    from .. import inspect
    target, said = chosen(found, args)
    picture, panels = shown(found), []
    rows = inspect.sanity(found.model, found.input, target, args.methods, layer=args.layer, seed=args.seed)
    for row in rows:
        under = picture if row.method.coarse else None
        print(f"{row.method.title:24}" + "".join(f"{s:7.2f}" for s in row.similarity)
              + ("" if row.changes else "   does not change: it shows the image, not the network"))
        titles = [row.method.title, *(f"from {layer} on: {s:.2f}" for layer, s in zip(row.layers, row.similarity))]
        panels += [inspect.Panel(values, text, row.method.kind, under, mark=not row.changes)
                   for values, text in zip(row.maps, titles)]
    yield inspect.figure(args.out / "sanity.png", panels, f"explanations of {said}, as trained, and with weights drawn "
                         "anew from a layer on", 1 + len(rows[0].layers),
                         "numbers: correlation with the map as trained. Red: a method that does not change")
