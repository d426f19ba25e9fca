// The memory that a kernel may use: the arrays among its arguments, shared memory, and the
// variables of its own library.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include "shadow.h"

namespace cuemu {
// accesses to the last are only seen to be in bounds
enum class Space : std::uint8_t { GLOBAL, SHARED, MODULE };
const char* name_of(Space space);

struct Region {
    std::uintptr_t low, high;
    Space space;
    bool read_only;
    std::string name;
    Shadow shadow;
};

void add_region(const char* name, std::uintptr_t low, std::size_t bytes, Space space, bool read_only);
void settle_regions(bool checked);   // all have been added: what overlaps becomes one; shadows start empty
void clear_regions();
Region* find_region(std::uintptr_t address);   // null if it lies in none
void report_stray_access(std::uintptr_t address, unsigned bytes, bool write, std::uintptr_t pc);

// Every byte 0xff, which is NaN to all floating-point types: what a block has not written
// is seen in its results.
void empty_shared_memory();
char* dynamic_shared_memory();
char* shared_memory();   // where addresses within it are counted from
constexpr std::size_t DYNAMIC_SHARED_MOST = 256 << 10;
}  // namespace cuemu
