// A convolution as a list of taps: y[n, k, o] = bias[k] + sum over c, tap of w(k, c, tap) x[n, c, o
// in_stride + offset(tap)], the outputs o standing at position o out_stride + out_offset of y. A
// plain convolution is one such list with out_stride 1; a transposed convolution with stride s is
// s_d s_h s_w of them, one for each phase of its output positions, with in_stride 1.
#pragma once
#include "kernel.h"

namespace ISA::REAL_NAME {
struct Position { i64 d, h, w; };
struct Tap { i64 d, h, w, index; };           // offset into the input, and place in the filter

struct TapList {
    const Tap* taps;
    i64        count;
    bool       whole_filter;                  // every tap of the filter, in its order
    Position   in_stride, out_stride, out_offset;
    Position   grid;                          // outputs computed on each axis
    bool       padded_rows = false;           // of x: taps stay inside, and a vector more can be read (phases.h)
    i64  outputs() const { return grid.d * grid.h * grid.w; }
    bool dense_output() const { return out_stride.d == 1 && out_stride.h == 1 && out_stride.w == 1; }
};

// A plain convolution's list: every tap of the filter, written to `taps` (kernel.spatial() of
// them), at every position of y.
static inline TapList whole_filter(const Extent& kernel, const Extent& y, Dims stride, Dims padding,
                                   Dims dilation, Tap* taps) {
    i64 count = 0;
    for (i64 d = 0; d < kernel.d; ++d)
        for (i64 h = 0; h < kernel.h; ++h)
            for (i64 w = 0; w < kernel.w; ++w, ++count)
                taps[count] = {d * dilation[0] - padding[0], h * dilation[1] - padding[1],
                               w * dilation[2] - padding[2], count};
    return {taps, count, true, {stride[0], stride[1], stride[2]}, {1, 1, 1}, {0, 0, 0}, {y.d, y.h, y.w}};
}

// One call's arrays. x and y have all channels; channels and filters count those of one group.
// w(k, c, tap) of a group = weight[group * group_stride + k * filter_stride + c *
// channel_stride + tap.index].
struct Convolution {
    const real *x, *weight, *bias;
    real*       y;
    Extent      xs, ys;
    i64         groups, channels, filters;
    i64         group_stride, filter_stride, channel_stride;
    const real* weights_of(i64 group) const { return weight + group * group_stride; }
};

// A run of outputs in one row of y: `length` of them from (n, d, h, w) on, at columns `column`... of a panel.
struct Run { i64 column, length, n, d, h, w; };

// Cuts the outputs [begin, end), counted over all samples, into runs. Returns how many; `runs`
// must hold end - begin.
static inline int cut_runs(const TapList& t, i64 begin, i64 end, Run* runs) {
    int count = 0;
    for (i64 j = begin; j < end;) {
        const i64 w = j % t.grid.w, row = j / t.grid.w;
        const i64 length = t.grid.w - w < end - j ? t.grid.w - w : end - j;
        runs[count++] = {j - begin,      length, row / (t.grid.h * t.grid.d), row / t.grid.h % t.grid.d,
                         row % t.grid.h, w};
        j += length;
    }
    return count;
}

// Whether rows of the input with what windows reach beside it, split by stride, are of about the image's size:
// in blocked layout they are laid out before they are read. As is_modest of graph/lowering/convolution.py.
static inline bool is_modest(const Extent& x, const Extent& y, const Extent& kernel, Dims stride, Dims dilation) {
    constexpr i64 SLACK = 4096;   // places beyond the image that are of no account
    const auto modest = [&](int axis, i64 size, i64 out, i64 taps) {
        return stride[axis] <= size + SLACK &&
               (out - 1) * stride[axis] + (taps - 1) * dilation[axis] + 1 <= 4 * size + SLACK;
    };
    return modest(0, x.d, y.d, kernel.d) && modest(1, x.h, y.h, kernel.h) && modest(2, x.w, y.w, kernel.w);
}

static inline i64 offset_in(const Extent& e, i64 d, i64 h, i64 w) { return (d * e.h + h) * e.w + w; }
static inline i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }
static inline i64 clamp(i64 v, i64 low, i64 high) { return v < low ? low : v > high ? high : v; }
}  // namespace ISA::REAL_NAME
