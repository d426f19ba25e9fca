// Reductions over any axes. x is seen as up to eight axes, kept and reduced in turn.
// Innermost axis reduced: one output at a time, vectors run along memory. Innermost axis kept:
// vectors hold neighbouring outputs. Partial results of a fixed number of elements are joined as a
// binary tree, so a float32 sum of n terms is off by about log n roundings and the order depends on
// the shape alone, never on threads.
#include <limits>
#include "elementwise/broadcast.h"
#include "lanes.h"
#include "simd_math.h"

BEGIN_KERNELS

// ---- what is reduced: neutral element, map of an input lane (p: a value per output), and join

struct Sum {
    static constexpr real neutral = 0;
    V map(V x, V) const { return x; }
    static V join(V a, V b) { return a + b; }
};
struct Product {
    static constexpr real neutral = 1;
    V map(V x, V) const { return x; }
    static V join(V a, V b) { return a * b; }
};
struct ProductOfNonzero : Product {
    V map(V x, V) const { return x == 0 ? splat(1) : x; }
};
struct Largest {   // a NaN wins
    static constexpr real neutral = -INF;
    V map(V x, V) const { return x; }
    static V join(V a, V b) {
        const V m = vmax(a, b);   // b where either is NaN
        return a != a ? a : m;
    }
};
struct Smallest {
    static constexpr real neutral = INF;
    V map(V x, V) const { return x; }
    static V join(V a, V b) {
        const V m = vmin(a, b);
        return a != a ? a : m;
    }
};
struct About : Sum { V map(V x, V mean) const { return x - mean; } };
struct SquaresAbout : Sum { V map(V x, V mean) const { return (x - mean) * (x - mean); } };
struct CountEqual : Sum { V map(V x, V p) const { return x == p ? splat(1) : V{}; } };
struct ExpFrom : Sum {   // e^(x - peak); an infinite peak is left out, so that the sum is 0 or infinite
    V map(V x, V peak) const { return vexp(x - (vabs(peak) == INF ? V{} : peak)); }
};
struct SumSquares : Sum { V map(V x, V) const { return x * x; } };
struct SumAbs : Sum { V map(V x, V) const { return vabs(x); } };
struct CountNonzero : Sum { V map(V x, V) const { return x != 0 ? splat(1) : V{}; } };
struct SumPowers : Sum {
    real p;
    explicit SumPowers(real p) : p(p) {}
    V map(V x, V) const { return vpow(vabs(x), splat(p)); }
};

// ---- joining partial results

template <class Lanes> static inline V alive(const Lanes& lanes, V v, real neutral) {
    return lanes.count == LANES ? v : (lane_index() < (lane_int)lanes.count) ? v : splat(neutral);
}

// Reduced axes but the innermost, or kept ones but the innermost, as one counter of offsets.
struct Counter {
    i64 size[8], stride[8], index[8] = {}, offset = 0, total = 1;
    int n = 0;
    Counter(const Dims& sizes, const Dims& kept, int axes, bool want) {
        i64 step = 1;
        for (int a = sizes.n - 1; a >= 0; --a) {
            if (a < axes && (kept[a] != 0) == want) {
                size[n] = sizes[a];
                stride[n++] = step;
                total *= sizes[a];
            }
            step *= sizes[a];
        }
    }
    void seek(i64 i) {
        offset = 0;
        for (int a = 0; a < n; ++a) { index[a] = i % size[a]; i /= size[a]; offset += index[a] * stride[a]; }
    }
    void next() {
        for (int a = 0; a < n; ++a) {
            offset += stride[a];
            if (++index[a] < size[a]) return;
            offset -= size[a] * stride[a];
            index[a] = 0;
        }
    }
};

constexpr i64 BLOCK = 8192;      // elements joined lane by lane before they enter the tree
constexpr i64 CHUNK = 131072;    // elements of one output that are one thread's work

