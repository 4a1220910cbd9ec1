// Adam in one pass over parameters, moments and gradients; and tables to half precision.
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

static void adam(const Adam& o, int64_t count, const float* gradient, float* parameter, float* mean, float* square) {
    auto update = [&](int64_t i, size_t bytes) __attribute__((always_inline)) {
        vf p{}, g{}, m{}, s{};
        memcpy(&p, parameter + i, bytes);
        memcpy(&g, gradient + i, bytes);
        memcpy(&m, mean + i, bytes);
        memcpy(&s, square + i, bytes);
        g += o.decay * p;
        m += (g - m) * o.mean_share;
        s = s * (1 - o.square_share) + g * g * o.square_share;
        p -= o.learning_rate * (m * o.mean_correction) / (square_root(s * o.square_correction) + o.eps);
        memcpy(parameter + i, &p, bytes);
        memcpy(mean + i, &m, bytes);
        memcpy(square + i, &s, bytes);
    };
    parallel_ranges(count, PASS, [&](int64_t first, int64_t last, int) {
        int64_t i = first;
        for (; i + W <= last; i += W) update(i, sizeof(vf));
        if (i < last) update(i, size_t(last - i) * 4);
    });
}

static void halve(int64_t count, const float* from, uint16_t* to) {
#if defined(__F16C__)
    parallel_ranges(count, PASS, [&](int64_t first, int64_t last, int) {
        int64_t i = first;
        for (; i + 8 <= last; i += 8)
            _mm_storeu_si128((__m128i*)(to + i), _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
        for (; i < last; ++i) to[i] = _cvtss_sh(from[i], _MM_FROUND_TO_NEAREST_INT);
    });
#else
    (void)count, (void)from, (void)to;
#endif
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
