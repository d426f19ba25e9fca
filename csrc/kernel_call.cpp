#include "kernel_call.h"
#include "arguments.h"
#include "without_gil.h"
#include <stdexcept>

namespace {
struct Bound { PyMethodDef method; const Row* row; const char* isa; std::string text; };

PyObject* call(PyObject* self, PyObject* const* given, Py_ssize_t count) {
    const Bound& bound = *static_cast<const Bound*>(PyCapsule_GetPointer(self, nullptr));
    const Row& row = *bound.row;
    if (count != row.count)
        return PyErr_Format(PyExc_TypeError, "%s takes %d arguments %s, got %zd", row.name, row.count,
                            row.signature, count);
    if (!row.kernel)
        return PyErr_Format(PyExc_NotImplementedError, "%s: only %s has this kernel, %s does not", row.name,
                            row.only, bound.isa);
    Slot slots[MOST_PARAMETERS];
    for (int i = 0; i < row.count; ++i)
        if (!load(row.parameters[i], given[i], slots[i]))
            return PyErr_Format(PyExc_TypeError, "%s: argument %d of %s must be %s, got %R", row.name, i,
                                row.signature, wanted(row.parameters[i]).c_str(), given[i]);
    try {
        const WithoutGil released;
        row.call(row.kernel, slots);
    } catch (const std::bad_alloc&) {
        PyErr_SetString(PyExc_MemoryError, "std::bad_alloc");   // the backend says whose it was
        return nullptr;
    } catch (const std::out_of_range& why) {   // an index that only the kernel sees
        PyErr_SetString(PyExc_IndexError, why.what());
        return nullptr;
    }
    Py_RETURN_NONE;
}
}  // namespace

py::object function_of(const Row& row, const char* isa) {
    // as long as the process, like the function
    Bound& bound = *new Bound{{}, &row, isa, row.name + std::string(row.signature)};
    bound.method = {row.name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&call)),
                    METH_FASTCALL, bound.text.c_str()};
    const auto self = py::reinterpret_steal<py::object>(PyCapsule_New(&bound, nullptr, nullptr));
    return py::reinterpret_steal<py::object>(PyCFunction_NewEx(&bound.method, self.ptr(), nullptr));
}
