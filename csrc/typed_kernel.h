// What every kernels/<family>/typed*.cpp includes: kernels of arrays of any element type, compiled
// once per instruction set (with REAL=float). They are the rows of kernels/<family>/typed.inc, and
// stand in the tables of float and of double.
#pragma once
#include "kernel.h"

namespace ISA::REAL_NAME {
#define KERNEL(name, signature) void name signature;
#include "typed.inc"
#undef KERNEL
}  // namespace ISA::REAL_NAME
