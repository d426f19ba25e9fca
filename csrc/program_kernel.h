// What every kernels/<family>/blocked*.cpp includes: kernels that only compiled programs call,
// compiled once per instruction set, for float. They are the rows of kernels/<family>/program.inc.
#pragma once
#include "kernel.h"

namespace ISA::REAL_NAME {
#define KERNEL(name, signature) void name signature;
#define ONLY(isa, name, signature) void name signature;
#include "program.inc"
#undef KERNEL
#undef ONLY
}  // namespace ISA::REAL_NAME
