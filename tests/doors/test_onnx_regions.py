"""Regions of images in ONNX files: RoiAlign with a known number of samples is a Program."""

import numpy as np
import pytest

from pyops.graph.program import Program

pytest.importorskip("onnx")
from onnx_files import FLOAT, LONG, file, floats, node, reference

import pyops.functional as F
import pyops.onnx as door

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")


def model(mode="avg", opset=16, **attrs):
    made = node("RoiAlign", "x r b", "y", mode=mode, output_height=3, output_width=2, spatial_scale=0.8, **attrs)
    return file([made], {"x": (FLOAT, (2, 3, 9, 7)), "r": (FLOAT, (6, 4)), "b": (LONG, (6,))},
                {"y": (FLOAT, None)}, opset=opset)


def regions():
    """Within, across the border, outside, and one whose corners are the wrong way round."""
    rng = np.random.default_rng(0)
    corners = rng.random((6, 2)) * 8 - 2
    found = np.concatenate([corners, corners + rng.random((6, 2)) * 8], 1)
    found[0], found[1] = [20, 20, 25, 25], [4, 4, 3, 3]
    return found.astype(np.float32), rng.integers(0, 2, 6)


@pytest.mark.parametrize("how", ["half_pixel", "output_half_pixel", ""])
@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("ratio", [1, 3])
def test_regions_of_a_program(ratio, mode, how):
    attrs = {"coordinate_transformation_mode": how} if how else {}
    made = model(mode, 16 if how else 10, sampling_ratio=ratio, **attrs)
    program, x, (rois, batches) = door.load(made), floats(2, 3, 9, 7), regions()
    assert isinstance(program, Program), program
    got = program(x, rois, batches)
    np.testing.assert_allclose(got, door.run(made, {"x": x, "r": rois, "b": batches})["y"], atol=1e-5)
    if how:  # the reference takes operator set 10 for half pixels, which came with 16
        np.testing.assert_allclose(got, reference(made, x, rois, batches), atol=1e-5)
    with pytest.raises(IndexError):
        program(x, rois, batches + 2)


def test_as_many_samples_as_a_region_is_wide():
    made = model()
    program, x, (rois, batches) = door.load(made), floats(2, 3, 9, 7), regions()
    assert isinstance(program, Program), program
    np.testing.assert_allclose(program(x, rois, batches), reference(made, x, rois, batches), atol=1e-5)


def test_the_greatest_of_as_many_samples_goes_node_by_node():
    loaded = door.load(model("max"))
    x, (rois, batches) = floats(2, 3, 9, 7), regions()
    assert isinstance(loaded, door.NodeByNode) and "RoiAlign" in loaded.left_out
    assert loaded(x, rois, batches).shape == (6, 3, 3, 2)


def test_the_greatest_pixels():
    made = file([node("MaxRoiPool", "x r", "y", pooled_shape=[3, 2], spatial_scale=0.5)],
                {"x": (FLOAT, (2, 3, 9, 7)), "r": (FLOAT, (6, 5))}, {"y": (FLOAT, None)}, opset=11)
    program, x, (rois, batches) = door.load(made), floats(2, 3, 9, 7), regions()
    assert isinstance(program, Program), program
    boxes = np.concatenate([batches[:, None].astype(np.float32), rois], 1)
    assert np.array_equal(program(x, boxes), F.roi_pool(x, boxes, (3, 2), 0.5))
