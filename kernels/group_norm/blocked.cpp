// group_norm in blocked layout: lanes are channels, so mean and second moment are taken of each
// channel first, and those of a group's channels merged (Chan, Golub & LeVeque, 1979). A piece of
// pixels that stays in the first-level cache is summed twice, as moments.h has it.
#include "../batch_norm/moments.h"
#include "blocked/epilogue.h"

BEGIN_KERNELS
namespace {
constexpr i64 PIXELS = 256;   // of a piece

// Moments of LANES channels
void channel_moments(const real* x, i64 pixels, Moments (&of)[LANES]) {
    for (i64 from = 0; from < pixels; from += PIXELS) {
        const i64 n = pixels - from < PIXELS ? pixels - from : PIXELS;
        const real* p = x + from * BLOCK;
        V sum[4] = {}, rest[4] = {}, square[4] = {};
        const auto each = [&](auto body) {
            i64 i = 0;
            for (; i + 4 <= n; i += 4)
                #pragma GCC unroll 4
                for (int k = 0; k < 4; ++k) body(load(p + (i + k) * BLOCK), k);
            for (; i < n; ++i) body(load(p + i * BLOCK), 0);
        };
        each([&](V v, int k) { sum[k] += v; });
        const V mean = ((sum[0] + sum[1]) + (sum[2] + sum[3])) / splat((real)n);
        each([&](V v, int k) {
            const V d = v - mean;
            rest[k] += d;
            square[k] += d * d;
        });
        const V left = (rest[0] + rest[1]) + (rest[2] + rest[3]),
                squares = (square[0] + square[1]) + (square[2] + square[3]);
        for (int l = 0; l < LANES; ++l) {
            const double off = (double)left[l] / (double)n;
            of[l].merge((double)n, mean[l] + off, squares[l] - (double)n * off * off);
        }
    }
}
}  // namespace

void group_norm_blocked(InMap<real> x, i64 channels, i64 groups, In<real> weight, In<real> bias, double eps,
                        Act act, OutMap<real> y) {
    const Epilogue e(act);
    const i64 pixels = x.h * x.w, each = channels / groups, lanes = x.blocks * BLOCK;
    Scratch<Moments> of(x.n * lanes);
    Scratch<real> mean(x.n * lanes), scale(x.n * lanes);
    parallel_for(x.n * x.blocks, 1 + 16384 / (x.plane() + 1), [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i)
            for (int part = 0; part < BLOCK; part += LANES) {
                Moments found[LANES];
                channel_moments(x.at(i / x.blocks, i % x.blocks) + part, pixels, found);
                for (int l = 0; l < LANES; ++l) of[i * BLOCK + part + l] = found[l];
            }
    });
    for (i64 n = 0; n < x.n; ++n)
        for (i64 c = 0; c < lanes; c += each < lanes - c ? each : lanes - c) {   // the last ones are nobody's
            const i64 from = n * lanes + c, count = each < lanes - c ? each : lanes - c;
            Moments m = of[from];
            for (i64 k = 1; k < count; ++k) m.merge(of[from + k].count, of[from + k].mean, of[from + k].squares);
            for (i64 k = 0; k < count; ++k) {
                mean[from + k]  = (real)m.mean;
                scale[from + k] = reciprocal_deviation(m.variance(), eps);
            }
        }
    const i64 runs = (pixels + PIXELS - 1) / PIXELS;
    parallel_for(y.n * y.blocks * runs, 1 + 1024 / (pixels < PIXELS ? pixels + 1 : PIXELS), [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const i64 n = i / runs / y.blocks, block = i / runs % y.blocks, from = i % runs * PIXELS,
                      to = from + PIXELS < pixels ? from + PIXELS : pixels;
            const real* in = x.at(n, block);
            real* out = y.at(n, block);
            const Clamp clamp(e);
            for (int part = 0; part < BLOCK; part += LANES) {
                const i64 c = block * BLOCK + part;
                const V m = load(mean + n * lanes + c),
                        s = load(scale + n * lanes + c) * (weight ? load(weight.data + c) : splat(1)),
                        b = bias ? load(bias.data + c) : V{};
                for (i64 p = from; p < to; ++p)
                    store(out + p * BLOCK + part, clamp((load(in + p * BLOCK + part) - m) * s + b));
            }
            e.finish(out + from * BLOCK, (to - from) * BLOCK);
        }
    });
}
END_KERNELS
