// What every kernels/<family>/cpu.cpp includes. The file is compiled once per instruction set and
// element type; setup.py passes ISA (a row of isas.inc), REAL_NAME (f32, f64) and REAL (float,
// double). Its kernels are the rows of kernels/<family>/kernels.inc.
#pragma once
#include "parallel.h"
#include "scratch.h"
#include "simd.h"
#include "view.h"

namespace ISA::REAL_NAME {
#define KERNEL(name, signature) void name signature;
#define ONLY(isa, name, signature) void name signature;
#if __has_include("kernels.inc")
#include "kernels.inc"   // the family's own, whose folder setup.py names: a new row compiles one family
#endif
#undef KERNEL
#undef ONLY
}  // namespace ISA::REAL_NAME

#define BEGIN_KERNELS namespace ISA::REAL_NAME {
#define END_KERNELS }
