// Maps of files that may be cut short while they are mapped. The system then answers a look at what is gone, or
// cannot be read from the disk, with SIGBUS, which would end the process: within a watched map the page becomes
// one of zeros instead, and the map is marked, so that whoever read it can say so. All other such signals go on
// to whoever had them before.
#include <atomic>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <pybind11/pybind11.h>
#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif
namespace py = pybind11;

namespace {
struct Watched {
    std::atomic<std::uintptr_t> begin{0}, end{0};   // end 0: nobody's
    std::atomic<bool> cut{false};
};
constexpr int MOST = 1024;
Watched maps[MOST];

#if defined(__linux__)
struct sigaction before;
std::uintptr_t page;
std::atomic<bool> passing{false};

// A signal that says nothing of our maps. What had it may restore us and raise it again, as Python's faulthandler
// does: then it is the system's.
void pass_on(int number, siginfo_t* info, void* context) {
    const bool again = passing.exchange(true), function = before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN;
    if (again || !function) {
        signal(number, SIG_DFL);
        if (info->si_code <= 0) raise(number);   // nobody comes to the same instruction again
        return;
    }
    if (before.sa_flags & SA_SIGINFO) before.sa_sigaction(number, info, context);
    else before.sa_handler(number);
    passing = false;
}

void on_bus_error(int number, siginfo_t* info, void* context) {
    const std::uintptr_t at = reinterpret_cast<std::uintptr_t>(info->si_addr);
    if (info->si_code == BUS_ADRERR)
        for (Watched& map : maps)
            if (at >= map.begin && at < map.end) {
                map.cut = true;
                void* const first = reinterpret_cast<void*>(at / page * page);
                if (mmap(first, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == first)
                    return;
            }
    pass_on(number, info, context);
}

void watch_signals() {
    page = std::uintptr_t(sysconf(_SC_PAGESIZE));
    struct sigaction now, ours = {};
    if (sigaction(SIGBUS, nullptr, &now) || ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_bus_error)) return;
    before = now;
    ours.sa_sigaction = on_bus_error;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigemptyset(&ours.sa_mask);
    sigaction(SIGBUS, &ours, nullptr);
}
#else
void watch_signals() {}
#endif

// The number of the map, or -1 where there is no more room.
int watch(const py::buffer& map) {
    static std::mutex mutex;
    const std::lock_guard<std::mutex> lock(mutex);
    const py::buffer_info info = map.request();
    watch_signals();
    for (int i = 0; i < MOST; ++i)
        if (!maps[i].end) {
            maps[i].cut = false;
            maps[i].begin = reinterpret_cast<std::uintptr_t>(info.ptr);
            maps[i].end = maps[i].begin + std::uintptr_t(info.size * info.itemsize);
            return i;
        }
    return -1;
}

bool is_cut(int map) { return map >= 0 && map < MOST && maps[map].cut; }

bool forget(int map) {
    const bool cut = is_cut(map);
    if (map >= 0 && map < MOST) maps[map].end = 0;
    return cut;
}
}  // namespace

void bind_watched_maps(py::module_& m) {
    m.def("watch_map", &watch, "Number of a map of a file, in which what is gone from the file reads as zeros.");
    m.def("map_cut", &is_cut, "Whether something was gone.");
    m.def("forget_map", &forget, "The same, of a map that is about to go.");
}
