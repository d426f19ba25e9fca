// Scaled dot-product attention: y = softmax(scale q k' + mask) v for every head, and its gradient.
//
// A task is a block of queries of one head. It walks the keys a block at a time with a running
// maximum and sum of each query's line (Milakov & Gimelshein, "Online normalizer calculation for
// softmax", 2018; Dao et al., "FlashAttention", 2022), so that no more than QUERIES x KEYS scores
// exist. Both products run on one register tile: rows are broadcast, keys or features lie along
// vectors. Keys are packed transposed, values as they are. A query's result is one chain of
// operations in the order of its keys, whatever else is computed.
//
// A query with no key left (every score is -inf) gives zeros; its log-sum-exp is stored as +inf,
// from which the gradient computes probabilities of exactly zero.
//
// The gradient computes the probabilities again. Blocks of queries give dq; blocks of keys give
// dk and dv by the same steps with the roles of queries and keys exchanged, so that nothing is
// added by two threads.
#include "attention/drop.h"
#include "attention/few_queries.h"
#include "attention/few_queries_backward.h"
#include "gemm/gemm.h"
#include "lanes.h"

extern __thread bool pyops_by_sample;   // module.cpp: pyops.batch_invariant()

BEGIN_KERNELS

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int TILE_ROWS = 6, TILE_VECTORS = 4;
#elif defined(__AVX2__)
constexpr int TILE_ROWS = 6, TILE_VECTORS = 2;
#else
constexpr int TILE_ROWS = 4, TILE_VECTORS = 2;
#endif
constexpr i64 PANEL = TILE_VECTORS * LANES;
// of a block: scores and packed keys together stay in the second-level cache
constexpr i64 QUERIES = 144, KEYS = 128;

static i64 round_up(i64 n, i64 to) { return (n + to - 1) / to * to; }

// ---- products: C (rows x columns) = A B, or += ; A's rows lie lda apart, B is packed in
// panels [depth][PANEL]

template <int NV>
static void tile(i64 depth, const real* a, i64 lda, const real* b, real* c, i64 ldc, bool add) {
    V acc[TILE_ROWS][NV];
    #pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; ++r)
        #pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) acc[r][v] = add ? load(c + r * ldc + v * LANES) : V{};
    for (i64 k = 0; k < depth; ++k, ++a, b += NV * LANES) {
        V bv[NV];
        #pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) bv[v] = load(b + v * LANES);
        #pragma GCC unroll 8
        for (int r = 0; r < TILE_ROWS; ++r)
            #pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) acc[r][v] += a[r * lda] * bv[v];
    }
    #pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; ++r)
        #pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) store(c + r * ldc + v * LANES, acc[r][v]);
}

// Rows up to a multiple of TILE_ROWS and columns up to a multiple of LANES are read and written.
static void multiply(i64 rows, i64 depth, i64 columns, const real* a, i64 lda, const real* panels, real* c,
                     i64 ldc, bool add) {
    for (i64 j = 0; j < columns; j += PANEL, panels += depth * PANEL) {
        const int vectors = (int)((least(columns - j, PANEL) + LANES - 1) / LANES);
        for (i64 r = 0; r < rows; r += TILE_ROWS) {
            const real* ar = a + r * lda;
            real*       cr = c + r * ldc + j;
            if (vectors == 1) tile<1>(depth, ar, lda, panels, cr, ldc, add);
            else if (vectors == 2) tile<2>(depth, ar, lda, panels, cr, ldc, add);
            else if constexpr (TILE_VECTORS == 4) {
                if (vectors == 3) tile<3>(depth, ar, lda, panels, cr, ldc, add);
                else tile<4>(depth, ar, lda, panels, cr, ldc, add);
            }
        }
    }
}

// B whose column j is the row j of x
static void pack_transposed(const real* x, i64 stride, i64 columns, i64 depth, real* panels) {
    for (i64 j = 0; j < columns; j += PANEL, panels += depth * PANEL) {
        const i64 count = least(columns - j, PANEL);
        pack_columns_transposed(x + j * stride, stride, depth, count, (int)((count + LANES - 1) / LANES),
                                panels);
    }
}

