#include "faults.h"
#include <cstdarg>
#include <cstdio>
#include <set>
#include "block.h"

namespace cuemu {
namespace {
constexpr int MOST_FAULTS = 50;   // written out; all are counted
std::set<std::pair<std::string, std::uintptr_t>> seen;
std::string lines;
}  // namespace

void report(const char* kind, std::uintptr_t pc, const char* format, ...) {
    if (!seen.insert({kind, pc}).second || seen.size() > MOST_FAULTS) return;
    const Uint3 thread = block.current ? block.current->index : Uint3{0, 0, 0};
    char head[200], message[1200];
    std::snprintf(head, sizeof head, "%s\t0x%llx\tblock(%u,%u,%u) thread(%u,%u,%u)\t", kind,
                  static_cast<unsigned long long>(pc ? offset_of(pc) : 0), blockIdx.x, blockIdx.y, blockIdx.z,
                  thread.x, thread.y, thread.z);
    va_list values;
    va_start(values, format);
    std::vsnprintf(message, sizeof message, format, values);
    va_end(values);
    lines += head;
    lines += message;
    lines += '\n';
}

void clear_faults() {
    seen.clear();
    lines.clear();
}

int fault_count() { return static_cast<int>(seen.size()); }
const std::string& fault_lines() { return lines; }
}  // namespace cuemu
