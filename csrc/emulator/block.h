// The block that runs: its threads, its warps, and what was asked of the launch that it belongs to.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>
#include "fiber.h"
#include "interface.h"

namespace cuemu {
constexpr int WARP = 32;

// Where threads meet: the call in the kernel's source.
struct Place {
    const char* call = "";
    const char* file = "";
    int line = 0;
    bool operator==(const Place& other) const {
        return line == other.line && !std::strcmp(call, other.call) && !std::strcmp(file, other.file);
    }
};

enum class State : std::uint8_t { READY, AT_BARRIER, IN_WARP_MEETING, DONE };
enum class Vote : int { NONE, COUNT, ALL, ANY };   // __syncthreads, _count, _and, _or

// the rest of `bytes` is filled with zeros
struct AsyncCopy { void* to; const void* from; unsigned bytes, read; };

struct Thread {
    Fiber fiber;
    State state;
    Uint3 index;
    int number, lane, warp;   // number: of all threads of the block
    Place waits;              // unless it is READY or DONE
    Vote vote;
    int predicate, result;    // of a vote at a barrier
    std::vector<std::vector<AsyncCopy>> copies;   // cp.async: groups not waited for, oldest first
    bool group_open;                              // the last of them is not committed
    std::uint64_t accesses;
};

using WarpModel = void (*)(void** lanes, unsigned present, unsigned mask);

// Lanes of a warp that came to the same warp-wide instruction, and wait for those of its mask that did not.
struct Meeting {
    unsigned mask, arrived;
    void* lanes[WARP];   // what each hands to the model
    WarpModel model;
    Place place;
};

struct Warp {
    std::vector<Meeting> meetings;   // of disjoint masks
    unsigned alive;                  // lanes that have not ended
    std::uint16_t syncs;             // __syncwarp of all its lanes so far: they order memory
};

struct Block {
    std::vector<Thread> threads;   // may be more than the block has: stacks are kept
    std::vector<Warp> warps;
    int size = 0;
    std::uint32_t number = 0;      // within the grid, in the order of running
    std::uint32_t barriers = 0;    // passed so far
    Thread* current = nullptr;     // the thread that runs; none while the scheduler does
    Thread* watched = nullptr;     // the same where its accesses are to be checked
    bool stopped = false;          // a fault after which nothing that follows means anything
};

// As the driver passes it (pyops/cuda/emulator.py has the same fields).
struct Launch {
    void (*kernel)(void** arguments);
    void** arguments;
    unsigned grid[3], block[3];
    std::size_t dynamic_shared, stack;   // bytes; of stack for each thread
    // of threads: 0 ascending, 1 descending (blocks too), more: a random one each
    // round, from this seed
    int order;
    int checked;          // the kernel was compiled with the checker's hooks
    int profile;          // count sectors and bank conflicts
    int strict_exit;      // a barrier that ended threads do not reach is a fault
    int flush_denormals;
    std::uint64_t access_limit;   // a thread; 0: none
    std::uintptr_t base;          // where the kernel's library was loaded
};

// What a launch did. As the driver reads it.
struct Counts {
    // bytes of memory
    std::uint64_t barriers, switches, accesses, collectives, global_loaded, global_stored, shared_loaded,
        shared_stored, atomics;
    int faults, stopped;
};

extern Block block;
extern Launch launch;
extern Counts counts;

inline std::uintptr_t offset_of(std::uintptr_t pc) { return pc - launch.base; }

void wait_for_others(Thread& thread, State state, const Place& place);   // until the scheduler makes it READY
[[noreturn]] void stop_kernel();                                         // from within a thread
// of a thread that has ended: those for which only it was missing are held by a lane that is there
void wake_meetings(const Warp& warp);
void run_blocks();
}  // namespace cuemu
