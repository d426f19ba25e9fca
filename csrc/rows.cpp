// The rows of one instruction set and element type, from the tables of all families (setup.py
// writes the lists of them). setup.py compiles this once for each with ISA, REAL_NAME and REAL as
// for kernels, but without the set's compiler flags: it runs before anyone has asked what the CPU
// can do, and shares templates with the rest. Some kernels are another set's: TYPED_ISA and
// MEMORY_ISA name those that have them compiled.
#include <string_view>
#include "row.h"

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

#define KERNEL(name, signature) void name signature;
#define ONLY(isa, name, signature) void name signature;
namespace ISA::REAL_NAME {
using real = REAL;
#include "compute_kernels.inc"
#if defined(REAL_f32)
#include "all_programs.inc"
#endif
}  // namespace ISA::REAL_NAME
namespace MEMORY_ISA::REAL_NAME {
using real = REAL;
#include "memory_kernels.inc"
}
// Kernels of any element type are compiled with those of float: most of them once for all sets.
#define VECTOR(name, signature)
namespace TYPED_ISA::f32 {
#include "all_typed.inc"
}
#undef KERNEL
#undef VECTOR
#define KERNEL(name, signature)
#define VECTOR(name, signature) void name signature;
namespace ISA::f32 {
#include "all_typed.inc"
}
#undef KERNEL
#undef VECTOR
#undef ONLY

namespace ISA::REAL_NAME {
extern const Row rows[];
#define KERNEL(name, signature) row(#name, #signature, &name),
// The address of a kernel that is not compiled for this set may not even be named: hence a
// template, whose other branch is discarded.
#define ONLY(isa, name, signature) [](auto here) { \
        if constexpr (decltype(here)::value) return row(#name, #signature, &name, #isa); \
        else return row(#name, #signature, static_cast<decltype(&name)>(nullptr), #isa); \
    }(std::bool_constant<std::string_view(#isa) == TEXT(ISA)>{}),
const Row rows[] = {
#include "compute_kernels.inc"
#if defined(REAL_f32)
#include "all_programs.inc"
#endif
#undef KERNEL
#define KERNEL(name, signature) row(#name, #signature, &::MEMORY_ISA::REAL_NAME::name),
#include "memory_kernels.inc"
#undef KERNEL
#define KERNEL(name, signature) row(#name, #signature, &::TYPED_ISA::f32::name),
#define VECTOR(name, signature) row(#name, #signature, &f32::name),
#include "all_typed.inc"
    {}};
}  // namespace ISA::REAL_NAME
