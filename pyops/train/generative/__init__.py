"""Training of networks that make images."""
from .dataset import PictureDataset, picture_folder
from .diagnosis import diagnose_players
from .digits import digit_masks, digit_pictures, sheared, slant, slanted_digits, small_digits
from .explore import draw_interpolations, draw_nearest, draw_plane, interpolated
from .judge import Judge, digit_judge
from .measures import frechet_distance, memorised, nearest, precision_recall
from .pictures import draw_sheet
from .trainer import GenerativeEpoch, GenerativeTrainer

__all__ = ["GenerativeEpoch", "GenerativeTrainer", "Judge", "PictureDataset", "diagnose_players", "digit_judge",
           "digit_masks", "digit_pictures", "draw_interpolations", "draw_nearest", "draw_plane", "draw_sheet",
           "frechet_distance", "interpolated", "memorised", "nearest", "picture_folder", "precision_recall",
           "sheared", "slant", "slanted_digits", "small_digits"]
