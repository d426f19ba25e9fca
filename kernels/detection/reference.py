"""Boxes and regions in NumPy: the definitions. Boxes are rows (x1, y1, x2, y2) with x1
<= x2 and y1 <= y2."""
import math

import numpy as np


def box_iou(a, b):
    """(n, m): area of the intersection over that of the union of every box of a (n, 4) with every
    one of b (m, 4); 0 where both are empty."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), -1)
    area_a, area_b = (np.prod(box[:, 2:] - box[:, :2], -1) for box in (a, b))
    union = area_a[:, None] + area_b[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def above(values, limit):
    """values > limit, as real numbers are: NumPy would round the limit to float32 where values are."""
    return np.asarray(values, np.float64) > limit


def nms(boxes, scores, threshold):
    """Indices of the boxes that stay, best score first: greedily, a box goes if its IoU with one
    that stays is above `threshold`."""
    order = np.argsort(-scores, kind="stable")
    overlap = box_iou(boxes, boxes)
    kept = []
    for i in order:
        if not above(overlap[i, kept], threshold).any():
            kept.append(i)
    return np.array(kept, np.int64)


def suppress(boxes, scores, *, most, iou, least, center):
    """Of every class of every sample the boxes that stay, as rows (sample, class, box), padded with 0
    to as many as there may be; and how many there are. Neubeck & Van Gool (2006).

    The best scores come first, the first of equal ones first, NaN last; those not above `least`
    (but for -inf, which all are) are left out. center: boxes are (x, y, width, height).
    """
    found = []
    for sample, box in enumerate(boxes):
        if center:
            box = np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], -1)
        box = np.concatenate([np.minimum(box[:, :2], box[:, 2:]), np.maximum(box[:, :2], box[:, 2:])], -1)
        for kind, score in enumerate(scores[sample]):
            order = np.argsort(-score, kind="stable")
            order = order if least == -np.inf else order[above(score[order], least)]
            kept = []
            for i in order:
                if len(kept) == most:
                    break
                if not kept or not above(box_iou(box[i:i + 1], box[kept]), iou).any():
                    kept.append(i)
            found += [(sample, kind, i) for i in kept]
    room = scores.shape[0] * scores.shape[1] * min(most, scores.shape[2])
    chosen = np.zeros((room, 3), np.int64)
    chosen[:len(found)] = np.array(found, np.int64).reshape(-1, 3)
    return chosen, np.array(len(found), np.int64)


def batched_nms(boxes, scores, groups, *, iou):
    """(indices (n,) of the boxes that stay, 0 behind as many as there are; how many), best score first,
    of equal ones the first, NaN last: one goes if box_iou with one that stays and is of its group is above
    `iou`."""
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        same = [j for j in kept if groups[j] == groups[i]]
        if not same or not above(box_iou(boxes[i:i + 1], boxes[same]), iou).any():
            kept.append(i)
    chosen = np.zeros(len(scores), np.int64)
    chosen[:len(kept)] = kept
    return chosen, np.array(len(kept), np.int64)


def box_diou(a, b):
    """(n, m): box_iou less the squared distance of the centres over the squared diagonal of the box
    around both; box_iou where that box is a point. Zheng et al. (2020)."""
    a, b = a[:, None], b[None]
    centre = ((a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2) ** 2
    around = (np.maximum(a[..., 2:], b[..., 2:]) - np.minimum(a[..., :2], b[..., :2])) ** 2
    far, wide = centre.sum(-1), around.sum(-1)
    return box_iou(a[:, 0], b[0]) - np.divide(far, wide, out=np.zeros_like(far), where=wide > 0)


def quotient(a, b):
    """a / b, 0 where b is 0."""
    with np.errstate(invalid="ignore"):
        return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape), b.dtype), where=b != 0)


def pairs(a, b):
    """Of boxes (..., 4): (sides of what they share, negative where they are apart; its area; that of
    what they are together; sides of the box around both; how far their centres are apart along
    each axis)."""
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.where((sides <= 0).any(-1), 0, np.prod(sides, -1))
    around = np.maximum(a[..., 2:], b[..., 2:]) - np.minimum(a[..., :2], b[..., :2])
    apart = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    area, other = (np.prod(box[..., 2:] - box[..., :2], -1) for box in (a, b))
    return sides, shared, area + other - shared, around, apart


def aspect(a):
    """The angle whose tangent is width / height, 0 of a point."""
    w, h = a[..., 2] - a[..., 0], a[..., 3] - a[..., 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((w == 0) & (h == 0), 0, np.arctan(w / h))


def box_overlap(a, b, *, kind, e, f, d):
    """(s, n, m): how much the boxes of a (s, n, 4) and b (s, m, 4) overlap: 0 IoU, 1 generalized
    (Rezatofighi et al., 2019), 2 distance and 3 complete IoU (Zheng et al., 2020). e is added to
    the union that IoU divides by, d to alpha's divisor, f to others; a quotient by 0 is 0."""
    a, b = a[:, :, None], b[:, None]
    _, shared, union, around, apart = pairs(a, b)
    iou = quotient(shared, union + e)
    if kind == 0:
        return iou
    if kind == 1:
        area = np.prod(around, -1)
        return iou - quotient(area - union, area + f)
    found = iou - quotient((apart ** 2).sum(-1), (around ** 2).sum(-1) + f)
    if kind == 2:
        return found
    v = 4 / np.pi ** 2 * (aspect(a) - aspect(b)) ** 2
    return found - quotient(v, 1 - iou + v + d) * v


