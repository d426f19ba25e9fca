"""What detectors of all families share: results, images, boxes as numbers that a network learns,
anchors, matching and sampling.

Boxes are (x1, y1, x2, y2) in pixels, float32, the corner of the first pixel at (0, 0); labels are
whole numbers from 0.
"""
from .kmeans import kmeans_anchors
from .results import Detections

__all__ = ["Detections", "kmeans_anchors"]
