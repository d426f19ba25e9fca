// im2col of a few columns at a time: writes, for every channel of a block and every tap, the inputs that a panel of outputs meets.
// Row (c, tap) of the panel is at dst + (c * taps + tap) * width.
#pragma once
#include "geometry.h"

namespace ISA::REAL_NAME {
// Copies `length` inputs p, p + stride, ..., of which those outside [first, last) are padding and become 0. May write up to a vector beyond
// `length` where `room` says so.
static inline void copy_run(const real* p, i64 stride, i64 length, i64 first, i64 last, i64 room, real* dst) {
    for (i64 i = 0; i < first; ++i) dst[i] = 0;
    for (i64 i = first; i < length; i += LANES) {
        const int n = (int)clamp(last - i, 0, LANES);
        const V   v = n == 0 ? V{} : load_strided(p + i * stride, stride, n);
        if (i + LANES <= room) store(dst + i, v);
        else store(dst + i, v, (int)(length - i < LANES ? length - i : LANES));
    }
}

static inline void pack_panel(const Convolution& conv, const TapList& t, i64 first_channel, i64 channels, const Run* runs, int run_count,
                              i64 width, real* dst) {
    const Extent& xs = conv.xs;
    const i64 plane = xs.spatial(), row = t.count * width;
    for (i64 tap = 0; tap < t.count; ++tap) {
        const Tap& at = t.taps[tap];
        for (int r = 0; r < run_count; ++r) {
            const Run& run = runs[r];
            const i64 d = run.d * t.in_stride.d + at.d, h = run.h * t.in_stride.h + at.h, w = run.w * t.in_stride.w + at.w;
            const bool inside = d >= 0 && d < xs.d && h >= 0 && h < xs.h;
            const i64 first = inside ? clamp(ceil_div(-w < 0 ? 0 : -w, t.in_stride.w), 0, run.length) : run.length;
            const i64 last  = inside ? clamp(w >= xs.w ? 0 : ceil_div(xs.w - w, t.in_stride.w), first, run.length) : run.length;
            // The row that follows the last of a panel was written before: no overrun there.
            const i64 room = r + 1 < run_count ? width - run.column : run.length;
            const real* src = conv.x + (run.n * xs.c + first_channel) * plane + offset_in(xs, d, h, w);
            real* to = dst + tap * width + run.column;
            if (first == 0 && last == run.length && t.in_stride.w == 1 && run.length % LANES == 0) {
                for (i64 c = 0; c < channels; ++c)
                    for (i64 i = 0; i < run.length; i += LANES) store(to + c * row + i, load(src + c * plane + i));
            } else {
                for (i64 c = 0; c < channels; ++c)
                    copy_run(src + c * plane, t.in_stride.w, run.length, first, last, room, to + c * row);
            }
        }
    }
}
}  // namespace ISA::REAL_NAME
