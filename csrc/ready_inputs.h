// Inputs that no kernel takes as they are, made ready without Python: strided arrays copied, indices
// widened to int64, Python's numbers as arrays of the other operand's type. What needs judgement
// (other types, scalars of NumPy, masked arrays) stays as it is, and with it the long way of
// pyops/core/dispatch.py, which says what is wrong.
#pragma once
#include <pybind11/pybind11.h>
#include <vector>

class ReadyInputs {
    static constexpr Py_ssize_t FEW = 8;
    PyObject*                   few_[FEW];
    std::vector<PyObject*>      many_;
    PyObject**                  values_ = few_;
    Py_ssize_t                  count_;
    bool                        changed_ = false, failed_ = false;

   public:
    // `kinds` as of Op; `numbers`: whether numbers may stand for arrays
    ReadyInputs(PyObject* const* inputs, Py_ssize_t count, const char* kinds, bool numbers);
    ~ReadyInputs();
    ReadyInputs(const ReadyInputs&)            = delete;
    ReadyInputs& operator=(const ReadyInputs&) = delete;
    PyObject* const* data() const { return values_; }
    bool changed() const { return changed_; }   // whether any was made anew
    bool failed() const { return failed_; }     // with Python's error set
};

// Whether `out` is an array that a kernel may write: plain, writeable, contiguous, and apart from the inputs,
// which are contiguous arrays or None.
bool is_ready_out(PyObject* out, PyObject* const* inputs, Py_ssize_t count);
