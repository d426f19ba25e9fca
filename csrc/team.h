// Runs body(context, part) for part = 0 .. parts - 1 (at most 1023) on the caller and up to threads - 1 workers that wait for such work;
// returns when all are done. Where the workers are busy with another caller's parts, the caller runs all of its own.
#pragma once
#include <cstdint>

void pyops_team(int threads, int parts, void (*body)(void*, std::int64_t), void* context);
