// Memory of large results, kept when they are freed and given to the next of about the same size: a
// step of training allocates and frees the same sizes again and again, and pages fresh from the
// system are cleared first, a tenth of the time of a small step.
//
// What is held, used and kept together, stays below one and a quarter times the most that was ever
// used at once; beyond it the blocks kept longest go back to the system. Blocks are mappings of
// their own: among those of malloc they would keep its heap from shrinking. With a limit of 0, as
// under the sanitizers, they are malloc's, whose ends such tools can see. Taken and given back
// under Python's lock and under one of their own, for builds without the former.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#if defined(__GLIBC__)
#include <malloc.h>
#endif
#include <map>
#include <memory>
#include <new>
#include <mutex>
#include <vector>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include "pages.h"
namespace py = pybind11;

namespace {
using Size = std::size_t;
constexpr Size PAGE = 64 << 10, HUGE_PAGE = 2u << 20, LARGE = 2 * HUGE_PAGE;
constexpr Size MOST = Size(1) << 46;   // no address space is larger

struct Block { void* memory; Size size; bool mapped; };
struct Kept { Block block; unsigned long age; };

// Huge pages that the system has at hand take less time than small ones. A virtual machine may have to
// get each from its host first, which takes it 4 ms, and what is packed for a program's first run would
// wait for that. So of blocks that are AT_HAND the first page is timed, and after a slow one they are in
// small pages for a while. Once they are filled, `settle` asks for huge ones, which the system makes of
// them in its own time.
enum class Huge { ANYHOW, AT_HAND };

void advise(void* memory, Size size) {
#if defined(MADV_HUGEPAGE)
    madvise(memory, size / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#endif
}

class PagesAtHand {
    static constexpr double SLOW = 1e-3, WHILE = 10;   // seconds
    double asked_again = 0;

    static double seconds(clockid_t clock) {
        timespec now{};
        clock_gettime(clock, &now);
        return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
    }

public:
    // For a block that nobody has touched.
    bool asked(void* memory) {
        if (seconds(CLOCK_MONOTONIC) < asked_again) return false;
        advise(memory, HUGE_PAGE);
        const double start = seconds(CLOCK_THREAD_CPUTIME_ID);
        *static_cast<volatile char*>(memory) = 0;
        const bool quick = seconds(CLOCK_THREAD_CPUTIME_ID) - start < SLOW;
        if (!quick) asked_again = seconds(CLOCK_MONOTONIC) + WHILE;
        return quick;
    }
};

// memory == nullptr: there is none.
Block fresh(Size size, bool mapped) {
    Block block{nullptr, size, mapped};
    if (mapped) block.memory = pages::map(size, size >= LARGE ? HUGE_PAGE : PAGE);
    else if (posix_memalign(&block.memory, PAGE, size)) block.memory = nullptr;
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
    // since `age` was last called: the least that was kept, the most that was in use
    Size least_kept = 0, lately_used = 0;
    unsigned long clock = 0;
    PagesAtHand at_hand;
    std::vector<Block> unsettled;     // large ones in small pages

    // Sizes come in steps of an eighth of their power of two, so that a block fits again where a
    // batch is a little smaller.
    static Size rounded(Size bytes) {
        Size step = PAGE;
        while (step * 16 < bytes) step *= 2;
        return (bytes + step - 1) / step * step;
    }

    void drop(std::multimap<Size, Kept>::iterator at) {
        const void* const gone = at->second.block.memory;
        unsettled.erase(std::remove_if(unsettled.begin(), unsettled.end(),
                                       [&](const Block& block) { return block.memory == gone; }),
                        unsettled.end());
        release(at->second.block);
        kept_bytes -= at->first;
        kept.erase(at);
    }

    void keep_at_most(Size bytes) {
        while (kept_bytes > bytes)
            drop(std::min_element(kept.begin(), kept.end(),
                                  [](auto& a, auto& b) { return a.second.age < b.second.age; }));
    }

    Size room() const { return std::min(limit, most_used / 4 * 5 > used ? most_used / 4 * 5 - used : 0); }

public:
#if defined(__SANITIZE_ADDRESS__)
    Size limit = 0;               // every result its own allocation, so that the sanitizer sees its ends
#else
    Size limit = Size(1) << 30;   // most bytes kept
#endif

    Block take(Size bytes, Huge when) {
        std::lock_guard<std::mutex> lock(mutex);
        const auto now = std::chrono::steady_clock::now();
        if (now - aged > INTERVAL) age_at(now);
        Block block{nullptr, rounded(bytes), limit > 0};
        auto found = kept.lower_bound(block.size);
        if (found != kept.end() && found->first <= block.size / 4 * 5) {
            // of those of one size the one given back last, which is in cache if any is
            found = std::prev(kept.upper_bound(found->first));
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
            if (block.memory && block.size >= LARGE) {
                if (when == Huge::ANYHOW || !block.mapped || at_hand.asked(block.memory))
                    advise(block.memory, block.size);
                else
                    unsettled.push_back(block);
            }
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

    void keep(Size bytes) {
        std::lock_guard<std::mutex> lock(mutex);
        keep_at_most(bytes);
    }

    void settle() {
        std::lock_guard<std::mutex> lock(mutex);
        for (const Block& block : unsettled) advise(block.memory, block.size);
        unsettled.clear();
    }

    // What nothing has asked for since this was last called goes back to the system: a burst long
    // ago is no reason to keep its memory.
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

using Api = py::detail::npy_api;
// elements; what is smaller is served as fast by the allocator of the C library, which keeps it too
constexpr Size POOLED = Size(1) << 16;
constexpr int MOST_AXES = 64;            // NumPy's own limit

// bytes of memory of this machine or container: where the system promises what it does not have,
// taking it ends the process
Size installed = MOST;

PyObject* no_memory(PyObject* shape) {
    return PyErr_Format(PyExc_MemoryError, "no memory for a result of shape %R", shape);
}

// An array in memory of the pool. dtype is borrowed, as everywhere below.
PyObject* pooled(PyObject* dtype, PyObject* shape, int axes, const Py_intptr_t* sizes,
                 Huge huge = Huge::ANYHOW) {
    Size bytes = py::reinterpret_borrow<py::dtype>(dtype).itemsize();
    bool possible = true;
    for (int a = 0; a < axes; ++a)
        possible = possible && !__builtin_mul_overflow(bytes, Size(sizes[a]), &bytes) && bytes < MOST;
    possible = possible && bytes <= installed;
    const Block block = possible ? pool().take(bytes, huge) : Block{};
    if (!block.memory) return no_memory(shape);
    const py::capsule owner(new Block(block), [](void* p) {
        const std::unique_ptr<Block> block(static_cast<Block*>(p));
        pool().give(*block);
    });
    const std::vector<py::ssize_t> all(sizes, sizes + axes);
    return py::array(py::reinterpret_borrow<py::dtype>(dtype), all, {}, block.memory, owner).release().ptr();
}

// How many axes `shape` has (a tuple, a list or one int), with their sizes; -1 with an exception
// set where it is no shape.
int sizes_of(PyObject* shape, Py_intptr_t* sizes, bool& large) {
    const bool one = PyLong_Check(shape);
    const py::object items = py::reinterpret_steal<py::object>(
        one ? PyTuple_Pack(1, shape) : PySequence_Fast(shape, "a shape is a tuple of ints"));
    if (!items) return -1;
    const Py_ssize_t axes = PySequence_Fast_GET_SIZE(items.ptr());
    if (axes > MOST_AXES)
        return PyErr_Format(PyExc_ValueError, "a result of shape %R has more than %d axes", shape, MOST_AXES),
               -1;
    Size elements = 1;
    bool beyond = false, none = false;
    for (Py_ssize_t a = 0; a < axes; ++a) {
        sizes[a] = PyNumber_AsSsize_t(PySequence_Fast_GET_ITEM(items.ptr(), a), PyExc_OverflowError);
        if (sizes[a] < 0) {
            if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_OverflowError))
                return PyErr_Clear(), no_memory(shape), -1;
            if (!PyErr_Occurred())
                PyErr_Format(PyExc_ValueError, "a result of shape %R has a negative size", shape);
            return -1;
        }
        beyond |= __builtin_mul_overflow(elements, Size(sizes[a]), &elements);
        none |= sizes[a] == 0;
    }
    large = !none && (beyond || elements >= POOLED);
    return int(axes);
}

// empty(shape, dtype=the one in `self`): an uninitialised array, from the pool if it is large.
template <Huge HUGE>
PyObject* empty(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* names) try {
    const Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
    if (count < 1 || count + named > 2 ||
        (named && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "dtype") != 0))
        return PyErr_Format(PyExc_TypeError, "empty: takes a shape and a dtype");
    py::object dtype = py::reinterpret_borrow<py::object>(self);
    if (count + named == 2 && given[1] != Py_None)
        dtype = py::dtype::from_args(py::reinterpret_borrow<py::object>(given[1]));
    Py_intptr_t sizes[MOST_AXES];
    bool large;
    const int axes = sizes_of(given[0], sizes, large);
    if (axes < 0) return nullptr;
    if (large) return pooled(dtype.ptr(), given[0], axes, sizes, HUGE);
    const Api& api = Api::get();
    PyObject* const made = api.PyArray_NewFromDescr_(api.PyArray_Type_, dtype.release().ptr(), axes, sizes,
                                                     nullptr, nullptr, 0, nullptr);
    if (made || !PyErr_ExceptionMatches(PyExc_ValueError)) return made;
    PyErr_Clear();   // no elements, but a size beyond what NumPy can count
    return PyErr_Format(PyExc_MemoryError, "no array can have the shape %R", given[0]);
} catch (py::error_already_set& error) {
    return error.restore(), nullptr;
} catch (const std::bad_alloc&) {
    return no_memory(given[0]);
}

template <Huge HUGE>
PyMethodDef method = {"empty", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&empty<HUGE>)),
                      METH_FASTCALL | METH_KEYWORDS,
                      "empty(shape, dtype=None): an uninitialised array, from the pool if it is large."};

