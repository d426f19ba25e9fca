// y[k] = scale sum over j of window[j] x[j] e^(-+ 2 pi i j k / n), for k = 0 .. m - 1, of frames of a signal.
//
// Frames are transformed a vector at a time: a lane is a frame, and a value of a frame is a vector for
// its real part and one for its imaginary part. So every radix is plain arithmetic, and a frame's result
// does not depend on others. The transform is Stockham's, by factors of 4, 2 and small primes; lengths
// with a prime factor beyond 31 go by Bluestein's convolution, whose length is a power of two. Real
// signals of even length are transformed as complex ones of half the length (even values real, odd ones
// imaginary) and taken apart afterwards.
#include <utility>
#include "kernel.h"

BEGIN_KERNELS

constexpr i64 LARGEST_FACTOR = 31;   // pyops/ops/dft.py decides by it, too

struct Complex {
    V re, im;
};
static Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
static Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
static Complex times(Complex a, real re, real im) { return {a.re * re - a.im * im, a.re * im + a.im * re}; }
static Complex turned(Complex a) { return {a.im, -a.re}; }   // -i a

// e^(-2 pi i j / n) for j counted round.
struct Table {
    const real* value;
    i64 n, step;   // step: of a table for a multiple of the length
    const real* at(i64 j) const { return value + 2 * (j % n) * step; }
};

// ---- Stockham's transform of `length` values, from a to b and back; returns where the result lies

static void by_two(i64 m, i64 s, const Table& w, const Complex* x, Complex* y) {
    for (i64 p = 0; p < m; ++p) {
        const real* t = w.at(p * s);
        for (i64 q = 0; q < s; ++q) {
            const Complex a = x[q + s * p], b = x[q + s * (p + m)];
            y[q + s * 2 * p] = a + b, y[q + s * (2 * p + 1)] = times(a - b, t[0], t[1]);
        }
    }
}

static void by_four(i64 m, i64 s, const Table& w, const Complex* x, Complex* y) {
    for (i64 p = 0; p < m; ++p) {
        const real *t1 = w.at(p * s), *t2 = w.at(2 * p * s), *t3 = w.at(3 * p * s);
        for (i64 q = 0; q < s; ++q) {
            const Complex* from = x + q + s * p;
            const Complex a = from[0], b = from[s * m], c = from[2 * s * m], d = from[3 * s * m];
            const Complex even = a + c, odd = a - c, sum = b + d, turn = turned(b - d);
            Complex* to = y + q + s * 4 * p;
            to[0] = even + sum, to[s] = times(odd + turn, t1[0], t1[1]);
            to[2 * s] = times(even - sum, t2[0], t2[1]), to[3 * s] = times(odd - turn, t3[0], t3[1]);
        }
    }
}

static void by_prime(i64 r, i64 m, i64 s, const Table& w, const Complex* x, Complex* y) {
    for (i64 p = 0; p < m; ++p)
        for (i64 j = 0; j < r; ++j) {
            const real* t = w.at(j * p * s);
            for (i64 q = 0; q < s; ++q) {
                Complex sum = x[q + s * p];
                for (i64 k = 1; k < r; ++k) {
                    const real* root = w.at(j * k % r * m * s);
                    sum = sum + times(x[q + s * (p + k * m)], root[0], root[1]);
                }
                y[q + s * (r * p + j)] = times(sum, t[0], t[1]);
            }
        }
}

static Complex* transform(i64 length, const Table& w, Complex* a, Complex* b) {
    for (i64 n = length, s = 1; n > 1;) {
        i64 r = n % 4 == 0 ? 4 : 2;
        while (n % r) ++r;
        const i64 m = n / r;
        if (r == 4) by_four(m, s, w, a, b);
        else if (r == 2) by_two(m, s, w, a, b);
        else by_prime(r, m, s, w, a, b);
        std::swap(a, b);
        n = m, s *= r;
    }
    return a;
}

