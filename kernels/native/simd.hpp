// Vectors of the instruction set that is being compiled for, and the functions of them that the kernels need.
//
// Every variant compiles these headers anew in a namespace of its own (POLYFIELD_VARIANT), and uses no templates of
// the standard library: the linker would keep one copy of them, and it might be one that this CPU cannot run.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "kernels.hpp"
#include "pool.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

#if defined(__AVX512F__)
constexpr int W = 16;
#elif defined(__AVX2__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif
typedef float vf __attribute__((vector_size(W * 4)));
typedef int32_t vi __attribute__((vector_size(W * 4)));
typedef uint32_t vu __attribute__((vector_size(W * 4)));

static inline vf load(const float* p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void store(float* p, vf v) { memcpy(p, &v, sizeof v); }
static inline vf splat(float x) { return x - vf{}; }
static inline vf vmax(vf a, vf b) { return a > b ? a : b; }
static inline vf vmin(vf a, vf b) { return a < b ? a : b; }
static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// Rounds |x| < 2^22 to the nearest whole number: beyond 1.5 * 2^23 floats have no fraction.
static inline vf round_near(vf x) { return (x + 12582912.f) - 12582912.f; }

// e^x to 2 units in the last place: 2^k e^r with |r| <= ln 2 / 2, and a polynomial for e^r. NaN stays.
static inline vf vexp(vf x) {
    vf bounded = vmin(vmax(x, splat(-87.f)), splat(88.f));
    vf k = round_near(bounded * 1.44269504f);
    vf r = (bounded - k * 0.693359375f) - k * -2.12194440e-4f;
    vf p = splat(1.f / 5040);
    p = p * r + 1.f / 720;
    p = p * r + 1.f / 120;
    p = p * r + 1.f / 24;
    p = p * r + 1.f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.f;
    p = p * r + 1.f;
    vi power = (__builtin_convertvector(k, vi) + 127) << 23;
    vf scale;
    memcpy(&scale, &power, sizeof scale);
    return x == x ? p * scale : x;
}

static inline vf vsigmoid(vf x) { return 1.f / (1.f + vexp(-x)); }

// sin of x by its distance r to the multiple `k` of pi, which may be a half one for the cosine.
static inline vf sine_of_rest(vf x, vf k) {
    vf r = ((x - k * 3.140625f) - k * 9.67502594e-4f) - k * 1.50995788e-7f;
    vf s = r * r;
    vf p = splat(-2.50521084e-8f);
    p = p * s + 2.75573192e-6f;
    p = p * s - 1.98412698e-4f;
    p = p * s + 8.33333333e-3f;
    p = p * s - 1.66666667e-1f;
    return r + r * s * p;
}
static inline vf alternate(vf value, vf k) { return (__builtin_convertvector(k, vi) & 1) ? -value : value; }
static inline vf vsin(vf x) {
    vf k = round_near(x * 0.318309886f);
    return alternate(sine_of_rest(x, k), k);
}
static inline vf vcos(vf x) {  // sin(x + pi / 2)
    vf k = round_near(x * 0.318309886f + 0.5f);
    return alternate(sine_of_rest(x, k - 0.5f), k);
}

static inline float sum_of(vf v) {
    float sum = 0;
    for (int lane = 0; lane < W; ++lane) sum += v[lane];
    return sum;
}

// Calls body(first number, how many) over a row in vectors; the last may be shorter.
template <class Body> static inline void for_parts(int numbers, const Body& body) {
    int k = 0;
    for (; k + W <= numbers; k += W) body(k, W);  // inlined with that constant
    if (k < numbers) body(k, numbers - k);
}
// A vector of `count` numbers, and zeros behind them.
static inline vf load_part(const float* p, int count) {
    if (count == W) return load(p);
    float part[W] = {};
    memcpy(part, p, count * 4);
    return load(part);
}
static inline void store_part(float* p, vf v, int count) { memcpy(p, &v, count * 4); }

template <int N> struct Constant {
    static constexpr int value = N;
};

template <class T> static inline T* room(Buffer& buffer, size_t count) {
    return static_cast<T*>(buffer.reserve(count * sizeof(T)));
}

// A loop over tasks with the pool's threads; body(index, worker).
template <class Body> static inline void parallel(int64_t count, const Body& body) {
    struct Call {
        static void one(void* context, int64_t index, int worker) {
            (*static_cast<const Body*>(context))(index, worker);
        }
    };
    run_tasks(count, &Call::one, const_cast<Body*>(&body));
}

// The same over ranges [first, last) of at most `grain`.
template <class Body> static inline void parallel_ranges(int64_t count, int64_t grain, const Body& body) {
    parallel((count + grain - 1) / grain,
             [&](int64_t part, int worker) { body(part * grain, least(count, (part + 1) * grain), worker); });
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
