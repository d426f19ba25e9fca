// A single call of a convolution of many groups by grouped_conv, or by direct_conv where they are whole
// blocks: maps are copied into blocks of channels, a few groups at a time, and back.
#include "blocked/layout.h"
#include "direct_planar.h"
#include "inside.h"
#include "program_kernel.h"
#include "winograd_cost.h"

BEGIN_KERNELS
void grouped_conv(InMap<real> x, i64 channels, In<real> weight, In<real> bias, InMap<real> residual, Window window,
                  i64 groups, i64 filters, Act act, OutMap<real> y);
void direct_conv(InMap<real> x, i64 channels, In<real> scale, In<real> shift, In<real> gate, In<real> weight,
                 In<real> bias, InMap<real> residual, Window window, i64 groups, Act act, OutMap<real> y);

namespace {
constexpr double LEAST_WORK   = 3;    // multiply-adds of a line of 16 values that is copied: fewer are not worth it
constexpr i64    MOST_FILTERS = 48;   // of a group: of more implicit_gemm.h makes products of matrices

// Whether direct_conv's tile, which has several blocks of filters, can take a group
bool whole_blocks(const Convolution& conv) {
    return conv.filters > BLOCK && conv.filters % BLOCK == 0 && conv.channels % BLOCK == 0;
}

bool gains(const Convolution& conv, const Extent& kernel) {
    if (conv.channels == 1 || kernel.h * kernel.w == 1) return false;   // planar.h has no copies to make
    const double taps = kernel.h * kernel.w, work = taps * conv.channels * conv.ys.spatial() * conv.filters / BLOCK,
                 maps = (conv.xs.spatial() * conv.channels + conv.ys.spatial() * conv.filters) / double(BLOCK);
    return work >= LEAST_WORK * maps &&
           (whole_blocks(conv) || (conv.filters <= MOST_FILTERS && conv.channels <= MOST_FILTERS));
}

// A few groups as a layer of their own: the fewest that fill blocks of channels and filters, and those at
// most that there are.
i64 groups_together(const Convolution& conv) {
    i64 unit = 1;
    while (unit < conv.groups && (unit * conv.channels % BLOCK || unit * conv.filters % BLOCK)) ++unit;
    return unit;
}

// Filters of `count` groups from `first` on, as grouped_conv or direct_conv reads them: a vector of filters at a
// time, runs of values that lie side by side in each.
void pack(const Convolution& conv, i64 first, i64 count, i64 taps, bool turned, real* packed) {
    const bool whole = whole_blocks(conv);
    const i64 filters = count * conv.filters, length = turned ? taps : conv.channels * taps,
              runs = turned ? conv.channels : 1;
    for (i64 k0 = 0; k0 < blocks_of(filters) * BLOCK; k0 += LANES) {
        real* const to = packed + k0 / BLOCK * taps * conv.channels * BLOCK + k0 % BLOCK;
        const i64 rows_left = clamp(filters - k0, 0, LANES);
        for (i64 run = 0; run < runs; ++run)
            for (i64 j = 0; j < length; j += LANES) {
                const int n = (int)clamp(length - j, 0, LANES);
                V rows[LANES] = {};
                for (i64 i = 0; i < rows_left; ++i) {
                    const i64 k = k0 + i;
                    const real* from = conv.weights_of(first + k / conv.filters) +
                                       k % conv.filters * conv.filter_stride + run * conv.channel_stride + j;
                    rows[i] = n == LANES ? load(from) : load(from, n);
                }
                interleave(rows);
                for (int i = 0; i < n; ++i) {
                    const i64 c = turned ? run : (j + i) / taps, t = turned ? taps - 1 - j - i : (j + i) % taps;
                    const i64 place = whole ? c / BLOCK * taps * BLOCK + t * BLOCK + c % BLOCK : t * conv.channels + c;
                    store(to + place * BLOCK, rows[i]);
                }
            }
    }
}
}  // namespace

