// Suppression in all classes of a sample at once, the best pairs of a box and a class first; formulas and order
// as in reference.py: kind 0 takes away by intersection over union, 1 by it less the distance of the centres,
// 2 and 3 lower scores (soft-NMS).
//
// Two launches. Every pair begins with its score, or gone: at most the threshold, or not among the best
// `candidates` of its class, for which it counts the better ones. Then a block has a sample: the best pair that
// is left goes to the results, and all threads take away or lower what it overlaps, looking for the next best
// at once. A score is a chain of products in the order of the results. What is gone is NaN.
#include "detection/boxes.cuh"

constexpr int THREADS = 256;

// The squared distance of the centres over the squared diagonal of the box around both
__device__ __forceinline__ acc apart(const Box& a, const Box& b) {
    acc far = 0, wide = 0;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const acc centre = (a.low(i) + a.high(i) - b.low(i) - b.high(i)) / 2,
                  around = larger(a.high(i), b.high(i)) - smaller(a.low(i), b.low(i));
        far += centre * centre;
        wide += around * around;
    }
    return wide > 0 ? far / wide : acc(0);
}

struct Best {
    acc score;
    int place;
    __device__ __forceinline__ void join(acc s, int p) {
        if (p >= 0 && (place < 0 || s > score || (s == score && p < place))) score = s, place = p;
    }
};

extern "C" {
// scores (n, boxes, classes); left: of each pair its score, or NaN
__global__ void __launch_bounds__(THREADS)
    multiclass_begin(const real* scores, int boxes, int classes, int candidates, double least, acc* left, i64 pairs) {
    for (GRID_STRIDE(t, pairs)) {
        const acc own = value(scores[t]);
        bool there = (double)own > least;
        if (there && candidates < boxes) {
            const i64 sample = t / ((i64)boxes * classes);
            const real* const of_class = scores + sample * boxes * classes + t % classes;
            const int box = (int)(t / classes - sample * boxes);
            int rank = 0;
            for (int i = 0; i < boxes; ++i) {
                const acc other = value(of_class[(i64)i * classes]);
                rank += other > own || (other == own && i < box);
            }
            there = rank < candidates;
        }
        left[t] = there ? own : not_a_number();
    }
}

// A block a sample. own: each class has boxes of its own. stayed (n, classes): zeros
__global__ void __launch_bounds__(THREADS)
    multiclass_choose(const real* boxes, int own, int count_of, int classes, int per_class, double iou, double least,
                      int agnostic, int kind, acc sigma, int room, acc* left, int* stayed, real* found, real* best,
                      i64* labels, i64* index, i64* count) {
    __shared__ acc scores[THREADS];
    __shared__ int places[THREADS];
    const i64 sample = blockIdx.x, pairs = (i64)count_of * classes;
    boxes += sample * (own ? pairs : count_of) * 4, left += sample * pairs, stayed += sample * classes;
    found += sample * room * 4, best += sample * room, labels += sample * room, index += sample * room;
    Best mine{0, -1};
    for (int p = threadIdx.x; p < pairs; p += THREADS) mine.join(left[p], left[p] == left[p] ? p : -1);
    int size = 0;
    while (size < room) {
        scores[threadIdx.x] = mine.score, places[threadIdx.x] = mine.place;
        __syncthreads();
        for (int half = THREADS / 2; half > 0; half /= 2) {
            if (threadIdx.x < half) {
                Best one{scores[threadIdx.x], places[threadIdx.x]};
                one.join(scores[threadIdx.x + half], places[threadIdx.x + half]);
                scores[threadIdx.x] = one.score, places[threadIdx.x] = one.place;
            }
            __syncthreads();
        }
        const acc score = scores[0];
        const int place = places[0];
        if (place < 0) break;   // the same for all threads
        const int label = place % classes;
        const Box box(boxes + (i64)(own ? place : place / classes) * 4);
        if (threadIdx.x == 0) {
            for (int k = 0; k < 4; ++k) found[(i64)size * 4 + k] = boxes[(i64)(own ? place : place / classes) * 4 + k];
            best[size] = rounded(score), labels[size] = label, index[size] = place / classes;
            ++stayed[label];
        }
        ++size;
        __syncthreads();   // all have read the best, and the number that stayed is written
        const bool full = stayed[label] >= per_class;
        mine.place = -1;
        for (int p = threadIdx.x; p < pairs; p += THREADS) {
            acc s = left[p];
            if (s != s) continue;
            const bool same = p % classes == label;
            if (p == place || (same && full)) s = not_a_number();
            else if (same || agnostic) {
                const Box other(boxes + (i64)(own ? p : p / classes) * 4);
                acc shared = box.overlap(other);
                if (kind < 2) {
                    if (kind == 1 && shared > 0) shared -= apart(box, other);
                    if ((double)shared > iou) s = not_a_number();
                } else if (shared > 0) {
                    if (kind == 3) s *= exp(-shared * shared / sigma);
                    else if ((double)shared > iou) s *= 1 - shared;
                    if (!((double)s > least)) s = not_a_number();
                }
            }
            if (s == s) mine.join(s, p);
            left[p] = s;
        }
    }
    for (int i = size + threadIdx.x; i < room; i += THREADS) {
        for (int k = 0; k < 4; ++k) found[(i64)i * 4 + k] = rounded(acc(0));
        best[i] = rounded(acc(0)), labels[i] = 0, index[i] = 0;
    }
    if (threadIdx.x == 0) count[sample] = size;
}
}
