"""grid_sample where its cases do not reach: positions that are not finite or far away, and the two
ways that kernels go by the number of channels."""
import numpy as np
import pytest

from pyops import functional as F
from pyops.core.backends import use_backend
from pyops.core.tensor import Tensor

MODES, AROUND = ("nearest", "bilinear", "bicubic"), ("zeros", "border", "reflection")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("around", AROUND)
def test_positions_that_are_not_finite_or_far_away(mode, around, backend):
    if "cuda" in backend:
        pytest.skip("grid_sample has no CUDA kernel")
    x = np.arange(1, 13, dtype=np.float32).reshape(1, 1, 3, 4)
    grid = np.zeros((1, 5, 1, 2), np.float32)
    grid[0, :, 0, 0] = np.nan, np.inf, -np.inf, 3e38, -3e38
    with use_backend(backend):
        y = F.grid_sample(x, grid, mode, around, align_corners=False)[0, 0, :, 0]
        _, dgrid = _gradients(x, grid, mode, around)
    assert np.isnan(y[0])
    if around == "zeros":
        assert np.array_equal(y[1:], np.zeros(4)) and np.array_equal(dgrid[0, 1:, 0, 0], np.zeros(4))
    elif around == "border":   # the middle row, 5 to 8, at its ends
        np.testing.assert_allclose(y[1:], (8, 5, 8, 5), rtol=1e-6)


def _gradients(x, grid, mode, around):
    tensors = Tensor(x, requires_grad=True), Tensor(grid, requires_grad=True)
    F.grid_sample(*tensors, mode, around, align_corners=False).sum().backward()
    return [t.grad for t in tensors]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("around", AROUND)
def test_a_channel_has_the_same_bits_among_few_and_many(mode, around, backend):
    if "cuda" in backend:
        pytest.skip("grid_sample has no CUDA kernel")
    r = np.random.default_rng(0)
    x = r.standard_normal((2, 19, 6, 7)).astype(np.float32)
    grid = r.standard_normal((2, 9, 5, 2)).astype(np.float32)
    with use_backend(backend):
        whole = F.grid_sample(x, grid, mode, around, align_corners=True)
        few = F.grid_sample(np.ascontiguousarray(x[:, 3:6]), grid, mode, around, align_corners=True)
    assert np.array_equal(whole[:, 3:6], few)


def test_second_derivatives_by_the_image():
    torch = pytest.importorskip("torch")
    r = np.random.default_rng(1)
    x, grid = r.standard_normal((1, 2, 4, 5)), r.uniform(-1, 1, (1, 3, 3, 2))
    ours, theirs = Tensor(x, requires_grad=True), torch.from_numpy(x).requires_grad_()
    y = F.grid_sample(ours, grid, align_corners=False)
    (y * y).sum().backward(create_graph=True)
    (ours.grad * ours.grad).sum().backward()
    z = torch.nn.functional.grid_sample(theirs, torch.from_numpy(grid), align_corners=False)
    first, = torch.autograd.grad((z * z).sum(), theirs)
    # y = S x, so that the gradient is 2 S'S x, and that of its square 8 (S'S)^2 x
    z = torch.nn.functional.grid_sample(first, torch.from_numpy(grid), align_corners=False)
    second, = torch.autograd.grad((torch.nn.functional.grid_sample(theirs, torch.from_numpy(grid),
                                                                   align_corners=False) * z).sum(), theirs)
    np.testing.assert_allclose(ours.grad.data, (first + 4 * second).detach().numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("aligned", [False, True])
def test_roi_align_beside_onnx(ratio, aligned):
    """An independent implementation: onnx's own."""
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator
    helper, r = onnx.helper, np.random.default_rng(3)
    x = r.standard_normal((2, 3, 9, 11)).astype(np.float32)
    low = r.uniform(0, 5, (6, 2))
    boxes = np.concatenate([low, low + r.uniform(0.5, 9, (6, 2))], 1).astype(np.float32)
    of = r.integers(0, 2, 6)
    node = helper.make_node("RoiAlign", ["x", "b", "i"], ["y"], output_height=3, output_width=2, spatial_scale=0.7,
                            sampling_ratio=ratio,
                            coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel")
    kinds = [("x", 1, x), ("b", 1, boxes), ("i", 7, of)]
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info(n, t, v.shape) for n, t, v in kinds],
                              [helper.make_tensor_value_info("y", 1, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)])
    want, = ReferenceEvaluator(model).run(None, {n: v for n, _, v in kinds})
    got = F.roi_align(x, np.concatenate([of[:, None].astype(np.float32), boxes], 1), (3, 2), 0.7, ratio, aligned)
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5)
