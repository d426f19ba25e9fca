// The threads of kernels: pyops_team runs body(context, part) for each part, on the caller and on
// workers that wait for it.
//
// A program is a hundred short parallel pieces, so handing one over must cost less than a
// microsecond, and a thread that the system has not scheduled must not hold up the others. Parts
// are claimed, not assigned: whoever is there takes the next one, the caller too, and nobody waits
// for a worker that took none. (OpenMP's teams wait for every member at every piece: with other
// programs on the cores ResNet-50 took 14 times as long.) Workers spin for a moment after their
// last part and then sleep, so nothing spins after work.
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include "places.h"
#include "team.h"

void pyops_begin_thread();   // scratch.cpp

namespace {
constexpr int SPINS = 4000;   // some 50 us: longer than the serial pieces between steps

void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

// A job's ticket: which job (so that no one claims a part of another), how many may work on it, how
// many parts there are, and how many of them were claimed from the front and from the back, in one
// word. Every other thread claims from the back: so a thread tends to get the rows that it had in
// the step before, and finds them in its own cache.
struct Ticket {
    std::uint64_t word;
    static constexpr int FIELD = 10, MASK = (1 << FIELD) - 1;
    static_assert(MOST_PARTS <= MASK && MOST_THREADS <= 0xff);
    static std::uint64_t of(std::uint64_t job, int threads, int parts) {
        return job << (3 * FIELD + 8) | std::uint64_t(threads) << 3 * FIELD |
               std::uint64_t(parts) << 2 * FIELD;
    }
    std::uint64_t job() const { return word >> (3 * FIELD + 8); }
    int  threads() const { return int(word >> 3 * FIELD & 0xff); }
    int  parts() const { return int(word >> 2 * FIELD & MASK); }
    int  front() const { return int(word >> FIELD & MASK); }
    int  back() const { return int(word & MASK); }
    bool open() const { return front() + back() < parts(); }
    std::uint64_t claimed(bool from_back) const { return word + (from_back ? 1 : 1 << FIELD); }
};

struct Team {
    std::atomic<bool> busy{false};                 // a caller is using it
    std::atomic<std::uint64_t> ticket{0};
    std::atomic<int> done{0}, asleep{0};
    // of the open job: written before its ticket, read after a claim
    void (*body)(void*, std::int64_t) = nullptr;
    void* context = nullptr;
    std::exception_ptr thrown;                     // by a part of the open job, under `lock`
    int workers = 0;
    std::atomic<int> begun{0};                     // workers that have what is each thread's own
    std::mutex lock;
    std::condition_variable wake;
    places::Sleeper sleepers[MOST_THREADS];        // of workers, under `lock`

    void run_part(int part) {
        try {
            body(context, part);
        } catch (...) {
            std::lock_guard<std::mutex> hold(lock);
            if (!thrown) thrown = std::current_exception();
        }
    }

    // Claims and runs a part of the open job; false if there is none for thread `self` (the caller is 0).
    bool work(int self) {
        Ticket t{ticket.load(std::memory_order_acquire)};
        while (t.open() && self < t.threads())
            if (ticket.compare_exchange_weak(t.word, t.claimed(self % 2), std::memory_order_acq_rel)) {
                run_part(self % 2 ? t.parts() - 1 - t.back() : t.front());
                done.fetch_add(1, std::memory_order_release);
                return true;
            }
        return false;
    }

    void serve(int self) {
        pyops_begin_thread();
        begun.fetch_add(1, std::memory_order_release);
        for (int idle = 0;; ++idle) {
            if (work(self)) idle = 0;
            else if (idle < SPINS) pause();
            else {
                std::unique_lock<std::mutex> hold(lock);
                sleepers[self].lie_down();
                asleep.fetch_add(1);
                wake.wait(hold, [&] {
                    const Ticket t{ticket.load()};
                    return t.open() && self < t.threads();
                });
                asleep.fetch_sub(1);
                sleepers[self].rise();
                idle = 0;
            }
        }
    }

    void run(int threads, int parts, void (*new_body)(void*, std::int64_t), void* new_context) {
        for (; workers < threads - 1; ++workers) {
            try {
                std::thread([this, self = workers + 1] { serve(self); }).detach();
            } catch (const std::exception&) {
                // no more threads, or no memory for one: those that are there do the work
                break;
            }
        }
        // where memory runs out later, glibc ends a process that touches a thread's own for the first time
        while (begun.load(std::memory_order_acquire) < workers) std::this_thread::yield();
        body    = new_body;
        context = new_context;
        done.store(0, std::memory_order_relaxed);
        ticket.store(Ticket::of(Ticket{ticket.load(std::memory_order_relaxed)}.job() + 1, threads, parts));
        if (asleep.load()) {
            {
                std::lock_guard<std::mutex> hold(lock);
                places::spread(sleepers + 1, threads - 1);
            }
            wake.notify_all();
        }
        while (work(0)) {}
        // parts that workers hold
        for (int spins = 0; done.load(std::memory_order_acquire) < parts; ++spins) {
            if (spins < SPINS) pause();
            else std::this_thread::yield();
        }
    }

    std::exception_ptr take_thrown() {
        std::lock_guard<std::mutex> hold(lock);
        return std::exchange(thrown, nullptr);
    }
};
Team* team = new Team;   // never destroyed: workers outlive the interpreter's end
}  // namespace

void pyops_team(int threads, int parts, void (*body)(void*, std::int64_t), void* context) {
    bool free = false;
    Team& mine = *team;
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    // another caller has the workers
    if (parts < 2 || parts > MOST_PARTS || threads < 2 || !mine.busy.compare_exchange_strong(free, true)) {
        for (int part = 0; part < parts; ++part) body(context, part);
        return;
    }
    mine.run(threads, parts, body, context);
    const std::exception_ptr thrown = mine.take_thrown();
    mine.busy.store(false);
    if (thrown) std::rethrow_exception(thrown);
}

// the old one may be in use by a thread that the child has not got, its lock held
void pyops_team_after_fork() { team = new Team; }
