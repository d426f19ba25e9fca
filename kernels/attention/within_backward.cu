// The gradient of attention within spans of keys, with numbers by distance (within.cu). Tiles that do not see
// each other are passed by. What is added by distance has the slopes of all pairs that far apart: a block has
// TILE distances of a head and walks the queries, whose keys then lie in two tiles; so each sum has one order.
#define COLUMNS 4   // one form: heads are seldom wider than 64, and a wider one has slabs
#include "attention/slopes.cuh"

// The gradient for distances `first` .. of one head
__device__ void of_distances(const Heads& of, const Matrix& dy, const Slopes<Within>& slopes, int first,
                             real* to) {
    __shared__ __align__(16) acc slices[2 * DEPTH * PITCH];
    __shared__ acc shown[TILE * TILE], sums_of[256];
    const Rank rank;
    const int queries = of.q.rows, all = max(0, queries + of.k.rows - 1), own = threadIdx.x % TILE;
    acc sum = 0;
    for (int query = 0; query < queries; query += TILE) {
        const int key = first + query - (queries - 1);   // of the first distance and the first query
        for (int side = 0; side < 2; ++side) {
            const int from = key + side * TILE;
            if (from >= of.k.rows || from + TILE <= 0 || !slopes.look.any(query, from))
                continue;   // the same for all
            acc p[R][R], ds[R][R], sums[R], deltas[R];
            Within::Lines lines;
            scores_of(of.q, query, of.k, from, slices, p);
            scores_of(dy, query, of.v, from, slices, ds);
            slopes.lines(query + rank.y * R, sums, deltas);
            slopes.look.lines(query + rank.y * R, lines);
#pragma unroll
            for (int i = 0; i < R; ++i)
#pragma unroll
                for (int j = 0; j < R; ++j) {
                    slopes(lines, i, query + rank.y * R + i, from + rank.x * R + j, sums[i], deltas[i],
                           p[i][j], ds[i][j]);
                    shown[(rank.y * R + i) * TILE + rank.x * R + j] = ds[i][j];
                }
            __syncthreads();
            // query q of the tile and distance `own` meet in key q + own
            for (int q = threadIdx.x / TILE; q < TILE; q += 256 / TILE) {
                const int k = q + own - side * TILE;
                if (k >= 0 && k < TILE) sum += shown[q * TILE + k];
            }
            __syncthreads();   // all have been read
        }
    }
    sums_of[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x < TILE && first + own < all) {
        for (int t = threadIdx.x + TILE; t < 256; t += TILE) sum += sums_of[t];
        to[first + own] = rounded(sum);
    }
}

extern "C" {
__global__ void __launch_bounds__(256, 2)
    attention_within_dq(const real* dy, const real* q, const real* k, const real* v, const i64* begin,
                        const i64* end, const real* distance, const acc* logsum, const acc* delta,
                        const __grid_constant__ Dims lead, const __grid_constant__ Dims sizes,
                        const __grid_constant__ Dims qs, const __grid_constant__ Dims ks,
                        const __grid_constant__ Dims vs, const __grid_constant__ Dims ss,
                        const __grid_constant__ Dims ds, int causal, acc scale, real* dq, int tiles) {
    const i64 head = blockIdx.x / tiles;
    const Heads of(q, k, v, nullptr, lead, sizes, qs, ks, vs, vs, head);
    const Within look(begin, end, distance, lead, sizes, ss, ds, causal, head);
    const Task task(of, look, dy, logsum, delta, scale, head, tiles);
    task.queries(dq, tiles);
}

__global__ void __launch_bounds__(256, 1)
    attention_within_dkv(const real* dy, const real* q, const real* k, const real* v, const i64* begin,
                         const i64* end, const real* distance, const acc* logsum, const acc* delta,
                         const __grid_constant__ Dims lead, const __grid_constant__ Dims sizes,
                         const __grid_constant__ Dims qs, const __grid_constant__ Dims ks,
                         const __grid_constant__ Dims vs, const __grid_constant__ Dims ss,
                         const __grid_constant__ Dims ds, int causal, acc scale, real* dk, real* dv,
                         int tiles) {
    const i64 head = blockIdx.x / tiles;
    const Heads of(q, k, v, nullptr, lead, sizes, qs, ks, vs, vs, head);
    const Within look(begin, end, distance, lead, sizes, ss, ds, causal, head);
    const Task task(of, look, dy, logsum, delta, scale, head, tiles);
    task.keys(dk, dv);
}

// Blocks: tiles of distances of every head
__global__ void __launch_bounds__(256, 1)
    attention_within_distance(const real* dy, const real* q, const real* k, const real* v, const i64* begin,
                              const i64* end, const real* distance, const acc* logsum, const acc* delta,
                              const __grid_constant__ Dims lead, const __grid_constant__ Dims sizes,
                              const __grid_constant__ Dims qs, const __grid_constant__ Dims ks,
                              const __grid_constant__ Dims vs, const __grid_constant__ Dims ss,
                              const __grid_constant__ Dims ds, int causal, acc scale, real* to, int tiles) {
    const i64 head = blockIdx.x / tiles;
    const Heads of(q, k, v, nullptr, lead, sizes, qs, ks, vs, vs, head);
    const Within look(begin, end, distance, lead, sizes, ss, ds, causal, head);
    const Task task(of, look, dy, logsum, delta, scale, head, tiles);
    of_distances(of, task.grad, task.slopes, task.tile * TILE, to + head * (sizes[0] + sizes[1] - 1));
}
}
