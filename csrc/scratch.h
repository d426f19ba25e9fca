// Uninitialised workspace aligned to a cache line, given back at the end of its scope. It comes
// from a block that each thread keeps between calls: fresh pages from the system would cost more
// than many a small layer. What a thread keeps is bounded (scratch.cpp).
//
// std::bad_alloc where there is no memory: it leaves the kernel, by way of the team if another
// thread met it, and becomes a MemoryError.
#pragma once
#include <cstddef>
#include "view.h"

// `bytes` becomes what is taken for `count` values of `size` bytes: a multiple of a cache line.
void* pyops_take_scratch(i64 count, std::size_t size, std::size_t& bytes);
void  pyops_give_scratch(void* block, std::size_t bytes);

namespace ISA::REAL_NAME {
template <class T> struct Scratch {
    std::size_t bytes;
    T*          data;
    explicit Scratch(i64 n) : data((T*)pyops_take_scratch(n, sizeof(T), bytes)) {}
    ~Scratch() { pyops_give_scratch(data, bytes); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    operator T*() const { return data; }
};
}  // namespace ISA::REAL_NAME
