// Direct convolution in blocked layout: every kernel size, stride, dilation and group of whole blocks of
// channels, and its transpose. Other groups: blocked_grouped.cpp.
#include "blocked/labels.h"
#include "convolution/blocked_rows.h"
#include "convolution/direct_few.h"
#include "convolution/direct_layer.h"

BEGIN_KERNELS
namespace {
// Maps that other maps will have driven out of the caches by the time they are read again
bool outgrows(i64 channels, i64 pixels) { return channels * pixels * (i64)sizeof(real) > (2 << 20); }

constexpr i64 FILTERS_BYTES = 512 << 10;   // that stay in the second-level cache from a row to the next

// What is fetched while a row of outputs is made: `lines` pixels from `x` on, of each block.
struct Following {
    const real* x = nullptr;
    i64 lines = 0;
    // `rows` of them from `row` on, which may be the next sample's. step: values of a pixel
    Following(const Layer& l, i64 sample, i64 first_block, i64 row, i64 rows, i64 step) {
        if (!outgrows(l.x.n * (step == 1 ? l.x_channels : l.x.blocks * BLOCK), l.x.h * l.x.w)) return;
        if (row >= l.x.h) row -= l.x.h, ++sample;
        if (sample >= l.x.n || row >= l.x.h) return;
        x     = l.x.data + sample * l.x.sample + (first_block * l.x.h + row) * l.x.w * step;
        lines = (least(rows, l.x.h - row) * l.x.w * step + BLOCK - 1) / BLOCK;
    }
};

// Tiles [at, at + tiles of this row) of all those that multiply the same filters, which fetch the next
// ones: the first few, in which lines lie far enough apart. A layer of few pixels would wait for its weights.
struct NextFilters {
    static constexpr i64 TILES = 8;
    i64 at = TILES, of = 0;

