// Inputs of a row that works value by value, all of which lie in one other order of axes, such as those of
// a transposed matrix: nothing is copied. The row runs on views of theirs that are row-major, and its result is
// seen in the inputs' order, so that it lies as they do; torch and NumPy do the same.
#pragma once
#include <pybind11/pybind11.h>

class TurnedInputs {
    static constexpr Py_ssize_t MOST_INPUTS = 4;
    static constexpr int        MOST_AXES   = 8;
    PyObject*                   values_[MOST_INPUTS] = {};
    Py_ssize_t                  count_;
    int                         axes_ = 0, order_[MOST_AXES] = {};   // of the views: which axis of the inputs

   public:
    // `numbers`: whether numbers may stand for arrays
    TurnedInputs(PyObject* const* inputs, Py_ssize_t count, bool numbers);
    ~TurnedInputs();
    TurnedInputs(const TurnedInputs&)            = delete;
    TurnedInputs& operator=(const TurnedInputs&) = delete;
    bool any() const { return axes_ > 0; }
    PyObject* const* data() const { return values_; }
    // The row's result, which is given up, in the order of the inputs; null with Python's error set.
    PyObject* turned_back(PyObject* result) const;
};