static void swap_parts(Complex* a, i64 n) {
    for (i64 i = 0; i < n; ++i) a[i] = {a[i].im, a[i].re};
}

// By a circular convolution with a chirp: chirped is its transform, of length `longer.n`.
static Complex* by_chirp(i64 length, const real* chirp, const real* chirped, const Table& longer, Complex* a,
                         Complex* b) {
    for (i64 i = 0; i < longer.n; ++i)
        a[i] = i < length ? times(a[i], chirp[2 * i], chirp[2 * i + 1]) : Complex{V{}, V{}};
    Complex* z = transform(longer.n, longer, a, b);
    for (i64 i = 0; i < longer.n; ++i) z[i] = times(z[i], chirped[2 * i], chirped[2 * i + 1]);
    swap_parts(z, longer.n);
    z = transform(longer.n, longer, z, z == a ? b : a);
    const real share = real(1) / real(longer.n);
    for (i64 i = 0; i < length; ++i) z[i] = times({z[i].im, z[i].re}, chirp[2 * i] * share, chirp[2 * i + 1] * share);
    return z;
}

// ---- frames as lanes

// Values [begin, begin + LANES) of up to LANES rows, as a vector a value; 0 from `count` on.
static void across(const real* const* rows, int lanes, i64 begin, i64 count, V (&of)[LANES]) {
    const i64 left = count - begin;
    for (int r = 0; r < LANES; ++r)
        of[r] = r >= lanes ? V{} : left >= LANES ? load(rows[r] + begin)
                                                 : load(rows[r] + begin, (int)left);
    interleave(of);
}

static void along(V (&of)[LANES], int lanes, i64 begin, i64 count, real* const* rows) {
    interleave(of);
    const i64 left = count - begin;
    for (int r = 0; r < lanes; ++r) {
        if (left >= LANES) store(rows[r] + begin, of[r]);
        else store(rows[r] + begin, of[r], (int)left);
    }
}

struct Plan {
    In<real> x, window;
    Table table, longer;      // of the transform, of Bluestein's
    const real *chirp, *chirped;
    const real* twiddles;        // of n
    i64 n, length, taken, hop, frames, parts, m, out_parts;
    bool halved, inverse;
    real scale;
    real* y;

    i64 room() const { return chirp ? longer.n : length; }

    void gather(i64 first, int lanes, Complex* a) const {
        const real* rows[LANES];
        for (int r = 0; r < lanes; ++r)
            rows[r] = x.data + ((first + r) / frames * x.dim(1) + (first + r) % frames * hop) * parts;
        real* flat = (real*)a;   // a value's parts are vectors side by side
        const i64 values = taken * parts, pairs = halved || parts == 2;
        for (i64 f = 0; f < values; f += LANES) {
            V of[LANES];
            across(rows, lanes, f, values, of);
            for (int i = 0; i < LANES && f + i < values; ++i) {
                const V v = window ? of[i] * window.data[(f + i) / parts] : of[i];
                store(flat + (pairs ? f + i : 2 * (f + i)) * LANES, v);
                if (!pairs) store(flat + (2 * (f + i) + 1) * LANES, V{});
            }
        }
        for (i64 f = pairs ? values : 2 * values; f < 2 * length; ++f) store(flat + f * LANES, V{});
    }

    // Value k of n, from what was transformed.
    Complex value(const Complex* z, i64 k) const {
        if (!halved) return z[k];
        const bool mirrored = k > length;
        const i64 j = mirrored ? n - k : k;
        const Complex a = z[j % length], b = z[(length - j) % length], conjugate = {b.re, -b.im};
        const Complex even = a + conjugate, odd = turned(a - conjugate);
        const real* t = twiddles + 2 * j;
        const Complex whole = even + times(odd, t[0], t[1]);
        return {whole.re * real(0.5), (mirrored ? -whole.im : whole.im) * real(0.5)};
    }

