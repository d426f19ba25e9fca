// y = finish(join of of(x) over a window), for a join that may be taken in any
// grouping: maximum, sum.
// For each output row, the input rows under it are joined by whole vectors into one row in L1,
// which is as long as needed for a tile of outputs and has the join's identity where the padding
// is; then each output joins its neighbours in that row. So neither pass looks at borders. The
// order (rows first, front to back; then columns, left to right) depends on the shape alone.
//
// A Kind has: identity; TURNS, whether turned.h may take it; of(V); join(V, V), join(real, real);
// finish(V joined, real factor); and for what depends on how many inputs a window covers:
// row_factor(pool, od, oh), which counts the columns of a whole window, and column_factor(axis, o),
// what output column o is to be multiplied with after `finish` because its window counts fewer.
#pragma once
#include "gathered.h"
#include "turned.h"

BEGIN_KERNELS

constexpr i64 TILE_CELLS = 2048;   // of the row in L1: 8 or 16 KiB of 32, leaving room for the input rows

template <int ROWS, class Kind>
static inline void join_rows(const Kind& kind, const real* x, i64 depth, i64 step_d, i64 height, i64 step_h,
                             real* joined) {
    V acc[ROWS];
    for (i64 d = 0; d < depth; ++d)
        for (i64 h = 0; h < height; ++h) {
            const real* row = x + d * step_d + h * step_h;
            #pragma GCC unroll 8
            for (int j = 0; j < ROWS; ++j) {
                const V v = kind.of(load(row + j * LANES));
                acc[j] = d + h == 0 ? v : kind.join(acc[j], v);
            }
        }
    #pragma GCC unroll 8
    for (int j = 0; j < ROWS; ++j) store(joined + j * LANES, acc[j]);
}

// joined[i] = join over d < depth, h < height of x[d * step_d + h * step_h + i], for n columns
template <class Kind>
static void join_columns(const Kind& kind, const real* x, i64 depth, i64 step_d, i64 height, i64 step_h,
                         i64 n, real* joined) {
    i64 i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES)
        join_rows<4>(kind, x + i, depth, step_d, height, step_h, joined + i);
    for (; i + LANES <= n; i += LANES) join_rows<1>(kind, x + i, depth, step_d, height, step_h, joined + i);
    if (i == n) return;
    const Tail lanes{(int)(n - i)};
    V acc = kind.of(lanes.load(x + i));
    for (i64 d = 0; d < depth; ++d)
        for (i64 h = d == 0; h < height; ++h)
            acc = kind.join(acc, kind.of(lanes.load(x + d * step_d + h * step_h + i)));
    lanes.store(joined + i, acc);
}

// LANES values from p with a stride; reads up to 2 * LANES values, all inside the tile's slack
template <int STRIDE> static inline V every(const real* p, i64 stride, int count) {
    if constexpr (STRIDE == 1) return load(p);
    if constexpr (STRIDE == 2) return even_lanes(load(p), load(p + LANES));
    return load_every(p, stride, count);
}

template <int STRIDE, int KERNEL, class Kind>
static void join_neighbours(const Kind& kind, const real* cells, const Axis& w, i64 n, real factor, real* y) {
    const i64 taps = KERNEL ? KERNEL : w.kernel, dilation = KERNEL ? 1 : w.dilation,
              stride = STRIDE ? STRIDE : w.stride;
    for_vectors(n, [&](i64 o, auto lanes) {
        const real* p = cells + o * stride;
        V acc = every<STRIDE>(p, stride, lanes.count);
        #pragma GCC unroll 4
        for (i64 t = 1; t < taps; ++t)
            acc = kind.join(acc, every<STRIDE>(p + t * dilation, stride, lanes.count));
        lanes.store(y + o, kind.finish(acc, factor));
    });
}

template <int STRIDE, class Kind>
static void join_neighbours(const Kind& kind, const real* cells, const Axis& w, i64 n, real factor, real* y) {
    if (w.dilation == 1 && w.kernel == 2) return join_neighbours<STRIDE, 2>(kind, cells, w, n, factor, y);
    if (w.dilation == 1 && w.kernel == 3) return join_neighbours<STRIDE, 3>(kind, cells, w, n, factor, y);
    join_neighbours<STRIDE, 0>(kind, cells, w, n, factor, y);
}