def box_overlap_backward(g, a, b, *, kind, e, f, d):
    """Of g (s, n, m) the gradients to a and b. Where two ends are equal each has half; alpha of complete
    IoU is a constant."""
    return (_overlap_slopes(g, a[:, :, None], b[:, None], kind, e, f, d).sum(2),
            _overlap_slopes(g, b[:, None], a[:, :, None], kind, e, f, d).sum(1))


def _overlap_slopes(g, a, b, kind, e, f, d):
    """(s, n, m, 4): g times the slopes along a."""
    sides, shared, union, around, apart = pairs(a, b)
    touch = (sides > 0).all(-1)
    share = quotient(np.ones_like(union), union + e)
    iou = quotient(shared, union + e)
    by_shared, by_area = np.where(touch, share * (1 + iou), 0), -iou * share
    by_around, by_centre = np.zeros_like(around), np.zeros_like(around)
    if kind == 1:
        area = np.prod(around, -1)
        over = quotient(np.ones_like(area), area + f)
        by_shared, by_area = by_shared - np.where(touch, over, 0), by_area + over
        by_around = -((union + f) * over ** 2)[..., None] * around[..., ::-1]
    elif kind >= 2:
        over = quotient(np.ones_like(iou), (around ** 2).sum(-1) + f)
        by_around = (2 * (apart ** 2).sum(-1) * over ** 2)[..., None] * around
        by_centre = -apart * over[..., None]
    size = a[..., 2:] - a[..., :2]
    low, high = ((1 + np.sign(d)) / 2 for d in (a[..., :2] - b[..., :2], b[..., 2:] - a[..., 2:]))
    by_inside = by_shared[..., None] * np.where(touch[..., None], sides[..., ::-1], 0)
    by_length = by_area[..., None] * size[..., ::-1]
    to_low = -by_inside * low - by_around * (1 - low) - by_length + by_centre
    to_high = by_inside * high + by_around * (1 - high) + by_length + by_centre
    if kind == 3:
        turn = aspect(a) - aspect(b)
        v = 4 / np.pi ** 2 * turn ** 2
        inverse = quotient(np.ones_like(turn), (size ** 2).sum(-1))
        slope = -8 / np.pi ** 2 * quotient(v, 1 - iou + v + d) * turn * inverse
        by_size = slope[..., None] * size[..., ::-1] * np.array([1, -1])
        to_low, to_high = to_low - by_size, to_high + by_size
    return np.where(g[..., None] == 0, 0, np.concatenate([to_low, to_high], -1) * g[..., None])


