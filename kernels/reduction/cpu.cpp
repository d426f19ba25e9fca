// Reductions over any axes. x is seen as up to eight axes, kept and reduced in turn.
// Innermost axis reduced: one output at a time, vectors run along memory. Innermost axis kept: vectors hold neighbouring outputs.
// Partial results of a fixed number of elements are joined as a binary tree, so a float32 sum of n terms is off by about log n
// roundings and the order depends on the shape alone, never on threads.
#include "elementwise/broadcast.h"
#include "simd_math.h"

BEGIN_KERNELS

// ---- what is reduced: neutral element, map of an input lane (p: a value per output), and join

struct Sum {
    static constexpr real neutral = 0;
    V map(V x, V) const { return x; }
    template <class T> static T join(T a, T b) { return a + b; }
};

// ---- joining partial results

// Partial results pushed one after another are joined like the carries of a binary counter. A result is `width` numbers.
template <class R> struct Tree {
    static constexpr int LEVELS = 48;
    const i64     width;
    Scratch<real> level;
    i64           pushed = 0;
    Tree(i64 width, i64 pushes) : width(width), level(width * depth(pushes)) {}
    static i64 depth(i64 pushes) {
        i64 d = 2;
        while (pushes >>= 1) ++d;
        return d;
    }
    real* at(int l) const { return level + l * width; }
    void join(real* into, const real* with) const {
        for_vectors(width, [&](i64 i, auto lanes) { lanes.store(into + i, R::join(lanes.load(into + i), lanes.load(with + i))); });
    }
    // the buffer that the next partial result is written to
    real* next() const { return at(top(pushed)); }
    void push() {
        int l = top(pushed);
        for (i64 carry = pushed++; carry & 1; carry >>= 1, --l) join(at(l - 1), at(l));
    }
    // number of levels in use: one per set bit
    static int top(i64 n) { return __builtin_popcountll(n); }
    const real* result() const {
        for (int l = top(pushed) - 1; l > 0; --l) join(at(l - 1), at(l));
        return at(0);
    }
};

template <class Lanes> static inline V alive(const Lanes& lanes, V v, real neutral) {
    return lanes.count == LANES ? v : (lane_index() < (lane_int)lanes.count) ? v : splat(neutral);
}
template <class R> static inline real across(V v) {
    real lane[LANES];
    std::memcpy(lane, &v, sizeof v);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; ++i) lane[i] = R::join(lane[i], lane[i + half]);
    return lane[0];
}