// B whose row k is the row k of x
static void pack_straight(const real* x, i64 stride, i64 depth, i64 columns, real* panels) {
    for (i64 j = 0; j < columns; j += PANEL, panels += depth * PANEL) {
        const i64 count = least(columns - j, PANEL);
        pack_columns(x + j, stride, depth, count, (int)((count + LANES - 1) / LANES), panels);
    }
}

// A: rows side by side, times `factor`, up to a whole tile of rows with zeros
static void copy_rows(const real* x, i64 stride, i64 rows, i64 depth, real factor, real* a) {
    for (i64 r = 0; r < rows; ++r)
        for_vectors(depth, [&](i64 i, auto lanes) {
            lanes.store(a + r * depth + i, lanes.load(x + r * stride + i) * factor);
        });
    std::memset(a + rows * depth, 0, (round_up(rows, TILE_ROWS) - rows) * depth * sizeof(real));
}

static i64 padded(i64 columns) { return round_up(columns, LANES); }

// ---- forward

// Lines of queries so far: the largest score, the sum of e^(score - largest)
struct Lines {
    alignas(64) real top[QUERIES], sum[QUERIES];
    Lines() {
        for (i64 i = 0; i < QUERIES; ++i) top[i] = -INF, sum[i] = 0;
    }
};

struct Range { i64 begin, end; };

// e^x for x <= 0: vexp without what it does for greater ones
static inline V exp_below(V x) {
    x = vmax(splat(EXP_LOW), x);   // the order keeps NaN
    const V n = (x * LOG2_E + MAGIC) - MAGIC, r = (x - n * LN2_HI) - n * LN2_LO;
    return scale_by_power(1 + (r + r * r * polynomial(r, EXP_C)), n);
}

// Scores of `count` queries, at most LANES of them, become their exponentials; what was summed before
// follows a new maximum. The mask is added first. live(r): the scores that query r sees, of `all` in a
// row; the others become zeros. `out` has sums of `values` a row. A query's numbers are its own, whoever is beside it.
template <class Live>
static void advance(real* scores, i64 count, i64 all, Live live, const Mask& mask, i64 query, i64 key, real* tops,
                    real* sums, real* out, i64 values) {
    V best[LANES], sum[LANES] = {};
    for (i64 r = 0; r < LANES; ++r) {
        V most = splat(-INF);   // in a register
        if (r < count) {
            const auto [begin, end] = live(r);
            real* row = scores + r * KEYS + begin;
            if (mask)
                for_vectors(end - begin, [&, first = key + begin](i64 i, auto lanes) {
                    const V v = lanes.load(row + i) + mask.keys(query + r, first + i, lanes);
                    lanes.store(row + i, v);
                    most = vmax(most, with_dead(v, lanes, -INF));
                });
            else
                for_vectors(end - begin, [&](i64 i, auto lanes) {
                    most = vmax(most, with_dead(lanes.load(row + i), lanes, -INF));
                });
        }
        best[r] = most;
    }
    const V old = load(tops), found = maxima_of(best);
    V now = found > old ? found : old;
    const V factor = vexp(old - now);
    for (i64 r = 0; r < count; ++r) {
        const auto [begin, end] = live(r);
        const i64 n = end - begin;
        real *all_of = scores + r * KEYS, *row = all_of + begin;
        real top = now[r];
        if (top == -INF)   // nothing yet, unless a NaN hides behind -inf
            for (i64 i = 0; i < n; ++i) now[r] = top = row[i] == row[i] ? top : NOT_A_NUMBER;
        if (top == -INF) {
            std::memset(all_of, 0, all * sizeof(real));
            continue;
        }
        if (top != tops[r] && tops[r] != -INF)
            for_vectors(values, [&](i64 i, auto lanes) {
                lanes.store(out + r * values + i, lanes.load(out + r * values + i) * factor[r]);
            });
        V total{};
        for_vectors(n, [&](i64 i, auto lanes) {
            const V e = lanes.keep(exp_below(lanes.load(row + i) - top));
            lanes.store(row + i, e);
            total += e;
        });
        sum[r] = total;
        if (begin > 0) std::memset(all_of, 0, begin * sizeof(real));
        if (end < all) std::memset(row + n, 0, (all - end) * sizeof(real));
    }
    const V before = load(sums);
    store(sums, (((now != old) & (old != -INF)) ? before * factor : before) + sums_of(sum));
    store(tops, now);
}

