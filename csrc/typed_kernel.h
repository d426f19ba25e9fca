// What kernels of arrays of any element type include, with REAL=float: kernels/<family>/typed*.cpp,
// compiled once and shared by all instruction sets, and vector*.cpp, compiled for each. They are the
// rows of kernels/<family>/typed.inc, and stand in the tables of float and of double.
#pragma once
#include "kernel.h"

namespace ISA::REAL_NAME {
#define KERNEL(name, signature) void name signature;
#define VECTOR(name, signature) void name signature;
#include "typed.inc"
#undef VECTOR
#undef KERNEL
}  // namespace ISA::REAL_NAME
