// Gradients of layer_norm and rms_norm. With n = (x - mean) rstd and g = dy weight:
//   dx = (g - mean(g) - n mean(g n)) rstd     dweight = sum over rows of dy n     dbias = sum over rows of dy
// rms_norm has neither the mean of x nor that of g.
//
// Blocks walk over the rows, each thread on its own columns, and keep the sums over rows in
// registers beside the row: dy and x come from memory once. The sums of all blocks are then added
// column by column, in their order. Rows too long for that take a kernel for dx and one for the
// sums over pieces of the rows.
#include "rows.cuh"

constexpr int MOST = 512;   // threads of a block that holds its row
#if defined(REAL_f64)
constexpr int VALUES = 4;   // of a row, in a thread's registers four times; of a wide row twice as many
#else
constexpr int VALUES = 8;
#endif

// dx of one row; adds to the sums over rows
template <bool CENTRED, int PACKS> struct Walk {
    acc dw[PACKS][LANES], db[PACKS][LANES];

    __device__ __forceinline__ void row(const real* dy, const real* x, const real* weight, acc m, acc s,
                                        real* dx, int cols, bool packed, bool parameters) {
        Row<PACKS> g, n;
        g.load(dy, cols, packed);
        n.load(x, cols, packed);
        acc a = 0, b = 0;
#pragma unroll
        for (int k = 0; k < PACKS; ++k) {
            const int live = Row<PACKS>::live(k, cols);
#pragma unroll
            for (int l = 0; l < LANES; ++l) {   // a dead lane's g is 0
                n.v[k][l] = l < live ? (n.v[k][l] - m) * s : acc(0);
                dw[k][l] += g.v[k][l] * n.v[k][l];
                db[k][l] += g.v[k][l];
            }
            if (weight) {
                acc w[LANES];
                load_lanes(weight + Row<PACKS>::at(k), live, parameters, w);
#pragma unroll
                for (int l = 0; l < LANES; ++l) g.v[k][l] *= w[l];
            }
#pragma unroll
            for (int l = 0; l < LANES; ++l) {
                a += g.v[k][l];
                b += g.v[k][l] * n.v[k][l];
            }
        }
        a = CENTRED ? row_sum(a) / acc(cols) : acc(0);
        b = row_sum(b) / acc(cols);
#pragma unroll
        for (int k = 0; k < PACKS; ++k) {
#pragma unroll
            for (int l = 0; l < LANES; ++l) n.v[k][l] = (g.v[k][l] - a - n.v[k][l] * b) * s;
            store_lanes(dx + Row<PACKS>::at(k), Row<PACKS>::live(k, cols), packed, n.v[k]);
        }
    }

    static __device__ __forceinline__ void store(acc* to, const acc (&v)[LANES], int at, int cols) {
        constexpr int WORDS = 16 / sizeof(acc);
#pragma unroll
        for (int l = 0; l < LANES; l += WORDS) {
            if (cols % WORDS == 0 && at + l < cols) {
                Packet<acc, WORDS> part;
#pragma unroll
                for (int w = 0; w < WORDS; ++w) part.v[w] = v[l + w];
                *(Packet<acc, WORDS>*)(to + at + l) = part;
                continue;
            }
#pragma unroll
            for (int w = 0; w < WORDS; ++w)
                if (at + l + w < cols) to[at + l + w] = v[l + w];
        }
    }

    // This block's sums over its rows of threads, to `to`
    static __device__ __forceinline__ void put(const acc (&sums)[PACKS][LANES], acc* to, int cols) {
        __shared__ acc slots[8][32 * PACKS * LANES];
        const bool several = blockDim.y > 1;
#pragma unroll
        for (int k = 0; k < PACKS; ++k) {
            if (!several) store(to, sums[k], Row<PACKS>::at(k), cols);
#pragma unroll
            for (int l = 0; l < LANES; ++l)
                if (several) slots[threadIdx.y][(k * LANES + l) * 32 + threadIdx.x] = sums[k][l];
        }
        if (!several) return;
        __syncthreads();
        if (threadIdx.y == 0)
#pragma unroll
            for (int k = 0; k < PACKS; ++k) {
                acc all[LANES];
#pragma unroll
                for (int l = 0; l < LANES; ++l) {
                    all[l] = 0;
                    for (int y = 0; y < (int)blockDim.y; ++y)
                        all[l] += slots[y][(k * LANES + l) * 32 + threadIdx.x];
                }
                store(to, all, Row<PACKS>::at(k), cols);
            }
        __syncthreads();
    }
};

