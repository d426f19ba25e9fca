// Taps that no output sees: where a dilation reaches across the image, all that the outer taps meet
// is padding. The filter without them is a smaller one; at a dilation as large as the image, 3x3
// is 1x1.
#pragma once
#include "inside.h"

namespace ISA::REAL_NAME {
struct SeenAxis {
    i64 first = 0, count = 0;
    // `turned`: of a transposed convolution, whose output o meets tap t at (o + padding - t dilation) / stride
    SeenAxis(i64 taps, i64 in, i64 out, i64 stride, i64 padding, i64 dilation, bool turned) {
        i64 last = -1;
        first    = taps;
        for (i64 t = 0; t < taps; ++t) {
            const i64 low  = turned ? padding - t * dilation : t * dilation - padding,
                      high = low + (out - 1) * (turned ? 1 : stride), end = turned ? (in - 1) * stride + 1 : in;
            if (high < 0 || low >= end) continue;
            first = t < first ? t : first, last = t;
        }
        first = clamp(first, 0, padding / dilation);   // no padding below none
        count = last + 1 - first;
    }
};

struct SeenTaps {
    SeenAxis d, h, w;
    SeenTaps(const Extent& kernel, const Extent& x, const Extent& y, Dims stride, Dims padding, Dims dilation,
             bool turned)
        : d(kernel.d, x.d, y.d, stride[0], padding[0], dilation[0], turned),
          h(kernel.h, x.h, y.h, stride[1], padding[1], dilation[1], turned),
          w(kernel.w, x.w, y.w, stride[2], padding[2], dilation[2], turned) {}

    i64 count() const { return d.count * h.count * w.count; }
    // Whether that makes up for a copy of them
    bool pays(const Extent& kernel) const {
        return d.count > 0 && h.count > 0 && w.count > 0 && 2 * count() <= kernel.spatial();
    }
    Dims padding(Dims whole, Dims dilation) const {
        return {{whole[0] - d.first * dilation[0], whole[1] - h.first * dilation[1], whole[2] - w.first * dilation[2]},
                3};
    }
    void copy(const real* weight, const Extent& kernel, real* to) const {
        parallel_for(kernel.n * kernel.c, 1 + 16384 / kernel.spatial(), [&](i64 begin, i64 end) {
            for (i64 i = begin; i < end; ++i) {
                const real* const filter = weight + i * kernel.spatial();
                real* out = to + i * count();
                for (i64 a = 0; a < d.count; ++a)
                    for (i64 b = 0; b < h.count; ++b)
                        for (i64 c = 0; c < w.count; ++c)
                            *out++ = filter[offset_in(kernel, d.first + a, h.first + b, w.first + c)];
            }
        });
    }
};

// convolve(weight, padding) with the taps that are seen, where that pays. False: it does not, or
// filters are not finite, of which zeros of the padding make NaN.
template <class Convolve>
bool by_seen_taps(In<real> weight, const Extent& x, const Extent& y, Dims stride, Dims padding, Dims dilation,
                  bool turned, Convolve convolve) {
    const Extent kernel = extent(weight);
    const i64    taps   = kernel.spatial();
    if (taps == 1 || x.n * y.spatial() == 0) return false;
    const SeenTaps seen(kernel, x, y, stride, padding, dilation, turned);
    if (!seen.pays(kernel) || !all_finite(weight.data, weight.size())) return false;
    Scratch<real> few(kernel.n * kernel.c * seen.count());
    seen.copy(weight.data, kernel, few);
    const i64 shape[] = {kernel.n, kernel.c, seen.d.count, seen.h.count, seen.w.count};
    convolve(In<real>{few, shape, 5}, seen.padding(padding, dilation));
    return true;
}
}  // namespace ISA::REAL_NAME
