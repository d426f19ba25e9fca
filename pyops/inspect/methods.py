"""The ways of asking where a score comes from, by name, each as a map (H, W)."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np

from .attribution import deconvnet, guided_backprop, integrated_gradients, of_pixels, saliency, smooth_grad
from .evidence import grad_cam, grad_cam_plus_plus, occlusion
from .figure import Panel
from .objective import Objective
from .relevance import NoRule, relevance
from .subject import TorchSubject, subject


class Method(NamedTuple):
    """title: for pictures. kind: "heat" or "signed", as of Panel. coarse: whether it is drawn over the
    image. ask(model, image, target, layer) -> (H, W)."""
    title: str
    kind: str
    coarse: bool
    ask: Callable[[Any, np.ndarray, Any, str | None], np.ndarray]


def occluded(model: Any, image: np.ndarray, target: Any, layer: str | None) -> np.ndarray:
    return occlusion(model, image, target, max(2, min(image.shape[1:]) // 6))


def guided_cam(model: Any, image: np.ndarray, target: Any, layer: str | None) -> np.ndarray:
    return of_pixels(guided_backprop(model, image, target), True) * grad_cam(model, image, target, layer)


METHODS = {
    "saliency": Method("saliency", "heat", False, lambda m, x, c, _: of_pixels(saliency(m, x, c), True)),
    "smooth_grad": Method("SmoothGrad", "heat", False, lambda m, x, c, _: of_pixels(smooth_grad(m, x, c), True)),
    "integrated_gradients": Method("integrated gradients", "signed", False,
                                   lambda m, x, c, _: of_pixels(integrated_gradients(m, x, c))),
    "guided_backprop": Method("guided backpropagation", "heat", False,
                              lambda m, x, c, _: of_pixels(guided_backprop(m, x, c), True)),
    "deconvnet": Method("deconvnet", "heat", False, lambda m, x, c, _: of_pixels(deconvnet(m, x, c), True)),
    "relevance": Method("relevance (LRP)", "signed", False, lambda m, x, c, _: of_pixels(relevance(m, x, c).values)),
    "occlusion": Method("occlusion", "signed", True, occluded),
    "grad_cam": Method("Grad-CAM", "heat", True, grad_cam),
    "grad_cam_plus_plus": Method("Grad-CAM++", "heat", True, grad_cam_plus_plus),
    "guided_grad_cam": Method("guided Grad-CAM", "heat", False, guided_cam)}


def methods_for(model: Any, image: np.ndarray, target: int | Objective,
                names: Sequence[str] | None = None) -> dict[str, Method]:
    """Those of `names`, or all that `model` can be asked by. ValueError for a name that is none."""
    for name in names or ():
        if name not in METHODS:
            close = get_close_matches(name, METHODS, n=3)
            raise ValueError(f"no method is called {name!r}; " + (
                f"did you mean {', '.join(close)}?" if close else f"there are {', '.join(METHODS)}"))
    if names:
        return {name: METHODS[name] for name in names}
    return {name: method for name, method in METHODS.items() if name != "relevance" or divisible(model, image, target)}


def divisible(model: Any, image: np.ndarray, target: int | Objective) -> bool:
    """Whether relevance knows how to go back through all of `model`."""
    if isinstance(subject(model), TorchSubject):
        return False
    try:
        relevance(model, image, target)
    except NoRule:
        return False
    return True


def explanations(model: Any, image: np.ndarray, target: int | Objective, layer: str | None = None,
                 names: Sequence[str] | None = None, shown: np.ndarray | None = None) -> list[Panel]:
    """The image (as `shown`, or as it is), and a map for each method, for `figure`. layer: for
    Grad-CAM."""
    picture = image if shown is None else shown
    panels = [Panel(picture, "the image")]
    for method in methods_for(model, image, target, names).values():
        values = method.ask(model, image, target, layer)
        panels.append(Panel(values, method.title, method.kind, picture if method.coarse else None))
    return panels
