// dropout: y = x * scale + shift where the random number of the value is at least `threshold`, else
// `fill`; `shared` values in a row have one number (philox.cuh).
//
// Where each value has its own number a thread hashes one counter and takes the four values that
// its words decide: 16 neighbouring threads read 16 neighbours at a time, which fills memory's
// sectors of 32 bytes in every type. Where values share numbers a thread takes a unit of neighbours
// within a run and hashes for it alone; that costs less than to hand numbers from thread to thread.
#include "dropout/philox.cuh"
#include "elementwise/broadcast.cuh"

struct Rule {
    i64 threshold;
    acc scale, shift, fill;
    __device__ __forceinline__ acc operator()(acc x, unsigned number) const {
        return (i64)number >= threshold ? x * scale + shift : fill;
    }
};

// Runs first, first + 1 ... of `run` units each
template <int W>
__device__ __forceinline__ void drop_runs(const real* x, u64 seed, i64 first, int units, int run, int magic,
                                          const Rule& rule, real* y) {
    const bool packed = W > 1 && aligned(x) && aligned(y);
    const unsigned threads = gridDim.x * blockDim.x;
    for (unsigned unit = blockIdx.x * blockDim.x + threadIdx.x; unit < units; unit += threads) {
        const unsigned number = number_of(first + quotient(unit, run, magic), seed);
        acc v[W];
        load_unit(x + unit * W, true, packed, W, v);
#pragma unroll
        for (int l = 0; l < W; ++l) v[l] = rule(v[l], number);
        store_unit(y + unit * W, packed, W, v);
    }
}

extern "C" {
__global__ void __launch_bounds__(256)
    dropout_values(const real* x, i64 seed, i64 threshold, acc scale, acc shift, acc fill, real* y, i64 n) {
    const Rule rule = {threshold, scale, shift, fill};
    for (GRID_STRIDE(counter, (n + NUMBERS - 1) / NUMBERS * COUNTERS)) {
        const Words words = philox(counter, seed);
        const i64 from = counter / COUNTERS * NUMBERS + counter % COUNTERS;
        acc v[4];
#pragma unroll
        for (int w = 0; w < 4; ++w) v[w] = from + w * COUNTERS < n ? value(x[from + w * COUNTERS]) : acc(0);
#pragma unroll
        for (int w = 0; w < 4; ++w)
            if (from + w * COUNTERS < n) y[from + w * COUNTERS] = rounded(rule(v[w], words.w[w]));
    }
}
__global__ void __launch_bounds__(256)
    dropout_run_packs(const real* x, i64 seed, i64 threshold, acc scale, acc shift, acc fill, i64 first,
                      int units, int run, int magic, real* y) {
    drop_runs<LANES>(x, seed, first, units, run, magic, {threshold, scale, shift, fill}, y);
}
__global__ void __launch_bounds__(256)
    dropout_run_values(const real* x, i64 seed, i64 threshold, acc scale, acc shift, acc fill, i64 first,
                       int units, int run, int magic, real* y) {
    drop_runs<1>(x, seed, first, units, run, magic, {threshold, scale, shift, fill}, y);
}
}
