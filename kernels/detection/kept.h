// What the kernels that suppress boxes share: scores in order, and the boxes that stay. One that is
// looked at is compared with a vector of them at a time.
#pragma once
#include <algorithm>
#include "overlap.h"

namespace ISA::REAL_NAME {
namespace {
// A score and its place in an array of them.
struct Pair {
    real score;
    lane_int place;
};
// Best first, of equal ones the first in the array; NaN is least.
bool better(const Pair& a, const Pair& b) {
    if (a.score > b.score) return true;
    if (a.score < b.score) return false;
    const bool unknown = a.score != a.score;
    return unknown == (b.score != b.score) ? a.place < b.place : !unknown;
}

// Pairs in order, sorted as far as they are asked for.
class Ordered {
    Pair *at, *sorted, *const end;
    i64 batch = 256;

public:
    Ordered(Pair* begin, Pair* end) : at(begin), sorted(begin), end(end) {}
    const Pair* next() {
        if (at == end) return nullptr;
        if (at == sorted) {
            sorted = end - at > 2 * batch ? at + batch : end;
            if (sorted != end) std::nth_element(at, sorted, end, better);
            std::sort(at, sorted, better);
            batch *= 4;
        }
        return at++;
    }
};

// Lists of boxes, a list a class, each in a chain of groups.
class Kept {
    struct List {
        i64 count, head, tail;
    };
    Scratch<Group> groups;
    Scratch<i64> next;
    Scratch<List> lists;
    i64 used = 0;

public:
    Kept(i64 boxes, i64 count)
        : groups(std::min(boxes, boxes / LANES + count)), next(std::min(boxes, boxes / LANES + count)), lists(count) {
        for (i64 i = 0; i < count; ++i) lists[i] = {};
    }
    i64 size(i64 list) const { return lists[list].count; }
    void add(i64 list, const Box& box) {
        List& l = lists[list];
        const int lane = int(l.count++ % LANES);
        if (lane == 0) {
            groups[used] = {};
            if (l.count == 1) l.head = used;
            else next[l.tail] = used;
            l.tail = used++;
        }
        groups[l.tail].put(lane, box);
    }
    // body(group, place of its first box) is true where no more are wanted, and so is the result
    template <class Body> bool any_group(i64 list, Body body) const {
        const List& l = lists[list];
        i64 g = l.head;
        for (i64 i = 0; i < l.count; i += LANES, g = next[g])
            if (body(groups[g], i)) return true;
        return false;
    }
};

bool covered(const Kept& kept, i64 list, const Box& box, real most, bool distance) {
    return kept.any_group(list, [&](const Group& g, i64) {
        V w, h;
        const M touch = touches(g, box, w, h);
        if (!any_lane(touch)) return false;
        const V iou = iou_of(g, box, w, h);
        return any_lane(touch & ((distance ? iou - apart(g, box) : iou) > most));
    });
}
}  // namespace
}  // namespace ISA::REAL_NAME