// The keys that some query of [first, first + rows) sees
static Range range_of(const Seen& seen, i64 first, i64 rows) {
    Range found{seen.keys, 0};
    for (i64 r = first; r < first + rows; ++r) {
        const i64 from = seen.from(r), to = seen.to(r);
        if (from < to) found = {least(found.begin, from), most(found.end, to)};
    }
    return found;
}

static void attend(In<real> q, In<real> k, In<real> v, In<real> mask, const Layout& at, const Dims& q_strides,
                   const Dims& k_strides, const Dims& v_strides, const Dims& mask_strides, const Dims& y_strides,
                   bool causal, double scale, const Within& within, const Drop& drop, Out<real> y, Out<real> logsum) {
    const i64 L = at.queries(), S = at.keys(), E = at.features(), values = padded(at.values());
    // few queries have sums in another order than they have among others; a seventh size asks for that one
    const bool alike = pyops_by_sample || at.sizes.n > 6;
    if (L <= FEW_QUERIES && !causal && !drop.on && !alike)
        return few_queries<real>({at, q.data, k.data, v.data, mask, q_strides, k_strides, v_strides, mask_strides,
                                  y_strides, (real)scale, y.data, logsum.data, within});
    // smaller ones where there are threads to feed: a query's numbers are its own
    const i64 threads = threads_now(), few = threads > 1 && at.heads() * Blocks(L, QUERIES).count < 2 * threads;
    const Blocks blocks(L, few ? QUERIES / 3 : QUERIES);
    auto task = [&](i64 i) {
        const i64 head = i / blocks.count, first = blocks.begin(i % blocks.count),
                  rows = blocks.begin(i % blocks.count + 1) - first;
        const real *keys = at.at(k.data, k_strides, head, at.key_group()),
                   *vals = at.at(v.data, v_strides, head, at.value_group());
        const Mask  add(at, mask, mask_strides, head, within);
        const Seen  seen(at, within, causal, head);
        const i64   tiled = round_up(rows, TILE_ROWS);
        Scratch<real> scaled(tiled * E), scores(tiled * KEYS), out(tiled * values), packed_k(E * KEYS),
            packed_v(KEYS * values);
        Lines line;
        copy_rows(at.at(q.data, q_strides, head) + first * at.row(q_strides), at.row(q_strides), rows, E,
                  (real)scale, scaled);
        std::memset(out.data, 0, tiled * values * sizeof(real));
        const auto [begin, last] = range_of(seen, first, rows);   // blocks begin where they do for all
        for (i64 key = begin / KEYS * KEYS; key < last; key += KEYS) {
            const i64 count = least(last - key, KEYS);
            pack_transposed(keys + key * at.row(k_strides), at.row(k_strides), count, E, packed_k);
            multiply(rows, E, count, scaled, E, packed_k, scores, KEYS, false);
            for (i64 r = 0; r < rows; r += LANES)
                advance(
                    scores + r * KEYS, least(rows - r, LANES), count,
                    [&](i64 i) {
                        const i64 to = most(0, least(count, seen.to(first + r + i) - key));
                        return Range{least(to, most(0, seen.from(first + r + i) - key)), to};
                    },
                    add, first + r, key, line.top + r, line.sum + r, out + r * values, values);
            for (i64 r = 0; drop.on && r < rows; ++r)
                drop.times(scores + r * KEYS, (head * L + first + r) * S + key, count);
            const i64 unseen = most(0, begin - key);   // values that may be NaN
            pack_straight(vals + (key + unseen) * at.row(v_strides), at.row(v_strides), count - unseen, at.values(),
                          packed_v);
            multiply(rows, count - unseen, at.values(), scores + unseen, KEYS, packed_v, out, values, true);
        }
        real* to = const_cast<real*>(at.at(y.data, y_strides, head)) + first * at.row(y_strides);
        alignas(64) real total[QUERIES];
        for (i64 r = 0; r < rows; r += LANES) {
            const V top = load(line.top + r), sum = load(line.sum + r);
            store(total + r, top == -INF ? splat(INF) : top + vlog(sum));
            store(line.sum + r, 1 / sum);
        }
        for (i64 r = 0; r < rows; ++r) {
            const bool none = line.top[r] == -INF;
            const real part = line.sum[r];
            for_vectors(at.values(), [&](i64 j, auto lanes) {
                lanes.store(to + r * at.row(y_strides) + j,
                            none ? V{} : lanes.load(out + r * values + j) * part);
            });
            logsum.data[head * L + first + r] = total[r];
        }
    };
    const i64 tasks = at.heads() * blocks.count;
    if (tasks * L * S * (E + values) > 40000) parallel_tasks(tasks, task);
    else for (i64 i = 0; i < tasks; ++i) task(i);
}

