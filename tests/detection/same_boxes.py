"""Two answers of a detector beside each other, where rounding may exchange what is alike."""
import numpy as np

# nothing is left out or suppressed by a hair's breadth: all boxes come, with all their classes
EVERYTHING = {"score_threshold": 0.0, "iou_threshold": 1.0, "max_detections": 1000}


def same_detections(found, expected, atol=5e-3):
    """Every box of each answer has one in the other, with its label, its score and its corners."""
    boxes, scores, labels, count = (np.asarray(a) for a in expected)
    assert (found[3] == count).all() and count.min() > 0
    np.testing.assert_allclose(found[1], scores, rtol=1e-4, atol=1e-5)
    for i, n in enumerate(count):
        other = (found[2][i, :n, None] != labels[i, None, :n]) | (
            abs(found[1][i, :n, None] - scores[i, None, :n]) > 1e-4)
        apart = abs(found[0][i, :n, None] - boxes[i, None, :n]).max(-1) + 1000 * other
        assert apart.min(0).max() < atol and apart.min(1).max() < atol
