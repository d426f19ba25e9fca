// Sums and maxima of the lanes of many vectors at once: they share their shuffles, where one alone
// would be a chain of them.
#pragma once
#include "simd.h"

namespace ISA::REAL_NAME {
// Lane i of the result is what `join` makes of vector i's lanes, by the tree of halves that hsum has.
template <int R, class Join> static inline V joined_lanes(const V (&rows)[R], Join join) {
    if constexpr (R == 1) return rows[0];
    else {
        V half[R / 2];
        #pragma GCC unroll 16
        for (int i = 0; i < R / 2; ++i)
            half[i] = join(zip_low(rows[i], rows[i + R / 2]), zip_high(rows[i], rows[i + R / 2]));
        return joined_lanes(half, join);
    }
}
static inline V sums_of(const V (&rows)[LANES]) {
    return joined_lanes(rows, [](V a, V b) { return a + b; });
}
static inline V maxima_of(const V (&rows)[LANES]) {
    return joined_lanes(rows, [](V a, V b) { return vmax(a, b); });
}
// `dead` in the lanes that do not count
static inline V with_dead(V v, Whole, real) { return v; }
static inline V with_dead(V v, Tail lanes, real dead) {
    return lane_index() < (lane_int)lanes.count ? v : splat(dead);
}
}  // namespace ISA::REAL_NAME
