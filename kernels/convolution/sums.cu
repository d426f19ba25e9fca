// Sums in two stages whose order depends on shapes alone: blocks leave partial results,
// split_sum adds them in order.
#include "index.cuh"
#include "reduce.cuh"

// out[i] = bias[channel of i] + sum over parts of partial[part][i]
__device__ void add_parts(const acc* partial, const real* bias, real* out, i64 count, int parts, i64 plane,
                          int channels) {
    for (GRID_STRIDE(i, count)) {
        acc sum = bias ? value(bias[i / plane % channels]) : acc(0);
        for (int part = 0; part < parts; ++part) sum += partial[part * count + i];
        out[i] = rounded(sum);
    }
}

// A block sums one channel over its share of the samples' planes, seen as one line of batch x
// plane; a thread takes packets where planes are made of whole ones.
__device__ void sum_channel(const real* dy, acc* partial, real* total, int batch, int channels, i64 plane,
                            int parts) {
    __shared__ acc slots[32];
    const int channel = blockIdx.x % channels, part = blockIdx.x / channels;
    const bool packets = plane % LANES == 0 && (reinterpret_cast<size_t>(dy) & 15) == 0;
    const i64 units = packets ? plane / LANES : plane, line = batch * units,
              each = (line + parts - 1) / parts;
    const i64 begin = part * each, end = begin + each < line ? begin + each : line;
    acc sum = 0;
    if (begin + threadIdx.x < end) {
        const i64 skip = blockDim.x / units, step = blockDim.x % units;
        i64 n = (begin + threadIdx.x) / units, at = (begin + threadIdx.x) % units;
        for (i64 i = begin + threadIdx.x; i < end; i += blockDim.x) {
            const real* from = dy + (n * channels + channel) * plane;
            if (packets) {
                const Pack pack = reinterpret_cast<const Pack*>(from)[at];
#pragma unroll
                for (int v = 0; v < LANES; ++v) sum += value(pack.v[v]);
            } else sum += value(from[at]);
            n += skip, at += step;
            if (at >= units) at -= units, ++n;
        }
    }
    sum = block_reduce<Sum>(sum, slots);
    if (threadIdx.x == 0) {
        if (partial) partial[part * channels + channel] = sum;
        else total[channel] = rounded(sum);
    }
}

extern "C" {
__global__ void __launch_bounds__(256) split_sum(const acc* partial, const real* bias, real* out, i64 count,
                                                 int parts, i64 plane, int channels) {
    add_parts(partial, bias, out, count, parts, plane, channels);
}
__global__ void __launch_bounds__(256)
    channel_sum(const real* dy, acc* partial, real* total, int batch, int channels, i64 plane, int parts) {
    sum_channel(dy, partial, total, batch, channels, plane, parts);
}
}
