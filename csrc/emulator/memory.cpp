#include "memory.h"
#include <algorithm>
#include <cstring>
#include <vector>
#include "block.h"
#include "faults.h"

namespace cuemu {
namespace {
std::vector<Region> regions;   // by address, none overlapping
Region* last_found = nullptr;  // most accesses are to where the one before was
// Dynamic shared memory begins where what is static ends: no further aligned than kernels declare
// it, which is 16 bytes everywhere. Who takes it for more aligned is found misaligned here.
constexpr std::size_t BEGINS = 16;
alignas(1024) char dynamic_shared[BEGINS + DYNAMIC_SHARED_MOST];
constexpr std::uintptr_t NEAR_NULL = 4096;

std::uintptr_t distance(const Region& r, std::uintptr_t address) {
    return address >= r.high ? address - r.high : address < r.low ? r.low - address : 0;
}

// Arguments may be views of one array; races between them are found only if they share a shadow.
void join(Region& into, const Region& other) {
    into.high = std::max(into.high, other.high);
    into.read_only = into.read_only && other.read_only;
    into.name += " and " + other.name;
}
}  // namespace

const char* name_of(Space space) {
    return space == Space::GLOBAL ? "global" : space == Space::SHARED ? "shared" : "module";
}

void add_region(const char* name, std::uintptr_t low, std::size_t bytes, Space space, bool read_only) {
    regions.push_back({low, low + bytes, space, read_only, name, {}});
}

void settle_regions(bool checked) {
    std::sort(regions.begin(), regions.end(), [](const Region& a, const Region& b) { return a.low < b.low; });
    std::vector<Region> settled;
    for (Region& r : regions) {
        if (!settled.empty() && r.low < settled.back().high && r.space == settled.back().space)
            join(settled.back(), r);
        else settled.push_back(std::move(r));
    }
    regions = std::move(settled);
    last_found = nullptr;
    if (checked) for (Region& r : regions) if (r.space != Space::MODULE) r.shadow = Shadow(r.high - r.low);
}

void clear_regions() {
    regions.clear();
    last_found = nullptr;
}

Region* find_region(std::uintptr_t address) {
    if (last_found && address >= last_found->low && address < last_found->high) return last_found;
    const auto after = std::upper_bound(regions.begin(), regions.end(), address,
                                        [](std::uintptr_t a, const Region& r) { return a < r.low; });
    if (after == regions.begin() || address >= std::prev(after)->high) return nullptr;
    return last_found = &*std::prev(after);
}

void report_stray_access(std::uintptr_t address, unsigned bytes, bool write, std::uintptr_t pc) {
    const char* access = write ? "write" : "read";
    if (address < NEAR_NULL || regions.empty()) {
        report("out-of-bounds", pc, "%u-byte %s of a null pointer (address 0x%llx)", bytes, access,
               static_cast<unsigned long long>(address));
        return;
    }
    const Region& r =
        *std::min_element(regions.begin(), regions.end(), [&](const Region& a, const Region& b) {
            return distance(a, address) < distance(b, address);
        });
    report("out-of-bounds", pc, "%u-byte %s %llu bytes %s '%s' (%llu bytes, %s)", bytes, access,
           static_cast<unsigned long long>(distance(r, address)),
           address < r.low ? "before" : "past the end of", r.name.c_str(),
           static_cast<unsigned long long>(r.high - r.low), name_of(r.space));
}

void empty_shared_memory() {
    std::memset(dynamic_shared_memory(), 0xff, launch.dynamic_shared);
    for (const Region& r : regions)
        if (r.space == Space::SHARED) std::memset(reinterpret_cast<void*>(r.low), 0xff, r.high - r.low);
}

char* dynamic_shared_memory() { return dynamic_shared + BEGINS; }
char* shared_memory() { return dynamic_shared; }
}  // namespace cuemu
