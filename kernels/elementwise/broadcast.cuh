// y = f(inputs...) over arrays that broadcast to one shape. The host has merged axes that all
// inputs walk alike; of what is left, an input's stride is 0 along an axis it is repeated on, and
// the last stride is 1 or 0.
//
// A thread takes a unit of W neighbours of the result, 16 bytes where the last axis is made of
// such, and finds its place by dividing the unit's number by the sizes, last axis first. A division
// by a size known beforehand is a product with 2^k / size (Granlund and Montgomery 1994), rounded
// up by the host: exact for numbers below 2^31. The host cuts larger results in parts.
//
// Kernels take their Dims as const __grid_constant__: a loop's variable indexes them, and without
// it each thread would make itself a copy.
#pragma once
#include "elementwise/map.cuh"

// i / size, for i < 2^31; magic is ceil(2^(31 + ceil(log2 size)) / size), 0 for a size of 1
__device__ __forceinline__ unsigned quotient(unsigned i, int size, int magic) {
    return magic ? __umulhi(i, (unsigned)magic) >> (31 - __clz(size - 1)) : i;
}

// W values from p on, of which the first `left` are there, or W times *p
template <int W>
__device__ __forceinline__ void load_unit(const real* p, bool dense, bool packed, int left, acc (&v)[W]) {
    if (!dense) {
        const acc one = value(*p);
#pragma unroll
        for (int l = 0; l < W; ++l) v[l] = one;
    } else if (W > 1 && packed && left == W) {
        const auto pack = *(const Packet<real, W>*)p;
#pragma unroll
        for (int l = 0; l < W; ++l) v[l] = value(pack.v[l]);
    } else {
#pragma unroll
        for (int l = 0; l < W; ++l) v[l] = l < left ? value(p[l]) : acc(0);
    }
}
template <int W>
__device__ __forceinline__ void store_unit(real* p, bool packed, int left, const acc (&v)[W]) {
    if (W > 1 && packed && left == W) {
        Packet<real, W> pack;
#pragma unroll
        for (int l = 0; l < W; ++l) pack.v[l] = rounded(v[l]);
        *(Packet<real, W>*)p = pack;
    } else {
#pragma unroll
        for (int l = 0; l < W; ++l)
            if (l < left) p[l] = rounded(v[l]);
    }
}

// An input and how it is walked
struct Operand {
    const real* data;
    const Dims& stride;
    __device__ __forceinline__ Operand(const real* data, const Dims& stride) : data(data), stride(stride) {}
};

// `shape` counts the last axis in units; only a result of one axis may end within a unit.
template <int W, int N, class F>
__device__ __forceinline__ void broadcast_units(const Operand (&in)[N], const Dims& shape, const Dims& magic,
                                                int total, real* y, const F& f) {
    const int last = shape.n - 1;
    const unsigned units = (total + (unsigned)W - 1) / W, threads = gridDim.x * blockDim.x;
    bool packed = aligned(y);
#pragma unroll
    for (int k = 0; k < N; ++k) packed = packed && (in[k].stride[last] == 0 || aligned(in[k].data));
    for (unsigned unit = blockIdx.x * blockDim.x + threadIdx.x; unit < units; unit += threads) {
        unsigned rest = unit, at[N] = {};
        for (int axis = last; axis > 0; --axis) {
            const unsigned outer = quotient(rest, shape[axis], magic[axis]),
                           i = (rest - outer * shape[axis]) * (axis == last ? W : 1);
#pragma unroll
            for (int k = 0; k < N; ++k) at[k] += i * in[k].stride[axis];
            rest = outer;
        }
        rest *= last == 0 ? W : 1;
        const int left = min(W, (int)(total - unit * W));
        acc v[N][W], result[W];
#pragma unroll
        for (int k = 0; k < N; ++k)
            load_unit(in[k].data + at[k] + rest * in[k].stride[0], in[k].stride[last] != 0, packed, left,
                      v[k]);
#pragma unroll
        for (int l = 0; l < W; ++l) {
            acc a[N];
#pragma unroll
            for (int k = 0; k < N; ++k) a[k] = v[k][l];
            result[l] = call(f, a);
        }
        store_unit(y + unit * W, packed, left, result);
    }
}

// `lanes` is LANES or 1: how many values make a unit of the last axis
template <int N, class F>
__device__ __forceinline__ void broadcast(const Operand (&in)[N], const Dims& shape, const Dims& magic,
                                          int lanes, int total, real* y, const F& f) {
    if (lanes == LANES) broadcast_units<LANES>(in, shape, magic, total, y, f);
    else broadcast_units<1>(in, shape, magic, total, y, f);
}

// The same for one, two and three inputs, each with its strides
template <class F>
__device__ __forceinline__ void one(const real* x, const Dims& shape, const Dims& magic, const Dims& sx,
                                    int lanes, int total, real* y, const F& f) {
    const Operand in[1] = {{x, sx}};
    broadcast(in, shape, magic, lanes, total, y, f);
}
template <class F>
__device__ __forceinline__ void two(const real* a, const real* b, const Dims& shape, const Dims& magic,
                                    const Dims& sa, const Dims& sb, int lanes, int total, real* y,
                                    const F& f) {
    const Operand in[2] = {{a, sa}, {b, sb}};
    broadcast(in, shape, magic, lanes, total, y, f);
}
template <class F>
__device__ __forceinline__ void three(const real* a, const real* b, const real* c, const Dims& shape,
                                      const Dims& magic, const Dims& sa, const Dims& sb, const Dims& sc,
                                      int lanes, int total, real* y, const F& f) {
    const Operand in[3] = {{a, sa}, {b, sb}, {c, sc}};
    broadcast(in, shape, magic, lanes, total, y, f);
}
