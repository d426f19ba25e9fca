// avg_pool: the sum of each window divided by how many elements it has (with or without those on
// the padding; never those that ceil_mode lets it reach beyond the padding), or by a given divisor.
// lp_pool: (volume * mean of x^p over the window)^(1/p), the mean over the inputs that the window
// covers. p = 1 and 2 need no powers.
//
// Gradients are gathered: every input adds, in order, what the windows over it give. avg: dy /
// count. lp: x^(p - 1) times the sum of dy y^(1 - p) volume / count, 0 for a window whose y is 0.
#include "reduce.cuh"
#include "window.cuh"

struct Mean {
    int include_pad;
    acc divisor;   // 0: the count
    const real* dy;

    __device__ __forceinline__ acc of(acc x) const { return x; }
    __device__ __forceinline__ int count(const Axis& a, int o) const {
        return include_pad ? a.on_padded(o) : a.taps(o).count;
    }
    __device__ __forceinline__ acc factor(const Axis& a, int o) const {
        return divisor != 0 ? acc(1) : acc(count(a, o));
    }
    __device__ __forceinline__ acc finish(acc sum, const Pool&, acc count) const {
        return sum / (divisor != 0 ? divisor : count);
    }
    __device__ __forceinline__ acc weighted(i64 o, const Pool&, acc count) const {
        return value(dy[o]) / (divisor != 0 ? divisor : count);
    }
    __device__ __forceinline__ acc end(acc sum, i64) const { return sum; }
};

template <int P> struct Power {   // P = 0: any exponent
    acc p;
    const real *dy, *x, *y;

    __device__ __forceinline__ acc of(acc v) const { return P == 1 ? v : P == 2 ? v * v : pow(v, p); }
    __device__ __forceinline__ acc factor(const Axis& a, int o) const { return acc(a.taps(o).count); }
    static __device__ __forceinline__ acc volume(const Pool& w) {
        return acc(w.d.kernel) * w.h.kernel * w.w.kernel;
    }
    __device__ __forceinline__ acc finish(acc sum, const Pool& w, acc count) const {
        sum *= volume(w) / count;
        return P == 1 ? sum : P == 2 ? sqrt(sum) : pow(sum, 1 / p);
    }
    __device__ __forceinline__ acc weighted(i64 o, const Pool& w, acc count) const {
        const acc g = value(dy[o]), r = value(y[o]);
        const acc v = P == 1 ? g : P == 2 ? g / r : g * pow(r, 1 - p);
        return r == 0 ? acc(0) : v * (volume(w) / count);
    }
    __device__ __forceinline__ acc end(acc sum, i64 i) const {
        return P == 1 ? sum : sum * (P == 2 ? value(x[i]) : pow(value(x[i]), p - 1));
    }
};

// How much divides output o, a factor an axis.
template <class Kind> __device__ __forceinline__ acc elements(const Kind& kind, const Pool& p, Place o) {
    return kind.factor(p.d, o.d) * kind.factor(p.h, o.h) * kind.factor(p.w, o.w);
}

template <class Kind>
__device__ __forceinline__ void narrow(const Kind& kind, const real* x, const Pool& p, real* y, int outputs) {
    for (GRID_STRIDE(t, outputs)) {
        const Place o = p.output((int)t);
        const real* plane = x + (i64)o.plane * p.in_size();
        acc sum = 0;
        Covered(p, o).each([&](int at) { sum += kind.of(value(plane[at])); });
        y[t] = rounded(kind.finish(sum, p, elements(kind, p, o)));
    }
}

template <class Kind>
__device__ __forceinline__ void wide(const Kind& kind, const real* x, const Pool& p, real* y, int outputs) {
    const i64 t = thread_index() >> 5;
    if (t >= outputs) return;
    const Place o = p.output((int)t);
    const real* plane = x + (i64)o.plane * p.in_size();
    acc sum = 0;
    Covered(p, o).each_of_lane(threadIdx.x & 31, [&](int at) { sum += kind.of(value(plane[at])); });
    sum = warp_reduce<Sum>(sum);
    if ((threadIdx.x & 31) == 0) y[t] = rounded(kind.finish(sum, p, elements(kind, p, o)));
}

template <class Kind>
__device__ __forceinline__ void backward(const Kind& kind, const Pool& p, real* dx, int inputs) {
    for (GRID_STRIDE(t, inputs)) {
        const Place i = p.input((int)t);
        const i64 plane = (i64)i.plane * p.out_size();
        const Taps d = p.d.covering(i.d), h = p.h.covering(i.h), w = p.w.covering(i.w);
        acc sum = 0;
#pragma unroll 1
        for (int od = d.first; od < d.first + d.count; ++od)
#pragma unroll 1
            for (int oh = h.first; oh < h.first + h.count; ++oh) {
                const acc rows = kind.factor(p.d, od) * kind.factor(p.h, oh);
                const i64 row = plane + (od * p.h.out + oh) * p.w.out;
#pragma unroll 1
                for (int ow = w.first; ow < w.first + w.count; ++ow)
                    sum += kind.weighted(row + ow, p, rows * kind.factor(p.w, ow));
            }
        dx[t] = rounded(kind.end(sum, t));
    }
}

