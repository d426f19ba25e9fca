// Convolution in blocked layout of groups that do not fill blocks: 4, 8, 24 channels or any other number,
// and as many or other filters.
//
// A vector of filters belongs to one group, or to several, of which each lane sees the channels of its own.
// Step c of the sum takes channel c of each of them: a number that is broadcast, or else lanes that are
// picked from the vectors of channels of the pixel, mostly one or two. So no zeros are multiplied, and
// nothing of one group meets another.
//
// An output is one chain of multiply-adds from the bias in the order (neighbouring taps, channel, tap), or, of few
// pixels, in that of direct_few.h.
#include <algorithm>
#include "convolution/direct_few.h"
#include "convolution/direct_layer.h"

BEGIN_KERNELS
namespace {
// Pixels of a tile of n vectors of filters, and how many of these may see the same channels in one tile
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int MOST_VECTORS = 1;
constexpr int grouped_pixels(int) { return 14; }
#elif defined(__AVX2__)
constexpr int MOST_VECTORS = 3;
constexpr int grouped_pixels(int n) { return n == 3 ? 4 : n == 2 ? 6 : 12; }
#else
constexpr int MOST_VECTORS = 1;
constexpr int grouped_pixels(int) { return 8; }
#endif

// Steps [begin, end) of a vector of filters, in which its lanes read the same vectors of channels: at
// `source` values from the pixel's, `count` of them. A lane picks its number from those in sequence by
// `lanes`, which are one more in every step; a single group reads one number, at `source`.
struct Run {
    static constexpr int MOST = LANES;
    i64 begin, end;
    int count;
    bool single;
    i64 source[MOST];
    M    lanes;
};

// Which groups the vectors of filters of a unit belong to. A unit is the fewest groups whose channels and
// filters both fill blocks, or the whole layer.
struct Grouping {
    i64 channels, filters;   // of a group
    i64 x_block;             // values from a block of channels to the next

    i64 place(i64 channel) const { return channel / BLOCK * x_block + channel % BLOCK; }

    // How many runs a vector of filters has: those from `first` on, counted from the unit's, of `last` in
    // all. To `runs`, unless it is null.
    i64 runs_of(i64 first, i64 last, Run* runs) const {
        lane_int at[LANES];   // the first channel that a lane sees
        bool single = true;
        for (int i = 0; i < LANES; ++i) {
            const i64 filter = first + i < last ? first + i : last - 1;
            at[i]  = (lane_int)(filter / filters * channels);
            single = single && at[i] == at[0];
        }
        i64 n = 0;
        for (i64 c = 0; c < channels; ++c) {
            if (c && !starts(at, single, c)) continue;
            if (runs) {
                if (n) runs[n - 1].end = c;
                runs[n] = run_from(at, single, c);
            }
            ++n;
        }
        if (runs && n) runs[n - 1].end = channels;
        return n;
    }

private:
    // Whether a lane enters another vector of channels (a single group: another block)
    static bool starts(const lane_int* at, bool single, i64 c) {
        if (single) return (at[0] + c) % BLOCK == 0;
        for (int i = 0; i < LANES; ++i)
            if ((at[i] + c) % LANES == 0) return true;
        return false;
    }

