// The boxes that stay, as the kernels that suppress boxes share them. One that is looked at is compared
// with a vector of them at a time.
#pragma once
#include "order.h"
#include "overlap.h"

namespace ISA::REAL_NAME {
namespace {
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

// Whether one of the list overlaps the box by more than `most`. What is clearly less, as nearly all is,
// is told by a product: quotients are what takes time.
bool covered(const Kept& kept, i64 list, const Box& box, real most, bool distance) {
    const real less = most * (1 - 8 * std::numeric_limits<real>::epsilon());
    return kept.any_group(list, [&](const Group& g, i64) {
        V w, h;
        const M touch = touches(g, box, w, h);   // by some lane as often as not: no branch
        const V shared = rounded(w * h), all = load(g.area) + box.area - shared;
        const M perhaps = touch & (shared >= less * all);
        if (!any_lane(perhaps)) return false;
        const V iou = shared / all;
        return any_lane(perhaps & ((distance ? iou - apart(g, box) : iou) > most));
    });
}

// The boxes of one class that stay; where there are many, by the place of their centres, as few of them can
// overlap a box by more than t. One that does shares more than t of each one's width w and v, so their
// widths are within a factor of t, and their centres as close as (w + v) / 2 - t max(w, v), or |w - v| / 2 where
// one lies within the other: at most w max(1 - t, (1 / t - 1) / 2). Heights likewise.
class Field {
    static constexpr i64 FEW = 2048, A_CELL = 64, MOST_SIDE = 64;
    i64 side = 1;
    real low[2] = {}, scale[2] = {}, most, reach = 0;
    bool distance;
    Kept kept;
    i64 count = 0;

    static bool solid(const Box& b) {
        return b.x2 > b.x1 && b.y2 > b.y1 && std::isfinite(b.x2 - b.x1) && std::isfinite(b.y2 - b.y1);
    }
    static real middle(real a, real b) { return a / 2 + b / 2; }
    i64 cell(int axis, real at) const {
        const real found = (at - low[axis]) * scale[axis];
        return !(found > 0) ? 0 : found < real(side - 1) ? i64(found)
                                                         : side - 1;
    }
    template <class BoxOf> i64 divide(const Pair* begin, const Pair* end, BoxOf box_of) {
        if (end - begin < FEW || !(most > real(0.1))) return 1;
        real high[2];
        for (int axis = 0; axis < 2; ++axis)
            low[axis] = std::numeric_limits<real>::max(), high[axis] = -std::numeric_limits<real>::max();
        for (const Pair* p = begin; p < end; ++p) {
            const Box b = box_of(*p);
            if (!solid(b)) continue;
            const real at[2] = {middle(b.x1, b.x2), middle(b.y1, b.y2)};
            for (int axis = 0; axis < 2; ++axis)
                low[axis] = std::min(low[axis], at[axis]), high[axis] = std::max(high[axis], at[axis]);
        }
        side = std::min(MOST_SIDE, i64(std::sqrt(double(end - begin) / A_CELL)));
        for (int axis = 0; axis < 2; ++axis) {
            scale[axis] = real(side) / (high[axis] - low[axis]);
            if (!(scale[axis] > 0 && std::isfinite(scale[axis]))) return side = 1;
        }
        reach = std::max(1 - most, (1 / most - 1) / 2) * real(1.001);
        return side * side;
    }

public:
    // those that may be added: at most `room` of the pairs
    template <class BoxOf>
    Field(i64 room, const Pair* begin, const Pair* end, real most, bool distance, BoxOf box_of)
        : most(most), distance(distance), kept(std::min(room, i64(end - begin)), divide(begin, end, box_of)) {}
    i64 size() const { return count; }
    void add(const Box& b) {
        ++count;
        if (side == 1) kept.add(0, b);
        else if (solid(b)) kept.add(cell(1, middle(b.y1, b.y2)) * side + cell(0, middle(b.x1, b.x2)), b);
    }
    bool covers(const Box& b) const {
        if (side == 1) return covered(kept, 0, b, most, distance);
        if (!solid(b)) return false;
        constexpr real ROUNDING = 8 * std::numeric_limits<real>::epsilon();
        const real x = middle(b.x1, b.x2), y = middle(b.y1, b.y2),
                   dx = (b.x2 - b.x1) * reach + ROUNDING * (std::fabs(b.x1) + std::fabs(b.x2)),
                   dy = (b.y2 - b.y1) * reach + ROUNDING * (std::fabs(b.y1) + std::fabs(b.y2));
        const i64 left = cell(0, x - dx), right = cell(0, x + dx), bottom = cell(1, y + dy);
        for (i64 row = cell(1, y - dy); row <= bottom; ++row)
            for (i64 column = left; column <= right; ++column)
                if (covered(kept, row * side + column, b, most, distance)) return true;
        return false;
    }
};
}  // namespace
}  // namespace ISA::REAL_NAME
