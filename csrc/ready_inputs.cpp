#include "ready_inputs.h"
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <vector>
#include "arguments.h"
#include "owned.h"
#include "strided_copy.h"

extern int pyops_threads;                 // module.cpp
PyObject* pooled_like(PyObject* array);   // pool.cpp; null without an error where it is small

namespace {
using Api = py::detail::npy_api;

bool is_plain(PyObject* value) { return Py_TYPE(value) == Api::get().PyArray_Type_; }
bool is_float(int type) { return type == Api::NPY_FLOAT_ || type == Api::NPY_DOUBLE_; }
bool lies_ready(PyObject* array) {
    constexpr int wanted = C_CONTIGUOUS | ALIGNED;
    return (fields(array)->flags & wanted) == wanted;
}

constexpr i64 FEW_VALUES = 256;   // NumPy copies so many in the time that looking at the strides takes

// A contiguous array of the values, of another type if one is given; a large one in memory of the pool, whose
// pages need not be cleared, and copied by all threads. Null: a Python error.
PyObject* copied(PyObject* array, int type = -1) {
    const Api& numpy = Api::get();
    if (type < 0) {
        const auto* const a = fields(array);
        PyObject* large = pooled_like(array);
        if (!large && PyErr_Occurred()) return nullptr;
        if (!large) {
            i64 n = 1;
            for (int axis = 0; axis < a->nd; ++axis) n *= a->dimensions[axis];
            if (n < FEW_VALUES) return numpy.PyArray_NewCopy_(array, 0);
            Py_INCREF(a->descr);   // which the new array takes
            large = numpy.PyArray_NewFromDescr_(numpy.PyArray_Type_, a->descr, a->nd, a->dimensions, nullptr, nullptr,
                                                0, nullptr);
            if (!large) return nullptr;
        }
        pyops_strided_copy(a->data, reinterpret_cast<const i64*>(a->dimensions),
                           reinterpret_cast<const i64*>(a->strides), a->nd, size_of(element_of(array)),
                           fields(large)->data, __atomic_load_n(&pyops_threads, __ATOMIC_RELAXED));
        return large;
    }
    PyObject* const descr = numpy.PyArray_DescrFromType_(type);   // which FromAny takes
    return descr ? numpy.PyArray_FromAny_(array, descr, 0, 0, C_CONTIGUOUS | ALIGNED, nullptr) : nullptr;
}

// The type of floats that the arrays among the inputs share; -1 where they do not, or are of others.
int shared_float(PyObject* const* inputs, Py_ssize_t count) {
    int shared = -1;
    for (Py_ssize_t i = 0; i < count; ++i) {
        if (PyFloat_CheckExact(inputs[i]) || PyLong_CheckExact(inputs[i])) continue;
        if (!is_plain(inputs[i]) || !is_native(inputs[i])) return -1;
        const int type = type_of(inputs[i]);
        if (!is_float(type) || (shared >= 0 && type != shared)) return -1;
        shared = type;
    }
    return shared;
}

// A number as an array without axes; null without an error where the type does not hold it.
PyObject* array_of(PyObject* number, int type) {
    const double value = PyFloat_CheckExact(number) ? PyFloat_AS_DOUBLE(number) : PyLong_AsDouble(number);
    if (value == -1 && PyErr_Occurred()) return PyErr_Clear(), nullptr;
    if (type == Api::NPY_FLOAT_ && std::isfinite(value) && std::fabs(value) > FLT_MAX) return nullptr;
    const Api&      numpy = Api::get();
    PyObject* const array = numpy.PyArray_NewFromDescr_(numpy.PyArray_Type_, numpy.PyArray_DescrFromType_(type),
                                                        0, nullptr, nullptr, nullptr, 0, nullptr);
    if (!array) return nullptr;
    if (type == Api::NPY_FLOAT_) *reinterpret_cast<float*>(fields(array)->data) = float(value);
    else *reinterpret_cast<double*>(fields(array)->data) = value;
    return array;
}

// `value` as the letter asks for it, or null: it is ready, or not ours to change.
PyObject* made(PyObject* value, char kind) {
    if (!is_plain(value) || !is_native(value)) return nullptr;
    const int type = type_of(value);
    if (kind == 'i' || kind == 'j') {
        const bool fits = type >= Api::NPY_BYTE_ && type <= Api::NPY_LONG_ && type != Api::NPY_ULONG_;
        if (!fits || (type == Api::NPY_LONG_ && lies_ready(value))) return nullptr;
        return copied(value, Api::NPY_INT64_);
    }
    if (kind == 'v' || lies_ready(value)) return nullptr;
    const bool ours = kind == 'a' ? element_of(value) != Element::NONE : is_float(type);
    return ours ? copied(value) : nullptr;
}
}  // namespace

ReadyInputs::ReadyInputs(PyObject* const* inputs, Py_ssize_t count, const char* kinds, bool numbers)
    : count_(count) {
    if (count > FEW) many_.resize(count), values_ = many_.data();
    // where one is something else, nothing is made of the others: the call goes the long way in any case
    const bool able = std::all_of(inputs, inputs + count, [](PyObject* value) {
        return value == Py_None || is_plain(value) || PyFloat_CheckExact(value) || PyLong_CheckExact(value);
    });
    const int floats = numbers && able ? shared_float(inputs, count) : -1;
    char      kind   = 0;
    for (Py_ssize_t i = 0; i < count; ++i) {
        if (*kinds && *kinds != '*') kind = *kinds++;
        PyObject* const value = inputs[i];
        const bool      number = floats >= 0 && (PyFloat_CheckExact(value) || PyLong_CheckExact(value));
        PyObject* const fresh = failed_ || !able ? nullptr : number ? array_of(value, floats) : made(value, kind);
        failed_ = failed_ || PyErr_Occurred();
        changed_ = changed_ || fresh;
        values_[i] = fresh ? fresh : Py_NewRef(value);
    }
}

ReadyInputs::~ReadyInputs() {
    if (!WithoutGil::ending())
        for (Py_ssize_t i = 0; i < count_; ++i) Py_DECREF(values_[i]);
}

bool is_ready_out(PyObject* out, PyObject* const* inputs, Py_ssize_t count) {
    if (!is_plain(out) || !is_native(out) || !lies_ready(out) || !(fields(out)->flags & WRITEABLE)) return false;
    const auto bytes = [](PyObject* array) {
        i64 n = py::reinterpret_borrow<py::dtype>(fields(array)->descr).itemsize();
        for (int axis = 0; axis < fields(array)->nd; ++axis) n *= fields(array)->dimensions[axis];
        return n;
    };
    const char* const begin = fields(out)->data;
    const char* const end   = begin + bytes(out);
    return std::none_of(inputs, inputs + count, [&](PyObject* input) {
        if (!is_plain(input)) return false;
        const char* const from = fields(input)->data;
        return from < end && begin < from + bytes(input);
    });
}

void bind_ready_inputs(py::module_& m) {
    m.def("contiguous", [](const py::array& array) {
        if (lies_ready(array.ptr()) || !is_plain(array.ptr()) || !is_native(array.ptr()) ||
            element_of(array) == Element::NONE)
            return py::array::ensure(array, py::array::c_style);
        return py::reinterpret_steal<py::array>(copied(array.ptr()));
    }, "The array itself where it is row-major, or a copy that is, made by all threads.");
}
