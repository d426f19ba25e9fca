// The vertices of the permutohedral lattice, for its kernels: whole coordinates, all but the last, which the
// others imply, and a table that tells which of them there are.
#pragma once
#include "index.cuh"

constexpr int MOST = 16;   // features

// Open addressing: a slot holds 1 + the number of a corner of a simplex, whose key is that of the vertex; 0: none
struct Table {
    const int* keys;   // (corners, d)
    int d;
    unsigned mask;   // one less than the slots, a power of two
    __device__ __forceinline__ unsigned begin(const int* key) const {
        unsigned hash = 0;
        for (int i = 0; i < d; ++i) {
            hash = (hash ^ (unsigned)key[i]) * 0x9E3779B1u;
            hash ^= hash >> 15;
        }
        return hash & mask;
    }
    __device__ __forceinline__ bool is(int corner, const int* key) const {
        const int* const held = keys + (i64)corner * d;
        for (int i = 0; i < d; ++i)
            if (held[i] != key[i]) return false;
        return true;
    }
    // The slot that the key has; -1 if it has none
    __device__ __forceinline__ int find(const int* slots, const int* key) const {
        for (unsigned at = begin(key);; at = (at + 1) & mask) {
            const int held = slots[at];
            if (held == 0) return -1;
            if (is(held - 1, key)) return (int)at;
        }
    }
    // The slot in which the key is, or is put as that of `corner`
    __device__ __forceinline__ int put(int* slots, int corner) const {
        const int* const key = keys + (i64)corner * d;
        for (unsigned at = begin(key);; at = (at + 1) & mask) {
            const int held = atomicCAS(slots + at, 0, corner + 1);
            if (held == 0 || is(held - 1, key)) return (int)at;
        }
    }
};