void attention(In<real> q, In<real> k, In<real> v, In<real> mask, Dims lead, Dims sizes, Dims q_strides,
               Dims k_strides, Dims v_strides, Dims mask_strides, Dims y_strides, bool causal, double scale,
               Out<real> y, Out<real> logsum) {
    attend(q, k, v, mask, {lead, sizes}, q_strides, k_strides, v_strides, mask_strides, y_strides, causal, scale, {},
           {}, y, logsum);
}

void attention_dropped(In<real> q, In<real> k, In<real> v, In<real> mask, Dims lead, Dims sizes, Dims q_strides,
                       Dims k_strides, Dims v_strides, Dims mask_strides, Dims y_strides, bool causal, double scale,
                       i64 seed, i64 threshold, double keep, Out<real> y, Out<real> logsum) {
    attend(q, k, v, mask, {lead, sizes}, q_strides, k_strides, v_strides, mask_strides, y_strides, causal, scale, {},
           {(u64)seed, (u64)threshold, (real)keep, true}, y, logsum);
}

void attention_within(In<real> q, In<real> k, In<real> v, In<i64> begin, In<i64> end, In<real> distance, Dims lead,
                      Dims sizes, Dims q_strides, Dims k_strides, Dims v_strides, Dims span_strides,
                      Dims distance_strides, Dims y_strides, bool causal, double scale, Out<real> y,
                      Out<real> logsum) {
    attend(q, k, v, {}, {lead, sizes}, q_strides, k_strides, v_strides, {}, y_strides, causal, scale,
           {begin.data, end.data, span_strides, distance.data, distance_strides}, {}, y, logsum);
}

void attention_stored(In<real> q, InAny k, InAny v, In<i64> begin, In<i64> end, In<real> distance, Dims lead,
                      Dims sizes, Dims q_strides, Dims k_strides, Dims v_strides, Dims span_strides,
                      Dims distance_strides, Dims y_strides, double scale, Out<real> y, Out<real> logsum) {
    few_queries<u16>({{lead, sizes}, q.data, k.as<const u16>(), v.as<const u16>(), {}, q_strides, k_strides, v_strides,
                      {}, y_strides, (real)scale, y.data, logsum.data,
                      {begin.data, end.data, span_strides, distance.data, distance_strides}});
}

// ---- backward

// scores become probabilities p, and dscores p (dp - delta), for `n` neighbours whose operands are
// vectors or one number
template <class Added, class Sum, class Delta>
static void slopes(real* scores, real* dscores, i64 n, Added added, Sum logsum, Delta delta) {
    for_vectors(n, [&](i64 i, auto lanes) {
        const V p = vexp(added(i, lanes, lanes.load(scores + i)) - logsum(i, lanes));
        lanes.store(scores + i, p);
        lanes.store(dscores + i, p * (lanes.load(dscores + i) - delta(i, lanes)));
    });
}

static void clear(real* row, i64 from, i64 to) {
    if (from < to) std::memset(row + from, 0, (to - from) * sizeof(real));
}

static void store_rows(const real* from, i64 ld, i64 rows, i64 columns, real factor, real* to) {
    for (i64 r = 0; r < rows; ++r)
        for_vectors(columns, [&](i64 i, auto lanes) {
            lanes.store(to + r * columns + i, lanes.load(from + r * ld + i) * factor);
        });
}

struct Backward {
    Layout      at;
    const real *dy, *q, *k, *v, *logsum, *delta;
    In<real>    mask;
    Dims        q_strides, k_strides, v_strides, mask_strides;
    bool        causal;
    real        scale;
    Within      within;
    Drop        drop;

