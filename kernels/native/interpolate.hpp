// Multilinear look-up in every level of a table, and its gradients to table and points.
#pragma once
#include "simd.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

// Table rows and weights of the corners round W points, corner by corner, x fastest.
template <int D> struct Corners {
    alignas(64) uint32_t row[1 << D][W];
    alignas(64) float weight[1 << D][W];
};

// Coordinates, axis by axis, of up to W points (count, D) from `points` on; lanes beyond count repeat the last.
template <int D> static inline void load_points(const float* points, int count, vf* x) {
    for (int d = 0; d < D; ++d) {
        float axis[W];
        for (int lane = 0; lane < W; ++lane) axis[lane] = points[(lane < count ? lane : count - 1) * D + d];
        x[d] = load(axis);
    }
}

template <int D> static inline void cell_of(const Level& level, const vf* x, vi* lower, vf* share) {
    for (int d = 0; d < D; ++d) {
        float last = float(level.nodes[d] - 1);
        vf position = vmin(vmax(x[d], vf{}), splat(1.f)) * last;
        vi cell = __builtin_convertvector(position, vi);
        vi bound = vi{} + (level.nodes[d] - 2);
        lower[d] = cell < bound ? cell : bound;
        share[d] = position - __builtin_convertvector(lower[d], vf);
    }
}

template <int D> static inline void rows_of(const Level& level, const vi* lower, Corners<D>& to) {
    vu part[D][2];
    for (int d = 0; d < D; ++d) {
        part[d][0] = (vu)lower[d] * level.stride[d];
        part[d][1] = part[d][0] + level.stride[d];
    }
    for (int c = 0; c < 1 << D; ++c) {
        vu row = part[0][c & 1];
        for (int d = 1; d < D; ++d) row = level.hashed ? row ^ part[d][c >> d & 1] : row + part[d][c >> d & 1];
        if (level.hashed) {
            row &= level.mask;
            vu wrapped = row - uint32_t(level.size);  // very large where row is below size
            row = wrapped < row ? wrapped : row;
        }
        memcpy(to.row[c], &row, sizeof row);
        if (level.index)
            for (int p = 0; p < W; ++p) to.row[c][p] = uint32_t(level.index[to.row[c][p]]);
    }
}

template <int D> static inline void find_corners(const Level& level, const vf* x, Corners<D>& to) {
    vi lower[D];
    vf share[D];
    cell_of<D>(level, x, lower, share);
    rows_of<D>(level, lower, to);
    for (int c = 0; c < 1 << D; ++c) {
        vf weight = splat(1.f);
        for (int d = 0; d < D; ++d) weight *= c >> d & 1 ? share[d] : 1.f - share[d];
        store(to.weight[c], weight);
    }
}

// Rows as wide as several reads are counted in those.
template <int D> static inline void count_in_slots(int slots, Corners<D>& corners) {
    if (slots > 1)
        for (int c = 0; c < 1 << D; ++c)
            for (int p = 0; p < W; ++p) corners.row[c][p] *= uint32_t(slots);
}

// Rows of F features: sums of them, in single precision, from tables of single or half precision.
template <int F> struct Row {
    typedef float Vector __attribute__((vector_size(F * 4)));
    static inline Vector read(const float* p) {
        Vector v;
        memcpy(&v, p, sizeof v);
        return v;
    }
#if defined(__F16C__)
    static inline Vector read(const uint16_t* p) {
        Vector v;
        if constexpr (F == 8) {
            __m256 all = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
            memcpy(&v, &all, sizeof v);
        } else {
            uint64_t bits = 0;
            memcpy(&bits, p, F * 2);
            __m128 all = _mm_cvtph_ps(_mm_cvtsi64_si128((long long)bits));
            memcpy(&v, &all, sizeof v);
        }
        return v;
    }
#elif defined(__aarch64__)
    static inline Vector read(const uint16_t* p) {
        __fp16 numbers[F];
        memcpy(numbers, p, sizeof numbers);
        float wide[F];
        for (int k = 0; k < F; ++k) wide[k] = float(numbers[k]);
        return read(wide);
    }
#else
    static inline Vector read(const uint16_t*) { return Vector{}; }  // only variants with reads_half get such a table
#endif
    static inline void write(float* p, Vector v) { memcpy(p, &v, sizeof v); }
};

