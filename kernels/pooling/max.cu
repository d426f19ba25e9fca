// max_pool: the maximum of each window, NaN where a window has one. Of equal maxima the first in
// memory order is chosen; of NaNs the last. One thread an output, so that a warp reads neighbouring
// windows; a warp an output where windows are large and outputs few.
//
// The gradient is gathered: the forward kernel notes each output's position in 32 bits, then every
// input adds the gradients of those of its windows that chose it, in order. A scatter would need
// atomics, whose order would show in the sum.
#include "reduce.cuh"
#include "window.cuh"

struct Choice {
    acc value;
    int at;
    __device__ __forceinline__ void see(acc v, int position) {
        if (v > value || v != v) { value = v; at = position; }
    }
};

__device__ __forceinline__ Choice better(Choice a, Choice b) {
    const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    if (a_nan && b_nan) return a.at > b.at ? a : b;
    if (a_nan || b_nan) return a_nan ? a : b;
    return b.value > a.value || (b.value == a.value && b.at < a.at) ? b : a;
}

template <class Index> __device__ __forceinline__ void give(Choice c, i64 t, real* y, Index* indices) {
    if (y) y[t] = rounded(c.value);
    if (indices) indices[t] = c.at;
}

template <class Index>
__device__ __forceinline__ void narrow(const real* x, const Pool& p, real* y, Index* indices, int outputs) {
    for (GRID_STRIDE(t, outputs)) {
        const Place o = p.output((int)t);
        const Covered window(p, o);
        const real* plane = x + (i64)o.plane * p.in_size();
        Choice best{-infinity(), window.start};
        window.each([&](int at) { best.see(value(plane[at]), at); });
        give(best, t, y, indices);
    }
}

template <class Index>
__device__ __forceinline__ void wide(const real* x, const Pool& p, real* y, Index* indices, int outputs) {
    const i64 t = thread_index() >> 5;
    if (t >= outputs) return;
    const Place o = p.output((int)t);
    const Covered window(p, o);
    const real* plane = x + (i64)o.plane * p.in_size();
    Choice best{-infinity(), 0x7fffffff};
    window.each_of_lane(threadIdx.x & 31, [&](int at) {
        if (best.at == 0x7fffffff) best.at = at;
        best.see(value(plane[at]), at);
    });
#pragma unroll
    for (int step = 16; step; step >>= 1)
        best = better(best, {__shfl_xor_sync(WARP, best.value, step), __shfl_xor_sync(WARP, best.at, step)});
    if ((threadIdx.x & 31) == 0) give(best, t, y, indices);
}

// At least two blocks a multiprocessor is asked for: left to itself the compiler spills in order to fit more.
extern "C" {
__global__ void __launch_bounds__(256, 2)
    max_pool_narrow(const real* x, Dims in, Dims out, Dims kernel, Dims stride, Dims padding, Dims dilation,
                    real* y, i64* indices, int outputs) {
    narrow(x, Pool(in, out, kernel, stride, padding, dilation), y, indices, outputs);
}
__global__ void __launch_bounds__(256)
    max_pool_wide(const real* x, Dims in, Dims out, Dims kernel, Dims stride, Dims padding, Dims dilation,
                  real* y, i64* indices, int outputs) {
    wide(x, Pool(in, out, kernel, stride, padding, dilation), y, indices, outputs);
}
__global__ void __launch_bounds__(256, 2)
    max_pool_choose_narrow(const real* x, Dims in, Dims out, Dims kernel, Dims stride, Dims padding,
                           Dims dilation, real* y, int* indices, int outputs) {
    narrow(x, Pool(in, out, kernel, stride, padding, dilation), y, indices, outputs);
}
__global__ void __launch_bounds__(256)
    max_pool_choose_wide(const real* x, Dims in, Dims out, Dims kernel, Dims stride, Dims padding,
                         Dims dilation, real* y, int* indices, int outputs) {
    wide(x, Pool(in, out, kernel, stride, padding, dilation), y, indices, outputs);
}
__global__ void __launch_bounds__(256, 2)
    max_pool_backward(const real* dy, const int* chosen, Dims in, Dims out, Dims kernel, Dims stride,
                      Dims padding, Dims dilation, real* dx, int inputs) {
    const Pool p(in, out, kernel, stride, padding, dilation);
    for (GRID_STRIDE(t, inputs)) {
        const Place i = p.input((int)t);
        const int here = (i.d * p.h.in + i.h) * p.w.in + i.w;
        const i64 plane = (i64)i.plane * p.out_size();
        const Taps d = p.d.covering(i.d), h = p.h.covering(i.h), w = p.w.covering(i.w);
        acc sum = 0;
        for (int od = d.first; od < d.first + d.count; ++od)
            for (int oh = h.first; oh < h.first + h.count; ++oh)
                for (int ow = w.first; ow < w.first + w.count; ++ow) {
                    const i64 o = plane + (od * p.h.out + oh) * p.w.out + ow;
                    if (chosen[o] == here) sum += value(dy[o]);
                }
        dx[t] = rounded(sum);
    }
}
}