    void fetch(Ahead& ahead, const Layer& l, const Reduction& r, i64 k, i64 q, i64 tile) const {
        const i64 piece = at + tile, pieces = least(of, TILES);
        ahead.x = nullptr;
        if (piece >= pieces || k + q >= l.y.blocks) return;
        const i64 lines = least(q, l.y.blocks - k - q) * l.w_filter / BLOCK, begin = lines * piece / pieces,
                  blocks = (r.channels + BLOCK - 1) / BLOCK;
        ahead.x       = l.weight + (k + q) * l.w_filter + begin * BLOCK;
        ahead.lines   = (lines * (piece + 1) / pieces - begin + blocks - 1) / blocks;
        ahead.x_block = ahead.lines * BLOCK;
        ahead.turn    = 0;
        ahead.x_shift = Ahead::shift(ahead.lines, r.count);
    }
};

// Lines [begin, end) of a row of each channel of a planar map, which tiles have no time to fetch
void fetch_channels(const Layer& l, const Following& following, i64 begin, i64 end) {
    for (i64 c = 0; c < l.x_channels; ++c)
        for (i64 line = begin; line < end; ++line)
            __builtin_prefetch(following.x + c * l.x.h * l.x.w + line * BLOCK, 0, 2);
}

// The filter blocks [k0, k1), all of one group, at a span of the output row oy, in tiles as t has them.
// `input` is what the row's tap (dy, dx) = (0, 0) would read first.
template <int STEP>
void convolve_row(const Layer& l, const Phase& p, const Span& span, const Tiling& t, const Reduction& r,
                  const real* input, i64 sample, i64 oy, i64 k0, i64 k1, const Following& following,
                  const NextFilters& next) {
    const i64 length = span.end - span.begin;
    const bool half_last = l.ends_in_half(k1);
    const i64 row = (oy * p.place_h + p.at_h) * l.y.w + p.at_w;
    Ahead ahead{nullptr, l.x.h * l.x.w * STEP, 0, 0, (k1 - k0 + t.q - 1) / t.q,
                outgrows(l.y.n * l.y.blocks * BLOCK, l.y.h * l.y.w)};
    ahead.x_shift = Ahead::shift(following.lines / t.tiles + 1, ahead.turns * r.count);
    ahead.y_shift = Ahead::shift(t.q * TILE_LINES, r.count * ((r.channels + BLOCK - 1) / BLOCK));
    for (i64 k = k0; k < k1; k += t.q, ++ahead.turn) {
        const int q = (int)least(t.q, k1 - k);
        const bool half = half_last && k + q == k1 && has_half_tile(q);
        const i64 tiles = half ? half_tiles(length, t.tiles) : t.tiles;
        for (i64 i = 0; i < tiles; ++i) {
            const i64 from = span.begin + length * i / tiles, to = span.begin + length * (i + 1) / tiles,
                      at = (row + from * p.place_w) * BLOCK;
            const Target target{l.y.at(sample, k) + at, l.residual ? l.residual.at(sample, k) + at : nullptr,
                                p.place_w * BLOCK,      l.y.plane(),
                                l.residual.plane(),     l.bias ? l.bias + k * BLOCK : nullptr};
            if (following.x && STEP == 1) {
                if (k == k0)
                    fetch_channels(l, following, following.lines * i / tiles, following.lines * (i + 1) / tiles);
            } else if (following.x) {
                const i64 begin = following.lines * i / tiles;
                ahead.x         = following.x + begin * STEP;
                ahead.lines     = following.lines * (i + 1) / tiles - begin;
            } else if (STEP == BLOCK) {
                next.fetch(ahead, l, r, k, t.q, i);
            }
            tile_of<STEP>((int)(to - from), q, ahead, half)(input + from * STEP, l.weight + k * l.w_filter, r, target,
                                               l.epilogue, ahead);
        }
    }
}

// Output rows [begin, end) of a phase for the filter blocks [k0, k1) of one group
template <int STEP>
void convolve_rows(const Layer& l, const Phase& p, i64 sample, i64 begin, i64 end, i64 k0, i64 k1,
                   Laid<STEP>& laid) {
    const Source<STEP> source(l, p, begin, end);
    const bool in_place = source.in_place;
    const i64 first_block = STEP == 1 ? 0 : k0 / l.group_filters * l.group_blocks;
    const Strip<STEP>& strip = source.strip;
    Scratch<TileTap> taps(p.count * (STEP == 1 ? l.x_channels : 1));
    if (!in_place) laid.lay(l, sample, first_block, source.blocks, strip, source.reach.left);
    const real* base = in_place ? l.x.data + sample * l.x.sample + first_block * l.x.h * l.x.w * STEP
                                : (const real*)laid.values;
    const i64 x_block = in_place ? l.x.h * l.x.w * STEP : strip.block(),
              x_row = in_place ? l.x.w * STEP : strip.row();
    const i64 origin = in_place ? 0 : strip.first, left = in_place ? 0 : source.reach.left;
    const auto row = [&](i64 oy, const Span& span, const Tiling& t, i64 n, i64 k_begin, i64 k_end,
                         const NextFilters& filters) {
        const Reduction r{taps, n, STEP == 1 ? 1 : l.group_channels, x_block, l.w_block, l.w_filter};
        // in place the row that the next one reads first, or else a part of the next task's
        const i64 next = in_place ? (oy + 1) * p.stride_h + source.reach.bottom
                                  : strip.first + strip.rows + (oy - begin) * p.stride_h;
        const Following following(l, sample, first_block, next, p.stride_h, STEP);
        convolve_row<STEP>(l, p, span, t, r, base + (oy * p.stride_h - origin) * x_row, sample, oy, k_begin,
                           k_end, following, filters);
    };
    const auto list = [&](i64 oy, const Span* span) {
        return list_taps(l, p, oy * p.stride_h, span, left, strip.columns, x_block, x_row, STEP, taps);
    };
    if (source.spans.count > 1) {
        // few taps a span, so that their weights stay in L2 from row to row
        for (i64 k = k0; k < k1; k += MAX_Q) {
            const i64 k_end = least(k + MAX_Q, k1);
            Tiling tilings[Spans::MOST];
            for (int i = 0; i < source.spans.count; ++i)
                tilings[i] = tiling(source.spans.spans[i].end - source.spans.spans[i].begin, k_end - k,
                                    l.ends_in_half(k_end));
            for (i64 oy = begin; oy < end; ++oy)
                for (int i = 0; i < source.spans.count; ++i) {
                    const Span& span = source.spans.spans[i];
                    row(oy, span, tilings[i], list(oy, &span), k, k_end, {});
                }
        }
        return;
    }
    // Filters that outgrow the second-level cache are taken one tile's after the other, by all rows.
    const Tiling t = tiling(source.spans.spans[0].end, k1 - k0, l.ends_in_half(k1));
    const bool apart = (k1 - k0) * l.w_filter * (i64)sizeof(real) > FILTERS_BYTES;
    const i64 together = apart ? t.q : k1 - k0;
    for (i64 k = k0; k < k1; k += together) {
        const i64 k_end = least(k + together, k1);
        const Tiling tiles = k_end - k == k1 - k0 ? t : tiling(source.spans.spans[0].end, k_end - k,
                                                                       l.ends_in_half(k_end));
        // The list of taps holds for every row that has all of them, or else is made anew.
        i64 n = 0;
        bool whole = false;
        for (i64 oy = begin; oy < end; ++oy) {
            const i64 first = oy * p.stride_h;
            const bool all = first + source.reach.top >= 0 && first + source.reach.bottom < l.x.h;
            if (!all || !whole) n = list(oy, nullptr);
            whole = all;
            const NextFilters filters{(oy - begin) * t.tiles, apart ? (end - begin) * t.tiles : t.tiles};
            row(oy, source.spans.spans[0], tiles, n, k, k_end, filters);
        }
    }
}

// How a layer is cut into tasks: chunks of rows whose input leaves room in L2, and parts of
// the filters, each within one group, where there are too few rows for the threads or the
// weights outweigh the input by far: both threads read it all then, half of it from the other's cache,
// which takes longer than weights from the cache that they share.
struct Cut {
    static constexpr i64 OUTWEIGH = 4;
    i64 chunks, parts;

