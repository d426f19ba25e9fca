// Where threads that sleep are woken. Linux wakes a thread on the processor where it ran last, and where that one
// is busy does not always look for another: a worker that shares the caller's has half of it for milliseconds,
// while another is free (on two processors, after 20 ms without work, a network took twice as long). So a
// sleeper that would meet the caller, or another sleeper, is kept from there until it runs.
#pragma once
#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace places {
#if defined(__linux__)
// A worker. All under the lock that it sleeps by.
class Sleeper {
    pid_t id = 0;
    int processor = -1;      // where it lies, or -1: it is awake
    bool kept_off = false;
    cpu_set_t own;           // where it may run

public:
    void lie_down() {
        if (!id) id = (pid_t)syscall(SYS_gettid);
        processor = sched_getcpu();
    }

    void rise() {
        processor = -1;
        if (kept_off) sched_setaffinity(id, sizeof own, &own);
        kept_off = false;
    }

    // Keeps it from the processors `taken`, if it lies on one and there are others for it.
    void keep_off(cpu_set_t& taken) {
        if (processor < 0 || processor >= CPU_SETSIZE || kept_off) return;
        if (!CPU_ISSET(processor, &taken)) {
            CPU_SET(processor, &taken);
            return;
        }
        if (sched_getaffinity(id, sizeof own, &own)) return;   // more processors than a set holds, or not allowed
        cpu_set_t others;
        CPU_AND(&others, &own, &taken);
        CPU_XOR(&others, &own, &others);
        if (CPU_COUNT(&others)) kept_off = !sched_setaffinity(id, sizeof others, &others);
    }
};

static inline void spread(Sleeper* sleepers, int count) {
    cpu_set_t taken;
    CPU_ZERO(&taken);
    const int here = sched_getcpu();
    if (here < 0 || here >= CPU_SETSIZE) return;
    CPU_SET(here, &taken);
    for (int i = 0; i < count; ++i) sleepers[i].keep_off(taken);
}
#else
struct Sleeper {
    void lie_down() {}
    void rise() {}
};
static inline void spread(Sleeper*, int) {}
#endif
}  // namespace places
