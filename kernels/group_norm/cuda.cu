// group_norm: each of `groups` groups of adjacent channels of each sample is one run of memory; it
// is normalised by its own mean and variance, then scaled and shifted per channel. instance_norm is
// the case of one channel a group.
//
// A group that fits into the registers of a warp or of a block is read once, here. A longer one
// is a line of batch_norm's kernels: moments of pieces, joined, then every value. The gradient
// takes sums per channel of a sample from them, weighs them into the two numbers that a group's
// values share, and adds them over the samples for weight and bias. Nothing of it depends on how
// many samples there are.
#include "layer_norm/rows.cuh"

// a thread: 64 registers hold them where a block has 1024
constexpr int BLOCK_VALUES = sizeof(acc) == 8 ? 8 : 16;

template <int PACKS>
__device__ void normalise_groups(const real* x, const real* weight, const real* bias, acc eps, real* y,
                                 acc* mean, acc* var, i64 count, int groups, int per_group, int run) {
    const i64 g = (i64)blockIdx.x * blockDim.y + threadIdx.y;
    if (g >= count) return;   // whole warps
    const int values = per_group * run, c0 = (int)(g % groups) * per_group;
    const bool packed = values % LANES == 0 && aligned(x) && aligned(y);
    Row<PACKS> row;
    row.load(x + g * values, values, packed);
    const acc m = row.sum() / acc(values), variance = row.squares(m, values) / acc(values),
              rstd = reciprocal_deviation(variance, eps);
    if (threadIdx.x == 0) {
        mean[g] = m;
        var[g] = variance;
    }
#pragma unroll
    for (int k = 0; k < PACKS; ++k) {
        const int at = Row<PACKS>::at(k), live = Row<PACKS>::live(k, values);
        if (live == 0) break;
        int c = (unsigned)at / (unsigned)run, i = at - c * run;
        acc scale = 0, shift = 0;
        auto enter = [&] {
            scale = rstd * (weight ? value(weight[c0 + c]) : acc(1));
            shift = bias ? value(bias[c0 + c]) : acc(0);
        };
        enter();
#pragma unroll
        for (int l = 0; l < LANES; ++l) {
            if (l < live && i == run) {
                i = 0;
                ++c;
                enter();
            }
            row.v[k][l] = (row.v[k][l] - m) * scale + shift;
            ++i;
        }
        store_lanes(y + g * values + at, live, packed, row.v[k]);
    }
}

extern "C" {
__global__ void __launch_bounds__(256, 4)
    group_norm_warp(const real* x, const real* weight, const real* bias, acc eps, real* y, acc* mean,
                    acc* var, i64 count, int groups, int per_group, int run) {
    normalise_groups<8 / LANES>(x, weight, bias, eps, y, mean, var, count, groups, per_group, run);
}
__global__ void __launch_bounds__(1024)
    group_norm_block(const real* x, const real* weight, const real* bias, acc eps, real* y, acc* mean,
                     acc* var, i64 count, int groups, int per_group, int run) {
    normalise_groups<BLOCK_VALUES / LANES>(x, weight, bias, eps, y, mean, var, count, groups, per_group, run);
}

// A warp a group: its channels' gradient sums from their pieces, and mean(dy weight), mean(dy
// weight n) of the group
__global__ void __launch_bounds__(256)
    group_gradients(const acc* partial, int pieces, const acc* var, const real* weight, acc eps, i64 count,
                    int groups, int per_group, int run, acc* sums, acc* coefficients) {
    const i64 g = (i64)blockIdx.x * 8 + (threadIdx.x >> 5);
    if (g >= count) return;
    const acc rstd = reciprocal_deviation(var[g], eps), values = acc(per_group) * acc(run);
    const int c0 = (int)(g % groups) * per_group;
    acc a = 0, b = 0;
    for (int c = threadIdx.x & 31; c < per_group; c += 32) {
        const i64 row = g * per_group + c;
        GradientSums all = GradientSums::none();
        for (int p = 0; p < pieces; ++p)
            all = GradientSums::join(all, GradientSums::at(partial + (row * pieces + p) * 2));
        all.gx *= rstd;
        all.put(sums + row * 2);
        const acc w = weight ? value(weight[c0 + c]) : acc(1);
        a += all.g * w;
        b += all.gx * w;
    }
    a = warp_reduce<Sum>(a);
    b = warp_reduce<Sum>(b);
    if (threadIdx.x & 31) return;
    coefficients[2 * g] = a / values;
    coefficients[2 * g + 1] = b / values;
}

// Sums over the samples: rows of eight threads a channel
__global__ void __launch_bounds__(256)
    parameter_gradients(const acc* sums, int samples, int channels, real* dweight, real* dbias) {
    __shared__ acc slots[2][8][32];
    const int c = blockIdx.x * 32 + threadIdx.x;
    acc g = 0, gn = 0;
    if (c < channels)
        for (int n = threadIdx.y; n < samples; n += 8) {
            g += sums[((i64)n * channels + c) * 2];
            gn += sums[((i64)n * channels + c) * 2 + 1];
        }
    slots[0][threadIdx.y][threadIdx.x] = g;
    slots[1][threadIdx.y][threadIdx.x] = gn;
    __syncthreads();
    if (threadIdx.y > 0 || c >= channels) return;
    for (int y = 1; y < 8; ++y) {
        g += slots[0][y][threadIdx.x];
        gn += slots[1][y][threadIdx.x];
    }
    dbias[c] = rounded(g);
    dweight[c] = rounded(gn);
}
}