template <bool CENTRED, int PACKS>
__device__ void gradient_rows(const real* dy, const real* x, const real* weight, const acc* mean,
                              const acc* rstd, real* dx, acc* partial, i64 rows, int cols) {
    const bool whole = cols % LANES == 0, packed = whole && aligned(dy) && aligned(x) && aligned(dx),
               parameters = whole && aligned(weight);
    Walk<CENTRED, PACKS> walk = {};
    for (i64 r = (i64)blockIdx.x * blockDim.y + threadIdx.y; r < rows; r += (i64)gridDim.x * blockDim.y) {
        const acc m = CENTRED ? mean[r] : acc(0);
        walk.row(dy + r * cols, x + r * cols, weight, m, rstd[r], dx + r * cols, cols, packed, parameters);
    }
    acc* to = partial + (i64)blockIdx.x * cols * (CENTRED ? 2 : 1);
    walk.put(walk.dw, to, cols);
    if (CENTRED) walk.put(walk.db, to + cols, cols);
}

// Calls body(place, g = dy weight, n, how many) for the packets of a row
template <class Body>
__device__ __forceinline__ void for_row(const real* dy, const real* x, const real* weight, acc m, acc s,
                                        int cols, bool packed, Body body) {
    for (int i = threadIdx.x * LANES; i < cols; i += blockDim.x * LANES) {
        acc g[LANES], n[LANES];
        const int live = min(LANES, cols - i);
        load_lanes(dy + i, live, packed, g);
        load_lanes(x + i, live, packed, n);
#pragma unroll
        for (int l = 0; l < LANES; ++l) {
            n[l] = (n[l] - m) * s;
            if (weight && l < live) g[l] *= value(weight[i + l]);
        }
        body(i, g, n, live);
    }
}

template <bool CENTRED>
__device__ void gradient_long(const real* dy, const real* x, const real* weight, const acc* mean,
                              const acc* rstd, real* dx, int cols) {
    const bool packed = cols % LANES == 0 && aligned(dy) && aligned(x) && aligned(dx);
    const i64 from = (i64)blockIdx.x * cols;
    const acc m = CENTRED ? mean[blockIdx.x] : acc(0), s = rstd[blockIdx.x];
    acc a = 0, b = 0;
    for_row(dy + from, x + from, weight, m, s, cols, packed,
            [&](int, acc(&g)[LANES], acc(&n)[LANES], int live) {
#pragma unroll
                for (int l = 0; l < LANES; ++l)
                    if (l < live) {
                        a += g[l];
                        b += g[l] * n[l];
                    }
            });
    a = CENTRED ? row_sum(a) / acc(cols) : acc(0);
    b = row_sum(b) / acc(cols);
    for_row(dy + from, x + from, weight, m, s, cols, packed,
            [&](int i, acc(&g)[LANES], acc(&n)[LANES], int live) {
#pragma unroll
                for (int l = 0; l < LANES; ++l) n[l] = (g[l] - a - n[l] * b) * s;
                store_lanes(dx + from + i, live, packed, n);
            });
}

// Adds up what a column's eight threads have; valid in row 0 of the block
__device__ __forceinline__ acc column_sum(acc v) {
    __shared__ acc slots[8][32];
    __syncthreads();
    slots[threadIdx.y][threadIdx.x] = v;
    __syncthreads();
    v = 0;
#pragma unroll
    for (int y = 0; y < 8; ++y) v += slots[y][threadIdx.x];
    return v;
}

