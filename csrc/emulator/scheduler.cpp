// Blocks one after the other; a block's threads in rounds: each runs until it waits for others, and
// when all wait at the barrier, it is passed.
//
// Threads take turns only where they wait, so a result that depends on how they are interleaved
// shows as one that depends on their order.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <numeric>
#include <string>
#include "block.h"
#include "faults.h"
#include "memory.h"
#include "traffic.h"

namespace cuemu {
Block block;
Launch launch;
Counts counts;

void wait_for_others(Thread& thread, State state, const Place& place) {
    thread.state = state;
    thread.waits = place;
    ++counts.switches;
    thread.fiber.leave();
}

void stop_kernel() {
    block.stopped = true;
    block.current->fiber.leave(true);
    std::abort();   // never resumed
}

namespace {
class Turns {
public:
    Turns(int threads, int order)
        : turns(threads), order(order), random(0x9E3779B97F4A7C15ull * (order + 1)) {}

    // The threads in the order of the next round.
    const std::vector<int>& next() {
        if (order >= 2 || !made) std::iota(turns.begin(), turns.end(), 0);
        if (order == 1 && !made) std::reverse(turns.begin(), turns.end());
        if (order >= 2)
            for (int i = static_cast<int>(turns.size()) - 1; i > 0; --i)
                std::swap(turns[i], turns[draw() % (i + 1)]);
        made = true;
        return turns;
    }

private:
    std::uint64_t draw() {   // xorshift
        random ^= random << 13;
        random ^= random >> 7;
        return random ^= random << 17;
    }
    std::vector<int> turns;
    int order;
    bool made = false;
    std::uint64_t random;
};

void thread_body() {
    Thread& thread = *block.current;
    launch.kernel(launch.arguments);
    if (std::any_of(thread.copies.begin(), thread.copies.end(),
                    [](const auto& group) { return !group.empty(); }))
        report("cp.async-unwaited", 0, "a thread ended with cp.async copies it never waited for");
    thread.state = State::DONE;
    thread.fiber.leave(true);
}

void start_threads() {
    const unsigned* size = launch.block;
    for (int t = 0; t < block.size; ++t) {
        Thread& thread = block.threads[t];
        const unsigned n = t;
        thread.state = State::READY;
        thread.index = {n % size[0], n / size[0] % size[1], n / (size[0] * size[1])};
        thread.number = t;
        thread.lane = t % WARP;
        thread.warp = t / WARP;
        thread.copies.clear();
        thread.group_open = false;
        thread.accesses = 0;
        thread.fiber.start(thread_body);
    }
    for (std::size_t w = 0; w < block.warps.size(); ++w) {
        const int lanes = std::min(WARP, block.size - static_cast<int>(w) * WARP);
        block.warps[w] = {{}, lanes == WARP ? ~0u : (1u << lanes) - 1, 0};
    }
    block.barriers = 0;
}

void run_thread(Thread& thread) {
    block.current = &thread;
    block.watched = launch.checked ? &thread : nullptr;
    threadIdx = thread.index;
    thread.fiber.resume();
    block.current = block.watched = nullptr;
    if (thread.state == State::DONE) {
        Warp& warp = block.warps[thread.warp];
        warp.alive &= ~(1u << thread.lane);
        wake_meetings(warp);
    }
}

bool run_ready_threads(const std::vector<int>& turns) {
    bool any = false;
    for (int t : turns) {
        if (block.threads[t].state != State::READY) continue;
        run_thread(block.threads[t]);
        any = true;
        if (block.stopped) break;
    }
    return any;
}

// Stops the kernel with a list of where its threads are.
void stop_with_whereabouts(const char* kind) {
    std::map<std::string, std::pair<int, int>> places;   // how many threads, and the first
    for (int t = 0; t < block.size; ++t) {
        const Thread& thread = block.threads[t];
        char place[400] = "exited";
        if (thread.state != State::DONE)
            std::snprintf(place, sizeof place, "waits in %s at %s:%d", thread.waits.call, thread.waits.file,
                          thread.waits.line);
        auto& [count, first] = places[place];
        if (!count++) first = t;
    }
    std::string message;
    for (const auto& [place, threads] : places)
        message += (message.empty() ? "" : "; ") + std::to_string(threads.first) + " thread(s), e.g. #" +
                   std::to_string(threads.second) + ": " + place;
    report(kind, 0, "%s", message.c_str());
    block.stopped = true;
}

void count_traffic() {
    if (launch.profile)
        for (std::size_t w = 0; w < block.warps.size(); ++w) count_requests(static_cast<int>(w));
}

void pass_barrier(const std::vector<Thread*>& waiting) {
    int count = 0;
    for (const Thread* thread : waiting) count += thread->predicate;
    for (Thread* thread : waiting) {
        thread->state = State::READY;
        thread->result = thread->vote == Vote::COUNT ? count
                         : thread->vote == Vote::ALL ? count == static_cast<int>(waiting.size())
                                                     : count > 0;
    }
    ++block.barriers;
    ++counts.barriers;
    count_traffic();
}

// After a round: lets the block pass its barrier if all of it is there. False if the block has
// ended or been stopped.
bool go_on(bool any_ran) {
    static std::vector<Thread*> waiting;   // kept: rounds are many
    waiting.clear();
    int ended = 0;
    for (int t = 0; t < block.size; ++t) {
        if (block.threads[t].state == State::AT_BARRIER) waiting.push_back(&block.threads[t]);
        ended += block.threads[t].state == State::DONE;
    }
    if (block.stopped || ended == block.size) return false;
    if (waiting.empty() || static_cast<int>(waiting.size()) + ended < block.size) {
        if (!any_ran) stop_with_whereabouts("deadlock");
        return any_ran;
    }
    const bool together = std::all_of(waiting.begin(), waiting.end(),
                                      [&](const Thread* t) { return t->waits == waiting[0]->waits; });
    if (!together) stop_with_whereabouts("barrier-divergence");
    else if (ended && launch.strict_exit) stop_with_whereabouts("barrier-after-exit");
    else pass_barrier(waiting);
    return !block.stopped;
}

void run_block(Turns& turns) {
    empty_shared_memory();
    start_threads();
    while (go_on(run_ready_threads(turns.next()))) {}
    count_traffic();
}
}  // namespace

void run_blocks() {
    const unsigned* grid = launch.grid;
    const std::uint64_t blocks = std::uint64_t(grid[0]) * grid[1] * grid[2];
    block.size = static_cast<int>(launch.block[0] * launch.block[1] * launch.block[2]);
    block.warps.resize((block.size + WARP - 1) / WARP);
    block.stopped = false;
    Turns turns(block.size, launch.order);
    for (std::uint64_t i = 0; i < blocks && !block.stopped; ++i) {
        const std::uint64_t b = launch.order == 1 ? blocks - 1 - i : i;
        blockIdx = {unsigned(b % grid[0]), unsigned(b / grid[0] % grid[1]), unsigned(b / grid[0] / grid[1])};
        block.number = static_cast<std::uint32_t>(i);
        run_block(turns);
    }
}
}  // namespace cuemu

CUEMU_API int cuemu_block_barrier(int vote, int predicate, const char* file, int line) {
    using namespace cuemu;
    Thread& thread = *block.current;
    thread.vote = static_cast<Vote>(vote);
    thread.predicate = predicate != 0;
    wait_for_others(thread, State::AT_BARRIER, {"__syncthreads", file, line});
    return thread.result;
}

// For models of instructions that wait for what another thread does.
CUEMU_API void cuemu_yield() {
    cuemu::Thread& thread = *cuemu::block.current;
    cuemu::wait_for_others(thread, cuemu::State::READY, thread.waits);
}
