// Transposed convolutions with strides on small maps, where weights are read far more often than
// they are used if every phase of the outputs packs its own.
//
// weight is (C, K taps) as it lies: columns (pixels, K taps) = x^T weight is one matrix product that
// streams each weight once, in order, a block of channels at a time, and every output then adds the
// values of the pixels and taps that meet in it. Of samples of a few pixels, several are one product. An
// element of the columns is one chain of multiply-adds over the channels, and an output adds taps in the
// order of its pixels, whatever the batch and the threads.
#pragma once
#include "geometry.h"

namespace ISA::REAL_NAME {
constexpr int COLUMN_VECTORS = LANES * sizeof(real) == 64 ? 4 : 2, COLUMN_PIXELS = LANES * sizeof(real) == 64 ? 7 : 5;
constexpr i64 COLUMN_CHANNELS = 32;     // whose weights for a tile stay in L1
constexpr i64 FEW_PIXELS = 64;     // of a sample: more are worth packing

static inline bool columns_pay(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding,
                               Dims dilation) {
    const i64 taps = kernel.spatial();
    const bool apart = stride[1] * stride[2] >= 4 && stride[1] <= kernel.h && stride[2] <= kernel.w;
    return conv.groups == 1 && kernel.d == 1 && conv.xs.d == 1 && conv.ys.d == 1 && !padding[0] &&
           (apart || conv.xs.spatial() == 1) && dilation[1] == 1 && dilation[2] == 1 && taps <= 64 &&
           conv.xs.spatial() >= 1 && conv.xs.spatial() <= FEW_PIXELS && conv.channels >= 16 &&
           conv.filters * taps % LANES == 0 && conv.filters * taps >= 16 * LANES &&
           conv.channel_stride == conv.filters * taps && conv.filter_stride == taps;
}

// NV vectors of columns at P pixels: columns (pixel, `row` values a row) += or, if `fresh`, = x w over
// `channels`; w has `row` values a channel, x `x_row`.
template <int P, int NV>
static void add_to_columns(const real* w, const real* x, i64 x_row, i64 channels, bool fresh, i64 row,
                           real* columns) {
    V acc[P][NV];
    #pragma GCC unroll 8
    for (int p = 0; p < P; ++p)
        #pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) acc[p][v] = fresh ? V{} : load(columns + p * row + v * LANES);
    for (i64 c = 0; c < channels; ++c, w += row, x += x_row) {
        V b[NV];
        #pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) {
            b[v] = load(w + v * LANES);
            __builtin_prefetch(w + (NV + v) * LANES);
        }
        #pragma GCC unroll 8
        for (int p = 0; p < P; ++p)
            #pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) acc[p][v] += x[p] * b[v];
    }
    #pragma GCC unroll 8
    for (int p = 0; p < P; ++p)
        #pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) store(columns + p * row + v * LANES, acc[p][v]);
}

template <int NV>
static void add_pixels(const real* w, const real* x, i64 pixels, i64 channels, bool fresh, i64 row, real* columns) {
    for (i64 p = 0; p < pixels; p += COLUMN_PIXELS) {
        const i64 n = pixels - p < COLUMN_PIXELS ? pixels - p : COLUMN_PIXELS;
        const auto run = n == 1 ? add_to_columns<1, NV> : n == 2 ? add_to_columns<2, NV>
                                                      : n == 3   ? add_to_columns<3, NV>
                                                      : n == 4   ? add_to_columns<4, NV>
                                                      : n == 5   ? add_to_columns<5, NV>
                                                      : n == 6   ? add_to_columns<(COLUMN_PIXELS > 5 ? 6 : 5), NV>
                                                                 : add_to_columns<COLUMN_PIXELS, NV>;
        run(w, x + p, pixels, channels, fresh, row, columns + p * row);
    }
}

// Of each output, the places in the columns of filter 0 that it adds: `most` of them, or fewer.
struct ColumnPlaces {
    const i64 most;
    Scratch<i64> places, counts;

