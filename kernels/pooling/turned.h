// Adaptive windows have a length of their own each, and those far apart would be gathered, so vectors do not run
// along them: they run across LANES planes, whose rows are turned. Each lane joins its row's columns left to right,
// as one plane alone would.
#pragma once
#include "window.h"

BEGIN_KERNELS

constexpr i64 MOST_TURNED = 1024;   // values of a row, or a plane, that LANES of are turned together: 64 KiB

// `n` values of each of `rows` rows, `pitch` apart: value i of all of them is vector i of `to`, which has room for
// whole squares.
static inline void turn(const real* x, i64 pitch, int rows, i64 n, real* to) {
    for (i64 i = 0; i < n; i += LANES) {
        const int some = n - i < LANES ? (int)(n - i) : LANES;
        V v[LANES];
        for (int r = 0; r < LANES; ++r)
            v[r] = r >= rows ? V{} : some == LANES ? load(x + r * pitch + i) : load(x + r * pitch + i, some);
        interleave(v);
        for (int k = 0; k < LANES; ++k) store(to + (i + k) * LANES, v[k]);
    }
}

static inline bool undilated(const Pool& p) { return p.d.dilation == 1 && p.h.dilation == 1 && p.w.dilation == 1; }
static inline bool turns(const Pool& p, i64 planes) {
    if (p.w.in > MOST_TURNED || p.w.adaptive()) return p.w.in <= MOST_TURNED;
    return planes >= LANES && undilated(p) && p.w.stride > 2 && p.w.kernel > 2 && p.w.padding == 0;
}

static inline i64 whole_vectors(i64 n) { return (n + LANES - 1) / LANES * LANES; }

template <class Kind> static void pool_turned(const Kind& kind, In<real> x, const Pool& p, Out<real> y) {
    const i64 planes = x.size() / p.in_size(), groups = ceil_div(planes, LANES);
    const i64 width = p.w.in, pitch = whole_vectors(width);
    const bool plain = p.rows_under() == 1;   // rows are not joined
    parallel_for(groups * p.out_rows(), 1 + 16384 / (width * (p.rows_under() + 8) + 64), [&](i64 begin, i64 end) {
        Scratch<real> rows(LANES * pitch), columns(LANES * pitch), factors(p.w.out);
        Scratch<Taps> taps(p.w.out);
        for (i64 o = 0; o < p.w.out; ++o) taps[o] = p.w.taps(o), factors[o] = kind.column_factor(p.w, o);
        for (i64 task = begin; task < end; ++task) {
            const i64 plane = task / p.out_rows() * LANES, row = task % p.out_rows(), od = row / p.h.out,
                      oh = row % p.h.out, left = planes - plane;
            const int count = left < LANES ? (int)left : LANES;
            const Taps d = p.d.taps(od), h = p.h.taps(oh);
            const real* const from = x.data + plane * p.in_size() + (d.first * p.h.in + h.first) * width;
            if (plain) turn(from, p.in_size(), count, width, columns);
            else {
                for (int i = 0; i < count; ++i)
                    join_columns(kind, from + i * p.in_size(), d.count, p.h.in * width, h.count, width, width,
                                 rows + i * pitch);
                turn(rows, pitch, count, width, columns);
            }
            const real factor = kind.row_factor(p, od, oh);
            real* const to = y.data + plane * p.out_size() + row * p.w.out;
            for (i64 o = 0; o < p.w.out; o += LANES) {
                const int some = p.w.out - o < LANES ? (int)(p.w.out - o) : LANES;
                V made[LANES];
                for (int k = 0; k < LANES; ++k) {
                    if (k >= some) {
                        made[k] = V{};
                        continue;
                    }
                    const real* column = columns + taps[o + k].first * LANES;
                    const auto at = [&](const real* p) { return plain ? kind.of(load(p)) : load(p); };
                    V joined = at(column);
                    for (i64 i = 1; i < taps[o + k].count; ++i) joined = kind.join(joined, at(column += LANES));
                    made[k] = p.w.adaptive() ? kind.finish(joined, factor * factors[o + k])
                                             : kind.finish(joined, factor) * factors[o + k];
                }
                interleave(made);
                for (int i = 0; i < count; ++i) store(to + i * p.out_size() + o, made[i], some);
            }
        }
    });
}

END_KERNELS
