"""What all ways of looking inside ask of a network, ours or torch's: what layers answer, and how
that changes with the input."""
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..core.tensor import Tensor, grad, no_grad
from ..graph.describe import evaluating
from ..models.classification.classifier import scores_of
from .rules import Rectify, hook_torch, rectified, walk

if TYPE_CHECKING:
    from .objective import Objective

# A layer by its dotted name; None: the scores of the classes
Place: TypeAlias = "str | None"
Seeds: TypeAlias = Callable[[Mapping[Place, np.ndarray]], Mapping[Place, np.ndarray]]


class Subject:
    """A pyops network in evaluation mode, whose parameters need no gradient meanwhile.

    Forward passes end with the last layer that was asked for. A layer that runs several times is
    looked at the last time.
    """
    refusals: tuple[type[Exception], ...] = (ValueError,)   # what its layers raise for inputs that do not fit

    def __init__(self, model: Any):
        self.model = model
        self.runs: dict[tuple[Place, ...], int] = {}   # of the layers asked for, in one pass

    # ---- what there is

    @property
    def name(self) -> str:
        return type(self.model).__name__

    @property
    def dtype(self) -> np.dtype:
        return next((p.data.dtype for p in self.model.parameters()), np.dtype(np.float32))

    def layers(self) -> list[str]:
        return [name for name, _ in self.model.named_modules() if name]

    def convolutions(self) -> list[str]:
        from .maps import convolutions
        return list(convolutions(self.model))

    def layer(self, name: str) -> Any:
        """The submodule. ValueError with names like it, or all, where there is none."""
        modules = dict(self.model.named_modules())
        if name and name in modules:
            return modules[name]
        close = get_close_matches(str(name), self.layers(), n=3, cutoff=0.5)
        raise ValueError(f"{self.name} has no layer {name!r}; " + (
            f"did you mean {', '.join(close)}?" if close else f"its layers are {', '.join(self.layers())}"))

    # ---- looking

    def look(self, inputs: np.ndarray, at: Sequence[Place], some: bool = False) -> dict[Place, np.ndarray]:
        """What the layers `at` answer to inputs (N, C, H, W), in the order in which they run. some: those
        of them that run at all."""
        with self.watched(), no_grad():
            caught = self._caught(Tensor(self.cast(inputs)), at, some=some)
            return {place: value.data for place, value in caught.items()}

    def pull(self, inputs: np.ndarray, at: Sequence[Place], seeds: Seeds, to: Place = None,
             rectify: Rectify | None = None) -> tuple[dict[Place, np.ndarray], np.ndarray]:
        """What the layers `at` answer, and the gradient of whatever has the gradients
        seeds(answers) at them: for the inputs, or for what the layer `to` answers, which then is
        among the answers. rectify: a rule of rules.py in place of the rectifiers' gradients."""
        with self.watched():
            leaf = Tensor(self.cast(inputs), requires_grad=to is None)
            caught = self._caught(leaf, at, to)
            found = {place: value.data for place, value in caught.items()}
            given = {place: g for place, g in seeds(found).items() if caught[place].requires_grad}
            start = leaf if to is None else caught[to]
            outputs = [caught[place] for place in given]
            at_them = [np.ascontiguousarray(g, found[place].dtype) for place, g in given.items()]
            g = (None if not given else grad(outputs, [start], at_them)[0] if rectify is None
                 else walk(outputs, at_them, start, rectified(rectify)))
        return found, np.zeros_like(start.data) if g is None else np.asarray(g)

    def walk(self, inputs: np.ndarray, objective: Objective,
             rule: Callable[[Sequence[Tensor]], Any]) -> tuple[np.ndarray, np.ndarray]:
        """The objective (N,), and what reaches the inputs where rule(roots), a rule of rules.walk,
        hands on the products of answers and their gradients."""
        with self.watched():
            leaf = Tensor(self.cast(inputs), requires_grad=True)
            caught = self._caught(leaf, objective.layers)
            value, seeds = objective.measure({place: v.data for place, v in caught.items()})
            roots = [caught[place] for place in seeds]
            shares = [(caught[place].data * g).astype(self.dtype) for place, g in seeds.items()]
            reached = walk(roots, shares, leaf, rule(roots))
        return value, np.zeros_like(leaf.data) if reached is None else reached

    def _caught(self, inputs: Any, at: Sequence[Place], to: Place = None, some: bool = False) -> dict[Place, Any]:
        wanted = tuple(dict.fromkeys([*at, *([] if to is None else [to])]))
        names = [name for name in wanted if name is not None]
        last, ran, caught = self.runs.get(wanted), 0, {}

        def hook(name: str) -> Callable[..., Any]:
            def keep(module: Any, given: Any, output: Any) -> Any:
                nonlocal ran
                ran += 1
                if some and not is_answer(output):
                    return None
                value = self._value(name, output)
                caught.pop(name, None)   # the order is that in which layers last ran
                caught[name], passed = self._cut(value) if name == to else self._kept(value)
                if None not in wanted and ran == last:
                    raise Enough
                return passed
            return keep
        handles = [self.layer(name).register_forward_hook(hook(name)) for name in names]
        try:
            output = self.model(inputs)
            if None in wanted:
                caught[None] = self._scores(output)
        except Enough:
            pass
        except self.refusals as why:
            raise ValueError(f"{self.name} takes no input of {tuple(inputs.shape)}: {why}") from why
        finally:
            for handle in handles:
                handle.remove()
        missing = [name for name in names if name not in caught]
        if missing and not some:
            raise ValueError(f"{self.name} does not run {', '.join(missing)} for an input of {tuple(inputs.shape)}")
        self.runs[wanted] = ran
        return caught

    def _value(self, name: str, output: Any) -> Any:
        if not is_answer(output):
            raise ValueError(f"{name} of {self.name} answers with {type(output).__name__}, not with an array of "
                             "samples and channels")
        return output

    # ---- what differs between ours and torch's

    def cast(self, inputs: Any) -> np.ndarray:
        return np.ascontiguousarray(inputs, self.dtype)

    @contextmanager
    def watched(self) -> Iterator[None]:
        parameters = list(self.model.parameters())
        wanted = [p.requires_grad for p in parameters]
        try:
            for p in parameters:
                p.requires_grad = False
            with evaluating(self.model):
                yield
        finally:
            for p, was in zip(parameters, wanted):
                p.requires_grad = was

    def _kept(self, value: Any) -> tuple[Any, Any]:
        """What is looked at, and what the network goes on with."""
        return value, value

    def _cut(self, value: Any) -> tuple[Any, Any]:
        """Likewise, where the gradient ends."""
        leaf = Tensor(value.data, requires_grad=True)
        return leaf, leaf

    def _scores(self, output: Any) -> Any:
        scores = scores_of(self.model, output)
        if not hasattr(scores, "shape") or len(scores.shape) != 2:
            raise ValueError(f"{self.name} gives no scores of classes (N, classes): name a layer")
        return scores