    // dq of the queries [first, first + rows) of one head; by_distance (null: not wanted): the sums of
    // slopes by key - query + first + rows - 1
    void queries(i64 head, i64 first, i64 rows, real* dq, real* by_distance) const {
        const i64 L = at.queries(), S = at.keys(), E = at.features(), F = at.values(),
                  tiled = round_up(rows, TILE_ROWS), width = padded(E);
        const real *keys = at.at(k, k_strides, head, at.key_group()),
                   *vals = at.at(v, v_strides, head, at.value_group());
        const Mask  add(at, mask, mask_strides, head, within);
        const Seen  seen(at, within, causal, head);
        if (by_distance) std::memset(by_distance, 0, (rows + S - 1) * sizeof(real));
        Scratch<real> scaled(tiled * E), grad(tiled * F), scores(tiled * KEYS), dscores(tiled * KEYS),
            out(tiled * width), panels(KEYS * most(round_up(E, LANES), round_up(F, LANES)));
        copy_rows(at.at(q, q_strides, head) + first * at.row(q_strides), at.row(q_strides), rows, E, scale,
                  scaled);
        copy_rows(dy + (head * L + first) * F, F, rows, F, 1, grad);
        std::memset(out.data, 0, tiled * width * sizeof(real));
        const auto [begin, last] = range_of(seen, first, rows);
        for (i64 key = begin / KEYS * KEYS; key < last; key += KEYS) {
            const i64 count = least(last - key, KEYS);
            pack_transposed(keys + key * at.row(k_strides), at.row(k_strides), count, E, panels);
            multiply(rows, E, count, scaled, E, panels, scores, KEYS, false);
            pack_transposed(vals + key * at.row(v_strides), at.row(v_strides), count, F, panels);
            multiply(rows, F, count, grad, F, panels, dscores, KEYS, false);
            for (i64 r = 0; r < rows; ++r) {
                const i64  to = most(0, least(count, seen.to(first + r) - key)),
                           from = least(to, most(0, seen.from(first + r) - key));
                const real sum = logsum[head * L + first + r], mean = delta[head * L + first + r];
                real* const row = dscores + r * KEYS;
                if (drop.on) drop.times(row, (head * L + first + r) * S + key, count);
                slopes(
                    scores + r * KEYS + from, row + from, to - from,
                    [&](i64 i, auto lanes, V s) {
                        return add ? s + add.keys(first + r, key + from + i, lanes) : s;
                    },
                    [&](i64, auto) { return splat(sum); }, [&](i64, auto) { return splat(mean); });
                clear(row, 0, from);
                clear(row, to, count);
                if (by_distance) {
                    real* const sums = by_distance + key + rows - 1 - r;
                    for_vectors(count, [&](i64 i, auto lanes) {
                        lanes.store(sums + i, lanes.load(sums + i) + lanes.load(row + i));
                    });
                }
            }
            const i64 unseen = most(0, begin - key);
            pack_straight(keys + (key + unseen) * at.row(k_strides), at.row(k_strides), count - unseen, E, panels);
            multiply(rows, count - unseen, E, dscores + unseen, KEYS, panels, out, width, true);
        }
        store_rows(out, width, rows, E, scale, dq + (head * L + first) * E);
    }

