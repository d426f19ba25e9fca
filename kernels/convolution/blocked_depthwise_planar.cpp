// A single call of a depthwise convolution on maps that are narrower than a vector, or fill the last one
// badly: maps are copied into blocks of channels, which fill it whatever their width, and back.
#include "blocked/layout.h"
#include "direct_planar.h"
#include "inside.h"
#include "program_kernel.h"
#include "winograd_cost.h"

BEGIN_KERNELS
void depthwise_conv(InMap<real> x, In<real> weight, In<real> bias, InMap<real> residual, Window window,
                    Act act, OutMap<real> y);

namespace {
constexpr double MOST_LANES = 1.4;   // of a row's vectors, to each output

constexpr i64    MANY_TAPS = 25;     // from here on the copies do not count

constexpr double MOST_LANES_OF_GRADIENT = 1.1;   // the same for the filters' gradient

bool gains(const Extent& y, i64 taps, double most_lanes = MOST_LANES) {
    return (double(ceil_div(y.w, LANES) * LANES) / y.w > most_lanes && taps >= 9) || taps >= MANY_TAPS;
}

bool is_depthwise(const Convolution& conv, const Extent& kernel, Dims padding) {
    return conv.channels == 1 && conv.filters == 1 && conv.groups >= BLOCK && kernel.d == 1 && conv.xs.d == 1 &&
           conv.ys.d == 1 && !padding[0] && conv.xs.n && conv.ys.spatial();
}

// (C, taps) to (blocks, taps, 16 channels), zeros where a block is not full
void pack(const Convolution& conv, i64 taps, bool turned, real* packed) {
    std::memset(packed, 0, blocks_of(conv.groups) * taps * BLOCK * sizeof(real));
    for (i64 c = 0; c < conv.groups; ++c)
        for (i64 t = 0; t < taps; ++t)
            packed[(c / BLOCK * taps + t) * BLOCK + c % BLOCK] =
                conv.weight[c * taps + (turned ? taps - 1 - t : t)];
}
}  // namespace

bool depthwise_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                         bool turned) {
    const Extent &xs = conv.xs, &ys = conv.ys;
    const i64 taps = kernel.h * kernel.w;
    if (!is_depthwise(conv, kernel, padding) || !gains(ys, taps)) return false;
    const i64 pad_h = turned ? dilation[1] * (kernel.h - 1) - padding[1] : padding[1],
              pad_w = turned ? dilation[2] * (kernel.w - 1) - padding[2] : padding[2];
    // what zeros of the padding make of a filter that is not finite has to be seen
    if (pad_h < 0 || pad_w < 0 || !all_finite(conv.weight, conv.groups * taps)) return false;
    const i64 blocks = blocks_of(conv.groups), x_plane = xs.spatial() * BLOCK, y_plane = ys.spatial() * BLOCK;
    Scratch<real> weight(blocks * taps * BLOCK), bias(blocks * BLOCK);
    pack(conv, taps, turned, weight);
    for (i64 c = 0; c < blocks * BLOCK; ++c) bias[c] = conv.bias && c < ys.c ? conv.bias[c] : 0;
    const Window window{{{kernel.h, kernel.w}, 2},
                        {{stride[1], stride[2]}, 2},
                        {{pad_h, pad_w}, 2},
                        {{dilation[1], dilation[2]}, 2}};
    parallel_for(xs.n * blocks, 1 + 30000 / (ys.spatial() * (taps + 8) + 1), [&](i64 begin, i64 end) {
        Scratch<real> x(x_plane), y(y_plane);
        for (i64 at = begin; at < end; ++at) {
            const i64 sample = at / blocks, c = at % blocks * BLOCK, count = clamp(ys.c - c, 0, BLOCK);
            const i64 in_shape[] = {1, count, xs.h, xs.w}, out_shape[] = {1, count, ys.h, ys.w},
                      filter_shape[] = {1, kernel.h, kernel.w, BLOCK}, bias_shape[] = {BLOCK};
            to_blocked({conv.x + (sample * xs.c + c) * xs.spatial(), in_shape, 4}, {x, 1, 1, xs.h, xs.w, x_plane});
            depthwise_conv({x, 1, 1, xs.h, xs.w, x_plane}, {weight + c * taps, filter_shape, 4},
                           {bias + c, bias_shape, 1}, {}, window,
                           {Activation::CLAMP, -__builtin_inf(), __builtin_inf()},
                           {y, 1, 1, ys.h, ys.w, y_plane});
            from_blocked({y, 1, 1, ys.h, ys.w, y_plane}, {conv.y + (sample * ys.c + c) * ys.spatial(), out_shape, 4});
        }
    });
    return true;
}