// The loops that differ with what is reduced, over thousands of elements each. All that stands
// around them is compiled once for every kind.
struct Loops {
    const real neutral;
    explicit Loops(real neutral) : neutral(neutral) {}
    // of each, n neighbouring elements
    virtual void runs(const real* x, Counter& at, i64 outputs, i64 n, const real* param, real* y) const = 0;
    // n neighbouring elements, lanes kept apart, to acc
    virtual void join_run(V& acc, const real* x, i64 n, real param) const = 0;
    virtual real across(V v) const = 0;                                          // the lanes joined
    virtual void join(real* into, const real* with, i64 width) const = 0;        // one array to another
    // rows to acc
    virtual void join_rows(real* acc, const real* x, Counter& at, i64 rows, i64 width,
                           const real* param) const = 0;
protected:
    ~Loops() = default;
};

template <class R> struct LoopsOf final : Loops {
    const R r;
    explicit LoopsOf(const R& r) : Loops(R::neutral), r(r) {}

    // Four chains hide the latency of join.
    V along(const real* x, i64 n, V p) const {
        V acc[4] = {splat(R::neutral), splat(R::neutral), splat(R::neutral), splat(R::neutral)};
        i64 i = 0;
        for (; i + 4 * LANES <= n; i += 4 * LANES)
            for (int k = 0; k < 4; ++k) acc[k] = R::join(acc[k], r.map(load(x + i + k * LANES), p));
        for_vectors(n - i, [&](i64 j, auto lanes) {
            acc[0] = R::join(acc[0], alive(lanes, r.map(lanes.load(x + i + j), p), R::neutral));
        });
        return R::join(R::join(acc[0], acc[1]), R::join(acc[2], acc[3]));
    }
    // As a tree of halves, in registers: a comparison of two lanes by a branch could not be predicted.
    real across(V v) const override {
        for (int half = LANES / 2; half; half /= 2)
            v = R::join(v, __builtin_shuffle(v, lane_index() ^ (lane_int)half));
        return v[0];
    }
    void runs(const real* x, Counter& at, i64 outputs, i64 n, const real* param, real* y) const override {
        i64 o = 0;
        for (; o + LANES <= outputs; o += LANES) {   // their lanes are joined at once, in the order of `across`
            V rows[LANES];
            for (int k = 0; k < LANES; ++k, at.next())
                rows[k] = along(x + at.offset, n, splat(param ? param[o + k] : 0));
            store(y + o, joined_lanes(rows, [](V a, V b) { return R::join(a, b); }));
        }
        for (; o < outputs; ++o, at.next())
            y[o] = across(along(x + at.offset, n, splat(param ? param[o] : 0)));
    }
    void join_run(V& acc, const real* x, i64 n, real param) const override {
        acc = R::join(acc, along(x, n, splat(param)));
    }
    void join(real* into, const real* with, i64 width) const override {
        for_vectors(width, [&](i64 i, auto lanes) {
            lanes.store(into + i, R::join(lanes.load(into + i), lanes.load(with + i)));
        });
    }
    // Rows `step` apart to the B vectors from acc on, which stay in registers, in the order of join_rows
    template <int B, class Lanes>
    void join_strip(real* acc, const real* x, i64 step, i64 rows, const real* param, Lanes lanes) const {
        V sum[B], p[B];
        for (int b = 0; b < B; ++b)
            sum[b] = lanes.load(acc + b * LANES), p[b] = param ? lanes.load(param + b * LANES) : V{};
        const auto of = [&](i64 row, int b) { return r.map(lanes.load(x + row * step + b * LANES), p[b]); };
        i64 k = 0;
        for (; k + 4 <= rows; k += 4)
            for (int b = 0; b < B; ++b) {
                V v[4];
                for (int j = 0; j < 4; ++j) v[j] = of(k + j, b);
                sum[b] = R::join(sum[b], R::join(R::join(v[0], v[1]), R::join(v[2], v[3])));
            }
        for (; k < rows; ++k)
            for (int b = 0; b < B; ++b) sum[b] = R::join(sum[b], of(k, b));
        for (int b = 0; b < B; ++b) lanes.store(acc + b * LANES, sum[b]);
    }
    void join_rows(real* acc, const real* x, Counter& at, i64 rows, i64 width,
                   const real* param) const override {
        i64 k = 0;
        if (at.n == 1 && width <= 16 * LANES) {
            const real* const from = x + at.offset;
            const i64         step = at.stride[0];
            i64               i    = 0;
            for (; i + 4 * LANES <= width; i += 4 * LANES)
                join_strip<4>(acc + i, from + i, step, rows, param ? param + i : nullptr, Whole{});
            for_vectors(width - i, [&](i64 j, auto lanes) {
                join_strip<1>(acc + i + j, from + i + j, step, rows, param ? param + i + j : nullptr, lanes);
            });
            at.index[0] += rows, at.offset += rows * step;
            return;
        }
        // four rows at a time: the accumulators are in cache, not in registers
        for (; k + 4 <= rows; k += 4) {
            const real* xr[4];
            for (const real*& p : xr) { p = x + at.offset; at.next(); }
            for_vectors(width, [&](i64 i, auto lanes) {
                V p = param ? lanes.load(param + i) : V{}, v[4];
                for (int j = 0; j < 4; ++j) v[j] = r.map(lanes.load(xr[j] + i), p);
                lanes.store(acc + i,
                            R::join(lanes.load(acc + i), R::join(R::join(v[0], v[1]), R::join(v[2], v[3]))));
            });
        }
        for (; k < rows; ++k, at.next()) {
            const real* xr = x + at.offset;
            for_vectors(width, [&](i64 i, auto lanes) {
                V p = param ? lanes.load(param + i) : V{};
                lanes.store(acc + i, R::join(lanes.load(acc + i), r.map(lanes.load(xr + i), p)));
            });
        }
    }
};

