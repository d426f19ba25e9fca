// Losses of one element each: a formula of x and a target t (some have a third argument v,
// parameters p and q) and its slopes, each fused with the weight and the reduction. FORMULA names
// one struct of formulas.cuh; each is a module of its own, compiled when first used. A block takes
// a fixed number of elements, so that a sum's order depends on their number alone; the blocks' sums
// are joined by `finish` of classes.cu.
#ifndef FORMULA
#define FORMULA Mse
#endif
#include "formulas.cuh"
#include "sums.cuh"
#include "index.cuh"

constexpr int CHUNK = 4096;   // of a block

__device__ __forceinline__ Element element(const real* x, const real* t, const real* v, acc p, acc q, i64 i) {
    return {value(x[i]), value(t[i]), v ? value(v[i]) : acc(1), p, q};
}

extern "C" {
__global__ void __launch_bounds__(256)
    pointwise_loss(const real* x, const real* t, const real* v, const real* weight, acc p, acc q, i64 n,
                   real* y, acc* partial) {
    acc sum = 0, of = 0;
    const i64 from = (i64)blockIdx.x * CHUNK + threadIdx.x;
#pragma unroll 4
    for (int k = 0; k < CHUNK; k += 256) {
        const i64 i = from + k;
        if (i >= n) break;
        acc loss = FORMULA::loss(element(x, t, v, p, q, i));
        if (weight) {
            const acc w = value(weight[i]);
            loss *= w;
            of += w;
        }
        if (y) y[i] = rounded(loss);
        sum += loss;
    }
    if (partial) block_sums(sum, of, partial);
}

// The gradient for argument `of`: 0 x, 1 t, 2 v. g has one value, or one an element.
__global__ void __launch_bounds__(256)
    pointwise_loss_backward(const real* g, int each, const real* x, const real* t, const real* v,
                            const real* weight, const real* divisor, acc p, acc q, int of, i64 n, real* dx) {
    const acc by = value(*divisor);
#pragma unroll 2
    for (GRID_STRIDE(i, n)) {
        acc s = value(g[each ? i : 0]) / by;
        if (weight) s *= value(weight[i]);
        dx[i] = rounded(s * FORMULA::slope(element(x, t, v, p, q, i), of));
    }
}
}
