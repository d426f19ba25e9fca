// What every kernels/<family>/cpu.cpp includes. The file is compiled once per instruction set and element type; setup.py passes
// ISA (avx512, avx2, scalar, neon), REAL_NAME (f32, f64) and REAL (float, double). Its kernels are the rows of kernels.inc.
#pragma once
#include "parallel.h"
#include "scratch.h"
#include "simd.h"
#include "view.h"

namespace ISA::REAL_NAME {
#define KERNEL(name, signature) void name signature;
#include "kernels.inc"
#undef KERNEL
}  // namespace ISA::REAL_NAME

#define BEGIN_KERNELS namespace ISA::REAL_NAME {
#define END_KERNELS }
