// Pooling in blocked layout: a vector holds a pixel's channels, so windows of any kind are
// plain loops over pixels.
//
// Small windows, as networks have them, run in tiles of P neighbouring outputs: each column of
// inputs under the tile is reduced over the window's rows once, in a register, and then shared by
// the windows that have it. Others reduce the columns of a whole row first, then each window's.
// Either way a window is the same chain, rows within a column and then columns, wherever it lies.
#include <limits>
#include "blocked/epilogue.h"

BEGIN_KERNELS
namespace {
#if defined(__AVX512F__)
constexpr int MOST_PIXELS = 8;
#else
constexpr int MOST_PIXELS = 4;
#endif
constexpr int SEEN = 4;   // chains of what a band has seen: one alone would wait for its additions

// One axis of the windows
struct Axis {
    i64 kernel, stride, padding, dilation, in;

    i64 start(i64 o) const { return o * stride - padding; }
    // The taps of output o that lie inside the image
    struct Inside { i64 begin, count; };
    Inside inside(i64 o) const {
        const i64 at = start(o);
        if (at >= 0 && at + (kernel - 1) * dilation < in) return {0, kernel};
        const i64 begin = at < 0 ? (-at + dilation - 1) / dilation : 0,
                  end = at < in ? (in - 1 - at) / dilation + 1 : 0;
        return {begin, (end < kernel ? end : kernel) - begin};
    }
};

Axis axis(const Window& w, int i, i64 in) {
    return {w.kernel[i], w.stride[i], w.padding[i], w.dilation[i], in};
}

// NaN wins, as in torch.
struct Largest {
    static V start() { return splat(-std::numeric_limits<real>::infinity()); }
    // vmax gives its second operand where either is NaN
    static V join(V a, V b) { return (a != a) ? a : vmax(a, b); }
    V finish(V v, i64, i64) const { return v; }
    V finish(V v) const { return v; }
};
// The same where there is no NaN: a third of the instructions. Tiles add up all they see, and a
// band that saw NaN is done again by Largest.
struct LargestNumber : Largest {
    static V join(V a, V b) { return vmax(a, b); }
};
// The sum over a divisor: a given one, or the pixels of the window, with those of the padding (but
// none beyond it) if include_padding.
struct Mean {
    Axis h, w;
    bool include_padding;
    real divisor, whole;   // 0: none given; the factor of windows inside the image
    Mean(const Axis& h, const Axis& w, bool include_padding, i64 divisor)
        : h(h), w(w), include_padding(include_padding), divisor((real)divisor),
          whole(1 / (divisor ? (real)divisor : (real)(h.kernel * w.kernel))) {}