template <class Kind>
static void join_neighbours(const Kind& kind, const real* cells, const Axis& w, i64 n, real factor, real* y) {
    if (w.stride == 1) return join_neighbours<1>(kind, cells, w, n, factor, y);
    if (w.stride == 2) return join_neighbours<2>(kind, cells, w, n, factor, y);
    join_neighbours<0>(kind, cells, w, n, factor, y);
}

// Windows of unequal length: cells[0] is input `origin`
template <class Kind>
static void join_ranges(const Kind& kind, const real* cells, i64 origin, const Axis& w, i64 begin, i64 end,
                        real factor, real* y) {
    for (i64 o = begin; o < end; ++o) {
        const Taps  t = w.taps(o);
        const real* p = cells + t.first - origin;
        real acc = p[0];
        for (i64 i = 1; i < t.count; ++i) acc = kind.join(acc, p[i]);
        y[o] = kind.finish(splat(acc), factor * kind.column_factor(w, o))[0];
    }
}

template <class Kind> static void multiply_edges(const Kind& kind, const Axis& w, real* y) {
    for (i64 o = 0; o < w.whole_begin(); ++o) y[o] *= kind.column_factor(w, o);
    for (i64 o = w.whole_end(); o < w.out; ++o) y[o] *= kind.column_factor(w, o);
}

struct RowPlace {
    i64 plane, d, h;
    void next(i64 depth, i64 height) {
        if (++h < height) return;
        h = 0;
        if (++d == depth) d = 0, ++plane;
    }
};
static inline RowPlace row_place(i64 row, i64 depth, i64 height) {
    return {row / (depth * height), row / height % depth, row % height};
}

template <class Kind> struct RowPooler {
    const Kind& kind;
    const Pool& p;
    const i64   tile, span;
    Scratch<real> cells;

    static i64 outputs_per_tile(const Axis& w) {
        const i64 step = w.adaptive() ? w.in / w.out + 1 : w.stride, room = TILE_CELLS - w.reach();
        const i64 outputs = room < step * LANES ? LANES : room / step / LANES * LANES;
        return outputs < w.out ? outputs : w.out;
    }
    static i64 cells_per_tile(const Axis& w, i64 tile) {
        return (tile + 1) * (w.adaptive() ? w.in / w.out + 1 : w.stride) + w.reach();
    }
    RowPooler(const Kind& kind, const Pool& p)
        : kind(kind), p(p), tile(p.w.modest() ? outputs_per_tile(p.w) : 0),
          span(tile ? cells_per_tile(p.w, tile) : 0), cells(span + 4 * LANES) {}

    // Windows that reach, or lie, too far beyond the input for a row of cells: one by one, in the same order
    void far_row(const real* x, Taps d, Taps h, real factor, real* y) const {
        const i64 step_d = p.d.dilation * p.h.in * p.w.in, step_h = p.h.dilation * p.w.in;
        for (i64 o = 0; o < p.w.out; ++o) {
            const Taps w = p.w.taps(o);
            real joined = kind.identity;
            for (i64 k = 0; k < w.count; ++k) {
                const real* column = x + w.first + k * p.w.dilation;
                real cell = kind.of(splat(*column))[0];
                for (i64 i = 0; i < d.count; ++i)
                    for (i64 j = i == 0; j < h.count; ++j)
                        cell = kind.join(cell, kind.of(splat(column[i * step_d + j * step_h]))[0]);
                joined = k ? kind.join(joined, cell) : cell;
            }
            y[o] = kind.finish(splat(joined), factor)[0] * kind.column_factor(p.w, o);
        }
    }

    void row(const real* plane, i64 od, i64 oh, real* y) {
        const Taps  d = p.d.taps(od), h = p.h.taps(oh);
        const real* x = plane + (d.first * p.h.in + h.first) * p.w.in;
        const real  factor = kind.row_factor(p, od, oh);
        if (!tile) return far_row(x, d, h, factor, y);
        for (i64 o = 0; o < p.w.out; o += tile) {
            const i64 end = o + tile < p.w.out ? o + tile : p.w.out;
            const i64 origin = p.w.start(o), limit = p.w.start(end - 1) + p.w.reach();
            const i64 first = origin < 0 ? 0 : origin, last = limit < p.w.in ? limit : p.w.in;
            for (i64 i = origin; i < first; ++i) cells[i - origin] = kind.identity;
            join_columns(kind, x + first, d.count, p.d.dilation * p.h.in * p.w.in, h.count,
                         p.h.dilation * p.w.in, last - first, cells + (first - origin));
            for (i64 i = last; i < limit; ++i) cells[i - origin] = kind.identity;
            if (p.w.adaptive()) join_ranges(kind, cells, origin, p.w, o, end, factor, y);
            else join_neighbours(kind, cells, p.w, end - o, factor, y + o);
        }
        if (!p.w.adaptive()) multiply_edges(kind, p.w, y);
    }
};

