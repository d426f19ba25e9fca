// A fiber: a stack of its own, and where it was left. One runs at a time, between resume() by the
// scheduler and leave() by itself.
#pragma once
#include <cstddef>
#include <cstdint>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace cuemu {
#if defined(__x86_64__)
struct Context { void* stack_pointer; };   // all else that a call preserves lies on the stack
#else
using Context = ucontext_t;
#endif

class Fiber {
public:
    void give_stack(std::size_t bytes);   // before the first start; again to change its size
    void start(void (*body)());           // the next resume() runs body, which must end with leave(true)
    void resume();
    void leave(bool for_good = false);
    bool holds(std::uintptr_t address) const { return address - low < bytes; }   // is it on the stack?

private:
    static void first();
    void arrived();
    Context place;
    std::uintptr_t low = 0;
    std::size_t bytes = 0;
    void (*body)() = nullptr;
    void* shadow = nullptr;   // AddressSanitizer's own frames of this fiber
};
}  // namespace cuemu
