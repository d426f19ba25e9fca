// Memory of large results, kept when they are freed and given to the next of about the same size: a step of training allocates and frees the
// same sizes again and again, and pages fresh from the system are cleared first, a tenth of the time of a small step.
//
// What is held, used and kept together, stays below one and a quarter times the most that was ever used at once; beyond it the blocks kept
// longest go back to the system. Blocks are mappings of their own: among those of malloc they would keep its heap from shrinking. With a limit of
// 0, as under the sanitizers, they are malloc's, whose ends such tools can see. Taken and given back under Python's lock and under one of their
// own, for builds without the former.
#include <sys/mman.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <vector>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
namespace py = pybind11;

namespace {
using Size = std::size_t;
constexpr Size PAGE = 64 << 10, HUGE_PAGE = 2u << 20, MOST = Size(1) << 46;   // no address space is larger

struct Block { void* memory; Size size; bool mapped; };
struct Kept { Block block; unsigned long age; };

// `size` bytes on a boundary of `alignment`, both multiples of a page.
void* map(Size size, Size alignment) {
    char* const all = (char*)mmap(nullptr, size + alignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) return nullptr;
    char* const begin = (char*)(((Size)all + alignment - 1) / alignment * alignment);
    if (begin > all) munmap(all, begin - all);
    if (begin < all + alignment) munmap(begin + size, all + alignment - begin);
    return begin;
}

// memory == nullptr: there is none.
Block fresh(Size size, bool mapped) {
    Block block{nullptr, size, mapped};
    const bool huge = size >= 2 * HUGE_PAGE;
    if (mapped) block.memory = map(size, huge ? HUGE_PAGE : PAGE);
    else if (posix_memalign(&block.memory, PAGE, size)) block.memory = nullptr;
#if defined(MADV_HUGEPAGE)
    if (block.memory && huge) madvise(block.memory, size / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#endif
    return block;
}

void release(const Block& block) {
    if (block.mapped) munmap(block.memory, block.size);
    else std::free(block.memory);
}

class Pool {
    std::mutex mutex;
    std::multimap<Size, Kept> kept;   // by size
    Size used = 0, most_used = 0, kept_bytes = 0;
    Size least_kept = 0, lately_used = 0;   // since `age` was last called: the least that was kept, the most that was in use
    unsigned long clock = 0;

    // Sizes come in steps of an eighth of their power of two, so that a block fits again where a batch is a little smaller.
    static Size rounded(Size bytes) {
        Size step = PAGE;
        while (step * 16 < bytes) step *= 2;
        return (bytes + step - 1) / step * step;
    }

    void drop(std::multimap<Size, Kept>::iterator at) {
        release(at->second.block);
        kept_bytes -= at->first;
        kept.erase(at);
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

    Block take(Size bytes) {
        std::lock_guard<std::mutex> lock(mutex);
        const auto now = std::chrono::steady_clock::now();
        if (now - aged > INTERVAL) age_at(now);
        Block block{nullptr, rounded(bytes), limit > 0};
        const auto found = kept.lower_bound(block.size);
        if (found != kept.end() && found->first <= block.size / 4 * 5) {
            block = found->second.block;
            kept_bytes -= block.size;
            least_kept = std::min(least_kept, kept_bytes);
            kept.erase(found);
        }
        used += block.size;
        if (!block.memory) {
            keep_at_most(room());
            block = fresh(block.size, block.mapped);
            if (!block.memory) keep_at_most(0), block = fresh(block.size, block.mapped);
        }
        if (block.memory) most_used = std::max(most_used, used), lately_used = std::max(lately_used, used);
        else used -= block.size;
        return block;
    }

    void give(const Block& block) {
        std::lock_guard<std::mutex> lock(mutex);
        used -= block.size;
        if (!block.mapped) {
            release(block);
            return;
        }
        kept.insert({block.size, {block, ++clock}});
        kept_bytes += block.size;
        keep_at_most(room());
    }

    void set_limit(Size bytes) {
        std::lock_guard<std::mutex> lock(mutex);
        limit = bytes;
        keep_at_most(room());
    }

    // What nothing has asked for since this was last called goes back to the system: a burst long ago is no reason to keep its memory.
    void age() {
        std::lock_guard<std::mutex> lock(mutex);
        age_at(std::chrono::steady_clock::now());
    }

private:
    static constexpr std::chrono::seconds INTERVAL{10};
    std::chrono::steady_clock::time_point aged = std::chrono::steady_clock::now();

    void age_at(std::chrono::steady_clock::time_point now) {
        aged = now;
        most_used = lately_used;
        keep_at_most(std::min(kept_bytes - std::min(least_kept, kept_bytes), room()));
        least_kept = kept_bytes;
        lately_used = used;
    }

public:
    void clear() {
        std::lock_guard<std::mutex> lock(mutex);
        keep_at_most(0);
        most_used = lately_used = used;
        least_kept = 0;
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

py::array empty(const py::tuple& sizes, const py::dtype& dtype) {
    std::vector<py::ssize_t> shape;
    for (const auto size : sizes) shape.push_back(size.cast<py::ssize_t>());
    Size bytes = dtype.itemsize();
    bool possible = true;
    for (const auto n : shape) possible = possible && n >= 0 && !__builtin_mul_overflow(bytes, Size(n), &bytes) && bytes < MOST;
    const Block block = possible ? pool().take(bytes) : Block{};
    if (!block.memory) {
        PyErr_Format(PyExc_MemoryError, "no memory for a result of shape %R", sizes.ptr());
        throw py::error_already_set();
    }
    const py::capsule owner(new Block(block), [](void* p) {
        const std::unique_ptr<Block> block(static_cast<Block*>(p));
        pool().give(*block);
    });
    return py::array(dtype, shape, {}, block.memory, owner);
}
}  // namespace

void bind_pool(py::module_& m) {
    m.def("pooled_empty", &empty, "An uninitialised array in memory of the pool.");
    m.def("pool_limit", [](Size bytes) { pool().set_limit(bytes); });
    m.def("pool_age", [] {
        pool().age();
#if defined(__GLIBC__)
        malloc_trim(0);   // what others freed, workspaces among them, may lie between blocks in use
#endif
    });
    m.def("pool_clear", [] { pool().clear(); });
    m.def("pool_state", [] { return pool().state(); });
}
