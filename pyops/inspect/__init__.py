"""Looking inside a classification network: its filters, what it sees in an image, what a unit looks
for, and where the evidence for a class is.

Results are arrays; `sheet` draws them. `pyops inspect CHECKPOINT IMAGE` does all of it. Needs
Pillow for pictures (the extra `train`).
"""
from .activation import maximise
from .evidence import grad_cam, occlusion
from .maps import feature_maps, filters
from .sheet import heat, overlay, sheet

__all__ = ["feature_maps", "filters", "grad_cam", "heat", "maximise", "occlusion", "overlay", "sheet"]
