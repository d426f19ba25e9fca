// The only door to threads: OpenMP's, or within a compiled program those of team.h. parallel_for splits [0, n) into one contiguous range a thread; what is computed for an index never
// depends on the split, so results are the same for any thread count.
#pragma once
#include "team.h"
#include "view.h"

extern int  pyops_threads;        // module.cpp: set by set_num_threads
extern __thread int pyops_run_threads;   // those of the compiled program that this thread is running, or 0
extern bool pyops_forked_child;   // libgomp hangs in a forked child, which therefore runs serially

namespace ISA::REAL_NAME {
static inline i64 threads_now() { return pyops_forked_child ? 1 : pyops_run_threads ? pyops_run_threads : pyops_threads; }

// `grain`: the fewest indices worth waking a thread for. Take it so that grain indices are ~10 us of work or more.
template <class Body> static inline void parallel_for(i64 n, i64 grain, Body body) {
    i64 threads = threads_now(), useful = grain > 0 ? n / grain : n;
    if (threads > useful) threads = useful;
    if (threads <= 1) {
        if (n > 0) body(i64(0), n);
        return;
    }
    if (pyops_run_threads) {
        const i64 parts = useful < 4 * threads ? useful : 4 * threads;   // some to spare: a thread may come late or be interrupted
        struct Job { Body& body; i64 n, parts; } job{body, n, parts};
        pyops_team((int)threads, (int)parts, [](void* context, i64 t) {
            const Job& j = *(const Job*)context;
            j.body(j.n * t / j.parts, j.n * (t + 1) / j.parts);
        }, &job);
        return;
    }
    #pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (i64 t = 0; t < threads; ++t) body(n * t / threads, n * (t + 1) / threads);
}

// Indices whose costs differ, handed out one at a time.
template <class Body> static inline void parallel_tasks(i64 n, Body body) {
    if (n <= 1 || threads_now() <= 1) {
        for (i64 i = 0; i < n; ++i) body(i);
        return;
    }
    const i64 threads = threads_now() < n ? threads_now() : n;
    if (pyops_run_threads) {   // many parts, claimed one at a time
        const i64 parts = n < 1000 ? n : 1000;
        struct Job { Body& body; i64 n, parts; } job{body, n, parts};
        pyops_team((int)threads, (int)parts, [](void* context, i64 t) {
            const Job& j = *(const Job*)context;
            for (i64 i = j.n * t / j.parts; i < j.n * (t + 1) / j.parts; ++i) j.body(i);
        }, &job);
        return;
    }
    #pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (i64 i = 0; i < n; ++i) body(i);
}
}  // namespace ISA::REAL_NAME