namespace {
// What output `o` of an axis of a transposed convolution sees: `count` inputs and their taps
struct Seen {
    static constexpr int MOST = 8;
    i64 count = 0, input[MOST], tap[MOST];
    Seen(i64 o, i64 taps, i64 stride, i64 padding, i64 dilation, i64 inputs) {
        for (i64 t = 0; t < taps; ++t) {
            const i64 at = o + padding - t * dilation;
            if (at >= 0 && at % stride == 0 && at / stride < inputs) input[count] = at / stride, tap[count++] = t;
        }
    }
};
}  // namespace

bool depthwise_transposed_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding,
                                    Dims dilation) {
    const Extent &xs = conv.xs, &ys = conv.ys;
    if (!is_depthwise(conv, kernel, padding) || !xs.spatial() || kernel.h > Seen::MOST || kernel.w > Seen::MOST)
        return false;
    const i64 taps = kernel.h * kernel.w, blocks = blocks_of(conv.groups), x_plane = xs.spatial() * BLOCK,
              y_plane = ys.spatial() * BLOCK;
    Scratch<real> weight(blocks * taps * BLOCK), bias(blocks * BLOCK);
    pack(conv, taps, false, weight);
    for (i64 c = 0; c < blocks * BLOCK; ++c) bias[c] = conv.bias && c < ys.c ? conv.bias[c] : 0;
    Scratch<Seen> columns(ys.w);
    for (i64 o = 0; o < ys.w; ++o) columns[o] = Seen(o, kernel.w, stride[2], padding[2], dilation[2], xs.w);
    parallel_for(xs.n * blocks, 1 + 30000 / (ys.spatial() * (taps + 8) + 1), [&](i64 begin, i64 end) {
        Scratch<real> x(x_plane), y(y_plane);
        for (i64 at = begin; at < end; ++at) {
            const i64 sample = at / blocks, c = at % blocks * BLOCK, count = clamp(ys.c - c, 0, BLOCK);
            const i64 in_shape[] = {1, count, xs.h, xs.w}, out_shape[] = {1, count, ys.h, ys.w};
            to_blocked({conv.x + (sample * xs.c + c) * xs.spatial(), in_shape, 4}, {x, 1, 1, xs.h, xs.w, x_plane});
            for (i64 h = 0; h < ys.h; ++h) {
                const Seen rows(h, kernel.h, stride[1], padding[1], dilation[1], xs.h);
                for (i64 w = 0; w < ys.w; ++w) {
                    const Seen& seen = columns[w];
                    for (int part = 0; part < BLOCK; part += LANES) {
                        V sum = load(bias + c + part);
                        for (i64 i = 0; i < rows.count; ++i) {
                            const real* const row = x + rows.input[i] * xs.w * BLOCK + part;
                            const real* const filter =
                                weight + (c / BLOCK * taps + rows.tap[i] * kernel.w) * BLOCK + part;
                            for (i64 j = 0; j < seen.count; ++j)
                                sum += load(filter + seen.tap[j] * BLOCK) * load(row + seen.input[j] * BLOCK);
                        }
                        store(y + (h * ys.w + w) * BLOCK + part, sum);
                    }
                }
            }
            from_blocked({y, 1, 1, ys.h, ys.w, y_plane}, {conv.y + (sample * ys.c + c) * ys.spatial(), out_shape, 4});
        }
    });
    return true;
}

namespace {
// sums[s] += dy[o] x[o step + s apart] for the outputs of a row; S taps, or `taps` of them one by one
template <int S>
void add_row(const real* dy, const real* x, i64 outputs, i64 step, i64 apart, i64 taps, real* sums) {
    if constexpr (S == 0) {
        for (i64 s = 0; s < taps; ++s) add_row<1>(dy, x + s * apart, outputs, step, apart, 1, sums + s * BLOCK);
    } else {
        for (int part = 0; part < BLOCK; part += LANES) {
            V even[S], odd[S];   // chains enough to hide a multiply-add's latency
            for (int s = 0; s < S; ++s) even[s] = load(sums + s * BLOCK + part), odd[s] = V{};
            i64 o = 0;
            for (; o + 2 <= outputs; o += 2) {
                const V g = load(dy + o * BLOCK + part), next = load(dy + (o + 1) * BLOCK + part);
                const real* const at = x + o * step + part;
                #pragma GCC unroll 8
                for (int s = 0; s < S; ++s) {
                    even[s] += g * load(at + s * apart);
                    odd[s] += next * load(at + step + s * apart);
                }
            }
            if (o < outputs) {
                const V g = load(dy + o * BLOCK + part);
                #pragma GCC unroll 8
                for (int s = 0; s < S; ++s) even[s] += g * load(x + o * step + s * apart + part);
            }
            for (int s = 0; s < S; ++s) store(sums + s * BLOCK + part, even[s] + odd[s]);
        }
    }
}
constexpr i64 SHORT_ROW = 16;   // pixels: what begins and ends a row would take as long as the rest

i64 most(i64 a, i64 b) { return a < b ? b : a; }

using AddRow = decltype(&add_row<1>);
AddRow add_row_of(i64 taps) {
    static constexpr AddRow table[] = {add_row<0>, add_row<1>, add_row<2>, add_row<3>,
                                       add_row<4>, add_row<5>, add_row<6>, add_row<7>};
    return table[taps < 8 ? taps : 0];
}
}  // namespace

