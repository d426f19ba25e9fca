// Values of a view of any strides, side by side.
#pragma once
#include <cstdint>

// `from` is the view's first value, of `size` bytes (1, 2, 4 or 8); its strides are in bytes and
// may be zero or negative. `to` has room for all and shares nothing with the view.
void pyops_strided_copy(const char* from, const std::int64_t* shape, const std::int64_t* strides, int axes,
                        std::int64_t size, char* to, int threads);