bool groups_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                      bool turned) {
    const Extent &xs = conv.xs, &ys = conv.ys;
    const i64 taps = kernel.h * kernel.w, pad_h = turned ? dilation[1] * (kernel.h - 1) - padding[1] : padding[1],
              pad_w = turned ? dilation[2] * (kernel.w - 1) - padding[2] : padding[2];
    if (conv.groups == 1 || kernel.d != 1 || xs.d != 1 || ys.d != 1 ||
        padding[0] || !xs.n || !ys.spatial() || pad_h < 0 || pad_w < 0 || !gains(conv, kernel) ||
        // what zeros of the padding make of a filter that is not finite has to be seen
        !all_finite(conv.weight, conv.groups * conv.filters * conv.channels * taps))
        return false;
    const bool whole = whole_blocks(conv);
    const i64 together = groups_together(conv), units = (conv.groups + together - 1) / together;
    const i64 in_blocks = blocks_of(together * conv.channels), out_blocks = blocks_of(together * conv.filters),
              filter_block = taps * conv.channels * BLOCK, x_sample = in_blocks * xs.spatial() * BLOCK,
              y_sample = out_blocks * ys.spatial() * BLOCK;
    Scratch<real> weight(units * out_blocks * filter_block), bias(units * out_blocks * BLOCK);
    parallel_for(units, 1 + 65536 / (out_blocks * filter_block + 1), [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            const i64 first = u * together, count = clamp(conv.groups - first, 0, together);
            pack(conv, first, count, taps, turned, weight + u * out_blocks * filter_block);
            for (i64 k = 0; k < out_blocks * BLOCK; ++k)
                bias[u * out_blocks * BLOCK + k] =
                    conv.bias && k < count * conv.filters ? conv.bias[first * conv.filters + k] : 0;
        }
    });
    const Window window{{{kernel.h, kernel.w}, 2},
                        {{stride[1], stride[2]}, 2},
                        {{pad_h, pad_w}, 2},
                        {{dilation[1], dilation[2]}, 2}};
    parallel_for(xs.n * units, 1, [&](i64 begin, i64 end) {
        Scratch<real> x(x_sample), y(y_sample);
        for (i64 at = begin; at < end; ++at) {
            const i64 sample = at / units, u = at % units, first = u * together,
                      count = clamp(conv.groups - first, 0, together), channels = count * conv.channels,
                      filters = count * conv.filters, x_blocks = blocks_of(channels), y_blocks = blocks_of(filters);
            const i64 in_shape[] = {1, channels, xs.h, xs.w}, out_shape[] = {1, filters, ys.h, ys.w},
                      filter_shape[] = {y_blocks, kernel.h, kernel.w, conv.channels, BLOCK},
                      whole_shape[] = {y_blocks, x_blocks, kernel.h, kernel.w, BLOCK, BLOCK},
                      bias_shape[] = {y_blocks * BLOCK};
            to_blocked({conv.x + (sample * xs.c + first * conv.channels) * xs.spatial(), in_shape, 4},
                       {x, 1, x_blocks, xs.h, xs.w, x_sample});
            const InMap<real>  image{x, 1, x_blocks, xs.h, xs.w, x_sample};
            const OutMap<real> result{y, 1, y_blocks, ys.h, ys.w, y_sample};
            const Act          nothing{Activation::CLAMP, -__builtin_inf(), __builtin_inf()};
            const In<real>     each_bias{bias + u * out_blocks * BLOCK, bias_shape, 1};
            const real* const  each = weight + u * out_blocks * filter_block;
            if (whole)
                direct_conv(image, channels, {}, {}, {}, {each, whole_shape, 6}, each_bias, {}, window, 1, nothing,
                            result);
            else
                grouped_conv(image, channels, {each, filter_shape, 5}, each_bias, {}, window, count, filters, nothing,
                             result);
            from_blocked({y, 1, y_blocks, ys.h, ys.w, y_sample},
                         {conv.y + (sample * ys.c + first * conv.filters) * ys.spatial(), out_shape, 4});
        }
    });
    return true;
}
END_KERNELS
