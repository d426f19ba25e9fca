// The tensor core's product for each element type, and how its operands come out of a
// tile in shared memory.
//
//   f16, bf16   16 deep, sums in float
//   f32         8 deep, operands rounded to TF32 (11 bits), sums in float; with -DTHREE_PRODUCTS=1
//               each operand is big + small, both TF32,
//               and big big + big small + small big is as good as float: what is missing is small
//               small, 2^-22 of a product. An infinite operand then gives NaN (it times the other's
//               small part, 0), and so does one that rounds to it.
//   f64         8 deep, full double precision
//
// A tile holds either rows by depth or, if `BY_ROWS`, depth by rows, as the matrix does in memory;
// PITCH values from one line to the next.
#pragma once
#include "real.cuh"
#include "ptx.cuh"

constexpr int DEEP = 64 / sizeof(real);   // reduction a tile holds
// behind a line of DEEP: no two lines of a fragment share a bank
constexpr int PAD = sizeof(real) == 8 ? 4 : 16 / sizeof(real);
constexpr int PAD_ROWS = sizeof(real) == 2 ? 8 : 32 / sizeof(real);   // the same behind a line of rows

#if defined(REAL_f16) || defined(REAL_bf16)
constexpr int STEP = 16;
struct Left { uint32_t v[4]; };
struct Right { uint32_t v[2]; };

template <bool BY_ROWS, int PITCH>
__device__ __forceinline__ void read(const real* tile, int row, int k, Left& a) {
    const int i = threadIdx.x & 7, q = threadIdx.x >> 3 & 3;
    if (BY_ROWS) ldmatrix_x4_trans(a.v, tile + (k + (q >> 1) * 8 + i) * PITCH + row + (q & 1) * 8);
    else ldmatrix_x4(a.v, tile + (row + (q & 1) * 8 + i) * PITCH + k + (q >> 1) * 8);
}
template <bool BY_ROWS, int PITCH>
__device__ __forceinline__ void read(const real* tile, int column, int k, Right& b, Right& next) {
    const int i = threadIdx.x & 7, q = threadIdx.x >> 3 & 3;
    uint32_t v[4];
    if (BY_ROWS) ldmatrix_x4_trans(v, tile + (k + (q & 1) * 8 + i) * PITCH + column + (q >> 1) * 8);
    else ldmatrix_x4(v, tile + (column + (q >> 1) * 8 + i) * PITCH + k + (q & 1) * 8);
    b.v[0] = v[0], b.v[1] = v[1], next.v[0] = v[2], next.v[1] = v[3];
}
__device__ __forceinline__ void multiply(acc (&d)[4], const Left& a, const Right& b) {
#if defined(REAL_f16)
    mma_f16(d, a.v, b.v);
#else
    mma_bf16(d, a.v, b.v);
#endif
}

#elif defined(REAL_f64)
constexpr int STEP = 8;
struct Left { double v[4]; };
struct Right { double v[2]; };

template <bool BY_ROWS, int PITCH> __device__ __forceinline__ double at(const real* tile, int row, int k) {
    return BY_ROWS ? tile[k * PITCH + row] : tile[row * PITCH + k];
}
template <bool BY_ROWS, int PITCH>
__device__ __forceinline__ void read(const real* tile, int row, int k, Left& a) {
    const int g = threadIdx.x >> 2 & 7, t = threadIdx.x & 3;
#pragma unroll
    for (int i = 0; i < 4; ++i)
        a.v[i] = at<BY_ROWS, PITCH>(tile, row + g + (i & 1) * 8, k + t + (i >> 1) * 4);
}
template <bool BY_ROWS, int PITCH>
__device__ __forceinline__ void read(const real* tile, int column, int k, Right& b, Right& next) {
    const int g = threadIdx.x >> 2 & 7, t = threadIdx.x & 3;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        b.v[i] = at<BY_ROWS, PITCH>(tile, column + g, k + t + i * 4);
        next.v[i] = at<BY_ROWS, PITCH>(tile, column + 8 + g, k + t + i * 4);
    }
}
__device__ __forceinline__ void multiply(acc (&d)[4], const Left& a, const Right& b) { mma_f64(d, a.v, b.v); }

#else
constexpr int STEP = 8;
#if THREE_PRODUCTS
template <int N> struct Operands {
    uint32_t big[N], small[N];
    __device__ __forceinline__ void set(int i, uint32_t bits) {
        const float x = __uint_as_float(bits);
        big[i] = to_tf32(x);
        small[i] = to_tf32(x - __uint_as_float(big[i]));
    }
};
#else
template <int N> struct Operands {
    uint32_t big[N];
    __device__ __forceinline__ void set(int i, uint32_t bits) { big[i] = to_tf32(__uint_as_float(bits)); }
};
#endif
typedef Operands<4> Left;
typedef Operands<2> Right;

// The fragment of rows + 0..15 as four 8 x 4 pieces. ldmatrix moves 16-bit values, but a pair of
// them is one of ours where depth is contiguous; where rows are, a bank holds one of ours and plain
// reads collide nowhere.
template <bool BY_ROWS, int PITCH>
__device__ __forceinline__ void pieces(const real* tile, int row, int k, int row_piece, int k_piece,
                                       uint32_t (&v)[4]) {
    const int lane = threadIdx.x & 31;
    if (BY_ROWS) {
        const real* const from = tile + (k + (lane & 3)) * PITCH + row + (lane >> 2);
#pragma unroll
        for (int q = 0; q < 4; ++q)
            v[q] = __float_as_uint(from[(q / k_piece & 1) * 4 * PITCH + (q / row_piece & 1) * 8]);
    } else {
        const int q = lane >> 3;
        ldmatrix_x4(v,
                    tile + (row + (q / row_piece & 1) * 8 + (lane & 7)) * PITCH + k + (q / k_piece & 1) * 4);
    }
}
template <bool BY_ROWS, int PITCH>
__device__ __forceinline__ void read(const real* tile, int row, int k, Left& a) {
    uint32_t v[4];
    pieces<BY_ROWS, PITCH>(tile, row, k, 1, 2, v);
#pragma unroll
    for (int i = 0; i < 4; ++i) a.set(i, v[i]);
}
template <bool BY_ROWS, int PITCH>
__device__ __forceinline__ void read(const real* tile, int column, int k, Right& b, Right& next) {
    uint32_t v[4];
    pieces<BY_ROWS, PITCH>(tile, column, k, 2, 1, v);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        b.set(i, v[i]);
        next.set(i, v[2 + i]);
    }
}
__device__ __forceinline__ void multiply(acc (&d)[4], const Left& a, const Right& b) {
#if THREE_PRODUCTS
    acc part[4] = {};
    mma_tf32(part, a.small, b.big);   // the small ones first
    mma_tf32(part, a.big, b.small);
    mma_tf32(part, a.big, b.big);
    // The unit cuts off what lies below its sum, always towards zero, and over thousands of steps that
    // adds up (Ootomo and Yokota 2022); this addition rounds.
#pragma unroll
    for (int i = 0; i < 4; ++i) d[i] += part[i];
#else
    mma_tf32(d, a.big, b.big);
#endif
}
#endif
