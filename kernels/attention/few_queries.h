// Attention of few queries to many keys, as a step of decoding has it: y = softmax(scale q k' + mask) v.
//
// It takes the time of reading keys and values, so these are read where they lie, once for all queries
// that share them (heads of grouped queries among them). A task is a span of keys of one head: its
// scores, their maximum, exponentials and sum, and the sum of values. LANES keys at a time are
// multiplied with a query, and the LANES vectors of partial sums added up to one vector of scores.
// Spans have a fixed length and are joined in their order, so that results do not depend on threads.
// Keys and values may be stored in half the bits (T, bfloat16 in uint16), which halves the time of a long
// cache; they are widened in registers.
#pragma once
#include "attention/heads.h"
#include "kernel.h"
#include "widen.h"

BEGIN_KERNELS
namespace {
constexpr i64 FEW_QUERIES = 4;   // more of them: the tile of cpu.cpp, which packs keys and values, is as fast
constexpr i64 SPAN = 256;

// Lane i of sums[0] becomes the sum of the lanes of sums[i]
template <int HALF> void add_lanes(V (&sums)[LANES]) {
    #pragma GCC unroll 16
    for (int i = 0; i < HALF; ++i) sums[i] = zip_low(sums[i], sums[i + HALF]) + zip_high(sums[i], sums[i + HALF]);
    if constexpr (HALF > 1) add_lanes<HALF / 2>(sums);
}

// Products of `count` <= LANES keys with a query
template <class T> V scores_of(const real* query, const T* keys, i64 stride, i64 features, int count) {
    V sums[LANES] = {};
    const auto step = [&](i64 i, auto lanes) {
        const V x = lanes.load(query + i);
        #pragma GCC unroll 16
        for (int j = 0; j < LANES; ++j) sums[j] += x * loaded(lanes, keys + j * stride + i);
    };
    if (count == LANES) for_vectors(features, step);
    else
        for (int j = 0; j < count; ++j)
            for_vectors(features, [&](i64 i, auto lanes) {
                sums[j] += lanes.load(query + i) * loaded(lanes, keys + j * stride + i);
            });
    add_lanes<LANES / 2>(sums);
    return sums[0];
}

// The rows of a group come from 16 places at once, an order that no prefetcher expects. `count` rows:
template <class T> void fetch(const T* rows, i64 stride, i64 width, i64 count) {
    for (i64 j = 0; j < count; ++j)
        for (i64 i = 0; i < width; i += 64 / (i64)sizeof(T)) __builtin_prefetch(rows + j * stride + i);
}

// out = sum of weights[j] values[j] over `count` rows; N vectors of features at a time
template <int N, class T>
void sum_of_values(const real* weights, const T* values, i64 stride, i64 count, real* out) {
    V sums[N] = {};
    for (i64 j = 0; j < count; ++j, values += stride)
        #pragma GCC unroll 8
        for (int v = 0; v < N; ++v) {
            __builtin_prefetch(values + LANES * stride + v * LANES);
            sums[v] += weights[j] * loaded(Whole{}, values + v * LANES);
        }
    #pragma GCC unroll 8
    for (int v = 0; v < N; ++v) store(out + v * LANES, sums[v]);
}

template <class T>
void sum_of_values(const real* weights, const T* values, i64 stride, i64 count, i64 features, real* out) {
    i64 i = 0;
    for (; i + 4 * LANES <= features; i += 4 * LANES) sum_of_values<4>(weights, values + i, stride, count, out + i);
    for (; i + LANES <= features; i += LANES) sum_of_values<1>(weights, values + i, stride, count, out + i);
    if (const int left = (int)(features - i)) {
        V sum{};
        for (i64 j = 0; j < count; ++j) sum += weights[j] * loaded(Tail{left}, values + j * stride + i);
        store(out + i, sum, left);
    }
}

struct Sum {
    real top, sum;
};   // the largest score of a span, and the sum of e^(score - top)

// `count` scores become their exponentials. top is -inf where there is nothing to look at.
Sum exponentials(real* scores, i64 count) {
    V best = splat(-INF);
    for_vectors(count, [&](i64 i, auto lanes) { best = vmax(best, with_dead(lanes.load(scores + i), lanes, -INF)); });
    real top = hmax(best);
    if (top == -INF)   // nothing, unless a NaN hides behind -inf
        for (i64 i = 0; i < count; ++i) top = scores[i] == scores[i] ? top : 0;
    if (top == -INF) {
        std::memset(scores, 0, count * sizeof(real));
        return {top, 0};
    }
    V sum{};
    for_vectors(count, [&](i64 i, auto lanes) {
        const V e = lanes.keep(vexp(lanes.load(scores + i) - top));
        lanes.store(scores + i, e);
        sum += e;
    });
    return {top, hsum(sum)};
}

template <class T> struct FewQueries {
    Layout at;
    const real* q;
    const T *k, *v;
    In<real> mask;
    Dims q_strides, k_strides, v_strides, mask_strides, y_strides;
    real scale;
    real *y, *logsum;
    Within within;
    // heads of queries that share keys and values, and rows: their queries
    i64 group() const { return at.key_group() == at.value_group() ? at.key_group() : 1; }
    i64 rows() const { return group() * at.queries(); }

    // Keys [first, first + count) for the heads from `head` on; sums and out: of each row
    void span(i64 head, i64 first, i64 count, Sum* sums, real* out) const {
        const i64 L = at.queries(), E = at.features(), n = rows(), values = at.values(), k_row = at.row(k_strides),
                  v_row = at.row(v_strides);
        const T *keys = at.at(k, k_strides, head, at.key_group()) + first * k_row,
                *vals = at.at(v, v_strides, head, at.value_group()) + first * v_row;
        i64 from = first + count, to = first;
        for (i64 r = 0; r < n; ++r) {
            const Seen seen(at, within, false, head + r / L);
            from = least(from, seen.from(r % L)), to = most(to, seen.to(r % L));
            sums[r] = {-INF, 0};
        }
        if (from >= first + count || to <= first) return;
        Scratch<real> scores(n * SPAN), queries(n * E);
        for (i64 r = 0; r < n; ++r) {
            const real* x = at.at(q, q_strides, head + r / L) + r % L * at.row(q_strides);
            for_vectors(E, [&](i64 i, auto lanes) { lanes.store(queries + r * E + i, lanes.load(x + i) * scale); });
        }
        for (i64 j = 0; j < count; j += LANES) {
            const int some = (int)least(count - j, LANES);
            if (j + LANES < count) fetch(keys + (j + LANES) * k_row, k_row, E, least(count - j - LANES, LANES));
            else fetch(vals, v_row, values, least(count, LANES));
            for (i64 r = 0; r < n; ++r) {
                const V found = scores_of(queries + r * E, keys + j * k_row, k_row, E, some);
                Tail{some}.store(scores + r * SPAN + j, found);
            }
        }
        for (i64 r = 0; r < n; ++r) {
            real* const line = scores + r * SPAN;
            if (const Mask add(at, mask, mask_strides, head + r / L, within); add) {
                for_vectors(count, [&](i64 j, auto lanes) {
                    lanes.store(line + j, lanes.load(line + j) + add.keys(r % L, first + j, lanes));
                });
            }
            const Seen seen(at, within, false, head + r / L);
            // of values that are not seen not even zeros are added: they may be NaN
            const i64 end = most(0, least(count, seen.to(r % L) - first)),
                      begin = most(0, least(end, seen.from(r % L) - first));
            sums[r] = exponentials(line + begin, end - begin);
            sum_of_values(line + begin, vals + begin * v_row, v_row, end - begin, values, out + r * values);
        }
    }

    // The spans of a row, one after another
    void join(i64 head, i64 query, i64 spans, i64 apart, const Sum* sums, const real* out) const {
        const i64 values = at.values();
        real top = -INF, sum = 0;
        for (i64 s = 0; s < spans; ++s) top = top < sums[s * apart].top ? sums[s * apart].top : top;
        real* to = const_cast<real*>(at.at(y, y_strides, head)) + query * at.row(y_strides);
        std::memset(to, 0, values * sizeof(real));
        for (i64 s = 0; s < spans; ++s) {
            const Sum& part = sums[s * apart];
            if (part.top == -INF) continue;
            const real factor = std::exp(part.top - top);
            sum += factor * part.sum;
            for_vectors(values, [&](i64 i, auto lanes) {
                lanes.store(to + i, lanes.load(to + i) + factor * lanes.load(out + s * apart * values + i));
            });
        }
        if (top != -INF)
            for_vectors(values, [&](i64 i, auto lanes) { lanes.store(to + i, lanes.load(to + i) * (1 / sum)); });
        logsum[head * at.queries() + query] = top == -INF ? INF : top + std::log(sum);
    }
};

template <class T> void few_queries(const FewQueries<T>& of) {
    const Layout& at = of.at;
    const i64 S = at.keys(), values = at.values(), n = of.rows(), L = at.queries();
    const Blocks spans(S, SPAN);
    const i64 groups = n ? at.heads() / of.group() : 0, tasks = groups * spans.count;
    Scratch<Sum> sums(tasks * n);
    Scratch<real> out(tasks * n * values);
    const auto task = [&](i64 i) {
        const i64 first = spans.begin(i % spans.count);
        of.span(i / spans.count * of.group(), first, spans.begin(i % spans.count + 1) - first, sums + i * n,
                out + i * n * values);
    };
    const i64 work = groups * S * (at.features() + values);   // values that are read
    if (work * n > 20000) parallel_tasks(tasks, task);
    else
        for (i64 i = 0; i < tasks; ++i) task(i);
    for (i64 g = 0; g < groups; ++g)
        for (i64 r = 0; r < n; ++r) {
            const i64 first = g * spans.count * n + r;
            of.join(g * of.group() + r / L, r % L, spans.count, n, sums + first, out + first * values);
        }
}
}  // namespace
END_KERNELS