    Run run_from(const lane_int* at, bool single, i64 c) const {
        Run run{c, c, 1, single, {place(at[0] + c)}, M{}};
        if (single) return run;
        run.count = 0;
        for (int i = 0; i < LANES; ++i) {
            const i64 channel = at[i] + c, vector = channel / LANES * LANES;
            int known = 0;
            while (known < run.count && run.source[known] != place(vector)) ++known;
            if (known == run.count) run.source[run.count++] = place(vector);
            run.lanes[i] = (lane_int)(known * LANES + channel - vector);
        }
        return run;
    }
};

// Taps that read neighbouring pixels: `count` of them, the first at `input`, weights `apart` values from
// one to the next.
struct TapRun {
    i64 input, weight, apart;
    int count;
};
constexpr int MOST_TOGETHER = 3;

// The steps of a run at S taps, of P pixels. at(pixel) is what the lanes see of a pixel in this step: worked
// out once for all the taps that read it.
template <int S, int P, class At, class Next>
__attribute__((always_inline)) inline void add_steps(V (&acc)[P], const real* w, i64 apart, i64 steps, const At& at,
                                                     const Next& next) {
    for (i64 c = 0; c < steps; ++c, w += BLOCK, next()) {
        V weight[S];
        #pragma GCC unroll 4
        for (int s = 0; s < S; ++s) weight[s] = load(w + s * apart);
        #pragma GCC unroll 32
        for (int j = 0; j < P + S - 1; ++j) {
            const V v = rounded(at(j * BLOCK));   // else gcc works it out anew for each multiply-add
            #pragma GCC unroll 4
            for (int s = 0; s < S; ++s)
                if (j - s >= 0 && j - s < P) acc[j - s] += weight[s] * v;
        }
    }
}

// x is the first pixel's, w the first step's.
template <int S, int P>
__attribute__((always_inline)) inline void add_run(V (&acc)[P], const real* x, const real* w, i64 apart,
                                                   const Run& run) {
    const i64 steps = run.end - run.begin;
    const real *a = x + run.source[0], *b = x + run.source[1];
    M lanes = run.lanes;
    const auto next = [&] { lanes += 1; };
    if (run.single) {
        add_steps<S>(acc, w, apart, steps, [&](int p) { return splat(a[p]); }, [&] { ++a; });
    } else if (run.count == 1) {
        add_steps<S>(acc, w, apart, steps, [&](int p) { return __builtin_shuffle(load(a + p), lanes); }, next);
    } else if (run.count == 2) {
        add_steps<S>(acc, w, apart, steps,
                     [&](int p) { return __builtin_shuffle(load(a + p), load(b + p), lanes); }, next);
    } else {
        const auto pick = [&](int p) {
            V v{};
            for (int s = 0; s < run.count; ++s) {
                const M here = lanes / LANES == (lane_int)s;
                v = here ? __builtin_shuffle(load(x + run.source[s] + p), lanes) : v;
            }
            return v;
        };
        for (int s = 0; s < S; ++s, x += BLOCK, w += apart, lanes = run.lanes)
            add_steps<1>(acc, w, apart, steps, pick, next);
    }
}

// Two vectors of two units, as far apart in x and w as `units` says: sums of few pixels wait for themselves
struct Apart { i64 x, w; };
template <int S, int P, class At, class Next>
__attribute__((always_inline)) inline void add_steps_of_two(V (&acc)[2][P], const real* w, i64 w_unit, i64 apart,
                                                            i64 steps, const At& at, const Next& next) {
    for (i64 c = 0; c < steps; ++c, w += BLOCK, next())
        #pragma GCC unroll 2
        for (int u = 0; u < 2; ++u) {
            V weight[S];
            #pragma GCC unroll 4
            for (int s = 0; s < S; ++s) weight[s] = load(w + u * w_unit + s * apart);
            #pragma GCC unroll 32
            for (int j = 0; j < P + S - 1; ++j) {
                const V v = rounded(at(u, j * BLOCK));
                #pragma GCC unroll 4
                for (int s = 0; s < S; ++s)
                    if (j - s >= 0 && j - s < P) acc[u][j - s] += weight[s] * v;
            }
        }
}

template <int S, int P>
__attribute__((always_inline)) inline void add_run_of_two(V (&acc)[2][P], const real* x, const real* w, i64 apart,
                                                          const Run& run, const Apart& units) {
    const i64 steps = run.end - run.begin;
    const real *a = x + run.source[0], *b = x + run.source[1];
    M lanes = run.lanes;
    const auto next = [&] { lanes += 1; };
    if (run.single)
        add_steps_of_two<S>(acc, w, units.w, apart, steps, [&](int u, int p) { return splat(a[u * units.x + p]); },
                            [&] { ++a; });
    else if (run.count == 1)
        add_steps_of_two<S>(acc, w, units.w, apart, steps, [&](int u, int p) {
            return __builtin_shuffle(load(a + u * units.x + p), lanes);
        }, next);
    else
        add_steps_of_two<S>(acc, w, units.w, apart, steps, [&](int u, int p) {
            return __builtin_shuffle(load(a + u * units.x + p), load(b + u * units.x + p), lanes);
        }, next);
}

// From a vector of filters to the v-th after it, which is the `part`-th of its block, where blocks are `block` apart
constexpr i64 to_vector(int part, int v, i64 block) {
    return (part + v) / BV * block + ((part + v) % BV - part) * LANES;
}

// A run that sees one group, for several vectors of its filters. Sums go on in the order of add_run.
template <int N, int P>
__attribute__((always_inline)) inline void add_group(V (&acc)[P][N], const real* x, const real* w, const TapRun& taps,
                                                     const Run& run, const i64 (&vector)[N]) {
    x += run.source[0];
    for (i64 c = run.begin; c < run.end; ++c, ++x, w += BLOCK) {
        const real *xs = x, *ws = w;
        for (int s = 0; s < taps.count; ++s, xs += BLOCK, ws += taps.apart) {
            V weight[N];
            #pragma GCC unroll 4
            for (int v = 0; v < N; ++v) weight[v] = load(ws + vector[v]);
            #pragma GCC unroll 16
            for (int p = 0; p < P; ++p)
                #pragma GCC unroll 4
                for (int v = 0; v < N; ++v) acc[p][v] += xs[p * BLOCK] * weight[v];
        }
    }
}

// N vectors of filters from the `part`-th of its block on, which see the same channels if there are several
template <int N, int P>
void grouped_tile(const real* x, const real* w, i64 w_filter, int part, const Run* runs, i64 count, const TapRun* taps,
                  i64 tap_count, const Target& t, const Epilogue& e) {
    V acc[P][N];
    i64 vector[N];
    #pragma GCC unroll 4
    for (int v = 0; v < N; ++v) {
        vector[v] = to_vector(part, v, w_filter);
        const V start = t.bias ? load(t.bias + v * LANES) : V{};
        #pragma GCC unroll 16
        for (int p = 0; p < P; ++p) acc[p][v] = start;
    }
    for (i64 k = 0; k < tap_count; ++k)
        for (i64 r = 0; r < count; ++r) {
            const real *xs = x + taps[k].input, *ws = w + taps[k].weight + runs[r].begin * BLOCK;
            if constexpr (N > 1) {
                add_group(acc, xs, ws, taps[k], runs[r], vector);
            } else {
                V (&one)[P] = (V (&)[P])acc;
                switch (taps[k].count) {
                    case 1: add_run<1>(one, xs, ws, taps[k].apart, runs[r]); break;
                    case 2: add_run<2>(one, xs, ws, taps[k].apart, runs[r]); break;
                    default: add_run<MOST_TOGETHER>(one, xs, ws, taps[k].apart, runs[r]);
                }
            }
        }
    const Clamp clamp(e);
    #pragma GCC unroll 4
    for (int v = 0; v < N; ++v) {
        real* y = t.y + to_vector(part, v, t.block);
        if (t.residual) {
            const real* add = t.residual + to_vector(part, v, t.residual_block);
            #pragma GCC unroll 16
            for (int p = 0; p < P; ++p) acc[p][v] += load(add + p * BLOCK);
        }
        #pragma GCC unroll 16
        for (int p = 0; p < P; ++p) store(y + p * BLOCK, clamp(acc[p][v]));
    }
}

// A vector of filters of each of two units: sums in the order of grouped_tile
template <int P>
void grouped_tile_of_two(const real* x, const real* w, const Apart& units, const Run* runs, i64 count,
                         const TapRun* taps, i64 tap_count, const Target (&t)[2], const Epilogue& e) {
    V acc[2][P];
    #pragma GCC unroll 2
    for (int u = 0; u < 2; ++u)
        #pragma GCC unroll 16
        for (int p = 0; p < P; ++p) acc[u][p] = t[u].bias ? load(t[u].bias) : V{};
    for (i64 k = 0; k < tap_count; ++k)
        for (i64 r = 0; r < count; ++r) {
            const real *xs = x + taps[k].input, *ws = w + taps[k].weight + runs[r].begin * BLOCK;
            switch (taps[k].count) {
                case 1: add_run_of_two<1>(acc, xs, ws, taps[k].apart, runs[r], units); break;
                case 2: add_run_of_two<2>(acc, xs, ws, taps[k].apart, runs[r], units); break;
                default: add_run_of_two<MOST_TOGETHER>(acc, xs, ws, taps[k].apart, runs[r], units);
            }
        }
    const Clamp clamp(e);
    #pragma GCC unroll 2
    for (int u = 0; u < 2; ++u)
        #pragma GCC unroll 16
        for (int p = 0; p < P; ++p) {
            const V added = t[u].residual ? load(t[u].residual + p * BLOCK) : V{};
            store(t[u].y + p * BLOCK, clamp(t[u].residual ? acc[u][p] + added : acc[u][p]));
        }
}

// The taps of a row of outputs, those that read neighbours together; `taps` may be put in another order.
// Returns how many runs.
i64 tap_runs(TileTap* taps, i64 count, TapRun* runs) {
    std::sort(taps, taps + count, [](const TileTap& a, const TileTap& b) { return a.input < b.input; });
    i64 n = 0;
    for (i64 k = 0; k < count; ++k) {
        TapRun* last = n ? runs + n - 1 : nullptr;
        if (last && last->count < MOST_TOGETHER && taps[k].input == last->input + last->count * BLOCK &&
            (last->count == 1 || taps[k].weight == last->weight + last->count * last->apart)) {
            last->apart = taps[k].weight - taps[k - 1].weight;
            ++last->count;
        } else {
            runs[n++] = {taps[k].input, taps[k].weight, 0, 1};
        }
    }
    return n;
}

using GroupedTile = void (*)(const real*, const real*, i64, int, const Run*, i64, const TapRun*, i64, const Target&,
                             const Epilogue&);
template <int N, int... P> GroupedTile grouped_tile_of(i64 pixels, std::integer_sequence<int, P...>) {
    static constexpr GroupedTile table[] = {grouped_tile<N, P + 1>...};
    return table[pixels - 1];
}
template <int N = MOST_VECTORS> GroupedTile grouped_tile_of(int vectors, i64 pixels) {
    if constexpr (N > 1)
        if (vectors < N) return grouped_tile_of<N - 1>(vectors, pixels);
    return grouped_tile_of<N>(pixels, std::make_integer_sequence<int, grouped_pixels(N)>{});
}

// Rows of so few pixels are made of two units at a time
constexpr int FEW_PIXELS = 7;
using TileOfTwo = void (*)(const real*, const real*, const Apart&, const Run*, i64, const TapRun*, i64,
                           const Target (&)[2], const Epilogue&);
template <int... P> TileOfTwo tile_of_two(i64 pixels, std::integer_sequence<int, P...>) {
    static constexpr TileOfTwo table[] = {grouped_tile_of_two<P + 1>...};
    return table[pixels - 1];
}

struct Grouped {
    Layer    layer;      // group_blocks and group_filters: of a unit
    Phase    phase;
    Grouping grouping;
    i64      filters;    // of the layer
    i64      units;

