"""Whole graphs of dynamo where a run decides a length, torchvision's detectors among them.

Some functions of theirs look at numbers in Python: whether there are more boxes than suit one way to
suppress them, which regions a level has, how large a mask is to be. dynamo's graph would end there.
`install` has dynamo trace functions in their place that call operators with fake kernels
(detection.py), where it traces for this backend; what these compute is the same.

Images are resized and joined in a call of their own, before the graph, and sizes of what comes in are
symbols of the graph from the first call on: another size of image is another Program, and no other graph.
"""

from __future__ import annotations

import math
import sys
from types import FunctionType

import torch
from torch._dynamo.eval_frame import innermost_backend
from torch._dynamo.symbolic_convert import InstructionTranslator, tls
from torch._dynamo.variables.builder import VariableBuilder

from . import detection  # noqa: F401  whose operators are called below
from .backend import Freezing, pyops
from .open_sizes import without_thresholds
from .report import MEANT

_installed: list[str] = []


@torch.compiler.assume_constant_result
def for_pyops() -> bool:
    """Whether what dynamo traces is for this backend: substitutes hold for all of a process."""
    return of_pyops(InstructionTranslator.current_tx())


def of_pyops(translator) -> bool:
    backend = innermost_backend(translator.output.compiler_fn)
    backend = getattr(backend, "compiler_fn", backend)   # of what torch.compile makes of a name
    return backend is pyops or isinstance(backend, Freezing)


@torch.compiler.assume_constant_result
def may_break() -> bool:
    """Whether a call before the graph may end one: not where dynamo is to make one of everything."""
    translator = InstructionTranslator.current_tx()
    return not (getattr(translator, "one_graph", False) or getattr(translator, "error_on_graph_break", False))


def either(ours, theirs: FunctionType):
    """What dynamo is to trace in place of theirs."""
    # another function of the same code: theirs itself would be substituted again
    same = FunctionType(theirs.__code__, theirs.__globals__, theirs.__name__, theirs.__defaults__, theirs.__closure__)
    same.__kwdefaults__ = theirs.__kwdefaults__

    def chosen(*args, **kwargs):
        return ours(*args, **kwargs) if for_pyops() else same(*args, **kwargs)
    return chosen


def install() -> None:
    """Once torchvision's detectors are imported."""
    if _installed or "torchvision.models.detection.roi_heads" not in sys.modules:
        return
    from torchvision.models.detection import roi_heads
    from torchvision.ops import boxes as box_ops, poolers

    def batched_nms(boxes, scores, idxs, iou_threshold):
        return torch.ops.pyops.batched_nms(boxes.detach(), scores.detach(), idxs, iou_threshold)

    def _setup_scales(features, image_shapes, canonical_scale, canonical_level):
        if not image_shapes:
            raise ValueError("images list should not be empty")
        height = max([shape[0] for shape in image_shapes])
        scales = [power_of_two(x.shape[-2], height) for x in features]
        mapper = poolers.initLevelMapper(int(-math.log2(scales[0])), int(-math.log2(scales[-1])),
                                         canonical_scale=canonical_scale, canonical_level=canonical_level)
        return scales, mapper

    def _multiscale_roi_align(x_filtered, boxes, output_size, sampling_ratio, scales, mapper):
        if scales is None or mapper is None:
            raise ValueError("scales and mapper should not be None")
        rois = poolers._convert_to_roi_format(boxes)
        height, width = output_size
        if len(x_filtered) == 1:
            return torch.ops.torchvision.roi_align(x_filtered[0], rois, scales[0], height, width, sampling_ratio, False)
        levels = mapper(boxes)
        if not torch.is_grad_enabled():
            return torch.ops.pyops.pyramid_roi_align(x_filtered, rois, levels, height, width, scales, sampling_ratio)
        first = x_filtered[0]
        result = torch.zeros((len(rois), first.shape[1], height, width), dtype=first.dtype, device=first.device)
        for level, (features, scale) in enumerate(zip(x_filtered, scales)):
            at = torch.where(levels == level)[0]
            pooled = torch.ops.torchvision.roi_align(features, rois[at], scale, height, width, sampling_ratio, False)
            result[at] = pooled.to(result.dtype)
        return result

    def paste_masks_in_image(masks, boxes, img_shape, padding=1):
        height, width = img_shape
        return torch.ops.pyops.paste_masks(masks.detach(), boxes.detach(), height, width, padding)

    def heatmaps_to_keypoints(maps, rois):
        return torch.ops.pyops.keypoints_of_heatmaps(maps.detach(), rois.detach())

    for home, function in ((box_ops, batched_nms), (poolers, _setup_scales), (poolers, _multiscale_roi_align),
                           (roi_heads, paste_masks_in_image), (roi_heads, heatmaps_to_keypoints)):
        theirs = getattr(home, function.__name__)
        torch.compiler.substitute_in_graph(theirs, skip_signature_check=True)(either(function, theirs))
        _installed.append(function.__name__)
    patch_methods()
    patch_detectors()
    patch_convolutions()


