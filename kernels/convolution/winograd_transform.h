// Winograd's minimal filtering F(m x m, r x r) (Winograd 1980; Lavin and Gray 2016): Y = A^T [(G g
// G^T) . (B^T d B)] A on tiles of m x m outputs, m + r - 1 x m + r - 1 inputs; m = 2, 4, 6 with r = 3
// taps, m = 4 with r = 2, and m = 2 with r = 5, which shares the points of F(4 x 4, 3 x 3).
//
// The m + r - 1 points of interpolation are 0, infinity and pairs +-a. Rows of B^T for +a and -a are E
// + a O and E - a O, where E sees only even and O only odd inputs; outputs likewise see sums or
// differences of a pair. So every 1-D transform is a few short chains of multiply-adds. With Q(z)
// the product of all (z - a^2) and Q_j the one without a_j:
//   B^T: 0 -> Q over d0 d2 ..., infinity -> Q over d1 d3 ..., +-a_j -> Q_j over d2 d4 ... +-
//   a_j Q_j over d1 d3 ...
//   A^T: y_i = sum over j of a_j^(i - j - 1) (m+ +- m-), + for even i; y_0 takes the point 0
//   besides, y_(m-1) infinity
//   G:   +-a_j -> a_j^(j + 1) (1, +-a_j, a_j^2) / (2 a_j^2 Q_j(a_j^2)), 0 -> (1, 0, 0) / Q(0), infinity -> (0, 0, 1)
// F(4 x 4, 2 x 2) has five points, of which 0 is none: everything in B^T moves up by an input, and in
// G the divisor of +-a_j is +-2 a_j Q_j(a_j^2).
// The power j + 1 is only a choice of scale: it makes one coefficient in rows 1 ... m / 2 of A^T a
// one.
//
// Points: for m = 4, 5/8 and 3/2 err a third of what 1 and 2 do (greatest error over 256 channels,
// half-normal inputs: 2.6e-6 of the greatest output, against 7.7e-6), and no pair on a grid around
// them errs less; for 2 x 2 taps 9/20 and 27/20 (1.6e-6); for m = 6, 1, 2 and 1/2 are as
// good as any that were tried (1.5e-5). Along one axis these six and eight points err by 1 to 3e-6,
// and ten, which F(4, 7) and F(6, 5) have, by 5 to 8e-6.
#pragma once
#include "blocked/epilogue.h"

