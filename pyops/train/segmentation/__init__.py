"""Segmentation: data with masks, augmentation of both, measures, and the training of networks that
label pixels."""
from . import augment
from .coco import object_mask
from .dataset import MaskDataset, MaskSample, read_folder, read_image, read_mask
from .measures import PixelConfusion, boundary_f
from .photographs import PhotographMasks
from .pictures import draw_sheet
from .scenes import DigitMasks
from .trainer import MeasuredSegmenter, SegmentationEpoch, Segmenter, measure_segmenter

__all__ = ["DigitMasks", "MaskDataset", "MaskSample", "MeasuredSegmenter", "PhotographMasks", "PixelConfusion",
           "SegmentationEpoch", "Segmenter", "augment", "boundary_f", "draw_sheet", "measure_segmenter", "object_mask",
           "read_folder", "read_image", "read_mask"]