    static V start() { return V{}; }
    static V join(V a, V b) { return a + b; }
    i64 count(const Axis& a, i64 o) const {
        if (!include_padding) return a.inside(o).count;
        const i64 end = a.start(o) + a.kernel, limit = a.in + a.padding;
        return (end < limit ? end : limit) - a.start(o);
    }
    V finish(V v, i64 oy, i64 ox) const {
        return v * (1 / (divisor != 0 ? divisor : (real)(count(h, oy) * count(w, ox))));
    }
    V finish(V v) const { return v * whole; }
};

// Rows [begin, end) of the outputs of one block of channels
struct Band {
    Axis        h, w;
    const real* x;
    real*       y;
    i64         begin, end, width;
};

// Outputs [ox, ox + P) of every row of the band, for windows K wide without dilation
template <class How, int K, int STRIDE, int P, bool EDGE>
void pool_tile(const Band& b, i64 ox, const How& how, real (*seen)[LANES]) {
    constexpr int COLUMNS = (P - 1) * STRIDE + K;
    constexpr bool WATCH = std::is_same_v<How, LargestNumber>;
    const i64 at = b.w.start(ox), columns = b.w.in, step = columns * BLOCK;
    V sum[SEEN];
    if constexpr (WATCH)
        for (int i = 0; i < SEEN; ++i) sum[i] = load(seen[i]);
    for (int part = 0; part < BLOCK; part += LANES)
        for (i64 oy = b.begin; oy < b.end; ++oy) {
            const Axis::Inside rows = b.h.inside(oy);
            const real* x = b.x + ((b.h.start(oy) + rows.begin) * columns + at) * BLOCK + part;
            V column[COLUMNS];
            #pragma GCC unroll 32
            for (int j = 0; j < COLUMNS; ++j) column[j] = How::start();
            const auto add_row = [&](auto join) {
                #pragma GCC unroll 32
                for (int j = 0; j < COLUMNS; ++j) {
                    if (EDGE && (std::uint64_t)(at + j) >= (std::uint64_t)columns) continue;
                    const V v = load(x + j * BLOCK);
                    column[j] = join(column[j], v);
                    if (WATCH) sum[j % SEEN] += v;
                }
                x += step;
            };
            if (rows.count > 0) add_row([](V, V v) { return v; });
            for (i64 r = 1; r < rows.count; ++r) add_row(How::join);
            real* y = b.y + (oy * b.width + ox) * BLOCK + part;
            #pragma GCC unroll 8
            for (int p = 0; p < P; ++p) {
                V v = column[p * STRIDE];
                #pragma GCC unroll 8
                for (int k = 1; k < K; ++k) v = How::join(v, column[p * STRIDE + k]);
                store(y + p * BLOCK,
                      EDGE || rows.count < b.h.kernel ? how.finish(v, oy, ox + p) : how.finish(v));
            }
        }
    if constexpr (WATCH)
        for (int i = 0; i < SEEN; ++i) store(seen[i], sum[i]);
}

template <class How> using Tile = void (*)(const Band&, i64, const How&, real (*)[LANES]);
template <class How> using Tiles = const Tile<How> (*)[2];   // [pixels - 1][at an edge]

// Rows are cut evenly, so tiles of less than half the most pixels are whole rows, which are short:
// those do without a form for the inside.
constexpr bool only_at_edges(int pixels) { return 2 * pixels < MOST_PIXELS; }
template <class How, int K, int STRIDE, int... P> Tiles<How> tiles_of(std::integer_sequence<int, P...>) {
    static constexpr Tile<How> table[][2] = {
        {pool_tile<How, K, STRIDE, P + 1, only_at_edges(P + 1)>, pool_tile<How, K, STRIDE, P + 1, true>}...};
    return table;
}

// nullptr: none for these windows
template <class How> Tiles<How> tiles_for(const Axis& w) {
    constexpr auto pixels = std::make_integer_sequence<int, MOST_PIXELS>{};
    if (w.dilation != 1) return nullptr;
    if (w.kernel == 2 && w.stride == 2) return tiles_of<How, 2, 2>(pixels);
    if (w.kernel == 3 && w.stride == 2) return tiles_of<How, 3, 2>(pixels);
    if (w.kernel == 3 && w.stride == 1) return tiles_of<How, 3, 1>(pixels);
    if (w.kernel == 5 && w.stride == 1) return tiles_of<How, 5, 1>(pixels);
    return nullptr;
}

template <class How> void pool_tiles(const Band& b, Tiles<How> of, const How& how, real (*seen)[LANES]) {
    const i64 tiles = (b.width + MOST_PIXELS - 1) / MOST_PIXELS;
    for (i64 i = 0, from = 0; i < tiles; ++i) {
        const i64 to = b.width * (i + 1) / tiles;
        const bool edge = b.w.start(from) < 0 || b.w.start(to - 1) + b.w.kernel > b.w.in;
        of[to - from - 1][edge](b, from, how, seen);
        from = to;
    }
}

// Any window; `columns` has room for a row of the input
template <class How> void pool_rows(const Band& b, const How& how, real* columns) {
    const i64 row = b.w.in * BLOCK;
    for (i64 oy = b.begin; oy < b.end; ++oy) {
        const Axis::Inside rows = b.h.inside(oy);
        const real* x = b.x + (b.h.start(oy) + rows.begin * b.h.dilation) * row;
        for (i64 i = 0; i < row; i += LANES) {
            V v = How::start();
            for (i64 r = 0; r < rows.count; ++r) v = How::join(v, load(x + r * b.h.dilation * row + i));
            store(columns + i, v);
        }
        real* y = b.y + oy * b.width * BLOCK;
        for (i64 ox = 0; ox < b.width; ++ox) {
            const Axis::Inside cols = b.w.inside(ox);
            const real* from = columns + (b.w.start(ox) + cols.begin * b.w.dilation) * BLOCK;
            for (int part = 0; part < BLOCK; part += LANES) {
                V v = How::start();
                for (i64 s = 0; s < cols.count; ++s)
                    v = How::join(v, load(from + s * b.w.dilation * BLOCK + part));
                store(y + ox * BLOCK + part, how.finish(v, oy, ox));
            }
        }
    }
}

constexpr i64 BAND_VALUES = 6 << 10;   // 24 KB of input and output: what a band reads again stays in L1

// band(Band, scratch for a row of the input) over all outputs
template <class Body>
void each_band(const InMap<real>& x, const Axis& h, const Axis& w, const OutMap<real>& y, Body body) {
    const i64 most = 1 + BAND_VALUES / ((y.w + h.stride * w.in) * BLOCK + 1);
    parallel_for(y.n * y.blocks * y.h, 1 + 20000 / (w.in * h.kernel * BLOCK + 1), [&](i64 begin, i64 end) {
        Scratch<real> columns(w.in * BLOCK);
        for (i64 i = begin; i < end;) {
            const i64 plane = i / y.h, row = i % y.h;
            i64 rows = y.h - row < most ? y.h - row : most;
            if (rows > end - i) rows = end - i;
            body(Band{h, w, x.at(plane / y.blocks, plane % y.blocks),
                      y.at(plane / y.blocks, plane % y.blocks), row, row + rows, y.w},
                 columns);
            i += rows;
        }
    });
}

bool any_nan(const real (*seen)[LANES]) {
    V sum{};
    for (int i = 0; i < SEEN; ++i) sum += load(seen[i]);
    const real all = hsum(sum);
    return all != all;
}
}  // namespace

