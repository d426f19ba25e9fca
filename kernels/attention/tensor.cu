// Scaled dot-product attention on tensor cores (requires sm_80; f16 and bf16 only): y =
// softmax(scale q k' + mask) v for every head.
//
// As in cuda.cu a block walks the keys with a running maximum and sum of each query's line (Milakov
// & Gimelshein, 2018; Dao et al., "FlashAttention", 2022; the second product's operand in
// registers: Dao, "FlashAttention-2", 2023). Powers are of two: scores are multiplied by scale
// log2(e), in one multiply-add with the subtraction of the maximum where there is no mask. Sums are
// float; weights are rounded to the element type for the second product, their sum is not.
//
// A query with no key left gives zeros and +inf as its log-sum-exp, as in cuda.cu.
#include "tensor.cuh"

// A line's largest exponent so far, and this thread's part of its sum
template <int MI> struct Lines {
    acc top[MI][2], sum[MI][2];
    __device__ __forceinline__ Lines() {
#pragma unroll
        for (int i = 0; i < MI; ++i) top[i][0] = top[i][1] = -infinity(), sum[i][0] = sum[i][1] = 0;
    }

    // Scores s become weights 2^(s factor - top), and `out` what it is worth now. factor > 0.
    __device__ __forceinline__ void advance(Scores<MI>& s, acc factor, Sums<MI>& out) {
#pragma unroll
        for (int i = 0; i < MI; ++i)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                acc peak = s[i][0][half * 2];
#pragma unroll
                // a NaN shows in the sum
                for (int j = 0; j < SPAN / 8; ++j)
                    peak = fmax(peak, fmax(s[i][j][half * 2], s[i][j][half * 2 + 1]));
                peak = fmax(peak, __shfl_xor_sync(WARP, peak, 1));
                peak = fmax(peak, __shfl_xor_sync(WARP, peak, 2));
                peak = fmax(top[i][half], peak * factor);
                // of nothing but -inf every weight is 0
                const acc base = peak == -infinity() ? acc(0) : peak;
                const acc share = exp2(top[i][half] - base);
                acc part = 0;
#pragma unroll
                for (int j = 0; j < SPAN / 8; ++j)
#pragma unroll
                    for (int e = half * 2; e < half * 2 + 2; ++e)
                        part += s[i][j][e] = exp2(fma(s[i][j][e], factor, -base));
                sum[i][half] = fma(sum[i][half], share, part);
                top[i][half] = peak;
#pragma unroll
                for (int j = 0; j < HEAD / 8; ++j)
#pragma unroll
                    for (int e = half * 2; e < half * 2 + 2; ++e) out[i][j][e] *= share;
            }
    }

    // Of whole lines: what a sum of weighted values is to be multiplied with; the log-sum-exps of
    // queries `row` .. go to logsum
    __device__ __forceinline__ void close(acc (&share)[MI][2], acc* logsum, int row, int queries) {
#pragma unroll
        for (int i = 0; i < MI; ++i)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                acc all = sum[i][half];
                all += __shfl_xor_sync(WARP, all, 1);
                all += __shfl_xor_sync(WARP, all, 2);
                const bool none = all == 0;   // the largest weight is 1, unless all are 0
                const int q = row + i * 16 + half * 8 + rank();
                share[i][half] = none ? acc(0) : acc(1) / all;
                if (pair() == 0 && q < queries)
                    logsum[q] = none ? infinity() : (top[i][half] + log2(all)) * LN2;
            }
    }
};

// Hides what a query may not look at, as -inf, and adds the mask. Returns the factor that makes
// exponents of two of the scores.
template <int MI>
__device__ __forceinline__ acc settle(Scores<MI>& s, const Pairs& pairs, int row, int column, acc scale) {
    const acc factor = scale * LOG2E;
#if MASKED
    each_score<MI, false>(row, column, [&](int i, int j, int e, int q, int k) {
        s[i][j][e] = pairs.seen(q, k) ? fma(s[i][j][e], factor, pairs.mask(q, k) * LOG2E) : -infinity();
    });
    return 1;
#else
    if (pairs.partly<Rows<MI>::EACH, false>(row, column))
        each_score<MI, false>(row, column, [&](int i, int j, int e, int q, int k) {
            s[i][j][e] = pairs.seen(q, k) ? s[i][j][e] : -infinity();
        });
    return factor;
#endif
}

