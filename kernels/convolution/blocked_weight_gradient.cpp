// The weight gradient of any convolution whose filters fill vectors: for each tap a matrix product of
// channels and filters whose reduction runs over the outputs that see the tap within the image,
//   dw[k, c, tap] = sum over samples and outputs of dy[k, o] x[c, o stride + offset(tap)].
// x and dy are laid out in blocks first, in which a pixel's channels lie side by side: then nothing is
// packed for a tap, a vector of filters is multiplied by one channel of the pixel at a time, and
// strides, dilations, and padding are where a walk begins and how far it steps. An element of dw is
// one sum over samples and outputs in order, whatever the threads.
#include "blocked/layout.h"
#include "direct_planar.h"
#include "inside.h"
#include "program_kernel.h"
#include "winograd_cost.h"

BEGIN_KERNELS
namespace {
constexpr i64 LOT_BYTES = 8 << 20;   // of samples in blocks, x and dy
constexpr i64 MOST_SUMS = 64 << 20;  // bytes of all sums
constexpr i64 LEAST_CHANNELS = 5;    // with fewer, blocks of x are too empty
constexpr i64 PIXELS = 256;          // outputs whose x and dy stay in the nearest cache over all taps
constexpr int PER_BLOCK = BLOCK / LANES;
constexpr int WIDEST = PER_BLOCK == 1 ? 3 : 1;                            // blocks of filters of a tile
constexpr int TALLEST = PER_BLOCK == 1 ? 8 : PER_BLOCK == 2 ? 6 : 2;      // channels of it
constexpr int ALONE = PER_BLOCK == 1 ? 16 : TALLEST;                      // with one block of filters

// Outputs [low, high) of an axis that meet a tap inside of it.
struct Span {
    i64 low, high;
    Span(i64 in, i64 out, i64 stride, i64 offset)
        : low(offset < 0 ? ceil_div(-offset, stride) : 0),
          high(clamp(in - offset > 0 ? ceil_div(in - offset, stride) : 0, low, out)) {
        low = clamp(low, 0, high);
    }
};

// A walk over some rows of outputs: of dy, BLOCK values a pixel, and of x, `x_step` values a pixel.
struct Walk {
    const real *x, *dy;
    i64 rows, columns, x_row, dy_row, x_step;
    i64 dy_block;   // from a block of filters to the next
};

// sums (channel, tap, BLOCK) of a block += dy of V vectors of filters times x of C channels.
template <int C, int NV> void add(const Walk& walk, real* sums, i64 channel, i64 block) {
    V acc[C][NV];
    #pragma GCC unroll 16
    for (int c = 0; c < C; ++c)
        #pragma GCC unroll 4
        for (int v = 0; v < NV; ++v)
            acc[c][v] = load(sums + c * channel + v / PER_BLOCK * block + v % PER_BLOCK * LANES);
    for (i64 row = 0; row < walk.rows; ++row) {
        const real *x = walk.x + row * walk.x_row, *dy = walk.dy + row * walk.dy_row;
        for (i64 i = 0; i < walk.columns; ++i, x += walk.x_step, dy += BLOCK) {
            V g[NV];
            #pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) g[v] = load(dy + v / PER_BLOCK * walk.dy_block + v % PER_BLOCK * LANES);
            #pragma GCC unroll 16
            for (int c = 0; c < C; ++c)
                #pragma GCC unroll 4
                for (int v = 0; v < NV; ++v) acc[c][v] += x[c] * g[v];
        }
    }
    #pragma GCC unroll 16
    for (int c = 0; c < C; ++c)
        #pragma GCC unroll 4
        for (int v = 0; v < NV; ++v)
            store(sums + c * channel + v / PER_BLOCK * block + v % PER_BLOCK * LANES, acc[c][v]);
}

i64 at_most(i64 a, i64 b) { return a < b ? a : b; }

using Add = decltype(&add<1, 1>);
struct Tile { Add run; int channels; };
template <int NV, int... C> Add add_of(i64 channels, std::integer_sequence<int, C...>) {
    static constexpr Add table[] = {add<C + 1, NV>...};
    return table[channels - 1];
}
// For `channels` of one block, or the first of them: those left behind are shared out evenly.
template <int BLOCKS> Tile tile_of(i64 channels) {
    constexpr int NV = BLOCKS * PER_BLOCK;
    if (BLOCKS == 1 && channels >= ALONE) return {add<BLOCKS == 1 ? ALONE : 1, NV>, ALONE};
    const i64 own = ceil_div(channels, ceil_div(channels, TALLEST));
    return {add_of<NV>(own, std::make_integer_sequence<int, TALLEST>{}), int(own)};
}
Tile tile_of(i64 blocks, i64 channels) {
    return blocks == 1 ? tile_of<1>(channels) : blocks == 2 ? tile_of<WIDEST < 2 ? 1 : 2>(channels)
                                                            : tile_of<WIDEST>(channels);
}

struct Gradient {
    const Convolution& conv;
    const TapList&     t;
    InMap<real> x, dy;   // of one lot of samples; rows of all depths below each other
    real*       sums;    // (block of filters, channel, tap, BLOCK)
    i64 taps() const { return t.count; }
    i64 block_sums() const { return conv.channels * t.count * BLOCK; }

