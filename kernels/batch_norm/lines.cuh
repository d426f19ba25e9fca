// Statistics of lines, and what is done to every value with them.
//
// A line is `samples` runs of `run` neighbours, `stride` apart: a channel of a batch of images, or
// (one sample) a channel or a group of channels of one image. A piece of it, `span` values, is
// reduced by `blockDim.x` threads, a warp or a block; pieces are joined in order by a second
// kernel. So few long lines still fill the machine, and the sums do not depend on what ran when.
#pragma once
#include "moments.cuh"

struct Line {
    int run;
    i64 stride;
    bool packed;   // runs begin on 16 bytes and hold whole packets
    // Values j .. j + LANES of the line at p, as far as they lie before `end`; returns how many do.
    __device__ __forceinline__ int load(const real* p, int j, int end, acc (&v)[LANES]) const {
        const int live = max(0, min(LANES, end - j));
        const int n = (unsigned)j / (unsigned)run;
        int i = j - n * run;
        p += n * stride;
        if (packed) {
            load_lanes(p + i, live, true, v);
            return live;
        }
#pragma unroll
        for (int l = 0; l < LANES; ++l) {
            v[l] = l < live ? value(p[i]) : acc(0);
            if (++i == run) {
                i = 0;
                p += stride;
            }
        }
        return live;
    }
    __device__ __forceinline__ void store(real* p, int j, int live, const acc (&v)[LANES]) const {
        const int n = (unsigned)j / (unsigned)run;
        int i = j - n * run;
        p += n * stride;
        if (packed) {
            store_lanes(p + i, live, true, v);
            return;
        }
#pragma unroll
        for (int l = 0; l < LANES; ++l) {
            if (l < live) p[i] = rounded(v[l]);
            if (++i == run) {
                i = 0;
                p += stride;
            }
        }
    }
};

constexpr int AT_ONCE = 4;   // packets that a thread has under way

__device__ __forceinline__ Moments moments_of_piece(const real* x, const Line& line, int begin, int end) {
    const int step = blockDim.x * LANES;
    Moments all = Moments::none();
    for (int j = begin + threadIdx.x * LANES; j < end; j += AT_ONCE * step) {
        acc v[AT_ONCE][LANES];
        int live[AT_ONCE];
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) live[k] = line.load(x, j + k * step, end, v[k]);
        all = Moments::join(all, moments_of(v, live));
    }
    return all;
}

__device__ __forceinline__ GradientSums gradients_of_piece(const real* dy, const real* x, const Line& line,
                                                           int begin, int end, acc mean) {
    const int step = blockDim.x * LANES;
    GradientSums all = GradientSums::none();
    for (int j = begin + threadIdx.x * LANES; j < end; j += 2 * step) {
        acc g[2][LANES], v[2][LANES];
#pragma unroll
        for (int k = 0; k < 2; ++k) {
            line.load(dy, j + k * step, end, g[k]);
            line.load(x, j + k * step, end, v[k]);
        }
#pragma unroll
        for (int k = 0; k < 2; ++k)
#pragma unroll
            for (int l = 0; l < LANES; ++l) {   // a dead lane's g is 0
                all.g += g[k][l];
                all.gx += g[k][l] * (v[k][l] - mean);
            }
    }
    return all;
}

// Which piece of which line these threads take: a row of the block each. `pieces` of a line are neighbours.
struct Piece {
    i64 line;
    int begin, end, index;
    bool none;
    __device__ Piece(i64 lines, int pieces, int span, int values) {
        const i64 task = (i64)blockIdx.x * blockDim.y + threadIdx.y;
        line = task / pieces;
        index = (int)(task - line * pieces);
        begin = index * span;
        end = min(values, begin + span);
        none = line >= lines;
    }
};

template <class T> __device__ __forceinline__ T joined(T v) {
    __shared__ acc slots[32 * T::PARTS];
    return blockDim.x == 32 ? warp_join(v) : block_join(v, slots);
}

// Over lines that lie across memory, one value of each in a row of `lines` (run = 1): a warp takes
// 32 lines, the rows of a block neighbouring samples of a piece [begin, end) of samples.
// `taken(sample)` are the moments or sums of four samples from there on.
template <class T, class Taken>
__device__ __forceinline__ void column_piece(i64 lines, int samples, int span, acc* partial, Taken taken) {
    __shared__ acc slots[8][32 * T::PARTS];
    const int c = blockIdx.x * 32 + threadIdx.x, begin = blockIdx.y * span, end = min(samples, begin + span);
    T all = T::none();
    if (c < lines)
        for (int n = begin + 4 * (int)threadIdx.y; n < end; n += 32) all = T::join(all, taken(c, n, end));
    all.put(&slots[threadIdx.y][threadIdx.x * T::PARTS]);
    __syncthreads();
    if (threadIdx.y > 0 || c >= lines) return;
    for (int k = 1; k < 8; ++k) all = T::join(all, T::at(&slots[k][threadIdx.x * T::PARTS]));
    all.put(partial + (blockIdx.y * lines + c) * T::PARTS);
}

// All pieces of a line, by a warp; piece p of line l lies at p * across + l * along.
template <class T>
__device__ __forceinline__ T line_of(const acc* partial, i64 line, int pieces, i64 across, i64 along) {
    T all = T::none();
    for (int p = threadIdx.x & 31; p < pieces; p += 32)
        all = T::join(all, T::at(partial + (p * across + line * along) * T::PARTS));
    return warp_join(all);
}

