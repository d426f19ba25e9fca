// Suppression in every class of every sample, best scores first: which boxes stay, until there are `room` of a
// class. One goes if a better one of its class that stays overlaps it by more than `iou` (Neubeck & Van Gool,
// 2006).
//
// Two launches. A block has a class of a sample: the best box that is left stays, and all threads take away what
// it overlaps, looking for the next best at once; so only boxes that stay cost a pass, and nothing is of the
// size of all pairs. Then a block a class moves what it found behind that of the classes before it.
#include "detection/boxes.cuh"

constexpr int THREADS = 256;

// Whichever corners are given; or its centre, width and height
__device__ __forceinline__ Box box_of(const real* p, bool center) {
    const acc a = value(p[0]), b = value(p[1]), c = value(p[2]), d = value(p[3]);
    if (center) return Box(a - c / 2, b - d / 2, a + c / 2, b + d / 2);
    return Box(smaller(a, c), smaller(b, d), larger(a, c), larger(b, d));
}

struct Best {
    acc score;
    int place;   // -1: none
    __device__ __forceinline__ void join(acc s, int p) {
        if (p >= 0 && (place < 0 || better(s, p, score, place))) score = s, place = p;
    }
};

// The sum of what all threads give, the same in each
__device__ __forceinline__ i64 sum_of(i64 own, i64* slots) {
    slots[threadIdx.x] = own;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) slots[threadIdx.x] += slots[threadIdx.x + half];
        __syncthreads();
    }
    const i64 all = slots[0];
    __syncthreads();   // all have read it
    return all;
}

extern "C" {
// boxes (samples, n, 4), scores (samples, classes, n); gone: as many; found (samples classes, room), and how many
__global__ void __launch_bounds__(THREADS)
    suppress_choose(const real* boxes, const real* scores, int classes, int n, int room, double iou,
                    double least, int center, unsigned char* gone, int* found, int* counts) {
    __shared__ acc best[THREADS];
    __shared__ int places[THREADS];
    const i64 task = blockIdx.x;
    boxes += task / classes * n * 4, scores += task * n, gone += task * n, found += task * room;
    const bool every = least == -(double)infinity();   // NaN, too
    Best mine{0, -1};
    for (int i = threadIdx.x; i < n; i += THREADS) {
        const acc score = value(scores[i]);
        const bool there = every || (double)score > least;
        gone[i] = !there;
        mine.join(score, there ? i : -1);
    }
    int size = 0;
    while (size < room) {
        best[threadIdx.x] = mine.score, places[threadIdx.x] = mine.place;
        __syncthreads();
        for (int half = THREADS / 2; half > 0; half /= 2) {
            if (threadIdx.x < half) {
                Best one{best[threadIdx.x], places[threadIdx.x]};
                one.join(best[threadIdx.x + half], places[threadIdx.x + half]);
                best[threadIdx.x] = one.score, places[threadIdx.x] = one.place;
            }
            __syncthreads();
        }
        const int place = places[0];
        if (place < 0) break;   // the same for all threads
        __syncthreads();   // all have read it
        if (threadIdx.x == 0) found[size] = place;
        ++size;
        const Box box = box_of(boxes + (i64)place * 4, center);
        mine.place = -1;
        for (int i = threadIdx.x; i < n; i += THREADS) {
            if (gone[i]) continue;
            if (i == place || (double)box.overlap(box_of(boxes + (i64)i * 4, center)) > iou) gone[i] = 1;
            else mine.join(value(scores[i]), i);
        }
    }
    if (threadIdx.x == 0) counts[task] = size;
}

// A block a class of a sample. chosen (tasks room, 3): sample, class and box, zeros behind the last
__global__ void __launch_bounds__(THREADS) suppress_gather(const int* found, const int* counts, int tasks,
                                                           int classes, int room, i64* chosen, i64* count) {
    __shared__ i64 slots[THREADS];
    const i64 task = blockIdx.x;
    i64 own = 0, each = 0;
    for (int t = threadIdx.x; t < tasks; t += THREADS) each += counts[t], own += t < task ? counts[t] : 0;
    const i64 before = sum_of(own, slots), all = sum_of(each, slots);
    for (int i = threadIdx.x; i < counts[task]; i += THREADS) {
        i64* const to = chosen + (before + i) * 3;
        to[0] = task / classes, to[1] = task % classes, to[2] = found[task * room + i];
    }
    for (i64 v = all * 3 + thread_index(); v < (i64)tasks * room * 3; v += thread_count()) chosen[v] = 0;
    if (task == 0 && threadIdx.x == 0) *count = all;
}
}