    // Rows [row0, row1) of outputs, counted over depths, of a sample: filters of `blocks` blocks from k on, channels
    // [c0, c1) of their group, one tap.
    void add_tap(i64 n, i64 row0, i64 row1, i64 k, i64 blocks, i64 c0, i64 c1, i64 tap) const {
        const Tap& at = t.taps[tap];
        const Extent& xs = conv.xs;
        const Span wide(xs.w, t.grid.w, t.in_stride.w, at.w), high(xs.h, t.grid.h, t.in_stride.h, at.h),
            deep(xs.d, t.grid.d, t.in_stride.d, at.d);
        if (wide.low == wide.high) return;
        const i64 group = k * BLOCK / conv.filters, first = group * conv.channels;
        for (i64 d = row0 / t.grid.h; d * t.grid.h < row1; ++d) {
            if (d < deep.low || d >= deep.high) continue;
            const i64 from = d * t.grid.h, h0 = clamp(row0 - from, high.low, high.high),
                      h1 = clamp(row1 - from, h0, high.high);
            if (h0 == h1) continue;
            const i64 x_row = (d * t.in_stride.d + at.d) * xs.h + h0 * t.in_stride.h + at.h;
            Walk walk{nullptr,
                      dy.at(n, k) + ((from + h0) * t.grid.w + wide.low) * BLOCK,
                      h1 - h0,
                      wide.high - wide.low,
                      t.in_stride.h * xs.w * BLOCK,
                      t.grid.w * BLOCK,
                      t.in_stride.w * BLOCK,
                      dy.plane()};
            for (i64 c = c0; c < c1;) {
                const i64 own = first + c, left = at_most(c1 - c, BLOCK - own % BLOCK);
                const Tile tile = tile_of(blocks, left);
                walk.x = x.at(n, own / BLOCK) + own % BLOCK +
                         (x_row * xs.w + wide.low * t.in_stride.w + at.w) * BLOCK;
                tile.run(walk, sums + k * block_sums() + (c * t.count + tap) * BLOCK, t.count * BLOCK, block_sums());
                c += tile.channels;
            }
        }
    }
};

// Vector multiply-adds, and what it takes to lay out the maps in such units.
double work_of(const Convolution& conv, const TapList& t) {
    double seen = 0;
    for (i64 tap = 0; tap < t.count; ++tap) {
        const Tap& at = t.taps[tap];
        const Span w(conv.xs.w, t.grid.w, t.in_stride.w, at.w), h(conv.xs.h, t.grid.h, t.in_stride.h, at.h),
            d(conv.xs.d, t.grid.d, t.in_stride.d, at.d);
        seen += double(w.high - w.low) * (h.high - h.low) * (d.high - d.low);
    }
    return seen * conv.xs.n * conv.channels * blocks_of(conv.ys.c);
}
}  // namespace