    // dk and dv of the keys [first, first + rows) of one head: rows are keys here, queries lie along vectors
    void keys(i64 head, i64 first, i64 rows, real* dk, real* dv) const {
        const i64 L = at.queries(), S = at.keys(), E = at.features(), F = at.values(),
                  tiled = round_up(rows, TILE_ROWS);
        const i64 k_width = padded(E), v_width = padded(F), q_row = at.row(q_strides);
        const real* from = at.at(q, q_strides, head);
        const Mask  add(at, mask, mask_strides, head, within);
        const Seen  seen(at, within, causal, head);
        const bool  spans = within.begin || within.end;
        Scratch<real> hidden(KEYS), scaled(tiled * E), vals(tiled * F), scores(tiled * KEYS), dscores(tiled * KEYS),
            out_k(tiled * k_width), out_v(tiled * v_width),
            panels(KEYS * most(round_up(E, LANES), round_up(F, LANES))), kept(drop.on ? tiled * KEYS : 1);
        copy_rows(at.at(k, k_strides, head, at.key_group()) + first * at.row(k_strides), at.row(k_strides),
                  rows, E, scale, scaled);
        copy_rows(at.at(v, v_strides, head, at.value_group()) + first * at.row(v_strides), at.row(v_strides),
                  rows, F, 1, vals);
        std::memset(out_k.data, 0, tiled * k_width * sizeof(real));
        std::memset(out_v.data, 0, tiled * v_width * sizeof(real));
        for (i64 query = causal ? first : 0; query < L; query += KEYS) {
            const i64 count = least(L - query, KEYS);
            if (const auto [begin, end] = range_of(seen, query, count); end <= first || begin >= first + rows) continue;
            const real* grad = dy + (head * L + query) * F;
            pack_transposed(from + query * q_row, q_row, count, E, panels);
            multiply(rows, E, count, scaled, E, panels, scores, KEYS, false);
            pack_transposed(grad, F, count, F, panels);
            multiply(rows, F, count, vals, F, panels, dscores, KEYS, false);
            if (drop.on) drop.of_keys((head * L + query) * S + first, S, count, rows, kept, KEYS);
            for (i64 r = 0; r < rows; ++r) {
                if (drop.on) times(dscores + r * KEYS, kept + r * KEYS, count);
                // queries before the key
                const i64   dead = causal ? most(0, least(count, first + r - query)) : 0;
                const real *sums = logsum + head * L + query + dead, *means = delta + head * L + query + dead;
                for (i64 i = 0; spans && i < count; ++i)
                    hidden[i] = seen.from(query + i) <= first + r && first + r < seen.to(query + i) ? 0 : -INF;
                slopes(
                    scores + r * KEYS + dead, dscores + r * KEYS + dead, count - dead,
                    [&](i64 i, auto lanes, V s) {
                        if (add) s += add.queries(query + dead + i, first + r, lanes);
                        return spans ? s + lanes.load(hidden + dead + i) : s;
                    },
                    [&](i64 i, auto lanes) { return lanes.load(sums + i); },
                    [&](i64 i, auto lanes) { return lanes.load(means + i); });
                if (drop.on) times(scores + r * KEYS, kept + r * KEYS, count);
                for (i64 i = dead; spans && i < count; ++i)   // a key that is not seen may be NaN
                    if (hidden[i] != 0) scores[r * KEYS + i] = dscores[r * KEYS + i] = 0;
                clear(scores + r * KEYS, 0, dead);
                clear(dscores + r * KEYS, 0, dead);
            }
            pack_straight(grad, F, count, F, panels);
            multiply(rows, count, F, scores, KEYS, panels, out_v, v_width, true);
            pack_straight(from + query * q_row, q_row, count, E, panels);
            multiply(rows, count, E, dscores, KEYS, panels, out_k, k_width, true);
        }
        store_rows(out_k, k_width, rows, E, scale, dk + (head * S + first) * E);
        store_rows(out_v, v_width, rows, F, 1, dv + (head * S + first) * F);
    }