// One vector whose lanes, joined, are the join of n values
template <class Kind> static inline V join_plane(const Kind& kind, const real* x, i64 n) {
    V acc[4] = {splat(kind.identity), splat(kind.identity), splat(kind.identity), splat(kind.identity)};
    i64 i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES)
        for (int j = 0; j < 4; ++j) acc[j] = kind.join(acc[j], kind.of(load(x + i + j * LANES)));
    for_vectors(n - i, [&](i64 at, auto lanes) {
        const M live = lane_index() < (lane_int)lanes.count;
        acc[0] = kind.join(acc[0], live ? kind.of(lanes.load(x + i + at)) : splat(kind.identity));
    });
    return kind.join(kind.join(acc[0], acc[1]), kind.join(acc[2], acc[3]));
}

// y[i] = the join of plane i. Planes are taken LANES at a time and their vectors transposed, so
// that the last steps are whole vectors too; those left over are joined lane by lane in the same
// order, with the same result.
template <class Kind>
static void join_planes(const Kind& kind, const real* x, i64 planes, i64 n, real factor, real* y) {
    for (; planes >= LANES; planes -= LANES, x += LANES * n, y += LANES) {
        V lane[LANES];
        for (int i = 0; i < LANES; ++i) lane[i] = join_plane(kind, x + i * n, n);
        interleave(lane);
        for (int half = LANES / 2; half; half /= 2)
            for (int i = 0; i < half; ++i) lane[i] = kind.join(lane[i], lane[i + half]);
        store(y, kind.finish(lane[0], factor));
    }
    for (; planes; --planes, x += n, ++y) {
        real lane[LANES];
        store(lane, join_plane(kind, x, n));
        for (int half = LANES / 2; half; half /= 2)
            for (int i = 0; i < half; ++i) lane[i] = kind.join(lane[i], lane[i + half]);
        *y = kind.finish(splat(lane[0]), factor)[0];
    }
}

template <class Kind> static void pool_forward(const Kind& kind, In<real> x, const Pool& p, Out<real> y) {
    const i64 planes = x.size() / p.in_size();
    if (p.one_window_over_all()) {
        const real factor = kind.row_factor(p, 0, 0) * kind.column_factor(p.w, 0);
        return parallel_for(planes, 1 + 65536 / p.in_size(), [&](i64 begin, i64 end) {
            join_planes(kind, x.data + begin * p.in_size(), end - begin, p.in_size(), factor, y.data + begin);
        });
    }
    if (p.out_size() == 0) return;
    if constexpr (Kind::TURNS)   // whatever the number of planes, the same bits
        if (turns(p, planes)) return pool_turned(kind, x, p, y);
    parallel_for(planes * p.out_rows(), 1 + 65536 / (p.w.in * p.rows_under() + 64), [&](i64 begin, i64 end) {
        RowPooler<Kind> pooler(kind, p);
        RowPlace at = row_place(begin, p.d.out, p.h.out);
        for (i64 r = begin; r < end; ++r, at.next(p.d.out, p.h.out))
            pooler.row(x.data + at.plane * p.in_size(), at.d, at.h, y.data + r * p.w.out);
    });
}

END_KERNELS
