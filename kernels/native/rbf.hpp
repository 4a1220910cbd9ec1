// Radial basis functions: the nearest centres of points, sums of kernels round them, and gradients to weights and points.
#pragma once
#include <cmath>

#include "simd.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

constexpr int LEAF = 8, MOST_NEIGHBOURS = 16, MOST_BRANCHES = 128;  // seven wait at each of 14 levels or fewer
typedef float Leaf __attribute__((vector_size(LEAF * 4)));
typedef int32_t Lanes __attribute__((vector_size(LEAF * 4)));

// Bits of the lanes of a comparison that hold.
static inline int bits_of(Lanes holds) {
#if defined(__AVX2__)
    return _mm256_movemask_ps((__m256)holds);
#else
    int bits = 0;
    for (int i = 0; i < LEAF; ++i) bits |= (holds[i] & 1) << i;
    return bits;
#endif
}

// The lane of the least number.
static inline int least_lane(Leaf v) {
    Leaf other = __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3), least = v < other ? v : other;
    other = __builtin_shufflevector(least, least, 2, 3, 0, 1, 6, 7, 4, 5), least = least < other ? least : other;
    other = __builtin_shufflevector(least, least, 1, 0, 3, 2, 5, 4, 7, 6), least = least < other ? least : other;
    return __builtin_ctz(bits_of(v == least));
}

typedef float Squares16 __attribute__((vector_size(64)));
typedef int32_t Indices16 __attribute__((vector_size(64)));

// The lanes of v moved up by one, and `first` in the first lane.
template <class Eight, class Number> static inline Eight moved_up(Eight v, Number first) {
    v = __builtin_shufflevector(v, v, 0, 0, 1, 2, 3, 4, 5, 6);
    v[0] = first;
    return v;
}
template <class Sixteen, class Number> static inline Sixteen moved_up_16(Sixteen v, Number first) {
    v = __builtin_shufflevector(v, v, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14);
    v[0] = first;
    return v;
}
static inline Squares16 moved_up(Squares16 v, float first) { return moved_up_16(v, first); }
static inline Indices16 moved_up(Indices16 v, int32_t first) { return moved_up_16(v, first); }

// The nearest centres so far, up to N, the nearest first. They are in the last lanes.
template <int N> struct Best;
template <class Squares, class Indices> struct BestOf {
    static constexpr int N = sizeof(Squares) / 4;
    int first;
    Squares square;
    Indices index{};

    // At least that many are nearer than the bound, if it is given.
    explicit BestOf(int wanted, float bound = INFINITY) : first(N - wanted) {
        for (int k = 0; k < N; ++k) square[k] = k < first ? -INFINITY : bound;
    }
    float worst() const { return square[N - 1]; }
    // Without branches, which the processor would often guess wrong.
    void add(float found, int32_t at) {
        const Squares nearer = moved_up(square, -INFINITY);
        const Indices moved = moved_up(index, at);
        index = square <= found ? index : nearer <= found ? at - Indices{} : moved;
        const Squares here = nearer > found ? nearer : found - Squares{};
        square = square <= found ? square : here;
    }
    void write(int32_t* to) const { memcpy(to, reinterpret_cast<const int32_t*>(&index) + first, (N - first) * 4); }
};
template <> struct Best<8> : BestOf<Leaf, Lanes> { using BestOf::BestOf; };
template <> struct Best<16> : BestOf<Squares16, Indices16> { using BestOf::BestOf; };

// Squared distances to the boxes of eight branches.
template <int D> static inline Leaf squares_to_boxes(const float* boxes, const float* x) {
    Leaf sum{};
    for (int d = 0; d < D; ++d) {
        Leaf low, high;
        memcpy(&low, boxes + d * LEAF, sizeof low), memcpy(&high, boxes + (D + d) * LEAF, sizeof high);
        const Leaf below = low - x[d], above = x[d] - high;
        Leaf away = below > above ? below : above;
        away = away > 0.f ? away : Leaf{};
        sum += away * away;
    }
    return sum;
}

template <int D, class Nearest> static inline void search_leaf(const Branches& tree, int64_t leaf, const float* x, Nearest& best) {
    Leaf sum{};
    for (int d = 0; d < D; ++d) {
        Leaf along;
        memcpy(&along, tree.leaves + (leaf * D + d) * LEAF, sizeof along);
        along -= x[d];
        sum += along * along;
    }
    for (int near = bits_of(sum < best.worst()); near; near &= near - 1) {
        const int i = __builtin_ctz(near);
        best.add(sum[i], int32_t(leaf * LEAF + i));
    }
}

