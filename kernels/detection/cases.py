"""Cases of the rows of pyops/ops/places.py that take boxes, and calls that they refuse."""
import numpy as np

from ...core.cases import A, Array, I, bad, case

# Corners (x1, y1, x2, y2) in pairs that overlap by 0.6, 0.5 and not at all, the second of a pair with the
# better score; and two boxes of no area.
PAIRS = np.array([[0, 0, 4, 4], [1, 0, 5, 4], [10, 0, 13, 3], [11, 0, 14, 3], [20, 0, 21, 1], [30, 0, 31, 1],
                  [2, 2, 2, 9], [2, 2, 2, 9]], np.float32)
SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.9, 0.9], np.float32)


class Grid(Array):
    """Corners on multiples of a quarter, which no type rounds, as rows (sample of two, x1, y1, x2, y2)."""

    def make(self, dtype, rng):
        k = self.shape[0]
        low = rng.integers(-12, 32, (k, 2)) / 4
        return np.concatenate([rng.integers(0, 2, (k, 1)), low, low + rng.integers(0, 36, (k, 2)) / 4], 1).astype(dtype)


def _grid(k):
    return Grid((k, 5), grad=False)


class Boxes(Array):
    """(..., 4) corners, the second greater, so near each other that many overlap."""

    def make(self, dtype, rng):
        low = rng.uniform(0, 8, (*self.shape[:-1], 2))
        return np.concatenate([low, low + rng.uniform(2, 6, low.shape)], -1).astype(dtype)


class Given(Array):
    """These numbers, in the case's type."""

    def __init__(self, numbers):
        super().__init__(numbers.shape, grad=False)
        self.numbers = numbers

    def make(self, dtype, rng):
        return self.numbers.astype(dtype)


class Far(Boxes):
    """Boxes that those of Boxes do not reach."""

    def make(self, dtype, rng):
        return (super().make(np.float64, rng) + 16).astype(dtype)


ENDLESS = np.array([[0, 0, np.inf, 3], [np.nan, 0, 2, 2], [-np.inf, -np.inf, 4, 4], [3, 3, 1, 1]], np.float32)


class Steps(Array):
    """Scores of which many are equal: multiples of an eighth in [0, 1]."""

    def make(self, dtype, rng):
        return (rng.integers(0, 9, self.shape) / 8).astype(dtype)


def _scored(n, k, c, own=False, scores=None):
    return Boxes((n, k, c, 4) if own else (n, k, 4), grad=False), scores or A(n, k, c, values="unit", grad=False)


def many(why, *args, **how):
    return case(why, "multiclass_nms", *args, gradient=False, torch=None, **how)


UNLIKELY = np.array([[[0.5, np.nan], [-np.inf, np.inf], [0.25, 0.25]]], np.float32)


class Regions(Array):
    """(k, 5): a sample of two, and corners of which the second is greater, some outside of the image."""

    def make(self, dtype, rng):
        k = self.shape[0]
        low = rng.uniform(-3, 8, (k, 2))
        return np.concatenate([rng.integers(0, 2, (k, 1)), low, low + rng.uniform(0.1, 9, (k, 2))], 1).astype(dtype)


def _regions(k):
    return Regions((k, 5), grad=False)


def _pyramid(k, levels, *maps, **how):
    return case(f"{k}_regions_{len(maps)}_levels", "pyramid_roi_align", [A(*x) for x in maps], _regions(k),
                np.array(levels), how.pop("size", (3, 2)), [0.5**i for i in range(len(maps))], torch=None, **how)