// At least two blocks a multiprocessor is asked for: left to itself the compiler spills in order to fit more.
extern "C" {
__global__ void __launch_bounds__(256, 2)
    avg_pool_narrow(const real* x, Dims in, Dims out, Dims kernel, Dims stride, Dims padding, Dims dilation,
                    int include_pad, acc divisor, real* y, int outputs) {
    narrow(Mean{include_pad, divisor}, x, Pool(in, out, kernel, stride, padding, dilation), y, outputs);
}
__global__ void __launch_bounds__(256)
    avg_pool_wide(const real* x, Dims in, Dims out, Dims kernel, Dims stride, Dims padding, Dims dilation,
                  int include_pad, acc divisor, real* y, int outputs) {
    wide(Mean{include_pad, divisor}, x, Pool(in, out, kernel, stride, padding, dilation), y, outputs);
}
__global__ void __launch_bounds__(256, 2)
    avg_pool_backward(const real* dy, Dims in, Dims out, Dims kernel, Dims stride, Dims padding,
                      Dims dilation, int include_pad, acc divisor, real* dx, int inputs) {
    backward(Mean{include_pad, divisor, dy}, Pool(in, out, kernel, stride, padding, dilation), dx, inputs);
}
__global__ void __launch_bounds__(256, 2)
    lp_pool_1_narrow(const real* x, Dims in, Dims out, Dims kernel, Dims stride, Dims padding, Dims dilation,
                     acc p, real* y, int outputs) {
    narrow(Power<1>{p}, x, Pool(in, out, kernel, stride, padding, dilation), y, outputs);
}
__global__ void __launch_bounds__(256, 2)
    lp_pool_2_narrow(const real* x, Dims in, Dims out, Dims kernel, Dims stride, Dims padding, Dims dilation,
                     acc p, real* y, int outputs) {
    narrow(Power<2>{p}, x, Pool(in, out, kernel, stride, padding, dilation), y, outputs);
}
__global__ void __launch_bounds__(256, 2)
    lp_pool_p_narrow(const real* x, Dims in, Dims out, Dims kernel, Dims stride, Dims padding, Dims dilation,
                     acc p, real* y, int outputs) {
    narrow(Power<0>{p}, x, Pool(in, out, kernel, stride, padding, dilation), y, outputs);
}
__global__ void __launch_bounds__(256)
    lp_pool_1_wide(const real* x, Dims in, Dims out, Dims kernel, Dims stride, Dims padding, Dims dilation,
                   acc p, real* y, int outputs) {
    wide(Power<1>{p}, x, Pool(in, out, kernel, stride, padding, dilation), y, outputs);
}
__global__ void __launch_bounds__(256)
    lp_pool_2_wide(const real* x, Dims in, Dims out, Dims kernel, Dims stride, Dims padding, Dims dilation,
                   acc p, real* y, int outputs) {
    wide(Power<2>{p}, x, Pool(in, out, kernel, stride, padding, dilation), y, outputs);
}
__global__ void __launch_bounds__(256)
    lp_pool_p_wide(const real* x, Dims in, Dims out, Dims kernel, Dims stride, Dims padding, Dims dilation,
                   acc p, real* y, int outputs) {
    wide(Power<0>{p}, x, Pool(in, out, kernel, stride, padding, dilation), y, outputs);
}
__global__ void __launch_bounds__(256, 2)
    lp_pool_1_backward(const real* dy, const real* x, const real* y, Dims in, Dims out, Dims kernel,
                       Dims stride, Dims padding, Dims dilation, acc p, real* dx, int inputs) {
    backward(Power<1>{p, dy, x, y}, Pool(in, out, kernel, stride, padding, dilation), dx, inputs);
}
__global__ void __launch_bounds__(256, 2)
    lp_pool_2_backward(const real* dy, const real* x, const real* y, Dims in, Dims out, Dims kernel,
                       Dims stride, Dims padding, Dims dilation, acc p, real* dx, int inputs) {
    backward(Power<2>{p, dy, x, y}, Pool(in, out, kernel, stride, padding, dilation), dx, inputs);
}
__global__ void __launch_bounds__(256, 2)
    lp_pool_p_backward(const real* dy, const real* x, const real* y, Dims in, Dims out, Dims kernel,
                       Dims stride, Dims padding, Dims dilation, acc p, real* dx, int inputs) {
    backward(Power<0>{p, dy, x, y}, Pool(in, out, kernel, stride, padding, dilation), dx, inputs);
}
}
