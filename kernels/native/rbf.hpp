// Radial basis functions: the nearest centres of points, sums of kernels round them, and gradients to weights and points.
#pragma once
#include <cmath>

#include "simd.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

constexpr int LEAF = 8, MOST_NEIGHBOURS = 16, MOST_BRANCHES = 64;
typedef float Leaf __attribute__((vector_size(LEAF * 4)));

// The nearest centres so far, the nearest first.
struct Best {
    int count;
    float square[MOST_NEIGHBOURS];
    int32_t index[MOST_NEIGHBOURS];

    // At least that many are nearer than the bound, if it is given.
    explicit Best(int wanted, float bound = INFINITY) : count(wanted) {
        for (int k = 0; k < wanted; ++k) square[k] = bound, index[k] = 0;
    }
    float worst() const { return square[count - 1]; }
    void add(float found, int32_t at) {
        int k = count - 1;
        for (; k > 0 && square[k - 1] > found; --k) square[k] = square[k - 1], index[k] = index[k - 1];
        square[k] = found, index[k] = at;
    }
};

template <int D> static inline float square_to_box(const float* box, const float* x) {
    float sum = 0;
    for (int d = 0; d < D; ++d) {
        const float below = box[d] - x[d], above = x[d] - box[D + d];
        const float away = below > above ? below : above;
        if (away > 0) sum += away * away;
    }
    return sum;
}

template <int D> static inline void search_leaf(const Branches& tree, int64_t leaf, const float* x, Best& best) {
    Leaf sum{};
    for (int d = 0; d < D; ++d) {
        Leaf along;
        memcpy(&along, tree.leaves + (leaf * D + d) * LEAF, sizeof along);
        along -= x[d];
        sum += along * along;
    }
    for (int i = 0; i < LEAF; ++i)
        if (sum[i] < best.worst()) best.add(sum[i], int32_t(leaf * LEAF + i));
}

// The nearer of two branches first; the other one waits, with its distance.
template <int D> static inline void search(const Branches& tree, const float* x, Best& best) {
    struct Waiting {
        int64_t branch;
        float square;
    } waiting[MOST_BRANCHES];
    int left = 0;
    waiting[left++] = {1, 0.f};
    while (left) {
        Waiting next = waiting[--left];
        if (!(next.square < best.worst())) continue;
        while (next.branch < tree.count) {
            const float* boxes = tree.boxes + next.branch * 4 * D;  // of its two branches, which are neighbours
            Waiting near{2 * next.branch, square_to_box<D>(boxes, x)}, far{near.branch + 1, square_to_box<D>(boxes + 2 * D, x)};
            if (far.square < near.square) {
                const Waiting swapped = near;
                near = far, far = swapped;
            }
            if (far.square < best.worst()) waiting[left++] = far;
            next = near;
        }
        if (next.square < best.worst()) search_leaf<D>(tree, next.branch - tree.count, x, best);
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
        parallel_ranges(count, 1024, [&](int64_t first, int64_t last, int) {
            for (int64_t i = first; i < last; ++i) {
                Best best(wanted);
                search<D>(tree, points + i * D, best);
                memcpy(out + i * wanted, best.index, wanted * 4);
            }
        });
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
