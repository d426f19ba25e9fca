// Filters on their way to Winograd's points (blocked_winograd_filters.cpp).
#pragma once
#include "program_kernel.h"

namespace ISA::REAL_NAME {
// w(k, c, tap) = weight[k * filter_stride + c * channel_stride + tap], side x side taps (3, 2 or 5) row
// by row; `turned`: by half a turn, as a gradient meets them. `packed`: weight is (blocks of filters, channels,
// taps, 16), zeros where filters do not fill a block, and there are no strides.
struct SquareFilters {
    const real* weight;
    i64  filters, channels, filter_stride, channel_stride;
    bool turned;
    i64  side = 3;
    bool packed = false;
    i64  taps() const { return side * side; }
    // of a block, from a channel on, where they are packed
    const real* at(i64 block, i64 c) const { return weight + (block * channels + c) * taps() * BLOCK; }
};

// Filters as programs have them: planar (K, C, side, side), or packed (K / 16, C, side, side, 16).
static inline SquareFilters square_filters(const In<real>& weight) {
    const bool packed = weight.ndim == 5;
    const i64 channels = weight.dim(1), side = weight.dim(2), taps = side * side;
    return {weight.data, weight.dim(0) * (packed ? BLOCK : 1), channels, taps * channels, taps, false, side, packed};
}

// Whether Winograd's algorithm may take the filters (winograd_uneven.h): none of them has, but for
// an eighth, a single tap.
bool even_filters(const SquareFilters& w);

// A 3x3 convolution of stride 1 on maps: what winograd_conv (program.inc) does. u: `filters`
// transformed for `tile`, which is 4 where they are 2x2 and 2 where they are 5x5; null: they are
// transformed as they are met. bias covers whole blocks.
void winograd_layer(InMap<real> x, const SquareFilters& filters, const real* u, i64 tile, const real* bias,
                    InMap<real> residual, Dims padding, i64 pool, Act act, OutMap<real> y);

// The same with dilation, and no pooling (blocked_winograd_dilated.cpp).
void winograd_dilated_layer(InMap<real> x, const SquareFilters& filters, const real* u, i64 tile,
                            const real* bias, InMap<real> residual, Dims padding, Dims dilation, Act act,
                            OutMap<real> y);

// G w G^T for F(tile x tile, side x side): u is (filters / 16, (tile + side - 1)^2, channels, 16),
// zeros where filters do not fill a block.
void winograd_filters(const SquareFilters& w, i64 tile, real* u);
// The same of channels [c, c + count) of one block of 16 filters, by the thread that calls: a point is `point`
// values from the last. taps: room for (count, side x side, 16) where they are not packed.
void winograd_filter_points(const SquareFilters& w, i64 tile, i64 block, i64 c, i64 count, real* taps, real* u,
                            i64 point);
}  // namespace ISA::REAL_NAME
