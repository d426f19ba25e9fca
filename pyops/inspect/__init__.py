"""Looking inside a network: its filters, what its units look for, what it sees in an image, and
where the evidence for a class is.

Results are arrays; `sheet` and `figure` draw them. `pyops inspect` does all of it. Needs Pillow and
matplotlib for pictures (the extra `train`).
"""
from . import objective, pictures, projector
from .activation import maximise
from .atlas import Atlas, atlas
from .attention import AttentionMap, attention_maps, draw_attention
from .attribution import deconvnet, guided_backprop, integrated_gradients, of_pixels, saliency, smooth_grad
from .evidence import grad_cam, grad_cam_plus_plus, occlusion
from .figure import Panel, figure
from .grid import activation_grid, attribution_grid, mosaic
from .layout import layout
from .maps import feature_maps, filters
from .methods import METHODS, explanations
from .objective import Objective
from .projector import Embedded, embed
from .relevance import Relevance, relevance
from .robust import Robustness
from .sanity import Sanity, sanity
from .sheet import heat, overlay, sheet
from .visualise import Visualised, visualise

__all__ = [
    "Atlas", "AttentionMap", "Embedded", "METHODS", "Objective", "Panel", "Relevance", "Robustness",
    "Sanity", "Visualised", "activation_grid", "atlas", "attention_maps", "attribution_grid", "deconvnet",
    "draw_attention", "embed", "explanations", "feature_maps", "figure", "filters", "grad_cam",
    "grad_cam_plus_plus", "guided_backprop", "heat", "integrated_gradients", "layout", "maximise",
    "mosaic", "objective", "occlusion", "of_pixels", "overlay", "pictures", "projector", "relevance",
    "saliency", "sanity", "sheet", "smooth_grad", "visualise"]
