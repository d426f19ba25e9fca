"""torchvision's detectors through torch.compile(backend="pyops"): one graph of dynamo and one Program each, and
eager torchvision's detections."""
from collections import OrderedDict
from copy import deepcopy

import pytest

peers = pytest.importorskip("torchvision_peers")
torch, theirs = peers.torch, peers.theirs

import pyops.torch  # noqa: E402
from pyops.torch.capture import capture  # noqa: E402


class Pyramid(torch.nn.Module):
    """Two maps, of an eighth and a sixteenth of the image."""

    out_channels = 32

    def __init__(self, levels=2):
        super().__init__()
        self.stem = torch.nn.Sequential(*(torch.nn.Sequential(torch.nn.Conv2d(n, 32, 3, 2, 1), torch.nn.ReLU())
                                          for n in (3, 32, 32)))
        self.more = torch.nn.ModuleList(torch.nn.Conv2d(32, 32, 3, 2, 1) for _ in range(levels - 1))

    def forward(self, x):
        maps = [self.stem(x)]
        for layer in self.more:
            maps.append(layer(maps[-1]))
        return OrderedDict((str(i), m) for i, m in enumerate(maps))


def small(name):
    """A detector of few channels, every score of which is above its threshold."""
    torch.manual_seed(0)
    from torchvision.models.detection import anchor_utils, faster_rcnn, keypoint_rcnn, mask_rcnn
    from torchvision.ops import MultiScaleRoIAlign
    anchors = anchor_utils.AnchorGenerator(((16,), (32,)), ((0.5, 1.0),) * 2)
    size = {"min_size": 64, "max_size": 96}
    if name == "retinanet":
        return theirs.RetinaNet(Pyramid(), 4, anchor_generator=anchors, score_thresh=0.005, **size)
    if name == "fcos":
        anchors = anchor_utils.AnchorGenerator(((8,), (16,)), ((1.0,),) * 2)
        return theirs.FCOS(Pyramid(), 4, anchor_generator=anchors, score_thresh=0.01, **size)
    pools = {kind: MultiScaleRoIAlign(["0", "1"], n, 2) for kind, n in (("box", 3), ("mask", 4), ("keypoint", 4))}
    common = {**size, "rpn_anchor_generator": anchors, "box_roi_pool": pools["box"], "box_score_thresh": 0.05,
              "box_detections_per_img": 12, "rpn_post_nms_top_n_test": 40,
              "box_head": faster_rcnn.TwoMLPHead(32 * 9, 32), "box_predictor": faster_rcnn.FastRCNNPredictor(32, 4)}
    if name == "fasterrcnn":
        return theirs.FasterRCNN(Pyramid(), **common)
    if name == "maskrcnn":
        return theirs.MaskRCNN(Pyramid(), mask_roi_pool=pools["mask"], mask_head=mask_rcnn.MaskRCNNHeads(32, (16,), 1),
                               mask_predictor=mask_rcnn.MaskRCNNPredictor(16, 8, 4), **common)
    return theirs.KeypointRCNN(Pyramid(), keypoint_roi_pool=pools["keypoint"],
                               keypoint_head=keypoint_rcnn.KeypointRCNNHeads(32, (16,)),
                               keypoint_predictor=keypoint_rcnn.KeypointRCNNPredictor(16, 3), **common)


def varied(model):
    """Heads that say something else of each place."""
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
        if name.rpartition(".")[2] in ("cls_logits", "bbox_reg", "bbox_pred", "cls_score"):
            torch.nn.init.normal_(layer.weight, 0, 0.3)
            torch.nn.init.zeros_(layer.bias)
    return model.eval()


def image(height, width, seed=0):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def assert_same(got, want, pixels=1e-2, some=5):
    """Every detection of each answer has one in the other: near equals may change places."""
    assert set(got) == set(want) and got["boxes"].shape == want["boxes"].shape
    assert len(want["boxes"]) >= some
    torch.testing.assert_close(got["scores"], want["scores"], rtol=1e-4, atol=1e-4)
    if not len(want["boxes"]):
        return
    apart = (got["boxes"][:, None] - want["boxes"]).abs().amax(-1)
    apart += 1e3 * ((got["labels"][:, None] != want["labels"]) | (
        (got["scores"][:, None] - want["scores"]).abs() > 1e-4))
    assert apart.amin(0).max() <= pixels and apart.amin(1).max() <= pixels
    where = apart.argmin(0)   # of theirs, the place in ours
    for key in set(want) - {"boxes", "scores", "labels"}:
        ours, other = got[key][where], want[key]
        assert ours.shape == other.shape
        assert ((ours - other).abs() > 1e-2 * other.abs().max()).float().mean() < 0.02, key


def compiled_and_eager(model, *images, **options):
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=False, capture_scalar_outputs=False):
        torch._dynamo.reset()
        pyops.torch.compile_report(clear=True)
        capture()
        compiled = torch.compile(model, backend="pyops", **options)
        eager = deepcopy(model)   # which keeps what it finds of the first image
        with torch.no_grad():
            for one in images:
                yield from zip(compiled(one), eager(one), strict=True)


@pytest.mark.parametrize("name", ["retinanet", "fcos", "fasterrcnn", "maskrcnn", "keypointrcnn"])
def test_small_detectors_are_one_graph(name):
    model = varied(small(name))
    for got, want in compiled_and_eager(model, [image(64, 80)], [image(64, 80, 1)]):
        assert_same(got, want)
    outside = {"maskrcnn": {"pyops.paste_masks.default"}, "keypointrcnn": {"pyops.keypoints_of_heatmaps.default"}}
    reports = pyops.torch.compile_report()
    assert len(reports) == 1 and reports[0].kind == "program" and not reports.outside, reports
    allowed = outside.get(name, set())
    assert set(reports[-1].torch) == allowed or name == "keypointrcnn" and allowed <= set(reports[-1].torch)


