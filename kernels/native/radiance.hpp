// Radiance fields as a whole: rays in, gradients or a picture out.
//
// A tile's rays advance together, some samples at a time: march, look up, density network. A ray ends where its
// transmittance is spent, so little behind the first surface is ever asked for. What light reaches then goes through the
// colour network, and in training backward through everything, while it is all in the worker's cache; gradients to codes
// are kept and added to the tables at the end.
#pragma once
#include "table_step.hpp"
#include "tile_training.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

constexpr int MOST_SAMPLES = 64;
constexpr int ROUNDS = 3;  // after which it is twice as many samples: few rays are left, and a round has its price

// Marches, looks up and evaluates a tile's rays until their light is spent or they end.
template <class P> static void follow(Tile<P>& tile, const PackedField<P>& packed, const Occupancy& grid) {
    int samples = SAMPLES;
    tile.march(grid, samples);
    for (int round = 1; tile.found(); ++round) {
        if (round % ROUNDS == 0) samples = int(least(2 * samples, MOST_SAMPLES));
        tile.look_up();
        tile.evaluate();
        tile.march(grid, samples);
    }
}

template <class P> static Losses render_with(const RadianceField& field, const WorldRays& rays, const Occupancy& grid,
                                             const Picture& picture) {
    PackedField<P> packed(field);
    Losses sums{0, 0, 0, true};
    parallel_ranges(rays.count, TILE_RAYS, [&](int64_t first, int64_t last, int worker) {
        Tile<P> tile;
        tile.begin(packed, rays, grid, first, int(last - first), scratch_of(worker));
        follow(tile, packed, grid);
        tile.drop_faint(field.least_share);
        tile.shade();
        tile.picture(picture);
        __atomic_fetch_add(&sums.evaluated, tile.evaluated(), __ATOMIC_RELAXED);
        __atomic_fetch_add(&sums.shaded, tile.rows(), __ATOMIC_RELAXED);
        if (!tile.finite()) __atomic_store_n(&sums.finite, false, __ATOMIC_RELAXED);
    });
    return sums;
}

// Densities (count,) at points (count, 3) of the domain's local frame.
template <class P> static void density_with(const RadianceField& field, const float* points, int64_t count, float* out) {
    PackedField<P> packed(field);
    parallel_ranges(count, POINTS, [&](int64_t first, int64_t last, int worker) {
        Tile<P> tile;
        tile.begin(packed, points + first * 3, int(last - first), scratch_of(worker));
        tile.look_up();
        memcpy(out + first, tile.densities(), size_t(last - first) * 4);
    });
}

static inline void move_layer(const TensorStep& step, const Network& network, int l, const float* gradient) {
    move_range(step.adam, int64_t(network.sizes[l]) * network.sizes[l + 1], gradient, step.parameter, step.mean, step.square,
               nullptr);
}

template <class P> static Losses train_with(const RadianceField& field, const WorldRays& rays, const Occupancy& grid,
                                            const Training& training) {
    PackedField<P> packed(field);
    const size_t density_size = packed.density.gradient_size, colour_size = packed.colour.gradient_size;
    const size_t size = density_size + colour_size + size_t(packed.colour.out[0]) * field.harmonics();
    static Buffer gradients_buffer;  // calls take turns, so what a step needs can be kept for the next
    static Arena arenas[CHUNKS];
    float* gradients = room<float>(gradients_buffer, size * CHUNKS);
    Trace* traces[CHUNKS] = {};
    Losses losses[CHUNKS];
    const float scale = 1 / (3.f * float(rays.count));
    const int64_t tiles = (rays.count + TILE_RAYS - 1) / TILE_RAYS, chunks = most(1, least(CHUNKS, tiles));
    parallel(chunks, [&](int64_t chunk, int worker) {
        Losses& sums = losses[chunk];
        sums = Losses{0, 0, 0, true};
        float* to_density = gradients + chunk * size;
        float *to_colour = to_density + density_size, *to_harmonic = to_colour + colour_size;
        memset(to_density, 0, size * 4);
        arenas[chunk].clear();
        Trace** trace = &traces[chunk];
        for (int64_t i = tiles * chunk / chunks; i < tiles * (chunk + 1) / chunks; ++i) {
            Tile<P> tile;
            const int64_t first = i * TILE_RAYS;
            tile.begin(packed, rays, grid, first, int(least(TILE_RAYS, rays.count - first)), scratch_of(worker));
            follow(tile, packed, grid);
            tile.drop_faint(field.least_share);
            sums.evaluated += tile.evaluated();
            sums.shaded += tile.rows();
            tile.shade();
            tile.compare(training, scale, sums);
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
    sums.loss /= 3.0 * double(rays.count);
    add_parts(gradients, chunks, size);
    float not_finite = 0;
    for (size_t i = 0; i < size; ++i) not_finite += gradients[i] * 0;
    sums.finite &= not_finite == 0;
    const bool moves = sums.shaded && sums.finite && std::isfinite(sums.loss);
    traces_to_tables(field, traces, training, moves);
    for (int l = 0; l < packed.density.count; ++l)
        for (int j = 0; j < packed.density.out[l]; ++j)
            memcpy(training.to_density[l] + size_t(j) * packed.density.in[l],
                   gradients + packed.density.gradient_offset[l] + size_t(j) * padded(packed.density.in[l]),
                   packed.density.in[l] * 4);
    for (int l = 0; l < packed.colour.count; ++l)
        for (int j = 0; j < packed.colour.out[l]; ++j)
            memcpy(training.to_colour[l] + size_t(j) * field.colour.sizes[l],
                   gradients + density_size + packed.colour.gradient_offset[l] + size_t(j) * padded(packed.colour.in[l]),
                   packed.colour.in[l] * 4);
    for (int j = 0; j < packed.colour.out[0]; ++j)
        memcpy(training.to_colour[0] + size_t(j) * field.colour.sizes[0] + packed.colour.in[0],
               gradients + density_size + colour_size + size_t(j) * field.harmonics(), field.harmonics() * 4);
    if (!training.steps || !moves) return sums;
    const TensorStep* step = training.steps + field.factors;
    for (int l = 0; l < field.density.layers; ++l, ++step) move_layer(*step, field.density, l, training.to_density[l]);
    for (int l = 0; l < field.colour.layers; ++l, ++step) move_layer(*step, field.colour, l, training.to_colour[l]);
    return sums;
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
