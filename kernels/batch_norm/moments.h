// Mean, centred second moment and gradient sums of a set of values that lies in memory as `rows`
// runs of `cols` values, `stride` apart: one channel of a batch of images, or one group of channels
// of a sample (a single run).
// The values are walked in pieces that stay in the first-level cache, each summed twice (mean, then
// squares about it); pieces are merged in double by Chan, Golub & LeVeque (1979). So memory is read
// once, and E[x^2] - mean^2, which cancels, is never formed.
#pragma once
#include "kernel.h"

namespace ISA::REAL_NAME {
constexpr i64 PIECE = 4096;   // values: 16 or 32 KiB

// Calls body(offset, rows, cols) for each piece.
template <class Body> static inline void for_pieces(i64 rows, i64 cols, i64 stride, Body body) {
    if (cols >= PIECE) {
        for (i64 r = 0; r < rows; ++r)
            for (i64 c = 0; c < cols; c += PIECE)
                body(r * stride + c, i64(1), cols - c < PIECE ? cols - c : PIECE);
        return;
    }
    const i64 step = cols > 0 ? PIECE / cols : 1;
    for (i64 r = 0; r < rows; r += step) body(r * stride, rows - r < step ? rows - r : step, cols);
}

// As for_vectors over every run of a piece, four vectors at a time so that sums have four chains:
// body(offset, lanes, chain).
template <class Body> static inline void for_piece_vectors(i64 rows, i64 cols, i64 stride, Body body) {
    for (i64 r = 0; r < rows; ++r) {
        const i64 from = r * stride;
        i64       i    = 0;
        for (; i + 4 * LANES <= cols; i += 4 * LANES) {
            #pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) body(from + i + k * LANES, Whole{}, k);
        }
        for_vectors(cols - i, [&](i64 j, auto lanes) { body(from + i + j, lanes, 0); });
    }
}
static inline double total(const V (&v)[4]) { return hsum((v[0] + v[1]) + (v[2] + v[3])); }

struct Moments {
    double count = 0, mean = 0, squares = 0;   // squares: sum of (x - mean)^2
    void merge(double n, double m, double s) {
        const double delta = m - mean, all = count + n;
        mean += delta * (n / all);
        squares += s + delta * delta * (count * n / all);
        count = all;
    }
    double variance() const { return squares / count; }
};

static inline Moments moments(const real* x, i64 rows, i64 cols, i64 stride) {
    Moments result;
    for_pieces(rows, cols, stride, [&](i64 at, i64 r, i64 c) {
        const real* p = x + at;
        V sum[4] = {}, square[4] = {};
        for_piece_vectors(r, c, stride, [&](i64 i, auto lanes, int k) { sum[k] += lanes.load(p + i); });
        const double n = double(r * c);
        const real   m = real(total(sum) / n);
        V rest[4] = {};
        for_piece_vectors(r, c, stride, [&](i64 i, auto lanes, int k) {
            // a dead lane loads as 0, so its difference would be -m
            const V d = lanes.keep(lanes.load(p + i) - m);
            rest[k] += d;
            square[k] += d * d;
        });
        const double off = total(rest) / n;   // what rounding the mean to `real` left
        result.merge(n, m + off, total(square) - n * off * off);
    });
    return result;
}

// sum of g, and of g * (x - mean) * rstd
struct GradientSums { double g = 0, gn = 0; };

static inline GradientSums gradient_sums(const real* g, const real* x, i64 rows, i64 cols, i64 stride,
                                         real mean, real rstd) {
    GradientSums result;
    for_pieces(rows, cols, stride, [&](i64 at, i64 r, i64 c) {
        V sum[4] = {}, product[4] = {};
        for_piece_vectors(r, c, stride, [&](i64 i, auto lanes, int k) {
            const V v = lanes.load(g + at + i);   // a dead lane's is 0, and so is its product
            sum[k] += v;
            product[k] += v * (lanes.load(x + at + i) - mean);
        });
        result.g += total(sum);
        result.gn += total(product) * rstd;
    });
    return result;
}

// y = (x - mean) * scale + shift
static inline void normalise_run(const real* x, i64 n, real mean, real scale, real shift, real* y) {
    for_vectors(n,
                [&](i64 i, auto lanes) { lanes.store(y + i, (lanes.load(x + i) - mean) * scale + shift); });
}

// dx = (g - mean_g - (x - mean) * slope) * scale: the part of g that neither moves the mean nor the variance
static inline void gradient_run(const real* g, const real* x, i64 n, real mean_g, real mean, real slope,
                                real scale, real* dx) {
    for_vectors(n, [&](i64 i, auto lanes) {
        lanes.store(dx + i, ((lanes.load(g + i) - mean_g) - (lanes.load(x + i) - mean) * slope) * scale);
    });
}
static inline real reciprocal_deviation(double variance, double eps) {
    return real(1 / std::sqrt(variance + eps));
}
}  // namespace ISA::REAL_NAME
