"""Detection: data with boxes, augmentation that moves them, measures, and the training of detectors
(docs/detection.md)."""
from . import augment
from .annotations import Annotations, Picture, Problem, checked_files
from .coco import CocoAP, coco_ap
from .confusion import detection_confusion
from .dataset import DetectionDataset, Sample
from .measured import MeasuredDetector, measure_detector
from .pictures import detection_gallery, draw_confusion, draw_curves, worst_images
from .readers import read, read_coco, read_csv, read_voc, read_yolo
from .sanity import sanity_check_detector
from .scenes import Scenes, SceneSettings, write_coco
from .trainer import DetectionEpoch, Detector
from .voc import voc_ap

__all__ = ["Annotations", "CocoAP", "DetectionDataset", "DetectionEpoch", "Detector", "MeasuredDetector", "Picture",
           "Problem", "Sample", "SceneSettings", "Scenes", "augment", "checked_files", "coco_ap",
           "detection_confusion", "detection_gallery", "draw_confusion", "draw_curves", "measure_detector", "read",
           "read_coco", "read_csv", "read_voc", "read_yolo", "sanity_check_detector", "voc_ap", "worst_images",
           "write_coco"]
