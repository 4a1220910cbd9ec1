// The kernels for one instruction set: POLYFIELD_VARIANT, with the compiler's flags to match.
#include "adam.hpp"
#include "composite.hpp"
#include "gather.hpp"
#include "interpolate.hpp"
#include "limits.hpp"
#include "march.hpp"
#include "muon.hpp"
#include "network.hpp"
#include "points.hpp"
#include "radiance.hpp"
#include "random.hpp"
#include "rbf.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

#if defined(__AVX512BF16__)
typedef Brain Networks;  // of fused radiance, and of muon; values, and the operation `mlp`, are in single precision
#else
typedef Single Networks;
#endif
#if defined(__F16C__) || defined(__aarch64__)
constexpr bool READS_HALF = true;
#else
constexpr bool READS_HALF = false;
#endif

static Losses train(const FusedField& field, const WorldRays& rays, const Occupancy& grid, const Training& training) {
    return field.plain() ? train_with<Single>(field, rays, grid, training)
                         : train_with<Networks>(field, rays, grid, training);
}

static void density(const FusedField& field, const float* points, const float* times, int64_t count, float* out) {
    if (field.plain()) density_with<Single>(field, points, times, count, out);
    else density_with<Networks>(field, points, times, count, out);
}

static Losses render(const FusedField& field, const WorldRays& rays, const Occupancy& grid, const Picture& picture) {
    return field.plain() ? render_with<Single>(field, rays, grid, picture)
                         : render_with<Networks>(field, rays, grid, picture);
}

static Losses train_points(const FusedField& field, const QueryPoints& points, const PointTraining& training) {
    return field.colour.layers ? train_points_with<Networks>(field, points, training)
                               : train_points_with<Single>(field, points, training);
}

static void evaluate(const FusedField& field, const QueryPoints& points, float* latent, float* colour) {
    if (field.colour.layers) evaluate_with<Networks>(field, points, latent, colour);
    else evaluate_with<Single>(field, points, latent, colour);
}

}  // namespace POLYFIELD_VARIANT

#define JOINED(a, b) a##b
#define NAMED(prefix, variant) JOINED(prefix, variant)
#define QUOTED(text) #text
#define TEXT(text) QUOTED(text)

const Kernels NAMED(kernels_, POLYFIELD_VARIANT) = {
    TEXT(POLYFIELD_VARIANT),
    POLYFIELD_VARIANT::READS_HALF,
    POLYFIELD_VARIANT::Networks::group > 1,
    POLYFIELD_VARIANT::interpolate,
    POLYFIELD_VARIANT::interpolate_to_table,
    POLYFIELD_VARIANT::interpolate_to_points,
    POLYFIELD_VARIANT::mlp,
    POLYFIELD_VARIANT::mlp_backward,
    POLYFIELD_VARIANT::nearest,
    POLYFIELD_VARIANT::rbf,
    POLYFIELD_VARIANT::rbf_to_weights,
    POLYFIELD_VARIANT::rbf_to_points,
    POLYFIELD_VARIANT::march,
    POLYFIELD_VARIANT::transmittance,
    POLYFIELD_VARIANT::composite,
    POLYFIELD_VARIANT::composite_backward,
    POLYFIELD_VARIANT::adam,
    POLYFIELD_VARIANT::muon_bank<POLYFIELD_VARIANT::Networks>,
    POLYFIELD_VARIANT::random_bits,
    POLYFIELD_VARIANT::weighted,
    POLYFIELD_VARIANT::gather,
    POLYFIELD_VARIANT::halve,
    POLYFIELD_VARIANT::train,
    POLYFIELD_VARIANT::train_points,
    POLYFIELD_VARIANT::evaluate,
    POLYFIELD_VARIANT::density,
    POLYFIELD_VARIANT::render,
    POLYFIELD_VARIANT::multiply_adds,
    POLYFIELD_VARIANT::random_reads,
    POLYFIELD_VARIANT::random_updates,
};

}  // namespace polyfield