bool weight_gradient_in_blocks(const Convolution& conv, const TapList& t, double other_units, real* dw) {
    constexpr double SHARE = 0.8, COPY = 12;
    const Extent &xs = conv.xs, &ys = conv.ys;
    if ((conv.groups > 1 && conv.filters % BLOCK) || conv.channels < LEAST_CHANNELS) return false;
    if (blocks_of(ys.c) * conv.channels * t.count * BLOCK * (i64)sizeof(real) > MOST_SUMS) return false;
    const double copies =
        COPY * xs.n * (double(blocks_of(xs.c)) * xs.spatial() + double(blocks_of(ys.c)) * ys.spatial());
    if (work_of(conv, t) / SHARE + copies >= other_units) return false;
    // what zeros of the padding make of a gradient that is not finite has to be seen
    if (reads_outside(conv, t) && !all_finite(conv.y, ys.n * ys.c * ys.spatial())) return false;
    const i64 x_sample = blocks_of(xs.c) * xs.spatial() * BLOCK, y_sample = blocks_of(ys.c) * ys.spatial() * BLOCK,
              together = clamp(LOT_BYTES / ((x_sample + y_sample) * (i64)sizeof(real)), 1, xs.n),
              blocks = blocks_of(ys.c), group_blocks = conv.groups > 1 ? conv.filters / BLOCK : blocks;
    Scratch<real> x(together * x_sample), dy(together * y_sample), sums(blocks * conv.channels * t.count * BLOCK);
    parallel_for(blocks * conv.channels, 1 + 4096 / t.count, [&](i64 begin, i64 end) {
        std::memset(sums + begin * t.count * BLOCK, 0, (end - begin) * t.count * BLOCK * sizeof(real));
    });
    // a task: some blocks of filters, some channels, some taps
    const i64 tiles = ceil_div(group_blocks, WIDEST),
              chunk = clamp(8 / t.count, 1, 8) * BLOCK, chunks = ceil_div(conv.channels, chunk),
              tasks = conv.groups * tiles * chunks,
              shares = tasks >= 16 ? 1 : clamp(ceil_div(16, tasks), 1, t.count),
              rows = t.grid.d * t.grid.h, step = clamp(PIXELS / t.grid.w, 1, rows);
    for (i64 n0 = 0; n0 < xs.n; n0 += together) {
        const i64 count = at_most(xs.n - n0, together), x_shape[] = {count, xs.c, xs.d * xs.h, xs.w},
                  y_shape[] = {count, ys.c, ys.d * ys.h, ys.w};
        to_blocked({conv.x + n0 * xs.c * xs.spatial(), x_shape, 4},
                   {x, count, blocks_of(xs.c), xs.d * xs.h, xs.w, x_sample});
        to_blocked({conv.y + n0 * ys.c * ys.spatial(), y_shape, 4},
                   {dy, count, blocks, ys.d * ys.h, ys.w, y_sample});
        const Gradient g{conv, t, {x, count, blocks_of(xs.c), xs.d * xs.h, xs.w, x_sample},
                         {dy, count, blocks, ys.d * ys.h, ys.w, y_sample}, sums};
        parallel_tasks(tasks * shares, [&](i64 task) {
            const i64 share = task % shares, c = task / shares % chunks * chunk, tile = task / shares / chunks,
                      k = tile / tiles * group_blocks + group_blocks * (tile % tiles) / tiles,
                      own = tile / tiles * group_blocks + group_blocks * (tile % tiles + 1) / tiles - k;
            for (i64 n = 0; n < count; ++n)
                for (i64 row = 0; row < rows; row += step)
                    for (i64 tap = t.count * share / shares; tap < t.count * (share + 1) / shares; ++tap)
                        g.add_tap(n, row, at_most(row + step, rows), k, own, c, at_most(c + chunk, conv.channels), tap);
        });
    }
    const i64 columns = conv.channels * t.count, shape[] = {1, ys.c, 1, columns};
    from_blocked({sums, 1, blocks, 1, columns, blocks * columns * BLOCK}, {dw, shape, 4});
    return true;
}
END_KERNELS
