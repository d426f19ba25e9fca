// A block's part of a matrix product in registers: BM x BN results from slices of BK in shared
// memory, TM x TN to a thread.
//
// A thread's rows and columns come in groups as wide as a 16-byte packet, BM V / TM and BN V / TN
// apart; a warp covers 4 x 8 threads. So each read from shared memory is a whole packet, eight
// neighbours a warp, without bank conflicts.
#pragma once
#include "real.cuh"
#ifndef BM
#define BM 64
#define BN 64
#define BK 16
#define TM 4
#define TN 4
#endif

constexpr int V = 16 / sizeof(acc);
constexpr int THREADS = (BM / TM) * (BN / TN);
typedef Packet<acc, V> Quad;
typedef Packet<real, V> RealQuad;
static_assert(TM % V == 0 && TN % V == 0 && BN / TN % 8 == 0 && BM / TM % 4 == 0, "tile");

struct Tile {
    acc sum[TM][TN];
    int m, n;   // this thread's place

    __device__ __forceinline__ Tile() {
        const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, across = BN / TN / 8;
        m = (warp / across) * 4 + lane / 8;
        n = (warp % across) * 8 + lane % 8;
#pragma unroll
        for (int i = 0; i < TM; ++i)
#pragma unroll
            for (int j = 0; j < TN; ++j) sum[i][j] = 0;
    }
    __device__ __forceinline__ int row(int i) const { return i / V * (BM * V / TM) + m * V + i % V; }
    __device__ __forceinline__ int column(int j) const { return j / V * (BN * V / TN) + n * V + j % V; }

    // a: BK lines of `LA` elements, the first BM of them used; b likewise.
    template <int LA, int LB> __device__ __forceinline__ void multiply(const acc* a, const acc* b) {
#pragma unroll
        for (int k = 0; k < BK; ++k) {
            acc left[TM], right[TN];
#pragma unroll
            for (int i = 0; i < TM; i += V) {
                const Quad q = *reinterpret_cast<const Quad*>(a + k * LA + row(i));
#pragma unroll
                for (int v = 0; v < V; ++v) left[i + v] = q.v[v];
            }
#pragma unroll
            for (int j = 0; j < TN; j += V) {
                const Quad q = *reinterpret_cast<const Quad*>(b + k * LB + column(j));
#pragma unroll
                for (int v = 0; v < V; ++v) right[j + v] = q.v[v];
            }
#pragma unroll
            for (int i = 0; i < TM; ++i)
#pragma unroll
                for (int j = 0; j < TN; ++j) sum[i][j] = fma(left[i], right[j], sum[i][j]);
        }
    }
};

// V neighbours of a row, shifted by the same; T is real, or acc for a part of a sum.
template <class T> __device__ __forceinline__ void store_packet(T* to, const acc* from, acc shift) {
    Packet<T, V> q;
#pragma unroll
    for (int v = 0; v < V; ++v) q.v[v] = (T)(from[v] + shift);
    *reinterpret_cast<Packet<T, V>*>(to) = q;
}
__device__ __forceinline__ bool packet_aligned(const void* p) {
    return (reinterpret_cast<size_t>(p) & (sizeof(RealQuad) - 1)) == 0;
}