    // Blocks of filters and of channels of a unit, of which the last one may have fewer
    i64 end(i64 unit) const { return least((unit + 1) * layer.group_filters, layer.y.blocks); }
    i64 x_blocks(i64 unit) const { return least(layer.group_blocks, layer.x.blocks - unit * layer.group_blocks); }

    // Whether vectors of two neighbouring units go together
    bool in_pairs() const {
        if (LANES < BLOCK || phase.w > FEW_PIXELS) return false;
        for (i64 v = 0; v < layer.group_filters; ++v)
            if (!few_sources(v)) return false;
        return true;
    }
    bool is_whole(i64 unit) const { return (unit + 1) * layer.group_filters * BLOCK <= filters; }

private:
    bool few_sources(i64 v) const {
        const i64 made = layer.group_filters * BLOCK;
        Grouping blocks = grouping;
        blocks.x_block  = BLOCK;   // any place for each
        Scratch<Run> runs(blocks.runs_of(v * LANES, made, nullptr));
        const i64 n = blocks.runs_of(v * LANES, made, runs);
        for (i64 r = 0; r < n; ++r)
            if (runs[r].count > 2) return false;
        return true;
    }
};

// The runs of all vectors of a unit, one after the other
struct Runs {
    i64          vectors;
    Scratch<i64> first;   // of each vector, and the end
    Scratch<Run> runs;

