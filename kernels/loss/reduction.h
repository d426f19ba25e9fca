// How losses are reduced: per chunk in the chunk's own order, then over the chunks in double, so
// that neither the thread count nor the length of a float32 sum shows in the result.
#pragma once
#include "kernel.h"

BEGIN_KERNELS

enum Reduction : i64 { EACH = 0, SUM = 1, MEAN = 2 };

struct Sums { double loss, weight; };

constexpr double BY_WEIGHT = -1;

// Writes the sum over the chunks divided by `count`, or by their weights' sum, and what it was divided by.
static inline void finish(const Sums* chunks, i64 n, bool each, double count, real* y, real* divisor) {
    Sums all{0, 0};
    for (i64 i = 0; i < n; ++i) all = {all.loss + chunks[i].loss, all.weight + chunks[i].weight};
    if (count == BY_WEIGHT) count = all.weight;
    if (!each) *y = real(all.loss / count);
    *divisor = real(count);
}

END_KERNELS