def power_of_two(part: int, whole: int) -> float:
    """The one nearest to part / whole, by comparisons of whole numbers, which sizes that vary have as well."""
    exponent = 4
    while exponent > -16 and 2 * part * part * 4 ** (4 - exponent) < whole * whole * 4**4:
        exponent -= 1
    return 2.0**exponent


def patch_methods() -> None:
    """Methods cannot be substituted: these do what torchvision's do, but traced for this backend one does not
    ask whether there is any box, and the other does not keep the scales of the first image, upon which dynamo
    would trace everything again."""
    from torchvision.models.detection._utils import BoxCoder
    from torchvision.ops import poolers
    eager, pooled = BoxCoder.decode, poolers.MultiScaleRoIAlign.forward

    def forward(self, x, boxes, image_shapes):
        if not (torch.compiler.is_dynamo_compiling() and for_pyops()):
            return pooled(self, x, boxes, image_shapes)
        maps = poolers._filter_input(x, self.featmap_names)
        scales, mapper = self.scales, self.map_levels
        if scales is None or mapper is None:
            scales, mapper = poolers._setup_scales(maps, image_shapes, self.canonical_scale, self.canonical_level)
        return poolers._multiscale_roi_align(maps, boxes, self.output_size, self.sampling_ratio, scales, mapper)

    poolers.MultiScaleRoIAlign.forward = forward

    def decode(self, rel_codes, boxes):
        if not (torch.compiler.is_dynamo_compiling() and for_pyops()):
            return eager(self, rel_codes, boxes)
        found = self.decode_single(rel_codes, torch.cat(boxes, dim=0))
        return found.reshape(rel_codes.shape[0], rel_codes.shape[1] // 4, 4)

    BoxCoder.decode = decode
    _installed.extend(("BoxCoder.decode", "MultiScaleRoIAlign.forward"))


def patch_detectors() -> None:
    """A detector's images are resized and joined before its graph. What its forward is traced with
    instead are outlines, two-axis tensors without memory that have the sizes of the images."""
    from torchvision.models.detection import fcos, generalized_rcnn, retinanet, ssd
    from torchvision.models.detection.image_list import ImageList
    from torchvision.models.detection.transform import GeneralizedRCNNTransform as Transform
    transformed = Transform.forward

    def transform(self, images, targets=None):
        if not (torch.compiler.is_dynamo_compiling() and len(images) and images[0].dim() == 2):
            return transformed(self, images, targets)
        count = (len(images) - 1) // 2
        batch = images[-1]
        n, channels, high, side, wide, _ = batch.shape
        sizes = [(x.shape[0], x.shape[1]) for x in images[count:-1]]
        return ImageList(batch.reshape(n, channels, high * side, wide * side), sizes), targets

    def in_front_of(theirs):
        def forward(self, images, targets=None):
            if not (torch.compiler.is_dynamo_compiling() and for_pyops() and may_break()):
                return theirs(self, images, targets)
            if self.training or torch.is_grad_enabled() or type(self.transform) is not Transform:
                return theirs(self, images, targets)
            return theirs(self, prepared(self.transform, images))
        return forward

    Transform.forward = transform
    for detector in (generalized_rcnn.GeneralizedRCNN, retinanet.RetinaNet, fcos.FCOS, ssd.SSD):
        detector.forward = in_front_of(detector.forward)
        _installed.append(f"{detector.__name__}.forward")


@torch.compiler.disable(reason=MEANT)
def prepared(transform, images) -> list[torch.Tensor]:
    """Outlines of the images, outlines of them resized, and the batch. Their sizes are symbols to dynamo.

    The batch has its sides in pieces of as many pixels as they are divisible by: half of 32 h is 16 h, where
    half of a size that may be odd is a formula, longer with every layer."""
    batch, _ = transform(images)
    nothing = torch.zeros(1, dtype=torch.bool)
    outlines = [nothing.expand(int(h), int(w)) for h, w in (
        *(x.shape[-2:] for x in images), *batch.image_sizes)]
    for outline in outlines[:len(images)] if transform.fixed_size is not None else outlines:
        torch._dynamo.maybe_mark_dynamic(outline, (0, 1))
    n, channels, h, w = batch.tensors.shape
    side = transform.size_divisible if transform.fixed_size is None else 1
    pieces = batch.tensors.view(n, channels, h // side, side, w // side, side)
    if transform.fixed_size is None:
        torch._dynamo.maybe_mark_dynamic(pieces, (2, 4))
    return [*outlines, pieces]


def patch_convolutions() -> None:
    """torch's stand-in of a convolution chooses a kernel of torch's by the number of elements, which is a
    guard on its sizes. Of inference for this backend it does not: another size would be another graph."""
    from torch._subclasses import fake_impls
    kernels = fake_impls.op_implementations_dict

    def open_to_sizes(theirs):
        def convolution(mode, function, *args, **kwargs):
            x = kwargs.get("input", args[0] if args else None)
            translator = getattr(tls, "current_tx", None)
            if (translator is None or torch.is_grad_enabled() or not of_pyops(translator)
                    or not any(isinstance(n, torch.SymInt) for n in getattr(x, "shape", ()))):
                return theirs(mode, function, *args, **kwargs)
            with without_thresholds():
                return theirs(mode, function, *args, **kwargs)
        return convolution
    for op in (torch.ops.aten.convolution.default, torch.ops.aten._convolution.default,
               torch.ops.aten._convolution.deprecated):
        if op in kernels:
            kernels[op] = open_to_sizes(kernels[op])


def capture() -> None:
    """dynamo's graphs go on where a run decides a length, and, for this backend, past torchvision's
    functions that look at numbers.

    The two settings are the process's: torch.compile passes on no context of a backend that it finds
    by name."""
    torch._dynamo.config.capture_dynamic_output_shape_ops = True
    torch._dynamo.config.capture_scalar_outputs = True
    keep_numbers_of_modules()
    install()


def keep_numbers_of_modules() -> None:
    """Floats that modules hold, as a norm its epsilon, are constants of this backend's graphs also where
    dynamo is told that all is dynamic: it would make tensors of them, which torch.export does not take."""
    theirs = VariableBuilder.wrap_symfloat
    if theirs.__module__ == __name__:
        return

    def wrap_symfloat(self, value):
        of_module = self.source.guard_source.is_unspecialized_nn_module()
        if not (of_module and of_pyops(self.tx)):
            return theirs(self, value)
        with torch._dynamo.config.patch(specialize_float=True):
            return theirs(self, value)
    VariableBuilder.wrap_symfloat = wrap_symfloat
