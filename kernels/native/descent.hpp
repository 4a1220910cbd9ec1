// One step of a field: tiles in training, and what becomes of their gradients.
#pragma once
#include "muon.hpp"
#include "table_step.hpp"
#include "tile_training.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

constexpr int64_t FEW_CHUNKS = 16, CHUNK_NUMBERS = 1 << 20;  // the least number, and the floats of all chunks beyond it

// Biases of the density network.
static inline int biases_of(const FusedField& field) { return field.density.bias[0] ? field.density.layers : 0; }

// A layer of either network, or its biases: the density network's layers, then its biases, then the colour network's layers.
struct Layer {
    Layer(const FusedField& field, const Descent& descent, int64_t index) {
        const int layers = field.density.layers, biases = biases_of(field);
        int l = int(index);
        step = descent.steps + field.factors + index;
        if (l < layers) {
            take(field.density, l, descent.to_density[l]);
        } else if ((l -= layers) < biases) {
            take(field.density, l, descent.to_bias[l]);
            columns = 1;
        } else {
            l -= biases;
            if (field.radial) ++step;  // that of their weights is before it
            take(field.colour, l, descent.to_colour[l]);
        }
    }
    bool orthogonal() const { return step->parameter && !step->square; }

    const TensorStep* step;
    int rows, columns;
    const float* gradient;

private:
    void take(const Network& network, int l, const float* from) {
        rows = network.sizes[l + 1], columns = network.sizes[l], gradient = from;
    }
};

// Moves the layers of both networks. Takes all memory first.
template <class P> class Layers {
public:
    Layers(const FusedField& field, const Descent& descent)
        : field_(field), descent_(descent), count_(descent.steps ? field.density.layers + biases_of(field) + field.colour.layers : 0) {
        for (int64_t index = 0; index < count_; ++index) {
            const Layer layer(field_, descent_, index);
            if (layer.orthogonal()) reserve_muon<P>(layer.rows, layer.columns, rooms(index));
        }
    }

    void move() const {
        parallel(count_, [&](int64_t index, int) {
            const Layer layer(field_, descent_, index);
            const TensorStep& step = *layer.step;
            if (layer.orthogonal())
                muon<P>(step.muon, layer.rows, layer.columns, layer.gradient, step.parameter, step.mean, rooms(index));
            else if (step.parameter)
                move_range(step.adam, int64_t(layer.rows) * layer.columns, layer.gradient, step.parameter, step.mean, step.square,
                           nullptr);
        });
    }

private:
    static Buffer* rooms(int64_t index) {
        static Buffer all[3 * MAX_LAYERS][MUON_ROOMS];
        return all[index];
    }

    const FusedField& field_;
    const Descent& descent_;
    const int64_t count_;
};

// Copies gradients, and returns 0, or NaN if one is not finite.
static inline float copy_row(const float* from, int count, float* to) {
    float worst = 0;
    for (int k = 0; k < count; ++k) to[k] = from[k], worst += from[k] * 0;
    return worst;
}

// A network's gradients, of padded width, as its layers lie. What stands in the padding means nothing. Returns as `copy_row`.
template <class P>
static inline float copy_gradients(const PackedNetwork<P>& network, const Network& given, const float* from, float* const* to) {
    float worst = 0;
    for (int l = 0; l < network.count; ++l)
        for (int j = 0; j < network.out[l]; ++j)
            worst += copy_row(from + network.gradient_offset[l] + size_t(j) * padded(network.in[l]), network.in[l],
                              to[l] + size_t(j) * given.sizes[l]);
    return worst;
}

// Takes a step over `count` rays or points, of which `own` evaluates and compares up to `size` as a tile:
// own(tile, first, count, scratch, losses). The sums of the loss are the same for any number of threads.
template <class P, class Own>
static Losses descend(const PackedField<P>& packed, int64_t count, int size, const Descent& descent, const Own& own) {
    const FusedField& field = packed.field;
    const int harmonic_rows = packed.colour.count ? packed.colour.out[0] : 0;
    const size_t density_size = packed.density.gradient_size, colour_size = packed.colour.gradient_size;
    const size_t bias_size = packed.density.bias_size;
    const size_t numbers = density_size + bias_size + colour_size + size_t(harmonic_rows) * field.harmonics();
    static Buffer gradients_buffer;  // calls take turns, so what a step needs can be kept for the next
    static Arena arenas[CHUNKS];
    float* gradients = room<float>(gradients_buffer, numbers * CHUNKS);
    Trace* traces[CHUNKS] = {};
    Losses losses[CHUNKS];
    // Fewer chunks where their gradients are large: clearing and adding them would take longer than the tiles.
    const int64_t few = most(FEW_CHUNKS, CHUNK_NUMBERS / most(1, int64_t(numbers)));
    const int64_t tiles = (count + size - 1) / size, chunks = most(1, least(least(CHUNKS, few), tiles));
    parallel(chunks, [&](int64_t chunk, int worker) {
        Losses& sums = losses[chunk];
        sums = Losses{0, 0, 0, true};
        float* to_density = gradients + chunk * numbers;
        float *to_bias = to_density + density_size, *to_colour = to_bias + bias_size, *to_harmonic = to_colour + colour_size;
        memset(to_density, 0, numbers * 4);
        arenas[chunk].clear();
        Trace** trace = &traces[chunk];
        for (int64_t i = tiles * chunk / chunks; i < tiles * (chunk + 1) / chunks; ++i) {
            Tile<P> tile;
            const int64_t first = i * size;
            own(tile, first, int(least(size, count - first)), scratch_of(worker), sums);
            sums.shaded += tile.rows();
            sums.finite &= tile.backward(to_density, to_bias, to_colour, to_harmonic, arenas[chunk], trace) && tile.finite();
        }
    });
    Losses sums{0, 0, 0, true};
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const Losses& part = losses[chunk];
        sums.loss += part.loss;
        sums.evaluated += part.evaluated, sums.shaded += part.shaded;
        sums.finite &= part.finite;
    }
    add_parts(gradients, chunks, numbers);
    const float *of_biases = gradients + density_size, *of_colour = of_biases + bias_size, *of_harmonics = of_colour + colour_size;
    float worst = copy_gradients(packed.density, field.density, gradients, descent.to_density) +
                  copy_gradients(packed.colour, field.colour, of_colour, descent.to_colour);
    for (int l = 0; l < biases_of(field); ++l)
        worst += copy_row(of_biases + packed.density.bias_offset[l], packed.density.out[l], descent.to_bias[l]);
    for (int j = 0; j < harmonic_rows; ++j)
        worst += copy_row(of_harmonics + size_t(j) * field.harmonics(), field.harmonics(),
                          descent.to_colour[0] + size_t(j) * field.colour.sizes[0] + packed.colour.in[0]);
    sums.finite &= worst == 0;
    const bool moves = sums.shaded && sums.finite && std::isfinite(sums.loss);
    const Layers<P> layers(field, descent);
    traces_to_tables(field, traces, descent, moves);
    if (field.radial) traces_to_radial(*field.radial, traces, chunks, descent.to_radial);
    if (!descent.steps || !moves) return sums;
    if (field.radial) {
        const TensorStep& step = descent.steps[field.factors + field.density.layers + biases_of(field)];
        const int64_t numbers = field.radial->count * field.radial->features;
        if (step.parameter) adam(step.adam, numbers, descent.to_radial, step.parameter, step.mean, step.square, nullptr);
    }
    layers.move();
    return sums;
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
