"""Imports torchvision beside a CPU torch, for its models in Python.

torchvision's own C++ extension is built for one build of torch and does not load beside
another; without it the package fails at import, because it registers shape rules for operators
that nothing declared. Declaring them, without any implementation, is enough for its networks,
which use none of them.
"""
import torch

BOXES = "Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width"
IMAGE = "SymInt batch_size, SymInt channels, SymInt height, SymInt width"
BACKWARD = (f"Tensor grad, Tensor rois, {{}}float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
            f"{{}}{IMAGE}")
DEFORM = ", ".join(["Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias",
                    *(f"SymInt {name}_{axis}" for name in ("stride", "pad", "dilation") for axis in "hw"),
                    "SymInt groups, SymInt offset_groups, bool use_mask"])
SCHEMAS = [
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    f"roi_align({BOXES}, int sampling_ratio, bool aligned) -> Tensor",
    f"roi_pool({BOXES}) -> (Tensor, Tensor)",
    f"ps_roi_align({BOXES}, int sampling_ratio) -> (Tensor, Tensor)",
    f"ps_roi_pool({BOXES}) -> (Tensor, Tensor)",
    f"_roi_align_backward({BACKWARD.format('', '')}, int sampling_ratio, bool aligned) -> Tensor",
    f"_roi_pool_backward({BACKWARD.format('Tensor argmax, ', '')}) -> Tensor",
    f"_ps_roi_align_backward({BACKWARD.format('Tensor channel_mapping, ', 'int sampling_ratio, ')}) -> Tensor",
    f"_ps_roi_pool_backward({BACKWARD.format('Tensor channel_mapping, ', '')}) -> Tensor",
    f"deform_conv2d({DEFORM}) -> Tensor",
    f"_deform_conv2d_backward(Tensor grad, {DEFORM}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
]


def declare():
    """Returns the library, which must be kept: its declarations end with it."""
    library = torch.library.Library("torchvision", "DEF")
    for schema in SCHEMAS:
        try:
            library.define(schema)
        except RuntimeError as error:   # this torchvision's extension does load, and declared it
            if "multiple times" not in str(error) and "already" not in str(error):
                raise
    return library


library = declare()

import torchvision  # noqa: E402,F401