CASES = {
    "pyramid_roi_align": [
        _pyramid(7, [0, 1, 2, 2, 0, 5, -1], (2, 5, 9, 11), (2, 5, 5, 6), (2, 5, 3, 3), sampling_ratio=2),
        _pyramid(5, [0, 1, 1, 0, 1], (2, 19, 9, 11), (2, 19, 5, 6), aligned=True),
        _pyramid(3, [0, 0, 0], (2, 3, 9, 11), size=2),
        _pyramid(0, np.zeros(0, np.int64), (2, 3, 9, 11), (2, 3, 5, 6)),
        case("many_samples", "pyramid_roi_align", [A(2, 5, 9, 11)], _regions(3), np.array([0, 0, 0]), (1, 2), [1.0], 65, torch=None),
    ],
    "roi_align": [
        *(case(f"ratio{ratio}{'_aligned' * aligned}_{scale}", "roi_align", A(2, 5, 9, 11), _regions(6), (3, 2), scale, ratio, aligned, torch=None)
          for ratio in (-1, 1, 2) for aligned in (False, True) for scale in (1.0, 0.5)),
        case("many_channels", "roi_align", A(2, 19, 6, 7), _regions(3), 2, torch=None),
        case("one_sample_a_cell", "roi_align", A(2, 3, 30, 40), Regions((4, 5), grad=False), 2, 4.0, 1, torch=None),
        case("samples_of_one_pixel", "roi_align", A(2, 3, 1, 1), _regions(4), 2, torch=None),
        case("turned_over", "roi_align", A(2, 18, 9, 11), Given(np.array([[0, 8, 7, 2, 1.5], [1, 3, 9, 8, 2]])), 3, 1.0,
             2, True, torch=None),
        case("maps_covered_often", "roi_align", A(2, 37, 5, 6), _regions(40), (2, 5), torch=None),
        case("large_maps", "roi_align", A(2, 17, 40, 60), _regions(3), (2, 3), torch=None),
        case("no_regions", "roi_align", A(2, 3, 6, 7), A(0, 5, grad=False), 2, torch=None),
        case("listed", "roi_align", A(2, 3, 6, 7),
             [A(1, 4, values="positive", scale=3.0, grad=False), A(2, 4, values="positive", scale=3.0, grad=False)], 2, torch=None, gradient=False),
    ],
    "roi_pool": [
        *(case(f"scale{scale}", "roi_pool", A(2, 5, 9, 11, values="distinct"), _grid(7), (3, 2), scale, torch=None)
          for scale in (1.0, 0.5, 2.0)),
        case("maps_covered_often", "roi_pool", A(2, 37, 5, 6, values="distinct"), _grid(40), (2, 5), torch=None),
        case("large_maps", "roi_pool", A(2, 17, 40, 60, values="distinct"), _grid(3), 7, torch=None),
        case("equal_pixels", "roi_pool", Steps((2, 18, 9, 11), grad=False), _grid(8), 3, torch=None, gradient=False),
        case("cells_of_many_pixels", "roi_pool", A(1, 18, 40, 60, values="distinct"),
             Given(np.array([[0, 0, 0, 59, 39], [0, 3, 5, 44, 26], [0, 50, 0, 59, 39]])), (2, 3), torch=None),
        case("not_a_number", "roi_pool", Given(np.where(np.arange(2772) % 23 == 0, np.nan, np.arange(2772.0) % 31)
                                               .reshape(2, 18, 7, 11)), _grid(8), 3, torch=None, gradient=False),
        case("listed", "roi_pool", A(2, 3, 6, 7, values="distinct"), [Given(PAIRS[:1]), Given(PAIRS[1:3])], 2, torch=None,
             gradient=False),
        case("no_regions", "roi_pool", A(2, 3, 6, 7), A(0, 5, grad=False), 2, torch=None),
    ],
    "ps_roi_align": [
        *(case(f"ratio{ratio}_{scale}", "ps_roi_align", A(2, 12, 9, 11), _regions(6), (3, 2), scale, ratio, torch=None)
          for ratio in (-1, 1, 2) for scale in (1.0, 0.5)),
        case("no_regions", "ps_roi_align", A(2, 8, 6, 7), A(0, 5, grad=False), 2, torch=None),
    ],
    "ps_roi_pool": [
        *(case(f"scale{scale}", "ps_roi_pool", A(2, 12, 9, 11), _grid(7), (3, 2), scale, torch=None)
          for scale in (1.0, 0.5, 2.0)),
        case("no_regions", "ps_roi_pool", A(2, 8, 6, 7), A(0, 5, grad=False), 2, torch=None),
    ],
    "box_overlap": [
        *(case(why, call, Boxes((*lead, 7, 4)), Boxes((*lead, 21, 4)), torch=None, batch=len(lead) == 1, batched=(0, 1),
               exact=call != "complete_box_iou")
          for call in ("box_iou", "generalized_box_iou", "distance_box_iou", "complete_box_iou")
          for why, lead in (("", ()), ("samples", (2,)), ("two_axes", (2, 3)))),
        *(case(f"{reduction}{eps:g}", f"{kind}_box_iou_loss", Boxes((19, 4)), Boxes((19, 4)), torch=None,
               reduction=reduction, eps=eps, exact=kind != "complete")
          for kind in ("generalized", "distance", "complete")
          for reduction, eps in (("none", 1e-7), ("mean", 1e-7), ("sum", 0.5))),
        case("axes", "distance_box_iou_loss", Boxes((2, 3, 4)), Boxes((2, 3, 4)), torch=None),
        case("one_pair", "generalized_box_iou", Boxes((1, 4)), Boxes((1, 4)), torch=None),
        case("one_and_many", "generalized_box_iou", Boxes((3, 1, 4)), Boxes((40, 4)), torch=None),
        case("corner_and_size", "box_iou", A(5, 4, values="positive"), A(3, 4, values="positive"), "xywh", torch=None),
        case("apart", "generalized_box_iou", Boxes((5, 4)), Far((6, 4)), torch=None),
        case("same", "complete_box_iou", Given(PAIRS), Given(PAIRS), torch=None, gradient=False),
        case("not_finite", "distance_box_iou", Given(ENDLESS), Given(PAIRS), torch=None, gradient=False),
        *(case(f"none_{call}", call, A(0, 4), Boxes((3, 4)), torch=None)
          for call in ("box_iou", "generalized_box_iou", "distance_box_iou", "complete_box_iou")),
        case("none_of_others", "box_iou", Boxes((3, 4)), A(0, 4), torch=None),
        case("mean_of_none", "distance_box_iou_loss", A(0, 4), A(0, 4), reduction="mean", torch=None),
    ],
    "multiclass_nms": [
        *(many(f"{kind}{'_own' * own}{'_agnostic' * agnostic}", *_scored(2, 37, 3, own), 0.4, 0.2, 20, kind=kind,
               class_agnostic=agnostic, batch=True, batched=(0, 1))
          for kind in ("greedy", "diou", "soft_linear", "soft_gaussian") for own in (False, True)
          for agnostic in (False, True)),
        *(many(f"{kind}_bounds", *_scored(2, 37, 3), 0.4, 0.2, 20, candidates=9, max_per_class=3, kind=kind)
          for kind in ("greedy", "soft_linear")),
        *(many(f"{kind}_equal_scores", *_scored(1, 50, 4, scores=Steps((1, 50, 4), grad=False)), 0.5, kind=kind)
          for kind in ("greedy", "diou")),
        many("all_pairs", *_scored(1, 400, 3), 1.0, -np.inf, 1300),
        many("one_class", *_scored(3, 300, 1), 0.3, 0.5, 300),
        many("more_scores_than_a_task_has", *_scored(1, 300, 81), 0.5, 0.9, 100),
        many("narrow_gaussian", *_scored(1, 60, 1), 0.5, 0.01, 60, kind="soft_gaussian", sigma=0.05),
        *(case(f"soft_{method}", "soft_nms", Boxes((40, 4), grad=False), A(40, values="unit", grad=False), 0.2,
               score_threshold=0.1, method=method, gradient=False, torch=None) for method in ("linear", "gaussian")),
        case("soft_none", "soft_nms", A(0, 4), A(0), gradient=False, torch=None),
        many("room_for_more", Given(PAIRS[None]), Given(SCORES[None, :, None]), 0.55, 0.0, 12),
        many("pairs_at_half", Given(PAIRS[None]), Given(SCORES[None, :, None]), 0.5, 0.0, 8),
        many("threshold_is_left_out", Given(PAIRS[None]), Given(SCORES[None, :, None]), 1.0, 0.5, 8),
        many("scores_not_finite", Given(PAIRS[None, :3]), Given(UNLIKELY), 0.99, -np.inf, 8),
        many("boxes_not_finite", Given(np.concatenate([PAIRS[:4], PAIRS[:4] * np.nan, PAIRS[:4, ::-1]])[None]),
             A(1, 12, 2, values="unit", grad=False), 0.1),
        many("no_boxes", A(2, 0, 4, grad=False), A(2, 0, 3, grad=False)),
        many("no_samples", A(0, 5, 4, grad=False), A(0, 5, 3, grad=False)),
    ],
    "batched_nms": [
        case("random", "batched_nms", Boxes((60, 4), grad=False), A(60, values="distinct"), I(60, high=3), 0.4,
             gradient=False, torch=None),
        case("equal_scores", "batched_nms", Boxes((60, 4), grad=False), Steps((60,), grad=False),
             I(60, low=-2, high=2, whole="int32"), 0.4, gradient=False, torch=None),
        case("one_group", "batched_nms", Given(PAIRS), Given(SCORES), np.zeros(8, np.int64), 0.5, gradient=False,
             torch=None),
        case("not_a_number", "batched_nms", Given(PAIRS[:3]), Given(np.array([np.nan, 1, -np.inf])),
             np.zeros(3, np.int64), 0.99, gradient=False, torch=None),
        case("no_boxes", "batched_nms", A(0, 4), A(0), I(0, high=1), 0.5, gradient=False, torch=None),
    ],
    "suppress": [
        case("random", "nms", A(40, 4, values="positive"), A(40, values="distinct"), 0.3, gradient=False,
             torch=None),
        case("pairs_above", "nms", PAIRS, SCORES, 0.55, gradient=False, torch=None),
        case("pairs_at_half", "nms", PAIRS, SCORES, 0.5, gradient=False, torch=None),
        case("pairs_below", "nms", PAIRS, SCORES, 0.4, gradient=False, torch=None),
        case("one", "nms", A(1, 4, values="positive"), A(1), 0.5, gradient=False, torch=None),
        case("equal_scores", "nms", PAIRS, np.zeros(8, np.float32), 0.2, gradient=False,
             torch=None),
        case("not_a_number", "nms", PAIRS[:3],
             np.array([np.nan, 1, -np.inf], np.float32), 0.99, gradient=False, torch=None),
        case("no_boxes", "nms", A(0, 4), A(0), 0.5, gradient=False, torch=None),
    ],
}

