// 1x1 convolutions by one level of Strassen's algorithm, in Winograd's form: seven products of half the
// size in each direction instead of eight, and fifteen sums of them. (V. Strassen, Gaussian elimination is not
// optimal, 1969; N. Higham, Accuracy and Stability of Numerical Algorithms, chapter 23.)
//
// The blocks of filters and of channels are cut in two halves; of the pixels a tile has P and the P behind them.
// With filters A, pixels B and results C:
//
//     S1 = A21 + A22   S2 = S1 - A11    S3 = A11 - A21   S4 = A12 - S2
//     T1 = B12 - B11   T2 = B22 - T1    T3 = B22 - B12   T4 = B21 - T2
//     U  = A11 B11 + S2 T2              C11 = A11 B11 + A12 B21
//     C12 = U + S1 T1 + S4 B22          C21 = U + S3 T3 + A22 T4        C22 = U + S3 T3 + S1 T1
//
// A task makes the sums of its pixels; then it makes the sums of two blocks of filters of each half at a
// time, so that no more weights are kept or read than otherwise, and lets all its tiles meet them. What does not
// fit into halves is multiplied as always: the channels left over in the same registers, a last block of
// filters for itself.
//
// An output errs by all that its sums mix: two filters, two pixels, and channel i of each half. So filters come
// scaled by powers of two to norms alike (`scale` takes that back). Channels of the second half are multiplied by
// powers of two, `balance`, for the sums, and their weights divided: then both channels of a pair have weights alike,
// and the error is that of the larger of their products, however unlike weights and inputs are. A tile with a pixel
// whose sum of squares, as weights see it, is above LARGEST_PIXEL times its partner's, or not finite, is multiplied as
// always.
#include <limits>
#include "blocked/epilogue.h"
#include "convolution/blocked_rows.h"
#include "convolution/strassen_tile.h"

BEGIN_KERNELS
namespace {
constexpr real LARGEST_PIXEL = 16, INFINITE = std::numeric_limits<real>::infinity();
// Of a task, so that filters are not summed up for few pixels: at least, and at a time
constexpr i64 LEAST_PIXELS = 168, PIXELS = 420;

i64 least(i64 a, i64 b) { return a < b ? a : b; }
i64 most(i64 a, i64 b) { return a > b ? a : b; }
i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }

struct Matrices {
    InMap<real> x, residual;
    const real *weight, *scale, *balance, *bias;
    OutMap<real> y;
    Epilogue epilogue;
    i64 channels;
    i64 half() const { return channels / BLOCK / 2; }              // blocks of channels
    i64 rest() const { return channels - 2 * half() * BLOCK; }     // channels beside the halves
    i64 filter_half() const { return y.blocks / 2; }
    i64 w_filter() const { return x.blocks * BLOCK * BLOCK; }
    i64 pixels() const { return x.h * x.w; }
    i64 sums() const { return 4 * half() * STRASSEN_P * BLOCK; }   // values of T1 to T4 of a group
    i64 groups() const { return ceil_div(ceil_div(pixels(), 2), STRASSEN_P); }   // of a sample
};

// Pixels that are multiplied together: P from `first` on and P from `second` on, which may be the first's last.
struct Group {
    i64 sample, first, second;
    int pairs;
    Group(const Matrices& m, i64 index) : sample(index / m.groups()) {
        const i64 all = ceil_div(m.pixels(), 2), i = index % m.groups(), begin = all * i / m.groups();
        pairs = (int)(all * (i + 1) / m.groups() - begin);
        first = 2 * begin, second = least(first + pairs, m.pixels() - pairs);
    }
    i64 pixels() const { return second + pairs - first; }
    bool overlaps() const { return second < first + pairs; }
};

// Whether the sums of squares of two pixels are alike. square: vectors of them, of each pixel of a pair
bool alike(const V (&square)[STRASSEN_P][2], int pairs) {
    for (int p = 0; p < pairs; ++p) {
        const real a = hsum(square[p][0]), b = hsum(square[p][1]);
        if (!(a <= LARGEST_PIXEL * b && b <= LARGEST_PIXEL * a && a + b < INFINITE)) return false;
    }
    return true;
}

