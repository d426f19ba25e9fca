// pixel_shuffle moves value (plane, i, j, h, w) of an image of r r channels a plane to (plane, h r
// + i, w r + j) of a large one; pixel_unshuffle moves it back. Both walk the large image in order.
// With r = 2 or 4 a thread takes the r neighbours of one w at once: a warp then moves whole lines
// on both sides. With other r it takes a value, and a warp meets r runs of the small image.
#include "elementwise/broadcast.cuh"

// sizes: planes, H, r, W, and r / R: what a unit of the large image is found by. R: values a unit
template <int R, bool SHUFFLE>
__device__ __forceinline__ void move(const real* x, const Dims& sizes, const Dims& magic, int units,
                                     real* y) {
    const unsigned height = sizes[1], r = sizes[2], width = sizes[3], area = height * width;
    const bool packed = (unsigned long long)(SHUFFLE ? y : x) % (R * sizeof(real)) == 0;
    const unsigned threads = gridDim.x * blockDim.x;
    for (unsigned unit = blockIdx.x * blockDim.x + threadIdx.x; unit < units; unit += threads) {
        unsigned rest = unit, at[5];
#pragma unroll
        for (int axis = 4; axis > 0; --axis) {
            const unsigned outer = quotient(rest, sizes[axis], magic[axis]);
            at[axis] = rest - outer * sizes[axis];
            rest = outer;
        }
        const unsigned small = ((rest * r + at[2]) * r + at[4]) * area + at[1] * width + at[3];
        Packet<real, R> values;
        if (SHUFFLE) {
#pragma unroll
            for (int j = 0; j < R; ++j) values.v[j] = x[small + j * area];
        } else if (packed) {
            values = ((const Packet<real, R>*)x)[unit];
        } else {
#pragma unroll
            for (int j = 0; j < R; ++j) values.v[j] = x[unit * R + j];
        }
        if (!SHUFFLE) {
#pragma unroll
            for (int j = 0; j < R; ++j) y[small + j * area] = values.v[j];
        } else if (packed) {
            ((Packet<real, R>*)y)[unit] = values;
        } else {
#pragma unroll
            for (int j = 0; j < R; ++j) y[unit * R + j] = values.v[j];
        }
    }
}

extern "C" {
__global__ void __launch_bounds__(256)
    pixel_shuffle_1(const real* x, const __grid_constant__ Dims sizes, const __grid_constant__ Dims magic,
                    int units, real* y) {
    move<1, true>(x, sizes, magic, units, y);
}
__global__ void __launch_bounds__(256)
    pixel_shuffle_2(const real* x, const __grid_constant__ Dims sizes, const __grid_constant__ Dims magic,
                    int units, real* y) {
    move<2, true>(x, sizes, magic, units, y);
}
__global__ void __launch_bounds__(256)
    pixel_shuffle_4(const real* x, const __grid_constant__ Dims sizes, const __grid_constant__ Dims magic,
                    int units, real* y) {
    move<4, true>(x, sizes, magic, units, y);
}
__global__ void __launch_bounds__(256)
    pixel_unshuffle_1(const real* x, const __grid_constant__ Dims sizes, const __grid_constant__ Dims magic,
                      int units, real* y) {
    move<1, false>(x, sizes, magic, units, y);
}
__global__ void __launch_bounds__(256)
    pixel_unshuffle_2(const real* x, const __grid_constant__ Dims sizes, const __grid_constant__ Dims magic,
                      int units, real* y) {
    move<2, false>(x, sizes, magic, units, y);
}
__global__ void __launch_bounds__(256)
    pixel_unshuffle_4(const real* x, const __grid_constant__ Dims sizes, const __grid_constant__ Dims magic,
                      int units, real* y) {
    move<4, false>(x, sizes, magic, units, y);
}
}
