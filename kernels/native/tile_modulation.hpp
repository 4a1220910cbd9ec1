// A tile's modulated layers: a hidden layer's outputs are normed, scaled and shifted before their activation, row by row.
#pragma once
#include "tile.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

// The numbers of a row and a hidden layer.
template <class P> inline const float* Tile<P>::modulation_of(size_t i, int l) const {
    return modulation_ + i * packed_->field.modulations() + size_t(l) * 2 * packed_->field.modulation.channels;
}

// A hidden layer, of a width that is a multiple of 16. Its norms are kept for the way back.
template <class P> inline void Tile<P>::run_modulated_layer(int l, const Value* x, int begin, int rows) {
    const int width = packed_->density.out[l], layers = packed_->density.count;
    float* sums = room<float>(scratch_->work[10 + MAX_LAYERS], size_t(BLOCK + 1) * width);
    float* activation = sums + size_t(BLOCK) * width;
    packed_->density.layer(l, x, rows, ToFloats{sums, width});
    for (int r = 0; r < rows; ++r) {
        const size_t i = size_t(begin) + r;
        float* row = sums + size_t(r) * width;
        norm_factor_[i * layers + l] =
            modulate(packed_->field.modulation, modulation_of(i, l), false, width, row, activation);
        for (int k = 0; k < width; k += W) {
            P::store_values(normed_[l] + i * width + k, load(row + k));
            P::store_values(hidden_[l] + i * width + k, load(activation + k));
        }
    }
}

template <class P> inline void Tile<P>::move_modulation(int from, int to) {
    const PackedNetwork<P>& density = packed_->density;
    for (int l = 0; l + 1 < density.count; ++l) copy(normed_[l], density.out[l], from, to);
    const int numbers = packed_->field.modulations();
    memcpy(modulation_ + size_t(to) * numbers, modulation_ + size_t(from) * numbers, numbers * 4);
    memcpy(norm_factor_ + size_t(to) * density.count, norm_factor_ + size_t(from) * density.count, density.count * 4);
}

// Gradients to a hidden layer's activations, which are overwritten, to those of its outputs and of its modulation.
template <class P>
inline void Tile<P>::unmodulate(int l, int begin, int rows, float* to_hidden, float* to_modulation, Value* to_out) {
    const FusedField& field = packed_->field;
    const int width = packed_->density.out[l], layers = packed_->density.count, numbers = field.modulations();
    float* normed = room<float>(scratch_->work[11 + MAX_LAYERS], size_t(2) * width);
    float* activation = normed + width;
    for (int r = 0; r < rows; ++r) {
        const size_t i = size_t(begin) + r;
        float* to = to_hidden + size_t(r) * width;
        for (int k = 0; k < width; k += W) {
            store(normed + k, P::load_values(normed_[l] + i * width + k));
            store(activation + k, P::load_values(hidden_[l] + i * width + k));
        }
        modulate_backward(field.modulation, modulation_of(i, l), false, width, normed, activation, norm_factor_[i * layers + l], to,
                          to_modulation + size_t(r) * numbers + size_t(l) * 2 * field.modulation.channels);
        for (int k = 0; k < width; k += W) P::store_values(to_out + size_t(r) * width + k, load(to + k));
    }
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