    Cut(const Layer& l, const Phase& p, i64 per_row) {
        const i64 filters = l.y.blocks, groups = filters / l.group_filters, threads = threads_now();
        i64 rows = STRIP_VALUES / (per_row * p.stride_h + 1);
        rows   = rows < 1 ? 1 : rows > p.h ? p.h : rows;
        chunks = (p.h + rows - 1) / rows;
        parts  = groups;
        if (p.h < threads || filters * l.w_filter > OUTWEIGH * l.y.n * l.x.h * per_row) {
            const i64 most = l.group_filters / MAX_Q > 0 ? l.group_filters / MAX_Q : 1;
            for (i64 split = threads; split > 1; --split)
                if (most >= split) { parts = groups * split; break; }
        }
        // Few tasks come out even among the threads, by more chunks of rows.
        while (chunks < p.h && parts * l.y.n * chunks < 8 * threads && parts * l.y.n * chunks % threads)
            ++chunks;
    }
};

// A task takes all phases of its rows, which read the same input.
template <int STEP> void convolve(const Layer& l, const Phase* phases, i64 count) {
    const i64 filters = l.y.blocks, per_row = l.x.w * (STEP == 1 ? l.x_channels : l.group_blocks * BLOCK);
    i64 taps = 0, largest = 0;   // largest: the first of the phases with most outputs
    for (i64 f = 0; f < count; ++f) {
        taps += phases[f].count;
        if (phases[f].h * phases[f].w > phases[largest].h * phases[largest].w) largest = f;
    }
    const Phase& p = phases[largest];
    if (p.h <= 0 || p.w <= 0) return;
    const Cut cut(l, p, per_row);
    // parts of a group
    const i64 images = l.y.n * cut.chunks, part_filters = cut.parts / (filters / l.group_filters);
    const i64 work = p.h * p.w * l.group_channels * taps * (STEP == 1 ? l.x_channels : 1) * filters /
                     cut.parts * BLOCK / cut.chunks;
    const auto rows_of = [&](const Phase& phase, i64 chunk) {
        return phase.h > 0 ? phase.h * chunk / cut.chunks : 0;
    };
    parallel_for(cut.parts * images, 1 + 400000 / (work + 1), [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const i64 part = i / images, sample = i % images / cut.chunks, chunk = i % cut.chunks;
            const i64 group = part / part_filters, inner = part % part_filters;
            const i64 k0 = group * l.group_filters + l.group_filters * inner / part_filters;
            const i64 k1 = group * l.group_filters + l.group_filters * (inner + 1) / part_filters;
            i64 most = 0;
            for (i64 f = 0; f < count; ++f) {
                const i64 size =
                    Source<STEP>(l, phases[f], rows_of(phases[f], chunk), rows_of(phases[f], chunk + 1))
                        .size();
                if (size > most) most = size;
            }
            Laid<STEP> laid(most);
            for (i64 f = 0; f < count; ++f) {
                const i64 from = rows_of(phases[f], chunk), to = rows_of(phases[f], chunk + 1);
                if (from < to && phases[f].w > 0)
                    convolve_rows<STEP>(l, phases[f], sample, from, to, k0, k1, laid);
            }
        }
    });
}

