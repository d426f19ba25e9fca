// Transposed convolutions with strides to few filters on images, the last layer of a generator, where
// every phase of the outputs alone would read all of the input for a filter or three.
//
// weight is (C, K taps) as it lies: products (K taps, pixels) = weight^T x of the rows of the input
// that a task needs are one matrix product, a strip of pixels at a time, whose channels are laid side
// by side first: planes lie a multiple of a page apart. An output then adds the products of the
// pixels and taps that meet in it: a phase of a row of outputs reads rows of products, moved.
// A product is one chain of multiply-adds over the channels, and an output adds taps in the order of
// rows and columns of the filter, whatever the batch and the threads.
#pragma once
#include "geometry.h"

namespace ISA::REAL_NAME {
constexpr i64 FEW_PRODUCTS = 64;           // K taps: more filters fill the tiles of other ways
constexpr int STRIP_VECTORS = 2, PRODUCT_ROWS = LANES * sizeof(real) == 64 ? 12 : 6;
constexpr i64 KEPT_PRODUCTS = 128 << 10;   // values of a task, in the second-level cache

static inline bool few_products_pay(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding,
                                    Dims dilation) {
    const i64 taps = kernel.spatial();
    return conv.groups == 1 && kernel.d == 1 && conv.xs.d == 1 && conv.ys.d == 1 && !padding[0] && dilation[1] == 1 &&
           dilation[2] == 1 && stride[1] * stride[2] >= 4 && stride[1] <= kernel.h && stride[2] <= kernel.w &&
           conv.filters <= 4 && conv.filters * taps <= FEW_PRODUCTS && conv.channels >= 16 &&
           conv.xs.w >= STRIP_VECTORS * LANES / 2 && conv.channel_stride == conv.filters * taps &&
           conv.filter_stride == taps;
}

// `rows` products of a strip: to[i][lane] = sum over c of w[c][i] strip[c][lane]
template <int R>
static void multiply_strip(const real* w, i64 w_row, const real* strip, i64 channels, real* to, i64 to_row) {
    V acc[R][STRIP_VECTORS] = {};
    for (i64 c = 0; c < channels; ++c, w += w_row, strip += STRIP_VECTORS * LANES) {
        const V x0 = load(strip), x1 = load(strip + LANES);
        #pragma GCC unroll 12
        for (int i = 0; i < R; ++i) {
            acc[i][0] += w[i] * x0;
            acc[i][1] += w[i] * x1;
        }
    }
    #pragma GCC unroll 12
    for (int i = 0; i < R; ++i)
        for (int v = 0; v < STRIP_VECTORS; ++v) store(to + i * to_row + v * LANES, acc[i][v]);
}

class FewProducts {
public:
    FewProducts(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding)
        : conv(conv), kernel(kernel), sh(stride[1]), sw(stride[2]), ph(padding[1]), pw(padding[2]),
          products(conv.filters * kernel.spatial()), margin(ceil_div(kernel.w + pw, sw) + 1),
          wide(ceil_div(conv.xs.w, STRIP) * STRIP), row(margin + wide + margin + STRIP),
          phase(ceil_div(conv.ys.w, sw)) {}

    void run() const {
        // rows of outputs for which a task keeps the products
        const i64 inputs = KEPT_PRODUCTS / (products * row), each = (inputs > 4 ? inputs - 2 : 2) * sh;
        const i64 most = ceil_div(conv.ys.h, threads_now() * 2), rows = each < most ? each : most > sh ? most : sh;
        const i64 chunks = ceil_div(conv.ys.h, rows), work = rows * conv.ys.w * conv.channels * products / (sh * sw);
        parallel_for(conv.xs.n * chunks, 1 + 400000 / (work + 1), [&](i64 begin, i64 end) {
            for (i64 i = begin; i < end; ++i) {
                const i64 from = i % chunks * rows;
                rows_of(i / chunks, from, from + rows < conv.ys.h ? from + rows : conv.ys.h);
            }
        });
    }

private:
    static constexpr i64 STRIP = STRIP_VECTORS * LANES;
    const Convolution& conv;
    const Extent       kernel;
    const i64          sh, sw, ph, pw, products, margin, wide, row, phase;

