// The likeliest class of pixels whose scores lie in blocks of 16 classes: the first of the largest,
// and NaN is larger than all. LANES pixels are turned at a time, so that a vector holds a class's
// scores.
#pragma once
#include "program_kernel.h"

BEGIN_KERNELS
// scores: of `count` pixels, `plane` values from a block of classes to the next
template <class T>
static void labels_of(const real* scores, i64 plane, i64 classes, i64 count, T* labels) {
    for (i64 p = 0; p < count; p += LANES) {
        const i64 pixels = count - p < LANES ? count - p : LANES;
        V best{};
        M place{};
        for (i64 c = 0; c < classes; c += LANES) {
            const real* from = scores + c / BLOCK * plane + p * BLOCK + c % BLOCK;
            V rows[LANES];
            #pragma GCC unroll 16
            for (int i = 0; i < LANES; ++i) rows[i] = i < pixels ? load(from + i * BLOCK) : V{};
            interleave(rows);
            if (c == 0) best = rows[0];
            #pragma GCC unroll 16
            for (int i = 0; i < LANES; ++i) {
                if (c + i >= classes) break;
                const M more = ~(rows[i] <= best) & (best == best);
                best  = more ? rows[i] : best;
                place = more ? M{} + (lane_int)(c + i) : place;
            }
        }
        for (i64 i = 0; i < pixels; ++i) labels[p + i] = (T)place[i];
    }
}

// The same, for labels `at` of an array of uint8 or int64.
static inline void store_labels(const real* scores, i64 plane, i64 classes, i64 count, const OutAny& y, i64 at) {
    if (y.element == Element::BYTE) labels_of(scores, plane, classes, count, y.as<std::uint8_t>() + at);
    else labels_of(scores, plane, classes, count, y.as<i64>() + at);
}
END_KERNELS
