// softmax: y = e^(x - max) / sum of e^(x - max) along one axis; log_softmax: y = x - max -
// log(sum of e^(x - max)).
// The array is (outer, n, inner). With inner = 1 a line is a run of memory, and vectors lie along
// it; otherwise a vector holds LANES neighbouring lines and walks the axis, `inner` values a step,
// in blocks that stay in the first-level cache. Lines of a few values along memory, as scores of two
// classes have, are gathered LANES at a time, so that a vector holds as many lines, too.
// A line whose maximum is infinite gives NaN by itself: inf - inf.
#include "lanes.h"
#include "kernel.h"
#include "simd_math.h"

BEGIN_KERNELS

struct Lines {
    i64 outer = 1, n, inner = 1;
    Lines(In<real> x, i64 dim) : n(x.dim((int)dim)) {
        for (int a = 0; a < x.ndim; ++a) (a < dim ? outer : a > dim ? inner : n) *= a == dim ? 1 : x.dim(a);
    }
    bool along() const { return inner == 1; }
};

// ---- lines along memory

// Calls body(line) for every line, by threads.
template <class Body> static void for_lines(const Lines& at, Body body) {
    parallel_for(at.outer, 1 + 4096 / (at.n + 1), [&](i64 begin, i64 end) {
        for (i64 l = begin; l < end; ++l) body(l * at.n);
    });
}

static real hmax(V v) {
    real best = v[0];
    for (int i = 1; i < LANES; ++i) best = best < v[i] ? v[i] : best;
    return best;
}

// Four chains, so that the latency of a maximum or a sum is hidden: body(i, lanes, chain).
template <class Body> static inline void for_chains(i64 n, Body body) {
    i64 i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        #pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) body(i + k * LANES, Whole{}, k);
    }
    for_vectors(n - i, [&](i64 j, auto lanes) { body(i + j, lanes, 0); });
}

// The largest value, NaN only if that is the last of its lane: a NaN anywhere makes the sum NaN in any case.
static real line_max(const real* x, i64 n) {
    V best[4] = {splat(-INF), splat(-INF), splat(-INF), splat(-INF)};
    for_chains(n, [&](i64 i, auto lanes, int k) {
        best[k] = vmax(best[k], with_dead(lanes.load(x + i), lanes, -INF));
    });
    return hmax(vmax(vmax(best[0], best[1]), vmax(best[2], best[3])));
}

