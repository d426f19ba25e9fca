// Where the matrices of a head lie: for every attention kernel.
#pragma once
#include "batch_norm/moments.cuh"

// A matrix of a head: rows `stride` apart
struct Matrix {
    const real* data;
    int stride, rows, columns;
    bool packed;   // rows begin on 16 bytes
    __device__ __forceinline__ Matrix(const real* data, int stride, int rows, int columns)
        : data(data), stride(stride), rows(rows), columns(columns),
          packed(stride % LANES == 0 && aligned(data)) {}
};

// `lead` are the sizes of the leading axes, the last of them heads, of which `group` share
// one of keys or of values. Strides are those of the leading axes, then of rows (of the
// mask also of columns).
template <class T>
__device__ __forceinline__ const T* of_head(const T* data, const Dims& lead, const Dims& strides, i64 head,
                                            int group = 1) {
    if (!data) return data;
#pragma unroll 1
    for (int a = lead.n - 1; a >= 0; --a, group = 1) {
        data += (i64)((int)(head % lead[a]) / group) * strides[a];
        head /= lead[a];
    }
    return data;
}

struct Mask {
    const real* data;
    i64 query, key;   // strides
    __device__ __forceinline__ Mask(const real* mask, const Dims& lead, const Dims& strides, i64 head)
        : data(of_head(mask, lead, strides, head)), query(data ? strides[lead.n] : 0),
          key(data ? strides[lead.n + 1] : 0) {}
    __device__ __forceinline__ acc operator()(int q, int k) const {
        return data ? value(data[q * query + k * key]) : acc(0);
    }
};

struct Heads {   // of one head: queries, keys, values
    Matrix q, k, v;
    Mask mask;
    __device__ __forceinline__ Heads(const real* q, const real* k, const real* v, const real* mask,
                                     const Dims& lead, const Dims& sizes, const Dims& qs, const Dims& ks,
                                     const Dims& vs, const Dims& ms, i64 head)
        : q(of_head(q, lead, qs, head), qs[lead.n], sizes[0], sizes[2]),
          k(of_head(k, lead, ks, head, sizes[4]), ks[lead.n], sizes[1], sizes[2]),
          v(of_head(v, lead, vs, head, sizes[5]), vs[lead.n], sizes[1], sizes[3]),
          mask(mask, lead, ms, head) {}
};
