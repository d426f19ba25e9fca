// The gradient of attention. With p = e^(score - logsum), the weights computed again, and delta =
// sum of dy y, one number a query (delta.cu):
//   dv = p' dy      ds = p (dy v' - delta)      dq = scale ds k      dk = scale ds' q
// Tiles of queries walk the keys for dq; tiles of keys walk the queries for dk and dv by the same
// steps with the roles exchanged. So nothing is added by two blocks, and the sums have one order.
#include "tiles.cuh"

// p and ds of one pair of a query and a key; 0 where the query may not look
struct Slopes {
    Mask mask;
    const acc* logsum;
    const acc* delta;
    int queries, keys;
    bool causal;
    acc scale;
    // Of R queries from q on
    __device__ __forceinline__ void lines(int q, acc (&sums)[R], acc (&deltas)[R]) const {
#pragma unroll
        for (int i = 0; i < R; ++i) {
            sums[i] = q + i < queries ? logsum[q + i] : acc(0);
            deltas[i] = q + i < queries ? delta[q + i] : acc(0);
        }
    }
    // Comes with the score and with dy v', leaves with p and ds
    __device__ __forceinline__ void operator()(int q, int k, acc sum, acc delta, acc& p, acc& ds) const {
        if (q < queries && k < keys && (!causal || k <= q)) {
            p = exp(p * scale + mask(q, k) - sum);
            ds = p * (ds - delta);
        } else {
            p = 0;
            ds = 0;
        }
    }
};

// dq of the queries `first` ..
__device__ void of_queries(const Heads& of, const Matrix& dy, const Slopes& slopes, int first, int column,
                           real* dq) {
    __shared__ __align__(16) acc slices[SLICES];
    __shared__ __align__(16) acc weights[TILE * TILE];
    const Rank rank;
    const int last = slopes.causal ? min(of.k.rows, first + TILE) : of.k.rows;
    acc out[R][COLUMNS] = {}, factor[R];
    for (int key = 0; key < last; key += TILE) {
        acc p[R][R], ds[R][R], sums[R], deltas[R];
        scores_of(of.q, first, of.k, key, slices, p);
        scores_of(dy, first, of.v, key, slices, ds);
        // again for every tile: registers are dearer
        slopes.lines(opaque(first) + rank.y * R, sums, deltas);
#pragma unroll
        for (int i = 0; i < R; ++i)
#pragma unroll
            for (int j = 0; j < R; ++j)
                slopes(first + rank.y * R + i, key + rank.x * R + j, sums[i], deltas[i], p[i][j], ds[i][j]);
        put_weights(ds, weights);
        accumulate(weights, of.k, key, column, slices, out);
    }
#pragma unroll
    for (int i = 0; i < R; ++i) factor[i] = slopes.scale;
    store_result(out, factor, dq, of.q.columns, first, of.q.rows, column, of.q.columns);
}

// dk and dv of the keys `first` ..
__device__ void of_keys(const Heads& of, const Matrix& dy, const Slopes& slopes, int first, int column,
                        real* dk, real* dv) {
    __shared__ __align__(16) acc slices[SLICES];
    __shared__ __align__(16) acc weights[TILE * TILE];
    const Rank rank;
    acc out_k[R][COLUMNS] = {}, out_v[R][COLUMNS] = {}, factor[R];
    for (int query = slopes.causal ? first : 0; query < of.q.rows; query += TILE) {
        acc p[R][R], ds[R][R], sums[R], deltas[R];
        scores_of(of.k, first, of.q, query, slices, p);
        scores_of(of.v, first, dy, query, slices, ds);
        slopes.lines(query + rank.x * R, sums, deltas);
#pragma unroll
        for (int i = 0; i < R; ++i)
#pragma unroll
            for (int j = 0; j < R; ++j)
                slopes(query + rank.x * R + j, first + rank.y * R + i, sums[j], deltas[j], p[i][j], ds[i][j]);
        put_weights(p, weights);
        accumulate(weights, dy, query, column, slices, out_v);
        __syncthreads();   // the weights have been read
        put_weights(ds, weights);
        accumulate(weights, of.q, query, column, slices, out_k);
    }
#pragma unroll
    for (int i = 0; i < R; ++i) factor[i] = slopes.scale;
    store_result(out_k, factor, dk, of.k.columns, first, of.k.rows, column, of.k.columns);
#pragma unroll
    for (int i = 0; i < R; ++i) factor[i] = 1;
    store_result(out_v, factor, dv, of.v.columns, first, of.v.rows, column, of.v.columns);
}

// What a block has to do: a tile of one head, and of the results the columns from `column` on.
struct Task {
    i64 head;
    int tile, column;
    Heads of;
    Matrix grad;
    Slopes slopes;
    __device__ __forceinline__ Task(const real* dy, const real* q, const real* k, const real* v,
                                    const real* mask, const acc* logsum, const acc* delta, const Dims& lead,
                                    const Dims& sizes, const Dims& qs, const Dims& ks, const Dims& vs,
                                    const Dims& ms, int causal, acc scale, int tiles)
        : head(blockIdx.x / tiles), tile((int)(blockIdx.x % tiles)), column(blockIdx.y * WIDTH),
          of(q, k, v, mask, lead, sizes, qs, ks, vs, ms, head),
          grad(dy + head * sizes[0] * sizes[3], sizes[3], sizes[0], sizes[3]),
          slopes{of.mask, logsum + head * sizes[0], delta + head * sizes[0], sizes[0], sizes[1], causal != 0,
                 scale} {}
};

extern "C" {
__global__ void __launch_bounds__(256, 2)
    attention_dq(const real* dy, const real* q, const real* k, const real* v, const real* mask,
                 const acc* logsum, const acc* delta, const __grid_constant__ Dims lead,
                 const __grid_constant__ Dims sizes, const __grid_constant__ Dims qs,
                 const __grid_constant__ Dims ks, const __grid_constant__ Dims vs,
                 const __grid_constant__ Dims ms, int causal, acc scale, real* dq, int tiles) {
    const Task task(dy, q, k, v, mask, logsum, delta, lead, sizes, qs, ks, vs, ms, causal, scale, tiles);
    of_queries(task.of, task.grad, task.slopes, (tiles - 1 - task.tile) * TILE, task.column,
               dq + task.head * sizes[0] * sizes[2]);
}

__global__ void __launch_bounds__(256, 1)
    attention_dkv(const real* dy, const real* q, const real* k, const real* v, const real* mask,
                  const acc* logsum, const acc* delta, const __grid_constant__ Dims lead,
                  const __grid_constant__ Dims sizes, const __grid_constant__ Dims qs,
                  const __grid_constant__ Dims ks, const __grid_constant__ Dims vs,
                  const __grid_constant__ Dims ms, int causal, acc scale, real* dk, real* dv, int tiles) {
    const Task task(dy, q, k, v, mask, logsum, delta, lead, sizes, qs, ks, vs, ms, causal, scale, tiles);
    of_keys(task.of, task.grad, task.slopes, task.tile * TILE, task.column,
            dk + task.head * sizes[1] * sizes[2], dv + task.head * sizes[1] * sizes[3]);
}
}
