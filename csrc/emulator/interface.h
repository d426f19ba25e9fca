// What the emulator's library exports, and the variables that every CUDA thread reads.
// include/cuemu_runtime.h declares the same for kernels.
#pragma once
#define CUEMU_API extern "C" __attribute__((visibility("default")))

struct Uint3 { unsigned x, y, z; };
CUEMU_API Uint3 threadIdx;
CUEMU_API Uint3 blockIdx;
CUEMU_API Uint3 blockDim;
CUEMU_API Uint3 gridDim;