    void scatter(i64 first, int lanes, const Complex* z) const {
        real* rows[LANES];
        for (int r = 0; r < lanes; ++r) rows[r] = y + (first + r) * m * out_parts;
        const i64 values = m * out_parts;
        for (i64 f = 0; f < values; f += LANES) {
            V of[LANES] = {};
            for (int i = 0; i < LANES && f + i < values; i += (int)out_parts) {
                const Complex c = value(z, (f + i) / out_parts);
                // of a complex signal parts were exchanged for the inverse; a real one's result is conjugated
                const bool exchanged = inverse && parts == 2;
                of[i] = (exchanged ? c.im : c.re) * scale;
                if (out_parts == 2) of[i + 1] = (exchanged ? c.re : inverse ? -c.im
                                                                            : c.im) *
                                                scale;
            }
            along(of, lanes, f, values, rows);
        }
    }

    void run(i64 first, int lanes, Complex* a, Complex* b) const {
        gather(first, lanes, a);
        if (inverse && parts == 2) swap_parts(a, length);
        scatter(first, lanes, chirp ? by_chirp(length, chirp, chirped, longer, a, b) : transform(length, table, a, b));
    }
};

void dft(In<real> x, In<real> window, In<real> twiddles, In<real> chirp, In<real> chirped, In<real> longer, i64 taken,
         i64 hop, bool inverse, double scale, Out<real> y) {
    if (y.size() == 0) return;
    Plan plan;
    plan.x = x, plan.window = window;
    plan.n = twiddles.dim(0), plan.parts = x.dim(2);
    plan.halved = plan.parts == 1 && plan.n % 2 == 0;
    plan.length = plan.halved ? plan.n / 2 : plan.n;
    plan.table = {twiddles.data, plan.length, plan.halved ? 2 : 1};
    plan.longer = {longer.data, longer ? longer.dim(0) : 0, 1};
    plan.chirp = chirp.data, plan.chirped = chirped.data, plan.twiddles = twiddles.data;
    plan.taken = taken, plan.hop = hop, plan.frames = y.dim(1), plan.m = y.dim(2), plan.out_parts = y.dim(3);
    plan.inverse = inverse, plan.scale = real(scale), plan.y = y.data;
    const i64 rows = y.dim(0) * y.dim(1), groups = (rows + LANES - 1) / LANES;
    parallel_for(groups, 1 + 2048 / (plan.room() + 1), [&](i64 begin, i64 end) {
        Scratch<Complex> a(plan.room() + LANES), b(plan.room() + LANES);
        for (i64 g = begin; g < end; ++g) {
            const i64 first = g * LANES;
            plan.run(first, rows - first < LANES ? (int)(rows - first) : LANES, a, b);
        }
    });
}

// A chunk of a signal takes the frames that reach into it in their order, whatever the chunk.
void overlap_add(In<real> frames, In<real> window, i64 hop, Out<real> y) {
    constexpr i64 CHUNK = 4096;
    const i64 count = frames.dim(1), n = frames.dim(2), total = y.dim(1), chunks = (total + CHUNK - 1) / CHUNK;
    parallel_for(y.dim(0) * chunks, 2, [&](i64 begin, i64 end) {
        for (i64 c = begin; c < end; ++c) {
            const i64 from = c % chunks * CHUNK, to = from + CHUNK < total ? from + CHUNK : total;
            real* out = y.data + c / chunks * total;
            std::memset(out + from, 0, (to - from) * sizeof(real));
            for (i64 f = from < n ? 0 : (from - n) / hop + 1; f < count && f * hop < to; ++f) {
                const i64 first = f * hop > from ? f * hop : from, last = f * hop + n < to ? f * hop + n : to;
                const real* frame = frames.data + (c / chunks * count + f) * n + first - f * hop;
                const real* weight = window.data + first - f * hop;
                for_vectors(last - first, [&](i64 i, auto lanes) {
                    const V v = lanes.load(frame + i);
                    lanes.store(out + first + i,
                                lanes.load(out + first + i) + (window ? v * lanes.load(weight + i) : v));
                });
            }
        }
    });
}

END_KERNELS
