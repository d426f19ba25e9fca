// cat and stack of arrays that are ready: allocated and copied here, a row of the result at a time,
// which is written in order. By Python's glue and a call of a kernel for each array, small ones took
// three times as long.
#include <algorithm>
#include <vector>
#include "arguments.h"
#include "copy_run.h"
#include "op_call.h"
#include "owned.h"
#include "tape_call.h"
#include "team.h"

extern int pyops_threads;                                                              // module.cpp
PyObject* new_result(PyObject* descr, int axes, const Py_intptr_t* sizes);             // pool.cpp

namespace {
constexpr int MOST_AXES = 32;
constexpr i64 PIECE = 256 << 10;   // bytes worth a thread: about 5 us in cache
constexpr i64 QUICK = 64 << 10;    // bytes for which Python's lock is kept

struct Part { const char* from; i64 width; };   // width: bytes of it in a row of the result

struct Join {
    std::vector<Part> parts;
    i64   rows = 1, pitch = 0;   // pitch: bytes of a row
    char* to = nullptr;

    // Bytes [begin, end) of the result.
    void copy(i64 begin, i64 end) const {
        for (i64 row = begin / pitch; row * pitch < end; ++row) {
            i64 at = row * pitch;
            for (const Part& part : parts) {
                const i64 first = std::max(at, begin), stop = std::min(at + part.width, end);
                if (first < stop) copy_run(to + first, part.from + row * part.width + first - at, stop - first);
                at += part.width;
            }
        }
    }
    static void copy_part(void* context, std::int64_t t) {
        const auto& [join, pieces] = *static_cast<const std::pair<const Join*, i64>*>(context);
        const i64 bytes = join->rows * join->pitch;
        join->copy(bytes * t / pieces, bytes * (t + 1) / pieces);
    }
    void run() const {
        const i64 bytes = rows * pitch;
        if (bytes <= QUICK) return bytes ? copy(0, bytes) : void();
        const WithoutGil released;
        const i64 threads = __atomic_load_n(&pyops_threads, __ATOMIC_RELAXED);
        const i64 useful = std::min(bytes / PIECE, 4 * threads);
        std::pair<const Join*, i64> job{this, std::max<i64>(useful, 1)};
        if (threads <= 1 || useful <= 1) return copy(0, bytes);
        pyops_team(int(std::min(threads, useful)), int(useful), copy_part, &job);
    }
};

// The result as an array; null, and no error, where an input is not ready or does not fit.
PyObject* joined(PyObject* const* arrays, Py_ssize_t count, i64 dim, bool stacked) {
    PyTypeObject* const ndarray = py::detail::npy_api::get().PyArray_Type_;
    if (Py_TYPE(arrays[0]) != ndarray) return nullptr;
    const ArrayFields& first = *fields(arrays[0]);
    const int axes = first.nd + stacked, type = type_of(arrays[0]);
    const Element element = element_of(arrays[0]);
    if (dim < 0) dim += axes;
    if (dim < 0 || dim >= axes || axes > MOST_AXES || element == Element::NONE) return nullptr;
    Py_intptr_t sizes[MOST_AXES];
    std::copy(first.dimensions, first.dimensions + dim, sizes);
    std::copy(first.dimensions + dim, first.dimensions + first.nd, sizes + dim + stacked);
    sizes[dim] = 0;
    Join join;
    i64  inner = size_of(element);
    for (int axis = 0; axis < dim; ++axis) join.rows *= sizes[axis];
    for (i64 axis = dim + 1; axis < axes; ++axis) inner *= sizes[axis];
    join.parts.reserve(count);
    for (Py_ssize_t k = 0; k < count; ++k) {
        if (Py_TYPE(arrays[k]) != ndarray) return nullptr;
        const ArrayFields& a = *fields(arrays[k]);
        constexpr int wanted = C_CONTIGUOUS | ALIGNED;
        if ((a.flags & wanted) != wanted || a.nd != first.nd || type_of(arrays[k]) != type || !is_native(arrays[k]))
            return nullptr;
        for (int axis = 0; axis < a.nd; ++axis)
            if ((stacked || axis != dim) && a.dimensions[axis] != first.dimensions[axis]) return nullptr;
        const i64 here = stacked ? 1 : a.dimensions[dim];
        if (__builtin_add_overflow(sizes[dim], here, &sizes[dim])) return nullptr;
        join.parts.push_back({a.data, here * inner});
    }
    join.pitch = times(inner, sizes[dim]);
    if (join.pitch < 0 || times(join.rows, join.pitch) < 0) return nullptr;
    Owned made{new_result(first.descr, axes, sizes)};
    if (!made) return PyErr_Clear(), nullptr;   // the long way says whose memory is missing
    join.to = fields(made.object)->data;
    join.run();
    return std::exchange(made.object, nullptr);
}

// join(op, tensors, dim, stacked)
PyObject* call(PyObject*, PyObject* const* given, Py_ssize_t count) try {
    if (count != 4) return PyErr_Format(PyExc_TypeError, "join takes an op, arrays, an axis and a flag");
    PyObject* const list = given[1];
    const bool stacked = given[3] == Py_True;
    if (!(PyTuple_CheckExact(list) || PyList_CheckExact(list)) || !PyLong_CheckExact(given[2]) ||
        !calls_native_kernels())
        Py_RETURN_NONE;
    const i64 dim = PyLong_AsLongLong(given[2]);
    if (dim == -1 && PyErr_Occurred()) return PyErr_Clear(), Py_NewRef(Py_None);
    const Owned held{PyTuple_CheckExact(list) ? Py_NewRef(list) : PyList_AsTuple(list)};
    if (!held) return nullptr;
    const Py_ssize_t n = PyTuple_GET_SIZE(held.object);   // of a list that others may change, as it was then
    if (n == 0) Py_RETURN_NONE;
    PyObject* const* const items = reinterpret_cast<PyTupleObject*>(held.object)->ob_item;
    const TapeInputs arrays(items, n);
    const bool recorded = arrays.any() && arrays.recorded();
    if (recorded && stacked) Py_RETURN_NONE;   // whose gradient is that of its views
    const Owned result{joined(arrays.data(), n, dim, stacked)};
    if (!result) return PyErr_Occurred() ? nullptr : Py_NewRef(Py_None);
    if (!arrays.any()) return Py_NewRef(result.object);
    if (!recorded) return on_tape(result.object, nullptr);
    const Owned attrs{Py_BuildValue("{sL}", "dim", (long long)(dim < 0 ? dim + fields(result.object)->nd : dim))};
    const Owned node{attrs ? node_of(given[0], held.object, attrs.object, result.object) : nullptr};
    return node ? on_tape(result.object, node.object) : nullptr;
} catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
}
}  // namespace

void bind_join_call(py::module_& m) {
    static PyMethodDef method = {
        "join", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&call)), METH_FASTCALL,
        "join(cat, arrays, dim, stacked): arrays and Tensors that are ready joined along an axis, a new one if "
        "stacked; None where the long way is to be taken."};
    m.attr("join") = py::reinterpret_steal<py::object>(PyCFunction_NewEx(&method, nullptr, nullptr));
}