// empty() with a dtype of its own, as a kernel set has it.
py::object allocator(const py::dtype& dtype, bool at_hand) {
    return py::reinterpret_steal<py::object>(
        PyCFunction_NewEx(at_hand ? &method<Huge::AT_HAND> : &method<Huge::ANYHOW>, dtype.ptr(), nullptr));
}
}  // namespace

PyObject* new_result(PyObject* descr, int axes, const Py_intptr_t* sizes) {
    Size elements = 1;
    for (int axis = 0; axis < axes; ++axis)
        if (__builtin_mul_overflow(elements, Size(sizes[axis]), &elements)) return PyErr_NoMemory();
    if (elements < POOLED) {
        const Api& api = Api::get();
        return api.PyArray_NewFromDescr_(api.PyArray_Type_, Py_NewRef(descr), axes, sizes, nullptr, nullptr,
                                         0, nullptr);
    }
    try {
        return pooled(descr, Py_None, axes, sizes);
    } catch (py::error_already_set& error) {
        return error.restore(), nullptr;
    }
}

PyObject* pooled_like(PyObject* array) {
    const auto* const a = reinterpret_cast<const py::detail::PyArray_Proxy*>(array);
    Size elements = 1;
    for (int axis = 0; axis < a->nd; ++axis) elements *= Size(a->dimensions[axis]);   // it exists, so none overflows
    if (elements < POOLED) return nullptr;
    try {
        const py::object shape = py::reinterpret_borrow<py::object>(array).attr("shape");
        return pooled(a->descr, shape.ptr(), a->nd, a->dimensions);
    } catch (py::error_already_set& error) {
        return error.restore(), nullptr;
    }
}

// What others freed, workspaces among them, may lie between blocks in use.
static void trim() {
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
}

void bind_pool(py::module_& m) {
    m.def("allocator", &allocator, py::arg("dtype"), py::arg("at_hand") = false,
          "A function empty(shape, dtype=this one); at_hand: in huge pages only where there are some.");
    m.def("pool_settle", [] { pool().settle(); }, "What was not made in huge pages is full, and may move to some.");
    m.def("pool_installed", [](Size bytes) { installed = bytes; }, "What no result may be larger than.");
    m.def("pool_limit", [](Size bytes) { pool().set_limit(bytes); });
    m.def("pool_age", [] {
        pool().age();
        trim();
    });
    m.def("pool_keep", [](Size bytes) {
        pool().keep(bytes);
        trim();
    }, "Gives back what is kept beyond so many bytes, and what malloc has.");
    m.def("pool_clear", [] { pool().clear(); });
    m.def("pool_state", [] { return pool().state(); });
}
