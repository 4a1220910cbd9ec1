// An occupancy grid from Python: its cells come as bytes and are packed into the bits that kernels read.
#pragma once
#include <algorithm>
#include <vector>

#include "bindings.hpp"
#include "pool.hpp"

namespace polyfield {

struct OccupancyOf {
    std::vector<uint64_t> bricks, blocks;
    Occupancy grid;

    // The box round the first cascade's occupied bricks, in its frame and a little wider than rounding asks for.
    void bound() {
        int low[3] = {grid.bricks, grid.bricks, grid.bricks}, high[3] = {0, 0, 0};
        for (int i = 0; i < grid.bricks * grid.bricks * grid.bricks; ++i) {
            if (!grid.brick[i]) continue;
            int at[3] = {i % grid.bricks, i / grid.bricks % grid.bricks, i / grid.bricks / grid.bricks};
            for (int d = 0; d < 3; ++d) low[d] = std::min(low[d], at[d]), high[d] = std::max(high[d], at[d] + 1);
        }
        for (int d = 0; d < 3; ++d) {
            grid.low[d] = float(low[d]) * 8 / float(grid.cells) - 1 - 1e-4f;
            grid.high[d] = float(high[d]) * 8 / float(grid.cells) - 1 + 1e-4f;
        }
    }

    // occupied (K, G, G, G), 0 or 1.
    explicit OccupancyOf(const Bytes& occupied) {
        Call call;
        int64_t K = occupied.shape(0), G = occupied.shape(1), S = (G + 15) / 16, B = S * 4;
        const uint8_t* from = occupied.data();
        bricks.assign(K * B * B * B, 0), blocks.assign(K * S * S * S, 0);
        struct Pack {
            const uint8_t* from;
            uint64_t *bricks, *blocks;
            int64_t G, S, B;
            static void slab(void* context, int64_t index, int) {
                const Pack& p = *static_cast<Pack*>(context);
                int64_t k = index / p.S, bz = index % p.S;
                for (int64_t z = bz * 16; z < bz * 16 + 16 && z < p.G; ++z)
                    for (int64_t y = 0; y < p.G; ++y) {
                        const uint8_t* row = p.from + ((k * p.G + z) * p.G + y) * p.G;
                        uint64_t* words = p.bricks + ((k * p.B + z / 4) * p.B + y / 4) * p.B;
                        int64_t shift = (z & 3) << 4 | (y & 3) << 2;
                        for (int64_t x = 0; x < p.G; ++x) words[x >> 2] |= uint64_t(row[x] != 0) << (shift | (x & 3));
                    }
                for (int64_t z = bz * 4; z < bz * 4 + 4; ++z)
                    for (int64_t y = 0; y < p.B; ++y)
                        for (int64_t x = 0; x < p.B; ++x) {
                            bool any = p.bricks[((k * p.B + z) * p.B + y) * p.B + x] != 0;
                            p.blocks[((k * p.S + z / 4) * p.S + y / 4) * p.S + x / 4] |=
                                uint64_t(any) << ((z & 3) << 4 | (y & 3) << 2 | (x & 3));
                        }
            }
        } pack{from, bricks.data(), blocks.data(), G, S, B};
        run_tasks(K * S, Pack::slab, &pack);
        grid = {int(K), int(G), int(B), int(S), bricks.data(), blocks.data(), {}, {}};
        bound();
    }
};

}  // namespace polyfield
