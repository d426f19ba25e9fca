// The instruction sets of isas.inc, with the kernels of those that this build holds.
#pragma once
#include <vector>
#include "row.h"

struct Isa {
    const char* name;
    bool runs;               // this CPU has it
    const Row *f32, *f64;    // until a row without a name; nullptr where the build left the set out
};
const std::vector<Isa>& all_isas();
