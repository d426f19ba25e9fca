"""Pooling of regions beside torchvision's roi_align in Python, ONNX Runtime, and what the definitions say of
one another."""
import inspect

import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops import Tensor

EPS = np.finfo(np.float64).eps


def regions(seed, k, samples, size, smallest=0.5):
    rng = np.random.default_rng(seed)
    low = rng.uniform(-2, size, (k, 2))
    return np.concatenate([rng.integers(0, samples, (k, 1)), low, low + rng.uniform(smallest, size, (k, 2))], 1)


@pytest.mark.parametrize("aligned", (False, True))
@pytest.mark.parametrize("ratio", (-1, 2))
def test_beside_torchvision(ratio, aligned):
    torch = pytest.importorskip("torch")
    module = pytest.importorskip("pyops.bench.torchvision_schemas").torchvision
    from torchvision.ops.roi_align import _roi_align
    assert module.ops is not None
    x, boxes = np.random.default_rng(1).standard_normal((2, 19, 13, 17)), regions(2, 11, 2, 7)
    boxes[:, 1:] = np.abs(boxes[:, 1:]) + 0.7   # outside of the map it goes on with the slope of its edge
    mine, theirs = Tensor(x, requires_grad=True), torch.from_numpy(x).requires_grad_()
    got = F.roi_align(mine, boxes, (3, 4), 0.75, ratio, aligned)
    want = inspect.unwrap(_roi_align)(theirs, torch.from_numpy(boxes), 0.75, 3, 4, ratio, aligned)   # not compiled
    np.testing.assert_allclose(got.data, want.detach().numpy(), rtol=0, atol=256 * EPS)
    weight = np.random.default_rng(3).standard_normal(got.shape)
    got.backward(weight)
    want.backward(torch.from_numpy(weight))
    np.testing.assert_allclose(mine.grad, theirs.grad.numpy(), rtol=0, atol=1024 * EPS)


def onnx_pool(x, boxes, scale, size):
    ort, onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx")
    helper = onnx.helper
    node = helper.make_node("MaxRoiPool", ["x", "r"], ["y"], pooled_shape=size, spatial_scale=scale)
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info(n, 1, None) for n in "xr"],
                              [helper.make_tensor_value_info("y", 1, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"x": x, "r": boxes})[0]


@pytest.mark.parametrize("aligned", (False, True))
@pytest.mark.parametrize("ratio", (0, 2))
def test_samples_beside_the_map_are_onnx_runtimes(ratio, aligned):
    """0 more than a pixel outside, as in torchvision's kernels too, whose Python does otherwise."""
    pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    from pyops.bench.detection_rows import onnx_node
    rng = np.random.default_rng(9)
    x, low = rng.standard_normal((1, 3, 9, 11)).astype(np.float32), rng.uniform(-12, 12, (200, 2))
    corners = np.concatenate([low, low + rng.uniform(0.2, 14, (200, 2))], 1).astype(np.float32)
    run = onnx_node("RoiAlign", {"x": x, "r": corners, "b": np.zeros(200, np.int64)}, 1, 16, output_height=3,
                    output_width=4, sampling_ratio=ratio, spatial_scale=1.0,
                    coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel")
    want = run()
    regions = np.concatenate([np.zeros((200, 1), np.float32), corners], 1)
    got = F.roi_align(x, regions, (3, 4), 1.0, ratio or -1, aligned)
    assert 0.2 < (want == 0).mean() < 0.8
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", ((2, 3), (7, 7)))
def test_the_greatest_pixels_are_onnx_runtimes(size):
    x = np.random.default_rng(4).uniform(0, 1, (2, 37, 13, 17)).astype(np.float32)
    boxes = regions(5, 30, 2, 12).astype(np.float32)
    boxes[:, 1:3] = np.maximum(boxes[:, 1:3], 0)
    assert np.array_equal(F.roi_pool(x, boxes, size, 0.5), onnx_pool(x, boxes, 0.5, size))


def test_cells_with_channels_of_their_own_are_those_of_all_channels():
    x, boxes = np.random.default_rng(6).standard_normal((2, 2 * 3 * 4, 13, 17)), regions(7, 9, 2, 12)
    whole = F.roi_align(x, boxes, (3, 4), 0.5, -1, True).reshape(9, 2, 3, 4, 3, 4)
    got = F.ps_roi_align(x, boxes, (3, 4), 0.5)
    np.testing.assert_allclose(got, np.einsum("kcijij->kcij", whole), atol=64 * EPS)


def test_cells_of_whole_pixels_have_their_mean():
    # R-FCN's own numbers: a region of 6 x 4 pixels in 3 x 2 cells, of which a column lies outside
    x = np.arange(2 * 6 * 8 * 8, dtype=np.float64).reshape(1, 12, 8, 8)
    y = F.ps_roi_pool(x, np.array([[0, -2, 1, 2, 7.0]]), (3, 2))
    for c in range(2):
        for i in range(3):
            assert y[0, c, i, 0] == 0
            assert y[0, c, i, 1] == x[0, c * 6 + i * 2 + 1, 1 + 2 * i:3 + 2 * i, 0:2].mean()


def test_a_pixel_far_away_in_a_gap_is_not_seen():
    # one sample for ten pixels: what lies between is read by none
    x = np.zeros((1, 1, 40, 40))
    x[:, :, ::2] = x[:, :, :, ::2] = np.nan
    x[:, :, [5, 15, 25, 35, 6, 16, 26, 36]] = x[:, :, :, [5, 15, 25, 35, 6, 16, 26, 36]] = np.nan
    for a in (5, 6, 15, 16):
        for b in (5, 6, 15, 16):
            x[0, 0, a, b] = 1
    boxes = np.repeat(np.array([[0, 0.5, 0.5, 20.5, 20.5]]), 80, 0)
    for some in (boxes[:1], boxes):   # read in place, and laid out
        assert np.array_equal(F.roi_align(x, some, 2, 1.0, 1), np.ones((len(some), 1, 2, 2)))


def test_in_a_program():
    x = np.random.default_rng(8).standard_normal((2, 8, 13, 17)).astype(np.float32)
    boxes = regions(9, 5, 2, 12).astype(np.float32)

    def model(x, boxes):
        return F.roi_align(x, boxes, 7, 0.5, 2), F.roi_pool(x, boxes, 7, 0.5), F.ps_roi_align(x, boxes, 2)

    program = pyops.compile(model, (x, boxes))
    for got, want in zip(program(x, boxes), model(x, boxes), strict=True):
        assert np.array_equal(got, want)
    boxes[0, 0] = 7
    assert np.isnan(program(x, boxes)[0][0]).all() and np.isfinite(program(x, boxes)[1][1:]).all()
