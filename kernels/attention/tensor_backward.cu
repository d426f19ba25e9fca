// The gradient of attention on tensor cores (requires sm_80; f16 and bf16 only); formulas as in
// backward.cu. attention_delta is delta.cu's.
//
// Tiles of queries walk the keys for dq; tiles of keys walk the queries for dk and dv. In both a
// warp's rows are of the operand that it owns: scores s and slopes dp = dy v' (or, for keys, their
// transposes k q' and v dy'), turned into p and ds where they are, are the left operands of the
// products that follow. Nothing is added by two blocks, and the sums have one order. p and ds are
// rounded to the element type, sums are float.
#include "tensor.cuh"

struct Slopes {
    Pairs pairs;
    acc scale;
    // Comes with a score, dy v', and its query's log-sum-exp and delta; leaves with p and ds. A
    // log-sum-exp of +inf makes zeros.
    __device__ __forceinline__ void of_pair(acc& p, acc& ds, int q, int k, acc logsum, acc delta) const {
#if MASKED
        const acc added = pairs.seen(q, k) ? pairs.mask(q, k) - logsum : -infinity();
#else
        const acc added = -logsum;
#endif
        p = exp2(fma(p, scale * LOG2E, added * LOG2E));
        ds = p * (ds - delta);
    }
    template <int MI, bool ROWS_ARE_KEYS>
    __device__ __forceinline__ void hide(Scores<MI>& p, Scores<MI>& ds, int row, int column) const {
        if (!pairs.partly<Rows<MI>::EACH, ROWS_ARE_KEYS>(row, column)) return;
        each_score<MI, ROWS_ARE_KEYS>(row, column, [&](int i, int j, int e, int q, int k) {
            if (!pairs.seen(q, k)) p[i][j][e] = ds[i][j][e] = 0;
        });
    }
};

template <int MI> __device__ __forceinline__ void fill(acc (&factor)[MI][2], acc x) {
#pragma unroll
    for (int i = 0; i < MI; ++i) factor[i][0] = factor[i][1] = x;
}

extern __shared__ __align__(16) real tiles[];

// dq of the queries `first` ..
template <int MI>
__device__ __forceinline__ void of_queries(const Heads& of, const Matrix& dy, const Slopes& slopes,
                                           const acc* logsum, const acc* delta, int first, real* dq) {
    constexpr int ALL = Rows<MI>::ALL, EACH = Rows<MI>::EACH, TILE = SPAN * PITCH;
    real *const q = tiles + warp_of_block() * EACH * PITCH, *const g = q + ALL * PITCH,
                *const stages = tiles + 2 * ALL * PITCH;
    const int row = first + warp_of_block() * EACH,
              last = slopes.pairs.causal ? min(of.k.rows, first + ALL) : of.k.rows,
              steps = ceil_div(last, SPAN);
    Sums<MI> out = {};
    acc sums[MI][2], deltas[MI][2], factor[MI][2];
#pragma unroll
    for (int i = 0; i < MI; ++i)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int line = row + i * 16 + half * 8 + rank();
            sums[i][half] = line < of.q.rows ? logsum[line] : acc(0);
            deltas[i][half] = line < of.q.rows ? delta[line] : acc(0);
        }
    if (steps) {
        copy_rows<ALL>(tiles, of.q, first);
        copy_rows<ALL>(tiles + ALL * PITCH, dy, first);
    }
    int key = 0;
    pipeline<2>(
        steps,
        [&](int slot, int step) {
            copy_rows<SPAN>(stages + slot * 2 * TILE, of.k, step * SPAN);
            copy_rows<SPAN>(stages + slot * 2 * TILE + TILE, of.v, step * SPAN);
        },
        [&](int slot) {
            const real* const keys = stages + slot * 2 * TILE;
            Scores<MI> p, ds;
            scores_of<MI>(q, keys, p);
            scores_of<MI>(g, keys + TILE, ds);
            each_score<MI, false>(row, key, [&](int i, int j, int e, int q, int k) {
                slopes.of_pair(p[i][j][e], ds[i][j][e], q, k, sums[i][e >> 1], deltas[i][e >> 1]);
            });
            slopes.hide<MI, false>(p, ds, row, key);
            accumulate<MI>(ds, keys, out);
            key += SPAN;
        });
    fill<MI>(factor, slopes.scale);
    store_rows<MI>(out, factor, q, dq, of.q.columns, row, of.q.rows, of.q.columns);
}

// SPAN values of a line at p, of which `left` are there, by as many threads from `thread` on
__device__ __forceinline__ void copy_line(acc* to, const acc* p, int left, int thread) {
    const int i = (int)threadIdx.x - thread;
    if (i >= 0 && i < SPAN) cp_async4(to + i, p + (i < left ? i : 0), i < left);
}

