// Steps of matrices along their momentum, made orthogonal (Jordan et al. 2024, Muon): kernels/operations.py has the equations.
#pragma once
#include <cmath>

#include "packed_field.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

// As in kernels/reference/muon.py.
constexpr int ITERATIONS = 5;
constexpr float LINEAR = 3.4445f, CUBIC = -4.7750f, QUINTIC = 2.0315f;
constexpr float LEAST_NORM = 1e-12f;

template <class P> struct ToValues {
    typename P::Value* c;
    ptrdiff_t row;
    inline void operator()(int i, int j, vf v) const { P::store_values(c + i * row + j, v); }
};
template <class P> struct ToSum {  // scale times the product, plus `share` of another matrix
    typename P::Value* c;
    const typename P::Value* other;
    ptrdiff_t row;
    float scale, share;
    inline void operator()(int i, int j, vf v) const {
        P::store_values(c + i * row + j, scale * v + share * P::load_values(other + i * row + j));
    }
};

// Rows (rows, width) times a square matrix (width, width), for which `pairs` has room as elements.
template <class P, class End>
static inline void times_square(const typename P::Value* x, int rows, const typename P::Value* square, int width,
                                typename P::Element* pairs, const End& end) {
    const typename P::Element* right;
    const int steps = rows_as_elements(square, width, width, pairs, &right);
    Operand<P> left{reinterpret_cast<const typename P::Element*>(x), width / P::group, 1};
    product<P>(rows, width, steps, left, right, width, FromZero{}, end);
}

// Moves the singular values of x (high, wide), of padded sizes, towards 1. Returns where the result is: x or `other`.
template <class P>
static inline typename P::Value* orthogonal(typename P::Value* x, typename P::Value* other, int high, int wide, Buffer* room_of) {
    typedef typename P::Value Value;
    typedef typename P::Element Element;
    Value* square = room<Value>(room_of[0], size_t(wide) * wide);
    Value* polynomial = room<Value>(room_of[1], size_t(wide) * wide);
    Element* pairs = room<Element>(room_of[2], size_t(high) * wide);
    for (int k = 0; k < ITERATIONS; ++k) {
        const Element* rows;
        const int steps = rows_as_elements(x, high, wide, pairs, &rows);
        product<P>(wide, wide, steps, Operand<P>{rows, 1, wide}, rows, wide, FromZero{}, ToValues<P>{square, wide});
        times_square<P>(square, wide, square, wide, pairs, ToSum<P>{polynomial, square, wide, QUINTIC, CUBIC});
        times_square<P>(x, high, polynomial, wide, pairs, ToSum<P>{other, x, wide, 1, LINEAR});
        Value* swapped = x;
        x = other, other = swapped;
    }
    return x;
}

constexpr int MUON_ROOMS = 7;

// Takes the memory for a step of a matrix, so that the step itself cannot fail.
template <class P> static inline void reserve_muon(int rows, int columns, Buffer* room_of) {
    const int64_t high = padded(int(most(rows, columns))), wide = padded(int(least(rows, columns)));
    for (int k = 0; k < 2; ++k) room<typename P::Value>(room_of[k], size_t(wide * wide));
    room<typename P::Element>(room_of[2], size_t(high * wide));
    for (int k = 3; k < 5; ++k) room<float>(room_of[k], size_t(high * wide));
    for (int k = 5; k < MUON_ROOMS; ++k) room<typename P::Value>(room_of[k], size_t(high * wide));
}

// One step of a matrix (rows, columns) of less than 2^31 numbers when padded, on one thread.
template <class P>
static inline void muon(const Muon& o, int rows, int columns, const float* gradient, float* parameter, float* mean, Buffer* room_of) {
    typedef typename P::Value Value;
    reserve_muon<P>(rows, columns, room_of);
    const int count = rows * columns;
    float* along = room<float>(room_of[3], count);
    vf squares{};
    for_parts(count, [&](int k, int here) {
        const vf g = load_part(gradient + k, here);
        vf m = load_part(mean + k, here);
        m += (g - m) * (1 - o.momentum);
        const vf both = g + (m - g) * o.momentum;
        store_part(mean + k, m, here), store_part(along + k, both, here);
        squares += both * both;
    });
    const float scale = 1 / (sqrtf(sum_of(squares)) + LEAST_NORM);
    // No more columns than rows, so that the square matrix is the smaller one.
    const bool turned = rows < columns;
    const int high = padded(turned ? columns : rows), wide = padded(turned ? rows : columns), size = high * wide;
    const int row = turned ? 1 : wide, column = turned ? wide : 1;
    float* numbers = room<float>(room_of[4], size);
    memset(numbers, 0, size_t(size) * 4);
    for (int i = 0; i < rows; ++i)
        for (int j = 0; j < columns; ++j) numbers[i * row + j * column] = along[i * columns + j];
    Value* x = room<Value>(room_of[5], size);
    for (int k = 0; k < size; k += W) P::store_values(x + k, load(numbers + k) * scale);
    x = orthogonal<P>(x, room<Value>(room_of[6], size), high, wide, room_of);
    for (int k = 0; k < size; k += W) store(numbers + k, P::load_values(x + k));
    const float step = o.learning_rate * sqrtf(float(most(rows, columns)) / float(columns));
    for (int i = 0; i < rows; ++i)
        for (int j = 0; j < columns; ++j) parameter[i * columns + j] -= step * numbers[i * row + j * column];
}

template <class P>
static void muon_bank(const Muon& o, int64_t bank, int rows, int columns, const float* gradient, float* parameter, float* mean) {
    if (bank == 1) return muon<P>(o, rows, columns, gradient, parameter, mean, scratch_of(0).work);
    parallel(bank, [&](int64_t i, int worker) {
        const size_t at = size_t(i) * rows * columns;
        muon<P>(o, rows, columns, gradient + at, parameter + at, mean + at, scratch_of(worker).work);
    });
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
