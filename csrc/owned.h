// A reference to a Python object that a scope gives back.
#pragma once
#include "without_gil.h"

// Not by a thread that Python's end unwinds, which no longer has the lock.
struct Owned {
    PyObject* object;
    ~Owned() {
        if (!WithoutGil::ending()) Py_XDECREF(object);
    }
    explicit operator bool() const { return object; }
};
