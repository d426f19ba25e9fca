// Uninitialised workspace aligned to a cache line, given back at the end of its scope. It comes from a block that each thread keeps between
// calls: fresh pages from the system would cost more than many a small layer. What a thread keeps is bounded (module.cpp).
#pragma once
#include <cstddef>
#include "view.h"

void* pyops_take_scratch(std::size_t bytes);
void  pyops_give_scratch(void* block, std::size_t bytes);

namespace ISA::REAL_NAME {
template <class T> struct Scratch {
    std::size_t bytes;
    T*          data;
    explicit Scratch(i64 n) : bytes((n * sizeof(T) + 127) / 64 * 64), data((T*)pyops_take_scratch(bytes)) {}
    ~Scratch() { pyops_give_scratch(data, bytes); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    operator T*() const { return data; }
};
}  // namespace ISA::REAL_NAME
