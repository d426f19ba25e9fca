// Glue of ops that work value by value, for the calls that most of them are: arrays of NumPy, of one
// shape, or of shapes that broadcast where the kernel takes strides. It allocates the result and
// calls the kernel as the glue in Python would; that cost more than the kernel of a small array.
// Anything else goes to the glue in Python.
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

bool all_numpys(PyObject* const* inputs, Py_ssize_t count) {
    PyTypeObject* const ndarray = names_of_all().ndarray;
    return std::all_of(inputs, inputs + count, [=](PyObject* input) { return Py_TYPE(input) == ndarray; });
}

bool share_a_shape(PyObject* const* inputs, Py_ssize_t count) {
    const ArrayFields& first = *fields(inputs[0]);
    return std::all_of(inputs + 1, inputs + count, [&](PyObject* input) {
        const ArrayFields& other = *fields(input);
        return other.nd == first.nd && std::equal(first.dimensions, first.dimensions + first.nd, other.dimensions);
    });
}

// What shapes broadcast to, and how kernels walk it, as pyops/ops/broadcast.py's plan.
struct Layout {
    static constexpr int MOST_AXES = 32, COLLAPSED = 8;
    i64 shape[MOST_AXES], sizes[COLLAPSED], strides[MOST][COLLAPSED];
    int axes = 0, collapsed = 0;   // collapsed: neighbours that all inputs walk alike are one axis
};

// False where they do not broadcast, are empty, or alternate too often: the glue in Python says.
bool lay_out(PyObject* const* inputs, Py_ssize_t count, Layout& found) {
    for (Py_ssize_t k = 0; k < count; ++k) found.axes = std::max(found.axes, fields(inputs[k])->nd);
    if (found.axes > Layout::MOST_AXES) return false;
    i64 step[MOST], reversed[1 + MOST][Layout::COLLAPSED];
    std::fill(step, step + count, 1);
    for (int axis = found.axes - 1; axis >= 0; --axis) {
        i64 size = 1, here[MOST];
        for (Py_ssize_t k = 0; k < count; ++k) {
            const ArrayFields& a = *fields(inputs[k]);
            const int own = axis - (found.axes - a.nd);
            const i64 n = own < 0 ? 1 : a.dimensions[own];
            here[k] = n == 1 ? 0 : step[k];
            step[k] *= n;
            if (n == 0 || (n != 1 && size != 1 && n != size)) return false;
            if (n != 1) size = n;
        }
        found.shape[axis] = size;
        if (size == 1) continue;
        const int last = found.collapsed - 1;
        bool      alike = last >= 0;
        for (Py_ssize_t k = 0; k < count && alike; ++k) alike = here[k] == reversed[1 + k][last] * reversed[0][last];
        if (alike) {
            reversed[0][last] *= size;
            continue;
        }
        if (found.collapsed == Layout::COLLAPSED) return false;
        reversed[0][found.collapsed] = size;
        for (Py_ssize_t k = 0; k < count; ++k) reversed[1 + k][found.collapsed] = here[k];
        ++found.collapsed;
    }
    if (!found.collapsed) {   // one value
        for (Py_ssize_t k = 0; k < count; ++k) reversed[1 + k][0] = 1;
        reversed[0][found.collapsed++] = 1;
    }
    for (int i = 0, j = found.collapsed - 1; j >= 0; ++i, --j) {
        found.sizes[i] = reversed[0][j];
        for (Py_ssize_t k = 0; k < count; ++k) found.strides[k][i] = reversed[1 + k][j];
    }
    return true;
}

PyObject* tuple_of(const i64* values, int count) {
    PyObject* const tuple = PyTuple_New(count);
    for (int i = 0; tuple && i < count; ++i) {
        PyObject* const value = PyLong_FromLongLong(values[i]);
        if (!value) return Py_DECREF(tuple), nullptr;
        PyTuple_SET_ITEM(tuple, i, value);
    }
    return tuple;
}

// The arguments of a call, in order, of which those that were made here are given back.
class Arguments {
    PyObject*  values_[3 * MOST + 2];
    bool       owned_[3 * MOST + 2];
    Py_ssize_t count_ = 0;
    bool       whole_ = true;

public:
    Arguments() = default;
    Arguments(const Arguments&) = delete;
    ~Arguments() {
        if (!WithoutGil::ending())
            for (Py_ssize_t i = 0; i < count_; ++i)
                if (owned_[i]) Py_DECREF(values_[i]);
    }
    void share(PyObject* value) { values_[count_] = value, owned_[count_++] = false; }
    void own(PyObject* value) {
        if (value) values_[count_] = value, owned_[count_++] = true;
        else whole_ = false;
    }
    PyObject* call(PyObject* function) const {
        return whole_ ? PyObject_Vectorcall(function, values_, count_, nullptr) : nullptr;
    }
};

// forward(kernels, *inputs, **attrs)
PyObject* forward(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    const Glue& glue = *static_cast<const Glue*>(PyCapsule_GetPointer(self, nullptr));
    const Py_ssize_t named = keywords ? PyTuple_GET_SIZE(keywords) : 0;
    PyObject* const* const inputs = given + 1;
    const bool plain = count == 1 + glue.inputs && named <= MOST && all_numpys(inputs, glue.inputs);
    const bool alike = plain && share_a_shape(inputs, glue.inputs);
    Layout     layout;
    if (!plain || (!alike && !(glue.broadcasts && lay_out(inputs, glue.inputs, layout))))
        return PyObject_Vectorcall(glue.general, given, count, keywords);
    const Names& names = names_of_all();
    const Owned shape{alike ? PyObject_GetAttr(given[1], names.shape) : tuple_of(layout.shape, layout.axes)},
        empty{PyObject_GetAttr(given[0], names.empty)};
    const Owned kernel{PyObject_GetAttr(given[0], glue.name)};
    if (!shape || !empty || !kernel) return nullptr;
    Owned made{PyObject_CallOneArg(empty.object, shape.object)};
    if (!made) return nullptr;
    Arguments values;
    for (Py_ssize_t k = 0; k < glue.inputs; ++k) values.share(inputs[k]);
    if (glue.broadcasts && alike) {
        const ArrayFields& first = *fields(inputs[0]);
        i64 size = 1;
        for (int a = 0; a < first.nd; ++a) size *= first.dimensions[a];
        values.own(tuple_of(&size, 1));
        for (Py_ssize_t k = 0; k < glue.inputs; ++k) values.share(names.one);
    } else if (glue.broadcasts) {
        values.own(tuple_of(layout.sizes, layout.collapsed));
        for (Py_ssize_t k = 0; k < glue.inputs; ++k) values.own(tuple_of(layout.strides[k], layout.collapsed));
    }
    for (Py_ssize_t k = 0; k < named; ++k) values.share(given[count + k]);
    values.share(made.object);
    const Owned done{values.call(kernel.object)};
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
