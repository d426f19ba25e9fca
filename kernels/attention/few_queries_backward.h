// The gradient of attention of few queries to many keys: like its forward (few_queries.h) it takes the time
// of moving keys and values, so these are read where they lie, and gradients are written once.
//
// A task is a span of keys of one head: of each query the probabilities p and their slopes
// p (dy v' - delta), which give the keys' gradients sum slope q and the values' sum p dy at once, and of the
// query's own gradient sum slope k the part of this span. The parts are added in the order of the spans.
#pragma once
#include "attention/few_queries.h"

BEGIN_KERNELS
namespace {
struct FewQueriesBackward {
    Layout at;
    const real *dy, *q, *k, *v, *logsum, *delta;
    In<real> mask;
    Dims q_strides, k_strides, v_strides, mask_strides;
    bool causal;
    real scale;
    Within within;

    // Keys [first, first + count) of one head; dq: (queries, features), of this span alone
    void span(i64 head, i64 first, i64 count, real* dq, real* dk, real* dv) const {
        const i64 L = at.queries(), S = at.keys(), E = at.features(), F = at.values(), k_row = at.row(k_strides),
                  v_row = at.row(v_strides), q_row = at.row(q_strides);
        const real *keys = at.at(k, k_strides, head, at.key_group()) + first * k_row,
                   *vals = at.at(v, v_strides, head, at.value_group()) + first * v_row,
                   *asks = at.at(q, q_strides, head), *grad = dy + head * L * F;
        Scratch<real> p(L * SPAN), slopes(L * SPAN);
        const Mask add(at, mask, mask_strides, head, within);
        const Seen seen(at, within, causal, head);
        for (i64 j = 0; j < count; j += LANES) {
            const int some = (int)least(count - j, LANES);
            if (j + LANES < count) {
                fetch(keys + (j + LANES) * k_row, k_row, E, least(count - j - LANES, LANES));
                fetch(vals + (j + LANES) * v_row, v_row, F, least(count - j - LANES, LANES));
            }
            for (i64 r = 0; r < L; ++r) {
                V scores = scores_of(asks + r * q_row, keys + j * k_row, k_row, E, some) * scale;
                if (add) scores += add.keys(r, first + j, Tail{some});
                const V e = vexp(scores - logsum[head * L + r]);
                const V wanted = scores_of(grad + r * F, vals + j * v_row, v_row, F, some) - delta[head * L + r];
                Tail{some}.store(p + r * SPAN + j, e);
                Tail{some}.store(slopes + r * SPAN + j, e * wanted);
            }
        }
        for (i64 r = 0; r < L; ++r) {   // keys that are not seen may be NaN
            const i64 end = most(0, least(count, seen.to(r) - first)),
                      begin = most(0, least(end, seen.from(r) - first));
            real* const slope = slopes + r * SPAN;
            clear(p + r * SPAN, begin, end, count);
            clear(slope, begin, end, count);
            sum_of_values(slope + begin, keys + begin * k_row, k_row, end - begin, E, dq + r * E);
            for_vectors(E, [&](i64 i, auto lanes) { lanes.store(dq + r * E + i, lanes.load(dq + r * E + i) * scale); });
        }
        gradients(slopes, asks, q_row, count, E, scale, dk + (head * S + first) * E);
        gradients(p, grad, F, count, F, 1, dv + (head * S + first) * F);
    }

private:
    static void clear(real* line, i64 begin, i64 end, i64 count) {
        std::memset(line, 0, begin * sizeof(real));
        std::memset(line + end, 0, (count - end) * sizeof(real));
    }

    // to[j] = factor sum over queries r of weights[r][j] rows[r]
    void gradients(const real* weights, const real* rows, i64 stride, i64 count, i64 width, real factor,
                   real* to) const {
        const i64 L = at.queries();
        for (i64 j = 0; j < count; ++j, to += width)
            for_vectors(width, [&](i64 i, auto lanes) {
                V sum = weights[j] * lanes.load(rows + i);
                for (i64 r = 1; r < L; ++r) sum += weights[r * SPAN + j] * lanes.load(rows + r * stride + i);
                lanes.store(to + i, sum * factor);
            });
    }
};

void few_queries_backward(const FewQueriesBackward& of, real* dq, real* dk, real* dv) {
    const Layout& at = of.at;
    const i64 heads = at.heads(), rows = at.queries() * at.features();
    const Blocks spans(at.keys(), SPAN);
    const i64 tasks = heads * spans.count;
    Scratch<real> parts(tasks * rows);
    const auto task = [&](i64 i) {
        const i64 first = spans.begin(i % spans.count);
        of.span(i / spans.count, first, spans.begin(i % spans.count + 1) - first, parts + i * rows, dk, dv);
    };
    if (heads * at.keys() * at.queries() * (at.features() + at.values()) > 10000) parallel_tasks(tasks, task);
    else
        for (i64 i = 0; i < tasks; ++i) task(i);
    std::memset(dq, 0, heads * rows * sizeof(real));
    for (i64 i = 0; i < tasks; ++i) {
        real* const to = dq + i / spans.count * rows;
        for_vectors(rows, [&](i64 j, auto lanes) {
            lanes.store(to + j, lanes.load(to + j) + lanes.load(parts + i * rows + j));
        });
    }
}
}  // namespace
END_KERNELS
