// A transposed convolution whose filters are not finite. The other algorithms multiply them with
// zeros beside the input, which an output beside the input would not see: here a row of outputs
// takes from each tap what lies inside, and nothing else. Same chain of multiply-adds.
#pragma once
#include <atomic>
#include "planar.h"

namespace ISA::REAL_NAME {
static inline bool all_finite(const real* v, i64 n) {
    std::atomic<bool> finite{true};
    parallel_for(n, 1 << 16, [&](i64 begin, i64 end) {
        V lost{};   // NaN from the first value on that is not finite
        for_vectors(end - begin, [&](i64 at, auto lanes) { lost += lanes.load(v + begin + at) * 0; });
        if (hsum(lost) != 0) finite = false;
    });
    return finite;
}

// Whether some output's tap lies beside the input.
static inline bool reads_outside(const Convolution& conv, const TapList& t) {
    const TapRange r = range_of(t);
    const auto inside = [](i64 low, i64 high, i64 outputs, i64 stride, i64 inputs) {
        return low >= 0 && (outputs - 1) * stride + high < inputs;
    };
    return !(inside(r.low_d, r.high_d, t.grid.d, t.in_stride.d, conv.xs.d) &&
             inside(r.low_h, r.high_h, t.grid.h, t.in_stride.h, conv.xs.h) &&
             inside(r.low_w, r.high_w, t.grid.w, t.in_stride.w, conv.xs.w));
}

// Row (od, oh) of the outputs of a filter, from each tap's products inside. in_stride is 1.
static inline void row_inside(const Convolution& conv, const TapList& t, i64 n, i64 filter, i64 od, i64 oh,
                              real* acc) {
    const i64 group = filter / conv.filters, width = t.grid.w;
    const real* weights = conv.weights_of(group) + filter % conv.filters * conv.filter_stride;
    for_vectors(width,
                [&](i64 i, auto lanes) { lanes.store(acc + i, splat(conv.bias ? conv.bias[filter] : 0)); });
    for (i64 c = 0; c < conv.channels; ++c) {
        const real* plane = conv.x + (n * conv.xs.c + group * conv.channels + c) * conv.xs.spatial();
        for (i64 i = 0; i < t.count; ++i) {
            const Tap& tap = t.taps[i];
            const i64 d = od + tap.d, h = oh + tap.h;
            if (d < 0 || d >= conv.xs.d || h < 0 || h >= conv.xs.h) continue;
            const i64 begin = clamp(-tap.w, 0, width), end = clamp(conv.xs.w - tap.w, begin, width);
            const V weight = splat(weights[c * conv.channel_stride + tap.index]);
            const real* x = plane + offset_in(conv.xs, d, h, begin + tap.w);
            for_vectors(end - begin, [&](i64 at, auto lanes) {
                lanes.store(acc + begin + at, lanes.load(acc + begin + at) + weight * lanes.load(x + at));
            });
        }
    }
    real* y = row_of_y(conv, t, n, filter, od, oh);
    for (i64 w = 0; w < width; ++w) y[w * t.out_stride.w] = acc[w];
}

static inline void taps_inside(const Convolution& conv, const TapList& t) {
    const i64 rows = t.grid.d * t.grid.h;
    parallel_for(conv.ys.n * conv.ys.c * rows, 1 + 65536 / (conv.channels * t.count * t.grid.w + 1),
                 [&](i64 begin, i64 end) {
                     Scratch<real> acc(t.grid.w);
                     for (i64 i = begin; i < end; ++i) {
                         const i64 map = i / rows, row = i % rows;
                         row_inside(conv, t, map / conv.ys.c, map % conv.ys.c, row / t.grid.h, row % t.grid.h,
                                    acc);
                     }
                 });
}
}  // namespace ISA::REAL_NAME
