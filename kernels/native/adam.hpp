// Adam in one pass over parameters, moments and gradients; tables to half precision.
#pragma once
#include "simd.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

constexpr int64_t PASS = 1 << 15;  // numbers of a task

static inline vf square_root(vf x) {
#if defined(__AVX512F__)
    return (vf)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
    return (vf)_mm256_sqrt_ps((__m256)x);
#else
    for (int lane = 0; lane < W; ++lane) x[lane] = __builtin_sqrtf(x[lane]);
    return x;
#endif
}

// To half precision, to nearest, ties to even.
static inline uint16_t half_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    const uint16_t sign = uint16_t(bits >> 16 & 0x8000);
    bits &= 0x7FFFFFFF;
    if (bits >= 0x47800000) return sign | (bits > 0x7F800000 ? 0x7E00 : 0x7C00);
    if (bits < 0x38800000) {  // adding 0.5 leaves as many fraction bits as a half this small has
        float sum = (x < 0 ? -x : x) + 0.5f;
        memcpy(&bits, &sum, 4);
        return sign | uint16_t(bits - 0x3F000000);
    }
    return sign | uint16_t((bits + 0xC8000FFF + (bits >> 13 & 1)) >> 13);
}

static inline void halve_vector(vf v, uint16_t* to, int count) {
#if defined(__AVX512F__)
    __m256i bits = _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT);
    memcpy(to, &bits, size_t(count) * 2);
#elif defined(__F16C__)
    __m128i bits = _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT);
    memcpy(to, &bits, size_t(count) * 2);
#else
    for (int lane = 0; lane < count; ++lane) to[lane] = half_of(v[lane]);
#endif
}

static inline bool all_zero(const float* numbers) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask(_mm512_loadu_si512(numbers), _mm512_set1_epi32(0x7FFFFFFF)) == 0;
#elif defined(__AVX2__)
    return _mm256_testz_si256(_mm256_loadu_si256((const __m256i*)numbers), _mm256_set1_epi32(0x7FFFFFFF));
#else
    for (int lane = 0; lane < W; ++lane)
        if (numbers[lane] != 0) return false;
    return true;
#endif
}

// One step of W numbers.
static inline void move(const Adam& o, const float* gradient, float* parameter, float* mean, float* square, uint16_t* half) {
    const vf p = load(parameter), m = load(mean), s = load(square);
    vf g = load(gradient);
    const vi touched = g != 0.f;
    g += o.decay * p;
    vf next_m = m + (g - m) * o.mean_share;
    vf next_s = s * (1 - o.square_share) + g * g * o.square_share;
    vf next_p = p - o.learning_rate * (next_m * o.mean_correction) / (square_root(next_s * o.square_correction) + o.eps);
    if (o.sparse) {
        next_m = touched ? next_m : m;
        next_s = touched ? next_s : s;
        next_p = touched ? next_p : p;
    }
    store(parameter, next_p);
    store(mean, next_m);
    store(square, next_s);
    if (half) halve_vector(next_p, half, W);
}

// The same of fewer than W.
static inline void move_rest(const Adam& o, int count, const float* gradient, float* parameter, float* mean,
                             float* square, uint16_t* half) {
    float numbers[4][W] = {};
    uint16_t halves[W];
    const float* from[] = {gradient, parameter, mean, square};
    for (int k = 0; k < 4; ++k) memcpy(numbers[k], from[k], size_t(count) * 4);
    move(o, numbers[0], numbers[1], numbers[2], numbers[3], halves);
    float* to[] = {parameter, mean, square};
    for (int k = 0; k < 3; ++k) memcpy(to[k], numbers[k + 1], size_t(count) * 4);
    if (half) memcpy(half, halves, size_t(count) * 2);
}

static inline void move_range(const Adam& adam, int64_t count, const float* gradient, float* parameter, float* mean,
                              float* square, uint16_t* half) {
    const Adam o = adam;  // here no store can change it
    int64_t i = 0;
    for (; i + W <= count; i += W)
        if (!o.sparse || !all_zero(gradient + i))
            move(o, gradient + i, parameter + i, mean + i, square + i, half ? half + i : nullptr);
    if (i < count)
        move_rest(o, int(count - i), gradient + i, parameter + i, mean + i, square + i, half ? half + i : nullptr);
}

static void adam(const Adam& o, int64_t count, const float* gradient, float* parameter, float* mean, float* square,
                 uint16_t* half) {
    parallel_ranges(count, PASS, [&](int64_t i, int64_t last, int) {
        move_range(o, last - i, gradient + i, parameter + i, mean + i, square + i, half ? half + i : nullptr);
    });
}

static void halve(int64_t count, const float* from, uint16_t* to) {
    parallel_ranges(count, PASS, [&](int64_t first, int64_t last, int) {
        int64_t i = first;
        for (; i + W <= last; i += W) halve_vector(load(from + i), to + i, W);
        if (i < last) {
            vf rest{};
            memcpy(&rest, from + i, size_t(last - i) * 4);
            halve_vector(rest, to + i, int(last - i));
        }
    });
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
