// Real spherical harmonics of directions: fields/directions.py has their order and the equations.
#pragma once
#include <cmath>

#include "simd.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

// sqrt((2 l + 1) / (4 pi) (l - m)! / (l + m)!), and sqrt(2) more for m > 0.
static inline float harmonic_scale(int l, int m) {
    float square = float(2 * l + 1) * (m ? 2 : 1) / 12.5663706f;
    for (int k = l - m + 1; k <= l + m; ++k) square /= float(k);
    return sqrtf(square);
}

// Of unit directions (count, 3): (count, degree^2).
static void spherical_harmonics(const float* directions, int64_t count, int degree, float* to) {
    const int size = degree * degree;
    for (int64_t i = 0; i < count; i += W) {
        const int here = int(least(W, count - i));
        float lanes[3][W] = {};
        for (int p = 0; p < here; ++p)
            for (int d = 0; d < 3; ++d) lanes[d][p] = directions[(i + p) * 3 + d];
        const vf x = load(lanes[0]), y = load(lanes[1]), z = load(lanes[2]);
        auto put = [&](int column, vf value) {
            for (int p = 0; p < here; ++p) to[(i + p) * size + column] = value[p];
        };
        vf cosine = splat(1), sine{}, diagonal = splat(1);  // of m phi, times sin^m theta; P_m^m = (2 m - 1)!!
        for (int m = 0; m < degree; ++m) {
            vf before{}, legendre = diagonal;
            for (int l = m; l < degree; ++l) {
                const vf scaled = legendre * harmonic_scale(l, m);
                put(l * l + l + m, scaled * cosine);
                if (m) put(l * l + l - m, scaled * sine);
                const vf next = (float(2 * l + 1) * z * legendre - float(l + m) * before) * (1 / float(l + 1 - m));
                before = legendre, legendre = next;
            }
            const vf turned = x * cosine - y * sine;
            sine = x * sine + y * cosine, cosine = turned;
            diagonal *= float(2 * m + 1);
        }
    }
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
