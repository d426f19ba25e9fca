// pad: an output row is the input row of its source position, with two edges that depend on the
// mode; both edges and the middle are straight copies (or one backwards), so no table of positions
// is needed. Rows are independent.
// pad_backward adds whole rows of dy onto the row they came from. A plane (all but axis 0, which is
// never padded here) is one thread's, and its rows are taken in order.
#include "kernel.h"

BEGIN_KERNELS

enum Mode : i64 { CONSTANT, REFLECT, REPLICATE, CIRCULAR };

static i64 clamp(i64 a, i64 low, i64 high) { return a < low ? low : a > high ? high : a; }

// Input position of output position o along an axis of n, or -1 for the constant.
static i64 source(Mode mode, i64 o, i64 before, i64 n) {
    const i64 i = o - before;
    if (i >= 0 && i < n) return i;
    switch (mode) {
        case CONSTANT: return -1;
        case REFLECT: return i < 0 ? -i : 2 * (n - 1) - i;
        case REPLICATE: return i < 0 ? 0 : n - 1;
        default: return i < 0 ? i + n : i - n;
    }
}

// One padded row: outputs [begin, end) are the input from begin - before on.
struct Row {
    i64 before, in, out, begin, end;
    Row(i64 before, i64 in, i64 out)
        : before(before), in(in), out(out), begin(clamp(before, 0, out)),
          end(clamp(before + in, begin, out)) {}
};

static inline void copy(const real* x, i64 n, real* y) {
    if (n < LANES) return store(y, load(x, (int)n), (int)n);
    for (i64 i = 0; i + LANES <= n; i += LANES) store(y + i, load(x + i));
    store(y + n - LANES, load(x + n - LANES));   // may overlap the one before: cheaper than a partial store
}

static inline void fill(real value, i64 n, real* y) {
    if (n < 4) {   // an edge
        for (i64 i = 0; i < n; ++i) y[i] = value;
        return;
    }
    for_vectors(n, [&](i64 i, auto lanes) { lanes.store(y + i, splat(value)); });
}

// `mode` is a constant where this is inlined: rows are short, a jump a row shows.
static inline void pad_row(Mode mode, const Row& r, const real* x, real value, real* y) {
    // output o of the right edge reflects last - o
    const i64 right = r.out - r.end, last = 2 * (r.in - 1) + r.before;
    copy(x + r.begin - r.before, r.end - r.begin, y + r.begin);
    switch (mode) {
        case CONSTANT:
            fill(value, r.begin, y);
            fill(value, right, y + r.end);
            break;
        case REFLECT:
            for (i64 o = 0; o < r.begin; ++o) y[o] = x[r.before - o];
            for (i64 o = r.end; o < r.out; ++o) y[o] = x[last - o];
            break;
        case REPLICATE:
            for (i64 o = 0; o < r.begin; ++o) y[o] = x[0];
            for (i64 o = r.end; o < r.out; ++o) y[o] = x[r.in - 1];
            break;
        case CIRCULAR:
            copy(x + r.in - r.before, r.begin, y);
            copy(x, right, y + r.end);
    }
}

// The adjoint: dx += what pad_row copied, the constant left out.
static void unpad_row(Mode mode, const Row& r, const real* dy, real* dx) {
    auto add = [](const real* from, i64 n, real* to) {
        for_vectors(
            n, [&](i64 i, auto lanes) { lanes.store(to + i, lanes.load(to + i) + lanes.load(from + i)); });
    };
    const i64 right = r.out - r.end, last = 2 * (r.in - 1) + r.before;
    add(dy + r.begin, r.end - r.begin, dx + r.begin - r.before);
    switch (mode) {
        case CONSTANT: break;
        case REFLECT:
            for (i64 o = 0; o < r.begin; ++o) dx[r.before - o] += dy[o];
            for (i64 o = r.end; o < r.out; ++o) dx[last - o] += dy[o];
            break;
        case REPLICATE:
            for (i64 o = 0; o < r.begin; ++o) dx[0] += dy[o];
            for (i64 o = r.end; o < r.out; ++o) dx[r.in - 1] += dy[o];
            break;
        case CIRCULAR:
            add(dy, r.begin, dx + r.in - r.before);
            add(dy + r.end, right, dx);
    }
}

