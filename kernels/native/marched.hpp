// The samples of a march from Python, between their counting and their copying into tensors.
#pragma once
#include <vector>

#include "bindings.hpp"

namespace polyfield {

struct MarchOf {
    std::vector<Marched> found;

    MarchOf(const Kernels& kernels, const Rays& rays, const Occupancy& grid, int64_t* counts)
        : found(size_t((rays.count + MARCHED - 1) / MARCHED)) {
        Call call;
        kernels.march(rays, grid, counts, found.data());
    }

    MarchOf(const MarchOf&) = delete;

    void write(float* t, float* dt) const {
        for (const Marched& part : found)
            for (int64_t i = 0; i < part.count; ++i) *t++ = part.pairs[2 * i], *dt++ = part.pairs[2 * i + 1];
    }
};

}  // namespace polyfield
