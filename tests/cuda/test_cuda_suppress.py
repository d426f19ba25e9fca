"""F.nms' row on the emulator beyond what F.nms asks of it, as ONNX's NonMaxSuppression does: samples, classes,
either form of boxes, a limit and a least score."""
import numpy as np
import pytest

from pyops import use_backend
from pyops.cuda import emulator
from pyops.cuda.backend import EMULATED
from pyops.kernels.detection.reference import suppress
from pyops.ops.places import SUPPRESS

pytestmark = pytest.mark.skipif(bool(emulator.missing()), reason=emulator.missing() or "can run")


def given(samples, classes, n, center=False, seed=0):
    """Boxes on multiples of a quarter, which no type rounds, and scores of which many are equal, or NaN."""
    rng = np.random.default_rng(seed)
    first, other = rng.integers(0, 64, (2, samples, n, 2)) / 4
    boxes = np.concatenate([first, np.abs(first - other) if center else other], -1)
    scores = rng.integers(-8, 9, (samples, classes, n)) / 8
    scores[rng.random(scores.shape) < 0.05] = np.nan
    return boxes.astype(np.float32), scores.astype(np.float32)


@pytest.mark.parametrize("sizes, most, iou, least, center", [
    ((2, 3, 300), 300, 0.3, -np.inf, False), ((2, 3, 300), 7, 0.1, 0.25, True), ((1, 2, 40), 40, 0.5, 0.5, False),
    ((3, 1, 257), 1, 0.0, -np.inf, True), ((2, 2, 33), 33, 1.0, 2.0, False), ((2, 2, 33), 0, 0.5, 0.0, False),
    ((0, 2, 5), 5, 0.5, 0.0, False), ((2, 0, 5), 5, 0.5, 0.0, False), ((2, 2, 0), 5, 0.5, 0.0, False)])
def test_of_samples_and_classes(sizes, most, iou, least, center):
    boxes, scores = given(*sizes, center)
    how = dict(most=most, iou=iou, least=least, center=center)
    want = suppress(boxes, scores, **how)
    with use_backend("cuda-emulated"):
        got = SUPPRESS(boxes, scores, **how)
    for found, right in zip(got, want, strict=True):
        np.testing.assert_array_equal(found, right)
    assert len(got[0]) == sizes[0] * sizes[1] * min(most, sizes[2])


@pytest.mark.parametrize("real", ["f64", "f16", "bf16"])
def test_in_every_type(real):
    kernels = EMULATED.kernels(real)
    boxes, scores = given(2, 2, 60, center=True, seed=1)
    got, count = SUPPRESS.forward(kernels, boxes.astype(kernels.dtype), scores.astype(kernels.dtype), most=20, iou=0.25,
                                  least=0.1, center=True)
    want, number = suppress(boxes, scores, most=20, iou=0.25, least=0.1, center=True)
    np.testing.assert_array_equal(got, want)
    assert count == number