// Sums over the rows blockIdx.y * span ... of 32 columns
template <bool CENTRED>
__device__ void sums_over_rows(const real* dy, const real* x, const acc* mean, const acc* rstd, i64 rows,
                               int cols, i64 span, acc* partial) {
    const int c = blockIdx.x * 32 + threadIdx.x;
    const i64 begin = blockIdx.y * span, end = min(rows, begin + span);
    acc dw = 0, db = 0;
    if (c < cols)
        for (i64 r = begin + threadIdx.y; r < end; r += 8) {
            const acc g = value(dy[r * cols + c]), m = CENTRED ? mean[r] : acc(0);
            dw += g * ((value(x[r * cols + c]) - m) * rstd[r]);
            db += g;
        }
    dw = column_sum(dw);
    if (CENTRED) db = column_sum(db);
    if (threadIdx.y > 0 || c >= cols) return;
    acc* to = partial + (i64)blockIdx.y * cols * (CENTRED ? 2 : 1);
    to[c] = dw;
    if (CENTRED) to[cols + c] = db;
}

extern "C" {
__global__ void __launch_bounds__(MOST, 1)
    layer_norm_backward_rows(const real* dy, const real* x, const real* weight, const acc* mean,
                             const acc* rstd, real* dx, acc* partial, i64 rows, int cols) {
    gradient_rows<true, VALUES / LANES>(dy, x, weight, mean, rstd, dx, partial, rows, cols);
}
__global__ void __launch_bounds__(MOST, 1)
    layer_norm_backward_wide_rows(const real* dy, const real* x, const real* weight, const acc* mean,
                                  const acc* rstd, real* dx, acc* partial, i64 rows, int cols) {
    gradient_rows<true, 2 * VALUES / LANES>(dy, x, weight, mean, rstd, dx, partial, rows, cols);
}
__global__ void __launch_bounds__(1024, 1)
    layer_norm_backward_long(const real* dy, const real* x, const real* weight, const acc* mean,
                             const acc* rstd, real* dx, int cols) {
    gradient_long<true>(dy, x, weight, mean, rstd, dx, cols);
}
__global__ void __launch_bounds__(256)
    layer_norm_backward_sums(const real* dy, const real* x, const acc* mean, const acc* rstd, i64 rows,
                             int cols, i64 span, acc* partial) {
    sums_over_rows<true>(dy, x, mean, rstd, rows, cols, span, partial);
}
__global__ void __launch_bounds__(MOST, 1)
    rms_norm_backward_rows(const real* dy, const real* x, const real* weight, const acc* mean,
                           const acc* rrms, real* dx, acc* partial, i64 rows, int cols) {
    gradient_rows<false, VALUES / LANES>(dy, x, weight, mean, rrms, dx, partial, rows, cols);
}
__global__ void __launch_bounds__(MOST, 1)
    rms_norm_backward_wide_rows(const real* dy, const real* x, const real* weight, const acc* mean,
                                const acc* rrms, real* dx, acc* partial, i64 rows, int cols) {
    gradient_rows<false, 2 * VALUES / LANES>(dy, x, weight, mean, rrms, dx, partial, rows, cols);
}
__global__ void __launch_bounds__(1024, 1)
    rms_norm_backward_long(const real* dy, const real* x, const real* weight, const acc* mean,
                           const acc* rrms, real* dx, int cols) {
    gradient_long<false>(dy, x, weight, mean, rrms, dx, cols);
}
__global__ void __launch_bounds__(256)
    rms_norm_backward_sums(const real* dy, const real* x, const acc* mean, const acc* rrms, i64 rows,
                           int cols, i64 span, acc* partial) {
    sums_over_rows<false>(dy, x, mean, rrms, rows, cols, span, partial);
}

// Columns of `partial` (pieces rows) added up: the first `cols` are dweight, those behind them dbias
__global__ void __launch_bounds__(256)
    add_pieces(const acc* partial, int pieces, int width, int cols, real* dweight, real* dbias) {
    const int c = blockIdx.x * 32 + threadIdx.x;
    acc all = 0;
    if (c < width)
        for (int p = threadIdx.y; p < pieces; p += 8) all += partial[(i64)p * width + c];
    all = column_sum(all);
    if (threadIdx.y > 0 || c >= width) return;
    if (c < cols) dweight[c] = rounded(all);
    else dbias[c - cols] = rounded(all);
}
}
