// multiclass_nms: of the pairs of a box and a class whose score is above `least`, the best ones of a
// sample that the better ones of their class leave, `room` of them.
//
// Pairs are taken best first over all classes, so that a sample is done as soon as it has what there
// is room for; the boxes that stay are kept apart by class, in groups as wide as a vector. Soft-NMS
// (Bodla et al., 2017) lowers scores instead: the best pair is taken from a heap and its score lowered
// by the boxes that stayed since it was last looked at; if that changed it, it goes back. Scores only
// fall, so the first that is up to date is the best.
//
// A sample is one task, the search for its pairs many. Where there is room for many of its pairs, or for many
// boxes a class, each class is a task.
#include "kept.h"

BEGIN_KERNELS
namespace {
constexpr i64 DIOU = 1, LINEAR = 2, GAUSSIAN = 3;
constexpr i64 MANY = 2048;   // boxes of a class that stay: they are looked up by their places from there on

struct Settings {
    i64 boxes, classes, candidates, per_class, room, kind;
    bool own, agnostic;   // own: each class has boxes of its own
    real overlap, least;
    double sigma;
};

// ---- pairs above the threshold

constexpr i64 CHUNK = 1 << 14;   // scores looked through by a task

template <class Body> void for_above(const real* scores, i64 n, real least, Body body) {
    for_vectors(n, [&](i64 i, auto lanes) {
        const V v = lanes.load(scores + i);
        if (!any_lane(v > least)) return;
        for (int k = 0; k < lanes.count; ++k)
            if (v[k] > least) body(i + k, v[k]);
    });
}

// All of them, in the order of the scores; sample n has those from begin[n * chunks] on. They are copied,
// and no more than were counted: another thread may write to the scores meanwhile.
struct Found {
    i64 chunks, of_sample;
    Scratch<i64> begin;
    Scratch<Pair> pairs;

    Found(In<real> scores, real least)
        : chunks((scores.dim(1) * scores.dim(2) + CHUNK - 1) / CHUNK), of_sample(scores.dim(1) * scores.dim(2)),
          begin(scores.dim(0) * chunks + 1), pairs(count(scores, least)) {
        parallel_tasks(scores.dim(0) * chunks, [&](i64 task) {
            const i64 first = task % chunks * CHUNK;
            Pair *to = pairs + begin[task], *const end = pairs + begin[task + 1];
            for_above(at(scores, task), length(task), least, [&](i64 i, real score) {
                if (to < end) *to++ = {score, lane_int(first + i)};
            });
            while (to < end) *to++ = {least, lane_int(first)};
        });
    }

private:
    const real* at(In<real> scores, i64 task) const {
        return scores.data + task / chunks * of_sample + task % chunks * CHUNK;
    }
    i64 length(i64 task) const { return std::min(CHUNK, of_sample - task % chunks * CHUNK); }
    i64 count(In<real> scores, real least) {
        const i64 tasks = scores.dim(0) * chunks;
        parallel_tasks(tasks, [&](i64 task) {
            i64 count = 0;
            for_above(at(scores, task), length(task), least, [&](i64, real) { ++count; });
            begin[task + 1] = count;
        });
        begin[0] = 0;
        for (i64 task = 0; task < tasks; ++task) begin[task + 1] += begin[task];
        return begin[tasks];
    }
};

// The score, lowered by each box of the list from the one at `since` on, in their order.
real lowered(const Kept& kept, i64 list, i64 since, const Box& box, real score, const Settings& how) {
    kept.any_group(list, [&](const Group& g, i64 first) {
        if (first + LANES <= since) return false;
        V w, h;
        const M touch = touches(g, box, w, h);
        if (!any_lane(touch)) return false;
        const V iou = iou_of(g, box, w, h);
        for (int k = int(std::max(since - first, i64(0))); k < LANES; ++k) {
            if (!touch[k] || !(iou[k] == iou[k])) continue;
            if (how.kind == GAUSSIAN) score *= real(std::exp(-double(iou[k]) * double(iou[k]) / how.sigma));
            else if (iou[k] > how.overlap) score *= 1 - iou[k];
        }
        return false;
    });
    return score;
}

// ---- a sample

struct Result {
    real *boxes, *scores;
    i64 *labels, *index;
    void put(i64 at, const Settings& how, const Pair& pair, const Box& b) const {
        real* corners = boxes + 4 * at;
        corners[0] = b.x1, corners[1] = b.y1, corners[2] = b.x2, corners[3] = b.y2;
        scores[at] = pair.score, labels[at] = pair.place % how.classes, index[at] = pair.place / how.classes;
    }
    i64 finish(i64 found, i64 room) const {
        std::fill(boxes + 4 * found, boxes + 4 * room, real(0));
        std::fill(scores + found, scores + room, real(0));
        std::fill(labels + found, labels + room, i64(0));
        std::fill(index + found, index + room, i64(0));
        return found;
    }
};

Box box_of(const Settings& how, const real* boxes, const Pair& pair) {
    const real* v = boxes + 4 * (how.own ? i64(pair.place) : pair.place / how.classes);
    return Box::of(v[0], v[1], v[2], v[3]);
}

class Sample {
    const Settings& how;
    const real* const boxes;
    const Result to;
    Kept kept;
    Scratch<i64> seen, stayed;   // of each class
    i64 found = 0;