    Runs(const Grouping& g, i64 filters)
        : vectors((filters + BLOCK - 1) / BLOCK * BV), first(vectors + 1), runs(counted(g, filters)) {
        for (i64 v = 0; v < vectors; ++v) g.runs_of(v * LANES, filters, runs + first[v]);
    }

    // How many vectors from v on a tile takes: those that see the channels of one group, and the same ones
    int together(i64 v) const {
        int n = 1;
        while (n < MOST_VECTORS && v + n < vectors && sees(v, v + n)) ++n;
        return n;
    }

private:
    i64 counted(const Grouping& g, i64 filters) {
        first[0] = 0;
        for (i64 v = 0; v < vectors; ++v) first[v + 1] = first[v] + g.runs_of(v * LANES, filters, nullptr);
        return first[vectors];
    }
    bool sees(i64 v, i64 other) const {
        const i64 count = first[v + 1] - first[v];
        const Run *a = runs + first[v], *b = runs + first[other];
        bool same = count == first[other + 1] - first[other];
        for (i64 r = 0; same && r < count; ++r)
            same = a[r].single && b[r].single && a[r].begin == b[r].begin && a[r].source[0] == b[r].source[0];
        return same;
    }
};

// Output rows [begin, end) of a unit, or of two
void grouped_rows(const Grouped& g, i64 sample, i64 unit, bool pair, i64 begin, i64 end) {
    Layer l = g.layer;
    l.group_blocks = g.x_blocks(unit) + (pair ? g.x_blocks(unit + 1) : 0);
    const Phase& p = g.phase;
    const Source<BLOCK> source(l, p, begin, end, false);
    const Strip<BLOCK>& strip = source.strip;
    const i64 first_block = unit * g.layer.group_blocks;
    Laid<BLOCK> laid(source.size());
    if (!source.in_place) laid.lay(l, sample, first_block, l.group_blocks, strip, source.reach.left);
    const real* base = source.in_place ? l.x.at(sample, first_block) : (const real*)laid.values;
    const i64 x_block = source.in_place ? l.x.plane() : strip.block(),
              x_row = source.in_place ? l.x.w * BLOCK : strip.row(), origin = source.in_place ? 0 : strip.first,
              left = source.in_place ? 0 : source.reach.left;
    const i64 k0 = unit * l.group_filters, k1 = g.end(unit);
    Grouping grouping = g.grouping;
    grouping.x_block = x_block;
    const Runs runs(grouping, least((k1 - k0) * BLOCK, g.filters - k0 * BLOCK));
    Scratch<TileTap> taps(p.count);
    Scratch<TapRun> together(p.count);
    i64 n = 0;
    bool whole = false;   // the list of taps holds for every row that has all of them
    for (i64 oy = begin; oy < end; ++oy) {
        const i64 first = oy * p.stride_h;
        const bool all = first + source.reach.top >= 0 && first + source.reach.bottom < l.x.h;
        if (!all || !whole)
            n = tap_runs(taps, list_taps(l, p, first, nullptr, left, strip.columns, x_block, x_row, BLOCK, taps),
                         together);
        whole = all;
        const real* input = base + (oy * p.stride_h - origin) * x_row;
        const i64 row = oy * l.y.w * BLOCK;
        for (i64 v = 0; pair && v < runs.vectors; ++v) {
            const i64 k = k0 + v, next = k + l.group_filters;
            const auto target = [&](i64 block) {
                return Target{l.y.at(sample, block) + row, l.residual ? l.residual.at(sample, block) + row : nullptr,
                              BLOCK, l.y.plane(), l.residual.plane(), l.bias ? l.bias + block * BLOCK : nullptr};
            };
            const Target targets[2] = {target(k), target(next)};
            tile_of_two(p.w, std::make_integer_sequence<int, FEW_PIXELS>{})(
                input, l.weight + k * l.w_filter,
                {g.layer.group_blocks * x_block, l.group_filters * l.w_filter}, runs.runs + runs.first[v],
                runs.first[v + 1] - runs.first[v], together, n, targets, l.epilogue);
        }
        for (i64 v = pair ? runs.vectors : 0; v < runs.vectors;) {
            const int vectors = runs.together(v), part = (int)(v % BV);
            const i64 k = k0 + v / BV, tiles = (p.w + grouped_pixels(vectors) - 1) / grouped_pixels(vectors);
            for (i64 i = 0; i < tiles; ++i) {
                const i64 from = p.w * i / tiles, to = p.w * (i + 1) / tiles,
                          at = row + from * BLOCK + part * LANES;
                const Target t{l.y.at(sample, k) + at, l.residual ? l.residual.at(sample, k) + at : nullptr,
                               BLOCK, l.y.plane(), l.residual.plane(),
                               l.bias ? l.bias + k * BLOCK + part * LANES : nullptr};
                grouped_tile_of(vectors, to - from)(input + from * BLOCK, l.weight + k * l.w_filter + part * LANES,
                                                    l.w_filter, part, runs.runs + runs.first[v],
                                                    runs.first[v + 1] - runs.first[v], together, n, t, l.epilogue);
            }
            v += vectors;
        }
        for (i64 k = k0; k < (pair ? k1 + l.group_filters : k1); ++k)
            l.epilogue.finish(l.y.at(sample, k) + row, p.w * BLOCK);
    }
}
}  // namespace

