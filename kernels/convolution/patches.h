// Transposed convolutions whose strides are their filter's size, as gradients of patch embeddings are: no
// two pixels meet in an output, so that columns = x^T weight, one matrix product, holds every output
// once, a row of a patch after the other.
#pragma once
#include "geometry.h"

namespace ISA::REAL_NAME {
void gemm(In<real> a, In<real> b, bool transpose_a, bool transpose_b, Out<real> c);

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
}  // namespace ISA::REAL_NAME
