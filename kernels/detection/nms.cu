// Greedy non-maximum suppression of boxes in groups: which stay, best score first. One goes if a better one
// that stays, of its group, shares more than `iou` of what both cover.
//
// Three launches. Every box counts those that are better, which is its rank: of equal scores the first in
// memory is better, NaN is least. Every pair of ranks then has a bit, whether the better box would take the
// other away; a word holds 64 of them. At last one block goes through the ranks, which is a chain: a box
// that nobody took away stays, and its words are joined to what is taken away. Products are rounded before
// they are subtracted, as torchvision's nms has it.
#include "index.cuh"

typedef unsigned long long Bits;
constexpr int WORD = 64;

__device__ __forceinline__ acc product(acc a, acc b) {
#if defined(REAL_f64)
    return a * b;
#else
    return __fmul_rn(a, b);
#endif
}

struct Box {
    acc x1, y1, x2, y2;
    __device__ __forceinline__ explicit Box(const real* p)
        : x1(value(p[0])), y1(value(p[1])), x2(value(p[2])), y2(value(p[3])) {}
    __device__ __forceinline__ acc area() const { return product(x2 - x1, y2 - y1); }
    // 0 where nothing is covered; a NaN overlaps nothing
    __device__ __forceinline__ acc overlap(const Box& b) const {
        const acc w = larger(smaller(x2, b.x2) - larger(x1, b.x1), acc(0)),
                  h = larger(smaller(y2, b.y2) - larger(y1, b.y1), acc(0));
        const acc shared = product(w, h), all = area() + b.area() - shared;
        return all > 0 ? shared / all : acc(0);
    }
};

// Whether j is better than i
__device__ __forceinline__ bool better(acc score_j, int j, acc score_i, int i) {
    if (score_j > score_i) return true;
    if (score_j < score_i) return false;
    const bool unknown = score_j != score_j;
    return unknown == (score_i != score_i) ? j < i : !unknown;
}

extern "C" {
__global__ void __launch_bounds__(256) nms_order(const real* scores, int n, int* order) {
    for (GRID_STRIDE(t, n)) {
        const int i = (int)t;
        const acc own = value(scores[i]);
        int rank = 0;
        for (int j = 0; j < n; ++j) rank += better(value(scores[j]), j, own, i);
        order[rank] = i;
    }
}

// taken[rank][word]: of those behind it, which the box of this rank would take away
__global__ void __launch_bounds__(256)
    nms_pairs(const real* boxes, const i64* groups, const int* order, int n, int words, double iou,
              Bits* taken) {
    for (GRID_STRIDE(t, (i64)n * words)) {
        const int rank = (int)(t / words), word = (int)(t - (i64)rank * words), own = order[rank];
        const int from = max(word * WORD, rank + 1), to = min(word * WORD + WORD, n);
        const Box box(boxes + (i64)own * 4);
        Bits bits = 0;
        for (int r = from; r < to; ++r) {
            const int other = order[r];
            if (groups[other] == groups[own] && (double)box.overlap(Box(boxes + (i64)other * 4)) > iou)
                bits |= Bits(1) << (r - word * WORD);
        }
        taken[t] = bits;
    }
}

// One block. gone: zeros, a bit a rank
__global__ void __launch_bounds__(256)
    nms_choose(const int* order, const Bits* taken, int n, int words, Bits* gone, i64* chosen, i64* count) {
    int stayed = 0;
    for (int rank = 0; rank < n; ++rank) {
        if (gone[rank / WORD] >> (rank % WORD) & 1) continue;   // the same for all threads
        if (threadIdx.x == 0) chosen[stayed] = order[rank];
        ++stayed;
        __syncthreads();   // all have looked
        for (int w = rank / WORD + threadIdx.x; w < words; w += blockDim.x) gone[w] |= taken[(i64)rank * words + w];
        __syncthreads();
    }
    for (int i = stayed + threadIdx.x; i < n; i += blockDim.x) chosen[i] = 0;
    if (threadIdx.x == 0) *count = stayed;
}
}
