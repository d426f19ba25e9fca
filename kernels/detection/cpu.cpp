// suppress: of the boxes of a class, best score first, one stays if its intersection over union with
// each that stays already is at most `iou` (Neubeck & Van Gool, 2006). A class of a sample is one
// task; each writes where its boxes would be if all before it had `most`, and they are moved
// together at the end. Corners, areas and quotients are in the type of the boxes, as ONNX Runtime
// and torchvision have them.
#include <algorithm>
#include <vector>
#include "overlap.h"

BEGIN_KERNELS
namespace {
// whichever corners are given; or its centre, width and height
Box box_of(const real* v, bool center) {
    if (center) return Box::of(v[0] - v[2] / 2, v[1] - v[3] / 2, v[0] + v[2] / 2, v[1] + v[3] / 2);
    return Box::of(std::min(v[0], v[2]), std::min(v[1], v[3]), std::max(v[0], v[2]), std::max(v[1], v[3]));
}

// The boxes that stay, in groups: behind the last are boxes of no extent.
class Kept {
    std::vector<Group> groups;
    i64 count = 0;

public:
    i64  size() const { return count; }
    void add(const Box& box) {
        const i64 lane = count++ % LANES;
        if (!lane) groups.push_back({});
        groups.back().put((int)lane, box);
    }
    // Whether one of them shares more than `most` of what it and the box are together
    bool cover(const Box& box, real most) const {
        V w, h;
        for (const Group& g : groups) {
            const M touch = touches(g, box, w, h);
            if (any_lane(touch) && any_lane(touch & (iou_of(g, box, w, h) > most))) return true;
        }
        return false;
    }
};

struct Score {
    real value;
    i64 place;
};
// Whether b is better than a: a greater score, or of equal ones that of the earlier box; NaN is least.
bool worse(const Score& a, const Score& b) {
    if (a.value < b.value || (a.value != a.value && b.value == b.value)) return true;
    const bool equal = a.value == b.value || (a.value != a.value && b.value != b.value);
    return equal && a.place > b.place;
}

// The scores above `least` as a heap, of which most are never taken. Copied, as what another thread
// writes meanwhile must not upset it.
std::vector<Score> heap_of(const real* scores, i64 n, double least) {
    std::vector<Score> heap;
    for (i64 i = 0; i < n; ++i) {
        const Score score{scores[i], i};
        if (least == -INFINITY || double(score.value) > least) heap.push_back(score);
    }
    std::make_heap(heap.begin(), heap.end(), worse);
    return heap;
}
}  // namespace

void suppress(In<real> boxes, In<real> scores, i64 most, double iou, double least, bool center,
              Out<i64> chosen, Out<i64> count) {
    const i64 classes = scores.dim(1), n = scores.dim(2), tasks = scores.dim(0) * classes,
              room = std::min(most, n);
    std::vector<i64> found((std::size_t)tasks);
    parallel_tasks(tasks, [&](i64 task) {
        Kept kept;
        const real* const own = boxes.data + task / classes * n * 4;
        i64* to = chosen.data + task * room * 3;
        std::vector<Score> heap = heap_of(scores.data + task * n, n, least);
        for (auto end = heap.end(); end != heap.begin() && kept.size() < room; --end) {
            std::pop_heap(heap.begin(), end, worse);
            const Score& score = *(end - 1);
            const Box box = box_of(own + score.place * 4, center);
            if (kept.cover(box, not_above(iou))) continue;
            kept.add(box);
            *to++ = task / classes, *to++ = task % classes, *to++ = score.place;
        }
        found[(std::size_t)task] = kept.size();
    });
    i64 all = 0;
    for (i64 task = 0; task < tasks; ++task) {
        const i64* const from = chosen.data + task * room * 3;
        std::copy(from, from + found[(std::size_t)task] * 3, chosen.data + all * 3);
        all += found[(std::size_t)task];
    }
    std::fill(chosen.data + all * 3, chosen.data + tasks * room * 3, 0);
    *count.data = all;
}
END_KERNELS