// The sum of body(i, lanes) over [0, n), in pieces whose sums meet in double.
template <class Body> static double line_sum(i64 n, Body body) {
    constexpr i64 PIECE = 4096;
    double total = 0;
    for (i64 from = 0; from < n; from += PIECE) {
        V sum[4] = {};
        for_chains(n - from < PIECE ? n - from : PIECE,
                   [&](i64 i, auto lanes, int k) { sum[k] += lanes.keep(body(from + i, lanes)); });
        total += hsum((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
    return total;
}

// ---- short lines along memory

constexpr i64 SHORT = LANES < 8 ? LANES : 3 * LANES / 2;   // values of a line

// Calls change(values), a vector for each place of the line, for LANES lines at a time.
template <class Change>
static void for_short_lines(In<real> x, const Lines& at, Out<real> y, Change change) {
    parallel_for((at.outer + LANES - 1) / LANES, 1 + 4096 / (LANES * at.n), [&](i64 begin, i64 end) {
        for (i64 block = begin; block < end; ++block) {
            const i64 first = block * LANES, lines = at.outer - first < LANES ? at.outer - first : LANES;
            V values[SHORT];
            for (i64 i = 0; i < at.n; ++i)
                values[i] = load_strided(x.data + first * at.n + i, at.n, (int)lines);
            change(values);
            alignas(64) real out[SHORT][LANES];
            for (i64 i = 0; i < at.n; ++i) store(out[i], values[i]);
            real* to = y.data + first * at.n;
            for (i64 l = 0; l < lines; ++l)
                for (i64 i = 0; i < at.n; ++i) *to++ = out[i][l];
        }
    });
}

static V greatest(const V* values, i64 n) {
    V top = values[0];
    for (i64 i = 1; i < n; ++i) top = vmax(top, values[i]);
    return top;
}

// ---- lines across memory

// Calls body(first value of a block of neighbouring lines, lines) for blocks that cover the array.
template <class Body> static void for_line_blocks(const Lines& at, Body body) {
    const i64 fitting = 8192 / (at.n + 1) / LANES * LANES, block = fitting < LANES ? LANES
                                                                   : fitting > 256 ? 256
                                                                                   : fitting;
    const i64 blocks = (at.inner + block - 1) / block;
    parallel_for(at.outer * blocks, 1 + 4096 / (block * at.n + 1), [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const i64 p = i % blocks * block;
            body(i / blocks * at.n * at.inner + p, at.inner - p < block ? at.inner - p : block);
        }
    });
}

constexpr i64 MOST_LINES = 256;

// Maximum and sum of e^(x - max) of each of `lines` neighbouring lines; with `store`, the
// exponentials go to y.
static void shift_and_sum(const real* x, const Lines& at, i64 lines, bool keep, real* top, real* sum,
                          real* y) {
    for_vectors(lines, [&](i64 l, auto lanes) {
        lanes.store(top + l, splat(-INF));
        lanes.store(sum + l, V{});
    });
    for (i64 i = 0; i < at.n; ++i)
        for_vectors(lines, [&](i64 l, auto lanes) {
            lanes.store(top + l, vmax(lanes.load(top + l), lanes.load(x + i * at.inner + l)));
        });
    for (i64 i = 0; i < at.n; ++i)
        for_vectors(lines, [&](i64 l, auto lanes) {
            const V e = vexp(lanes.load(x + i * at.inner + l) - lanes.load(top + l));
            if (keep) lanes.store(y + i * at.inner + l, e);
            lanes.store(sum + l, lanes.load(sum + l) + e);
        });
}

// ---- kernels

void softmax(In<real> x, i64 dim, Out<real> y) {
    const Lines at(x, dim);
    if (at.along() && at.n > 0 && at.n <= SHORT)
        return for_short_lines(x, at, y, [&](V* values) {
            const V top = greatest(values, at.n);
            V sum{};
            for (i64 i = 0; i < at.n; ++i) sum += values[i] = vexp(values[i] - top);
            const V part = 1 / sum;
            for (i64 i = 0; i < at.n; ++i) values[i] *= part;
        });
    if (at.along()) {
        for_lines(at, [&](i64 from) {
            const real* xl  = x.data + from;
            real*       yl  = y.data + from;
            const real  top = line_max(xl, at.n);
            const real  part = real(1 / line_sum(at.n, [&](i64 i, auto lanes) {
                const V e = vexp(lanes.load(xl + i) - top);
                lanes.store(yl + i, e);
                return e;
            }));
            for_vectors(at.n, [=](i64 i, auto lanes) { lanes.store(yl + i, lanes.load(yl + i) * part); });
        });
        return;
    }
    for_line_blocks(at, [&](i64 from, i64 lines) {
        real top[MOST_LINES], sum[MOST_LINES];
        shift_and_sum(x.data + from, at, lines, true, top, sum, y.data + from);
        for_vectors(lines, [&](i64 l, auto lanes) { lanes.store(sum + l, 1 / lanes.load(sum + l)); });
        for (i64 i = 0; i < at.n; ++i)
            for_vectors(lines, [&](i64 l, auto lanes) {
                real* p = y.data + from + i * at.inner + l;
                lanes.store(p, lanes.load(p) * lanes.load(sum + l));
            });
    });
}

void log_softmax(In<real> x, i64 dim, Out<real> y) {
    const Lines at(x, dim);
    if (at.along() && at.n > 0 && at.n <= SHORT)
        return for_short_lines(x, at, y, [&](V* values) {
            const V top = greatest(values, at.n);
            V sum{};
            for (i64 i = 0; i < at.n; ++i) sum += vexp(values[i] - top);
            const V log_sum = vlog(sum);
            for (i64 i = 0; i < at.n; ++i) values[i] = (values[i] - top) - log_sum;
        });
    if (at.along()) {
        for_lines(at, [&](i64 from) {
            const real* xl  = x.data + from;
            const real  top = line_max(xl, at.n);
            const real log_sum = real(
                std::log(line_sum(at.n, [&](i64 i, auto lanes) { return vexp(lanes.load(xl + i) - top); })));
            for_vectors(at.n, [=](i64 i, auto lanes) {
                lanes.store(y.data + from + i, (lanes.load(xl + i) - top) - log_sum);
            });
        });
        return;
    }
    for_line_blocks(at, [&](i64 from, i64 lines) {
        real top[MOST_LINES], sum[MOST_LINES];
        shift_and_sum(x.data + from, at, lines, false, top, sum, nullptr);
        for_vectors(lines, [&](i64 l, auto lanes) { lanes.store(sum + l, vlog(lanes.load(sum + l))); });
        for (i64 i = 0; i < at.n; ++i)
            for_vectors(lines, [&](i64 l, auto lanes) {
                const i64 p = from + i * at.inner + l;
                lanes.store(y.data + p, (lanes.load(x.data + p) - lanes.load(top + l)) - lanes.load(sum + l));
            });
    });
}

// dx = combine(dy, y, s) with s the sum of term(dy, y) along the axis
template <class Term, class Combine>
static void backward_of_lines(In<real> dy, In<real> y, i64 dim, Out<real> dx, Term term, Combine combine) {
    const Lines at(y, dim);
    if (at.along()) {
        for_lines(at, [&](i64 from) {
            const real *g = dy.data + from, *yl = y.data + from;
            const V s = splat(real(line_sum(
                at.n, [&](i64 i, auto lanes) { return term(lanes.load(g + i), lanes.load(yl + i)); })));
            for_vectors(at.n, [=](i64 i, auto lanes) {
                lanes.store(dx.data + from + i, combine(lanes.load(g + i), lanes.load(yl + i), s));
            });
        });
        return;
    }
    for_line_blocks(at, [&](i64 from, i64 lines) {
        real sum[MOST_LINES];
        for_vectors(lines, [&](i64 l, auto lanes) { lanes.store(sum + l, V{}); });
        for (i64 i = 0; i < at.n; ++i)
            for_vectors(lines, [&](i64 l, auto lanes) {
                const i64 p = from + i * at.inner + l;
                lanes.store(sum + l,
                            lanes.load(sum + l) + term(lanes.load(dy.data + p), lanes.load(y.data + p)));
            });
        for (i64 i = 0; i < at.n; ++i)
            for_vectors(lines, [&](i64 l, auto lanes) {
                const i64 p = from + i * at.inner + l;
                lanes.store(dx.data + p,
                            combine(lanes.load(dy.data + p), lanes.load(y.data + p), lanes.load(sum + l)));
            });
    });
}

void softmax_backward(In<real> dy, In<real> y, i64 dim, Out<real> dx) {
    backward_of_lines(
        dy, y, dim, dx, [](V g, V p) { return g * p; }, [](V g, V p, V s) { return p * (g - s); });
}

void log_softmax_backward(In<real> dy, In<real> y, i64 dim, Out<real> dx) {
    backward_of_lines(
        dy, y, dim, dx, [](V g, V) { return g; }, [](V g, V l, V s) { return g - vexp(l) * s; });
}

END_KERNELS
