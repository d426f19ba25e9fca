// The C interface: what the driver (pyops/cuda/emulator.py) calls, and what a kernel may ask that
// belongs to no other file.
#include "block.h"
#include "faults.h"
#include "memory.h"
#include "traffic.h"
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

Uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace cuemu {
namespace {
long long ticks = 0;

// While it lives denormal numbers are zero, as operands and as results.
class FlushDenormals {
public:
#if defined(__x86_64__)
    explicit FlushDenormals(bool flush) : before(_mm_getcsr()) {
        if (flush) _mm_setcsr(before | FLUSH_RESULTS | ZERO_OPERANDS);
    }
    ~FlushDenormals() { _mm_setcsr(before); }

private:
    static constexpr unsigned FLUSH_RESULTS = 0x8000, ZERO_OPERANDS = 0x0040;
    unsigned before;
#else
    explicit FlushDenormals(bool) {}
#endif
};

void give_stacks(std::size_t threads, std::size_t bytes) {
    static std::size_t given = 0;
    std::size_t have = block.threads.size();
    if (bytes > given) have = 0;   // all anew
    given = std::max(given, bytes);
    if (block.threads.size() < threads) block.threads.resize(threads);
    for (; have < block.threads.size(); ++have) block.threads[have].fiber.give_stack(given);
}
}  // namespace
}  // namespace cuemu

CUEMU_API void cuemu_reset() { cuemu::clear_regions(); }

CUEMU_API void cuemu_add_region(const char* name, void* low, std::size_t bytes, int space, int read_only) {
    cuemu::add_region(name, reinterpret_cast<std::uintptr_t>(low), bytes, static_cast<cuemu::Space>(space),
                      read_only != 0);
}

CUEMU_API void cuemu_launch(const cuemu::Launch* wanted, cuemu::Counts* out) {
    using namespace cuemu;
    launch = *wanted;
    counts = {};
    clear_faults();
    clear_traffic();
    gridDim = {launch.grid[0], launch.grid[1], launch.grid[2]};
    blockDim = {launch.block[0], launch.block[1], launch.block[2]};
    for (Uint3* builtin : {&threadIdx, &blockIdx, &blockDim, &gridDim})
        add_region("builtin", reinterpret_cast<std::uintptr_t>(builtin), sizeof *builtin, Space::MODULE,
                   false);
    settle_regions(launch.checked);
    give_stacks(launch.block[0] * launch.block[1] * launch.block[2], launch.stack);
    {
        FlushDenormals flush(launch.flush_denormals);
        run_blocks();
    }
    clear_regions();
    counts.faults = fault_count();
    counts.stopped = block.stopped;
    *out = counts;
}

CUEMU_API const char* cuemu_report() { return cuemu::fault_lines().c_str(); }

CUEMU_API const char* cuemu_profile() {
    static std::string lines;
    lines = cuemu::traffic_lines();
    return lines.c_str();
}

CUEMU_API void* cuemu_dyn_smem() { return cuemu::dynamic_shared_memory(); }

// Addresses within shared memory, as PTX has them.
CUEMU_API unsigned cuemu_smem_offset(const void* p) {
    return static_cast<unsigned>(static_cast<const char*>(p) - cuemu::shared_memory());
}
CUEMU_API void* cuemu_smem_ptr(unsigned offset) {
    return cuemu::shared_memory() + static_cast<int>(offset);
}

CUEMU_API long long cuemu_clock() { return cuemu::ticks += 7; }

CUEMU_API void cuemu_error(int fatal, const char* kind, const char* message) {
    cuemu::report(kind, reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)), "%s", message);
    if (fatal) cuemu::stop_kernel();
}
