// setup.py passes FOR_BUILT_ISAS(X): X(isa) for each set that it compiled.
#include "isas.h"
#include <string_view>

#define DECLARE(isa) namespace isa { namespace f32 { extern const Row rows[]; } namespace f64 { extern const Row rows[]; } }
FOR_BUILT_ISAS(DECLARE)
#undef DECLARE

namespace {
#if defined(__x86_64__)
#define X86(feature) bool(__builtin_cpu_supports(feature))
[[maybe_unused]] constexpr bool ARM64 = false;
#else
#define X86(feature) false
#if defined(__aarch64__)
[[maybe_unused]] constexpr bool ARM64 = true;
#else
[[maybe_unused]] constexpr bool ARM64 = false;
#endif
#endif

std::vector<Isa> look() {
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
    std::vector<Isa> isas = {
#define ISA(name, machines, runs, flags) {#name, runs, nullptr, nullptr},
#include "isas.inc"
#undef ISA
    };
    for (Isa& isa : isas) {
        const std::string_view name = isa.name;
#define FIND(built) if (name == #built) isa.f32 = built::f32::rows, isa.f64 = built::f64::rows;
        FOR_BUILT_ISAS(FIND)
#undef FIND
    }
    return isas;
}
}  // namespace

const std::vector<Isa>& all_isas() {
    static const std::vector<Isa>& isas = *new std::vector<Isa>(look());
    return isas;
}