template <int MI>
__device__ __forceinline__ void attend(const Heads& of, int first, bool causal, acc scale, real* y,
                                       i64 y_stride, acc* logsum) {
    extern __shared__ __align__(16) real tiles[];
    constexpr int ALL = Rows<MI>::ALL, EACH = Rows<MI>::EACH, TILE = SPAN * PITCH;
    constexpr bool HELD = HEAD * MI <= 64;   // the queries' fragments stay in registers
    real *const mine = tiles + warp_of_block() * EACH * PITCH, *const stages = tiles + ALL * PITCH;
    const int row = first + warp_of_block() * EACH, last = causal ? min(of.k.rows, first + ALL) : of.k.rows,
              steps = ceil_div(last, SPAN);
    const Pairs pairs{of.mask, of.q.rows, of.k.rows, causal};
    Left held[HELD ? HEAD / STEP : 1][MI];
    Sums<MI> out = {};
    Lines<MI> lines;
    if (steps) copy_rows<ALL>(tiles, of.q, first);
    int key = 0;
    pipeline<2>(
        steps,
        [&](int slot, int step) {
            copy_rows<SPAN>(stages + slot * 2 * TILE, of.k, step * SPAN);
            copy_rows<SPAN>(stages + slot * 2 * TILE + TILE, of.v, step * SPAN);
        },
        [&](int slot) {
            const real* const keys = stages + slot * 2 * TILE;
            Scores<MI> s;
            if (HELD) {
                clear<MI>(s);
#pragma unroll
                for (int k = 0; k < HEAD; k += STEP) {
                    if (key == 0) read_rows<MI>(mine, k, held[HELD ? k / STEP : 0]);
                    add_scores<MI>(held[HELD ? k / STEP : 0], keys, k, s);
                }
            } else {
                scores_of<MI>(mine, keys, s);
            }
            const acc factor = settle<MI>(s, pairs, row, key, scale);
            lines.advance(s, factor, out);
            accumulate<MI>(s, keys + TILE, out);
            key += SPAN;
        });
    acc share[MI][2];
    lines.close(share, logsum, row, of.q.rows);
    store_rows<MI>(out, share, mine, y, y_stride, row, of.q.rows, of.v.columns);
}

// Blocks: tiles of queries of every head. The last tiles, which see most keys, begin first.
template <int MI>
__device__ __forceinline__ void forward(const real* q, const real* k, const real* v, const real* mask,
                                        const Dims& lead, const Dims& sizes, const Dims& qs, const Dims& ks,
                                        const Dims& vs, const Dims& ms, const Dims& ys, int causal, acc scale,
                                        real* y, acc* logsum, int tiles) {
    const i64 head = blockIdx.x / tiles;
    const int first = (tiles - 1 - (int)(blockIdx.x % tiles)) * Rows<MI>::ALL;
    attend<MI>(Heads(q, k, v, mask, lead, sizes, qs, ks, vs, ms, head), first, causal != 0, scale,
               const_cast<real*>(of_head(y, lead, ys, head)), ys[lead.n], logsum + head * sizes[0]);
}

#define PARAMETERS                                                                                                                          \
    const real *q, const real *k, const real *v, const real *mask, const __grid_constant__ Dims lead, const __grid_constant__ Dims sizes,   \
        const __grid_constant__ Dims qs, const __grid_constant__ Dims ks, const __grid_constant__ Dims vs, const __grid_constant__ Dims ms, \
        const __grid_constant__ Dims ys, int causal, acc scale, real *y, acc *logsum, int tiles
#define ARGUMENTS q, k, v, mask, lead, sizes, qs, ks, vs, ms, ys, causal, scale, y, logsum, tiles
extern "C" {
__global__ void __launch_bounds__(THREADS, MASKED ? 2 : 3) attention_tensor_64(PARAMETERS) {
    forward<1>(ARGUMENTS);
}
__global__ void __launch_bounds__(THREADS, 2) attention_tensor_128(PARAMETERS) { forward<2>(ARGUMENTS); }
}
