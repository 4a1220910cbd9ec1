// Radiance fields as a whole: rays in, gradients or a picture out.
//
// A tile's rays advance together, some samples at a time: march, look up, density network. A ray ends where its
// transmittance is spent, so little behind the first surface is ever asked for. What light reaches then goes through the
// colour network, and in training backward through everything, while it is all in the worker's cache; gradients to codes
// are kept and added to the tables at the end.
#pragma once
#include "descent.hpp"

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

template <class P> static Losses render_with(const FusedField& field, const WorldRays& rays, const Occupancy& grid,
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

// Densities (count,) at points (count, 3) of the domain's local frame, of a timed field at times (count,).
template <class P>
static void density_with(const FusedField& field, const float* points, const float* times, int64_t count, float* out) {
    PackedField<P> packed(field);
    parallel_ranges(count, POINTS, [&](int64_t first, int64_t last, int worker) {
        Tile<P> tile;
        tile.begin(packed, points + first * 3, times ? times + first : nullptr, int(last - first), scratch_of(worker));
        tile.look_up();
        memcpy(out + first, tile.densities(), size_t(last - first) * 4);
    });
}

template <class P> static Losses train_with(const FusedField& field, const WorldRays& rays, const Occupancy& grid,
                                            const Training& training) {
    PackedField<P> packed(field);
    const float scale = 1 / (3.f * float(rays.count));
    Losses sums = descend(packed, rays.count, TILE_RAYS, training,
                          [&](Tile<P>& tile, int64_t first, int count, Scratch& scratch, Losses& part) {
        tile.begin(packed, rays, grid, first, count, scratch);
        follow(tile, packed, grid);
        tile.drop_faint(field.least_share);
        part.evaluated += tile.evaluated();
        tile.shade();
        tile.compare(training, scale, part);
    });
    sums.loss /= 3.0 * double(rays.count);
    return sums;
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