// dk and dv of the keys `first` ..
template <int MI>
__device__ __forceinline__ void of_keys(const Heads& of, const Matrix& dy, const Slopes& slopes,
                                        const acc* logsum, const acc* delta, int first, real* dk, real* dv) {
    constexpr int ALL = Rows<MI>::ALL, EACH = Rows<MI>::EACH, TILE = SPAN * PITCH,
                  STAGE = 2 * TILE + 2 * SPAN * sizeof(acc) / sizeof(real);
    real *const k = tiles + warp_of_block() * EACH * PITCH, *const v = k + ALL * PITCH,
                *const stages = tiles + 2 * ALL * PITCH;
    const int row = first + warp_of_block() * EACH, begin = slopes.pairs.causal ? first : 0;
    Sums<MI> out_k = {}, out_v = {};
    acc factor[MI][2];
    const int steps = begin < of.q.rows ? ceil_div(of.q.rows - begin, SPAN) : 0;
    if (steps) {
        copy_rows<ALL>(tiles, of.k, first);
        copy_rows<ALL>(tiles + ALL * PITCH, of.v, first);
    }
    int query = begin;
    pipeline<2>(
        steps,
        [&](int slot, int step) {
            real* const to = stages + slot * STAGE;
            const int at = begin + step * SPAN;
            copy_rows<SPAN>(to, of.q, at);
            copy_rows<SPAN>(to + TILE, dy, at);
            acc* const lines = (acc*)(to + 2 * TILE);
            copy_line(lines, logsum + at, of.q.rows - at, 0);
            copy_line(lines + SPAN, delta + at, of.q.rows - at, SPAN);
        },
        [&](int slot) {
            const real* const queries = stages + slot * STAGE;
            const acc* const lines = (const acc*)(queries + 2 * TILE);
            Scores<MI> p, ds;
            scores_of<MI>(k, queries, p);
            scores_of<MI>(v, queries + TILE, ds);
            each_score<MI, true>(row, query, [&](int i, int j, int e, int q, int k) {
                const int line = j * 8 + pair() + (e & 1);
                slopes.of_pair(p[i][j][e], ds[i][j][e], q, k, lines[line], lines[SPAN + line]);
            });
            slopes.hide<MI, true>(p, ds, row, query);
            accumulate<MI>(p, queries + TILE, out_v);
            accumulate<MI>(ds, queries, out_k);
            query += SPAN;
        });
    fill<MI>(factor, slopes.scale);
    store_rows<MI>(out_k, factor, k, dk, of.k.columns, row, of.k.rows, of.k.columns);
    fill<MI>(factor, 1);
    store_rows<MI>(out_v, factor, v, dv, of.v.columns, row, of.v.rows, of.v.columns);
}

// What a block has to do: a tile of one head.
struct Task {
    i64 head;
    int tile;
    Heads of;
    Matrix grad;
    Slopes slopes;
    __device__ __forceinline__ Task(const real* dy, const real* q, const real* k, const real* v,
                                    const real* mask, const Dims& lead, const Dims& sizes, const Dims& qs,
                                    const Dims& ks, const Dims& vs, const Dims& ms, int causal, acc scale,
                                    int tiles)
        : head(blockIdx.x / tiles), tile((int)(blockIdx.x % tiles)),
          of(q, k, v, mask, lead, sizes, qs, ks, vs, ms, head),
          grad(dy + head * sizes[0] * sizes[3], sizes[3], sizes[0], sizes[3]),
          slopes{{of.mask, sizes[0], sizes[1], causal != 0}, scale} {}
};

#define PARAMETERS                                                                                                                              \
    const real *dy, const real *q, const real *k, const real *v, const real *mask, const acc *logsum, const acc *delta,                         \
        const __grid_constant__ Dims lead, const __grid_constant__ Dims sizes, const __grid_constant__ Dims qs, const __grid_constant__ Dims ks, \
        const __grid_constant__ Dims vs, const __grid_constant__ Dims ms, int causal, acc scale
#define TASK dy, q, k, v, mask, lead, sizes, qs, ks, vs, ms, causal, scale, tiles
extern "C" {
// The last tiles, which see most keys, begin first.
__global__ void __launch_bounds__(THREADS, 2) attention_tensor_dq(PARAMETERS, real* dq, int tiles) {
    const Task task(TASK);
    of_queries<1>(task.of, task.grad, task.slopes, logsum + task.head * sizes[0],
                  delta + task.head * sizes[0], (tiles - 1 - task.tile) * Rows<1>::ALL,
                  dq + task.head * sizes[0] * sizes[2]);
}
__global__ void __launch_bounds__(THREADS, 2)
    attention_tensor_dkv(PARAMETERS, real* dk, real* dv, int tiles) {
    const Task task(TASK);
    of_keys<1>(task.of, task.grad, task.slopes, logsum + task.head * sizes[0], delta + task.head * sizes[0],
               task.tile * Rows<1>::ALL, dk + task.head * sizes[1] * sizes[2],
               dv + task.head * sizes[1] * sizes[3]);
}
}
