// Rows of the input with their padding beside them, and taken apart by phase where the stride is
// more than 1: value j * stride + phase of a row goes to place j of the phase's part. A tap at
// neighbouring outputs is whole loads then, and panels of columns are packed run by run.
#pragma once
#include "geometry.h"

namespace ISA::REAL_NAME {
struct Phases {
    i64 stride, left, width;   // padding before a row; places of a part
    i64 row() const { return stride * width; }
};

static inline Phases phases_of_rows(const TapList& t) {
    i64 low = 0, high = 0;
    for (i64 i = 0; i < t.count; ++i) {
        low  = t.taps[i].w < low ? t.taps[i].w : low;
        high = t.taps[i].w > high ? t.taps[i].w : high;
    }
    return {t.in_stride.w, -low, t.grid.w + (high - low) / t.in_stride.w};
}

constexpr i64 FEW_CHANNELS = 8;   // for which a list of moves is not worth its making

// Whether the copy pays: a value is met by several taps, and gathered one by one without it, or the
// channels are few.
static inline bool phases_pay(const Convolution& conv, const Extent& kernel, const TapList& t) {
    const i64 meets = kernel.spatial(), steps = t.in_stride.d * t.in_stride.h * t.in_stride.w;
    const Phases p = phases_of_rows(t);
    if (p.width > conv.xs.w + 64) return false;   // mostly padding, or beyond counting
    return meets >= 2 * steps && (conv.channels <= FEW_CHANNELS || (t.in_stride.w > 2 && kernel.w > t.in_stride.w));
}

// One row, `size` values, to `stride` parts.
static inline void split_row(const real* x, i64 size, const Phases& p, real* to) {
    for (i64 phase = 0; phase < p.stride; ++phase, to += p.width) {
        const i64 at = phase - p.left, skipped = at < 0 ? ceil_div(-at, p.stride) : 0;
        const i64 begin = clamp(skipped, 0, p.width), end = clamp(ceil_div(size - at, p.stride), begin, p.width);
        std::memset(to, 0, begin * sizeof(real));
        const real* from = x + at + begin * p.stride;
        i64 j = begin;
        if (p.stride == 2)
            for (; j + LANES < end; j += LANES, from += 2 * LANES)
                store(to + j, even_lanes(load(from), load(from + LANES)));
        for (; j < end; ++j, from += p.stride) to[j] = *from;
        std::memset(to + end, 0, (p.width - end) * sizeof(real));
    }
}

// All rows of x, (N, C, D, H, parts), to `to`.
static inline void split_rows(const Convolution& conv, const Phases& p, real* to) {
    const Extent& xs = conv.xs;
    parallel_for(xs.n * xs.c * xs.d * xs.h, 1 + 16384 / (xs.w + 1), [&](i64 begin, i64 end) {
        for (i64 row = begin; row < end; ++row) split_row(conv.x + row * xs.w, xs.w, p, to + row * p.row());
    });
}

// The tap's place in such rows.
static inline Tap split_tap(const Tap& tap, const Phases& p) {
    const i64 at = tap.w + p.left;
    return {tap.d, tap.h, at % p.stride * p.width + at / p.stride, tap.index};
}
}  // namespace ISA::REAL_NAME