// One level for points whose corners are known; emit(point, row of F features).
template <int D, int F, class Source, class Emit>
static inline void sum_corners(const Corners<D>& corners, const Source* table, int count, const Emit& emit) {
    for (int p = 0; p < count; ++p) {
        typename Row<F>::Vector sum{};
        for (int c = 0; c < 1 << D; ++c)
            sum += corners.weight[c][p] * Row<F>::read(table + size_t(corners.row[c][p]) * F);
        emit(p, sum);
    }
}

// Calls body with the constants D and F of the grid; features that are not 2, 4 or 8 go in as large parts as fill them.
template <class Body> static inline void for_sizes(const Grid& grid, const Body& body) {
    auto with_features = [&](auto axes) {
        constexpr int D = decltype(axes)::value;
        if (grid.features % 8 == 0) return body.template run<D, 8>();
        if (grid.features % 4 == 0) return body.template run<D, 4>();
        if (grid.features % 2 == 0) return body.template run<D, 2>();
        return body.template run<D, 1>();
    };
    switch (grid.axes) {
        case 1: return with_features(Constant<1>{});
        case 2: return with_features(Constant<2>{});
        case 3: return with_features(Constant<3>{});
        default: return with_features(Constant<4>{});
    }
}

constexpr int POINTS = 8192;  // that a task looks up level by level

struct Interpolate {
    const Grid& grid;
    const float *table, *points;
    int64_t count;
    float* out;

    template <int D, int F> void run() const {
        const int slots = grid.features / F, width = grid.levels * grid.features;
        parallel_ranges(count, POINTS, [&](int64_t first, int64_t last, int) {
            for (int l = 0; l < grid.levels; ++l) {
                const Level& level = grid.level[l];
                const float* rows = table + level.offset * grid.features;
                for (int64_t i = first; i < last; i += W) {
                    int here = int(least(W, last - i));
                    vf x[D];
                    Corners<D> corners;
                    load_points<D>(points + i * D, here, x);
                    find_corners<D>(level, x, corners);
                    count_in_slots<D>(slots, corners);
                    for (int slot = 0; slot < slots; ++slot)
                        sum_corners<D, F>(corners, rows + slot * F, here, [&](int p, typename Row<F>::Vector sum) {
                            Row<F>::write(out + (i + p) * width + l * grid.features + slot * F, sum);
                        });
                }
            }
        });
    }
};

static void interpolate(const Grid& grid, const float* table, const float* points, int64_t count, float* out) {
    for_sizes(grid, Interpolate{grid, table, points, count, out});
}

// Parts that one level's rows are split in so that every thread has work; an entry's sum is the same however many.
static inline int parts_of(const Grid& grid) {
    int parts = (threads() + grid.levels - 1) / grid.levels;
    return parts;
}

// Clears rows [low, high) of a level, and with its last ones those up to the next level, which no point reads.
static inline void clear_rows(const Grid& grid, int l, int64_t low, int64_t high, float* to_table) {
    const Level& level = grid.level[l];
    if (high == level.size) high = (l + 1 < grid.levels ? grid.level[l + 1].offset : grid.entries) - level.offset;
    memset(to_table + (level.offset + low) * grid.features, 0, size_t(high - low) * grid.features * 4);
}

