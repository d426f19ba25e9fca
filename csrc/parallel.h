// The only door to threads, those of team.h. parallel_for splits [0, n) into contiguous ranges;
// what is computed for an index never depends on the split, so results are the same for any number
// of threads. What a body throws (scratch.h) leaves the call when all ranges are done.
#pragma once
#include "team.h"
#include "view.h"

extern int pyops_threads;                // module.cpp: set by set_num_threads
extern __thread int pyops_run_threads;   // those of the compiled program that this thread is running, or 0

namespace ISA::REAL_NAME {
static inline i64 threads_now() {
    return pyops_run_threads ? pyops_run_threads : __atomic_load_n(&pyops_threads, __ATOMIC_RELAXED);
}

// Compiled once, however it is come to: inlined where one thread runs it and again where several
// do, kernels were a third larger.
template <class Body> [[gnu::noinline]] static void run_range(Body& body, i64 begin, i64 end) {
    body(begin, end);
}

template <class Body> static inline void run_parts(i64 threads, i64 n, i64 parts, Body& body) {
    struct Job { Body& body; i64 n, parts; } job{body, n, parts};
    pyops_team((int)threads, (int)parts, [](void* context, i64 t) {
        const Job& j = *(const Job*)context;
        run_range(j.body, j.n * t / j.parts, j.n * (t + 1) / j.parts);
    }, &job);
}

// `grain`: the fewest indices worth waking a thread for. Take it so that grain indices are
// ~10 us of work or more.
template <class Body> static inline void parallel_for(i64 n, i64 grain, Body body) {
    i64 threads = threads_now(), useful = grain > 0 ? n / grain : n;
    if (threads > useful) threads = useful;
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    if (threads <= 1) {
        if (n > 0) run_range(body, 0, n);
        return;
    }
    // some to spare: a thread may come late or be interrupted
    run_parts(threads, n, useful < 4 * threads ? useful : 4 * threads, body);
}

// Indices whose costs differ, handed out one at a time.
template <class Body> static inline void parallel_tasks(i64 n, Body body) {
    const auto range = [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) body(i);
    };
    i64 threads = threads_now() < n ? threads_now() : n;
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    if (threads <= 1) run_range(range, 0, n);
    else run_parts(threads, n, n < 1000 ? n : 1000, range);
}
}  // namespace ISA::REAL_NAME
