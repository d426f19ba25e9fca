// A single call of a convolution by direct_conv, for which maps are copied into blocks of channels,
// and back: its filters' vectors keep the multiply-adds busier than implicit_gemm.h does, and taps
// that lie outside of the image (a dilation of a third of the image and more) are left out.
#include "blocked/layout.h"
#include "direct_planar.h"
#include "gemm/gemm.h"
#include "inside.h"
#include "program_kernel.h"
#include "winograd_cost.h"

extern __thread bool pyops_by_sample;    // module.cpp: pyops.batch_invariant()
extern __thread int  pyops_run_threads;  // csrc/parallel.h: within a compiled program

BEGIN_KERNELS
void stem_conv(In<real> x, In<real> weight, In<real> bias, Window window, Act act, OutMap<real> y);

namespace {
constexpr double UNIT  = 0.85;   // 16 multiply-adds, in those of implicit_gemm.h
constexpr double SHARE = 0.95; // it must cost less than this share of all multiply-adds

bool gains(const Convolution& conv, const Extent& kernel, i64 pad_h, i64 pad_w, Dims stride, Dims dilation) {
    const double n = pyops_by_sample || pyops_run_threads ? 1 : conv.xs.n, taps = kernel.h * kernel.w,
                 blocks = blocks_of(conv.filters),
                 all = n * conv.ys.spatial() * taps * conv.channels * blocks;
    const double share = share_inside(conv.xs.h, conv.ys.h, kernel.h, pad_h, dilation[1], stride[1]) *
                         share_inside(conv.xs.w, conv.ys.w, kernel.w, pad_w, dilation[2], stride[2]);
    const double copies =
        COPY * n * (conv.xs.spatial() * blocks_of(conv.channels) + conv.ys.spatial() * blocks);
    return UNIT * share * all + copies < SHARE * all;
}

// 1x1 filters that outweigh the map: implicit_gemm.h packs them with as much work for a part of its panels.
bool few_pixels(const Convolution& conv) {
    constexpr i64 PLANE = 64, PIXELS = 512, WEIGHTS = 1 << 19;
    const i64 n = pyops_by_sample || pyops_run_threads ? 1 : conv.xs.n;
    return conv.ys.spatial() == conv.xs.spatial() && conv.xs.spatial() <= PLANE && n * conv.xs.spatial() <= PIXELS &&
           conv.channels * conv.filters >= WEIGHTS;
}

}  // namespace

bool direct_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                      bool turned) {
    const Extent &xs = conv.xs, &ys = conv.ys;
    if (conv.groups != 1 || kernel.d != 1 || xs.d != 1 || ys.d != 1 || padding[0] ||
        (kernel.h * kernel.w == 1 && !few_pixels(conv)) || conv.channels < BLOCK || conv.filters < BLOCK)
        return false;
    const i64 pad_h = turned ? dilation[1] * (kernel.h - 1) - padding[1] : padding[1],
              pad_w = turned ? dilation[2] * (kernel.w - 1) - padding[2] : padding[2];
    if (pad_h < 0 || pad_w < 0 || !gains(conv, kernel, pad_h, pad_w, stride, dilation)) return false;
    return maps_in_blocks(conv, kernel, stride, padding, dilation, turned);
}

// First layers, of few channels and large filters: stem_conv reads images as they are. A task makes a band of
// rows in its own cache, in blocks, and lays it where it belongs.
bool stem_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                    i64 y_sample, i64 y_channel) {
    constexpr i64 BAND_BYTES = 512 << 10;
    const Extent &xs = conv.xs, &ys = conv.ys;
    const i64 taps = kernel.h * kernel.w, blocks = blocks_of(conv.filters);
    // of more filters than planar.h takes: implicit_gemm.h would pack panels of many short runs
    const bool short_rows = conv.filters > BLOCK && taps >= 9 && conv.channels * taps >= 32 &&
                            8 * ys.w <= 5 * ceil_div(ys.w, LANES) * LANES;
    if (conv.groups != 1 || kernel.d != 1 || xs.d != 1 || ys.d != 1 || padding[0] || conv.channels >= BLOCK ||
        conv.filters < BLOCK || !(taps >= STEM_TAPS || short_rows) || ys.spatial() < 4 * BLOCK ||
        !all_finite(conv.weight, conv.filters * conv.channels * taps))
        return false;
    const i64 row = conv.channels * taps, row_bytes = blocks * ys.w * BLOCK * (i64)sizeof(real),
              rows = clamp(BAND_BYTES / row_bytes, 1, ys.h), threads = threads_now();
    i64 bands = ceil_div(ys.h, rows);   // few of them are as many for each thread
    while (xs.n * bands < 8 * threads && xs.n * bands % threads && bands < ys.h) ++bands;
    Scratch<real> weight(blocks * row * BLOCK), bias(blocks * BLOCK);
    for (i64 k = 0; k < blocks * BLOCK; ++k) bias[k] = k < conv.filters && conv.bias ? conv.bias[k] : 0;
    for (i64 b = 0; b < blocks; ++b)
        for (i64 part = 0; part < BLOCK; part += LANES)
            pack_rows<LANES>(conv.weight + (b * BLOCK + part) * conv.filter_stride, conv.filter_stride,
                             (int)clamp(conv.filters - b * BLOCK - part, 0, LANES), row,
                             weight + b * row * BLOCK + part, BLOCK);
    parallel_tasks(xs.n * bands, [&](i64 task) {
        const i64 n = task / bands, first = ys.h * (task % bands) / bands,
                  count = ys.h * (task % bands + 1) / bands - first;
        const i64 in_shape[] = {1, xs.c, xs.h, xs.w}, bias_shape[] = {blocks * BLOCK},
                  packed_shape[] = {blocks, conv.channels, kernel.h, kernel.w, BLOCK};
        const Window window{{{kernel.h, kernel.w}, 2},
                            {{stride[1], stride[2]}, 2},
                            {{padding[1] - first * stride[1], padding[2]}, 2},
                            {{dilation[1], dilation[2]}, 2}};
        Scratch<real> y(blocks * count * ys.w * BLOCK);
        stem_conv({conv.x + n * xs.c * xs.spatial(), in_shape, 4}, {weight, packed_shape, 5}, {bias, bias_shape, 1},
                  window, {Activation::CLAMP, -__builtin_inf(), __builtin_inf()},
                  {y, 1, blocks, count, ys.w, blocks * count * ys.w * BLOCK});
        planes_from_blocked({y, 1, blocks, count, ys.w, blocks * count * ys.w * BLOCK}, conv.filters,
                            conv.y + n * y_sample + first * ys.w, y_channel);
    });
    return true;
}
END_KERNELS