// weight: (filter blocks, R, S, channels of a group, 16 filters); filters: that there are
void grouped_conv(InMap<real> x, i64 channels, In<real> weight, In<real> bias, InMap<real> residual, Window window,
                  i64 groups, i64 filters, Act act, OutMap<real> y) {
    const i64 R = weight.dim(1), S = weight.dim(2), each = channels / groups, made = filters / groups;
    i64 unit = 1;   // groups
    while (unit < groups && (unit * each % BLOCK || unit * made % BLOCK)) ++unit;
    const i64 units = (groups + unit - 1) / unit;
    Scratch<Tap> taps(R * S);
    const Layer layer{x, 0, each, (unit * each + BLOCK - 1) / BLOCK, (unit * made + BLOCK - 1) / BLOCK, weight.data,
                      bias.data, 0, R * S * each * BLOCK, residual, y, Epilogue(act)};
    Grouped g{layer, plain_phase(window, y, taps), {each, made, 0}, filters, units};
    for (i64 t = 0; t < R * S; ++t) taps[t].weight = t * each * BLOCK;
    if (is_pointwise(window)) flatten(g.layer, g.phase);
    const Phase& p = g.phase;
    if (p.h <= 0 || p.w <= 0) return;
    // a block is a group then, and their weights lie as direct_conv's do; the order of sums is that one's
    if (each == BLOCK && made == BLOCK && has_few_pixels_in_groups(g.layer, p))
        return convolve_few_in_groups(g.layer, p);
    // chunks of rows whose input stays in the nearest cache, as few filters share it
    const i64 row = g.layer.x.w * g.layer.group_blocks * BLOCK * p.stride_h,
              rows = least(p.h, 1 + (STRIP_VALUES / 8) / (row + 1)), chunks = (p.h + rows - 1) / rows;
    const i64 at_once = g.in_pairs() ? 2 : 1, parts = (units + at_once - 1) / at_once;
    const i64 work = p.w * rows * R * S * each * g.layer.group_filters * BLOCK * at_once;
    parallel_for(y.n * parts * chunks, 1 + 400000 / (work + 1), [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const i64 chunk = i % chunks, unit = i / chunks % parts * at_once, sample = i / chunks / parts;
            const i64 from = p.h * chunk / chunks, to = p.h * (chunk + 1) / chunks;
            const bool pair = at_once == 2 && unit + 1 < units && g.is_whole(unit + 1);
            grouped_rows(g, sample, unit, pair, from, to);
            if (at_once == 2 && !pair && unit + 1 < units) grouped_rows(g, sample, unit + 1, false, from, to);
        }
    });
}
END_KERNELS
