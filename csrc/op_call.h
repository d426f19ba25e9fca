// Op.__call__, the road of every eager call.
#pragma once
#include <pybind11/pybind11.h>

// Adds OpBase, probe and route_calls to the module.
void bind_op_call(pybind11::module_& m);
// Whether the active backend is one whose kernels the extension calls itself.
bool calls_native_kernels();
// Adds join, the short way of cat and stack.
void bind_join_call(pybind11::module_& m);
// Adds pointwise, which makes the glue of rows that work value by value.
void bind_pointwise_call(pybind11::module_& m);