bool depthwise_gradient_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding,
                                  Dims dilation, real* dw) {
    // rows of the padding are not looked at, so that dy may not make NaN of their zeros
    if (!is_depthwise(conv, kernel, padding) || !gains(conv.ys, kernel.h * kernel.w, MOST_LANES_OF_GRADIENT) ||
        !all_finite(conv.y, conv.ys.n * conv.ys.c * conv.ys.spatial())) return false;
    const Extent &xs = conv.xs, &ys = conv.ys;
    const i64 taps = kernel.h * kernel.w, blocks = blocks_of(conv.groups), step = stride[2], apart = dilation[2],
              pad = padding[2], x_plane = xs.spatial() * BLOCK, y_plane = ys.spatial() * BLOCK;
    // outputs of a row that see it with all taps: short rows are laid between zeros, so that all do
    const bool lay = xs.w <= SHORT_ROW;
    const i64 room = xs.w - 1 + pad - (kernel.w - 1) * apart,
              inside = lay ? 0 : clamp(ceil_div(pad, step), 0, ys.w),
              end_inside = lay ? ys.w : clamp(room < 0 ? 0 : room / step + 1, inside, ys.w),
              reach = (ys.w - 1) * step + (kernel.w - 1) * apart + 1,
              pitch = (lay ? most(xs.w + pad, reach) : xs.w) * BLOCK;
    const auto add = add_row_of(kernel.w);
    parallel_for(blocks, 1 + 30000 / (xs.n * ys.spatial() * (taps + 8) + 1), [&](i64 begin, i64 end) {
        Scratch<real> x(x_plane), y(y_plane), sums(taps * BLOCK), total(taps * BLOCK), wide(lay ? xs.h * pitch : 0);
        if (lay) std::memset(wide, 0, xs.h * pitch * sizeof(real));
        const real* const rows = lay ? wide + pad * BLOCK : x;
        for (i64 block = begin; block < end; ++block) {
            const i64 c = block * BLOCK, count = clamp(xs.c - c, 0, BLOCK), in_shape[] = {1, count, xs.h, xs.w},
                      out_shape[] = {1, count, ys.h, ys.w};
            std::memset(total, 0, taps * BLOCK * sizeof(real));
            for (i64 n = 0; n < xs.n; ++n) {
                to_blocked({conv.x + (n * xs.c + c) * xs.spatial(), in_shape, 4}, {x, 1, 1, xs.h, xs.w, x_plane});
                to_blocked({conv.y + (n * xs.c + c) * ys.spatial(), out_shape, 4}, {y, 1, 1, ys.h, ys.w, y_plane});
                for (i64 h = 0; lay && h < xs.h; ++h)
                    std::memcpy(wide + h * pitch + pad * BLOCK, x + h * xs.w * BLOCK, xs.w * BLOCK * sizeof(real));
                std::memset(sums, 0, taps * BLOCK * sizeof(real));
                for (i64 o = 0; o < ys.h; ++o)
                    for (i64 r = 0; r < kernel.h; ++r) {
                        const i64 h = o * stride[1] + r * dilation[1] - padding[1];
                        if (h < 0 || h >= xs.h) continue;
                        const real *const dy = y + o * ys.w * BLOCK, *const row = rows + h * pitch;
                        real* const row_sums = sums + r * kernel.w * BLOCK;
                        if (inside < end_inside)
                            add(dy + inside * BLOCK, row + (inside * step - pad) * BLOCK, end_inside - inside,
                                step * BLOCK, apart * BLOCK, kernel.w, row_sums);
                        for (i64 w = 0; w < ys.w; ++w) {
                            if (w == inside) w = end_inside;
                            if (w == ys.w) break;
                            const i64 left = w * step - pad, s = left < 0 ? ceil_div(-left, apart) : 0,
                                      seen = clamp(ceil_div(xs.w - left, apart), s, kernel.w) - s;
                            if (seen > 0)
                                add_row_of(seen)(dy + w * BLOCK, row + (left + s * apart) * BLOCK, 1, 0,
                                                 apart * BLOCK, seen, row_sums + s * BLOCK);
                        }
                    }
                for (i64 i = 0; i < taps * BLOCK; i += LANES) store(total + i, load(total + i) + load(sums + i));
            }
            for (i64 i = 0; i < count; ++i)
                for (i64 t = 0; t < taps; ++t) dw[(c + i) * taps + t] = total[t * BLOCK + i];
        }
    });
    return true;
}
END_KERNELS