// The likeliest class of each output, whose scores are made a few rows at a time and never stored.
void convolve_labels(const Layer& l, const Phase& p, i64 classes, const OutAny& y) {
    const i64 read = l.x.w * l.group_blocks * BLOCK * p.stride_h, made = l.y.blocks * p.w * BLOCK;
    const i64 rows = STRIP_VALUES / ((read < made ? made : read) + 1) + 1;
    const i64 chunks = -least(-(p.h + rows - 1) / rows, -least(p.h, 2 * threads_now()));
    parallel_for(l.y.n * chunks, 1, [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const i64 sample = i / chunks, from = p.h * (i % chunks) / chunks, to = p.h * (i % chunks + 1) / chunks;
            Scratch<real> scores((to - from) * made);
            Layer part = l;
            part.y = {scores, 1, l.y.blocks, to - from, p.w, 0};
            Phase piece = p;
            piece.at_h  = -from;
            Laid<BLOCK> laid(Source<BLOCK>(part, piece, from, to).size());
            convolve_rows<BLOCK>(part, piece, sample, from, to, 0, l.y.blocks, laid);
            store_labels(scores, part.y.plane(), classes, (to - from) * p.w, y, (sample * p.h + from) * p.w);
        }
    });
}

// How many blocks of channels are added up at a time. A row cut into spans reads the weights anew for
// each of them: those of more channels than the second-level cache holds would come from behind it.
// However few the filters: a call of some of a layer's makes the sums that one of all of them does.
i64 channels_at_once(const Layer& l, const Phase& p) {
    const i64 kept = (512 << 10) / (i64)sizeof(real);
    if (MAX_Q * l.w_filter <= 2 * kept || l.group_filters != l.y.blocks || Spans(l, p).count == 1)
        return l.group_blocks;
    const i64 most = kept / (MAX_Q * l.w_block), pieces = most ? (l.group_blocks + most - 1) / most : l.group_blocks;
    return (l.group_blocks + pieces - 1) / pieces;
}

// A layer of one group, `blocks` of its channels after another; each piece but the first adds to what
// lies in y, and the last one activates.
void convolve_by_channels(const Layer& l, const Phase& p, i64 blocks) {
    for (i64 b = 0; b < l.group_blocks; b += blocks) {
        Layer part = l;
        const bool last = b + blocks >= l.group_blocks;
        part.x.data += b * l.x.h * l.x.w * BLOCK;
        part.weight += b * l.w_block;
        part.group_blocks   = last ? l.group_blocks - b : blocks;
        part.group_channels = last ? l.group_channels - b * BLOCK : blocks * BLOCK;
        if (b > 0) {
            part.bias     = nullptr;
            part.residual = {l.y.data, l.y.n, l.y.blocks, l.y.h, l.y.w, l.y.sample};
        }
        if (!last) part.epilogue = Epilogue({Activation::CLAMP, -__builtin_inf(), __builtin_inf()});
        convolve<BLOCK>(part, &p, 1);
    }
}

