// Convolutions of 4x4 filters with stride 2 as ones of 2x2 taps and stride 1 on maps of half the
// size, which Winograd's algorithm takes (blocked_winograd_stride_two.cpp).
//
// An output sees pixels 2 o + t - padding, t = 0 ... 3. With t = 2 s + a that is place o + s among
// the pixels 2 i + a - padding: the image's pixels taken apart by parity are 4 C channels, whose
// filters have 2x2 taps. A transposed convolution has pixels o = 2 (i + s) + a - padding of its
// result from i, so that the outputs of each parity are a convolution of 2x2 taps of their own.
#pragma once
#include "geometry.h"

namespace ISA::REAL_NAME {
// One axis of a transposed convolution's outputs: `count` of them, first, first + 2, ..., which meet
// taps a + 2 s; output j sees inputs j + s - pad with tap a + 2 (1 - s).
struct Parity {
    i64 first, count, a, pad;
};

static inline Parity parity_from(i64 first, i64 size, i64 padding) {
    const i64 a = (first + padding) % 2;
    return {first, (size - first + 1) / 2, a, 1 - (first + padding - a) / 2};
}

// Where and how large the maps of one call are.
struct StrideTwo {
    const real *x, *weight, *bias;
    real* y;
    Extent xs, ys;
    i64 filters, channels, filter_stride, channel_stride;   // of weight, taps side by side
    i64 pad_h, pad_w;
};
struct StrideTwoGradient {
    const real *x, *dy;
    real* dw;      // (ys.c, xs.c, 4, 4)
    Extent xs, ys;
    i64 pad_h, pad_w;
};

// False, and nothing done, where Winograd's algorithm may not take the call or gains nothing, which
// depends on sizes and filters only.
bool winograd_stride_two(const StrideTwo& conv);
bool winograd_stride_two_transposed(const StrideTwo& conv);
bool winograd_stride_two_gradient(const StrideTwoGradient& g);

// Of a convolution: the places of a map of one parity.
static inline Extent halved(const Extent& xs, const Extent& ys) { return {xs.n, 4 * xs.c, 1, ys.h + 1, ys.w + 1}; }

// x (count, C, h, w) to (count, 4, C, rows, columns): parity (a, b) at (i, j) is pixel (2 i + a -
// pad_h, 2 j + b - pad_w), or 0 outside.
static inline void take_apart(const real* x, const Extent& xs, i64 count, i64 pad_h, i64 pad_w, i64 rows,
                              i64 columns, real* to) {
    const i64 plane = rows * columns;
    parallel_for(count * 2 * xs.c, 1 + 16384 / (2 * plane + 1), [&](i64 begin, i64 end) {
        for (i64 at = begin; at < end; ++at) {
            const i64 n = at / xs.c / 2, a = at / xs.c % 2, c = at % xs.c;
            for (i64 b = 0; b < 2; ++b) {
                real* row = to + ((n * 4 + 2 * a + b) * xs.c + c) * plane;
                // columns whose pixels lie inside
                const i64 from = clamp((pad_w - b + 1) / 2, 0, columns),
                          last = clamp((xs.w + pad_w - b + 1) / 2, from, columns);
                for (i64 i = 0; i < rows; ++i, row += columns) {
                    const i64 h = 2 * i + a - pad_h;
                    if (h < 0 || h >= xs.h) {
                        std::memset(row, 0, columns * sizeof(real));
                        continue;
                    }
                    const real* pixels = x + ((n * xs.c + c) * xs.h + h) * xs.w + b - pad_w;
                    for (i64 j = 0; j < from; ++j) row[j] = 0;
                    for_vectors(last - from, [&](i64 j, auto lanes) {
                        lanes.store(row + from + j, load_strided(pixels + 2 * (from + j), 2, lanes.count));
                    });
                    for (i64 j = last; j < columns; ++j) row[j] = 0;
                }
            }
        }
    });
}

// The parities of a transposed convolution's outputs along both axes, each (count, K, h.count,
// w.count), to y.
static inline void put_together(const real* const (&parts)[2][2], const Parity (&h)[2], const Parity (&w)[2],
                                i64 count, const Extent& ys, real* y) {
    parallel_for(count * ys.c, 1 + 16384 / (ys.spatial() + 1), [&](i64 begin, i64 end) {
        for (i64 at = begin; at < end; ++at)
            for (i64 row = 0; row < ys.h; ++row) {
                const int a = (int)(row % 2);   // parity of first = a
                const real *even = parts[a][0] + (at * h[a].count + row / 2) * w[0].count,
                           *odd = parts[a][1] + (at * h[a].count + row / 2) * w[1].count;
                real* to = y + (at * ys.h + row) * ys.w;
                i64 j = 0;
                for (; j + LANES <= w[1].count; j += LANES) {
                    const V low = load(even + j), high = load(odd + j);
                    store(to + 2 * j, zip_low(low, high));
                    store(to + 2 * j + LANES, zip_high(low, high));
                }
                for (; j < w[1].count; ++j) to[2 * j] = even[j], to[2 * j + 1] = odd[j];
                if (w[0].count > w[1].count) to[2 * j] = even[j];
            }
    });
}
}  // namespace ISA::REAL_NAME
