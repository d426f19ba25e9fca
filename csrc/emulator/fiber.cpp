// Switching stacks. On x86-64 by hand: swapcontext asks the kernel for the signal mask every time,
// which costs ten times the switch.
//
// AddressSanitizer and valgrind must be told of stacks that they did not see made; without them
// that is no code at all.
#include "fiber.h"
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(low, high) 0
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define __asan_unpoison_memory_region(low, bytes)
#define __sanitizer_start_switch_fiber(shadow, low, bytes)
#define __sanitizer_finish_switch_fiber(shadow, low, bytes)
#endif

namespace cuemu {
namespace {
constexpr std::size_t PAGE = 4096;
Context scheduler;
Fiber* running = nullptr;
#if defined(__SANITIZE_ADDRESS__)
void* scheduler_shadow;
const void* scheduler_low;
std::size_t scheduler_bytes;
#endif
}  // namespace

#if defined(__x86_64__)
extern "C" __attribute__((visibility("hidden"))) void cuemu_switch(void** left, void* entered);
asm(R"(
.text
.globl cuemu_switch
.hidden cuemu_switch
.type cuemu_switch,@function
cuemu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size cuemu_switch,.-cuemu_switch
)");

static void switch_context(Context& from, Context& to) {
    cuemu_switch(&from.stack_pointer, to.stack_pointer);
}

static void make_context(Context& made, std::uintptr_t low, std::size_t bytes, void (*start)()) {
    void** top = reinterpret_cast<void**>(low + bytes);
    *--top = nullptr;   // where start would return to; so the stack is aligned as after a call
    *--top = reinterpret_cast<void*>(start);   // what the switch returns to
    for (int registers = 0; registers < 6; ++registers) *--top = nullptr;
    made.stack_pointer = top;
}
#else
static void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }

static void make_context(Context& made, std::uintptr_t low, std::size_t bytes, void (*start)()) {
    getcontext(&made);
    made.uc_stack.ss_sp = reinterpret_cast<void*>(low);
    made.uc_stack.ss_size = bytes;
    made.uc_link = nullptr;
    makecontext(&made, start, 0);
}
#endif

void Fiber::give_stack(std::size_t wanted) {
    if (low) munmap(reinterpret_cast<void*>(low - PAGE), bytes + PAGE);
    void* memory = mmap(nullptr, wanted + PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        std::perror("the emulator's stacks");
        std::abort();
    }
    mprotect(memory, PAGE, PROT_NONE);   // a stack that is too small ends in a fault, not in its neighbour
    low = reinterpret_cast<std::uintptr_t>(memory) + PAGE;
    bytes = wanted;
    (void)VALGRIND_STACK_REGISTER(low, low + bytes);
}

void Fiber::start(void (*new_body)()) {
    body = new_body;
    shadow = nullptr;
    // frames of the last body, which never returned
    __asan_unpoison_memory_region(reinterpret_cast<void*>(low), bytes);
    make_context(place, low, bytes, first);
}

void Fiber::first() {
    running->arrived();
    running->body();
    std::abort();   // body leaves for good
}

void Fiber::arrived() { __sanitizer_finish_switch_fiber(shadow, &scheduler_low, &scheduler_bytes); }

void Fiber::resume() {
    running = this;
    __sanitizer_start_switch_fiber(&scheduler_shadow, reinterpret_cast<void*>(low), bytes);
    switch_context(scheduler, place);
    __sanitizer_finish_switch_fiber(scheduler_shadow, nullptr, nullptr);
}

void Fiber::leave([[maybe_unused]] bool for_good) {
    __sanitizer_start_switch_fiber(for_good ? nullptr : &shadow, scheduler_low, scheduler_bytes);
    switch_context(place, scheduler);
    arrived();
}
}  // namespace cuemu
