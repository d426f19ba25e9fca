// layer_norm: y = (x - mean) * rstd * weight + bias over rows of memory; rms_norm: y = x * rrms *
// weight, rrms = 1 / sqrt(mean x^2 + eps).
//
// A row that fits into the registers of a warp or of a block comes from memory once: summed, then
// its squares about the mean, then normalised. A longer one is read twice, its moments joined by
// pieces (batch_norm/moments.cuh).
#include "batch_norm/lines.cuh"
#include "rows.cuh"

// a thread: 64 registers hold them where a block has 1024
constexpr int BLOCK_VALUES = sizeof(acc) == 8 ? 8 : 16;

// CENTRED: layer_norm; else rms_norm, whose mean is 0 and not stored
template <bool CENTRED, int PACKS>
__device__ void normalise_rows(const real* x, const real* weight, const real* bias, acc eps, real* y,
                               acc* mean, acc* rstd, i64 rows, int cols) {
    const i64 r = (i64)blockIdx.x * blockDim.y + threadIdx.y;
    if (r >= rows) return;   // whole warps
    const bool whole = cols % LANES == 0, packed = whole && aligned(x) && aligned(y),
               parameters = whole && aligned(weight) && aligned(bias);
    Row<PACKS> row;
    row.load(x + r * cols, cols, packed);
    const acc n = acc(CENTRED ? cols : max(cols, 1)), m = CENTRED ? row.sum() / n : acc(0);
    const acc s = reciprocal_deviation(row.squares(m, cols) / n, eps);
    if (threadIdx.x == 0) {
        if (CENTRED) mean[r] = m;
        rstd[r] = s;
    }
#pragma unroll
    for (int k = 0; k < PACKS; ++k) {
        const int i = Row<PACKS>::at(k), live = Row<PACKS>::live(k, cols);
        if (live == 0) break;
        acc (&v)[LANES] = row.v[k], of[LANES];
#pragma unroll
        for (int l = 0; l < LANES; ++l) v[l] = (v[l] - m) * s;
        if (weight) {
            load_lanes(weight + i, live, parameters, of);
#pragma unroll
            for (int l = 0; l < LANES; ++l) v[l] *= of[l];
        }
        if (bias) {
            load_lanes(bias + i, live, parameters, of);
#pragma unroll
            for (int l = 0; l < LANES; ++l) v[l] += of[l];
        }
        store_lanes(y + r * cols + i, live, packed, row.v[k]);
    }
}

// What a block does with a row too long for its registers: body(values of x, place, how
// many), packet by packet.
template <class Body>
__device__ __forceinline__ void for_row(const real* x, int cols, bool packed, Body body) {
    for (int i = threadIdx.x * LANES; i < cols; i += blockDim.x * LANES) {
        acc v[LANES];
        const int live = min(LANES, cols - i);
        load_lanes(x + i, live, packed, v);
        body(v, i, live);
    }
}

template <bool CENTRED>
__device__ void normalise_long(const real* x, const real* weight, const real* bias, acc eps, real* y,
                               acc* mean, acc* rstd, int cols) {
    const bool packed = cols % LANES == 0 && aligned(x) && aligned(y);
    x += (i64)blockIdx.x * cols;
    y += (i64)blockIdx.x * cols;
    acc m = 0, variance = 0;
    if constexpr (CENTRED) {
        const Moments all = joined(moments_of_piece(x, Line{cols, 0, packed}, 0, cols));
        m = all.mean;
        variance = all.variance();
    } else {
        for_row(x, cols, packed, [&](acc (&v)[LANES], int, int) {
#pragma unroll
            for (int l = 0; l < LANES; ++l) variance += v[l] * v[l];
        });
        variance = row_sum(variance) / acc(cols);
    }
    const acc s = reciprocal_deviation(variance, eps);
    if (threadIdx.x == 0) {
        if (CENTRED) mean[blockIdx.x] = m;
        rstd[blockIdx.x] = s;
    }
    for_row(x, cols, packed, [&](acc (&v)[LANES], int i, int live) {
#pragma unroll
        for (int l = 0; l < LANES; ++l) {
            v[l] = (v[l] - m) * s;
            if (weight && l < live) v[l] *= value(weight[i + l]);
            if (bias && l < live) v[l] += value(bias[i + l]);
        }
        store_lanes(y + i, live, packed, v);
    });
}

extern "C" {
__global__ void __launch_bounds__(256)
    layer_norm_warp(const real* x, const real* weight, const real* bias, acc eps, real* y, acc* mean,
                    acc* rstd, i64 rows, int cols) {
    normalise_rows<true, 8 / LANES>(x, weight, bias, eps, y, mean, rstd, rows, cols);
}
__global__ void __launch_bounds__(256)
    layer_norm_wide_warp(const real* x, const real* weight, const real* bias, acc eps, real* y, acc* mean,
                         acc* rstd, i64 rows, int cols) {
    normalise_rows<true, 32 / LANES>(x, weight, bias, eps, y, mean, rstd, rows, cols);
}
__global__ void __launch_bounds__(1024, 1)
    layer_norm_block(const real* x, const real* weight, const real* bias, acc eps, real* y, acc* mean,
                     acc* rstd, i64 rows, int cols) {
    normalise_rows<true, BLOCK_VALUES / LANES>(x, weight, bias, eps, y, mean, rstd, rows, cols);
}
__global__ void __launch_bounds__(1024)
    layer_norm_long(const real* x, const real* weight, const real* bias, acc eps, real* y, acc* mean,
                    acc* rstd, i64, int cols) {
    normalise_long<true>(x, weight, bias, eps, y, mean, rstd, cols);
}
__global__ void __launch_bounds__(256)
    rms_norm_warp(const real* x, const real* weight, const real* bias, acc eps, real* y, acc* mean, acc* rrms,
                  i64 rows, int cols) {
    normalise_rows<false, 8 / LANES>(x, weight, nullptr, eps, y, nullptr, rrms, rows, cols);
}
__global__ void __launch_bounds__(256)
    rms_norm_wide_warp(const real* x, const real* weight, const real* bias, acc eps, real* y, acc* mean,
                       acc* rrms, i64 rows, int cols) {
    normalise_rows<false, 32 / LANES>(x, weight, nullptr, eps, y, nullptr, rrms, rows, cols);
}
__global__ void __launch_bounds__(1024)
    rms_norm_block(const real* x, const real* weight, const real* bias, acc eps, real* y, acc* mean,
                   acc* rrms, i64 rows, int cols) {
    normalise_rows<false, BLOCK_VALUES / LANES>(x, weight, nullptr, eps, y, nullptr, rrms, rows, cols);
}
__global__ void __launch_bounds__(1024) rms_norm_long(const real* x, const real* weight, const real* bias,
                                                      acc eps, real* y, acc* mean, acc* rrms, i64, int cols) {
    normalise_long<false>(x, weight, nullptr, eps, y, nullptr, rrms, cols);
}
}
