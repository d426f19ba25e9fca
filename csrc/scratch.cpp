// Workspace (scratch.h). A thread's blocks are a stack, since scopes nest. What does not fit into
// the kept block is allocated for its scope, and the block grows to the thread's greatest need
// once nothing is in use.
#include <new>
#include "pages.h"
#include "scratch.h"

namespace {
#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t MOST_KEPT = 0;   // every block its own allocation, so that the sanitizer sees its ends
#else
constexpr std::size_t MOST_KEPT = 64u << 20;
#endif
constexpr std::size_t LINE = 64, MOST = std::size_t(1) << 46;   // no address space is larger

struct Workspace {
    char*       block = nullptr;
    std::size_t size = 0, used = 0, outside = 0, most = 0;
    ~Workspace() { pages::give(block, size); }
};
thread_local Workspace workspace;
}  // namespace

// What is a thread's own is there from here on.
void pyops_begin_thread() {
    volatile std::size_t* const touched = &workspace.used;
    *touched = *touched;
}

void* pyops_take_scratch(i64 count, std::size_t size, std::size_t& bytes) {
    if (count < 0 || __builtin_mul_overflow((std::size_t)count, size, &bytes) || bytes > MOST)
        throw std::bad_alloc();
    bytes = (bytes + 2 * LINE - 1) / LINE * LINE;
    Workspace& w = workspace;
    if (w.used == 0 && w.outside == 0 && w.most > w.size && w.size < MOST_KEPT) {
        pages::give(w.block, w.size);
        w.size  = w.most < MOST_KEPT ? w.most : MOST_KEPT;
        w.block = (char*)pages::take(w.size);
        if (!w.block) w.size = 0;
    }
    const std::size_t need = w.used + w.outside + bytes;
    if (w.block && bytes <= w.size - w.used) {
        if (need > w.most) w.most = need;
        w.used += bytes;
        return w.block + (w.used - bytes);
    }
    void* p = pages::take(bytes);
    if (!p && w.used == 0 && w.block) {   // what is kept may be what is missing
        pages::give(w.block, w.size);
        w.block = nullptr;
        w.size = w.most = 0;
        p = pages::take(bytes);
    }
    if (!p) throw std::bad_alloc();
    if (need > w.most) w.most = need;
    w.outside += bytes;
    return p;
}

void pyops_give_scratch(void* p, std::size_t bytes) {
    Workspace& w = workspace;
    if (w.block && p >= w.block && p < w.block + w.size) {
        w.used -= bytes;
    } else {
        w.outside -= bytes;
        pages::give(p, bytes);
    }
}
