// Pieces of convolutions in blocked layout that fused kernels (blocked_inverted.cpp) are put
// together from: runs of pixels of a 1x1 convolution, and rows of a depthwise one. They run
// on the calling thread.
#pragma once
#include "blocked/epilogue.h"

BEGIN_KERNELS
// A 1x1 convolution of `pixels` pixels that lie side by side: the filter blocks [first, last).
// Planes of blocks of channels are x_block, y_block and residual_block apart; x begins at block 0,
// y and residual at block `first`. bias and residual may be null. far_x, far_y: it comes from, goes to memory.
struct PixelRun {
    const real *x, *weight, *bias, *residual;   // weight as in direct_conv
    real*       y;
    i64         channels, x_block, y_block, residual_block, pixels;
    bool        far_x, far_y;
    bool        half = false;   // the last of those blocks has 8 filters at most
};
void convolve_pixels(const PixelRun& run, i64 first, i64 last, const Epilogue& e);

// A bias for whole blocks of filters, of one that may end 8 lanes before: these have no filters.
struct WholeBias {
    Scratch<real> copy;
    const real*   data;
    bool          half;

    WholeBias(In<real> bias, i64 blocks)
            : copy(bias ? blocks * BLOCK : 0), data(bias.data), half(bias && bias.size() < blocks * BLOCK) {
        if (!half) return;
        std::memcpy(copy, bias.data, bias.size() * sizeof(real));
        std::memset(copy + bias.size(), 0, (blocks * BLOCK - bias.size()) * sizeof(real));
        data = copy;
    }
};

// One axis of a window over [0, in)
struct Axis {
    i64 taps, stride, padding, dilation, in;

    // The taps of output o that lie inside the image
    struct Inside { i64 first, count; };
    Inside inside(i64 o) const {
        const i64 at = o * stride - padding;
        if (at >= 0 && at + (taps - 1) * dilation < in) return {0, taps};
        const i64 first = at < 0 ? (-at + dilation - 1) / dilation : 0,
                  end = at < in ? (in - 1 - at) / dilation + 1 : 0;
        return {first, (end < taps ? end : taps) - first};
    }
};

// Rows [begin, end) of the outputs of one block of channels of a depthwise convolution, `width`
// wide; x and y begin at row 0
struct Band {
    Axis        h, w;
    const real *x, *weight;        // of the block
    const real *bias, *residual;   // may be null
    real*       y;
    i64         begin, end, width;
};
void convolve_band(const Band& band, const Epilogue& e);

// The sum of a row of w pixels of a block, in four chains; and the mean of n rows so added, of the
// `count` channels that there are
void add_row(const real* y, i64 w, real* sum);
void mean_of_rows(const real* sums, i64 rows, i64 pixels, i64 count, real* mean);
END_KERNELS
