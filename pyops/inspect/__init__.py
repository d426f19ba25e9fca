"""Looking inside a network: its filters, what its units look for, what it sees in an image, and
where the evidence for a class is.

Results are arrays; `sheet` and `figure` draw them. `pyops inspect` does all of it. Needs Pillow and
matplotlib for pictures (the extra `train`).
"""
from . import objective
from .activation import maximise
from .evidence import grad_cam, occlusion
from .figure import Panel, figure
from .maps import feature_maps, filters
from .objective import Objective
from .robust import Robustness
from .sheet import heat, overlay, sheet
from .visualise import Visualised, visualise

__all__ = [
    "Objective", "Panel", "Robustness", "Visualised", "feature_maps", "figure", "filters", "grad_cam", "heat",
    "maximise", "objective", "occlusion", "overlay", "sheet", "visualise"]