// Adds weight * gradient to the corners' rows that lie in [first, last); gradient(point) is a row of F features. Notes in
// `touched`, if given, which LINEs of numbers from row `first` on; `column` says where in them rows begin.
template <int D, int F, class Gradient>
static inline void add_to_corners(const Corners<D>& corners, int count, bool whole, uint32_t first, uint32_t last,
                                  float* rows, const Gradient& gradient, uint8_t* touched = nullptr,
                                  uint32_t column = 0) {
    for (int p = 0; p < count; ++p) {
        typename Row<F>::Vector g = gradient(p);
        for (int c = 0; c < 1 << D; ++c) {
            uint32_t row = corners.row[c][p];
            if (!whole && (row < first || row >= last)) continue;
            float* at = rows + size_t(row) * F;
            Row<F>::write(at, Row<F>::read(at) + corners.weight[c][p] * g);
            if (touched) touched[((row - first) * F + column) / LINE] = 1;
        }
    }
}

struct InterpolateToTable {
    const Grid& grid;
    const float *gradient, *points;
    int64_t count;
    float* to_table;

    template <int D, int F> void run() const {
        const int slots = grid.features / F, width = grid.levels * grid.features, parts = parts_of(grid);
        parallel(int64_t(grid.levels) * parts, [&](int64_t task, int) {
            int l = int(task / parts), part = int(task % parts);
            const Level& level = grid.level[l];
            uint32_t low = uint32_t(level.size * part / parts), high = uint32_t(level.size * (part + 1) / parts);
            float* rows = to_table + level.offset * grid.features;
            clear_rows(grid, l, low, high, to_table);
            for (int64_t i = 0; i < count; i += W) {
                int here = int(least(W, count - i));
                vf x[D];
                Corners<D> corners;
                load_points<D>(points + i * D, here, x);
                find_corners<D>(level, x, corners);
                count_in_slots<D>(slots, corners);
                for (int slot = 0; slot < slots; ++slot)
                    add_to_corners<D, F>(corners, here, parts == 1, low * slots, high * slots, rows + slot * F,
                                         [&](int p) {
                                             return Row<F>::read(gradient + (i + p) * width + l * grid.features +
                                                                 slot * F);
                                         });
            }
        });
    }
};

static void interpolate_to_table(const Grid& grid, const float* gradient, const float* points, int64_t count,
                                 float* to_table) {
    for_sizes(grid, InterpolateToTable{grid, gradient, points, count, to_table});
}

// The gradient to a coordinate is the difference of the two opposite faces of the cell, and none where it is clamped.
struct InterpolateToPoints {
    const Grid& grid;
    const float *table, *gradient, *points;
    int64_t count;
    float* to_points;

    template <int D, int F> void run() const {
        const int width = grid.levels * grid.features;
        parallel_ranges(count, 1024, [&](int64_t first, int64_t last, int) {
            memset(to_points + first * D, 0, size_t(last - first) * D * 4);
            for (int l = 0; l < grid.levels; ++l) {
                const Level& level = grid.level[l];
                for (int64_t i = first; i < last; i += W) {
                    int here = int(least(W, last - i));
                    vf x[D], share[D];
                    vi lower[D];
                    Corners<D> corners;
                    load_points<D>(points + i * D, here, x);
                    cell_of<D>(level, x, lower, share);
                    rows_of<D>(level, lower, corners);
                    for (int p = 0; p < here; ++p) {
                        const float* g = gradient + (i + p) * width + l * grid.features;
                        for (int c = 0; c < 1 << D; ++c) {
                            const float* row = table + (level.offset + corners.row[c][p]) * grid.features;
                            float dot = 0;
                            for (int f = 0; f < grid.features; ++f) dot += row[f] * g[f];
                            for (int d = 0; d < D; ++d) {
                                float slope = c >> d & 1 ? dot : -dot;
                                for (int e = 0; e < D; ++e)
                                    if (e != d) slope *= c >> e & 1 ? share[e][p] : 1 - share[e][p];
                                if (x[d][p] >= 0 && x[d][p] <= 1)
                                    to_points[(i + p) * D + d] += slope * float(level.nodes[d] - 1);
                            }
                        }
                    }
                }
            }
        });
    }
};

static void interpolate_to_points(const Grid& grid, const float* table, const float* gradient, const float* points,
                                  int64_t count, float* to_points) {
    for_sizes(grid, InterpolateToPoints{grid, table, gradient, points, count, to_points});
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
