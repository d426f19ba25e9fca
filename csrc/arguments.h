// Python's values as kernels take them. What would be unsafe to dereference is refused; nothing
// is converted or copied.
#pragma once
#include <string>
#include "numpy_views.h"
#include "row.h"

// False: `value` is nothing that the parameter may be. No Python error is set.
bool load(const Parameter& parameter, PyObject* value, Slot& slot);
// What a refusal says the parameter must be.
std::string wanted(const Parameter& parameter);
// The element type of NumPy's name; NONE for another name.
Element element_called(const char* name);
const char* name_of(Element element);
// The element type of an array's values; NONE where it is none of ours, or not in the machine's byte order.
Element element_of(py::handle array);
// Names of the activations of activations.inc.
py::tuple activations();
