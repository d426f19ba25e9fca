// Python's values as kernels take them. What would be unsafe to dereference is refused; nothing is converted or copied.
#pragma once
#include <string>
#include "numpy_views.h"
#include "row.h"

// False: `value` is nothing that the parameter may be. No Python error is set.
bool load(const Parameter& parameter, PyObject* value, Slot& slot);
// What a refusal says the parameter must be.
std::string wanted(const Parameter& parameter);
i64 size_of(Element element);
// Names of the activations of activations.inc.
py::tuple activations();
