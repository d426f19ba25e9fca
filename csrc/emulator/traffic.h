// What the memory system would have to do for the accesses of each instruction: 32-byte sectors of
// global memory, passes over shared memory's banks.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include "block.h"
#include "memory.h"

namespace cuemu {
void log_access(const Thread& thread, std::uintptr_t address, std::size_t bytes, bool write, Space space,
                std::uintptr_t pc);
void count_requests(int warp);   // of all logged since the last call
void clear_traffic();
// pc, space, load or store, bytes a thread, requests, threads, bytes, transactions,
// the fewest: between tabs
std::string traffic_lines();
}  // namespace cuemu