// Partial results pushed one after another are joined like the carries of a binary counter. A
// result is `width` numbers.
struct Tree {
    const Loops&  r;
    const i64     width;
    Scratch<real> level;
    i64           pushed = 0;
    Tree(const Loops& r, i64 width, i64 pushes) : r(r), width(width), level(width * depth(pushes)) {}
    static i64 depth(i64 pushes) {
        i64 d = 2;
        while (pushes >>= 1) ++d;
        return d;
    }
    real* at(int l) const { return level + l * width; }
    // the buffer that the next partial result is written to
    real* next() const { return at(top(pushed)); }
    void push() {
        int l = top(pushed);
        for (i64 carry = pushed++; carry & 1; carry >>= 1, --l) r.join(at(l - 1), at(l), width);
    }
    // number of levels in use: one per set bit
    static int top(i64 n) { return __builtin_popcountll(n); }
    const real* result() const {
        for (int l = top(pushed) - 1; l > 0; --l) r.join(at(l - 1), at(l), width);
        return at(0);
    }
};

// One output: `rows` runs of n elements, at `at` and on. Short runs share a vector until
// BLOCK elements are in it.
static inline real one_output(const Loops& r, const real* x, Counter& at, i64 rows, i64 n, real param,
                              Tree& tree) {
    if (rows == 1 && n <= BLOCK) {
        real joined;
        r.runs(x, at, 1, n, &param, &joined);
        return joined;
    }
    tree.pushed = 0;
    V acc = splat(r.neutral);
    i64 held = 0;
    auto flush = [&] { store(tree.next(), acc); tree.push(); acc = splat(r.neutral); held = 0; };
    for (i64 row = 0; row < rows; ++row, at.next())
        for (i64 i = 0; i < n; i += BLOCK) {
            const i64 count = n - i < BLOCK ? n - i : BLOCK;
            r.join_run(acc, x + at.offset + i, count, param);
            if ((held += count) >= BLOCK) flush();
        }
    if (held || !tree.pushed) flush();
    return r.across(load(tree.result()));
}