def multiclass_nms(boxes, scores, *, iou, least, room, candidates, per_class, agnostic, kind, sigma):
    """(boxes, scores, labels, indices of boxes, count) of what stays in each sample, best first, `room` of them
    and zeros behind the count. boxes (n, k, 4) or (n, k, c, 4), scores (n, k, c). A pair of a box and
    a class is looked at if its score is above `least` and among the best `candidates` of its class.

    kind 0, greedy: the best goes to the results and takes away those of its class, or of all if
    agnostic, that overlap it by more than `iou`; 1: by box_diou. 2 and 3: it multiplies their scores
    by 1 - box_iou where that is above `iou`, or by exp(-box_iou^2 / sigma), and those not above `least`
    go. Neubeck & Van Gool (2006), Bodla et al. (2017).
    """
    (n, k, c), dtype = scores.shape, scores.dtype
    found, best = np.zeros((n, room, 4), boxes.dtype), np.zeros((n, room), dtype)
    labels, index, count = (np.zeros(s, np.int64) for s in ((n, room), (n, room), (n,)))
    boxes = np.broadcast_to(boxes if boxes.ndim == 4 else boxes[:, :, None], (n, k, c, 4)).reshape(n, k * c, 4)
    label = np.tile(np.arange(c), k)
    for s in range(n):
        box, score = boxes[s], scores[s].reshape(-1).copy()
        left = above(score, least)
        for kind_of in range(c):
            own = np.flatnonzero(left & (label == kind_of))
            left[own[np.argsort(-score[own], kind="stable")[candidates:]]] = False
        stayed = np.zeros(c, np.int64)
        while left.any() and count[s] < room:
            places = np.flatnonzero(left)
            i = places[np.argmax(score[places])]
            left[i] = False
            if stayed[label[i]] >= per_class:
                continue
            at = count[s]
            found[s, at], best[s, at], labels[s, at], index[s, at] = box[i], score[i], label[i], i // c
            count[s] += 1
            stayed[label[i]] += 1
            places = np.flatnonzero(left & ((label == label[i]) | agnostic))
            shared = (box_diou if kind == 1 else box_iou)(box[i:i + 1], box[places])[0]
            if kind < 2:
                left[places[above(shared, iou)]] = False
                continue
            shared = np.where(np.isnan(shared), 0, shared)
            lowered = np.exp(-shared ** 2 / sigma) if kind == 3 else np.where(above(shared, iou), 1 - shared, 1)
            score[places] *= lowered
            left[places] = above(score[places], least)
    return found, best, labels, index, count


def sample(image, y, x):
    """Bilinear value of each channel of image (C, H, W) at (y, x); zero more than one pixel
    outside. Corners, weights also for the adjoint."""
    h, w = image.shape[1:]
    if y < -1 or y > h or x < -1 or x > w:
        return np.zeros(image.shape[0], image.dtype), []
    y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
    fy, fx = y - top, x - left
    corners = [(top, left, (1 - fy) * (1 - fx)), (top, right, (1 - fy) * fx), (bottom, left, fy * (1 - fx)),
               (bottom, right, fy * fx)]
    return sum(image[:, r, c] * k for r, c, k in corners), corners


def region(roi, scale, aligned):
    """(batch, y1, x1, height, width) of a region in feature-map units."""
    half = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (v * scale - half for v in roi[1:])
    height, width = y2 - y1, x2 - x1
    return int(roi[0]), y1, x1, height if aligned else max(height, 1.0), width if aligned else max(width, 1.0)


def bins(roi, size, scale, ratio, aligned):
    """(batch, count, [(i, j, y, x)]): the sample points of every bin."""
    batch, y1, x1, height, width = region(roi, scale, aligned)
    rows, columns = (ratio if ratio > 0 else max(int(np.ceil(n / s)), 0)
                     for n, s in zip((height, width), size))
    points = [(i, j, y1 + (i + (r + 0.5) / rows) * height / size[0],
               x1 + (j + (c + 0.5) / columns) * width / size[1])
              for i in range(size[0]) for j in range(size[1]) for r in range(rows) for c in range(columns)]
    return batch, max(rows * columns, 1), points


