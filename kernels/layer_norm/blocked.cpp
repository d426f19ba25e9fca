// y = act((x - mean) * rstd * weight + bias) with mean and deviation of each pixel over its channels:
// layer_norm of an image whose channels come last, or of one in blocked layout, where a pixel's
// blocks lie a plane apart. A few neighbouring pixels at a time (rows.h).
#include "blocked/epilogue.h"
#include "rows.h"

BEGIN_KERNELS
void layer_norm_blocked(InMap<real> x, i64 channels, In<real> weight, In<real> bias, double eps, Act act,
                        OutMap<real> y) {
    const Epilogue e(act);
    const i64 pixels = x.h * x.w, tiles = (pixels + NORMED - 1) / NORMED;
    parallel_for(x.n * tiles, 1 + 8192 / (channels * NORMED + 1), [&](i64 begin, i64 end) {
        for (i64 tile = begin; tile < end; ++tile) {
            const i64 n = tile / tiles, first = tile % tiles * NORMED;
            i64 at[NORMED];   // the last pixel again, where there are no more
            for (int p = 0; p < NORMED; ++p) at[p] = (first + p < pixels ? first + p : pixels - 1) * BLOCK;
            const RowMoments m = row_moments(channels, [&](auto body) {
                i64 c = 0;
                for (; c + LANES <= channels; c += LANES) {
                    const real* in = x.at(n, c / BLOCK) + c % BLOCK;
                    #pragma GCC unroll 8
                    for (int p = 0; p < NORMED; ++p) body(p, load(in + at[p]), [](V v) { return v; });
                }
                if (c == channels) return;
                const int left = (int)(channels - c);
                const real* in = x.at(n, c / BLOCK) + c % BLOCK;
                #pragma GCC unroll 8
                for (int p = 0; p < NORMED; ++p)
                    body(p, load(in + at[p], left), [&](V v) { return REAL_NAME::first(v, left); });
            });
            real scale[NORMED];
            for (int p = 0; p < NORMED; ++p) scale[p] = reciprocal_deviation(m.variance[p], eps);
            const Clamp clamp(e);
            const i64 count = pixels - first < NORMED ? pixels - first : NORMED;
            for (i64 c = 0; c < channels; c += LANES) {
                const real* in = x.at(n, c / BLOCK) + c % BLOCK;
                real* out = y.at(n, c / BLOCK) + c % BLOCK;
                const V w = weight ? load(weight.data + c) : splat(1), b = bias ? load(bias.data + c) : V{};
                #pragma GCC unroll 8
                for (int p = 0; p < NORMED; ++p)
                    store(out + at[p], clamp((load(in + at[p]) - m.mean[p]) * scale[p] * w + b));
            }
            for (i64 block = 0; block < y.blocks; ++block)
                e.finish(y.at(n, block) + first * BLOCK, count * BLOCK);
        }
    });
}
END_KERNELS
