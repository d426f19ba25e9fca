#include "view.h"
#include <stdexcept>
#include <string>

[[noreturn]] void pyops_refuse_index(i64 index, i64 n) {
    throw std::out_of_range("index " + std::to_string(index) + " is outside an axis of size " + std::to_string(n));
}