static void innermost_reduced(const Loops& r, const real* x, const Dims& sizes, const Dims& kept,
                              const real* param, real* y) {
    const int last = sizes.n - 1;
    const i64 n = sizes[last];
    Counter outputs(sizes, kept, last, true), rows(sizes, kept, last, false);
    const i64 chunks = rows.total == 1 ? (n + CHUNK - 1) / CHUNK : 1;
    if (chunks > 1) {   // a few long outputs
        Scratch<real> part(outputs.total * chunks);
        parallel_for(outputs.total * chunks, 1, [&](i64 begin, i64 end) {
            Tree tree(r, LANES, CHUNK / BLOCK);
            Counter at = outputs, none = rows;
            for (i64 t = begin; t < end; ++t) {
                const i64 o = t / chunks, from = t % chunks * CHUNK,
                          count = n - from < CHUNK ? n - from : CHUNK;
                at.seek(o);
                part[t] = one_output(r, x + at.offset + from, none, 1, count, param ? param[o] : 0, tree);
            }
        });
        Tree tree(r, 1, chunks);
        for (i64 o = 0; o < outputs.total; ++o) {
            tree.pushed = 0;
            for (i64 c = 0; c < chunks; ++c) { *tree.next() = part[o * chunks + c]; tree.push(); }
            y[o] = *tree.result();
        }
        return;
    }
    parallel_for(outputs.total, 1 + 16384 / (rows.total * n + 8), [&](i64 begin, i64 end) {
        Counter at = outputs, run = rows;
        at.seek(begin);
        if (rows.total == 1 && n <= BLOCK)
            return r.runs(x, at, end - begin, n, param ? param + begin : nullptr, y + begin);
        Tree tree(r, LANES, 1 + rows.total * n / BLOCK);
        for (i64 o = begin; o < end; ++o, at.next()) {
            run.seek(0);
            y[o] = one_output(r, x + at.offset, run, rows.total, n, param ? param[o] : 0, tree);
        }
    });
}

// `width` neighbouring outputs over rows [from, to) of the reduced axes
static void columns(const Loops& r, const real* x, Counter& rows, i64 from, i64 to, i64 width,
                    const real* param, Tree& tree) {
    constexpr i64 HEIGHT = 64;   // rows added before they enter the tree
    rows.seek(from);
    tree.pushed = 0;
    for (i64 row = from; row < to || row == from; row += HEIGHT) {
        real* acc = tree.next();
        for_vectors(width, [&](i64 i, auto lanes) { lanes.store(acc + i, splat(r.neutral)); });
        r.join_rows(acc, x, rows, to < row + HEIGHT ? to - row : HEIGHT, width, param);
        tree.push();
    }
}

static void innermost_kept(const Loops& r, const real* x, const Dims& sizes, const Dims& kept,
                           const real* param, real* y) {
    const int last = sizes.n - 1;
    const i64 n = sizes[last], WIDTH = 1024;
    Counter outer(sizes, kept, last, true), rows(sizes, kept, last, false);
    const i64 width = n < WIDTH ? n : WIDTH, blocks = (n + WIDTH - 1) / WIDTH;
    const i64 tall = 64 * (1 + 2 * CHUNK / (64 * width)),
              chunks = rows.total > tall ? (rows.total + tall - 1) / tall : 1;
    const i64 tasks = outer.total * blocks;
    Scratch<real> part(chunks > 1 ? tasks * chunks * width : 1);
    parallel_for(
        tasks * chunks, chunks > 1 ? 1 : 1 + 16384 / (rows.total * width + 8), [&](i64 begin, i64 end) {
            Tree tree(r, width, 1 + rows.total / 64);
            Counter at = outer, run = rows;
            for (i64 t = begin; t < end; ++t) {
                const i64 task = t / chunks, chunk = t % chunks, column = task % blocks * WIDTH,
                          out = task / blocks * n + column;
                const i64 count = n - column < WIDTH ? n - column : WIDTH;
                at.seek(task / blocks);
                const i64 to = (chunk + 1) * tall < rows.total ? (chunk + 1) * tall : rows.total;
                columns(r, x + at.offset + column, run, chunk * tall, to, count,
                        param ? param + out : nullptr, tree);
                std::memcpy(chunks > 1 ? part + t * width : y + out, tree.result(), count * sizeof(real));
            }
        });
    if (chunks == 1) return;
    for (i64 task = 0; task < tasks; ++task) {
        const i64 column = task % blocks * WIDTH, count = n - column < WIDTH ? n - column : WIDTH;
        Tree tree(r, width, chunks);
        for (i64 c = 0; c < chunks; ++c) {
            std::memcpy(tree.next(), part + (task * chunks + c) * width, width * sizeof(real));
            tree.push();
        }
        std::memcpy(y + task / blocks * n + column, tree.result(), count * sizeof(real));
    }
}

