// Memory straight from the system, which goes straight back to it. What malloc is given back stays
// with the thread that asked for it: the end of its arena is never trimmed, not by malloc_trim
// either, and a service has as many such ends as it had threads in a burst.
#pragma once
#include <sys/mman.h>
#include <cstddef>
#include <cstdlib>

namespace pages {
constexpr std::size_t HUGE = 2u << 20, LEAST = 128u << 10;   // below LEAST malloc serves better
#if defined(__SANITIZE_ADDRESS__)
constexpr bool MAPPED = false;   // such tools see the ends of malloc's blocks
#else
constexpr bool MAPPED = true;
#endif

// `size` bytes on a boundary of `alignment`, both multiples of a page; null where there are none.
static inline void* map(std::size_t size, std::size_t alignment) {
    char* const all =
        (char*)mmap(nullptr, size + alignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) return nullptr;
    char* const begin = (char*)(((std::size_t)all + alignment - 1) / alignment * alignment);
    if (begin > all) munmap(all, begin - all);
    if (begin < all + alignment) munmap(begin + size, all + alignment - begin);
    return begin;
}

static inline std::size_t up_to(std::size_t bytes, std::size_t step) {
    return (bytes + step - 1) / step * step;
}

// What `take` gives, give back with the same size. On a cache line, or where it is mapped on a
// page, a huge one if it fills one.
static inline bool mapped(std::size_t bytes) { return MAPPED && bytes >= LEAST; }
static inline std::size_t page_of(std::size_t bytes) { return bytes >= HUGE ? HUGE : 4096; }
static inline void* take(std::size_t bytes) {
    if (!mapped(bytes)) return std::aligned_alloc(64, up_to(bytes ? bytes : 1, 64));
    void* const p = map(up_to(bytes, page_of(bytes)), page_of(bytes));
#if defined(MADV_HUGEPAGE)
    if (p && bytes >= HUGE) madvise(p, bytes, MADV_HUGEPAGE);
#endif
    return p;
}
static inline void give(void* p, std::size_t bytes) {
    if (p && mapped(bytes)) munmap(p, up_to(bytes, page_of(bytes)));
    else std::free(p);
}
}  // namespace pages