class TorchSubject(Subject):
    """A torch module, by torch's own kernels and gradients."""
    refusals = (ValueError, RuntimeError)

    @property
    def dtype(self) -> np.dtype:
        like = next((p for p in self.model.parameters() if p.is_floating_point()), None)
        return np.dtype(np.float32) if like is None else np.dtype(str(like.dtype).partition(".")[2])

    def convolutions(self) -> list[str]:
        import torch
        return [name for name, m in self.model.named_modules()
                if isinstance(m, (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d))]

    def _tensor(self, inputs: Any) -> Any:
        import torch
        like = next(self.model.parameters(), None)
        return torch.from_numpy(self.cast(inputs)).to("cpu" if like is None else like.device)

    def look(self, inputs, at, some=False):
        import torch
        with self.watched(), torch.no_grad():
            caught = self._caught(self._tensor(inputs), at, some=some)
            return {place: array(value) for place, value in caught.items()}

    def pull(self, inputs, at, seeds, to=None, rectify=None):
        import torch
        with self.watched(), torch.enable_grad():
            leaf = self._tensor(inputs).requires_grad_(to is None)
            caught = self._caught(leaf, at, to)
            found = {place: array(value) for place, value in caught.items()}
            given = {place: g for place, g in seeds(found).items() if caught[place].requires_grad}
            start = leaf if to is None else caught[to]
            if not given:
                return found, np.zeros_like(array(start))
            outputs = [caught[place] for place in given]
            at_them = [torch.from_numpy(np.ascontiguousarray(g)).to(o) for g, o in zip(given.values(), outputs)]
            hooks = [] if rectify is None else hook_torch(outputs, rectify)
            try:
                g, = torch.autograd.grad(outputs, [start], at_them, allow_unused=True)
            finally:
                for hook in hooks:
                    hook.remove()
        return found, np.zeros_like(array(start)) if g is None else array(g)

    def _kept(self, value):
        return value.clone(), value   # a layer behind may write into the value

    def _cut(self, value):
        leaf = value.detach().clone().requires_grad_()
        return leaf, leaf.clone()

    def _scores(self, output):
        scores = getattr(output, "logits", output)
        scores = scores[0] if isinstance(scores, tuple) else scores
        if not hasattr(scores, "shape") or len(scores.shape) != 2:
            raise ValueError(f"{self.name} gives no scores of classes (N, classes): name a layer")
        return scores

    @contextmanager
    def watched(self):
        modules, parameters = [(m, m.training) for m in self.model.modules()], list(self.model.parameters())
        wanted = [p.requires_grad for p in parameters]
        try:
            self.model.eval()
            for p in parameters:
                p.requires_grad_(False)
            yield
        finally:
            for module, mode in modules:
                module.training = mode
            for p, was in zip(parameters, wanted):
                p.requires_grad_(was)


class Enough(Exception):
    """All layers that were asked for have answered."""


def is_answer(output: Any) -> bool:
    return hasattr(output, "shape") and len(output.shape) > 1


def array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy()


def subject(model: Any) -> Subject:
    """`model`, of pyops or torch, as what can be looked into. TypeError for anything else."""
    if isinstance(model, Subject):
        return model
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        return TorchSubject(model)
    if not callable(getattr(model, "named_modules", None)):
        raise TypeError(f"inspect: the model must be a module of pyops or torch, got {type(model).__name__}")
    return Subject(model)


def checked(what: str, image: Any, batch: bool = False) -> np.ndarray:
    """An image (C, H, W), or with batch (N, C, H, W), as networks take it: finite floats. TypeError,
    ValueError otherwise."""
    image = np.asarray(image.data if isinstance(image, Tensor) else image)
    form = "(N, C, H, W)" if batch else "(C, H, W)"
    if image.dtype.kind != "f":
        raise TypeError(f"{what}: the image must be floats {form}, scaled as the network was trained, got "
                        f"{image.dtype}")
    if image.ndim != 3 + batch or 0 in image.shape:
        raise ValueError(f"{what}: the image must be {form}, got {image.shape}")
    if not np.isfinite(image).all():
        raise ValueError(f"{what}: the image holds NaN or infinity")
    return image
