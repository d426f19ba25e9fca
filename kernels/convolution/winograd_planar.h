// A 3x3 (or 5x5) convolution of stride 1 on planar arrays by Winograd's algorithm (blocked_winograd_planar.cpp).
#pragma once
#include "geometry.h"
#include "winograd_filters.h"

extern bool pyops_winograd;   // module.cpp: false if precision is "strict"
extern __thread bool pyops_by_sample;    // module.cpp: pyops.batch_invariant()
extern __thread int  pyops_run_threads;  // csrc/parallel.h: within a compiled program

namespace ISA::REAL_NAME {
// A convolution of one group that may be computed so: every filter one plane of 3x3 or 5x5, stride 1.
// Only 3x3 ones have dilation.
struct PlanarSquare {
    const real *x, *bias;
    real*       y;
    Extent      xs, ys;
    SquareFilters  filters;
    i64         pad_h, pad_w, dilation_h, dilation_w;
};

// Outputs along a side of the tile that is estimated to be fastest, or 0: then Winograd's algorithm
// gains nothing. Depends on sizes only, and within programs and pyops.batch_invariant() not on the batch.
i64  winograd_tile(const PlanarSquare& conv);
// What that takes, in multiply-adds of whole vectors
double winograd_units(const PlanarSquare& conv, i64 tile);
void winograd_planar(const PlanarSquare& conv, i64 tile);
}  // namespace ISA::REAL_NAME
