// im2col of a few columns at a time: for every channel of a block and every tap, the inputs that a
// panel of outputs meets.
//
// A vector of a panel takes its lanes from one or more rows of the input (a panel may cross rows
// and samples), and some lanes are padding. Which lanes come from where is the same for every
// channel, so it is worked out once a panel, as a list of moves; a channel then costs one masked
// load a move, an OR where a vector has several, and one store a vector.
#pragma once
#include "geometry.h"

namespace ISA::REAL_NAME {
// Lanes `lanes` of the panel's vector `vector` are src[offset + lane * stride]; `lanes2` are those
// of the second half of a span of stride 2.
struct Move {
    i64       offset;
    int       row, vector;      // tap, and vector within the panel
    bool      joins;            // ORed onto the move before
    LaneRange lanes, lanes2;
    int       first, last;
};

// Upper bound on the moves of a panel: one for each run and vector boundary, and one for each
// vector that is all padding.
static inline i64 most_moves(const TapList& t, int run_count) { return t.count * (run_count + 2 * VECTORS); }

static inline Move move_of(i64 offset, i64 tap, i64 vector, int first, int last, i64 stride, bool joins) {
    const int low = 2 * first < LANES ? 2 * first : LANES, high = 2 * last - 1 < LANES ? 2 * last - 1 : LANES;
    Move m{offset, (int)tap, (int)vector, joins, lane_range(first, last), lane_range(0, 0), first, last};
    if (stride == 2 && first < last) {
        m.lanes  = lane_range(low, high < low ? low : high);
        m.lanes2 = lane_range(clamp(2 * first - LANES, 0, LANES), clamp(2 * last - 1 - LANES, 0, LANES));
    }
    return m;
}

// Fills `moves` for a panel of `vectors` vectors whose outputs are `runs`; returns how many. A tap
// and vector without input gets one empty move.
static inline int plan_moves(const Convolution& conv, const TapList& t, const Run* runs, int run_count,
                             int vectors, Move* moves) {
    const Extent& xs = conv.xs;
    int count = 0;
    for (i64 tap = 0; tap < t.count; ++tap) {
        const Tap& at = t.taps[tap];
        for (int v = 0, r = 0; v < vectors; ++v) {
            const int before = count;
            const i64 begin = v * LANES, end = begin + LANES;
            while (r > 0 && runs[r].column > begin) --r;
            for (int q = r; q < run_count && runs[q].column < end; ++q) {
                const Run& run = runs[q];
                r = q;
                const i64 d = run.d * t.in_stride.d + at.d, h = run.h * t.in_stride.h + at.h,
                          w = run.w * t.in_stride.w + at.w;
                if (d < 0 || d >= xs.d || h < 0 || h >= xs.h) continue;
                // Outputs of the run whose input column w + i stride lies inside, cut to this vector's lanes.
                const i64 first = w < 0 ? ceil_div(-w, t.in_stride.w) : 0;
                const i64 last  = w >= xs.w ? 0 : ceil_div(xs.w - w, t.in_stride.w);
                const i64 low =
                    clamp(run.column + first - begin, run.column > begin ? run.column - begin : 0, LANES);
                const i64 high =
                    clamp(run.column + (last < run.length ? last : run.length) - begin, 0, LANES);
                if (low >= high) continue;
                const i64 offset = run.n * xs.c * xs.spatial() + offset_in(xs, d, h, w) +
                                   (begin - run.column) * t.in_stride.w;
                moves[count] = move_of(offset, tap, v, (int)low, (int)high, t.in_stride.w, count > before);
                ++count;
            }
            if (count == before) moves[count++] = move_of(0, tap, v, 0, 0, t.in_stride.w, false);
        }
    }
    return count;
}

static inline V load_move(const real* p, const Move& m, i64 stride) {
    if (stride == 1) return load(p, m.lanes);
    if (stride == 2) return even_lanes(load(p, m.lanes), load(p + LANES, m.lanes2));
    real lane[LANES] = {};
    for (int i = m.first; i < m.last; ++i) lane[i] = p[i * stride];
    return load(lane);
}

// Row (channel, tap) of the panel is at dst + (channel * taps + tap) * vectors * LANES.
template <int STRIDE>
static inline void pack_panel(const real* x, i64 plane, i64 channels, i64 row, int vectors, i64 stride,
                              const Move* moves, int count, real* dst) {
    for (int m = 0; m < count;) {
        int end = m + 1;
        while (end < count && moves[end].joins) ++end;
        const real* src = x + moves[m].offset;
        real*       to  = dst + (moves[m].row * vectors + moves[m].vector) * LANES;
        if (end == m + 1) {
            for (i64 c = 0; c < channels; ++c)
                store(to + c * row, load_move(src + c * plane, moves[m], STRIDE ? STRIDE : stride));
        } else {
            for (i64 c = 0; c < channels; ++c) {
                V v{};
                for (int i = m; i < end; ++i)
                    v = as_real(as_int(v) | as_int(load_move(x + moves[i].offset + c * plane, moves[i],
                                                             STRIDE ? STRIDE : stride)));
                store(to + c * row, v);
            }
        }
        m = end;
    }
}

// The same of padded rows, by runs: no list of moves, which few channels would not pay for. A run's
// last vector reaches into the next run, which comes after it.
static inline void pack_runs(const Convolution& conv, const TapList& t, i64 first_channel, i64 channels,
                             int vectors, const Run* runs, int run_count, real* dst) {
    const Extent& xs = conv.xs;
    const i64     plane = xs.spatial(), width = vectors * LANES, row = t.count * width;
    for (i64 tap = 0; tap < t.count; ++tap)
        for (int r = 0; r < run_count; ++r) {
            const Run& run = runs[r];
            const Tap& at  = t.taps[tap];
            const i64  d = run.d * t.in_stride.d + at.d, h = run.h * t.in_stride.h + at.h;
            const bool inside = d >= 0 && d < xs.d && h >= 0 && h < xs.h;
            const real* const x = conv.x + (run.n * xs.c + first_channel) * plane +
                                  (inside ? offset_in(xs, d, h, run.w + at.w) : 0);
            real* const to = dst + tap * width + run.column;
            for (i64 c = 0; c < channels; ++c)
                for (i64 i = 0; i < run.length; i += LANES) {
                    const i64 room = width - run.column - i;
                    const V   v = inside ? load(x + c * plane + i) : V{};
                    if (room >= LANES) store(to + c * row + i, v);
                    else store(to + c * row + i, v, (int)room);
                }
        }
}

static inline void pack_panel(const Convolution& conv, const TapList& t, i64 first_channel, i64 channels,
                              int vectors, const Move* moves, int count, real* dst) {
    const i64   plane = conv.xs.spatial(), row = t.count * vectors * LANES;
    const real* x = conv.x + first_channel * plane;
    if (t.in_stride.w == 1) pack_panel<1>(x, plane, channels, row, vectors, 1, moves, count, dst);
    else if (t.in_stride.w == 2) pack_panel<2>(x, plane, channels, row, vectors, 2, moves, count, dst);
    else pack_panel<0>(x, plane, channels, row, vectors, t.in_stride.w, moves, count, dst);
}
}  // namespace ISA::REAL_NAME