    // Output rows [begin, end) of sample n.
    void rows_of(i64 n, i64 begin, i64 end) const {
        // row oy meets input rows (oy + ph - r) / sh
        i64 top = begin + ph - kernel.h + 1, bottom = (end - 1 + ph) / sh;
        top = top < 0 ? 0 : ceil_div(top, sh);
        if (bottom >= conv.xs.h) bottom = conv.xs.h - 1;
        const i64 count = bottom < top ? 0 : bottom - top + 1;
        Scratch<real> kept(count * products * row + 1), strip(conv.channels * STRIP), line(sw * (phase + LANES));
        for (i64 i = 0; i < count; ++i) multiply_row(n, top + i, strip, kept + i * products * row);
        for (i64 k = 0; k < conv.filters; ++k)
            for (i64 oy = begin; oy < end; ++oy) sum_row(n, k, oy, top, count, kept, line);
    }

    void multiply_row(i64 n, i64 iy, real* strip, real* to) const {
        for (i64 p = 0; p < products; ++p)   // nothing lies left and right of the image
            for (i64 i = 0; i < row; ++i)
                if (i < margin || i >= margin + conv.xs.w) to[p * row + i] = 0;
        const i64 plane = conv.xs.h * conv.xs.w;
        for (i64 at = 0; at < conv.xs.w; at += STRIP) {
            const i64   some = conv.xs.w - at < STRIP ? conv.xs.w - at : STRIP;
            const real* x    = conv.x + n * conv.channels * plane + iy * conv.xs.w + at;
            for (i64 c = 0; c < conv.channels; ++c) {
                for (i64 i = 0; i < some; ++i) strip[c * STRIP + i] = x[c * plane + i];
                for (i64 i = some; i < STRIP; ++i) strip[c * STRIP + i] = 0;
            }
            real* const here = to + margin + at;
            i64 p = 0;
            for (; p + PRODUCT_ROWS <= products; p += PRODUCT_ROWS)
                multiply_strip<PRODUCT_ROWS>(conv.weight + p, products, strip, conv.channels, here + p * row, row);
            for (; p + 4 <= products; p += 4)
                multiply_strip<4>(conv.weight + p, products, strip, conv.channels, here + p * row, row);
            for (; p < products; ++p)
                multiply_strip<1>(conv.weight + p, products, strip, conv.channels, here + p * row, row);
        }
        if (conv.xs.w < wide)   // of the last strip, products of 0 and a weight that may be NaN
            for (i64 p = 0; p < products; ++p)
                for (i64 i = conv.xs.w; i < wide; ++i) to[p * row + margin + i] = 0;
    }

    void sum_row(i64 n, i64 k, i64 oy, i64 top, i64 count, const real* kept, real* line) const {
        const i64 taps = kernel.spatial(), length = phase + LANES;
        const V   bias = V{} + (conv.bias ? conv.bias[k] : real(0));
        for (i64 b = 0; b < sw; ++b)
            for (i64 j = 0; j < phase; j += LANES) {
                V sum = bias;
                for (i64 r = (oy + ph) % sh; r < kernel.h; r += sh) {
                    const i64 iy = oy + ph - r >= 0 ? (oy + ph - r) / sh - top : -1;
                    if (iy < 0 || iy >= count) continue;
                    for (i64 s = (b + pw) % sw; s < kernel.w; s += sw) {
                        // output sw j + b takes input j + (b + pw - s) / sw
                        const i64 moved = (b + pw - s) / sw;
                        sum += load(kept + (iy * products + k * taps + r * kernel.w + s) * row + margin + moved + j);
                    }
                }
                store(line + b * length + j, sum);
            }
        real* const to = conv.y + ((n * conv.filters + k) * conv.ys.h + oy) * conv.ys.w;
        if (sw == 2) {
            const real *even = line, *odd = line + length;
            i64 j = 0;
            for (; 2 * j + 1 < conv.ys.w; ++j) to[2 * j] = even[j], to[2 * j + 1] = odd[j];
            if (2 * j < conv.ys.w) to[2 * j] = even[j];
        } else
            for (i64 ox = 0; ox < conv.ys.w; ++ox) to[ox] = line[ox % sw * length + ox / sw];
    }
};
}  // namespace ISA::REAL_NAME
