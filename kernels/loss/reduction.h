// How losses are reduced: per chunk in the chunk's own order, then over the chunks in double, so that neither the thread count nor the
// length of a float32 sum shows in the result.
#pragma once
#include "kernel.h"

BEGIN_KERNELS

enum Reduction : i64 { EACH = 0, SUM = 1, MEAN = 2 };

struct Sums { double loss, weight; };

// Writes the reduced loss and the divisor it was divided by.
static inline void finish(const Sums* chunks, i64 n, i64 reduction, real* y, real* divisor) {
    Sums all{0, 0};
    for (i64 i = 0; i < n; ++i) all = {all.loss + chunks[i].loss, all.weight + chunks[i].weight};
    if (reduction != EACH) *y = real(reduction == MEAN ? all.loss / all.weight : all.loss);
    *divisor = reduction == MEAN ? real(all.weight) : real(1);
}

END_KERNELS
