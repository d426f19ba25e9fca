// Estimates of what Winograd's algorithm takes in a single call, in units of 16 multiply-adds of a
// direct convolution (measured on Zen 5, near enough on Zen 4). They depend on sizes alone, so that
// which algorithm runs does not depend on threads.
#pragma once
#include "winograd_filters.h"

namespace ISA::REAL_NAME {
constexpr double GAIN = 0.9;                    // it must cost less than this share of a direct convolution
constexpr double MULTIPLY = 0.9;                // a unit at the points of the tiles
// of a tile of 2x2, 4x4 and 16 channels: half of the way in and half of the way out
constexpr double TRANSFORM[] = {140, 390};
constexpr double TRANSFORM_2X2 = 260;            // of a tile of 4x4 behind 2x2 taps
constexpr double COPY = 12;                     // 16 values of a map, planar to blocks or back
// of samples in blocks, input and output: taken together while they stay in cache
constexpr i64    MAPS_BYTES = 8 << 20;

static inline i64 blocks_of(i64 channels) { return (channels + BLOCK - 1) / BLOCK; }

// The share of an axis's taps that lie within the image.
static inline double share_inside(i64 size, i64 out, i64 taps, i64 padding, i64 dilation, i64 stride = 1) {
    double seen = 0;
    for (i64 t = 0; t < taps; ++t) {
        // outputs i with 0 <= i * stride - first < size
        const i64 first = padding - t * dilation, end = size + first;
        const i64 from = first > 0 ? (first + stride - 1) / stride : 0,
                  to   = end <= 0 ? 0 : (end + stride - 1) / stride < out ? (end + stride - 1) / stride : out;
        if (to > from) seen += to - from;
    }
    return seen / (taps * (out > 0 ? out : 1));
}

// 2 or 4, or 0 where neither gains: cost(tile) against that of a direct convolution.
template <class Cost> static inline i64 best_tile(double direct, Cost cost) {
    const double two = cost(2), four = cost(4);
    return (two < four ? two : four) >= GAIN * direct ? 0 : two < four ? 2 : 4;
}
}  // namespace ISA::REAL_NAME