// T1 to T4 of a group, each [channel block][pixel][16]. False: the pixels are too unlike each other.
bool sum_pixels(const Matrices& m, const Group& g, real* to) {
    const i64 half = m.half(), plane = m.x.plane(), row = g.pairs * BLOCK, part_size = half * row,
              other = (g.second - g.first) * BLOCK;
    const real *x = m.x.at(g.sample, 0) + g.first * BLOCK, *balance = m.balance;
    V square[STRASSEN_P][2] = {};
    for (i64 b = 0; b < half; ++b, x += plane, to += row, balance += BLOCK)
        for (int p = 0; p < g.pairs; ++p) {
            V first = square[p][0], second = square[p][1];
            for (int part = 0; part < BLOCK; part += LANES) {
                const real *low = x + p * BLOCK + part, *high = low + half * plane;
                const real* by = balance + part;
                const V up = load(by), down = load(by + half * BLOCK), seen = load(by + 2 * half * BLOCK);
                const V b11 = load(low), b12 = load(low + other), b21 = up * load(high), b22 = up * load(high + other);
                const V t1 = b12 - b11, t2 = b22 - t1;
                first += seen * (b11 * b11 + b21 * b21);
                second += seen * (b12 * b12 + b22 * b22);
                real* at = to + p * BLOCK + part;
                store(at, t1);
                store(at + part_size, t2);
                store(at + 2 * part_size, b22 - b12);
                store(at + 3 * part_size, (b21 - t2) * down);   // which meet A22 as it is
            }
            square[p][0] = first, square[p][1] = second;
        }
    return alike(square, g.pairs);
}

// S1 to S4 of `q` blocks of filters from `block` on and of those half of all further
void sum_filters(const Matrices& m, i64 block, int q, real* sums) {
    const i64 half = m.half() * BLOCK * BLOCK;
    for (int i = 0; i < q; ++i, sums += 4 * half) {
        const real *a1 = m.weight + (block + i) * m.w_filter(), *a2 = a1 + m.filter_half() * m.w_filter();
        for (i64 k = 0; k < half; k += LANES) {
            for (const real* a : {a1 + k, a1 + half + k, a2 + k, a2 + half + k}) __builtin_prefetch(a + 48 * BLOCK);
            const real* const by = m.balance + k / BLOCK;
            const real up = by[0], down = by[half / BLOCK];
            const V a11 = load(a1 + k), a12 = load(a1 + half + k) * down, a21 = load(a2 + k),
                    s1 = a21 + load(a2 + half + k) * down, s2 = s1 - a11;
            store(sums + k, s1);
            store(sums + half + k, s2);
            store(sums + 2 * half + k, a11 - a21);
            store(sums + 3 * half + k, (a12 - s2) * up);   // which meet B22 as it is
        }
    }
}

// What is added to the results of a group: a copy where a pixel is met twice, as it may lie where results go.
struct Added {
    alignas(64) real copy[2 * STRASSEN_P * STRASSEN_Q * BLOCK];
    const real* data = nullptr;
    i64 block = 0;

    void take(const Matrices& m, const Group& g, i64 filters, int q) {
        if (!m.residual) return;
        data = m.residual.at(g.sample, filters) + g.first * BLOCK, block = m.residual.plane();
        if (!g.overlaps()) return;
        for (int i = 0; i < q; ++i)
            std::memcpy(copy + i * g.pixels() * BLOCK, data + i * block, g.pixels() * BLOCK * sizeof(real));
        data = copy, block = g.pixels() * BLOCK;
    }
};

// Where the products of a group and blocks of filters go
struct Results {
    Result at[2][2];   // [half of the filters][half of the pixels]
    Added added[2];

    Results(const Matrices& m, const Group& g, i64 block, int q) {
        for (int half = 0; half < 2; ++half) {
            const i64 filters = block + half * m.filter_half();
            added[half].take(m, g, filters, q);
            for (int pixels = 0; pixels < 2; ++pixels) {
                const i64 offset = (pixels ? g.second - g.first : 0) * BLOCK;
                at[half][pixels] = {m.y.at(g.sample, filters) + g.first * BLOCK + offset,
                                    m.scale ? m.scale + filters * BLOCK : nullptr,
                                    m.bias ? m.bias + filters * BLOCK : nullptr,
                                    added[half].data ? added[half].data + offset : nullptr,
                                    m.y.plane(),
                                    added[half].block};
            }
        }
    }
};

