// What direct convolutions of maps in blocked layout (blocked_direct.cpp, blocked_grouped.cpp) have in
// common: layers as lists of taps, and the rows of the input that a task reads.
//
// A convolution is a list of taps, each a displacement of the input; one with stride s in its
// transpose is s lists an axis, one for each phase of its output positions. Rows of the input that
// lie outside are skipped tap by tap. Where columns lie outside, or the stride is not one, the rows
// a task needs are first laid into a strip: padded, and the columns split by phase, so that
// neighbouring outputs always read neighbouring inputs. That costs one pass over the input where
// each value is used filters x taps / stride^2 times.
#pragma once
#include "convolution/blocked_tile.h"
#include "gathered.h"

BEGIN_KERNELS
namespace {
// 256 KB: a strip, or the part of the input a task walks over, leaves L2 room for weights
constexpr i64 STRIP_VALUES = 64 << 10;

// input (oy * stride + dy, ox * stride + dx); weights in values from the channel block's
struct Tap { i64 dy, dx, weight; };

// One phase: outputs (oy, ox) of [0, h) x [0, w) go to y[(oy * place_h + at_h, ox * place_w + at_w)].
struct Phase {
    i64 h, w, stride_h, stride_w;
    i64 place_h, place_w, at_h, at_w;
    const Tap* taps;
    i64 count;
};

struct Layer {
    InMap<real>  x;      // planar input: blocks = 1, and a "block" is all channels of an image
    i64          x_channels;             // planar input: its channels; they count as taps
    // channels, blocks of them, filter blocks of a group
    i64          group_channels, group_blocks, group_filters;
    const real  *weight, *bias;
    // values from a channel block to the next, from a filter block to the next
    i64          w_block, w_filter;
    InMap<real>  residual;
    OutMap<real> y;
    Epilogue     epilogue;
    // the input is max(x scale + shift, 0), a number a channel: a batch norm and its relu
    const real  *scale = nullptr, *shift = nullptr;
    // the input is x gate, a number a sample and channel (n, channels), as
    // squeeze-and-excitation has it
    const real*  gate = nullptr;
    i64          channels = 0;           // of gate
    bool         half = false;           // the last block has 8 filters at most

    bool changes_input() const { return scale || gate; }
    bool ends_in_half(i64 last) const { return half && last == y.blocks; }
};

inline i64 least(i64 a, i64 b) { return a < b ? a : b; }

template <int... I> inline V odd_lanes(V a, V b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (2 * I + 1)...);
}

// Extremes of the taps' displacements
struct Reach {
    i64 top = 1 << 30, bottom = -(1 << 30), left = 1 << 30, right = -(1 << 30);
    explicit Reach(const Phase& p) {
        for (i64 t = 0; t < p.count; ++t) {
            top    = least(top, p.taps[t].dy);
            left   = least(left, p.taps[t].dx);
            bottom = -least(-bottom, -p.taps[t].dy);
            right  = -least(-right, -p.taps[t].dx);
        }
    }
};

