"""Detection: data with boxes, augmentation that moves them, measures, and the training of detectors."""
