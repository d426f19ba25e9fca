"""What every network that classifies images has in common: maps first, then the
classifier on top of them."""
from __future__ import annotations

from typing import TYPE_CHECKING

from ... import functional as F, nn
from ...core.tensor import Tensor

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["Classifier"]

ACTIVATIONS = (None, "softmax", "sigmoid")
POOLINGS = (None, "avg", "max")


class Classifier(nn.Module):
    """A subclass defines maps(input), the last feature maps (N, C, H, W), and classify(maps),
    the logits (N, classes).

    `head_names` names the submodules between the maps and the logits, `image` the published size
    (channels, height, width), `classes` the published number of classes. without_top() removes the
    head; forward then returns the maps, or what pooling leaves of them, (N, C).
    """
    head_names: tuple[str, ...] = ("classifier",)
    image: tuple[int, int, int] = (3, 224, 224)
    top: bool = True
    pooling: str | None = None
    activation: str | None = None
    # "keras": padding, strides and constants of keras.applications, as its weights need them
    layout: str | None = None
    own_head: bool = False   # whether `head` stands in for the published classifier
    recipe: Recipe | None = None   # what create_model was asked for, so that a file of weights can say it

    def maps(self, input):
        raise NotImplementedError(f"{type(self).__name__} defines no maps")

    def classify(self, maps):
        raise NotImplementedError(f"{type(self).__name__} defines no classify")

    def forward(self, input):
        maps = self.maps(input)
        if self.own_head:
            return self.finish(self.head(self.pooled(maps)))
        return self.finish(self.classify(maps)) if self.top else self.pooled(maps)

    def finish(self, logits):
        """The logits, or what the activation asked for makes of them."""
        if self.activation is None:
            return logits
        return F.softmax(logits, 1) if self.activation == "softmax" else F.sigmoid(logits)

    def pooled(self, maps):
        if self.pooling is None:
            return maps
        pool = F.adaptive_avg_pool2d if self.pooling == "avg" else F.adaptive_max_pool2d
        return F.flatten(pool(maps, 1), 1)

    def without_top(self, pooling: str | None = None) -> Classifier:
        """Removes the head, in place: the trunk alone, for transfer."""
        if pooling not in POOLINGS:
            raise ValueError(f"{type(self).__name__}: pooling must be None, 'avg' or 'max', got {pooling!r}")
        if self.own_head:
            self.own_head, self.head = False, None
        for name in self.head_names:
            setattr(self, name, None)
        self.top, self.pooling = False, pooling
        return self

    def with_head(self, classes: int, hidden: tuple[int, ...] = (), dropout: float = 0.0,
                  pooling: str = "avg") -> Classifier:
        """Puts a new classifier on the trunk, in place, drawn at random: pooling, hidden linear
        layers with ReLU, `classes` logits."""
        if not isinstance(classes, int) or classes < 1 or any(
                not isinstance(n, int) or n < 1 for n in hidden) or pooling not in ("avg", "max"):
            raise ValueError(f"{type(self).__name__}.with_head: classes and hidden must be positive ints and "
                             f"pooling 'avg' or 'max', got {classes!r}, {hidden!r} and {pooling!r}")
        self.without_top(None)
        channels = self.channels()
        self.pooling = pooling
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(channels, width), nn.ReLU()]
            channels = width
        self.head = nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(channels, classes))
        self.own_head = True
        if self.recipe is not None:
            self.recipe.head = {"classes": classes, "hidden": list(hidden), "dropout": dropout,
                                "pooling": pooling}
        return self

    def channels(self) -> int:
        """Of the trunk's last maps."""
        from ...graph.describe import graph_of
        return graph_of(self, None).outputs[0].shape[1]


def scores_of(model, output) -> Tensor:
    """(N, C), larger is likelier: by the model's `scores` if it has them, else the output, or the
    first where it has several."""
    own = getattr(model, "scores", None)
    if own is not None:
        return own(output)
    return output[0] if isinstance(output, tuple) else output
