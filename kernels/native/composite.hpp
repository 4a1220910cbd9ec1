// Volume rendering of packed samples by quadrature, and its gradients. One ray after the other, front to back.
#pragma once
#include <cmath>

#include "simd.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

constexpr int RAYS = 512;  // of a task

static void transmittance(int64_t rays, const int64_t* offsets, const int64_t* counts, const float* density,
                          const float* dt, float* out) {
    parallel_ranges(rays, RAYS, [&](int64_t first, int64_t last, int) {
        for (int64_t ray = first; ray < last; ++ray) {
            double depth = 0;
            for (int64_t i = offsets[ray]; i < offsets[ray] + counts[ray]; ++i) {
                out[i] = float(exp(-depth));
                depth += double(density[i]) * dt[i];
            }
        }
    });
}

// out (rays, 5): colour, opacity, and the sum of weight times distance.
static void composite(int64_t rays, const int64_t* offsets, const int64_t* counts, const float* t, const float* dt,
                      const float* density, const float* colour, float* out, float* weights) {
    parallel_ranges(rays, RAYS, [&](int64_t first, int64_t last, int) {
        for (int64_t ray = first; ray < last; ++ray) {
            double depth = 0;
            float sum[5] = {};
            for (int64_t i = offsets[ray]; i < offsets[ray] + counts[ray]; ++i) {
                float w = float(exp(-depth)) * -expm1f(-density[i] * dt[i]);
                depth += double(density[i]) * dt[i];
                for (int c = 0; c < 3; ++c) sum[c] += w * colour[i * 3 + c];
                sum[3] += w, sum[4] += w * t[i];
                weights[i] = w;
            }
            memcpy(out + ray * 5, sum, sizeof sum);
        }
    });
}

// With v_i the gradient to weight i: dL/ddensity_i = dt_i (T_{i+1} v_i - sum_{j > i} w_j v_j).
static void composite_backward(int64_t rays, const int64_t* offsets, const int64_t* counts, const float* t,
                               const float* dt, const float* density, const float* colour, const float* to_out,
                               const float* to_weights, float* to_density, float* to_colour) {
    parallel_ranges(rays, RAYS, [&](int64_t first, int64_t last, int) {
        for (int64_t ray = first; ray < last; ++ray) {
            const float* g = to_out + ray * 5;
            int64_t begin = offsets[ray], end = begin + counts[ray];
            double depth = 0;
            for (int64_t i = begin; i < end; ++i) depth += double(density[i]) * dt[i];
            double behind = 0;
            for (int64_t i = end - 1; i >= begin; --i) {
                double after = exp(-depth);  // transmittance behind the sample
                depth -= double(density[i]) * dt[i];
                double w = exp(-depth) * -expm1(-double(density[i]) * dt[i]);
                double v = g[3] + double(g[4]) * t[i] + to_weights[i];
                for (int c = 0; c < 3; ++c) {
                    v += double(g[c]) * colour[i * 3 + c];
                    to_colour[i * 3 + c] = float(w * g[c]);
                }
                to_density[i] = float(dt[i] * (after * v - behind));
                behind += w * v;
            }
        }
    });
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
