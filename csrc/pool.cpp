// Memory of large results, kept when they are freed and given to the next of about the same size: a step of training allocates and frees the
// same sizes again and again, and pages fresh from the system are cleared first, a tenth of the time of a small step.
//
// What is held, used and kept together, stays below one and a quarter times the most that was ever used at once; beyond it the blocks kept
// longest go back to the system. Blocks are taken and given back under Python's lock and under a lock of their own, for builds without the former.
#include <sys/mman.h>
#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
namespace py = pybind11;

namespace {
using Size = std::size_t;
constexpr Size PAGE = 4096, HUGE_PAGE = 2u << 20, MOST = Size(1) << 46;   // no address space is larger

struct Free { void* memory; Size size; unsigned long age; };

class Pool {
    std::mutex mutex;
    std::multimap<Size, Free> kept;   // by size
    Size used = 0, most_used = 0, kept_bytes = 0;
    unsigned long clock = 0;

    // Sizes come in steps of an eighth of their power of two, so that a block fits again where a batch is a little smaller.
    static Size rounded(Size bytes) {
        Size step = PAGE;
        while (step * 16 < bytes) step *= 2;
        return (bytes + step - 1) / step * step;
    }

    static void* fresh(Size size) {
        void* memory = nullptr;
        if (posix_memalign(&memory, size >= 2 * HUGE_PAGE ? HUGE_PAGE : PAGE, size)) return nullptr;
#if defined(MADV_HUGEPAGE)
        if (size >= 2 * HUGE_PAGE) madvise(memory, size / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#endif
        return memory;
    }

    void drop(std::multimap<Size, Free>::iterator block) {
        std::free(block->second.memory);
        kept_bytes -= block->second.size;
        kept.erase(block);
    }

    void keep_at_most(Size bytes) {
        while (kept_bytes > bytes)
            drop(std::min_element(kept.begin(), kept.end(), [](auto& a, auto& b) { return a.second.age < b.second.age; }));
    }

    Size room() const { return std::min(limit, most_used / 4 * 5 > used ? most_used / 4 * 5 - used : 0); }

public:
#if defined(__SANITIZE_ADDRESS__)
    Size limit = 0;               // every result its own allocation, so that the sanitizer sees its ends
#else
    Size limit = Size(1) << 30;   // most bytes kept
#endif

    // A block of at least `bytes`; its true size in `size`. nullptr: no memory.
    void* take(Size bytes, Size& size) {
        std::lock_guard<std::mutex> lock(mutex);
        size = rounded(bytes);
        void* memory = nullptr;
        const auto found = kept.lower_bound(size);
        if (found != kept.end() && found->first <= size / 4 * 5) {
            size   = found->first;
            memory = found->second.memory;
            kept_bytes -= size;
            kept.erase(found);
        }
        used += size;
        most_used = std::max(most_used, used);
        if (!memory) {
            keep_at_most(room());
            memory = fresh(size);
            if (!memory) keep_at_most(0), memory = fresh(size);
            if (!memory) used -= size;
        }
        return memory;
    }

    void give(void* memory, Size size) {
        std::lock_guard<std::mutex> lock(mutex);
        used -= size;
        kept.insert({size, {memory, size, ++clock}});
        kept_bytes += size;
        keep_at_most(room());
    }

    void set_limit(Size bytes) {
        std::lock_guard<std::mutex> lock(mutex);
        limit = bytes;
        keep_at_most(room());
    }

    void clear() {
        std::lock_guard<std::mutex> lock(mutex);
        keep_at_most(0);
        most_used = used;
    }

    py::dict state() {
        std::lock_guard<std::mutex> lock(mutex);
        using namespace py::literals;
        return py::dict("used"_a = used, "most_used"_a = most_used, "kept"_a = kept_bytes, "limit"_a = limit);
    }
};

Pool& pool() {
    static Pool* const made = new Pool;   // never destroyed: arrays may outlive everything else of a process
    return *made;
}

struct Block { void* memory; Size size; };

py::array empty(const py::tuple& sizes, const py::dtype& dtype) {
    std::vector<py::ssize_t> shape;
    for (const auto size : sizes) shape.push_back(size.cast<py::ssize_t>());
    Size bytes = dtype.itemsize();
    bool possible = true;
    for (const auto n : shape) possible = possible && n >= 0 && !__builtin_mul_overflow(bytes, Size(n), &bytes) && bytes < MOST;
    auto* const block = new Block{};
    if (possible) block->memory = pool().take(bytes, block->size);
    if (!block->memory) {
        delete block;
        PyErr_Format(PyExc_MemoryError, "pyops: no memory for a result of shape %R", sizes.ptr());
        throw py::error_already_set();
    }
    const py::capsule owner(block, [](void* p) {
        auto* const block = static_cast<Block*>(p);
        pool().give(block->memory, block->size);
        delete block;
    });
    return py::array(dtype, shape, {}, block->memory, owner);
}
}  // namespace

void bind_pool(py::module_& m) {
    m.def("pooled_empty", &empty, "An uninitialised array in memory of the pool.");
    m.def("pool_limit", [](Size bytes) { pool().set_limit(bytes); });
    m.def("pool_clear", [] { pool().clear(); });
    m.def("pool_state", [] { return pool().state(); });
}
