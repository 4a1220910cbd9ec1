// Rays against the occupancy grid: a walk from sample to sample that jumps over empty cells, bricks and blocks.
#pragma once
#include <cmath>

#include "simd.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

constexpr float FARTHEST = 1e30f;

// Distances along a ray, from and up to.
struct Span {
    float near, far;
};

// A ray in the occupancy grid's frame.
struct LocalRay {
    LocalRay(const float* from, const float* towards) {
        for (int d = 0; d < 3; ++d) {
            origin[d] = from[d], direction[d] = towards[d];
            // A ray along a face has no crossing with it; a tiny slope gives one far away.
            inverse[d] = 1 / (fabsf(towards[d]) < 1e-12f ? 1e-12f : towards[d]);
        }
    }

    // The part of a span in which the ray is in a box; far is not beyond near if there is none.
    Span within(const float* low, const float* high, Span span) const {
        for (int d = 0; d < 3; ++d) {
            float a = (low[d] - origin[d]) * inverse[d], b = (high[d] - origin[d]) * inverse[d];
            float near = a < b ? a : b, far = a < b ? b : a;
            span.near = near > span.near ? near : span.near;
            span.far = far < span.far ? far : span.far;
        }
        return span;
    }

    float origin[3], direction[3], inverse[3];
};

// One ray on its way. Samples stand at distance(i + jitter) for whole numbers i, as operations.march defines.
class Walk {
public:
    Walk(const LocalRay& ray, Span span, float jitter, float step, float cone, const Occupancy& grid)
        : ray_(ray), step_(step), cone_(cone), jitter_(jitter) {
        float first = ceilf(lattice(span.near) - jitter_);
        float steps = ceilf(lattice(span.far) - (first + jitter_));
        index_ = whole(first);
        end_ = steps > 0 ? index_ + whole(steps) : index_;
        if (grid.cascades == 1) keep_to(grid);
    }

    // Goes to the next occupied sample; false at the ray's end.
    bool next(const Occupancy& grid) {
        while (index_ < end_) {
            float u = float(index_) + jitter_;
            t = distance(u);
            float reach = 0;
            for (int d = 0; d < 3; ++d) {
                p[d] = ray_.origin[d] + t * ray_.direction[d];
                float size = fabsf(p[d]);
                reach = reach > size ? reach : size;
            }
            int cascade = reach > 1 ? power_above(reach) : 0;
            int size = cascade < grid.cascades ? empty_cells(grid, cascade) : 1;
            if (!size) {
                dt = distance(u + 0.5f) - distance(u - 0.5f);
                ++index_;
                return true;
            }
            // A cell of an odd grid may reach into the next finer cascade.
            bool skips = cascade < grid.cascades && !(cascade && grid.cells % 4);
            index_ = skips ? beyond(grid, cascade, size) : index_ + 1;
        }
        return false;
    }

    float t, dt, p[3];

private:
    // A float as an integer, where it fits into one; the ends of the range else, and the low end for NaN.
    static int64_t whole(float x) {
        constexpr float MOST = 2.3e18f;
        return x > -MOST ? int64_t(x < MOST ? x : MOST) : int64_t(-MOST);
    }
    // The whole number k with 2^(k - 1) < x <= 2^k, from the bits of x >= 1.
    static int power_above(float x) {
        uint32_t bits;
        memcpy(&bits, &x, 4);
        return int(bits >> 23) - 127 + ((bits & 0x7FFFFF) != 0);
    }
    static float power_of_two(int k) {
        uint32_t bits = uint32_t(k + 127) << 23;
        float x;
        memcpy(&x, &bits, 4);
        return x;
    }

    // Leaves out what lies before and behind the box round all that is occupied.
    void keep_to(const Occupancy& grid) {
        const Span span = ray_.within(grid.low, grid.high, {0, FARTHEST});
        if (!(span.near < span.far)) {
            end_ = index_;
            return;
        }
        float first = lattice(span.near) * (1 - 1e-6f) - jitter_ - 1e-3f, last = lattice(span.far) * (1 + 1e-6f) - jitter_;
        if (first > float(index_)) index_ = whole(first);
        if (last + 2 < float(end_)) end_ = whole(last) + 2;
    }

