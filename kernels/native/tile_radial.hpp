// Radial functions of colours or of codes: their sums at a tile's rows, and gradients to their weights.
#pragma once
#include "rbf.hpp"
#include "tile.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

// A bound on the squared distances of the K nearest centres: that of other K centres, rounded up.
template <int D> static inline float bound_of(const RadialBasis& all, const int32_t* others, const float* x) {
    float worst = 0;
    for (int k = 0; k < all.neighbours; ++k) {
        const float* centre = all.centres + int64_t(others[k]) * D;
        float square = 0;
        for (int d = 0; d < D; ++d) square += (x[d] - centre[d]) * (x[d] - centre[d]);
        worst = fmaxf(worst, square);
    }
    return worst * (1 + 1e-4f) + 1e-30f;
}

// The nearest functions of the first rows and their shares. Calls body with each row and its sums, from the number `first` of
// `width` on. The others are zeros.
template <class P>
template <class Body>
inline void Tile<P>::for_radial_sums(int rows, int first, int width, const Body& body) {
    const RadialBasis& all = *packed_->field.radial;
    const int K = all.neighbours, F = all.features;
    near_ = room<int32_t>(scratch_->work[13 + MAX_LAYERS], size_t(rows) * K);
    shares_ = room<float>(scratch_->work[14 + MAX_LAYERS], size_t(rows) * K + width);
    float* sums = shares_ + size_t(rows) * K;
    for_axes(all.axes, [&](auto size) {
        constexpr int D = decltype(size)::value;
        for (int i = 0; i < rows; ++i) {
            float x[D], total = TINY, *share = shares_ + size_t(i) * K;
            for (int d = 0; d < D; ++d) x[d] = x_[d][i];
            // Along rays, the row before it is often the sample before it.
            Best<(D < 4 ? 8 : 16)> best(K, i ? bound_of<D>(all, near_ + size_t(i - 1) * K, x) : INFINITY);
            search<D>(packed_->field.tree, x, best);
            int32_t* near = near_ + size_t(i) * K;
            best.write(near);
            for (int k = 0; k < K; ++k) total += share[k] = Bump<D>(all, near[k], x).height;
            memset(sums, 0, width * 4);
            for (int k = 0; k < K; ++k) {
                share[k] /= total;
                const float* weights = all.weights + int64_t(near[k]) * F;
                for (int f = 0; f < F; ++f) sums[first + f] += share[k] * weights[f];
            }
            body(i, sums);
        }
    });
}

// Adds the sums to the latent vectors that colours read. The raw density, which is the first number, stays.
template <class P> inline void Tile<P>::add_radial_sums() {
    for_radial_sums(rows_, 1, latent_width_, [&](int i, const float* sums) {
        Value* latent = latent_ + size_t(i) * latent_width_;
        for (int k = 0; k < latent_width_; k += W) P::store_values(latent + k, P::load_values(latent + k) + load(sums + k));
    });
}

// Writes the sums behind the codes of tables.
template <class P> inline void Tile<P>::write_radial_codes(int rows) {
    const FusedField& field = packed_->field;
    const int features = field.radial->features;
    for_radial_sums(rows, 0, features, [&](int i, const float* sums) {
        store_numbers<P>(code_ + size_t(i) * code_width_ + field.radial_column, sums, features);
    });
}

// Keeps what the weights' gradients need, but for the gradients to the sums themselves.
static inline void keep_neighbours(const RadialBasis& all, const int32_t* near, const float* shares, Arena& arena, Trace& trace) {
    const size_t numbers = size_t(trace.rows) * all.neighbours;
    trace.near = static_cast<int32_t*>(arena.take(numbers * 4));
    trace.shares = static_cast<float*>(arena.take(numbers * 4));
    trace.to_sums = static_cast<float*>(arena.take(size_t(trace.rows) * all.features * 4));
    memcpy(trace.near, near, numbers * 4);
    memcpy(trace.shares, shares, numbers * 4);
}

static inline void keep_to_sums(const FusedField& field, const float* gradients, int row, Trace& trace) {
    const int features = field.radial->features;
    memcpy(trace.to_sums + size_t(row) * features, gradients, features * 4);
}

// Gradients to the weights (count, features). A part of the functions is one thread's, which adds in the order of the traces.
static void traces_to_radial(const RadialBasis& all, Trace* const* traces, int64_t chunks, float* to_weights) {
    const int K = all.neighbours, F = all.features;
    const int64_t parts = threads();
    parallel(parts, [&](int64_t part, int) {
        const int64_t low = all.count * part / parts, high = all.count * (part + 1) / parts;
        memset(to_weights + low * F, 0, size_t(high - low) * F * 4);
        for (int64_t chunk = 0; chunk < chunks; ++chunk)
            for (const Trace* trace = traces[chunk]; trace; trace = trace->next)
                for (int64_t n = 0; trace->near && n < int64_t(trace->rows) * K; ++n) {
                    const int64_t i = trace->near[n];
                    if (i < low || i >= high) continue;
                    const float *g = trace->to_sums + n / K * F, share = trace->shares[n];
                    for (int f = 0; f < F; ++f) to_weights[i * F + f] += share * g[f];
                }
    });
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
