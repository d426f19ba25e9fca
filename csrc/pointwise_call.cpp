// Glue of ops that work value by value, for the calls that most of them are: arrays of NumPy, all
// of one shape. It allocates the result and calls the kernel as the glue in Python would; that cost
// more than the kernel of a small array. Anything else goes to the glue in Python.
#include "op_call.h"
#include <algorithm>
#include <utility>
#include "numpy_views.h"
#include "owned.h"

namespace {
constexpr Py_ssize_t MOST = 8;   // inputs, and attributes

// Like the function made of it, as long as the process.
struct Glue {
    PyMethodDef method;
    PyObject *  name, *general;
    Py_ssize_t  inputs;
    // whether the kernel takes sizes, and strides for each input (elementwise/broadcast.h)
    bool        broadcasts;
};

// Made with the module, as in op_call.cpp.
struct Names {
    PyTypeObject* const ndarray = py::detail::npy_api::get().PyArray_Type_;
    PyObject* const shape = PyUnicode_InternFromString("shape");
    PyObject* const empty = PyUnicode_InternFromString("empty");
    PyObject* const one   = Py_BuildValue("(i)", 1);   // strides of an input that is walked as it lies
};
const Names& names_of_all() {
    static const Names* const all = new Names;
    return *all;
}

// The number of values of each of `count` arrays, or -1 unless they are NumPy's own and have one shape.
Py_ssize_t size_of_all(PyObject* const* inputs, Py_ssize_t count) {
    PyTypeObject* const ndarray = names_of_all().ndarray;
    for (Py_ssize_t k = 0; k < count; ++k)
        if (Py_TYPE(inputs[k]) != ndarray) return -1;
    const ArrayFields& first = *fields(inputs[0]);
    for (Py_ssize_t k = 1; k < count; ++k) {
        const ArrayFields& other = *fields(inputs[k]);
        if (other.nd != first.nd ||
            !std::equal(first.dimensions, first.dimensions + first.nd, other.dimensions))
            return -1;
    }
    Py_ssize_t size = 1;
    for (int a = 0; a < first.nd; ++a) size *= first.dimensions[a];
    return size;
}

// forward(kernels, *inputs, **attrs)
PyObject* forward(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    const Glue& glue = *static_cast<const Glue*>(PyCapsule_GetPointer(self, nullptr));
    const Py_ssize_t named = keywords ? PyTuple_GET_SIZE(keywords) : 0;
    const Py_ssize_t size =
        count == 1 + glue.inputs && named <= MOST ? size_of_all(given + 1, glue.inputs) : -1;
    if (size < 0) return PyObject_Vectorcall(glue.general, given, count, keywords);
    const Names& names = names_of_all();
    const Owned shape{PyObject_GetAttr(given[1], names.shape)},
        empty{PyObject_GetAttr(given[0], names.empty)};
    const Owned kernel{PyObject_GetAttr(given[0], glue.name)},
        sizes{glue.broadcasts ? Py_BuildValue("(n)", size) : Py_NewRef(Py_None)};
    if (!shape || !empty || !kernel || !sizes) return nullptr;
    Owned made{PyObject_CallOneArg(empty.object, shape.object)};
    if (!made) return nullptr;
    PyObject* values[3 * MOST + 2];
    Py_ssize_t at = 0;
    for (Py_ssize_t k = 0; k < glue.inputs; ++k) values[at++] = given[1 + k];
    if (glue.broadcasts) {
        values[at++] = sizes.object;
        for (Py_ssize_t k = 0; k < glue.inputs; ++k) values[at++] = names.one;
    }
    for (Py_ssize_t k = 0; k < named; ++k) values[at++] = given[count + k];
    values[at++] = made.object;
    const Owned done{PyObject_Vectorcall(kernel.object, values, at, nullptr)};
    return done ? std::exchange(made.object, nullptr) : nullptr;
}

py::object pointwise(const char* name, Py_ssize_t inputs, bool broadcasts, const py::object& general) {
    if (inputs < 1 || inputs > MOST) throw py::value_error("pointwise: at least one input, and at most 8");
    Glue& glue = *new Glue{{}, PyUnicode_InternFromString(name), general.inc_ref().ptr(), inputs, broadcasts};
    glue.method = {"forward", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&forward)),
                   METH_FASTCALL | METH_KEYWORDS,
                   "forward(kernels, *inputs, **attrs): the result of a row that works value by value."};
    const auto self = py::reinterpret_steal<py::object>(PyCapsule_New(&glue, nullptr, nullptr));
    return py::reinterpret_steal<py::object>(
        PyCFunction_NewEx(&glue.method, self.ptr(), general.attr("__module__").ptr()));
}
}  // namespace

void bind_pointwise_call(py::module_& m) {
    names_of_all();
    m.def("pointwise", &pointwise,
          "The glue of a row whose inputs have one shape; `general` is that of all other calls.");
}
