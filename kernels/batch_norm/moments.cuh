// Packets of neighbours, and statistics of many values that are joined in a fixed order.
//
// Moments hold count, mean and centred squares of a set; two sets join by Chan, Golub & LeVeque
// (1979). E[x^2] - mean^2, which cancels, is never formed. A thread first takes a handful of
// values from memory, sums them about their own mean, and then joins them to what it has: one
// division for all of them.
#pragma once
#include "index.cuh"
#include "reduce.cuh"

// true for a null pointer
__device__ __forceinline__ bool aligned(const void* p) { return ((unsigned long long)p & 15) == 0; }

// v = the first `live` of LANES values at p, zeros behind them. `packed` says that p may be read as a Pack.
__device__ __forceinline__ void load_lanes(const real* p, int live, bool packed, acc (&v)[LANES]) {
    if (packed && live >= LANES) {
        const Pack pack = *(const Pack*)p;
#pragma unroll
        for (int l = 0; l < LANES; ++l) v[l] = value(pack.v[l]);
    } else {
#pragma unroll
        for (int l = 0; l < LANES; ++l) v[l] = l < live ? value(p[l]) : acc(0);
    }
}

__device__ __forceinline__ void store_lanes(real* p, int live, bool packed, const acc (&v)[LANES]) {
    if (packed && live >= LANES) {
        Pack pack;
#pragma unroll
        for (int l = 0; l < LANES; ++l) pack.v[l] = rounded(v[l]);
        *(Pack*)p = pack;
    } else {
#pragma unroll
        for (int l = 0; l < LANES; ++l)
            if (l < live) p[l] = rounded(v[l]);
    }
}

__device__ __forceinline__ acc reciprocal_deviation(acc variance, acc eps) {
#if defined(REAL_f64)
    return rsqrt(variance + eps);
#else
    return rsqrtf(variance + eps);
#endif
}

struct Moments {
    acc n, mean, squares;   // squares: sum of (x - mean)^2
    static __device__ __forceinline__ Moments none() { return {0, 0, 0}; }
    static __device__ __forceinline__ Moments join(const Moments& a, const Moments& b) {
        const acc n = a.n + b.n, part = n > 0 ? b.n / n : acc(0), delta = b.mean - a.mean;
        return {n, a.mean + delta * part, a.squares + b.squares + delta * delta * (a.n * part)};
    }
    __device__ __forceinline__ Moments of_lane(int step) const {
        return {__shfl_xor_sync(WARP, n, step), __shfl_xor_sync(WARP, mean, step),
                __shfl_xor_sync(WARP, squares, step)};
    }
    __device__ __forceinline__ void put(acc* p) const { p[0] = n, p[1] = mean, p[2] = squares; }
    static __device__ __forceinline__ Moments at(const acc* p) { return {p[0], p[1], p[2]}; }
    static constexpr int PARTS = 3;
    __device__ __forceinline__ acc variance() const { return squares / n; }
};

struct GradientSums {   // of g, and of g (x - mean)
    acc g, gx;
    static __device__ __forceinline__ GradientSums none() { return {0, 0}; }
    static __device__ __forceinline__ GradientSums join(const GradientSums& a, const GradientSums& b) {
        return {a.g + b.g, a.gx + b.gx};
    }
    __device__ __forceinline__ GradientSums of_lane(int step) const {
        return {__shfl_xor_sync(WARP, g, step), __shfl_xor_sync(WARP, gx, step)};
    }
    __device__ __forceinline__ void put(acc* p) const { p[0] = g, p[1] = gx; }
    static __device__ __forceinline__ GradientSums at(const acc* p) { return {p[0], p[1]}; }
    static constexpr int PARTS = 2;
};

// The same in every lane: of two partners both join the lower one's with the upper one's.
template <class T> __device__ __forceinline__ T warp_join(T v) {
#pragma unroll
    for (int step = 16; step > 0; step >>= 1) {
        const T other = v.of_lane(step);
        v = threadIdx.x & step ? T::join(other, v) : T::join(v, other);
    }
    return v;
}

// Over a block of one row of threads; `slots` is shared memory for 32.
template <class T> __device__ __forceinline__ T block_join(T v, acc* slots) {
    const int lane = threadIdx.x & 31, warps = blockDim.x >> 5;
    v = warp_join(v);
    if (lane == 0) v.put(slots + (threadIdx.x >> 5) * T::PARTS);
    __syncthreads();
    v = warp_join(lane < warps ? T::at(slots + lane * T::PARTS) : T::none());
    __syncthreads();
    return v;
}

// The moments of COUNT packets, of which the first live[k] values count.
template <int COUNT>
__device__ __forceinline__ Moments moments_of(const acc (&v)[COUNT][LANES], const int (&live)[COUNT]) {
    acc sum = 0, rest = 0, squares = 0;
    int n = 0;
#pragma unroll
    for (int k = 0; k < COUNT; ++k) {
        n += live[k];
#pragma unroll
        for (int l = 0; l < LANES; ++l) sum += v[k][l];
    }
    const acc part = acc(1) / acc(n > 0 ? n : 1), mean = sum * part;
#pragma unroll
    for (int k = 0; k < COUNT; ++k)
#pragma unroll
        for (int l = 0; l < LANES; ++l) {
            const acc d = l < live[k] ? v[k][l] - mean : acc(0);
            rest += d;
            squares += d * d;
        }
    const acc off = rest * part;   // what rounding the mean left
    return {acc(n), mean + off, squares - rest * off};
}