static void reduce(const Loops& r, In<real> x, const Dims& sizes, const Dims& kept, const real* param,
                   double scale, Out<real> y) {
    const i64 n = y.size();
    if (n == 0) return;
    if (x.size() == 0) {
        for (i64 i = 0; i < n; ++i) y.data[i] = r.neutral;
    } else if (kept[sizes.n - 1]) {
        innermost_kept(r, x.data, sizes, kept, param, y.data);
    } else {
        innermost_reduced(r, x.data, sizes, kept, param, y.data);
    }
    if (scale != 1) for (i64 i = 0; i < n; ++i) y.data[i] *= (real)scale;
}
template <class R>
static void reduce(const R& kind, In<real> x, const Dims& sizes, const Dims& kept, const real* param,
                   double scale, Out<real> y) {
    const LoopsOf<R> loops(kind);
    reduce(static_cast<const Loops&>(loops), x, sizes, kept, param, scale, y);
}

void reduce_sum(In<real> x, Dims sizes, Dims kept, double scale, Out<real> y) {
    reduce(Sum{}, x, sizes, kept, nullptr, scale, y);
}
void reduce_prod(In<real> x, Dims sizes, Dims kept, Out<real> y) {
    reduce(Product{}, x, sizes, kept, nullptr, 1, y);
}
void reduce_prod_nonzero(In<real> x, Dims sizes, Dims kept, Out<real> y) {
    reduce(ProductOfNonzero{}, x, sizes, kept, nullptr, 1, y);
}
void reduce_max(In<real> x, Dims sizes, Dims kept, Out<real> y) {
    reduce(Largest{}, x, sizes, kept, nullptr, 1, y);
}
void reduce_min(In<real> x, Dims sizes, Dims kept, Out<real> y) {
    reduce(Smallest{}, x, sizes, kept, nullptr, 1, y);
}
// how many x equal their output's value
void reduce_equal(In<real> x, In<real> value, Dims sizes, Dims kept, Out<real> count) {
    reduce(CountEqual{}, x, sizes, kept, value.data, 1, count);
}
// Two passes: E[x^2] - mean^2 would cancel. The mean is rounded, and what that took off it,
// squared, is too much in y; where the deviation is so small beside the mean that it matters, a
// third pass finds how much it was.
void reduce_variance(In<real> x, Dims sizes, Dims kept, double per_mean, double per_variance, Out<real> y,
                     Out<real> mean) {
    constexpr double EPS = std::numeric_limits<real>::epsilon();
    reduce(Sum{}, x, sizes, kept, nullptr, per_mean, mean);
    reduce(SquaresAbout{}, x, sizes, kept, mean.data, per_variance, y);
    const i64 n = y.size();
    bool far = false;
    for (i64 i = 0; i < n; ++i) far |= (double)mean.data[i] * mean.data[i] * EPS > y.data[i];
    if (!far || x.size() == 0) return;
    const Scratch<real> memory(n);
    Out<real> rest = y;
    rest.data = memory;
    reduce(About{}, x, sizes, kept, mean.data, 1, rest);
    for (i64 i = 0; i < n; ++i) {
        const double right = y.data[i] - (double)rest.data[i] * rest.data[i] * per_mean * per_variance;
        y.data[i] = right < 0 ? 0 : (real)right;
    }
}
void reduce_logsumexp(In<real> x, Dims sizes, Dims kept, Out<real> y, Out<real> peak) {
    reduce(Largest{}, x, sizes, kept, nullptr, 1, peak);
    reduce(ExpFrom{}, x, sizes, kept, peak.data, 1, y);
    for_vectors(y.size(), [&](i64 i, auto lanes) {
        const V m = lanes.load(peak.data + i);
        lanes.store(y.data + i, vlog(lanes.load(y.data + i)) + (vabs(m) == INF ? V{} : m));
    });
}
// (sum of |x|^p)^(1/p); p = 0 counts what is not 0
void reduce_norm(In<real> x, Dims sizes, Dims kept, double p, Out<real> y) {
    if (p == 2) reduce(SumSquares{}, x, sizes, kept, nullptr, 1, y);
    else if (p == 1) reduce(SumAbs{}, x, sizes, kept, nullptr, 1, y);
    else if (p == 0) reduce(CountNonzero{}, x, sizes, kept, nullptr, 1, y);
    else reduce(SumPowers((real)p), x, sizes, kept, nullptr, 1, y);
    if (p == 0 || p == 1) return;
    for_vectors(y.size(), [&](i64 i, auto lanes) {
        const V s = lanes.load(y.data + i);
        lanes.store(y.data + i, p == 2 ? vsqrt(s) : vpow(s, splat((real)(1 / p))));
    });
}

