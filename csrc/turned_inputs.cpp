#include "turned_inputs.h"
#include <algorithm>
#include <cstdlib>
#include "arguments.h"
#include "without_gil.h"

namespace {
using Api = py::detail::npy_api;

bool is_plain(PyObject* value) { return Py_TYPE(value) == Api::get().PyArray_Type_; }
bool is_number(PyObject* value) { return PyFloat_CheckExact(value) || PyLong_CheckExact(value); }

// A view of the array with its axes in this order. NumPy says itself that it is row-major.
PyObject* view_of(PyObject* array, const int* order) {
    const Api&        numpy = Api::get();
    const auto* const a     = fields(array);
    Py_intptr_t       shape[8], strides[8];
    for (int axis = 0; axis < a->nd; ++axis)
        shape[axis] = a->dimensions[order[axis]], strides[axis] = a->strides[order[axis]];
    Py_INCREF(a->descr);   // which the view takes
    PyObject* const view = numpy.PyArray_NewFromDescr_(numpy.PyArray_Type_, a->descr, a->nd, shape, strides, a->data,
                                                       a->flags & WRITEABLE, nullptr);
    if (!view) return nullptr;
    Py_INCREF(array);
    if (numpy.PyArray_SetBaseObject_(view, array) < 0) return Py_DECREF(view), nullptr;
    return view;
}
}  // namespace

TurnedInputs::TurnedInputs(PyObject* const* inputs, Py_ssize_t count, bool numbers) : count_(count) {
    const ArrayFields* first = nullptr;
    if (count > MOST_INPUTS) return;
    for (Py_ssize_t k = 0; k < count; ++k) {
        PyObject* const value = inputs[k];
        if (numbers && is_number(value)) continue;
        if (!is_plain(value) || !is_native(value)) return;
        const ArrayFields* const a = fields(value);
        if (a->nd == 0) continue;
        if (!(a->flags & ALIGNED) || a->nd < 2 || a->nd > MOST_AXES) return;
        if (!first) first = a;
        else if (a->nd != first->nd || !std::equal(a->dimensions, a->dimensions + a->nd, first->dimensions) ||
                 !std::equal(a->strides, a->strides + a->nd, first->strides))
            return;
    }
    if (!first || first->flags & C_CONTIGUOUS) return;
    int order[MOST_AXES];
    for (int axis = 0; axis < first->nd; ++axis) order[axis] = axis;
    std::stable_sort(order, order + first->nd,
                     [&](int a, int b) { return first->strides[a] > first->strides[b]; });
    Py_intptr_t step = py::reinterpret_borrow<py::dtype>(first->descr).itemsize();
    for (int axis = first->nd - 1; axis >= 0; --axis) {   // nothing between its values, and none twice
        const int at = order[axis];
        if (first->dimensions[at] == 0 || (first->dimensions[at] > 1 && first->strides[at] != step)) return;
        step *= first->dimensions[at];
    }
    for (Py_ssize_t k = 0; k < count; ++k) {
        const bool alone = is_number(inputs[k]) || fields(inputs[k])->nd == 0;
        values_[k] = alone ? Py_NewRef(inputs[k]) : view_of(inputs[k], order);
        if (!values_[k]) {   // copied, then
            PyErr_Clear();
            return;
        }
    }
    axes_ = first->nd;
    std::copy(order, order + axes_, order_);
}

TurnedInputs::~TurnedInputs() {
    if (!WithoutGil::ending())
        for (Py_ssize_t k = 0; k < count_ && k < MOST_INPUTS; ++k) Py_XDECREF(values_[k]);
}

PyObject* TurnedInputs::turned_back(PyObject* result) const {
    int back[MOST_AXES];
    for (int axis = 0; axis < axes_; ++axis) back[order_[axis]] = axis;
    PyObject* const view = view_of(result, back);
    Py_DECREF(result);
    return view;
}
