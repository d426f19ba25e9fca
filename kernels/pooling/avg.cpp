// avg_pool: the sum of each window divided by how many elements it has (with or without those on
// the padding; never those that ceil_mode lets it reach beyond the padding), or by a given divisor.
// The product of three counts, one an axis, so a row shares two of them.
#include "spread.h"

BEGIN_KERNELS

struct Mean {
    static constexpr real identity = 0;
    static constexpr bool TURNS    = true;
    const bool count_include_pad;
    const real divisor;   // 0: the count

    i64 count(const Axis& a, i64 o) const {
        if (!count_include_pad || a.adaptive()) return a.taps(o).count;
        const i64 start = a.start(o), end = start + a.kernel, limit = a.in + a.padding;
        return (end < limit ? end : limit) - start;
    }
    V    of(V v) const { return v; }
    V    join(V a, V b) const { return a + b; }
    real join(real a, real b) const { return a + b; }
    V    finish(V v, real factor) const { return v * factor; }
    real row_factor(const Pool& p, i64 od, i64 oh) const {
        if (divisor != 0) return 1 / divisor;
        // may be beyond 63 bits
        const double places = double(count(p.d, od)) * count(p.h, oh) * (p.w.adaptive() ? 1 : p.w.kernel);
        return real(1) / real(places);
    }
    real column_factor(const Axis& w, i64 o) const {
        return divisor != 0 ? 1 : real(w.adaptive() ? 1 : w.kernel) / count(w, o);
    }
};

struct SpreadMean : Mean {
    const real* dy;
    real*       dx;
    template <class Lanes> V begin(i64 at, Lanes lanes) const { return lanes.load(dy + at); }
    template <class Lanes> void end(i64 at, V v, Lanes lanes) const { lanes.store(dx + at, v); }
};

void avg_pool(In<real> x, Dims in, Dims out, Dims kernel, Dims stride, Dims padding, Dims dilation,
              bool count_include_pad, double divisor, Out<real> y) {
    pool_forward(Mean{count_include_pad, (real)divisor}, x, Pool(in, out, kernel, stride, padding, dilation),
                 y);
}

void avg_pool_backward(In<real> dy, Dims in, Dims out, Dims kernel, Dims stride, Dims padding, Dims dilation,
                       bool count_include_pad, double divisor, Out<real> dx) {
    const Pool p(in, out, kernel, stride, padding, dilation);
    pool_backward(SpreadMean{{count_include_pad, (real)divisor}, dy.data, dx.data}, dx.size(), p);
}

END_KERNELS
