// Fields at points: values out, or a step that compares them with what they should be.
//
// A tile is some points, each a ray of its own with one sample, so colours are shaded and gradients go back as along rays.
#pragma once
#include "descent.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

constexpr float NEAR = 0.01f;  // of the domain's size, as in fitting/losses.py

template <class P>
inline void Tile<P>::begin(const PackedField<P>& packed, const QueryPoints& given, int64_t first, int count, Scratch& scratch) {
    attach(packed, scratch);
    reserve(count);
    const FusedField& field = packed.field;
    first_ = first, count_ = end_ = count;
    if (given.directions) directions_ = given.directions + first * 3;
    if (given.times) times_ = given.times + first;
    for (int r = 0; r < count; ++r) {
        const float* world = given.points + (first + r) * field.dimensions;
        float local[3] = {};
        for (int i = 0; i < field.dimensions; ++i)
            for (int j = 0; j < field.dimensions; ++j) local[i] += field.axes[i * 3 + j] * (world[j] - field.centre[j]);
        place(r, local, r);
        ray_[r] = r, first_row_[r] = last_row_[r] = r, next_row_[r] = -1;
    }
}

template <class P> inline void Tile<P>::evaluate_points() {
    look_up(0, packed_->field.groups, 0, end_);
    if (packed_->field.radial_codes()) write_radial_codes(end_);
    evaluate_rows(0, end_);
    rows_ = end_;
    if (directions_) shade();
}

template <class P> inline void Tile<P>::copy_values(float* latent, float* colour) const {
    const int width = packed_->field.latents();
    for (int r = 0; r < rows_; ++r) {
        memcpy(latent + (first_ + r) * width, latent_floats_ + size_t(r) * latent_width_, width * 4);
        if (directions_) memcpy(colour + (first_ + r) * 3, rgb_ + size_t(r) * 16, 12);
    }
}

// Calls body with a function of a found and a wanted number that returns the loss and sets its slope.
template <class Body> static inline void with_measure(const PointTerm& term, const Body& body) {
    switch (term.measure) {
        case SQUARES:
            return body([](float found, float wanted, float& slope) {
                const float error = found - wanted;
                slope = 2 * error;
                return error * error;
            });
        case HUBER:
            return body([delta = term.high](float found, float wanted, float& slope) {
                const float error = found - wanted, size = fabsf(error);
                slope = fminf(fmaxf(error, -delta), delta);
                return size <= delta ? 0.5f * error * error : delta * (size - 0.5f * delta);
            });
        case RELATIVE:
            return body([](float found, float wanted, float& slope) {
                const float scale = 1 / (fabsf(wanted) + NEAR), error = (found - wanted) * scale;
                slope = 2 * error * scale;
                return error * error;
            });
        case ENTROPY:  // of a logit against a probability
            return body([](float found, float wanted, float& slope) {
                slope = 1 / (1 + expf(-found)) - wanted;
                return fmaxf(found, 0.f) - found * wanted + log1pf(expf(-fabsf(found)));
            });
        case CLAMPED:
            return body([low = term.low, high = term.high](float found, float wanted, float& slope) {
                const float error = fminf(fmaxf(found, low), high) - fminf(fmaxf(wanted, low), high);
                slope = 2 * error;
                return found == found ? error * error : found;
            });
    }
}

template <class P>
inline void Tile<P>::compare(const PointTraining& training, int64_t points, Losses& losses) {
    const int latent = packed_->field.latents();
    to_latent_ = room<float>(scratch_->work[2], size_t(rows_) * latent_width_);
    memset(to_latent_, 0, size_t(rows_) * latent_width_ * 4);
    float* to_colours = nullptr;
    if (directions_) {
        to_rgb_ = room<Value>(scratch_->work[1], size_t(rows_ + 1) * 16);
        to_colours = room<float>(scratch_->work[12 + MAX_LAYERS], size_t(rows_) * 16);
        memset(to_colours, 0, size_t(rows_) * 16 * 4);
    }
    for (int t = 0; t < training.terms; ++t) {
        const PointTerm& term = training.term[t];
        const bool coloured = term.part == COLOUR;
        const int channels = coloured ? 3 : term.part == RAW && packed_->field.radiance() ? 1 : latent;
        const int width = coloured ? 16 : latent_width_;
        const float *found = coloured ? rgb_ : latent_floats_, *wanted = training.target[term.part] + first_ * channels;
        const double scale = double(term.weight) / (double(points) * channels);
        float* to = coloured ? to_colours : to_latent_;
        with_measure(term, [&](const auto& measure) {
            double sum = 0;
            for (int r = 0; r < rows_; ++r) {
                float squared = 0;
                for (int c = 0; c < channels; ++c) {
                    const float f = found[size_t(r) * width + c], w = wanted[size_t(r) * channels + c];
                    float slope, error = f - w;
                    sum += measure(f, w, slope);
                    to[size_t(r) * width + c] += slope * float(scale);
                    if (term.measure == ENTROPY) error = 1 / (1 + expf(-f)) - w;
                    squared += error * error;
                }
                if (!t) training.errors[first_ + r] = squared / float(channels);
            }
            losses.loss += sum * scale;
        });
    }
    if (directions_)  // through the sigmoid
        for (int k = 0; k < rows_ * 16; ++k) to_rgb_[k] = P::value(to_colours[k] * rgb_[k] * (1 - rgb_[k]));
}

template <class P>
static Losses train_points_with(const FusedField& field, const QueryPoints& points, const PointTraining& training) {
    PackedField<P> packed(field);
    return descend(packed, points.count, TILE_RAYS, training,
                   [&](Tile<P>& tile, int64_t first, int count, Scratch& scratch, Losses& part) {
        tile.begin(packed, points, first, count, scratch);
        tile.evaluate_points();
        tile.compare(training, points.count, part);
    });
}

template <class P>
static void evaluate_with(const FusedField& field, const QueryPoints& points, float* latent, float* colour) {
    PackedField<P> packed(field);
    parallel_ranges(points.count, TILE_RAYS, [&](int64_t first, int64_t last, int worker) {
        Tile<P> tile;
        tile.begin(packed, points, first, int(last - first), scratch_of(worker));
        tile.evaluate_points();
        tile.copy_values(latent, colour);
    });
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
