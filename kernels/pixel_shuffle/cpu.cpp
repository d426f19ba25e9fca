// An output row of pixel_shuffle interleaves r input rows, one of pixel_unshuffle takes every r-th
// value of one input row. Both only move values, row by row, so rows are independent. r = 2, the
// common one, interleaves whole vectors.
#include "kernel.h"

BEGIN_KERNELS

static void interleave_two(const real* a, const real* b, i64 n, real* y) {
    for_vectors(n, [&](i64 i, auto lanes) {
        const V va = lanes.load(a + i), vb = lanes.load(b + i), low = zip_low(va, vb),
                high = zip_high(va, vb);
        const i64 left = 2 * lanes.count;
        if (left >= LANES) store(y + 2 * i, low);
        else store(y + 2 * i, low, (int)left);
        if (left == 2 * LANES) store(y + 2 * i + LANES, high);
        else if (left > LANES) store(y + 2 * i + LANES, high, (int)(left - LANES));
    });
}

// x: (samples, C r r, H, W); y: (samples, C, H r, W r)
void pixel_shuffle(In<real> x, i64 factor, Out<real> y) {
    const i64 height = x.dim(2), width = x.dim(3), area = height * width, r = factor;
    parallel_for(y.dim(0) * y.dim(1) * y.dim(2), 1 + 32768 / (y.dim(3) + 1), [&](i64 begin, i64 end) {
        for (i64 row = begin; row < end; ++row) {
            const i64   plane = row / y.dim(2), at = row % y.dim(2);
            // of the first of the r channels
            const real* from = x.data + (plane * r + at % r) * r * area + at / r * width;
            real*       to   = y.data + row * y.dim(3);
            if (r == 2) {
                interleave_two(from, from + area, width, to);
                continue;
            }
            for (i64 j = 0; j < r; ++j)
                for (i64 w = 0; w < width; ++w) to[w * r + j] = from[j * area + w];
        }
    });
}

// x: (samples, C, H r, W r); y: (samples, C r r, H, W)
void pixel_unshuffle(In<real> x, i64 factor, Out<real> y) {
    const i64 height = y.dim(2), width = y.dim(3), r = factor;
    parallel_for(y.dim(0) * y.dim(1) * height, 1 + 32768 / (width + 1), [&](i64 begin, i64 end) {
        for (i64 row = begin; row < end; ++row) {
            const i64   plane = row / height, tap = plane % (r * r);
            const real* from =
                x.data + (plane / (r * r) * x.dim(2) + row % height * r + tap / r) * x.dim(3) + tap % r;
            for_vectors(width, [=](i64 i, auto lanes) {
                lanes.store(y.data + row * width + i, load_strided(from + i * r, r, lanes.count));
            });
        }
    });
}

END_KERNELS
