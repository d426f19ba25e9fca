// What is asked of a model's weights before they are packed. They are read where they lie in its file,
// in order but not aligned.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
namespace py = pybind11;

namespace {
constexpr py::ssize_t STRIP = 1024, LANES = 8;
constexpr std::uint32_t EXPONENT = 0x7f800000;   // all of it: infinite, or no number

const char* bytes_of(const py::array& array) {
    if (!py::isinstance<py::array_t<float>>(array) || !(array.flags() & py::array::c_style))
        throw py::type_error("takes float32 arrays in order");
    return static_cast<const char*>(array.data());
}

bool are_finite(const py::array& array) {
    const char* at = bytes_of(array);
    std::uint32_t bits[STRIP];
    for (py::ssize_t left = array.size(); left > 0; left -= STRIP, at += sizeof bits) {
        const py::ssize_t n = std::min(left, STRIP);
        std::memcpy(bits, at, n * sizeof *bits);
        std::uint32_t odd = 0;
        for (py::ssize_t i = 0; i < n; ++i) odd |= (bits[i] & EXPONENT) == EXPONENT;
        if (odd) return false;
    }
    return true;
}

// Whether each of the rows has `share` at most of its squares in one number; not where one is no number.
bool are_even(const py::array& array, py::ssize_t rows, double share) {
    const char* at = bytes_of(array);
    if (rows <= 0 || array.size() % rows) throw py::value_error("takes whole rows");
    float values[STRIP];
    for (py::ssize_t row = 0; row < rows; ++row) {
        double sum[LANES] = {}, peak[LANES] = {};
        for (py::ssize_t left = array.size() / rows; left > 0; left -= STRIP) {
            const py::ssize_t n = std::min(left, STRIP), whole = (n + LANES - 1) / LANES * LANES;
            std::memcpy(values, at, n * sizeof *values);
            std::fill(values + n, values + whole, 0.f);
            at += n * sizeof *values;
            for (py::ssize_t i = 0; i < whole; i += LANES)
                for (py::ssize_t k = 0; k < LANES; ++k) {
                    const double square = double(values[i + k]) * values[i + k];
                    sum[k] += square;
                    peak[k] = peak[k] < square ? square : peak[k];
                }
        }
        double all = 0;
        for (const double s : sum) all += s;
        const double most = *std::max_element(peak, peak + LANES);
        if (!(most <= share * (all - most))) return false;
    }
    return true;
}
// y = x factor along the middle axis of (outer, factors, inner): products of doubles, rounded. y may be x.
void scale(const py::array& x, const py::array_t<double, py::array::c_style>& factors, py::ssize_t inner, py::array y) {
    const char* from = bytes_of(x);
    bytes_of(y);
    char* to = static_cast<char*>(y.mutable_data());
    const py::ssize_t n = factors.size(), all = x.size();
    if (y.size() != all || inner <= 0 || n <= 0 || all % inner || all / inner % n)
        throw py::value_error("takes a factor for each of some rows");
    const double* const factor = factors.data();
    float values[STRIP];
    for (py::ssize_t row = 0; row * inner < all; ++row)
        for (py::ssize_t left = inner; left > 0; left -= STRIP) {
            const py::ssize_t count = std::min(left, STRIP);
            std::memcpy(values, from, count * sizeof *values);
            for (py::ssize_t i = 0; i < count; ++i) values[i] = float(values[i] * factor[row % n]);
            std::memcpy(to, values, count * sizeof *values);
            from += count * sizeof *values, to += count * sizeof *values;
        }
}
}  // namespace

void bind_weights(py::module_& m) {
    m.def("finite", &are_finite, "Whether all numbers of a float32 array are finite.");
    m.def("even", &are_even, "Whether no number of a row has more than `share` times the squares of all others.");
    m.def("scale", &scale, "y = x times a factor for each of rows of `inner` numbers, again and again.");
}