namespace ISA::REAL_NAME {
template <int TILE, int TAPS> struct Winograd {
    static constexpr int SIDE = TILE + TAPS - 1, PAIRS = (SIDE - 1) / 2, POINTS = SIDE * SIDE;
    static constexpr int ZERO = SIDE - 1 - 2 * PAIRS;   // whether 0 is a point: then it is the first one
    // polynomials: lowest coefficient first
    double a[PAIRS]{}, q[PAIRS + 1]{}, q_without[PAIRS][PAIRS]{}, power[TILE][PAIRS]{};

    constexpr Winograd() {
        constexpr double pairs[][4] = {   // by SIDE - 4
            {1}, {0.45, 1.35}, {0.625, 1.5}, {}, {1, 2, 0.5}, {}, {0.4, 0.8, 1.25, 2.5}};
        for (int j = 0; j < PAIRS; ++j) a[j] = pairs[SIDE - 4][j];
        multiply_all(q, -1);
        for (int j = 0; j < PAIRS; ++j) multiply_all(q_without[j], j);
        for (int i = 0; i < TILE; ++i)
            for (int j = 0; j < PAIRS; ++j) power[i][j] = raised(a[j], i - j - 1);
    }

    // Row of G, `point` counted as 0, +a_0, -a_0, +a_1, ..., infinity.
    constexpr void filter_row(int point, double (&g)[TAPS]) const {
        for (int tap = 0; tap < TAPS; ++tap) g[tap] = 0;
        if (point == SIDE - 1) {
            g[TAPS - 1] = 1;
        } else if (point < ZERO) {
            g[0] = 1 / q[0];
        } else {
            const int j = (point - ZERO) / 2;
            const double x = (point - ZERO) % 2 ? -a[j] : a[j];
            double value = 0;
            for (int i = PAIRS - 1; i >= 0; --i) value = value * x * x + q_without[j][i];
            g[0] = raised(a[j], j + 1) / (2 * x * (ZERO ? x : 1) * value);
            for (int tap = 1; tap < TAPS; ++tap) g[tap] = g[tap - 1] * x;
        }
    }

private:
    static constexpr double raised(double x, int n) {
        return n < 0 ? 1 / raised(x, -n) : n == 0 ? 1
                                                  : x * raised(x, n - 1);
    }
    constexpr void multiply_all(double* product, int without) {   // of (z - a^2)
        product[0] = 1;
        for (int j = 0, degree = 0; j < PAIRS; ++j) {
            if (j == without) continue;
            ++degree;
            for (int i = degree; i >= 0; --i)
                product[i] = (i > 0 ? product[i - 1] : 0) - (i < degree ? a[j] * a[j] * product[i] : 0);
        }
    }
};

// sum of c[i] d[2 i], highest first; the leading coefficient is one
template <int N> static inline __attribute__((always_inline)) V chain(const double* c, const V* d) {
    V sum = d[2 * (N - 1)];
    #pragma GCC unroll 4
    for (int i = N - 2; i >= 0; --i) sum += real(c[i]) * d[2 * i];
    return sum;
}

// t = B^T d
template <int TILE, int TAPS>
static inline __attribute__((always_inline)) void transform_input(const V (&d)[TILE + TAPS - 1],
                                                                  V (&t)[TILE + TAPS - 1]) {
    constexpr Winograd<TILE, TAPS> w;
    constexpr int PAIRS = w.PAIRS, ZERO = w.ZERO;
    if (ZERO) t[0] = chain<PAIRS + 1>(w.q, d);
    t[w.SIDE - 1] = chain<PAIRS + 1>(w.q, d + ZERO);
    #pragma GCC unroll 4
    for (int j = 0; j < PAIRS; ++j) {
        const V even = chain<PAIRS>(w.q_without[j], d + ZERO + 1), odd = chain<PAIRS>(w.q_without[j], d + ZERO);
        t[ZERO + 2 * j] = even + real(w.a[j]) * odd;
        t[ZERO + 2 * j + 1] = even - real(w.a[j]) * odd;
    }
}

// y = A^T m
template <int TILE, int TAPS>
static inline __attribute__((always_inline)) void transform_output(const V (&m)[TILE + TAPS - 1], V (&y)[TILE]) {
    constexpr Winograd<TILE, TAPS> w;
    constexpr int PAIRS = w.PAIRS, ZERO = w.ZERO;
    V sum[PAIRS], difference[PAIRS];
    #pragma GCC unroll 4
    for (int j = 0; j < PAIRS; ++j) {
        sum[j] = m[ZERO + 2 * j] + m[ZERO + 2 * j + 1];
        difference[j] = m[ZERO + 2 * j] - m[ZERO + 2 * j + 1];
    }
    #pragma GCC unroll 8
    for (int i = 0; i < TILE; ++i) {
        const V(&from)[PAIRS] = i % 2 ? difference : sum;
        V v = i == TILE - 1 ? m[w.SIDE - 1] + real(w.power[i][0]) * from[0] : real(w.power[i][0]) * from[0];
        if (ZERO && i == 0) v += m[0];
        #pragma GCC unroll 4
        for (int j = 1; j < PAIRS; ++j) v += real(w.power[i][j]) * from[j];
        y[i] = v;
    }
}

// m = A y: how a gradient of the outputs meets the points
template <int TILE, int TAPS>
static inline __attribute__((always_inline)) void transform_gradient(const V (&y)[TILE], V (&m)[TILE + TAPS - 1]) {
    constexpr Winograd<TILE, TAPS> w;
    if (w.ZERO) m[0] = y[0];
    m[w.SIDE - 1] = y[TILE - 1];
    #pragma GCC unroll 4
    for (int j = 0; j < w.PAIRS; ++j) {
        V even = real(w.power[0][j]) * y[0], odd = real(w.power[1][j]) * y[1];
        #pragma GCC unroll 4
        for (int i = 2; i < TILE; i += 2) {
            even += real(w.power[i][j]) * y[i];
            odd += real(w.power[i + 1][j]) * y[i + 1];
        }
        m[w.ZERO + 2 * j] = even + odd;
        m[w.ZERO + 2 * j + 1] = even - odd;
    }
}

// First half of B^T d B: along the columns of a strip of `values` = 16 x columns values a row, into
// rows `row` values apart.
template <int TILE, int TAPS>
static __attribute__((noinline)) void transform_columns(const real* const (&x)[TILE + TAPS - 1], i64 values,
                                                        real* strip, i64 row) {
    for (i64 k = 0; k < values; k += LANES) {
        V d[TILE + TAPS - 1], t[TILE + TAPS - 1];
        #pragma GCC unroll 8
        for (int i = 0; i < TILE + TAPS - 1; ++i) d[i] = load(x[i] + k);
        transform_input<TILE, TAPS>(d, t);
        #pragma GCC unroll 8
        for (int i = 0; i < TILE + TAPS - 1; ++i) store(strip + i * row + k, t[i]);
    }
}

// Second half: along the rows, for tiles side by side, tile i to v + place[i], its points `point`
// values apart. Row by row, so that few places are written at a time.
template <int TILE, int TAPS>
static __attribute__((noinline)) void transform_rows(const real* strip, i64 row, const i64* place, i64 tiles,
                                                     real* v, i64 point) {
    constexpr int SIDE = TILE + TAPS - 1;
    for (int i = 0; i < SIDE; ++i)
        for (i64 tile = 0; tile < tiles; ++tile)
            for (int part = 0; part < BLOCK; part += LANES) {
                const real* from = strip + i * row + tile * TILE * BLOCK + part;
                real* to = v + place[tile] + i * SIDE * point + part;
                V d[SIDE], t[SIDE];
                #pragma GCC unroll 8
                for (int j = 0; j < SIDE; ++j) d[j] = load(from + j * BLOCK);
                transform_input<TILE, TAPS>(d, t);
                #pragma GCC unroll 8
                for (int j = 0; j < SIDE; ++j) store(to + j * point, t[j]);
            }
}

// Both maxima of pooling keep NaN.
static inline V pool_max(V a, V b) {
    const V m = vmax(a, b);   // b where either is NaN
    return a == a ? m : a;
}

// What surrounds A^T m A: clamp(result + bias + residual), and 2 x 2 pooling of that.
enum Finish { PLAIN,
              WITH_RESIDUAL,
              POOLED };

// One tile of a block of filters from its points, `point` values apart, to y (m x m, or m / 2 x m /
// 2 if pooled; rows `y_row` values apart).
template <int TILE, int TAPS, Finish FINISH>
static __attribute__((noinline)) void finish_tile(const real* m, i64 point, const real* bias,
                                                  const real* residual, i64 residual_row,
                                                  const Epilogue& epilogue, real* y, i64 y_row) {
    constexpr int SIDE = TILE + TAPS - 1;
    const Clamp clamp(epilogue);
    for (int part = 0; part < BLOCK; part += LANES) {
        V s[TILE][SIDE];
        #pragma GCC unroll 8
        for (int j = 0; j < SIDE; ++j) {
            V column[SIDE], out[TILE];
            #pragma GCC unroll 8
            for (int i = 0; i < SIDE; ++i) column[i] = load(m + (i * SIDE + j) * point + part);
            transform_output<TILE, TAPS>(column, out);
            #pragma GCC unroll 8
            for (int i = 0; i < TILE; ++i) s[i][j] = out[i];
        }
        const V b = bias ? load(bias + part) : V{};
        V above[TILE / 2];
        #pragma GCC unroll 8
        for (int i = 0; i < TILE; ++i) {
            V out[TILE];
            transform_output<TILE, TAPS>(s[i], out);
            #pragma GCC unroll 8
            for (int j = 0; j < TILE; ++j) {
                out[j] += b;
                if (FINISH == WITH_RESIDUAL) out[j] += load(residual + i * residual_row + j * BLOCK + part);
                if (FINISH != POOLED) store(y + i * y_row + j * BLOCK + part, clamp(out[j]));
            }
            if (FINISH == POOLED) {
                #pragma GCC unroll 4
                for (int j = 0; j < TILE / 2; ++j) {
                    const V pair = pool_max(out[2 * j], out[2 * j + 1]);
                    if (i % 2)
                        store(y + i / 2 * y_row + j * BLOCK + part, clamp(pool_max(above[j], pair)));
                    else above[j] = pair;
                }
            }
        }
    }
}
}  // namespace ISA::REAL_NAME