struct Layout { Dims sizes, kept; };
// Reduced axes but the innermost, or kept ones but the innermost, as one counter of offsets.
struct Counter {
    i64 size[8], stride[8], index[8] = {}, offset = 0, total = 1;
    int n = 0;
    Counter(const Dims& sizes, const Dims& kept, int axes, bool want) {
        i64 step = 1;
        for (int a = sizes.n - 1; a >= 0; --a) {
            if (a < axes && (kept[a] != 0) == want) { size[n] = sizes[a]; stride[n++] = step; total *= sizes[a]; }
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

// The lanes' results over n neighbouring elements; four chains hide the latency of join.
template <class R> static inline V along(const R& r, const real* x, i64 n, V p) {
    V acc[4] = {splat(R::neutral), splat(R::neutral), splat(R::neutral), splat(R::neutral)};
    i64 i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES)
        for (int k = 0; k < 4; ++k) acc[k] = R::join(acc[k], r.map(load(x + i + k * LANES), p));
    for_vectors(n - i, [&](i64 j, auto lanes) {
        acc[0] = R::join(acc[0], alive(lanes, r.map(lanes.load(x + i + j), p), R::neutral));
    });
    return R::join(R::join(acc[0], acc[1]), R::join(acc[2], acc[3]));
}

// One output: `rows` runs of n elements, at `at` and on. Short runs share a vector until BLOCK elements are in it.
template <class R> static inline real one_output(const R& r, const real* x, Counter& at, i64 rows, i64 n, real param, Tree<R>& tree) {
    const V p = splat(param);
    if (rows == 1 && n <= BLOCK) return across<R>(along(r, x + at.offset, n, p));
    tree.pushed = 0;
    V acc = splat(R::neutral);
    i64 held = 0;
    auto flush = [&] { store(tree.next(), acc); tree.push(); acc = splat(R::neutral); held = 0; };
    for (i64 row = 0; row < rows; ++row, at.next())
        for (i64 i = 0; i < n; i += BLOCK) {
            const i64 count = n - i < BLOCK ? n - i : BLOCK;
            acc = R::join(acc, along(r, x + at.offset + i, count, p));
            if ((held += count) >= BLOCK) flush();
        }
    if (held || !tree.pushed) flush();
    return across<R>(load(tree.result()));
}

template <class R> static void innermost_reduced(const R& r, const real* x, const Dims& sizes, const Dims& kept, const real* param,
                                                 real* y) {
    const int last = sizes.n - 1;
    const i64 n = sizes[last];
    Counter outputs(sizes, kept, last, true), rows(sizes, kept, last, false);
    const i64 chunks = rows.total == 1 ? (n + CHUNK - 1) / CHUNK : 1;
    if (chunks > 1) {   // a few long outputs
        Scratch<real> part(outputs.total * chunks);
        parallel_for(outputs.total * chunks, 1, [&](i64 begin, i64 end) {
            Tree<R> tree(LANES, CHUNK / BLOCK);
            Counter at = outputs, none = rows;
            for (i64 t = begin; t < end; ++t) {
                const i64 o = t / chunks, from = t % chunks * CHUNK, count = n - from < CHUNK ? n - from : CHUNK;
                at.seek(o);
                part[t] = one_output(r, x + at.offset + from, none, 1, count, param ? param[o] : 0, tree);
            }
        });
        Tree<R> tree(1, chunks);
        for (i64 o = 0; o < outputs.total; ++o) {
            tree.pushed = 0;
            for (i64 c = 0; c < chunks; ++c) { *tree.next() = part[o * chunks + c]; tree.push(); }
            y[o] = *tree.result();
        }
        return;
    }
    parallel_for(outputs.total, 1 + 16384 / (rows.total * n + 8), [&](i64 begin, i64 end) {
        Tree<R> tree(LANES, 1 + rows.total * n / BLOCK);
        Counter at = outputs, run = rows;
        at.seek(begin);
        for (i64 o = begin; o < end; ++o, at.next()) {
            run.seek(0);
            y[o] = one_output(r, x + at.offset, run, rows.total, n, param ? param[o] : 0, tree);
        }
    });
}

// `width` neighbouring outputs over rows [from, to) of the reduced axes
template <class R> static inline void columns(const R& r, const real* x, Counter& rows, i64 from, i64 to, i64 width, const real* param,
                                              Tree<R>& tree) {
    constexpr i64 HEIGHT = 64;   // rows added before they enter the tree
    rows.seek(from);
    tree.pushed = 0;
    for (i64 row = from; row < to || row == from; row += HEIGHT) {
        real* acc = tree.next();
        for_vectors(width, [&](i64 i, auto lanes) { lanes.store(acc + i, splat(R::neutral)); });
        for (i64 k = row; k < to && k < row + HEIGHT; ++k, rows.next()) {
            const real* xr = x + rows.offset;
            for_vectors(width, [&](i64 i, auto lanes) {
                V p = param ? lanes.load(param + i) : V{};
                lanes.store(acc + i, R::join(lanes.load(acc + i), r.map(lanes.load(xr + i), p)));
            });
        }
        tree.push();
    }
}

template <class R> static void innermost_kept(const R& r, const real* x, const Dims& sizes, const Dims& kept, const real* param, real* y) {
    const int last = sizes.n - 1;
    const i64 n = sizes[last], WIDTH = 1024;
    Counter outer(sizes, kept, last, true), rows(sizes, kept, last, false);
    const i64 width = n < WIDTH ? n : WIDTH, blocks = (n + WIDTH - 1) / WIDTH;
    const i64 tall = 64 * (1 + 2 * CHUNK / (64 * width)), chunks = rows.total > tall ? (rows.total + tall - 1) / tall : 1;
    const i64 tasks = outer.total * blocks;
    Scratch<real> part(chunks > 1 ? tasks * chunks * width : 1);
    parallel_for(tasks * chunks, chunks > 1 ? 1 : 1 + 16384 / (rows.total * width + 8), [&](i64 begin, i64 end) {
        Tree<R> tree(width, 1 + rows.total / 64);
        Counter at = outer, run = rows;
        for (i64 t = begin; t < end; ++t) {
            const i64 task = t / chunks, chunk = t % chunks, column = task % blocks * WIDTH, out = task / blocks * n + column;
            const i64 count = n - column < WIDTH ? n - column : WIDTH;
            at.seek(task / blocks);
            const i64 to = (chunk + 1) * tall < rows.total ? (chunk + 1) * tall : rows.total;
            columns(r, x + at.offset + column, run, chunk * tall, to, count, param ? param + out : nullptr, tree);
            std::memcpy(chunks > 1 ? part + t * width : y + out, tree.result(), count * sizeof(real));
        }
    });
    if (chunks == 1) return;
    for (i64 task = 0; task < tasks; ++task) {
        const i64 column = task % blocks * WIDTH, count = n - column < WIDTH ? n - column : WIDTH;
        Tree<R> tree(width, chunks);
        for (i64 c = 0; c < chunks; ++c) {
            std::memcpy(tree.next(), part + (task * chunks + c) * width, width * sizeof(real));
            tree.push();
        }
        std::memcpy(y + task / blocks * n + column, tree.result(), count * sizeof(real));
    }
}

template <class R> static void reduce(const R& r, In<real> x, const Dims& sizes, const Dims& kept, const real* param, double scale,
                                      Out<real> y) {
    const i64 n = y.size();
    if (n == 0) return;
    if (x.size() == 0) {
        for (i64 i = 0; i < n; ++i) y.data[i] = R::neutral;
    } else if (kept[sizes.n - 1]) {
        innermost_kept(r, x.data, sizes, kept, param, y.data);
    } else {
        innermost_reduced(r, x.data, sizes, kept, param, y.data);
    }
    if (scale != 1) for (i64 i = 0; i < n; ++i) y.data[i] *= (real)scale;
}

void reduce_sum(In<real> x, Dims sizes, Dims kept, double scale, Out<real> y) { reduce(Sum{}, x, sizes, kept, nullptr, scale, y); }

END_KERNELS
