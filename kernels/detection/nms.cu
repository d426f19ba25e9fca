// Greedy non-maximum suppression of boxes in groups: which stay, best score first. One goes if a better one
// that stays, of its group, shares more than `iou` of what both cover.
//
// Three launches. Every box counts those that are better, which is its rank: of equal scores the first in
// memory is better, NaN is least. Every pair of ranks then has a bit, whether the better box would take the
// other away; a word holds 64 of them. At last one block goes through the ranks, which is a chain: a box
// that nobody took away stays, and its words are joined to what is taken away.
#include "detection/boxes.cuh"

typedef unsigned long long Bits;
constexpr int WORD = 64;

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
            if (groups[other] == groups[own] && (double)box.overlap_throughout(Box(boxes + (i64)other * 4)) > iou)
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