    i64 label(const Pair& pair) const { return pair.place % how.classes; }
    i64 list(const Pair& pair) const { return how.agnostic ? 0 : label(pair); }
    Box box(const Pair& pair) const { return box_of(how, boxes, pair); }
    bool candidate(const Pair& pair) { return seen[label(pair)]++ < how.candidates; }
    void keep(const Pair& pair, const Box& b) {
        kept.add(list(pair), b);
        ++stayed[label(pair)];
        to.put(found, how, pair, b);
        ++found;
    }

public:
    Sample(const Settings& how, const real* boxes, i64 pairs, Result to)
        : how(how), boxes(boxes), to(to), kept(std::min(how.room, pairs), how.agnostic ? 1 : how.classes),
          seen(how.classes), stayed(how.classes) {
        for (i64 c = 0; c < how.classes; ++c) seen[c] = stayed[c] = 0;
    }

    i64 greedy(Pair* begin, Pair* end) {
        Ordered order(begin, end);
        while (found < how.room) {
            const Pair* pair = order.next();
            if (!pair) break;
            if (!candidate(*pair) || stayed[label(*pair)] >= how.per_class) continue;
            const Box b = box(*pair);
            if (!covered(kept, list(*pair), b, how.overlap, how.kind == DIOU)) keep(*pair, b);
        }
        return to.finish(found, how.room);
    }

    i64 soft(Pair* begin, Pair* end) {
        if (how.candidates < how.boxes) {
            Ordered order(begin, end);
            Pair* last = begin;
            while (const Pair* pair = order.next())
                if (candidate(*pair)) *last++ = *pair;
            end = last;
        }
        struct Waiting {
            Pair pair;
            i64 since;
        };
        const auto worse = [](const Waiting& a, const Waiting& b) { return better(b.pair, a.pair); };
        Scratch<Waiting> heap(end - begin);
        i64 size = end - begin;
        for (i64 i = 0; i < size; ++i) heap[i] = {begin[i], 0};
        std::make_heap(heap.data, heap.data + size, worse);
        while (size && found < how.room) {
            std::pop_heap(heap.data, heap.data + size, worse);
            Waiting& top = heap[size - 1];
            if (stayed[label(top.pair)] >= how.per_class) {
                --size;
                continue;
            }
            const Box b = box(top.pair);
            const real score = lowered(kept, list(top.pair), top.since, b, top.pair.score, how);
            top.since = kept.size(list(top.pair));
            if (score == top.pair.score) keep(top.pair, b), --size;
            else if (score > how.least) top.pair.score = score, std::push_heap(heap.data, heap.data + size, worse);
            else --size;
        }
        return to.finish(found, how.room);
    }
};

// Samples of which most pairs are looked at, as there is room for many: each class is a task, and the best
// of what stays is put in order at the end.
class Apart {
    const Settings& how;
    Scratch<Pair> pairs;
    Scratch<i64> begin, stayed;   // of each sample's classes

public:
    Apart(const Settings& how, i64 samples, i64 most)
        : how(how), pairs(most), begin(samples * (how.classes + 1)), stayed(samples * how.classes) {}

