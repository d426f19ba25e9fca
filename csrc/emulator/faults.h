// What was found wrong in a launch: one line a fault, for the driver to read.
#pragma once
#include <cstdint>
#include <string>

namespace cuemu {
// Notes a fault of the thread that runs; of the same kind at the same place only the first. pc is
// an address in the kernel's library, or 0.
void report(const char* kind, std::uintptr_t pc, const char* format, ...)
    __attribute__((format(printf, 3, 4)));

void clear_faults();
int fault_count();
const std::string& fault_lines();   // kind, pc within the library, who, message: between tabs
}  // namespace cuemu
