// 4x4 filters of stride 2, plain and transposed, by Winograd's F(4x4, 2x2) on the parities of their
// pixels (stride_two.h): 25 multiplications in place of 64 for 4x4 outputs. Filters are transformed
// and maps copied within the call, a few samples at a time so that the copies stay in cache.
#include "blocked/layout.h"
#include "interleaved_maps.h"
#include "stride_two.h"
#include "winograd_cost.h"

extern bool pyops_winograd;   // module.cpp: false if precision is "strict"
extern __thread bool pyops_by_sample;    // module.cpp: pyops.batch_invariant()
extern __thread int pyops_run_threads;  // csrc/parallel.h: within a compiled program

BEGIN_KERNELS
namespace {
constexpr i64 TILE = 4, TAPS = 4, POINTS = 25;   // 2x2 taps
constexpr double FILTER = 30, READ_CACHED = 5, READ = 17, CACHED = 16 << 20;   // see winograd_planar
const Act NOTHING{Activation::CLAMP, -__builtin_inf(), __builtin_inf()};

// Whether `maps` convolutions of 2x2 taps, `channels` to `filters`, on grids of h x w outputs, gain.
bool gains(i64 samples, i64 maps, i64 channels, i64 filters, i64 h, i64 w) {
    if (!__atomic_load_n(&pyops_winograd, __ATOMIC_RELAXED) || channels < BLOCK || filters < BLOCK) return false;
    const double n = double(maps) * (pyops_by_sample || pyops_run_threads ? 1 : samples), in = blocks_of(channels),
                 out = blocks_of(filters), tiles = n * ceil_div(h, TILE) * ceil_div(w, TILE),
                 lines = double(POINTS) * channels * out, area = n * h * w,
                 read = maps * lines * BLOCK * sizeof(real) < CACHED ? READ_CACHED : READ;
    const double cost = MULTIPLY * tiles * lines + TRANSFORM_2X2 * tiles * (in + out) / 2 +
                        (FILTER + read) * maps * lines + 2 * COPY * area * (in + out);
    return cost < GAIN * TAPS * area * channels * out;
}

SquareFilters two_by_two(const real* weight, i64 filters, i64 channels) {
    return {weight, filters, channels, TAPS * channels, TAPS, false, 2};
}

void lay_bias(const StrideTwo& conv, i64 blocks, real* bias) {
    for (i64 k = 0; k < blocks * BLOCK; ++k) bias[k] = conv.bias && k < conv.filters ? conv.bias[k] : 0;
}

const Dims none() { return {{0, 0}, 2}; }
}  // namespace

bool winograd_stride_two(const StrideTwo& conv) {
    const Extent half = halved(conv.xs, conv.ys), &ys = conv.ys;
    if (!gains(ys.n, 1, half.c, conv.filters, ys.h, ys.w)) return false;
    const i64 C = conv.channels, in_blocks = blocks_of(half.c), out_blocks = blocks_of(conv.filters);
    Scratch<real> weight(conv.filters * half.c * TAPS);
    parallel_for(conv.filters, 1 + 4096 / C, [&](i64 begin, i64 end) {
        for (i64 k = begin; k < end; ++k)
            for (i64 c = 0; c < C; ++c) {
                const real* from = conv.weight + k * conv.filter_stride + c * conv.channel_stride;
                for (i64 a = 0; a < 2; ++a)
                    for (i64 b = 0; b < 2; ++b) {
                        real* to = weight + (k * half.c + (2 * a + b) * C + c) * TAPS;
                        const real* taps = from + 4 * a + b;
                        to[0] = taps[0], to[1] = taps[2], to[2] = taps[8], to[3] = taps[10];
                    }
            }
    });
    const SquareFilters filters = two_by_two(weight, conv.filters, half.c);
    if (!even_filters(filters)) return false;
    const i64 x_sample = in_blocks * half.spatial() * BLOCK, y_sample = out_blocks * ys.spatial() * BLOCK;
    const i64 together = clamp(MAPS_BYTES / ((x_sample + y_sample) * (i64)sizeof(real)), 1, ys.n);
    Scratch<real> u(out_blocks * POINTS * half.c * BLOCK), bias(out_blocks * BLOCK),
        parts(together * half.c * half.spatial()), x(together * x_sample), y(together * y_sample);
    winograd_filters(filters, TILE, u);
    lay_bias(conv, out_blocks, bias);
    for (i64 n = 0; n < ys.n; n += together) {
        const i64 count = clamp(ys.n - n, 0, together), in_shape[] = {count, half.c, half.h, half.w},
                  out_shape[] = {count, ys.c, ys.h, ys.w};
        take_apart(conv.x + n * C * conv.xs.spatial(), conv.xs, count, conv.pad_h, conv.pad_w, half.h, half.w, parts);
        to_blocked({parts, in_shape, 4}, {x, count, in_blocks, half.h, half.w, x_sample});
        winograd_layer({x, count, in_blocks, half.h, half.w, x_sample}, filters, u, TILE, bias, {}, none(), 1, NOTHING,
                       {y, count, out_blocks, ys.h, ys.w, y_sample});
        from_blocked({y, count, out_blocks, ys.h, ys.w, y_sample}, {conv.y + n * ys.c * ys.spatial(), out_shape, 4});
    }
    return true;
}