    // A sample's pairs, sorted by class; they lie from `first` on.
    void sort(i64 n, i64 first, const Pair* from, const Pair* end) {
        i64* const at = begin + n * (how.classes + 1);
        std::fill(at, at + how.classes + 1, i64(0));
        for (const Pair* p = from; p < end; ++p) ++at[p->place % how.classes + 1];
        at[0] = first;
        for (i64 c = 0; c < how.classes; ++c) at[c + 1] += at[c];
        for (const Pair* p = from; p < end; ++p) pairs[at[p->place % how.classes]++] = *p;
        for (i64 c = how.classes; c > 0; --c) at[c] = at[c - 1];
        at[0] = first;
    }
    // Those of a class that stay come first.
    void suppress(i64 n, i64 c, const real* boxes) {
        const i64* at = begin + n * (how.classes + 1) + c;
        const i64 most = std::min(how.per_class, how.room);
        Pair *const first = pairs + at[0], *const end = pairs + at[1], *to = first;
        Field kept(most, first, end, how.overlap, how.kind == DIOU,
                   [&](const Pair& pair) { return box_of(how, boxes, pair); });
        const bool whole = std::min(most, how.candidates) >= (end - first) / 4;
        Scratch<Pair> room(whole ? end - first : 0);
        Ordered order = whole ? Ordered(first, end, room) : Ordered(first, end);
        for (i64 seen = 0; seen < how.candidates && kept.size() < most; ++seen) {
            const Pair* pair = order.next();
            if (!pair) break;
            const Box b = box_of(how, boxes, *pair);
            if (kept.covers(b)) continue;
            kept.add(b);
            *to++ = *pair;
        }
        stayed[n * how.classes + c] = kept.size();
    }
    i64 finish(i64 n, const real* boxes, const Result& result) {
        const i64* at = begin + n * (how.classes + 1);
        Pair *const first = pairs + at[0], *last = first;
        for (i64 c = 0; c < how.classes; ++c) {
            const Pair* from = pairs + at[c];
            for (i64 i = 0; i < stayed[n * how.classes + c]; ++i) *last++ = from[i];
        }
        if (last - first > how.room) std::nth_element(first, first + how.room, last, better);
        const i64 found = std::min(i64(last - first), how.room);
        Scratch<Pair> room(found);
        sort_best_first(first, found, room);
        for (i64 i = 0; i < found; ++i) result.put(i, how, first[i], box_of(how, boxes, first[i]));
        return result.finish(found, how.room);
    }
};
}  // namespace

void multiclass_nms(In<real> boxes, In<real> scores, i64 candidates, i64 per_class, double iou, double least,
                    bool agnostic, i64 kind, double sigma, Out<real> found, Out<real> best, Out<i64> labels,
                    Out<i64> index, Out<i64> count) {
    const Settings how{scores.dim(1), scores.dim(2), candidates, per_class, best.dim(1), kind,
                       boxes.ndim == 4, agnostic, not_above(iou), not_above(least), sigma};
    const i64 values = boxes.size() / std::max(boxes.dim(0), i64(1));
    const Found all(scores, how.least);
    const i64 samples = scores.dim(0);
    const auto pairs = [&](i64 n) { return all.pairs + all.begin[n * all.chunks]; };
    const auto own = [&](i64 n) { return boxes.data + n * values; };
    const auto result = [&](i64 n) {
        const i64 first = n * how.room;
        return Result{found.data + 4 * first, best.data + first, labels.data + first, index.data + first};
    };
    const auto by_class = [&](i64 n) {
        const bool able = !(agnostic && how.classes > 1) && kind < LINEAR;
        return able && (pairs(n + 1) - pairs(n) <= 4 * how.room || how.room >= MANY * how.classes);
    };
    i64 most = 0;
    Scratch<i64> first(samples);
    for (i64 n = 0; n < samples; ++n) first[n] = most, most += by_class(n) ? pairs(n + 1) - pairs(n) : 0;
    Apart apart(how, most ? samples : 0, most);
    parallel_tasks(samples, [&](i64 n) {
        if (most && by_class(n)) return apart.sort(n, first[n], pairs(n), pairs(n + 1));
        Sample sample(how, own(n), pairs(n + 1) - pairs(n), result(n));
        count.data[n] = kind >= LINEAR ? sample.soft(pairs(n), pairs(n + 1)) : sample.greedy(pairs(n), pairs(n + 1));
    });
    if (!most) return;
    parallel_tasks(samples * how.classes, [&](i64 task) {
        const i64 n = task / how.classes;
        if (by_class(n)) apart.suppress(n, task % how.classes, own(n));
    });
    parallel_tasks(samples, [&](i64 n) {
        if (by_class(n)) count.data[n] = apart.finish(n, own(n), result(n));
    });
}
END_KERNELS
