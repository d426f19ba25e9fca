// The machine's ceilings, measured with the same vector type and threads as every other
// kernel: multiply-adds that touch no memory, and streams that compute nothing. A measured
// rate means little without them.
#include "kernel.h"

BEGIN_KERNELS

// Independent chains of multiply-adds: enough to cover latency x issue width, few enough
// to stay in registers.
constexpr int CHAINS = VECTOR_BYTES == 64 ? 24 : 12;

static void multiply_add(i64 repeats) {
    V chain[CHAINS];
    // A fixed point of 1: neither overflow nor denormals. No chain begins there, as the compiler would leave it out.
    for (int i = 0; i < CHAINS; ++i) chain[i] = splat(real(0.1) * (i + real(0.5)));
    const V scale = splat(real(0.999)), shift = splat(real(0.001));
    for (i64 r = 0; r < repeats; ++r) {
        #pragma GCC unroll 32
        for (int i = 0; i < CHAINS; ++i) chain[i] = chain[i] * scale + shift;
    }
    V sum{};
    for (int i = 0; i < CHAINS; ++i) sum += chain[i];
    volatile real kept = hsum(sum);
    (void)kept;
}

// One index a thread; each stores the operations it did.
void machine_flops(i64 repeats, Out<real> flops) {
    parallel_for(flops.size(), 1, [&](i64 begin, i64 end) {
        for (i64 t = begin; t < end; ++t) {
            multiply_add(repeats);
            flops.data[t] = real(2) * CHAINS * LANES * repeats;
        }
    });
}

// y = x, `repeats` times, each thread its own part.
void machine_copy(In<real> x, i64 repeats, Out<real> y) {
    parallel_for(x.size(), 1024, [&](i64 begin, i64 end) {
        for (i64 r = 0; r < repeats; ++r) {
            for_vectors(end - begin, [&](i64 i, auto lanes) {
                lanes.store(y.data + begin + i, lanes.load(x.data + begin + i));
            });
            asm volatile("" ::: "memory");
        }
    });
}

// Reads x, `repeats` times. One index of `sums` a thread; x is cut evenly among them.
void machine_read(In<real> x, i64 repeats, Out<real> sums) {
    const i64 parts = sums.size(), n = x.size() / parts;
    parallel_for(parts, 1, [&](i64 begin, i64 end) {
        for (i64 t = begin; t < end; ++t) {
            V sum[4] = {};   // a chain each: one alone would wait for its additions
            for (i64 r = 0; r < repeats; ++r) {
                for (i64 i = 0; i + 4 * LANES <= n; i += 4 * LANES)
                    for (int j = 0; j < 4; ++j) sum[j] += load(x.data + t * n + i + j * LANES);
                asm volatile("" ::: "memory");
            }
            sums.data[t] = hsum((sum[0] + sum[1]) + (sum[2] + sum[3]));
        }
    });
}

END_KERNELS
