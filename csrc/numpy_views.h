// The fields of NumPy arrays, read through pybind11's table of NumPy's functions: NumPy's headers
// are not needed to build.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include "view.h"
namespace py = pybind11;

using ArrayFields = py::detail::PyArray_Proxy;
constexpr int C_CONTIGUOUS = 0x0001, ALIGNED = 0x0100, WRITEABLE = 0x0400;

static inline bool is_array(py::handle h) { return py::detail::npy_api::get().PyArray_Check_(h.ptr()); }
static inline const ArrayFields* fields(py::handle h) {
    return reinterpret_cast<const ArrayFields*>(h.ptr());
}
static inline int type_of(py::handle h) { return py::reinterpret_borrow<py::dtype>(fields(h)->descr).num(); }
static inline bool is_native(py::handle h) {
    const char order = py::reinterpret_borrow<py::dtype>(fields(h)->descr).byteorder();
    return order == '=' || order == '|';
}
