// Steps that wait for each other, on several threads: work(part, phase) for each part of phase 0,
// then for each of phase 1, and so on.
//
// Each part belongs to a thread, whose caches hold that part's weights. A thread that is not
// there yet must not hold up the others (within a compiled program it may never come), so parts
// are claimed: whoever waits takes what belongs to an absent thread at once, and after a while
// what a late one has not begun. A phase costs one atomic addition a part; waiting spins, and
// yields when it lasts.
#pragma once
#include <sched.h>
#include "kernel.h"

namespace ISA::REAL_NAME {
constexpr i64 MOST_PARTS = 64;

template <class Work> struct Phases {
    // how many of its phases were begun; whether its thread is there
    struct alignas(64) Part { i64 claimed, present; };
    Work& work;
    i64   parts, phases;
    Part  part[MOST_PARTS] = {};
    alignas(64) i64 done = 0;                            // pieces of work finished, of all phases

    Phases(i64 parts, i64 phases, Work& work) : work(work), parts(parts), phases(phases) {}

    void take(i64 q, i64 phase) {
        i64 expected = phase;
        if (__atomic_compare_exchange_n(&part[q].claimed, &expected, phase + 1, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {
            work(q, phase);
            __atomic_add_fetch(&done, 1, __ATOMIC_ACQ_REL);
        }
    }

    void run(i64 self) {
        constexpr int PATIENCE = 2000;   // pauses: some 30 us
        __atomic_store_n(&part[self].present, 1, __ATOMIC_RELEASE);
        for (i64 phase = __atomic_load_n(&done, __ATOMIC_ACQUIRE) / parts; phase < phases; ++phase) {
            take(self, phase);
            for (i64 q = 0; q < parts; ++q)
                if (!__atomic_load_n(&part[q].present, __ATOMIC_ACQUIRE)) take(q, phase);
            for (int spins = 0; __atomic_load_n(&done, __ATOMIC_ACQUIRE) < (phase + 1) * parts; ++spins) {
                if (spins < PATIENCE) spin_once();
                else {
                    for (i64 q = 0; q < parts; ++q) take(q, phase);
                    sched_yield();
                }
            }
        }
    }
    static void spin_once() {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
};

template <class Work> static inline void in_phases(i64 parts, i64 phases, Work work) {
    if (parts == 1) {
        for (i64 p = 0; p < phases; ++p) work(i64(0), p);
        return;
    }
    Phases<Work> all(parts, phases, work);
    parallel_tasks(parts, [&](i64 self) { all.run(self); });
}
}  // namespace ISA::REAL_NAME
