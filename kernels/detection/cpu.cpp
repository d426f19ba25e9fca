// suppress: of the boxes of a class, best score first, one stays if its intersection over union with
// each that stays already is at most `iou` (Neubeck & Van Gool, 2006). A class of a sample is one
// task; each writes where its boxes would be if all before it had `most`, and they are moved
// together at the end. batched_nms: boxes of one group are a task, and what stays of all is put in
// order of scores.
#include "kept.h"

BEGIN_KERNELS
namespace {
// whichever corners are given; or its centre, width and height
Box box_of(const real* v, bool center) {
    if (center) return Box::of(v[0] - v[2] / 2, v[1] - v[3] / 2, v[0] + v[2] / 2, v[1] + v[3] / 2);
    return Box::of(std::min(v[0], v[2]), std::min(v[1], v[3]), std::max(v[0], v[2]), std::max(v[1], v[3]));
}

// keep(pair) for each that stays, until there are `most`; box(pair) is its box.
template <class BoxOf, class Keep> void greedy(Pair* begin, Pair* end, i64 most, real iou, BoxOf box, Keep keep) {
    Field kept(most, begin, end, iou, false, box);
    const bool whole = most >= (end - begin) / 4;
    Scratch<Pair> room(whole ? end - begin : 0);
    Ordered order = whole ? Ordered(begin, end, room) : Ordered(begin, end);
    while (kept.size() < most) {
        const Pair* pair = order.next();
        if (!pair) return;
        const Box b = box(*pair);
        if (kept.covers(b)) continue;
        kept.add(b);
        keep(*pair);
    }
}
}  // namespace

void suppress(In<real> boxes, In<real> scores, i64 most, double iou, double least, bool center,
              Out<i64> chosen, Out<i64> count) {
    const i64 classes = scores.dim(1), n = scores.dim(2), tasks = scores.dim(0) * classes,
              room = std::min(most, n);
    Scratch<i64> found(tasks);
    parallel_tasks(tasks, [&](i64 task) {
        const real* const own = boxes.data + task / classes * n * 4;
        Scratch<Pair> pairs(n);   // copied, as what another thread writes meanwhile must not upset it
        i64 size = 0;
        for (i64 i = 0; i < n; ++i) {
            const real score = scores.data[task * n + i];
            if (least == -INFINITY || double(score) > least) pairs[size++] = {score, lane_int(i)};
        }
        i64* const first = chosen.data + task * room * 3;
        i64* to = first;
        greedy(
            pairs, pairs + size, room, not_above(iou),
            [&](const Pair& pair) { return box_of(own + i64(pair.place) * 4, center); },
            [&](const Pair& pair) { *to++ = task / classes, *to++ = task % classes, *to++ = pair.place; });
        found[task] = (to - first) / 3;
    });
    i64 all = 0;
    for (i64 task = 0; task < tasks; ++task) {
        const i64* const from = chosen.data + task * room * 3;
        std::copy(from, from + found[task] * 3, chosen.data + all * 3);
        all += found[task];
    }
    std::fill(chosen.data + all * 3, chosen.data + tasks * room * 3, 0);
    *count.data = all;
}

void batched_nms(In<real> boxes, In<real> scores, In<i64> groups, double iou, Out<i64> chosen, Out<i64> count) {
    struct Member {
        i64 group;
        Pair pair;
    };
    const i64 n = scores.dim(0);
    Scratch<Member> members(n);
    for (i64 i = 0; i < n; ++i) members[i] = {groups.data[i], {scores.data[i], lane_int(i)}};
    std::sort(members.data, members + n, [](const Member& a, const Member& b) {
        return a.group != b.group ? a.group < b.group : a.pair.place < b.pair.place;
    });
    Scratch<i64> first(n + 1);   // of each group
    Scratch<Pair> pairs(n), stay(n);
    i64 tasks = 0;
    for (i64 i = 0; i < n; ++i) {
        if (i == 0 || members[i].group != members[i - 1].group) first[tasks++] = i;
        pairs[i] = members[i].pair;
    }
    first[tasks] = n;
    Scratch<i64> found(tasks);
    parallel_tasks(tasks, [&](i64 task) {
        Pair* to = stay + first[task];
        greedy(
            pairs + first[task], pairs + first[task + 1], n, not_above(iou),
            [&](const Pair& pair) {
                const real* v = boxes.data + i64(pair.place) * 4;
                return Box::of(v[0], v[1], v[2], v[3]);
            },
            [&](const Pair& pair) { *to++ = pair; });
        found[task] = to - (stay + first[task]);
    });
    i64 all = 0;
    for (i64 task = 0; task < tasks; ++task)
        for (i64 i = 0; i < found[task]; ++i) pairs[all++] = stay[first[task] + i];
    sort_best_first(pairs, all, stay);
    for (i64 i = 0; i < n; ++i) chosen.data[i] = i < all ? i64(pairs[i].place) : 0;
    *count.data = all;
}
END_KERNELS
