// The weight gradient of a 3x3 convolution of stride 1 by Winograd's algorithm
// (blocked_winograd_gradient.cpp).
#pragma once
#include "geometry.h"
#include "program_kernel.h"

extern bool pyops_winograd;   // module.cpp: false if precision is "strict"

namespace ISA::REAL_NAME {
struct Gradient3x3 {
    const real *x, *dy;
    real*       dw;         // (ys.c, xs.c, 3, 3)
    Extent      xs, ys;
    i64         pad_h, pad_w;
};

// Outputs along a side of the tile that is estimated to be fastest, or 0: then Winograd's algorithm
// gains nothing. Depends on sizes only.
i64  winograd_tile(const Gradient3x3& g);
// False, with dw undefined, where so many tiles hold outliers that a direct gradient is faster.
bool winograd_gradient(const Gradient3x3& g, i64 tile);
}  // namespace ISA::REAL_NAME