bool winograd_stride_two_transposed(const StrideTwo& conv) {
    const Extent &xs = conv.xs, &ys = conv.ys;
    const Parity h[] = {parity_from(0, ys.h, conv.pad_h), parity_from(1, ys.h, conv.pad_h)},
                 w[] = {parity_from(0, ys.w, conv.pad_w), parity_from(1, ys.w, conv.pad_w)};
    if (ys.h < 2 || ys.w < 2 || !gains(ys.n, 4, conv.channels, conv.filters, h[0].count, w[0].count)) return false;
    const i64 C = conv.channels, K = conv.filters, in_blocks = blocks_of(C), out_blocks = blocks_of(K);
    Scratch<real> weight(4 * K * C * TAPS);   // by parities of the outputs
    parallel_for(K, 1 + 4096 / C, [&](i64 begin, i64 end) {
        for (i64 k = begin; k < end; ++k)
            for (i64 c = 0; c < C; ++c) {
                const real* from = conv.weight + k * conv.filter_stride + c * conv.channel_stride;
                for (i64 i = 0; i < 2; ++i)
                    for (i64 j = 0; j < 2; ++j) {
                        real* to = weight + (((2 * i + j) * K + k) * C + c) * TAPS;
                        const real* taps = from + 4 * h[i].a + w[j].a;
                        to[0] = taps[10], to[1] = taps[8], to[2] = taps[2], to[3] = taps[0];
                    }
            }
    });
    for (i64 part = 0; part < 4; ++part)
        if (!even_filters(two_by_two(weight + part * K * C * TAPS, K, C))) return false;
    const i64 x_sample = in_blocks * xs.spatial() * BLOCK, most = h[0].count * w[0].count,
              y_sample = out_blocks * most * BLOCK, u_part = out_blocks * POINTS * C * BLOCK;
    const i64 together = clamp(MAPS_BYTES / ((x_sample + 2 * y_sample) * (i64)sizeof(real)), 1, ys.n);
    Scratch<real> u(4 * u_part), bias(out_blocks * BLOCK), parts(4 * together * K * most), x(together * x_sample),
        y(together * y_sample);
    for (i64 part = 0; part < 4; ++part)
        winograd_filters(two_by_two(weight + part * K * C * TAPS, K, C), TILE, u + part * u_part);
    lay_bias(conv, out_blocks, bias);
    for (i64 n = 0; n < ys.n; n += together) {
        const i64 count = clamp(ys.n - n, 0, together), in_shape[] = {count, C, xs.h, xs.w};
        to_blocked({conv.x + n * C * xs.spatial(), in_shape, 4}, {x, count, in_blocks, xs.h, xs.w, x_sample});
        const real* made[2][2];
        for (i64 i = 0; i < 2; ++i)
            for (i64 j = 0; j < 2; ++j) {
                const i64 part = 2 * i + j, rows = h[i].count, columns = w[j].count,
                          out_shape[] = {count, K, rows, columns},
                          sample = out_blocks * rows * columns * BLOCK;
                real* to = parts + part * together * K * most;
                made[i][j] = to;
                winograd_layer({x, count, in_blocks, xs.h, xs.w, x_sample},
                               two_by_two(weight + part * K * C * TAPS, K, C), u + part * u_part, TILE, bias, {},
                               Dims{{h[i].pad, w[j].pad}, 2}, 1, NOTHING,
                               {y, count, out_blocks, rows, columns, sample});
                from_blocked({y, count, out_blocks, rows, columns, sample}, {to, out_shape, 4});
            }
        put_together(made, h, w, count, ys, conv.y + n * K * ys.spatial());
    }
    return true;
}