    ColumnPlaces(const Extent& kernel, const Extent& xs, const Extent& ys, Dims stride, Dims padding, i64 row)
        : most(ceil_div(kernel.h, stride[1]) * ceil_div(kernel.w, stride[2])), places(ys.spatial() * most),
          counts(ys.spatial()) {
        for (i64 o = 0; o < ys.spatial(); ++o) {
            i64 count = 0;
            for (i64 at = 0; at < xs.spatial(); ++at) {
                const i64 i = o / ys.w + padding[1] - at / xs.w * stride[1],
                          j = o % ys.w + padding[2] - at % xs.w * stride[2];
                if (i >= 0 && i < kernel.h && j >= 0 && j < kernel.w)
                    places[o * most + count++] = at * row + i * kernel.w + j;
            }
            counts[o] = count;
        }
    }
};

// The outputs of sample n from its columns.
static inline void sum_columns(const Convolution& conv, i64 taps, const ColumnPlaces& from, i64 n,
                               const real* columns) {
    const i64 outputs = conv.ys.spatial();
    parallel_for(conv.filters, 1 + 16384 / (outputs * from.most), [&](i64 begin, i64 end) {
        for (i64 k = begin; k < end; ++k) {
            real* to = conv.y + (n * conv.filters + k) * outputs;
            for (i64 o = 0; o < outputs; ++o) {
                real sum = conv.bias ? conv.bias[k] : 0;
                for (i64 i = 0; i < from.counts[o]; ++i) sum += columns[k * taps + from.places[o * from.most + i]];
                to[o] = sum;
            }
        }
    });
}

// x of `samples` samples with their pixels side by side: (channels, samples x pixels)
static inline void join_samples(const real* x, i64 samples, i64 channels, i64 pixels, real* to) {
    for (i64 c = 0; c < channels; ++c)
        for (i64 n = 0; n < samples; ++n)
            for (i64 p = 0; p < pixels; ++p) *to++ = x[(n * channels + c) * pixels + p];
}

// columns (pixels, row) of x (channels, pixels)
static inline void multiply_columns(const real* weight, const real* x, i64 pixels, i64 channels, i64 row,
                                    real* columns) {
    constexpr i64 WIDE = COLUMN_VECTORS * LANES;
    parallel_for(ceil_div(row, WIDE), 8, [&](i64 begin, i64 end) {
        for (i64 c = 0; c < channels; c += COLUMN_CHANNELS) {
            const i64 some = channels - c < COLUMN_CHANNELS ? channels - c : COLUMN_CHANNELS;
            for (i64 at = begin * WIDE; at < end * WIDE && at < row;) {
                const bool wide = at + WIDE <= row;
                const auto run = wide ? add_pixels<COLUMN_VECTORS> : add_pixels<1>;
                run(weight + c * row + at, x + c * pixels, pixels, some, c == 0, row, columns + at);
                at += wide ? WIDE : LANES;
            }
        }
    });
}

static inline void by_columns(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding) {
    const i64 pixels = conv.xs.spatial(), channels = conv.channels, row = conv.filters * kernel.spatial(),
              sample = channels * pixels, together = FEW_PIXELS / pixels < conv.xs.n ? FEW_PIXELS / pixels : conv.xs.n;
    const ColumnPlaces places(kernel, conv.xs, conv.ys, stride, padding, row);
    Scratch<real> columns(together * pixels * row), joined(together > 1 ? together * sample : 1);
    for (i64 n = 0; n < conv.xs.n; n += together) {
        const i64   some = conv.xs.n - n < together ? conv.xs.n - n : together;
        const real* x    = conv.x + n * sample;
        if (some > 1) join_samples(x, some, channels, pixels, joined);
        multiply_columns(conv.weight, some > 1 ? joined : x, some * pixels, channels, row, columns);
        for (i64 i = 0; i < some; ++i)
            sum_columns(conv, kernel.spatial(), places, n + i, columns + i * pixels * row);
    }
}
}  // namespace ISA::REAL_NAME
