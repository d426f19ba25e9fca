// Convolutions whose strides are their filter's size, as patch embeddings are: no two outputs meet in a
// pixel, so that y = weight columns^T is one matrix product, of columns that hold every pixel once.
// Transposed ones, as their gradients: columns = x^T weight holds every output once, a row of a patch
// after the other.
#pragma once
#include "geometry.h"

namespace ISA::REAL_NAME {
void gemm(In<real> a, In<real> b, bool transpose_a, bool transpose_b, Out<real> c);

static inline bool all_of(Dims d, i64 value) { return d[0] == value && d[1] == value && d[2] == value; }

constexpr i64 LEAST_PATCH = 4;   // values of a row: fewer cost more to lay out than phases of outputs do

static inline bool are_patches(const Convolution& conv, const Extent& kernel, Dims stride, Dims dilation) {
    const i64 taps = kernel.spatial();
    return conv.groups == 1 && stride[0] == kernel.d && stride[1] == kernel.h && stride[2] == kernel.w &&
           (kernel.d == 1 || dilation[0] == 1) && dilation[1] == 1 && dilation[2] == 1 && kernel.w >= LEAST_PATCH &&
           conv.channels >= LANES && conv.channel_stride == conv.filters * taps && conv.filter_stride == taps;
}

// Whether every output lies in a patch; if not, those that do not hold what they held.
static inline bool patches_cover(const Convolution& conv, Dims stride, Dims padding) {
    const Extent &xs = conv.xs, &ys = conv.ys;
    return xs.d * stride[0] - padding[0] >= ys.d && xs.h * stride[1] - padding[1] >= ys.h &&
           xs.w * stride[2] - padding[2] >= ys.w;
}

// Rows of the patches of one sample to where they lie in filter k's plane
static void lay_patches(const Convolution& conv, const Extent& kernel, Dims padding, i64 n, i64 k,
                        const real* columns) {
    const Extent &xs = conv.xs, &ys = conv.ys;
    const i64 taps = kernel.spatial(), row = conv.filters * taps;
    const real bias = conv.bias ? conv.bias[k] : 0;
    real* const plane = conv.y + (n * ys.c + k) * ys.spatial();
    for (i64 d = 0; d < ys.d; ++d)
        for (i64 h = 0; h < ys.h; ++h) {
            const i64 in_d = d + padding[0], in_h = h + padding[1];
            if (in_d / kernel.d >= xs.d || in_h / kernel.h >= xs.h) continue;
            const real* from = columns + (in_d / kernel.d * xs.h + in_h / kernel.h) * xs.w * row + k * taps +
                               (in_d % kernel.d * kernel.h + in_h % kernel.h) * kernel.w;
            real* const to = plane + (d * ys.h + h) * ys.w;
            for (i64 p = 0; p < xs.w; ++p, from += row) {
                const i64 at = p * kernel.w - padding[2], first = at < 0 ? -at : 0,
                          end = clamp(ys.w - at, 0, kernel.w);
                for (i64 j = first; j < end; ++j) to[at + j] = from[j] + bias;
            }
        }
}

static void by_patches(const Convolution& conv, const Extent& kernel, Dims padding) {
    const i64 pixels = conv.xs.spatial(), channels = conv.channels, row = conv.filters * kernel.spatial();
    Scratch<real> columns(pixels * row);
    const i64 x_shape[] = {1, channels, pixels}, weight_shape[] = {1, channels, row},
              columns_shape[] = {1, pixels, row};
    for (i64 n = 0; n < conv.xs.n; ++n) {
        gemm({conv.x + n * channels * pixels, x_shape, 3}, {conv.weight, weight_shape, 3}, true, false,
             {columns, columns_shape, 3});
        parallel_for(conv.filters, 1 + 16384 / (conv.ys.spatial() + 1), [&](i64 begin, i64 end) {
            for (i64 k = begin; k < end; ++k) lay_patches(conv, kernel, padding, n, k, columns);
        });
    }
}

// Whether a plain convolution without padding goes that way; few pixels, or few values a patch, are no
// product. Behind an image there may be zeros that no padding tells of (SAME of an even filter): not here.
static inline bool are_patches_of(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding,
                                  Dims dilation) {
    const Extent &xs = conv.xs, &ys = conv.ys;
    const i64 taps = kernel.spatial();
    return conv.groups == 1 && stride[0] == kernel.d && stride[1] == kernel.h && stride[2] == kernel.w &&
           ys.d * kernel.d <= xs.d && ys.h * kernel.h <= xs.h && ys.w * kernel.w <= xs.w &&
           all_of(dilation, 1) && all_of(padding, 0) && kernel.w >= LEAST_PATCH && conv.filters >= 4 * LANES &&
           conv.channels * taps >= 4 * LANES && conv.ys.spatial() >= 4 * LANES;
}

// Patches [begin, end) of a sample, each a row of values as filters have them
static inline void take_patches(const Convolution& conv, const Extent& kernel, i64 n, i64 begin, i64 end,
                                real* columns) {
    const Extent &xs = conv.xs, &ys = conv.ys;
    const real* const image = conv.x + n * xs.c * xs.spatial();
    for (i64 p = begin; p < end; ++p) {
        const i64 d = p / (ys.w * ys.h) * kernel.d, h = p / ys.w % ys.h * kernel.h, w = p % ys.w * kernel.w;
        real* to = columns + p * xs.c * kernel.spatial();
        for (i64 c = 0; c < xs.c; ++c)
            for (i64 a = 0; a < kernel.d; ++a)
                for (i64 b = 0; b < kernel.h; ++b, to += kernel.w) {
                    const real* const from = image + c * xs.spatial() + offset_in(xs, d + a, h + b, w);
                    for_vectors(kernel.w, [&](i64 i, auto lanes) { lanes.store(to + i, lanes.load(from + i)); });
                }
    }
}

static inline void conv_of_patches(const Convolution& conv, const Extent& kernel) {
    const i64 pixels = conv.ys.spatial(), row = conv.channels * kernel.spatial(), filters = conv.filters;
    Scratch<real> columns(pixels * row);
    const i64 weight_shape[] = {1, filters, row}, columns_shape[] = {1, pixels, row}, y_shape[] = {1, filters, pixels};
    for (i64 n = 0; n < conv.xs.n; ++n) {
        parallel_for(pixels, 1 + 16384 / row,
                     [&](i64 begin, i64 end) { take_patches(conv, kernel, n, begin, end, columns); });
        real* const y = conv.y + n * filters * pixels;
        gemm({conv.weight, weight_shape, 3}, {columns, columns_shape, 3}, false, true, {y, y_shape, 3});
        if (conv.bias)
            parallel_for(filters, 1 + 16384 / pixels, [&](i64 begin, i64 end) {
                for (i64 k = begin; k < end; ++k)
                    for_vectors(pixels, [&, bias = splat(conv.bias[k])](i64 i, auto lanes) {
                        lanes.store(y + k * pixels + i, lanes.load(y + k * pixels + i) + bias);
                    });
            });
    }
}
}  // namespace ISA::REAL_NAME
