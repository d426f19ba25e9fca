"""Training of networks that make images."""
from .digits import PictureDataset, digit_pictures
from .pictures import draw_sheet
from .trainer import GenerativeEpoch, GenerativeTrainer

__all__ = ["GenerativeEpoch", "GenerativeTrainer", "PictureDataset", "digit_pictures", "draw_sheet"]
