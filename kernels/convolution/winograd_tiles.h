// The input's way to Winograd's points: tiles side by side are made from one strip of their rows,
// so that what they share is transformed once.
#pragma once
#include "winograd_transform.h"

namespace ISA::REAL_NAME {
// outputs along a row that are transformed at once: the strip, of m + r - 1 rows, stays in L1
constexpr i64 STRIP = 48;

alignas(64) static const real zero_row[(STRIP + 4) * BLOCK] = {};

static inline i64 at_most(i64 a, i64 b) { return a < b ? a : b; }
// Values from a point to the next: an odd number of cache lines, so that points do not
// share a set of the cache.
static inline i64 odd_lines(i64 lines) { return (lines | 1) * BLOCK; }

// One block of one sample.
struct Plane {
    const real* values;
    i64 h, w;
};

// B^T d B of `n` (at most STRIP / TILE) tiles whose inputs begin at (y0, x0), outside the plane
// zeros; tile i to v + place[i], points `point` apart.
template <int TILE, int TAPS>
static void transform_tiles(Plane x, i64 y0, i64 x0, const i64* place, i64 n, real* v, i64 point) {
    constexpr i64 SIDE = TILE + TAPS - 1, ROW = (STRIP + 5) * BLOCK;   // an odd number of lines
    alignas(64) real strip[SIDE * ROW];
    const i64 values = (n * TILE + TAPS - 1) * BLOCK;
    const i64 left = x0 < 0 ? at_most(-x0 * BLOCK, values) : 0, right = at_most((x.w - x0) * BLOCK, values);
    if (left < right) {
        const real* rows[SIDE];
        for (i64 i = 0; i < SIDE; ++i)
            rows[i] =
                y0 + i < 0 || y0 + i >= x.h ? zero_row : x.values + ((y0 + i) * x.w + x0) * BLOCK + left;
        transform_columns<TILE, TAPS>(rows, right - left, strip + left, ROW);
    }
    for (i64 i = 0; i < SIDE; ++i) {
        for (i64 k = 0; k < left; k += LANES) store(strip + i * ROW + k, V{});
        for (i64 k = right > left ? right : left; k < values; k += LANES) store(strip + i * ROW + k, V{});
    }
    transform_rows<TILE, TAPS>(strip, ROW, place, n, v, point);
}
}  // namespace ISA::REAL_NAME
