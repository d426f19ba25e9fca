// Filters on their way to Winograd's points (blocked_winograd_filters.cpp).
#pragma once
#include "program_kernel.h"

namespace ISA::REAL_NAME {
// w(k, c, tap) = weight[k * filter_stride + c * channel_stride + tap], taps of 3x3 row by row; `turned`: by half a turn, as a gradient meets them.
struct Filters3x3 {
    const real* weight;
    i64  filters, channels, filter_stride, channel_stride;
    bool turned;
};

// G w G^T for F(tile x tile, 3x3): u is (filters / 16, (tile + 2)^2, channels, 16), zeros where filters do not fill a block.
void winograd_filters(const Filters3x3& w, i64 tile, real* u);
}  // namespace ISA::REAL_NAME