void multiply_sums(const Matrices& m, const Group& g, i64 block, int q, const real* sums, const real* t,
                   i64 ahead, i64 t_ahead, const Later (&later)[2]) {
    alignas(64) real u[STRASSEN_P * STRASSEN_Q * BLOCK], v[STRASSEN_P * STRASSEN_Q * BLOCK];
    const i64 half = m.half() * BLOCK, w_half = half * BLOCK, w_filter = m.w_filter(), rest = m.rest(),
              plane = m.x.plane(), row = g.pairs * BLOCK, other = (g.second - g.first) * BLOCK;
    const real *a11 = m.weight + block * w_filter, *a12 = a11 + w_half, *a1 = a12 + w_half,
               *a22 = m.weight + (block + m.filter_half()) * w_filter + w_half, *a2 = a22 + w_half;
    const real *b11 = m.x.at(g.sample, 0) + g.first * BLOCK, *b21 = b11 + m.half() * plane,
               *b1 = b21 + m.half() * plane, *b22 = b21 + other, *b2 = b1 + other;
    const auto ts = [&](int i) { return t + (i - 1) * m.half() * row; };
    const auto s = [&](int i) { return sums + (i - 1) * w_half; };
    const Results c(m, g, block, q);
    const i64 s_filter = 4 * w_half;
    const Product products[] = {
        {b11, a11, plane, half, w_filter, ahead, true, nullptr, nullptr, u, nullptr},
        {b21, a12, plane, half, w_filter, ahead, false, nullptr, nullptr, nullptr, nullptr},
        {b1, a1, plane, rest, w_filter, ahead, false, nullptr, nullptr, nullptr, &c.at[0][0]},
        {ts(2), s(2), row, half, s_filter, t_ahead, true, u, nullptr, u, nullptr},
        {ts(1), s(1), row, half, s_filter, t_ahead, true, nullptr, nullptr, v, nullptr},
        {b22, s(4), plane, half, s_filter, ahead, false, u, nullptr, nullptr, nullptr},
        {b2, a1, plane, rest, w_filter, ahead, false, nullptr, nullptr, nullptr, &c.at[0][1]},
        {ts(3), s(3), row, half, s_filter, t_ahead, true, u, nullptr, u, nullptr},
        {b2, a2, plane, rest, w_filter, ahead, false, v, nullptr, nullptr, &c.at[1][1]},
        {ts(4), a22, row, half, w_filter, t_ahead, true, u, nullptr, nullptr, nullptr},
        {b1, a2, plane, rest, w_filter, ahead, false, nullptr, nullptr, nullptr, &c.at[1][0]},
    };
    strassen_tile_of(g.pairs, q)(products, sizeof products / sizeof *products, later, m.epilogue);
}

void multiply_plain(const Matrices& m, const Group& g, i64 block, int q, const Later (&later)[2]) {
    const Results c(m, g, block, q);
    for (int half = 0; half < 2; ++half) {
        const real* filters = m.weight + (block + half * m.filter_half()) * m.w_filter();
        for (int pixels = 0; pixels < 2; ++pixels) {
            const real* x = m.x.at(g.sample, 0) + (pixels ? g.second : g.first) * BLOCK;
            const Product product{x, filters, m.x.plane(), m.channels, m.w_filter(), 0, true, nullptr, nullptr, nullptr,
                                  &c.at[half][pixels]};
            strassen_tile_of(g.pairs, q)(&product, 1, later, m.epilogue);
        }
    }
}

// An odd last block of filters, which is not scaled
void multiply_last(const Matrices& m, const Group& g) {
    const i64 block = m.y.blocks - 1, at = g.first * BLOCK;
    convolve_pixels({m.x.at(g.sample, 0) + at, m.weight, m.bias,
                     m.residual ? m.residual.at(g.sample, block) + at : nullptr, m.y.at(g.sample, block) + at,
                     m.channels, m.x.plane(), m.y.plane(), m.residual.plane(), g.pixels(), false, false},
                    block, block + 1, m.epilogue);
}

// Workspace of a task: sums of pixels and of filters
struct Sums {
    Scratch<real> pixels, filters;
    Scratch<bool> plain;
    Sums(const Matrices& m, i64 groups)
        : pixels(groups * m.sums()), filters(4 * STRASSEN_Q * m.half() * BLOCK * BLOCK), plain(groups) {}
};