// The rows [first, first + rows) of the input laid out as [block][row][column phase][column][STEP],
// zeros where columns lie outside.
template <int STEP> struct Strip {
    i64 first, rows, columns, phases;   // columns of one phase
    i64 row() const { return phases * columns * STEP; }
    // Blocks of channels lie an odd number of cache lines apart, so that they share no set of the cache.
    i64 block() const { return STEP == 1 ? rows * row() : (rows * row() / STEP | 1) * STEP; }
    bool same(const Strip& o) const {
        return first == o.first && rows == o.rows && columns == o.columns && phases == o.phases;
    }

    void fill(const Layer& l, i64 sample, i64 from, i64 blocks, i64 left, real* to) const {
        const InMap<real>& x = l.x;
        alignas(64) real gate[BLOCK] = {};
        real* const begin = to;
        for (i64 b = 0; b < blocks; ++b) {
            to = begin + b * this->block();
            const i64 block = from + b;
            Change change{l.scale ? l.scale + block * STEP : nullptr,
                          l.shift ? l.shift + block * STEP : nullptr, nullptr};
            if (STEP > 1 && l.gate) {
                std::memcpy(gate, l.gate + sample * l.channels + block * STEP,
                            least(BLOCK, l.channels - block * STEP) * sizeof(real));
                change.gate = gate;
            }
            for (i64 r = 0; r < rows; ++r) {
                const real* row_of_x = x.data + sample * x.sample + (block * x.h + first + r) * x.w * STEP;
                if (STEP == 1 && phases == 2) {
                    fill_both_phases(row_of_x, x.w, left, to);
                    to += row();
                    continue;
                }
                for (i64 f = 0; f < phases; ++f, to += columns * STEP)
                    fill_row(row_of_x, x.w, left + f, change, to);
            }
        }
    }

private:
    struct Change { const real *scale, *shift, *gate; };   // of a block of channels, as in Layer

    // Columns [at, at + LANES) of a row of w, zeros beyond its ends
    static V columns_from(const real* row, i64 at, i64 w) {
        const i64 first = at < 0 ? least(-at, LANES) : 0, end = at < w ? least(w - at, LANES) : 0;
        return load(row + at, lane_range((int)first, (int)end));
    }

    // Columns start, start + 2, ... of a row of w, and those between them
    void fill_both_phases(const real* row, i64 w, i64 start, real* even) const {
        real* odd = even + columns;
        for (i64 c = 0; c < columns; c += LANES) {
            const i64 at = start + 2 * c, n = least(LANES, columns - c);
            const bool edge = at < 0 || at + 2 * LANES > w;
            const V a = edge ? columns_from(row, at, w) : load(row + at),
                    b = edge ? columns_from(row, at + LANES, w) : load(row + at + LANES);
            if (n == LANES) {
                store(even + c, even_lanes(a, b));
                store(odd + c, odd_lanes(a, b, EveryLane{}));
            } else {
                store(even + c, even_lanes(a, b), (int)n);
                store(odd + c, odd_lanes(a, b, EveryLane{}), (int)n);
            }
        }
    }

    // columns start, start + phases, ... of a row of w
    void fill_row(const real* row, i64 w, i64 start, const Change& change, real* to) const {
        i64 before = start < 0 ? (-start + phases - 1) / phases : 0;
        if (before > columns) before = columns;
        i64 end = start < w ? (w - 1 - start) / phases + 1 : 0;
        if (end > columns) end = columns;
        if (end < before) end = before;
        for (i64 i = 0; i < before * STEP; ++i) to[i] = 0;
        const real* from = row + (start + before * phases) * STEP;
        if (STEP > 1 && change.scale) {
            for (i64 c = before; c < end; ++c, from += phases * STEP)
                #pragma GCC unroll 4
                for (int v = 0; v < STEP; v += LANES)
                    store(to + c * STEP + v,
                          vmax(V{}, load(from + v) * load(change.scale + v) + load(change.shift + v)));
        } else if (STEP > 1 && change.gate) {
            for (i64 c = before; c < end; ++c, from += phases * STEP)
                #pragma GCC unroll 4
                for (int v = 0; v < STEP; v += LANES)
                    store(to + c * STEP + v, load(from + v) * load(change.gate + v));
        } else if (STEP > 1) {
            for (i64 c = before; c < end; ++c, from += phases * STEP)
                #pragma GCC unroll 4
                for (int v = 0; v < STEP; v += LANES) store(to + c * STEP + v, load(from + v));
        } else {
            for (i64 c = before; c < end; c += LANES, from += phases * LANES) {
                const int n = (int)least(LANES, end - c);
                const V v = load_every(from, phases, n);
                if (n == LANES) store(to + c, v);
                else store(to + c, v, n);
            }
        }
        for (i64 i = end * STEP; i < columns * STEP; ++i) to[i] = 0;
    }
};

// Outputs [begin, end) of a row.
struct Span { i64 begin, end; };

// A row's outputs by which of their taps lie within the image's columns; one span of all where it
// would not pay to tell them apart. Of a stride of one, and no strip is needed.
struct Spans {
    static constexpr int MOST = 16;
    Span spans[MOST];
    int  count = 0;

    explicit Spans(const Phase& p) : count(1) { spans[0] = {0, p.w}; }

    Spans(const Layer& l, const Phase& p) : Spans(p) {
        if (p.stride_w != 1 || l.changes_input()) return;
        i64 cuts[MOST + 1] = {0}, taps = 0;
        int n = 1;
        for (i64 t = 0; t < p.count; ++t) {
            const i64 dx = p.taps[t].dx, ends[] = {-dx, l.x.w - dx};
            for (const i64 end : ends) {
                if (end <= 0 || end >= p.w) continue;
                int at = 0;
                while (at < n && cuts[at] < end) ++at;
                if (at < n && cuts[at] == end) continue;
                if (n == MOST) return;
                for (int i = n++; i > at; --i) cuts[i] = cuts[i - 1];
                cuts[at] = end;
            }
        }
        cuts[n] = p.w;
        // A span narrower than a tile multiplies as many weights for fewer pixels.
        i64 least_work = 0;
        for (int i = 0; i < n; ++i) {
            const i64 width = cuts[i + 1] - cuts[i];
            for (i64 t = 0; t < p.count; ++t)
                if (inside(p.taps[t].dx, {cuts[i], cuts[i + 1]}, l.x.w)) {
                    least_work += width + NARROW;
                    ++taps;
                }
        }
        if (!taps || least_work * 8 > p.count * (p.w + NARROW) * 7) return;
        count = n;
        for (int i = 0; i < n; ++i) spans[i] = {cuts[i], cuts[i + 1]};
    }

    // Whether a tap of a whole span reads the image.
    static bool inside(i64 dx, const Span& s, i64 w) { return s.begin + dx >= 0 && s.end - 1 + dx < w; }

private:
    static constexpr i64 NARROW = 2;   // pixels that a span more costs as much as
};