Layer layer_of(InMap<real> x, In<real> weight, In<real> bias, InMap<real> residual, i64 channels, i64 groups,
               const Epilogue& e, OutMap<real> y) {
    const i64 taps = weight.dim(2) * weight.dim(3);
    return {x, 0, channels / groups, weight.dim(1), y.blocks / groups, weight.data, bias.data,
            taps * BLOCK * BLOCK, weight.dim(1) * taps * BLOCK * BLOCK, residual, y, e};
}
}  // namespace

void convolve_pixels(const PixelRun& run, i64 first, i64 last, const Epilogue& e) {
    const TileTap tap{0, 0};
    const i64 w_filter = (run.channels + BLOCK - 1) / BLOCK * BLOCK * BLOCK;
    const Reduction r{&tap, 1, run.channels, run.x_block, BLOCK * BLOCK, w_filter};
    const Tiling t = tiling(run.pixels, last - first, run.half);
    // Weights that outgrow the second-level cache are met a tile's after the other, by all pixels.
    const bool by_filters = (last - first) * w_filter * (i64)sizeof(real) > FILTERS_BYTES;
    Ahead ahead{nullptr, run.x_block, 0, 0, by_filters ? 1 : (last - first + t.q - 1) / t.q, run.far_y};
    ahead.x_shift = Ahead::shift(run.pixels / t.tiles + 1, ahead.turns);
    ahead.y_shift = Ahead::shift(t.q * TILE_LINES, (run.channels + BLOCK - 1) / BLOCK);
    const auto tile = [&](i64 i, i64 tiles, i64 k) {
        const i64 from = run.pixels * i / tiles, to = run.pixels * (i + 1) / tiles;
        const int q = (int)least(t.q, last - k);
        const bool half = run.half && k + q == last && has_half_tile(q);
        ahead.x     = run.far_x && (!by_filters || k == first) ? run.x + to * BLOCK : nullptr;   // the next tile's
        ahead.lines = to - from;
        ahead.turn  = by_filters ? 0 : (k - first) / t.q;
        const Target target{run.y + (k - first) * run.y_block + from * BLOCK,
                            run.residual ? run.residual + (k - first) * run.residual_block + from * BLOCK : nullptr,
                            BLOCK,
                            run.y_block,
                            run.residual_block,
                            run.bias ? run.bias + k * BLOCK : nullptr};
        tile_of<BLOCK>((int)(to - from), q, ahead, half)(run.x + from * BLOCK, run.weight + k * w_filter, r, target,
                                                         e, ahead);
    };
    // half a block that has other tiles comes last
    const i64 others = run.half ? half_tiles(run.pixels, t.tiles) : t.tiles, end = others == t.tiles ? last : last - 1;
    if (by_filters)
        for (i64 k = first; k < end; k += t.q)
            for (i64 i = 0; i < t.tiles; ++i) tile(i, t.tiles, k);
    else
        for (i64 i = 0; i < t.tiles; ++i)
            for (i64 k = first; k < end; k += t.q) tile(i, t.tiles, k);
    if (end < last)
        for (i64 i = 0; i < others; ++i) tile(i, others, end);
}

// weight: (filter blocks, channel blocks of a group, R, S, 16 channels, 16 filters); groups are whole
// blocks of channels and filters.
// A bias that ends 8 lanes before y's blocks says that these lanes have no filters.
// With scale and shift, whole blocks, the input is max(x scale + shift, 0); with gate, (n,
// channels), it is x gate.
void direct_conv(InMap<real> x, i64 channels, In<real> scale, In<real> shift, In<real> gate, In<real> weight,
                 In<real> bias, InMap<real> residual, Window window, i64 groups, Act act, OutMap<real> y) {
    Layer l = layer_of(x, weight, bias, residual, channels, groups, Epilogue(act), y);
    const WholeBias whole(bias, y.blocks);
    l.bias  = whole.data;
    l.half  = whole.half && groups == 1;
    l.scale = scale.data;
    l.shift = shift.data;
    l.gate  = gate.data;
    l.channels = channels;
    Scratch<Tap> taps(weight.dim(2) * weight.dim(3));
    Phase p = plain_phase(window, y, taps);
    if (has_few_pixels_in_groups(l, p)) return convolve_few_in_groups(l, p);
    if (is_of_few_pixels(l, p)) return convolve_few(l, p);
    if (is_pointwise(window)) flatten(l, p);
    if (l.group_blocks > 0) convolve_by_channels(l, p, channels_at_once(l, p));
    else convolve<BLOCK>(l, &p, 1);
}