// ---- gradients: what each output's gradient g gives to the x it was made from

// a product without one factor is P / x, where P leaves zeros out; with a zero elsewhere it is 0
void spread_prod(In<real> g, In<real> x, In<real> p, In<real> zeros, Dims shape, Dims sg, Dims sx, Dims sp,
                 Dims sz, Out<real> dx) {
    broadcast<4>({{g.data, sg}, {x.data, sx}, {p.data, sp}, {zeros.data, sz}}, shape, dx, CHEAP,
                 [](const V* v) {
                     const V others = v[1] == 0 ? v[2] : v[2] / v[1];
                     return ((v[3] == 0) | ((v[3] == 1) & (v[1] == 0))) ? v[0] * others : V{};
                 });
}
// equal shares among the x that equal the extreme y
void spread_extreme(In<real> g, In<real> x, In<real> y, In<real> count, Dims shape, Dims sg, Dims sx, Dims sy,
                    Dims sc, Out<real> dx) {
    broadcast<4>({{g.data, sg}, {x.data, sx}, {y.data, sy}, {count.data, sc}}, shape, dx, CHEAP,
                 [](const V* v) { return v[1] == v[2] ? v[0] / v[3] : V{}; });
}
void spread_variance(In<real> g, In<real> x, In<real> mean, In<real> y, Dims shape, Dims sg, Dims sx, Dims sm,
                     Dims sy, double scale, bool root, Out<real> dx) {
    const real s = (real)scale;
    broadcast<4>({{g.data, sg}, {x.data, sx}, {mean.data, sm}, {y.data, sy}}, shape, dx, CHEAP,
                 [=](const V* v) {
                     const V g = !root       ? v[0]
                                 : v[3] == 0 ? V{}
                                             : v[0] / (2 * v[3]);   // no slope where the deviation is 0
                     return g * s * (v[1] - v[2]);
                 });
}
void spread_logsumexp(In<real> g, In<real> x, In<real> y, Dims shape, Dims sg, Dims sx, Dims sy,
                      Out<real> dx) {
    broadcast<3>({{g.data, sg}, {x.data, sx}, {y.data, sy}}, shape, dx, COSTLY, [](const V* v) {
        return v[0] * vexp(v[1] - (vabs(v[2]) == INF ? V{} : v[2]));
    });
}
void spread_norm(In<real> g, In<real> x, In<real> y, Dims shape, Dims sg, Dims sx, Dims sy, double p,
                 Out<real> dx) {
    const Operand in[3] = {{g.data, sg}, {x.data, sx}, {y.data, sy}};
    if (p == 2)
        broadcast<3>(in, shape, dx, CHEAP, [](const V* v) { return v[2] == 0 ? V{} : v[0] * v[1] / v[2]; });
    else if (p == 0) broadcast<3>(in, shape, dx, CHEAP, [](const V*) { return V{}; });
    else if (p == 1)
        broadcast<3>(in, shape, dx, CHEAP, [](const V* v) {
            return v[1] > 0 ? v[0] : v[1] < 0 ? -v[0] : v[0] * v[1];
        });
    else broadcast<3>(in, shape, dx, COSTLY, [=](const V* v) {
        const V slope = vpow(vabs(v[1]) / v[2], splat((real)(p - 1)));
        return ((v[2] == 0) | (v[1] == 0)) ? V{} : v[0] * (v[1] > 0 ? slope : -slope);
    });
}

