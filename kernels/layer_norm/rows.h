// Sums over rows or pixels a few at a time, so that their horizontal sums share shuffles and no
// addition waits for the one before: a norm over 64 values is otherwise mostly latency.
#pragma once
#include "../batch_norm/moments.h"
#include "lanes.h"

namespace ISA::REAL_NAME {
constexpr int NORMED = LANES / 2;   // rows at once: each has a sum of differences and one of squares

struct RowMoments { real mean[LANES], variance[LANES]; };

// each(body) calls body(row, lanes of it, what keeps the lanes that count), for all vectors of all
// rows; n: values of a row. Two passes, the second about the mean of the first, whose rounding it
// takes back.
template <class Each> static inline RowMoments row_moments(i64 n, Each each) {
    RowMoments result;
    alignas(64) real lane[LANES];
    V rows[LANES] = {};
    each([&](int r, V v, auto) { rows[r] += v; });
    store(lane, sums_of(rows) / real(n));
    V mean[NORMED];
    #pragma GCC unroll 8
    for (int r = 0; r < NORMED; ++r) mean[r] = splat(lane[r]), rows[r] = rows[r + NORMED] = V{};
    each([&](int r, V v, auto keep) {
        const V d = keep(v - mean[r]);
        rows[r] += d;
        rows[r + NORMED] += d * d;
    });
    alignas(64) real rest[LANES];
    store(rest, sums_of(rows) / real(n));
    for (int r = 0; r < NORMED; ++r) {
        result.mean[r] = lane[r] + rest[r];
        result.variance[r] = rest[r + NORMED] - rest[r] * rest[r];
    }
    return result;
}
}  // namespace ISA::REAL_NAME
