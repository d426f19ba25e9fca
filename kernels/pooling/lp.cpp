// lp_pool: y = (volume * mean of x^p over the window)^(1/p), the mean over the inputs that
// the window covers, so that a window cut short by ceil_mode is scaled up. dx = x^(p - 1) *
// sum over windows of dy * y^(1 - p) * volume / count, and 0 for a window whose y is 0. p = 1
// and 2 need no powers.
#include "simd_math.h"
#include "spread.h"

BEGIN_KERNELS

template <int P> struct Power {   // P = 0: any exponent
    static constexpr real identity = 0;
    static constexpr bool TURNS    = P == 1;   // powers are multiplied and added in one step here, in two there
    const real p;

    V raise(V v, real exponent) const { return vpow(v, splat(exponent)); }
    V of(V v) const {
        if constexpr (P == 1) return v;
        if constexpr (P == 2) return v * v;
        return raise(v, p);
    }
    V    join(V a, V b) const { return a + b; }
    real join(real a, real b) const { return a + b; }
    V    finish(V sum, real factor) const {
        sum *= factor;
        if constexpr (P == 1) return sum;
        if constexpr (P == 2) return vsqrt(sum);
        return raise(sum, 1 / p);
    }
    // both are of the sum; the columns' is applied after the root, so it is a root itself
    real row_factor(const Pool& w, i64 od, i64 oh) const {
        return real(w.d.kernel * w.h.kernel) / (w.d.taps(od).count * w.h.taps(oh).count);
    }
    real column_factor(const Axis& w, i64 o) const {
        const real ratio = real(w.kernel) / w.taps(o).count;
        return P == 1 ? ratio : P == 2 ? std::sqrt(ratio) : std::pow(ratio, 1 / p);
    }
};

template <int P> struct SpreadPower : Power<P> {
    const real *dy, *x, *y;
    real*       dx;
    template <class Lanes> V begin(i64 at, Lanes lanes) const {
        const V g = lanes.load(dy + at), r = lanes.load(y + at);
        if constexpr (P == 1) return g;
        const V weighted = P == 2 ? g / r : g * this->raise(r, 1 - this->p);
        return r == 0 ? V{} : weighted;
    }
    template <class Lanes> void end(i64 at, V v, Lanes lanes) const {
        const V a = lanes.load(x + at);
        if constexpr (P == 2) v *= a;
        if constexpr (P == 0) v *= this->raise(a, this->p - 1);
        lanes.store(dx + at, v);
    }
    real column_factor(const Axis& w, i64 o) const { return real(w.kernel) / w.taps(o).count; }
};

void lp_pool(In<real> x, Dims in, Dims out, Dims kernel, Dims stride, Dims padding, Dims dilation,
             double norm, Out<real> y) {
    const Pool p(in, out, kernel, stride, padding, dilation);
    if (norm == 1) return pool_forward(Power<1>{1}, x, p, y);
    if (norm == 2) return pool_forward(Power<2>{2}, x, p, y);
    pool_forward(Power<0>{(real)norm}, x, p, y);
}

void lp_pool_backward(In<real> dy, In<real> x, In<real> y, Dims in, Dims out, Dims kernel, Dims stride,
                      Dims padding, Dims dilation, double norm, Out<real> dx) {
    const Pool p(in, out, kernel, stride, padding, dilation);
    auto run = [&](auto power) { pool_backward(power, dx.size(), p); };
    if (norm == 1) return run(SpreadPower<1>{{1}, dy.data, x.data, y.data, dx.data});
    if (norm == 2) return run(SpreadPower<2>{{2}, dy.data, x.data, y.data, dx.data});
    run(SpreadPower<0>{{(real)norm}, dy.data, x.data, y.data, dx.data});
}

END_KERNELS