// ---- the extreme along one axis and where it is: x is (outer, n, inner). The first of equals; a NaN wins.

// The first i with x[i] == value, or the first NaN if value is one; it is known to be
// there. No branch depends on the data but one a block: where the largest of a short row
// lies cannot be predicted.
static i64 first_equal(const real* x, i64 n, real value) {
    const bool nan = value != value;
    for (i64 from = 0; from < n; from += BLOCK) {
        const i64 count = n - from < BLOCK ? n - from : BLOCK;
        M at = M{} + (lane_int)count, here = lane_index();
        for_vectors(count, [&](i64 i, auto lanes) {
            const V v = lanes.load(x + from + i);
            const M found = (nan ? v != v : v == value) ? here : at;
            at = found < at ? found : at;
            here += LANES;
        });
        lane_int lane[LANES];
        std::memcpy(lane, &at, sizeof at);
        for (int half = LANES / 2; half; half /= 2)
            for (int k = 0; k < half; ++k) lane[k] = lane[k] < lane[k + half] ? lane[k] : lane[k + half];
        if (lane[0] < count) return from + lane[0];
    }
    return n - 1;
}
template <class R> static void arg_columns(const real* x, i64 n, i64 inner, real* value, i64* index) {
    for_vectors(inner, [&](i64 i, auto lanes) {
        V best = lanes.load(x + i);
        M at{};
        for (i64 r = 1; r < n; ++r) {
            const V v = lanes.load(x + r * inner + i);
            const M better = ((R::neutral < 0 ? v > best : v < best) | (v != v)) & (best == best);
            best = better ? v : best;
            at = better ? M{} + (lane_int)r : at;
        }
        lanes.store(value + i, best);
        for (int k = 0; k < lanes.count; ++k) index[i + k] = at[k];
    });
}
template <class R>
static void arg_extreme(In<real> x, i64 outer, i64 n, i64 inner, Out<real> values, Out<i64> indices) {
    if (n == 0) return;
    if (inner == 1) {
        const Dims sizes{{outer, n}, 2}, kept{{1, 0}, 2};
        reduce(R{}, x, sizes, kept, nullptr, 1, values);
    }
    parallel_for(outer, 1 + 16384 / (n * inner + 8), [&](i64 begin, i64 end) {
        for (i64 o = begin; o < end; ++o) {
            if (inner == 1) indices.data[o] = first_equal(x.data + o * n, n, values.data[o]);
            else
                arg_columns<R>(x.data + o * n * inner, n, inner, values.data + o * inner,
                               indices.data + o * inner);
        }
    });
}
void arg_max(In<real> x, i64 outer, i64 n, i64 inner, Out<real> values, Out<i64> indices) {
    arg_extreme<Largest>(x, outer, n, inner, values, indices);
}
void arg_min(In<real> x, i64 outer, i64 n, i64 inner, Out<real> values, Out<i64> indices) {
    arg_extreme<Smallest>(x, outer, n, inner, values, indices);
}

void place_along(In<real> g, In<i64> index, i64 outer, i64 n, i64 inner, Out<real> dx) {
    parallel_for(outer, 1 + 32768 / (n * inner + 8), [&](i64 begin, i64 end) {
        std::memset(dx.data + begin * n * inner, 0, (end - begin) * n * inner * sizeof(real));
        for (i64 o = begin; o < end; ++o)
            for (i64 i = 0; i < inner; ++i) {
                const i64 at = read_once(index.data + o * inner + i);
                if (at >= 0 && at < n) dx.data[(o * n + at) * inner + i] = g.data[o * inner + i];
            }
    });
}

END_KERNELS