def roi_align(x, rois, size, scale, ratio, aligned):
    """(k, C, *size): the mean of bilinear samples in each bin. x (N, C, H, W); rois (k, 5): batch,
    x1, y1, x2, y2. He et al. (2017)."""
    y = np.zeros((len(rois), x.shape[1], *size), x.dtype)
    for k, roi in enumerate(rois):
        batch, count, points = bins(roi, size, scale, ratio, aligned)
        for i, j, py, px in points:
            y[k, :, i, j] += sample(x[batch], py, px)[0] / count
    return y


def roi_align_backward(dy, rois, shape, scale, ratio, aligned):
    """The adjoint of roi_align: (N, C, H, W) = shape."""
    dx = np.zeros(shape, dy.dtype)
    for k, roi in enumerate(rois):
        batch, count, points = bins(roi, dy.shape[2:], scale, ratio, aligned)
        for i, j, py, px in points:
            for r, c, weight in sample(dx[batch], py, px)[1]:
                dx[batch, :, r, c] += dy[k, :, i, j] * weight / count
    return dx


def pixels(roi, size, scale, shape, ends):
    """(sample, cell i, cell j, slice of rows, slice of columns) of each cell of a region rounded to whole
    pixels, halves away from 0. ends: whether the pixel of the second corner belongs to it."""
    corners = [int(np.sign(v * scale) * np.floor(np.abs(v * scale) + 0.5)) for v in roi[1:]]
    lines: list = []
    for axis in (1, 0):
        low, length = corners[axis], max(corners[axis + 2] - corners[axis] + ends, 1)
        most, count = shape[3 - axis], size[1 - axis]
        ends_of = [(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]
        lines.append([slice(*(min(max(low + at, 0), most) for at in cell)) for cell in ends_of])
    for i, rows in enumerate(lines[0]):
        for j, columns in enumerate(lines[1]):
            yield int(roi[0]), i, j, rows, columns


def pyramid_roi_align(rois, levels, *maps, size, scales, ratio, aligned):
    """(k, C, *size): roi_align of each region from the map of its level, by that map's scale. Lin et
    al., "Feature Pyramid Networks" (2017)."""
    own = levels.clip(0, len(maps) - 1)
    y = np.zeros((len(rois), maps[0].shape[1], *size), maps[0].dtype)
    for level, (x, scale) in enumerate(zip(maps, scales)):
        y[own == level] = roi_align(x, rois[own == level], size, scale, ratio, aligned)
    return y


def pyramid_roi_align_backward(dy, rois, levels, shapes, scales, ratio, aligned):
    """The adjoint of pyramid_roi_align: an array of each of the shapes."""
    own = levels.clip(0, len(shapes) - 1)
    return tuple(roi_align_backward(dy[own == level], rois[own == level], shape, scale, ratio, aligned)
                 for level, (shape, scale) in enumerate(zip(shapes, scales)))


def roi_pool(x, rois, size, scale=1.0):
    """(k, C, *size): the maximum of each bin of whole pixels, 0 for an empty bin. Girshick,
    "Fast R-CNN" (2015)."""
    y = np.zeros((len(rois), x.shape[1], *size), x.dtype)
    for k, roi in enumerate(rois):
        for n, i, j, rows, columns in pixels(roi, size, scale, x.shape, 1):
            cell = x[n, :, rows, columns]
            if cell.size:
                y[k, :, i, j] = cell.max((1, 2))
    return y


def roi_pool_backward(g, x, rois, scale):
    """To the first of the greatest pixels of each bin: x's shape."""
    dx = np.zeros(x.shape, g.dtype)
    for k, roi in enumerate(rois):
        for n, i, j, rows, columns in pixels(roi, g.shape[2:], scale, x.shape, 1):
            cell = x[n, :, rows, columns]
            if cell.size:
                best = np.argmax(cell.reshape(len(cell), -1), 1)
                r, c = np.unravel_index(best, cell.shape[1:])
                np.add.at(dx, (n, np.arange(len(cell)), r + rows.start, c + columns.start), g[k, :, i, j])
    return dx


def of_cell(x, size, i, j):
    """(N, C, H, W): the channels of x (N, C oh ow, H, W) that cell (i, j) reads."""
    return x[:, i * size[1] + j::size[0] * size[1]]


def ps_roi_pool(x, rois, size, scale):
    """(k, C, *size) of x (N, C oh ow, H, W): the mean of each bin of whole pixels in channels of its own,
    0 for an empty bin. Dai et al., "R-FCN" (2016)."""
    y = np.zeros((len(rois), x.shape[1] // (size[0] * size[1]), *size), x.dtype)
    for k, roi in enumerate(rois):
        for n, i, j, rows, columns in pixels(roi, size, scale, x.shape, 0):
            cell = of_cell(x, size, i, j)[n, :, rows, columns]
            if cell.size:
                y[k, :, i, j] = cell.mean((1, 2))
    return y


def ps_roi_pool_backward(g, rois, shape, scale):
    """The adjoint of ps_roi_pool: (N, C oh ow, H, W) = shape."""
    dx = np.zeros(shape, g.dtype)
    for k, roi in enumerate(rois):
        for n, i, j, rows, columns in pixels(roi, g.shape[2:], scale, shape, 0):
            cell = of_cell(dx, g.shape[2:], i, j)[n, :, rows, columns]
            if cell.size:
                cell += g[k, :, i, j, None, None] / math.prod(cell.shape[1:])
    return dx


def ps_roi_align(x, rois, size, scale, ratio):
    """(k, C, *size) of x (N, C oh ow, H, W): aligned roi_align, a bin in channels of its own. Li et al.,
    "Light-Head R-CNN" (2017)."""
    y = np.zeros((len(rois), x.shape[1] // (size[0] * size[1]), *size), x.dtype)
    for k, roi in enumerate(rois):
        batch, count, points = bins(roi, size, scale, ratio, True)
        for i, j, py, px in points:
            y[k, :, i, j] += sample(of_cell(x, size, i, j)[batch], py, px)[0] / count
    return y


def ps_roi_align_backward(dy, rois, shape, scale, ratio):
    """The adjoint of ps_roi_align: (N, C oh ow, H, W) = shape."""
    dx = np.zeros(shape, dy.dtype)
    for k, roi in enumerate(rois):
        batch, count, points = bins(roi, dy.shape[2:], scale, ratio, True)
        for i, j, py, px in points:
            image = of_cell(dx, dy.shape[2:], i, j)[batch]
            for r, c, weight in sample(image, py, px)[1]:
                image[:, r, c] += dy[k, :, i, j] * weight / count
    return dx


def yolo_decode(x, anchors, stride):
    """(N, A H W, 5 + K) boxes (centre x, y, width, height in pixels), objectness and class
    probabilities of x (N, A (5 + K), H, W).

    The centre is (cell + sigmoid(t)) stride, the size anchor x e^t, all else a sigmoid. anchors (A,
    2): width, height in pixels. Redmon & Farhadi, "YOLOv3" (2018).
    """
    n, _, h, w = x.shape
    count = len(anchors)
    t = x.reshape(n, count, -1, h, w)
    out = 1 / (1 + np.exp(-t))
    out[:, :, 0] = (out[:, :, 0] + np.arange(w)) * stride
    out[:, :, 1] = (out[:, :, 1] + np.arange(h)[:, None]) * stride
    out[:, :, 2:4] = np.exp(t[:, :, 2:4]) * anchors[None, :, :, None, None]
    return out.transpose(0, 1, 3, 4, 2).reshape(n, count * h * w, -1)