    // All of one head whose scores are one block: they are made once, for dq, dk and dv
    void whole(i64 head, real* dq, real* dk, real* dv, real* by_distance) const {
        const i64 L = at.queries(), S = at.keys(), E = at.features(), F = at.values(), tiled = round_up(L, TILE_ROWS);
        const real *keys = at.at(k, k_strides, head, at.key_group()),
                   *vals = at.at(v, v_strides, head, at.value_group());
        const Mask  add(at, mask, mask_strides, head, within);
        const Seen  seen(at, within, causal, head);
        const i64   widest = padded(most(E, F));
        if (by_distance) std::memset(by_distance, 0, (L + S - 1) * sizeof(real));
        Scratch<real> scaled(tiled * E), grad(tiled * F), scores(tiled * KEYS), dscores(tiled * KEYS),
            out(tiled * padded(E)), panels(KEYS * widest);
        copy_rows(at.at(q, q_strides, head), at.row(q_strides), L, E, scale, scaled);
        copy_rows(dy + head * L * F, F, L, F, 1, grad);
        pack_transposed(keys, at.row(k_strides), S, E, panels);
        multiply(L, E, S, scaled, E, panels, scores, KEYS, false);
        pack_transposed(vals, at.row(v_strides), S, F, panels);
        multiply(L, F, S, grad, F, panels, dscores, KEYS, false);
        for (i64 r = 0; r < L; ++r) {
            const i64 to = seen.to(r), from = least(to, seen.from(r));
            const real sum = logsum[head * L + r], mean = delta[head * L + r];
            real *const row = dscores + r * KEYS, *const weights = scores + r * KEYS;
            if (drop.on) drop.times(row, (head * L + r) * S, S);
            slopes(
                weights + from, row + from, to - from,
                [&](i64 i, auto lanes, V s) { return add ? s + add.keys(r, from + i, lanes) : s; },
                [&](i64, auto) { return splat(sum); }, [&](i64, auto) { return splat(mean); });
            if (drop.on) drop.times(weights, (head * L + r) * S, S);
            for (real* line : {row, weights}) clear(line, 0, from), clear(line, to, S);
            if (by_distance) {
                real* const sums = by_distance + L - 1 - r;
                for_vectors(S, [&](i64 i, auto lanes) {
                    lanes.store(sums + i, lanes.load(sums + i) + lanes.load(row + i));
                });
            }
        }
        const auto [begin, last] = range_of(seen, 0, L);   // beyond it keys may be NaN
        const i64 count = most(0, last - begin);
        std::memset(out.data, 0, tiled * padded(E) * sizeof(real));
        pack_straight(keys + begin * at.row(k_strides), at.row(k_strides), count, E, panels);
        multiply(L, count, E, dscores + (count ? begin : 0), KEYS, panels, out, padded(E), true);
        store_rows(out, padded(E), L, E, scale, dq + head * L * E);
        turned(dscores, scaled, E, dk + head * S * E);
        turned(scores, grad, F, dv + head * S * F);
    }

private:
    // to (S, columns) = a' b, a (L, KEYS) and b (L, columns)
    void turned(const real* a, const real* b, i64 columns, real* to) const {
        const i64 L = at.queries(), S = at.keys(), tiled = round_up(S, TILE_ROWS), width = padded(columns);
        Scratch<real> rows(tiled * PANEL), panels(PANEL * width), out(tiled * width);
        std::memset(out.data, 0, tiled * width * sizeof(real));
        for (i64 first = 0; first < L; first += PANEL) {
            const i64 depth = least(L - first, PANEL);
            pack_transposed(a + first * KEYS, KEYS, depth, S, rows);
            pack_straight(b + first * columns, columns, depth, columns, panels);
            multiply(S, depth, columns, rows, padded(depth), panels, out, width, true);
        }
        store_rows(out, width, S, columns, 1, to);
    }
};

