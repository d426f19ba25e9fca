// Python's lock released for a scope. Where the interpreter ends meanwhile, the thread stops here
// for ever, as Python 3.14 has it: up to 3.13 its attempt to take the lock would end the thread by
// unwinding, through destructors that may not throw, which ends the process by abort().
#pragma once
#include <Python.h>
#include <unistd.h>

class WithoutGil {
    PyThreadState* const state = PyEval_SaveThread();

public:
    static bool ending() {
#if PY_VERSION_HEX >= 0x030D0000
        return Py_IsFinalizing();
#else
        return _Py_IsFinalizing();
#endif
    }

private:
    [[noreturn]] static void stop() {
        for (;;) pause();
    }

public:
    WithoutGil() = default;
    WithoutGil(const WithoutGil&) = delete;
    ~WithoutGil() {
        if (ending()) stop();
        try {
            PyEval_RestoreThread(state);
        } catch (...) {   // the unwinding of pthread_exit: it began to end after the question
            stop();
        }
    }
};