// ---- in programs: maps lie in blocks, and filters are transformed beforehand (u) or packed

void winograd_stride_two(InMap<real> x, In<real> weight, In<real> u, In<real> bias, Dims padding, Act act,
                         OutMap<real> y) {
    const i64 rows = y.h + 1, columns = y.w + 1, plane = rows * columns * BLOCK, blocks = 4 * x.blocks,
              sample   = blocks * plane;
    const i64 together = clamp(MAPS_BYTES / (sample * (i64)sizeof(real)), 1, x.n ? x.n : 1);
    Scratch<real> parts(together * sample);
    const SquareFilters filters = square_filters(weight);
    for (i64 n = 0; n < x.n; n += together) {
        const i64 count = clamp(x.n - n, 0, together);
        parallel_for(count * blocks, 1 + 65536 / plane, [&](i64 begin, i64 end) {
            for (i64 at = begin; at < end; ++at) {
                const i64 parity = at / x.blocks % 4, block = at % x.blocks;
                lay(x.at(n + at / blocks, block), x.h, x.w,
                    {parity / 2 - padding[0], parity % 2 - padding[1], 2, 2}, rows, columns, parts + at * plane);
            }
        });
        winograd_layer({parts, count, blocks, rows, columns, sample}, filters, u.data, TILE, bias.data, {}, none(), 1,
                       act, {y.at(n, 0), count, y.blocks, y.h, y.w, y.sample});
    }
}

void winograd_transposed(InMap<real> x, In<real> weight, In<real> u, In<real> bias, Dims padding, Act act,
                         OutMap<real> y) {
    const i64 rows = (y.h + 1) / 2, columns = (y.w + 1) / 2, sample = y.blocks * rows * columns * BLOCK,
              part_size = weight.size() / 4, u_part = u.data ? u.size() / 4 : 0;
    SquareFilters filters = two_by_two(weight.data, weight.dim(1), weight.dim(2));
    filters.packed = weight.ndim == 6;
    const i64 together = clamp(MAPS_BYTES / (sample * (i64)sizeof(real)), 1, x.n ? x.n : 1);
    Scratch<real> made(together * sample);
    for (i64 n = 0; n < x.n; n += together)
        for (i64 part = 0; part < 4; ++part) {
            const Parity h = parity_from(part / 2, y.h, padding[0]), w = parity_from(part % 2, y.w, padding[1]);
            const i64 count = clamp(x.n - n, 0, together), plane = h.count * w.count * BLOCK;
            if (!plane) continue;
            filters.weight = weight.data + part * part_size;
            winograd_layer({x.at(n, 0), count, x.blocks, x.h, x.w, x.sample}, filters,
                           u.data ? u.data + part * u_part : nullptr, TILE, bias.data, {}, Dims{{h.pad, w.pad}, 2}, 1,
                           act, {made, count, y.blocks, h.count, w.count, y.blocks * plane});
            parallel_for(count * y.blocks, 1 + 65536 / plane, [&](i64 begin, i64 end) {
                for (i64 at = begin; at < end; ++at)
                    put(made + at * plane, w.count, {part / 2, part % 2, 2, 2}, y.at(n + at / y.blocks, at % y.blocks),
                        y.h, y.w);
            });
        }
}
END_KERNELS
