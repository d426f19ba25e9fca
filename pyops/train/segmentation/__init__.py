"""Segmentation: data with masks, augmentation of both, measures, and the training of networks that
label pixels."""
from . import augment
from .dataset import MaskDataset, MaskSample, read_folder, read_image, read_mask
from .measures import PixelConfusion, boundary_f
from .pictures import draw_sheet
from .scenes import DigitMasks
from .trainer import MeasuredSegmenter, SegmentationEpoch, Segmenter, measure_segmenter

__all__ = ["DigitMasks", "MaskDataset", "MaskSample", "MeasuredSegmenter", "PixelConfusion", "SegmentationEpoch",
           "Segmenter", "augment", "boundary_f", "draw_sheet", "measure_segmenter", "read_folder", "read_image",
           "read_mask"]
