// One step of a field: tiles in training, and what becomes of their gradients.
#pragma once
#include "muon.hpp"
#include "table_step.hpp"
#include "tile_training.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

constexpr int64_t FEW_CHUNKS = 16, CHUNK_NUMBERS = 1 << 20;  // the least number, and the floats of all chunks beyond it

// Moves the layers of both networks, of which `steps` has the density network's first.
template <class P> static void move_layers(const FusedField& field, const TensorStep* steps, const Descent& descent) {
    const int densities = field.density.layers;
    parallel(densities + field.colour.layers, [&](int64_t task, int worker) {
        const TensorStep& step = steps[task];
        if (!step.parameter) return;
        const bool coloured = task >= densities;
        const int l = int(task) - (coloured ? densities : 0);
        const Network& network = coloured ? field.colour : field.density;
        const int rows = network.sizes[l + 1], columns = network.sizes[l];
        const float* gradient = coloured ? descent.to_colour[l] : descent.to_density[l];
        if (step.square)
            move_range(step.adam, int64_t(rows) * columns, gradient, step.parameter, step.mean, step.square, nullptr);
        else muon<P>(step.muon, rows, columns, gradient, step.parameter, step.mean, scratch_of(worker).work);
    });
}

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
    const size_t numbers = density_size + colour_size + size_t(harmonic_rows) * field.harmonics();
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
        float *to_colour = to_density + density_size, *to_harmonic = to_colour + colour_size;
        memset(to_density, 0, numbers * 4);
        arenas[chunk].clear();
        Trace** trace = &traces[chunk];
        for (int64_t i = tiles * chunk / chunks; i < tiles * (chunk + 1) / chunks; ++i) {
            Tile<P> tile;
            const int64_t first = i * size;
            own(tile, first, int(least(size, count - first)), scratch_of(worker), sums);
            sums.shaded += tile.rows();
            sums.finite &= tile.backward(to_density, to_colour, to_harmonic, arenas[chunk], trace) && tile.finite();
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
    float worst = copy_gradients(packed.density, field.density, gradients, descent.to_density) +
                  copy_gradients(packed.colour, field.colour, gradients + density_size, descent.to_colour);
    for (int j = 0; j < harmonic_rows; ++j)
        worst += copy_row(gradients + density_size + colour_size + size_t(j) * field.harmonics(), field.harmonics(),
                          descent.to_colour[0] + size_t(j) * field.colour.sizes[0] + packed.colour.in[0]);
    sums.finite &= worst == 0;
    const bool moves = sums.shaded && sums.finite && std::isfinite(sums.loss);
    traces_to_tables(field, traces, descent, moves);
    if (!descent.steps || !moves) return sums;
    move_layers<P>(field, descent.steps + field.factors, descent);
    return sums;
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
