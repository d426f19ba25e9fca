// Tensors on the short way of a call: their arrays for the kernel, and its results as Tensors with
// their place on the tape, as pyops/core/tape.py's record makes them.
#pragma once
#include <pybind11/pybind11.h>
#include <vector>

// A call's inputs with the arrays of Tensors in their place. It holds what it took: another thread may
// give a Tensor other data meanwhile.
class TapeInputs {
    static constexpr Py_ssize_t FEW = 16;
    PyObject*                   few_[FEW];
    std::vector<PyObject*>      many_;
    PyObject**                  taken_ = few_;
    Py_ssize_t                  count_;
    bool                        any_ = false, requires_grad_ = false;

   public:
    TapeInputs(PyObject* const* inputs, Py_ssize_t count);
    ~TapeInputs();
    TapeInputs(const TapeInputs&)            = delete;
    TapeInputs& operator=(const TapeInputs&) = delete;
    PyObject* const* data() const { return taken_; }
    bool any() const { return any_; }   // whether one was a Tensor
    bool recorded() const;              // whether the tape keeps the call
};

// A new Node; `result` is an array or a tuple of arrays.
PyObject* node_of(PyObject* op, PyObject* inputs, PyObject* attrs, PyObject* result);
// `result`, an array or a tuple of arrays, as Tensors that `node` made; null: as leaves.
PyObject* on_tape(PyObject* result, PyObject* node);

// Adds route_tensors to the module.
void bind_tape_call(pybind11::module_& m);
