// What every access of a checked kernel goes through.
#pragma once
#include <cstddef>
#include <cstdint>

namespace cuemu {
enum class Kind : std::uint8_t { READ, WRITE, ATOMIC };

// An access of the thread that runs. `aligned`: one instruction makes it, so it must lie on a
// multiple of its size.
void check_access(std::uintptr_t address, std::size_t bytes, Kind kind, std::uintptr_t pc,
                  bool aligned = true);

// The memory holds nothing that may be read until it is written again.
void check_emptied(std::uintptr_t address, std::size_t bytes);
}  // namespace cuemu
