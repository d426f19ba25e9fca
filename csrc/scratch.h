// Uninitialised workspace aligned to a cache line; freed at the end of its scope. Never bigger than a tile: kernels tile.
#pragma once
#include <cstdlib>
#include "view.h"

namespace ISA::REAL_NAME {
template <class T> struct Scratch {
    T* data;
    explicit Scratch(i64 n) : data((T*)std::aligned_alloc(64, (n * sizeof(T) + 127) / 64 * 64)) {
        if (!data) std::abort();   // a tile of a few MB could not be had: nothing sensible can follow
    }
    ~Scratch() { std::free(data); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    operator T*() const { return data; }
};
}  // namespace ISA::REAL_NAME
