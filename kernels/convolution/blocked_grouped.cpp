// Convolution in blocked layout of groups that do not fill blocks: 4, 8, 24 channels or any other number,
// and as many or other filters.
//
// A vector of filters belongs to one group, or to several, of which each lane sees the channels of its own.
// Step c of the sum takes channel c of each of them: a number that is broadcast, or else lanes that are
// picked from the vectors of channels of the pixel, mostly one or two. So no zeros are multiplied, and
// nothing of one group meets another.
//
// An output is one chain of multiply-adds from the bias in the order (neighbouring taps, channel, tap).
#include <algorithm>
#include "convolution/direct_layer.h"

BEGIN_KERNELS
namespace {
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int GROUPED_PIXELS = 14;
#else
constexpr int GROUPED_PIXELS = 8;
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
        for (int i = 0; i < LANES; ++i)
            if ((at[i] + c) % (single ? BLOCK : LANES) == 0) return true;
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

template <int P>
void grouped_tile(const real* x, const real* w, const Run* runs, i64 count, const TapRun* taps, i64 tap_count,
                  const Target& t, const Epilogue& e) {
    V acc[P];
    const V start = t.bias ? load(t.bias) : V{};
    #pragma GCC unroll 16
    for (int p = 0; p < P; ++p) acc[p] = start;
    for (i64 k = 0; k < tap_count; ++k)
        for (i64 r = 0; r < count; ++r) {
            const real *xs = x + taps[k].input, *ws = w + taps[k].weight + runs[r].begin * BLOCK;
            switch (taps[k].count) {
                case 1: add_run<1>(acc, xs, ws, taps[k].apart, runs[r]); break;
                case 2: add_run<2>(acc, xs, ws, taps[k].apart, runs[r]); break;
                default: add_run<MOST_TOGETHER>(acc, xs, ws, taps[k].apart, runs[r]);
            }
        }
    if (t.residual)
        #pragma GCC unroll 16
        for (int p = 0; p < P; ++p) acc[p] += load(t.residual + p * BLOCK);
    #pragma GCC unroll 16
    for (int p = 0; p < P; ++p) store(t.y + p * BLOCK, e.clamp(acc[p]));
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

using GroupedTile = void (*)(const real*, const real*, const Run*, i64, const TapRun*, i64, const Target&,
                             const Epilogue&);
template <int... P> GroupedTile grouped_tile_of(i64 pixels, std::integer_sequence<int, P...>) {
    static constexpr GroupedTile table[] = {grouped_tile<P + 1>...};
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

private:
    i64 counted(const Grouping& g, i64 filters) {
        first[0] = 0;
        for (i64 v = 0; v < vectors; ++v) first[v + 1] = first[v] + g.runs_of(v * LANES, filters, nullptr);
        return first[vectors];
    }
};

// Output rows [begin, end) of a unit
void grouped_rows(const Grouped& g, i64 sample, i64 unit, i64 begin, i64 end) {
    Layer l = g.layer;
    l.group_blocks = g.x_blocks(unit);
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
    const i64 tiles = (p.w + GROUPED_PIXELS - 1) / GROUPED_PIXELS;
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
        for (i64 k = k0; k < k1; ++k)
            for (i64 i = 0; i < tiles; ++i) {
                const i64 from = p.w * i / tiles, to = p.w * (i + 1) / tiles, at = (oy * l.y.w + from) * BLOCK;
                real* y = l.y.at(sample, k) + at;
                for (i64 v = (k - k0) * BV; v < (k - k0 + 1) * BV; ++v) {
                    const i64 part = v % BV * LANES;
                    const Target t{y + part, l.residual ? l.residual.at(sample, k) + at + part : nullptr,
                                   BLOCK, 0, 0, l.bias ? l.bias + k * BLOCK + part : nullptr};
                    grouped_tile_of(to - from, std::make_integer_sequence<int, GROUPED_PIXELS>{})(
                        input + from * BLOCK, l.weight + k * l.w_filter + part, runs.runs + runs.first[v],
                        runs.first[v + 1] - runs.first[v], together, n, t, l.epilogue);
                }
                l.epilogue.finish(y, (to - from) * BLOCK);
            }
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
    // chunks of rows whose input stays in the nearest cache, as few filters share it
    const i64 row = g.layer.x.w * g.layer.group_blocks * BLOCK * p.stride_h,
              rows = least(p.h, 1 + (STRIP_VALUES / 8) / (row + 1)), chunks = (p.h + rows - 1) / rows;
    const i64 work = p.w * rows * R * S * each * g.layer.group_filters * BLOCK;
    parallel_for(y.n * units * chunks, 1 + 400000 / (work + 1), [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const i64 chunk = i % chunks, unit = i / chunks % units, sample = i / chunks / units;
            grouped_rows(g, sample, unit, p.h * chunk / chunks, p.h * (chunk + 1) / chunks);
        }
    });
}
END_KERNELS
