// Undefined behaviour that the compiler sees at run time
// (-fsanitize=alignment,bounds-strict,shift,...): handlers of our own, so that a fault names the
// CUDA thread and the kernel goes on where it can.
#include "block.h"
#include "faults.h"
#include "memory.h"

namespace {
struct SourcePlace { const char* file; std::uint32_t line, column; };   // as the compiler writes them
struct TypeMismatch { SourcePlace place; void* type; unsigned char log2_alignment, kind; };
using ull = unsigned long long;
}  // namespace

#define CALLER reinterpret_cast<std::uintptr_t>(__builtin_return_address(0))
#define HANDLER(NAME, KIND, TEXT) \
    CUEMU_API void __ubsan_handle_##NAME(SourcePlace* at, ...) { \
        if (cuemu::block.current) cuemu::report(KIND, CALLER, "%s at %s:%u:%u", TEXT, at->file, at->line, at->column); \
    }
HANDLER(shift_out_of_bounds, "shift", "shift amount out of range")
HANDLER(divrem_overflow, "divide", "division by zero or overflow")
HANDLER(add_overflow, "int-overflow", "signed addition overflow")
HANDLER(sub_overflow, "int-overflow", "signed subtraction overflow")
HANDLER(mul_overflow, "int-overflow", "signed multiplication overflow (index too large for int?)")
HANDLER(negate_overflow, "int-overflow", "signed negation overflow")
HANDLER(float_cast_overflow, "float-cast", "float to int out of range")
HANDLER(pointer_overflow, "pointer", "pointer overflow")
HANDLER(load_invalid_value, "bool", "invalid bool/enum")
HANDLER(vla_bound_not_positive, "vla", "non-positive VLA bound")

CUEMU_API void __ubsan_handle_out_of_bounds(SourcePlace* at, std::uintptr_t index) {
    if (cuemu::block.current)
        cuemu::report("array-index", CALLER, "index %lld is outside the array's declared bound at %s:%u:%u",
                      static_cast<long long>(index), at->file, at->line, at->column);
}

CUEMU_API void __ubsan_handle_type_mismatch_v1(TypeMismatch* found, std::uintptr_t address) {
    const std::uintptr_t alignment = std::uintptr_t(1) << found->log2_alignment;
    if (!cuemu::block.current || address % alignment == 0) return;   // null is left to the check of bounds
    const cuemu::Region* region = cuemu::find_region(address);
    cuemu::report("misaligned", CALLER, "access needs %llu-byte alignment: '%s' + %llu at %s:%u:%u",
                  ull(alignment), region ? region->name.c_str() : "?",
                  region ? ull(address - region->low) : 0, found->place.file, found->place.line,
                  found->place.column);
    cuemu::stop_kernel();   // the access itself might end this process
}