// Of a group that is summed up behind these, the channels that step `step` of `steps` fetches
Later next_pixels(const Matrices& m, i64 group, i64 stop, i64 step, i64 steps) {
    if (group >= stop) return {};
    const Group g(m, group);
    const i64 from = m.x.blocks * step / steps;
    return {m.x.at(g.sample, from) + g.first * BLOCK, m.x.plane(), m.x.blocks * (step + 1) / steps - from, g.pixels()};
}

// Of the blocks of filters that are summed up next, from `block` on, part i of `count`
Later next_filters(const Matrices& m, i64 block, i64 last, i64 i, i64 count) {
    if (block >= last) return {};
    const i64 lines = m.w_filter() / BLOCK * least(STRASSEN_Q, last - block), from = lines * i / count;
    return {m.weight + block * m.w_filter() + from * BLOCK, m.filter_half() * m.w_filter(), 2,
            lines * (i + 1) / count - from};
}

// Groups [begin, end) for pairs of blocks of filters [first, last). The task's next groups are fetched, as far as
// it goes: to `stop`.
void multiply(const Matrices& m, i64 begin, i64 end, i64 stop, i64 first, i64 last, Sums& sums) {
    for (i64 i = begin; i < end; ++i)
        sums.plain[i - begin] = !sum_pixels(m, Group(m, i), sums.pixels + (i - begin) * m.sums());
    const i64 steps = ceil_div(last - first, STRASSEN_Q);
    for (i64 step = 0; step < steps; ++step) {
        const i64 block = first + step * STRASSEN_Q;
        const int q = (int)least(STRASSEN_Q, last - block);
        sum_filters(m, block, q, sums.filters);
        for (i64 i = begin; i < end; ++i) {
            const i64 next = i + 1 < end ? i + 1 : begin;
            const Group g(m, i), n(m, next);
            const Later later[] = {next_pixels(m, i + end - begin, stop, step, steps),
                                   next_filters(m, block + STRASSEN_Q, last, i - begin, end - begin)};
            if (sums.plain[i - begin]) multiply_plain(m, g, block, q, later);
            else multiply_sums(m, g, block, q, sums.filters, sums.pixels + (i - begin) * m.sums(),
                               m.x.at(n.sample, 0) + n.first * BLOCK - (m.x.at(g.sample, 0) + g.first * BLOCK),
                               (next - i) * m.sums(), later);
            if (m.epilogue.kind == Activation::CLAMP) continue;
            for (i64 k = block; k < block + q; ++k)
                for (const i64 filters : {k, k + m.filter_half()})
                    m.epilogue.finish(m.y.at(g.sample, filters) + g.first * BLOCK, g.pixels() * BLOCK);
        }
    }
    if (last == m.filter_half() && m.y.blocks % 2)
        for (i64 i = begin; i < end; ++i) multiply_last(m, Group(m, i));
}
}  // namespace

void strassen_conv(InMap<real> x, i64 channels, In<real> weight, In<real> scale, In<real> balance, In<real> bias,
                   InMap<real> residual, Act act, OutMap<real> y) {
    const Matrices m{x, residual, weight.data, scale.data, balance.data, bias.data, y, Epilogue(act), channels};
    const i64 groups = x.n * m.groups(), threads = threads_now(), pairs = m.filter_half(),
              fewest = LEAST_PIXELS / (2 * STRASSEN_P), together = PIXELS / (2 * STRASSEN_P);
    if (!groups) return;
    // Tasks are ranges of groups, or else of few of them parts of the filters
    const i64 ranges = least(4 * threads, groups / fewest) / threads * threads;
    const i64 steps = ceil_div(pairs, STRASSEN_Q), parts = ranges ? 1 : least(threads, steps);
    parallel_tasks(most(1, ranges) * parts, [&](i64 task) {
        const i64 range = task / parts, part = task % parts;
        const i64 begin = groups * range / most(1, ranges), end = groups * (range + 1) / most(1, ranges);
        const i64 first = steps * part / parts * STRASSEN_Q,
                  last = least(pairs, steps * (part + 1) / parts * STRASSEN_Q);
        const i64 chunks = ceil_div(end - begin, together);
        Sums sums(m, ceil_div(end - begin, chunks));
        for (i64 i = 0; i < chunks; ++i)
            multiply(m, begin + (end - begin) * i / chunks, begin + (end - begin) * (i + 1) / chunks, end, first, last,
                     sums);
    });
}
END_KERNELS
