// Matrix products of small networks: one register-blocked kernel for forward, gradient to inputs, gradient to weights.
//
//     C[i][j] = epilogue(start(i, j) + sum_k A(i, k) B[k][j])
//
// A is read element by element and may be transposed; B and C are rows of vectors. In single precision an element is
// a float; in bfloat16 it is a pair of neighbours along k, multiplied and summed in single precision at once.
#pragma once
#include "simd.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

struct Single {
    typedef float Value;    // as activations are stored
    typedef float Element;  // `group` of them
    static constexpr int group = 1;
    static inline vf multiply_add(Element a, const Element* b, vf sum) { return a * load(b) + sum; }
    static inline vf load_values(const Value* p) { return load(p); }
    static inline void store_values(Value* p, vf v) { store(p, v); }
    template <int F> static inline void store_row(Value* p, const float* v) { memcpy(p, v, F * 4); }
    static inline Value value(float v) { return v; }
};

#if defined(__AVX512BF16__)
struct Brain {
    typedef uint16_t Value;
    typedef uint32_t Element;
    static constexpr int group = 2;
    static inline vf multiply_add(Element a, const Element* b, vf sum) {
        return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(int(a)),
                                    (__m512bh)_mm512_loadu_si512(b));
    }
    static inline vf load_values(const Value* p) {
        __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
        return (vf)_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
    }
    static inline void store_values(Value* p, vf v) {
        _mm256_storeu_si256((__m256i*)p, (__m256i)_mm512_cvtneps_pbh((__m512)v));
    }
    template <int F> static inline void store_row(Value* p, const float* v) {
        __m128bh narrow;
        if constexpr (F == 8) narrow = _mm256_cvtneps_pbh(_mm256_loadu_ps(v));
        else if constexpr (F == 4) narrow = _mm_cvtneps_pbh(_mm_loadu_ps(v));
        else if constexpr (F == 1) narrow = _mm_cvtneps_pbh(_mm_load_ss(v));
        else narrow = _mm_cvtneps_pbh(_mm_castsi128_ps(_mm_loadl_epi64((const __m128i*)v)));
        memcpy(p, &narrow, F * 2);
    }
    static inline Value value(float v) {  // to nearest, ties to even
        uint32_t bits;
        memcpy(&bits, &v, 4);
        return Value((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    }
};
#endif

// Where sums start.
struct FromZero {
    inline vf operator()(int, int) const { return vf{}; }
};
struct FromBias {
    const float* bias;
    inline vf operator()(int, int column) const { return load(bias + column); }
};
struct FromRowOf {  // row i starts from row index[i] of a table
    const float* table;
    const int32_t* index;
    int width;
    inline vf operator()(int row, int column) const { return load(table + size_t(index[row]) * width + column); }
};

// Where they end.
struct ToFloats {
    float* c;
    ptrdiff_t row;
    inline void operator()(int i, int j, vf v) const { store(c + i * row + j, v); }
};
struct AddToFloats {
    float* c;
    ptrdiff_t row;
    inline void operator()(int i, int j, vf v) const {
        float* p = c + i * row + j;
        store(p, load(p) + v);
    }
};
template <class P> struct ToRelu {
    typename P::Value* c;
    ptrdiff_t row;
    // NaN stays.
    inline void operator()(int i, int j, vf v) const { P::store_values(c + i * row + j, vmax(vf{}, v)); }
};
template <class P> struct ToMasked {  // only where the activation is positive: the gradient of ReLU
    typename P::Value* c;
    const typename P::Value* activation;
    ptrdiff_t row;
    inline void operator()(int i, int j, vf v) const {
        vf a = P::load_values(activation + i * row + j);
        P::store_values(c + i * row + j, a > 0.f ? v : vf{});
    }
};

template <class P> struct Operand {
    const typename P::Element* data;
    ptrdiff_t row, step;
};

template <class P, int M, int N, class Start, class End>
static inline __attribute__((always_inline)) void block(int i, int j, int steps, const Operand<P>& a,
                                                        const typename P::Element* b, ptrdiff_t b_step,
                                                        const Start& start, const End& end) {
    vf sum[M][N];
    for (int m = 0; m < M; ++m)
        for (int n = 0; n < N; ++n) sum[m][n] = start(i + m, j + n * W);
    const typename P::Element* pa = a.data + i * a.row;
    const typename P::Element* pb = b + j;
    for (int k = 0; k < steps; ++k, pa += a.step, pb += b_step)
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) sum[m][n] = P::multiply_add(pa[m * a.row], pb + n * W, sum[m][n]);
    for (int m = 0; m < M; ++m)
        for (int n = 0; n < N; ++n) end(i + m, j + n * W, sum[m][n]);
}

template <class P, int N, class Start, class End>
static inline void columns(int rows, int j, int steps, const Operand<P>& a, const typename P::Element* b,
                           ptrdiff_t b_step, const Start& start, const End& end) {
    int i = 0;
    for (; i + 6 <= rows; i += 6) block<P, 6, N>(i, j, steps, a, b, b_step, start, end);
    if (i + 4 <= rows) block<P, 4, N>(i, j, steps, a, b, b_step, start, end), i += 4;
    if (i + 2 <= rows) block<P, 2, N>(i, j, steps, a, b, b_step, start, end), i += 2;
    if (i < rows) block<P, 1, N>(i, j, steps, a, b, b_step, start, end);
}

// width is a multiple of 16.
template <class P, class Start, class End>
static inline void product(int rows, int width, int steps, const Operand<P>& a, const typename P::Element* b,
                           ptrdiff_t b_step, const Start& start, const End& end) {
    constexpr int N = W == 16 ? 4 : 2;
    int j = 0;
    for (; j + N * W <= width; j += N * W) columns<P, N>(rows, j, steps, a, b, b_step, start, end);
    if constexpr (N == 4) {
        if (j + 2 * W <= width) columns<P, 2>(rows, j, steps, a, b, b_step, start, end), j += 2 * W;
        if (j < width) columns<P, 1>(rows, j, steps, a, b, b_step, start, end);
    }
}

// Rows of values as elements that pair neighbouring rows, for sums over rows. Returns how many elements high that is.
static inline int rows_as_elements(const float* values, int rows, int, float*, const float** elements) {
    *elements = values;
    return rows;
}
#if defined(__AVX512BF16__)
static inline int rows_as_elements(const uint16_t* values, int rows, int width, uint32_t* pairs,
                                   const uint32_t** elements) {
    for (int i = 0; i < rows; i += 2)
        for (int j = 0; j < width; j += W) {
            __m512i even = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(values + i * width + j)));
            __m512i odd = i + 1 < rows ? _mm512_cvtepu16_epi32(_mm256_loadu_si256(
                                             (const __m256i*)(values + (i + 1) * width + j)))
                                       : _mm512_setzero_si512();
            _mm512_storeu_si512(pairs + i / 2 * width + j, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
        }
    *elements = pairs;
    return (rows + 1) / 2;
}
#endif

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
