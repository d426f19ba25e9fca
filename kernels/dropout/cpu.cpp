// dropout: y = x * scale + shift where the random number of the value is at least `threshold`, else
// `fill`; `shared` values in a row have one number (a channel's). Numbers come from Philox 4x32-10
// (Salmon et al. 2011), a keyed hash of a counter: which number a value has depends on its place
// and the seed alone, not on threads or vectors, and the gradient makes the same ones again instead
// of reading a mask. A block of 64 numbers is word 0 of 16 counters, then word 1, 2 and 3.
#include "dropout/philox.h"
#include "kernel.h"

BEGIN_KERNELS

static void drop_values(In<real> x, u64 seed, u64 threshold, real scale, real shift, real fill, Out<real> y) {
    const i64 n = x.size();
    parallel_for((n + DRAWN - 1) / DRAWN, 64, [&](i64 begin, i64 end) {
        u32 numbers[DRAWN];
        for (i64 b = begin; b < end; ++b) {
            random_block(b, seed, numbers);
            const i64 from = b * DRAWN;
            for_vectors(n - from < DRAWN ? n - from : DRAWN, [&](i64 i, auto lanes) {
                const V kept = lanes.load(x.data + from + i) * scale + shift;
                lanes.store(y.data + from + i, at_least(numbers + i, threshold) ? kept : splat(fill));
            });
        }
    });
}

static void drop_runs(In<real> x, i64 shared, u64 seed, u64 threshold, real scale, real shift, real fill,
                      Out<real> y) {
    const i64 runs = x.size() / shared;
    parallel_for((runs + DRAWN - 1) / DRAWN, 1 + 4096 / (DRAWN * shared), [&](i64 begin, i64 end) {
        u32 numbers[DRAWN];
        for (i64 b = begin; b < end; ++b) {
            random_block(b, seed, numbers);
            for (i64 r = b * DRAWN; r < runs && r < (b + 1) * DRAWN; ++r) {
                const bool  keep = numbers[r % DRAWN] >= threshold;
                const real* xr   = x.data + r * shared;
                for_vectors(shared, [=](i64 i, auto lanes) {
                    lanes.store(y.data + r * shared + i,
                                keep ? lanes.load(xr + i) * scale + shift : splat(fill));
                });
            }
        }
    });
}

void dropout(In<real> x, i64 seed, i64 threshold, i64 shared, double scale, double shift, double fill,
             Out<real> y) {
    if (x.size() == 0) return;
    if (shared == 1)
        return drop_values(x, (u64)seed, (u64)threshold, (real)scale, (real)shift, (real)fill, y);
    drop_runs(x, shared, (u64)seed, (u64)threshold, (real)scale, (real)shift, (real)fill, y);
}

END_KERNELS