    float distance(float u) const {
        if (cone_ == 0 || u * cone_ < 1) return u * step_;
        return step_ / cone_ * expf(cone_ * u - 1);
    }
    float lattice(float at) const {
        if (cone_ == 0 || at * cone_ < step_) return at / step_;
        return (logf(at * cone_ / step_) + 1) / cone_;
    }

    // Cells along an axis of the empty cube that holds p, 0 if its cell is occupied.
    int empty_cells(const Occupancy& grid, int cascade) {
        float half = float(grid.cells) * 0.5f, scale = half * power_of_two(-cascade);
        for (int d = 0; d < 3; ++d) {
            const float place = p[d] * scale + half;  // NaN is cell 0
            cell_[d] = place > 0 ? int(least(int64_t(place < float(grid.cells) ? place : 0x1p30f), grid.cells - 1)) : 0;
        }
        uint64_t brick = word(grid.brick, grid.bricks, cascade, 2);
        if (brick) {
            if (brick >> ((cell_[2] & 3) << 4 | (cell_[1] & 3) << 2 | (cell_[0] & 3)) & 1) return 0;
            const uint64_t octant = brick >> ((cell_[2] & 2) << 4 | (cell_[1] & 2) << 2 | (cell_[0] & 2)) & 0x330033;
            return octant || (cascade && grid.cells % 8) ? 1 : 2;
        }
        // What is skipped must not reach into the next finer cascade, whose cube is the middle half of this one.
        if (cascade && grid.cells % 16) return 1;
        if (cascade && grid.cells % 64) return 4;
        return word(grid.block, grid.blocks, cascade, 4) ? 4 : 16;
    }

    uint64_t word(const uint64_t* words, int64_t size, int cascade, int shift) const {
        return words[((cascade * size + (cell_[2] >> shift)) * size + (cell_[1] >> shift)) * size + (cell_[0] >> shift)];
    }

    // The first index whose sample may lie outside the empty cube; rounding may leave it just inside.
    int64_t beyond(const Occupancy& grid, int cascade, int size) const {
        float corner = -power_of_two(cascade), width = -2 * corner / float(grid.cells), exit = INFINITY;
        for (int d = 0; d < 3; ++d) {
            int face = (cell_[d] & -size) + (ray_.inverse[d] > 0 ? size : 0);
            if (face > grid.cells) face = grid.cells;  // the last brick or block may be cut off
            float crossing = (float(face) * width + corner - ray_.origin[d]) * ray_.inverse[d];
            exit = exit < crossing ? exit : crossing;
        }
        int64_t index = whole(ceilf(lattice(exit > t ? exit : t) * (1 - 1e-6f) - jitter_ - 1e-3f));
        return index > index_ ? (index < end_ ? index : end_) : index_ + 1;
    }

    LocalRay ray_;
    float step_, cone_, jitter_;
    int cell_[3];
    int64_t index_, end_;
};

static inline void append(Marched& found, float t, float dt) {
    if (found.count == found.capacity) {
        found.capacity = found.capacity ? 2 * found.capacity : 4096;
        found.pairs = static_cast<float*>(found.memory.reserve(size_t(found.capacity) * 2 * sizeof(float)));
    }
    float* pair = found.pairs + 2 * found.count++;
    pair[0] = t, pair[1] = dt;
}

static void march(const Rays& rays, const Occupancy& grid, int64_t* counts, Marched* found) {
    parallel_ranges(rays.count, MARCHED, [&](int64_t first, int64_t last, int) {
        Marched& own = found[first / MARCHED];
        for (int64_t ray = first; ray < last; ++ray) {
            LocalRay local(rays.origins + ray * 3, rays.directions + ray * 3);
            Walk walk(local, {rays.near[ray], rays.far[ray]}, rays.jitter[ray], rays.step, rays.cone, grid);
            const int64_t before = own.count;
            while (walk.next(grid)) append(own, walk.t, walk.dt);
            counts[ray] = own.count - before;
        }
    });
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