// The filter with the largest result at each place: y is (N, H, W), uint8 or int64
void direct_conv_labels(InMap<real> x, i64 channels, In<real> weight, In<real> bias, Window window, Act act,
                        i64 classes, OutAny y) {
    const OutMap<real> scores{nullptr, y.dim(0), weight.dim(0), y.dim(1), y.dim(2), 0};
    Layer l = layer_of(x, weight, bias, {}, channels, 1, Epilogue(act), scores);
    const WholeBias whole(bias, scores.blocks);
    l.bias = whole.data;
    l.half = whole.half;
    const i64 count = weight.dim(2) * weight.dim(3);
    Scratch<Tap> taps(count);
    Phase p = plain_phase(window, scores, taps);
    if (is_pointwise(window)) flatten(l, p);
    if (p.h > 0 && p.w > 0) convolve_labels(l, p, classes, y);
}

// x is planar (N, C, H, W) with few channels; weight: (filter blocks, C, R, S, 16 filters)
void stem_conv(In<real> x, In<real> weight, In<real> bias, Window window, Act act, OutMap<real> y) {
    const auto& [kernel, stride, padding, dilation] = window;
    const Extent e = extent(x);
    const i64 R = weight.dim(2), S = weight.dim(3);
    const InMap<real> image{x.data, e.n, 1, e.h, e.w, e.c * e.h * e.w};
    const Layer l{image,
                  e.c,
                  1,
                  1,
                  y.blocks,
                  weight.data,
                  bias.data,
                  R * S * BLOCK,
                  e.c * R * S * BLOCK,
                  {},
                  y,
                  Epilogue(act)};
    Scratch<Tap> taps(R * S);
    for (i64 r = 0; r < R; ++r)
        for (i64 s = 0; s < S; ++s)
            taps[r * S + s] = {r * dilation[0] - padding[0], s * dilation[1] - padding[1],
                               (r * S + s) * BLOCK};
    const Phase p{y.h, y.w, stride[0], stride[1], 1, 1, 0, 0, taps, R * S};
    if (are_patches(l, window)) return convolve_patches(l, p, R, S);
    convolve<1>(l, &p, 1);
}

// weight as in direct_conv: (filter blocks, channel blocks of a group, R, S, 16 channels, 16 filters)
void transposed_conv(InMap<real> x, i64 channels, In<real> weight, In<real> bias, InMap<real> residual,
                     Window window, Act act, OutMap<real> y) {
    const auto& [kernel, stride, padding, dilation] = window;
    const Layer l = layer_of(x, weight, bias, residual, channels, 1, Epilogue(act), y);
    const i64 R = weight.dim(2), S = weight.dim(3), sh = stride[0], sw = stride[1];
    Scratch<Tap> taps(sh * sw * R * S);
    Scratch<Phase> phases(sh * sw);
    Tap* tap = taps;
    for (i64 ah = 0; ah < sh; ++ah)
        for (
            i64 aw = 0; aw < sw;
            ++aw) {   // outputs oy = s q + ah take input q + (ah + padding - r dilation) / s where that is whole
            i64 n = 0;
            for (i64 r = 0; r < R; ++r)
                for (i64 s = 0; s < S; ++s) {
                    const i64 dy = ah + padding[0] - r * dilation[0], dx = aw + padding[1] - s * dilation[1];
                    if (dy % sh == 0 && dx % sw == 0)
                        tap[n++] = {dy / sh, dx / sw, (r * S + s) * BLOCK * BLOCK};
                }
            phases[ah * sw + aw] = {
                (y.h - ah + sh - 1) / sh, (y.w - aw + sw - 1) / sw, 1, 1, sh, sw, ah, aw, tap, n};
            tap += n;
        }
    convolve<BLOCK>(l, phases, sh * sw);
}
END_KERNELS