// dy, y and dq cover every head in order; so do dk, dv and the sums by distance, also where heads share
// keys, values or what is added: the caller adds those up.
static void attend_backward(In<real> dy, In<real> q, In<real> k, In<real> v, In<real> mask, In<real> y, In<real> logsum,
                            const Layout& at, const Dims& q_strides, const Dims& k_strides, const Dims& v_strides,
                            const Dims& mask_strides, bool causal, double scale, const Within& within,
                            const Drop& drop, Out<real> dq, Out<real> dk, Out<real> dv, Out<real> ddistance) {
    const i64 heads = at.heads(), L = at.queries(), S = at.keys(), F = at.values();
    Scratch<real> delta(heads * L);   // sum of dy y: what each line's slopes have in common
    parallel_for(heads * L, 1 + 8192 / (F + 1), [&](i64 begin, i64 end) {
        for (i64 r = begin; r < end; ++r) {
            V sum{};
            for_vectors(F, [&](i64 i, auto lanes) {
                sum += lanes.load(dy.data + r * F + i) * lanes.load(y.data + r * F + i);
            });
            delta[r] = hsum(sum);
        }
    });
    if (L > 0 && L <= FEW_QUERIES && !ddistance && !drop.on) {
        few_queries_backward({at, dy.data, q.data, k.data, v.data, logsum.data, delta, mask, q_strides, k_strides,
                              v_strides, mask_strides, causal, (real)scale, within},
                             dq.data, dk.data, dv.data);
        return;
    }
    const Backward of{at,        dy.data,   q.data,       k.data, v.data,      logsum.data, delta, mask, q_strides,
                      k_strides, v_strides, mask_strides, causal, (real)scale, within, drop};
    const Blocks queries(L, QUERIES), keys(S, QUERIES);
    const bool one = L > 0 && L <= QUERIES && S <= KEYS;   // block
    const i64 query_tasks = heads * queries.count, tasks = query_tasks + (one ? 0 : heads * keys.count),
              apart = QUERIES + S;
    Scratch<real> by_distance(ddistance ? query_tasks * apart : 1);
    auto task = [&](i64 i) {
        if (one) {
            of.whole(i, dq.data, dk.data, dv.data, ddistance ? by_distance + i * apart : nullptr);
        } else if (i < query_tasks) {
            const i64 first = queries.begin(i % queries.count);
            of.queries(i / queries.count, first, queries.begin(i % queries.count + 1) - first, dq.data,
                       ddistance ? by_distance + i * apart : nullptr);
        } else {
            const i64 j = i - query_tasks, first = keys.begin(j % keys.count);
            of.keys(j / keys.count, first, keys.begin(j % keys.count + 1) - first, dk.data, dv.data);
        }
    };
    if (heads * L * S * (at.features() + F) > 10000) parallel_tasks(tasks, task);
    else for (i64 i = 0; i < tasks; ++i) task(i);
    if (!ddistance) return;
    const i64 distances = L + S - 1;
    std::memset(ddistance.data, 0, most(0, heads * distances) * sizeof(real));
    for (i64 i = 0; i < query_tasks; ++i) {   // a block of queries after the other
        const i64 first = queries.begin(i % queries.count), rows = queries.begin(i % queries.count + 1) - first;
        const real* from = by_distance + i * apart;
        real* const to = ddistance.data + i / queries.count * distances + L - first - rows;
        for_vectors(rows + S - 1, [&](i64 j, auto lanes) {
            lanes.store(to + j, lanes.load(to + j) + lanes.load(from + j));
        });
    }
}

void attention_backward(In<real> dy, In<real> q, In<real> k, In<real> v, In<real> mask, In<real> y,
                        In<real> logsum, Dims lead, Dims sizes, Dims q_strides, Dims k_strides,
                        Dims v_strides, Dims mask_strides, bool causal, double scale, Out<real> dq,
                        Out<real> dk, Out<real> dv) {
    attend_backward(dy, q, k, v, mask, y, logsum, {lead, sizes}, q_strides, k_strides, v_strides, mask_strides, causal,
                    scale, {}, {}, dq, dk, dv, {});
}

void attention_dropped_backward(In<real> dy, In<real> q, In<real> k, In<real> v, In<real> mask, In<real> y,
                                In<real> logsum, Dims lead, Dims sizes, Dims q_strides, Dims k_strides,
                                Dims v_strides, Dims mask_strides, bool causal, double scale, i64 seed,
                                i64 threshold, double keep, Out<real> dq, Out<real> dk, Out<real> dv) {
    attend_backward(dy, q, k, v, mask, y, logsum, {lead, sizes}, q_strides, k_strides, v_strides, mask_strides, causal,
                    scale, {}, {(u64)seed, (u64)threshold, (real)keep, true}, dq, dk, dv, {});
}

// ddistance is left alone where no distance is given
void attention_within_backward(In<real> dy, In<real> q, In<real> k, In<real> v, In<i64> begin, In<i64> end,
                               In<real> distance, In<real> y, In<real> logsum, Dims lead, Dims sizes, Dims q_strides,
                               Dims k_strides, Dims v_strides, Dims span_strides, Dims distance_strides, bool causal,
                               double scale, Out<real> dq, Out<real> dk, Out<real> dv, Out<real> ddistance) {
    attend_backward(dy, q, k, v, {}, y, logsum, {lead, sizes}, q_strides, k_strides, v_strides, {}, causal, scale,
                    {begin.data, end.data, span_strides, distance.data, distance_strides}, {}, dq, dk, dv,
                    distance ? ddistance : Out<real>{});
}

END_KERNELS
