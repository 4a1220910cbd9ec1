// A field as its kernels read it, and the memory that they work in.
#pragma once
#include "network.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

// Memory of one worker's tile, for its rows and for what is done with them. Kept from call to call, which take turns.
struct Scratch {
    Buffer rows[18 + 2 * MAX_LAYERS], work[15 + MAX_LAYERS], strip;
};
static inline Scratch& scratch_of(int worker) {
    static Scratch* all[MAX_THREADS];
    if (!all[worker]) all[worker] = new Scratch;
    return *all[worker];
}

// A field's networks, packed, with the harmonics' part of the first colour layer apart.
template <class P> struct PackedField {
    explicit PackedField(const FusedField& field)
        : field(field), density(field.density, field.density.sizes[0]),
          colour(field.colour, field.latents()) {
        if (!colour.count) return;
        int latent = field.latents(), width = padded(colour.out[0]);
        float* weights = room<float>(buffer_, size_t(field.harmonics()) * width);
        for (int h = 0; h < field.harmonics(); ++h)
            for (int j = 0; j < colour.out[0]; ++j)
                weights[h * width + j] = field.colour.weight[0][j * field.colour.sizes[0] + latent + h];
        harmonic_weights = weights;
    }

    const FusedField& field;
    PackedNetwork<P> density, colour;
    const float* harmonic_weights = nullptr;  // (harmonics, padded first colour width)

private:
    Buffer buffer_;
};

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