REFUSES = {
    **{name: [bad("boxes", name, A(2, 4, 6, 7), A(4, 4), 2, match="boxes \\(K, 5\\)"),
              bad("sample", name, A(2, 4, 6, 7), np.array([[2, 0, 0, 1, 1]], np.float32), 2, match="one of the 2 samples"),
              bad("endless", name, A(2, 4, 6, 7), np.array([[0, 0, 0, np.nan, 1]], np.float32), 2, match="finite"),
              bad("far", name, A(2, 4, 6, 7), np.array([[0, 0, 0, 3e9, 1]], np.float32), 2, match=match),
              bad("size", name, A(2, 4, 6, 7), np.zeros((1, 5), np.float32), 0, match="output_size must be"),
              bad("list", name, A(2, 4, 6, 7), [np.zeros((1, 4), np.float32)], 2, match="2 arrays"),
              *([bad("channels", name, A(2, 5, 6, 7), np.zeros((1, 5), np.float32), 2, match="a multiple of the 2 x 2")]
                if name.startswith("ps_") else [])]
       for name, match in (("roi_pool", "2\\^30 pixels"), ("ps_roi_pool", "2\\^30 pixels"),
                           ("ps_roi_align", "pixels along a cell"))},
    "box_overlap": [
        *(bad("three_numbers", call, A(5, 3), A(5, 4), match="boxes must be of shape")
          for call in ("box_iou", "generalized_box_iou", "distance_box_iou", "complete_box_iou", "distance_box_iou_loss")),
        bad("one_box", "box_iou", A(4), A(5, 4), match="takes boxes \\(..., N, 4\\)"),
        bad("samples", "box_iou", A(2, 5, 4), A(3, 5, 4), match="must broadcast"),
        bad("form", "box_iou", A(2, 4), A(3, 4), "xyxyxyxy", match="a form must be"),
        bad("number", "complete_box_iou_loss", A(2, 4), A(3, 4), match="of one shape"),
        bad("reduction", "complete_box_iou_loss", A(2, 4), A(2, 4), reduction="max", match="reduction must be"),
        bad("eps", "complete_box_iou", A(2, 4), A(2, 4), eps=-1.0, match="eps must be"),
    ],
    "pyramid_roi_align": [
        bad("scales", "pyramid_roi_align", [A(2, 3, 6, 7)], A(4, 5), np.zeros(4, np.int64), 2, [1.0, 0.5],
            match="as many spatial scales as maps"),
        bad("no_maps", "pyramid_roi_align", [], A(4, 5), np.zeros(4, np.int64), 2, [], match="as many spatial scales"),
        bad("channels", "pyramid_roi_align", [A(2, 3, 6, 7), A(2, 4, 3, 4)], A(4, 5), np.zeros(4, np.int64), 2, [1.0, 0.5],
            match="one N and C"),
        bad("boxes", "pyramid_roi_align", [A(2, 3, 6, 7)], A(4, 4), np.zeros(4, np.int64), 2, [1.0], match="boxes \\(K, 5\\)"),
        bad("levels", "pyramid_roi_align", [A(2, 3, 6, 7)], A(4, 5), np.zeros(3, np.int64), 2, [1.0], match="levels \\(K,\\)"),
        bad("sample", "pyramid_roi_align", [A(2, 3, 6, 7)], np.array([[2, 0, 0, 1, 1]], np.float32), np.zeros(1, np.int64), 2,
            [1.0], match="one of the 2 samples")],
    "roi_align": [bad("boxes", "roi_align", A(2, 3, 6, 7), A(4, 4), 2, match="boxes \\(K, 5\\)"),
                  bad("sample", "roi_align", A(2, 3, 6, 7), np.array([[2, 0, 0, 1, 1]], np.float32), 2, match="one of the 2 samples"),
                  bad("endless", "roi_align", A(2, 3, 6, 7), np.array([[0, 0, 0, np.inf, 1]], np.float32), 2, match="finite"),
                  bad("huge", "roi_align", A(2, 3, 6, 7), np.array([[0, 0, 0, 1e9, 1]], np.float32), 2, match="pixels along a cell"),
                  bad("size", "roi_align", A(2, 3, 6, 7), np.zeros((1, 5), np.float32), 0, match="output_size must be"),
                  bad("list", "roi_align", A(2, 3, 6, 7), [np.zeros((1, 4), np.float32)], 2, match="2 arrays")],
    "multiclass_nms": [
        bad("three_numbers", "multiclass_nms", A(1, 5, 3), A(1, 5, 2), match="boxes \\(N, K, 4\\)"),
        bad("one_sample", "multiclass_nms", A(5, 4), A(5, 2), match="boxes \\(N, K, 4\\)"),
        bad("other_boxes", "multiclass_nms", A(1, 5, 4), A(1, 4, 2), match="boxes \\(N, K, 4\\)"),
        bad("other_classes", "multiclass_nms", A(1, 5, 3, 4), A(1, 5, 2), match="boxes \\(N, K, 4\\)"),
        bad("no_classes", "multiclass_nms", A(1, 5, 4), A(1, 5, 0), match="at least one class"),
        bad("above_one", "multiclass_nms", A(1, 5, 4), A(1, 5, 2), 50, match="iou_threshold must be from 0 to 1"),
        bad("not_a_number", "multiclass_nms", A(1, 5, 4), A(1, 5, 2), 0.5, np.nan, match="score_threshold must be"),
        bad("soft_below_zero", "multiclass_nms", A(1, 5, 4), A(1, 5, 2), 0.5, -1.0, kind="soft_linear",
            match="not negative"),
        bad("no_room", "multiclass_nms", A(1, 5, 4), A(1, 5, 2), max_detections=0, match="max_detections must be"),
        bad("no_candidates", "multiclass_nms", A(1, 5, 4), A(1, 5, 2), candidates=0, match="candidates must be"),
        bad("soft_shapes", "soft_nms", A(5, 4), A(4), match="scores \\(n,\\)"),
        bad("soft_method", "soft_nms", A(5, 4), A(5), method="cubic", match="method must be"),
        bad("kind", "multiclass_nms", A(1, 5, 4), A(1, 5, 2), kind="soft", match="kind must be one of"),
        bad("sigma", "multiclass_nms", A(1, 5, 4), A(1, 5, 2), kind="soft_gaussian", sigma=0.0,
            match="sigma must be positive"),
    ],
    "batched_nms": [
        bad("groups", "batched_nms", A(5, 4), A(5), I(4, high=2), 0.5, match="idxs \\(n,\\)"),
        bad("threshold", "batched_nms", A(5, 4), A(5), I(5, high=2), 1.5, match="iou_threshold must be from 0 to 1")],
    "suppress": [bad("three_numbers", "nms", A(5, 3), A(5), 0.5, match="boxes \\(n, 4\\)"),
                 bad("scores", "nms", A(5, 4), A(4), 0.5, match="scores \\(n,\\)")],
}