// Walks the leading axes [from, last) of an output in order; source_row is the matching input row,
// or -1. What the outer axes make of it is worked out once per run of the innermost.
struct Walk {
    Mode       mode;
    const i64 *in, *out;
    Dims       before;
    int        from, last;
    i64        at[8], outer = 0;
    Walk(Mode mode, const i64* in, const i64* out, Dims before, int from, int ndim, i64 row)
        : mode(mode), in(in), out(out), before(before), from(from), last(ndim - 1) {
        for (int a = last - 1; a >= from; --a) {
            at[a] = row % out[a];
            row /= out[a];
        }
        find_outer();
    }
    void find_outer() {
        outer = 0;
        for (int a = from; a < last - 1 && outer >= 0; ++a) {
            const i64 i = source(mode, at[a], before[a], in[a]);
            outer = i < 0 ? -1 : outer * in[a] + i;
        }
    }
    i64 source_row() const {
        if (last == from) return 0;
        const i64 i = source(mode, at[last - 1], before[last - 1], in[last - 1]);
        return i < 0 || outer < 0 ? -1 : outer * in[last - 1] + i;
    }
    void next() {
        int a = last - 1;
        if (a < from || ++at[a] < out[a]) return;
        for (; a > from && at[a] == out[a]; ++at[--a]) at[a] = 0;
        find_outer();
    }
};

// A constant beside rows of a few vectors: each is read where it lies and written once, its edges with it.
template <int VECTORS> static void pad_short_rows(In<real> x, Dims before, real value, Out<real> y) {
    const i64 width = y.last(), rows = y.size() / width;
    const Row row(before[y.ndim - 1], x.last(), width);
    LaneRange inside[VECTORS];
    V         edge[VECTORS];
    const auto in_vector = [](i64 at, int v) { return (int)clamp(at - v * LANES, 0, LANES); };
    for (int v = 0; v < VECTORS; ++v) {
        const int first = in_vector(row.begin, v), last = in_vector(row.end, v);
        inside[v] = lane_range(first, last);
        edge[v] = (lane_index() >= (lane_int)first) & (lane_index() < (lane_int)last) ? V{} : splat(value);
    }
    const int left = (int)(width - (VECTORS - 1) * LANES);
    parallel_for(rows, 1 + 16384 / (width + 32), [=](i64 begin, i64 end) {
        Walk walk(CONSTANT, x.shape, y.shape, before, 0, y.ndim, begin);
        real* to = y.data + begin * width;
        for (i64 r = begin; r < end; ++r, walk.next(), to += width) {
            const i64 from = walk.source_row();
            const real* const values = x.data + from * row.in - row.before;
            #pragma GCC unroll 4
            for (int v = 0; v < VECTORS; ++v) {
                const V some = from < 0 ? splat(value)
                                        : as_real(as_int(load(values + v * LANES, inside[v])) | as_int(edge[v]));
                if (v < VECTORS - 1) store(to + v * LANES, some);
                else store(to + v * LANES, some, left);
            }
        }
    });
}

template <Mode mode> static void pad_rows(In<real> x, Dims before, real value, Out<real> y) {
    const i64 width = y.last(), rows = width ? y.size() / width : 0;
    const Row row(before[y.ndim - 1], x.last(), width);
    parallel_for(rows, 1 + 16384 / (width + 32), [&](i64 begin, i64 end) {
        Walk walk(mode, x.shape, y.shape, before, 0, y.ndim, begin);
        for (i64 r = begin; r < end; ++r, walk.next()) {
            const i64 from = walk.source_row();
            if (from < 0) fill(value, width, y.data + r * width);
            else pad_row(mode, row, x.data + from * row.in, value, y.data + r * width);
        }
    });
}

void pad(In<real> x, Dims before, i64 mode, double value, Out<real> y) {
    if (mode == CONSTANT && VECTOR_BYTES > 16 && y.size()) {
        if (y.last() <= LANES) return pad_short_rows<1>(x, before, (real)value, y);
        if (y.last() <= 2 * LANES) return pad_short_rows<2>(x, before, (real)value, y);
        if (y.last() <= 3 * LANES) return pad_short_rows<3>(x, before, (real)value, y);
    }
    switch (mode) {
        case CONSTANT: return pad_rows<CONSTANT>(x, before, (real)value, y);
        case REFLECT: return pad_rows<REFLECT>(x, before, (real)value, y);
        case REPLICATE: return pad_rows<REPLICATE>(x, before, (real)value, y);
        default: return pad_rows<CIRCULAR>(x, before, (real)value, y);
    }
}

void pad_backward(In<real> dy, Dims before, i64 mode, Out<real> dx) {
    const i64 planes = dx.dim(0), width = dy.last(), size = planes ? dx.size() / planes : 0;
    const i64 rows = planes && width ? dy.size() / planes / width : 0;
    const Row row(before[dy.ndim - 1], dx.last(), width);
    parallel_for(planes, 1 + 16384 / (rows * width + 1), [&](i64 begin, i64 end) {
        for (i64 p = begin; p < end; ++p) {
            fill(0, size, dx.data + p * size);
            Walk walk((Mode)mode, dx.shape, dy.shape, before, 1, dy.ndim, 0);
            for (i64 r = 0; r < rows; ++r, walk.next()) {
                const i64 to = walk.source_row();
                if (to >= 0)
                    unpad_row((Mode)mode, row, dy.data + (p * rows + r) * width,
                              dx.data + p * size + to * row.in);
            }
        }
    });
}

END_KERNELS