// The taps inside the image of the outputs whose tap (0, 0) lies in row `first`, their inputs
// counted from there and from column `left`; a row has `columns` of each phase. `span`: those inside
// of all its columns. Planar input: for every channel. Returns how many.
inline i64 list_taps(const Layer& l, const Phase& p, i64 first, const Span* span, i64 left, i64 columns, i64 x_block,
              i64 x_row, i64 step, TileTap* taps) {
    i64 n = 0;
    for (i64 c = 0; c < (step == 1 ? l.x_channels : 1); ++c)
        for (i64 t = 0; t < p.count; ++t) {
            const Tap& tap = p.taps[t];
            if (first + tap.dy < 0 || first + tap.dy >= l.x.h) continue;
            if (span && !Spans::inside(tap.dx, *span, l.x.w)) continue;
            const i64 column = tap.dx - left,
                      place = p.stride_w == 1 ? column : column % p.stride_w * columns + column / p.stride_w;
            taps[n++] = {c * x_block + tap.dy * x_row + place * step, c * l.w_block + tap.weight};
        }
    return n;
}

// The rows of the input that a task reads, laid out for its phases; kept from one phase to the next
// if that asks for the same.
template <int STEP> struct Laid {
    Strip<STEP> strip{};
    i64 left = 0;
    Scratch<real> values;
    bool filled = false;
    explicit Laid(i64 most) : values(most) {}

    void lay(const Layer& l, i64 sample, i64 first_block, i64 blocks, const Strip<STEP>& wanted,
             i64 wanted_left) {
        if (filled && strip.same(wanted) && left == wanted_left) return;
        strip = wanted;
        left  = wanted_left;
        filled = true;
        strip.fill(l, sample, first_block, blocks, left, values);
    }
};

// What outputs of a phase read: whether in place, or else the strip for rows [begin, end).
template <int STEP> struct Source {
    Reach reach;
    Spans spans;
    bool  in_place;
    Strip<STEP> strip;
    i64   blocks;
    // cut: rows may be cut into spans
    Source(const Layer& l, const Phase& p, i64 begin, i64 end, bool cut = true)
        : reach(p), spans(cut ? Spans(l, p) : Spans(p)),
          in_place(!p.count || spans.count > 1 ||
                   (!l.changes_input() && p.stride_w == 1 && reach.left >= 0 &&
                    p.w + reach.right <= l.x.w && !collides(l))),
          blocks(STEP == 1 ? l.x_channels : l.group_blocks) {
        i64 top = begin * p.stride_h + reach.top, bottom = (end - 1) * p.stride_h + reach.bottom + 1;
        if (top < 0) top = 0;
        if (bottom > l.x.h) bottom = l.x.h;
        if (bottom < top) bottom = top;
        const i64 width = (p.w - 1) * p.stride_w + reach.right - reach.left + 1;
        strip = {top, bottom - top, (width + p.stride_w - 1) / p.stride_w, p.stride_w};
    }
    i64 size() const { return in_place ? 0 : blocks * strip.block(); }

private:
    // Planes a multiple of 32 KB apart meet in few sets of the second-level cache: blocks of
    // channels would drive each other out.
    static bool collides(const Layer& l) {
        return STEP > 1 && l.group_blocks >= 8 && l.y.blocks > MAX_Q &&
               l.x.h * l.x.w * STEP * (i64)sizeof(real) % (32 << 10) == 0;
    }
};

// 1x1 with stride 1 is the same for every pixel: rows are of no account. They are cut anew, into
// lengths of whole tiles.
constexpr i64 LONGEST = 56;
inline void flatten(Layer& l, Phase& p) {
    const i64 pixels = l.y.h * l.y.w;
    i64 length = 1;
    for (i64 n = least(pixels, LONGEST); n > 1; --n)
        if (pixels % n == 0) { length = n; break; }
    if (length < MAX_P && length < pixels) return;   // no good divisor: keep the rows there are
    l.x.h = l.y.h = l.residual.h = pixels / length;
    l.x.w = l.y.w = l.residual.w = length;
    p.h = pixels / length;
    p.w = length;
}

inline bool is_pointwise(const Window& w) {
    return w.kernel[0] * w.kernel[1] == 1 && w.stride[0] == 1 && w.stride[1] == 1 && w.padding[0] == 0 &&
           w.padding[1] == 0;
}

// The one phase of a convolution with results like y, and its taps.
inline Phase plain_phase(const Window& window, const OutMap<real>& y, Tap* taps) {
    const auto& [kernel, stride, padding, dilation] = window;
    const i64 R = kernel[0], S = kernel[1];
    for (i64 r = 0; r < R; ++r)
        for (i64 s = 0; s < S; ++s)
            taps[r * S + s] = {r * dilation[0] - padding[0], s * dilation[1] - padding[1],
                               (r * S + s) * BLOCK * BLOCK};
    return {y.h, y.w, stride[0], stride[1], 1, 1, 0, 0, taps, R * S};
}
}  // namespace
END_KERNELS
