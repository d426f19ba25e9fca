// The way into blocked layout and out of it (blocked_layout.cpp; rows of program.inc), for
// kernels of other families.
#pragma once
#include "kernel.h"

namespace ISA::REAL_NAME {
void to_blocked(In<real> x, OutMap<real> y);
void from_blocked(InMap<real> x, Out<real> y);
// `channels` planes that lie `apart` to one sample's map, and
void planes_to_blocked(const real* x, i64 channels, i64 apart, OutMap<real> y);
// one sample's map to `channels` planes, of as many rows, that lie `apart`
void planes_from_blocked(InMap<real> x, i64 channels, real* y, i64 apart);
}  // namespace ISA::REAL_NAME
