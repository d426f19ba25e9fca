// y = f(inputs...) over arrays of one shape that lie along memory. A thread takes 16 bytes of each
// array at a time, so that a warp moves whole lines; where an array does not begin at a multiple of
// 16 bytes (a part of another one, given as out=) all go value by value. A result may be one of the
// inputs: a place is read before it is written, by the same thread.
#pragma once
#include "index.cuh"

__device__ __forceinline__ bool aligned(const real* p) { return (unsigned long long)p % sizeof(Pack) == 0; }

// f of 1 to 4 values
template <class F> __device__ __forceinline__ acc call(const F& f, const acc (&v)[1]) { return f(v[0]); }
template <class F> __device__ __forceinline__ acc call(const F& f, const acc (&v)[2]) {
    return f(v[0], v[1]);
}
template <class F> __device__ __forceinline__ acc call(const F& f, const acc (&v)[3]) {
    return f(v[0], v[1], v[2]);
}
template <class F> __device__ __forceinline__ acc call(const F& f, const acc (&v)[4]) {
    return f(v[0], v[1], v[2], v[3]);
}

template <int N, class F>
__device__ __forceinline__ void map(const real* const (&in)[N], real* y, i64 n, const F& f) {
    bool packed = aligned(y);
#pragma unroll
    for (int k = 0; k < N; ++k) packed = packed && aligned(in[k]);
    const i64 packs = packed ? n / LANES : 0, rest = packs * LANES;
    for (GRID_STRIDE(i, packs)) {
        Pack p[N], result;
#pragma unroll
        for (int k = 0; k < N; ++k) p[k] = ((const Pack*)in[k])[i];
#pragma unroll
        for (int l = 0; l < LANES; ++l) {
            acc v[N];
#pragma unroll
            for (int k = 0; k < N; ++k) v[k] = value(p[k].v[l]);
            result.v[l] = rounded(call(f, v));
        }
        ((Pack*)y)[i] = result;
    }
    for (GRID_STRIDE(i, n - rest)) {
        acc v[N];
#pragma unroll
        for (int k = 0; k < N; ++k) v[k] = value(in[k][rest + i]);
        y[rest + i] = rounded(call(f, v));
    }
}
template <class F> __device__ __forceinline__ void map(const real* x, real* y, i64 n, const F& f) {
    const real* const in[1] = {x};
    map(in, y, n, f);
}
template <class F>
__device__ __forceinline__ void map(const real* g, const real* v, real* dx, i64 n, const F& f) {
    const real* const in[2] = {g, v};
    map(in, dx, n, f);
}