def test_two_images():
    for got, want in compiled_and_eager(varied(small("fasterrcnn")), [image(64, 80), image(70, 64, 1)]):
        assert_same(got, want)


def test_other_backends_trace_torchvisions_own(monkeypatch):
    from torchvision.ops import boxes

    from pyops.torch import backend
    graphs = []

    class Recording(backend.Compiled):
        def __init__(self, graph, *rest):
            graphs.append(graph)
            super().__init__(graph, *rest)

    def other(graph, _):
        graphs.append(graph)
        return graph.forward
    monkeypatch.setattr(backend, "Compiled", Recording)
    corners = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 3], [5, 5, 9, 9]])
    given = corners, torch.tensor([0.5, 0.9, 0.7]), torch.tensor([0, 0, 1]), 0.5
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=False, capture_scalar_outputs=False):
        capture()
        for chosen, replaced in ((other, False), ("pyops", True), (other, False)):
            torch._dynamo.reset()
            graphs.clear()
            got = torch.compile(boxes.batched_nms, backend=chosen)(*given)
            assert torch.equal(got, torch.tensor([1, 2]))
            called = {str(node.target) for graph in graphs for node in graph.graph.nodes}
            assert any("pyops.batched_nms" in name for name in called) == replaced, called
            assert any("torchvision.nms" in name for name in called) != replaced, called


@pytest.mark.parametrize("strict", [False, True])
def test_exports_are_torchvisions_own(strict):
    """With dynamo and without: no backend of dynamo's is at work in either."""
    from torchvision.models.detection._utils import BoxCoder
    coder = BoxCoder((1.0, 1.0, 1.0, 1.0))

    class Decoded(torch.nn.Module):
        def forward(self, codes, boxes):
            return coder.decode(codes, [boxes])
    codes, boxes = image(5, 8)[0], image(5, 4)[0]
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=False, capture_scalar_outputs=False):
        capture()
        exported = torch.export.export(Decoded(), (codes, boxes), strict=strict).module()
    assert torch.equal(exported(codes, boxes), coder.decode(codes, [boxes]))


def test_scales_of_a_pyramid():
    from torchvision.ops import poolers

    from pyops.torch.capture import power_of_two
    for whole in (64, 100, 317, 800):
        for stride in (2, 4, 8, 16, 32, 64):
            part = -(-whole // stride)
            assert power_of_two(part, whole) == poolers._infer_scale(torch.zeros(1, 1, part, part), [whole, whole])


def test_no_detections():
    model = varied(small("retinanet"))
    model.score_thresh = 2.0
    for got, want in compiled_and_eager(model, [image(64, 80)]):
        assert_same(got, want, some=0)


SIZES = (64, 80), (80, 64), (64, 96), (70, 90), (60, 84), (64, 80)


def noted(function, name, calls):
    def of(*args):
        calls.append(name)
        return function(*args)
    return of


def assert_sizes_share_a_graph(model, monkeypatch, **options):
    """Of images of other sizes, one graph is traced and exported, whatever dynamo is told of sizes."""
    from pyops.torch import backend, open_sizes
    made = []
    for home, name in ((backend, "Compiled"), (backend, "recorded"), (open_sizes, "recorded")):
        monkeypatch.setattr(home, name, noted(getattr(home, name), f"{home.__name__}.{name}", made))
    for got, want in compiled_and_eager(model, *([image(*size)] for size in SIZES), **options):
        assert_same(got, want)
    assert made == ["pyops.torch.backend.Compiled", "pyops.torch.open_sizes.recorded"]
    reports = pyops.torch.compile_report()
    assert len(reports) == len(set(SIZES)) and not reports.outside, reports
    assert all(report.kind == "program" and not report.torch for report in reports)


def test_other_sizes_are_other_programs_of_one_graph(monkeypatch):
    assert_sizes_share_a_graph(varied(small("retinanet")), monkeypatch)


@pytest.mark.full
@pytest.mark.parametrize("name", ["fcos", "fasterrcnn"])
@pytest.mark.parametrize("dynamic", [False, None])
def test_other_sizes(name, dynamic, monkeypatch):
    assert_sizes_share_a_graph(varied(small(name)), monkeypatch, dynamic=dynamic)


def test_one_graph_with_what_comes_before_it():
    for got, want in compiled_and_eager(varied(small("retinanet")), [image(64, 80)], fullgraph=True):
        assert_same(got, want)


FULL = {"ssdlite320_mobilenet_v3_large": {}, "ssd300_vgg16": {}, "retinanet_resnet50_fpn": {"min_size": 96},
        "fcos_resnet50_fpn": {"min_size": 96}, "fasterrcnn_mobilenet_v3_large_320_fpn": {"min_size": 96},
        "fasterrcnn_resnet50_fpn": {"min_size": 96}, "maskrcnn_resnet50_fpn": {"min_size": 96},
        "keypointrcnn_resnet50_fpn": {"min_size": 96}}


@pytest.mark.full
@pytest.mark.parametrize("name", FULL)
def test_networks_are_one_graph(name):
    torch.manual_seed(0)
    model = getattr(theirs, name)(weights=None, weights_backbone=None, num_classes=4, **FULL[name])
    if name != "ssd300_vgg16":
        peers.as_if_trained(model, 0.02)
    for got, want in compiled_and_eager(model.eval(), [image(96, 128)]):
        assert got["boxes"].shape == want["boxes"].shape
    reports = pyops.torch.compile_report()
    assert reports[-1].kind == "program" and not reports.outside and len(reports) <= 1, reports
