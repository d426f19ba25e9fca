// Runs body(context, part) for part = 0 .. parts - 1 on the caller and up to threads - 1 workers
// that wait for such work; returns when all are done. Where the workers are busy with another
// caller's parts, or there are none to be had, the caller runs all of its own. What a body throws
// is thrown here, the first of it, after the other parts.
#pragma once
#include <cstdint>

constexpr int MOST_THREADS = 255, MOST_PARTS = 1023;   // more parts, or less than two, are the caller's alone

void pyops_team(int threads, int parts, void (*body)(void*, std::int64_t), void* context);

// A forked child has none of the workers; it gets a team of its own.
void pyops_team_after_fork();
