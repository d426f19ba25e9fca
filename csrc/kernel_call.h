// Kernels as Python's functions.
#pragma once
#include <pybind11/pybind11.h>
#include "row.h"

// A function that takes what `row` takes and runs its kernel without the GIL. The row must outlive Python.
pybind11::object function_of(const Row& row, const char* isa);
