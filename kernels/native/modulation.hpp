// Norm, scale and shift of one row of a hidden layer, before its activation: forward and backward.
#pragma once
#include <cmath>

#include "simd.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

constexpr float EPSILON = 1e-5f;  // added to variances

// gamma and beta of a row's channels.
struct Affine {
    Affine(const Modulation& modulation, const float* numbers)
        : each(modulation.channels > 1), change(numbers), shift(numbers + modulation.channels) {}
    vf gamma(int k, int here) const { return 1.f + (each ? load_part(change + k, here) : splat(*change)); }
    vf beta(int k, int here) const { return each ? load_part(shift + k, here) : splat(*shift); }

    const bool each;
    const float *change, *shift;
};

// Subtracts a row's mean and divides by its standard deviation. Returns what it multiplied by.
static inline float normalise(float* row, int width) {
    vf sum{}, squares{};
    for_parts(width, [&](int k, int here) { sum += load_part(row + k, here); });
    const float mean = sum_of(sum) / width;
    for_parts(width, [&](int k, int here) {
        store_part(row + k, load_part(row + k, here) - mean, here);
        const vf centred = load_part(row + k, here);
        squares += centred * centred;
    });
    const float factor = 1.f / sqrtf(sum_of(squares) / width + EPSILON);
    for_parts(width, [&](int k, int here) { store_part(row + k, load_part(row + k, here) * factor, here); });
    return factor;
}

// From a layer's outputs, of which only the norm is kept, to its activations. Returns the norm's factor.
static inline float modulate(const Modulation& modulation, const float* numbers, bool sine, int width, float* row,
                             float* activation) {
    const float factor = modulation.normed ? normalise(row, width) : 1.f;
    const Affine affine(modulation, numbers);
    for_parts(width, [&](int k, int here) {
        const vf value = affine.gamma(k, here) * load_part(row + k, here) + affine.beta(k, here);
        store_part(activation + k, sine ? vsin(value) : vmax(vf{}, value), here);
    });
    return factor;
}

// Gradient `to` of a row's activations, to that of the layer's outputs, in place, and to the numbers.
static inline void modulate_backward(const Modulation& modulation, const float* numbers, bool sine, int width,
                                     const float* row, const float* activation, float factor, float* to,
                                     float* to_numbers) {
    const Affine affine(modulation, numbers);
    vf to_change{}, to_shift{}, sum{}, along{};
    for_parts(width, [&](int k, int here) {
        const vf x = load_part(row + k, here), gamma = affine.gamma(k, here);
        vf g = load_part(to + k, here);
        if (sine) g *= vcos(gamma * x + affine.beta(k, here));
        else g = load_part(activation + k, here) > 0.f ? g : vf{};
        if (affine.each) {
            store_part(to_numbers + k, g * x, here);
            store_part(to_numbers + width + k, g, here);
        }
        to_change += g * x, to_shift += g;
        g *= gamma;
        store_part(to + k, g, here);
        sum += g, along += g * x;
    });
    if (!affine.each) to_numbers[0] = sum_of(to_change), to_numbers[1] = sum_of(to_shift);
    if (!modulation.normed) return;
    const float mean = sum_of(sum) / width, slope = sum_of(along) / width;
    for_parts(width, [&](int k, int here) {
        const vf rest = load_part(to + k, here) - mean - load_part(row + k, here) * slope;
        store_part(to + k, rest * factor, here);
    });
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