// ---- every value of (N, C, run) once, by packets that may reach over runs

constexpr int PACKETS = 4;   // of a thread

// Calls whole(first value, live, row of (N, C), place in it) for those of this thread's packets that
// lie within a row, then split(...) for those that reach into another: few of long rows, so that it
// stands in the code once. One 64-bit division for all of them.
template <class Whole, class Split>
__device__ __forceinline__ void for_packets(i64 size, int run, Whole whole, Split split) {
    const i64 from = (i64)blockIdx.x * blockDim.x * (PACKETS * LANES), row = from / run;
    const unsigned offset = (unsigned)(from - row * run);
    auto each = [&](int k, auto use) {
        const unsigned j = (k * blockDim.x + threadIdx.x) * LANES, behind = (offset + j) / (unsigned)run;
        if (from + j < size)
            use(from + j, (int)min((i64)LANES, size - from - j), row + behind,
                (int)(offset + j - behind * run));
    };
    bool rest = false;
#pragma unroll
    for (int k = 0; k < PACKETS; ++k)
        each(k, [&](i64 at, int live, i64 row, int i) {
            if (live > run - i) rest = true;
            else whole(at, live, row);
        });
    if (!rest) return;
#pragma unroll 1
    for (int k = 0; k < PACKETS; ++k)
        each(k, [&](i64 at, int live, i64 row, int i) {
            if (live > run - i) split(at, live, row, i);
        });
}

// Where a row's numbers lie: statistics are per channel (per_group = 0) or per group of channels of a sample.
struct Rows {
    int run, channels, per_group;
    __device__ __forceinline__ int channel(i64 row) const {
        return row < 0x7fffffff ? (int)((unsigned)row % (unsigned)channels) : (int)(row % channels);
    }
    __device__ __forceinline__ i64 statistic(i64 row, int channel) const {
        return !per_group         ? channel
               : row < 0x7fffffff ? (unsigned)row / (unsigned)per_group
                                  : row / per_group;
    }
};

// Of one row of (N, C): (v - mean) scale + shift
struct Normalised {
    acc mean, scale, shift;
    __device__ __forceinline__ acc of(acc v) const { return (v - mean) * scale + shift; }
};

// y = (x - mean) rstd weight + bias. S: the statistics' type, acc where they are the batch's own
template <class S>
__device__ __forceinline__ void normalise(const real* x, const S* mean, const S* var, const real* weight,
                                          const real* bias, acc eps, real* y, i64 size, const Rows& rows) {
    const bool packed = aligned(x) && aligned(y);
    auto of_row = [&](i64 row) {
        const int c = rows.channel(row);
        const i64 s = rows.statistic(row, c);
        return Normalised{acc(mean[s]),
                          reciprocal_deviation(acc(var[s]), eps) * (weight ? value(weight[c]) : acc(1)),
                          bias ? value(bias[c]) : acc(0)};
    };
    for_packets(
        size, rows.run,
        [&](i64 at, int live, i64 row) {
            acc v[LANES];
            load_lanes(x + at, live, packed, v);
            const Normalised to = of_row(row);
#pragma unroll
            for (int l = 0; l < LANES; ++l) v[l] = to.of(v[l]);
            store_lanes(y + at, live, packed, v);
        },
        [&](i64 at, int live, i64 row, int i) {
#pragma unroll 1
            for (const i64 end = at + live; at < end; i = 0, ++row) {
                const Normalised to = of_row(row);
#pragma unroll 1
                for (; at < end && i < rows.run; ++at, ++i) y[at] = rounded(to.of(value(x[at])));
            }
        });
}

// Of one row: (weight g - a - (v - mean) slope) rstd
struct Sloped {
    acc mean, rstd, weight, a, slope;
    __device__ __forceinline__ acc of(acc g, acc v) const {
        return (weight * g - a - (v - mean) * slope) * rstd;
    }
};

// dx = (weight dy - a - (x - mean) rstd b) rstd with (a, b) = coefficients[statistic]
__device__ __forceinline__ void gradient(const real* dy, const real* x, const real* weight, const acc* mean,
                                         const acc* var, const acc* coefficients, acc eps, real* dx, i64 size,
                                         const Rows& rows) {
    const bool packed = aligned(dy) && aligned(x) && aligned(dx);
    auto of_row = [&](i64 row) {
        const int c = rows.channel(row);
        const i64 s = rows.statistic(row, c);
        const acc rstd = reciprocal_deviation(var[s], eps);
        return Sloped{mean[s], rstd, weight ? value(weight[c]) : acc(1), coefficients[2 * s],
                      coefficients[2 * s + 1] * rstd};
    };
    for_packets(
        size, rows.run,
        [&](i64 at, int live, i64 row) {
            acc g[LANES], v[LANES];
            load_lanes(dy + at, live, packed, g);
            load_lanes(x + at, live, packed, v);
            const Sloped to = of_row(row);
#pragma unroll
            for (int l = 0; l < LANES; ++l) v[l] = to.of(g[l], v[l]);
            store_lanes(dx + at, live, packed, v);
        },
        [&](i64 at, int live, i64 row, int i) {
#pragma unroll 1
            for (const i64 end = at + live; at < end; i = 0, ++row) {
                const Sloped to = of_row(row);
#pragma unroll 1
                for (; at < end && i < rows.run; ++at, ++i) dx[at] = rounded(to.of(value(dy[at]), value(x[at])));
            }
        });
}