// The nearest branch first; others wait, with their distances. Branch n is followed by those from 8 n on, three levels below.
template <int D, class Nearest> static inline void search(const Branches& tree, const float* x, Nearest& best) {
    struct Waiting {
        int64_t branch;
        float square;
    } waiting[MOST_BRANCHES];
    int left = 0, start = 1;
    // The highest level from which three levels at a time lead to the leaves.
    for (int64_t leaves = tree.count; leaves > 1; leaves /= 2) start = start == 4 ? 1 : 2 * start;
    int64_t branch = 0;
    int among = ((1 << start) - 1) << start;
    for (;;) {
        if (branch < tree.count) {
            Leaf squares = squares_to_boxes<D>(tree.boxes + branch * 2 * D * LEAF, x);
            int near = among & bits_of(squares < best.worst());
            among = (1 << LEAF) - 1;
            for (int i = 0; i < LEAF; ++i) squares[i] = near >> i & 1 ? squares[i] : INFINITY;
            if (near) {
                const int nearest = least_lane(squares);
                for (near &= ~(1 << nearest); near; near &= near - 1) {
                    const int i = __builtin_ctz(near);
                    waiting[left++] = {branch * LEAF + i, squares[i]};
                }
                branch = branch * LEAF + nearest;
                continue;
            }
        } else {
            search_leaf<D>(tree, branch - tree.count, x, best);
        }
        while (left && !(waiting[left - 1].square < best.worst())) --left;
        if (!left) return;
        branch = waiting[--left].branch;
    }
}

template <class Body> static inline void for_axes(int axes, const Body& body) {
    switch (axes) {
        case 1: return body(Constant<1>{});
        case 2: return body(Constant<2>{});
        case 3: return body(Constant<3>{});
        default: return body(Constant<4>{});
    }
}

static void nearest(const Branches& tree, int axes, const float* points, int64_t count, int wanted, int32_t* out) {
    for_axes(axes, [&](auto size) {
        constexpr int D = decltype(size)::value;
        auto with_room = [&](auto most) {
            parallel_ranges(count, 1024, [&](int64_t first, int64_t last, int) {
                for (int64_t i = first; i < last; ++i) {
                    Best<decltype(most)::value> best(wanted);
                    search<D>(tree, points + i * D, best);
                    best.write(out + i * wanted);
                }
            });
        };
        if (wanted <= LEAF) with_room(Constant<LEAF>{});
        else with_room(Constant<MOST_NEIGHBOURS>{});
    });
}

// y = A (x - centre) of one kernel, and its height; A is an upper triangle or a multiple of the identity.
template <int D> struct Bump {
    float y[D], height;

    Bump(const RadialBasis& all, int32_t i, const float* x) {
        const float* centre = all.centres + int64_t(i) * D;
        const float* shape = all.shapes + int64_t(i) * all.shape_numbers;
        float away[D];
        for (int d = 0; d < D; ++d) away[d] = x[d] - centre[d];
        if (all.shape_numbers == 1) {
            for (int d = 0; d < D; ++d) y[d] = shape[0] * away[d];
        } else {
            for (int d = 0; d < D; ++d) {
                y[d] = 0;
                for (int e = d; e < D; ++e) y[d] += *shape++ * away[e];
            }
        }
        if (all.linear) {
            height = 1;
            for (int d = 0; d < D; ++d) height *= slope(d);
        } else {
            float square = 1;
            for (int d = 0; d < D; ++d) square += y[d] * y[d];
            height = 1 / square;
        }
    }

    float slope(int d) const {
        const float left = 1 - fabsf(y[d]);
        return left > 0 ? left : 0;
    }

    // Adds scale times the height's gradient to the point.
    void add_gradient(const RadialBasis& all, int32_t i, float scale, float* to) const {
        float to_y[D];
        for (int d = 0; d < D; ++d) {
            if (all.linear) {
                to_y[d] = slope(d) > 0 ? (y[d] > 0 ? -scale : y[d] < 0 ? scale : 0) : 0;
                for (int e = 0; e < D; ++e)
                    if (e != d) to_y[d] *= slope(e);
            } else {
                to_y[d] = -2 * scale * height * height * y[d];
            }
        }
        const float* shape = all.shapes + int64_t(i) * all.shape_numbers;
        if (all.shape_numbers == 1) {
            for (int d = 0; d < D; ++d) to[d] += shape[0] * to_y[d];
        } else {
            for (int d = 0; d < D; ++d)
                for (int e = d; e < D; ++e) to[e] += *shape++ * to_y[d];
        }
    }
};

