// Boxes (x1, y1, x2, y2) and what they share, for the kernels that suppress boxes. Products are rounded before
// they are subtracted, as torchvision's nms has it.
#pragma once
#include "index.cuh"

__device__ __forceinline__ acc product(acc a, acc b) {
#if defined(REAL_f64)
    return a * b;
#else
    return __fmul_rn(a, b);
#endif
}

struct Box {
    acc x1, y1, x2, y2;   // no arrays: the stack would hold them
    __device__ __forceinline__ Box(acc x1, acc y1, acc x2, acc y2) : x1(x1), y1(y1), x2(x2), y2(y2) {}
    __device__ __forceinline__ explicit Box(const real* p)
        : Box(value(p[0]), value(p[1]), value(p[2]), value(p[3])) {}
    __device__ __forceinline__ acc low(int axis) const { return axis ? y1 : x1; }
    __device__ __forceinline__ acc high(int axis) const { return axis ? y2 : x2; }
    __device__ __forceinline__ acc area() const { return product(x2 - x1, y2 - y1); }
    // 0 where nothing is covered; a NaN overlaps nothing
    __device__ __forceinline__ acc overlap(const Box& b) const {
        const acc wide = smaller(x2, b.x2) - larger(x1, b.x1), high = smaller(y2, b.y2) - larger(y1, b.y1);
        if (!(wide > 0 && high > 0)) return 0;
        const acc shared = product(wide, high), all = area() + b.area() - shared;
        return all > 0 ? shared / all : acc(0);
    }
    // The same without a branch: which of the two spills nothing around the division depends on the kernel
    __device__ __forceinline__ acc overlap_throughout(const Box& b) const {
        const acc wide = smaller(x2, b.x2) - larger(x1, b.x1), high = smaller(y2, b.y2) - larger(y1, b.y1);
        const acc shared = product(wide > 0 ? wide : acc(0), high > 0 ? high : acc(0)),
                  all = area() + b.area() - shared;
        return all > 0 ? shared / all : acc(0);
    }
};

// Whether the score of place j comes before that of place i: of equal ones the first, NaN last
__device__ __forceinline__ bool better(acc score_j, int j, acc score_i, int i) {
    if (score_j > score_i) return true;
    if (score_j < score_i) return false;
    const bool unknown = score_j != score_j;
    return unknown == (score_i != score_i) ? j < i : !unknown;
}