void max_pool_blocked(InMap<real> x, Window window, OutMap<real> y) {
    const Axis h = axis(window, 0, x.h), w = axis(window, 1, x.w);
    const Tiles<LargestNumber> tiles = h.dilation == 1 ? tiles_for<LargestNumber>(w) : nullptr;
    each_band(x, h, w, y, [&](const Band& b, real* columns) {
        if (tiles) {
            alignas(64) real seen[SEEN][LANES] = {};
            pool_tiles(b, tiles, LargestNumber{}, seen);
            if (!any_nan(seen)) return;
        }
        pool_rows(b, Largest{}, columns);
    });
}

// divisor 0: the pixels of the window; -1: the same without those of the padding
void avg_pool_blocked(InMap<real> x, Window window, i64 divisor, OutMap<real> y) {
    const Axis h = axis(window, 0, x.h), w = axis(window, 1, x.w);
    const Mean mean(h, w, divisor >= 0, divisor > 0 ? divisor : 0);
    const Tiles<Mean> tiles = tiles_for<Mean>(w);
    each_band(x, h, w, y, [&](const Band& b, real* columns) {
        if (tiles) pool_tiles(b, tiles, mean, nullptr);
        else pool_rows(b, mean, columns);
    });
}

// torch's windows: output o of `out` covers inputs floor(o in / out) .. ceil((o + 1) in / out) - 1
void adaptive_avg_pool_blocked(InMap<real> x, OutMap<real> y) {
    const auto begin_of = [](i64 o, i64 in, i64 out) { return o * in / out; };
    const auto end_of = [](i64 o, i64 in, i64 out) { return ((o + 1) * in + out - 1) / out; };
    parallel_for(y.n * y.blocks, 1 + 20000 / (x.plane() + 1), [&](i64 first, i64 last) {
        for (i64 i = first; i < last; ++i) {
            const real* from = x.at(i / y.blocks, i % y.blocks);
            real* to = y.at(i / y.blocks, i % y.blocks);
            for (i64 oy = 0; oy < y.h; ++oy)
                for (i64 ox = 0; ox < y.w; ++ox, to += BLOCK) {
                    const i64 y0 = begin_of(oy, x.h, y.h), y1 = end_of(oy, x.h, y.h),
                              x0 = begin_of(ox, x.w, y.w), x1 = end_of(ox, x.w, y.w);
                    for (int part = 0; part < BLOCK; part += LANES) {
                        V sum{};
                        for (i64 r = y0; r < y1; ++r)
                            for (i64 c = x0; c < x1; ++c) sum += load(from + (r * x.w + c) * BLOCK + part);
                        store(to + part, sum / splat((real)((y1 - y0) * (x1 - x0))));
                    }
                }
        }
    });
}

// y: planar (n, channels). Four partial sums, joined in one order
void global_avg_pool(InMap<real> x, Out<real> y) {
    const i64 channels = y.dim(1), pixels = x.h * x.w;
    parallel_for(x.n * x.blocks, 1 + 20000 / (x.plane() + 1), [&](i64 first, i64 last) {
        for (i64 i = first; i < last; ++i) {
            const i64 n = i / x.blocks, block = i % x.blocks;
            const real* from = x.at(n, block);
            for (int part = 0; part < BLOCK && block * BLOCK + part < channels; part += LANES) {
                V sum[4] = {};
                i64 p = 0;
                for (; p + 4 <= pixels; p += 4)
                    #pragma GCC unroll 4
                    for (int j = 0; j < 4; ++j) sum[j] += load(from + (p + j) * BLOCK + part);
                for (; p < pixels; ++p) sum[0] += load(from + p * BLOCK + part);
                const V mean = ((sum[0] + sum[1]) + (sum[2] + sum[3])) / splat((real)pixels);
                const i64 left = channels - block * BLOCK - part;
                real* to = y.data + n * channels + block * BLOCK + part;
                if (left >= LANES) store(to, mean);
                else store(to, mean, (int)left);
            }
        }
    });
}
END_KERNELS