constexpr float TINY = 1e-8f;  // added to sums of heights

// Shares (points, K) of the heights, and the sums.
static void rbf(const RadialBasis& all, const float* points, const int32_t* neighbours, int64_t count, float* shares, float* out) {
    const int K = all.neighbours, F = all.features;
    for_axes(all.axes, [&](auto size) {
        constexpr int D = decltype(size)::value;
        parallel_ranges(count, 512, [&](int64_t first, int64_t last, int) {
            for (int64_t p = first; p < last; ++p) {
                const int32_t* index = neighbours + p * K;
                float *share = shares + p * K, *to = out + p * F, sum = TINY;
                for (int k = 0; k < K; ++k) sum += share[k] = Bump<D>(all, index[k], points + p * D).height;
                for (int k = 0; k < K; ++k) share[k] /= sum;
                for_parts(F, [&](int f, int here) {
                    vf total{};
                    for (int k = 0; k < K; ++k) {
                        const vf weight = load_part(all.weights + int64_t(index[k]) * F + f, here);
                        total += all.multipliers ? vsin(load_part(all.multipliers + f, here) * share[k]) * weight
                                                 : share[k] * weight;
                    }
                    store_part(to + f, total, here);
                });
            }
        });
    });
}

// A part of the kernels is one thread's, which alone adds to their weights' gradients, in the order of the points.
static void rbf_to_weights(const RadialBasis& all, const int32_t* neighbours, const float* shares, const float* gradient,
                           int64_t count, float* to_weights) {
    const int K = all.neighbours, F = all.features;
    const int64_t parts = threads();
    parallel(parts, [&](int64_t part, int) {
        const int64_t low = all.count * part / parts, high = all.count * (part + 1) / parts;
        memset(to_weights + low * F, 0, size_t(high - low) * F * 4);
        for (int64_t n = 0; n < count * K; ++n) {
            const int64_t i = neighbours[n];
            if (i < low || i >= high) continue;
            const float *g = gradient + n / K * F, share = shares[n];
            float* to = to_weights + i * F;
            for_parts(F, [&](int f, int here) {
                const vf wave = all.multipliers ? vsin(load_part(all.multipliers + f, here) * share) : splat(share);
                store_part(to + f, load_part(to + f, here) + wave * load_part(g + f, here), here);
            });
        }
    });
}

static void rbf_to_points(const RadialBasis& all, const float* points, const int32_t* neighbours, const float* gradient,
                          int64_t count, float* to_points) {
    const int K = all.neighbours, F = all.features;
    for_axes(all.axes, [&](auto size) {
        constexpr int D = decltype(size)::value;
        parallel_ranges(count, 512, [&](int64_t first, int64_t last, int) {
            for (int64_t p = first; p < last; ++p) {
                const int32_t* index = neighbours + p * K;
                const float *x = points + p * D, *g = gradient + p * F;
                float heights[MOST_NEIGHBOURS], to_share[MOST_NEIGHBOURS], sum = TINY, mean = 0, *to = to_points + p * D;
                for (int k = 0; k < K; ++k) sum += heights[k] = Bump<D>(all, index[k], x).height;
                for (int k = 0; k < K; ++k) {
                    vf total{};
                    for_parts(F, [&](int f, int here) {
                        vf slope = load_part(all.weights + int64_t(index[k]) * F + f, here) * load_part(g + f, here);
                        if (all.multipliers) {
                            const vf multiplier = load_part(all.multipliers + f, here);
                            slope *= multiplier * vcos(multiplier * (heights[k] / sum));
                        }
                        total += slope;
                    });
                    to_share[k] = sum_of(total);
                    mean += to_share[k] * heights[k] / sum;
                }
                for (int d = 0; d < D; ++d) to[d] = 0;
                for (int k = 0; k < K; ++k)
                    Bump<D>(all, index[k], x).add_gradient(all, index[k], (to_share[k] - mean) / sum, to);
            }
        });
    });
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
