// A tile in training: it compares its rays with what is wanted, and takes gradients back through its networks.
#pragma once
#include "tile_modulation.hpp"
#include "tile_radial.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

template <class P>
inline void Tile<P>::compare(const Training& training, float scale, Losses& losses) {
    to_rgb_ = room<Value>(scratch_->work[1], size_t(rows_ + 1) * 16);
    to_raw_ = room<float>(scratch_->work[2], rows_ + W);
    memset(to_rgb_, 0, size_t(rows_) * 16 * sizeof(Value));
    for (int r = 0; r < count_; ++r) {
        const float* wanted = training.target + (first_ + r) * 4;
        const float* background = training.background + (first_ + r) * 3;
        float colour[3] = {}, opacity = 0, g[3];
        for (int i = first_row_[r]; i >= 0; i = next_row_[i]) {
            for (int c = 0; c < 3; ++c) colour[c] += weight_[i] * rgb_[size_t(i) * 16 + c];
            opacity += weight_[i];
        }
        float rest = 0, squared_error = 0;
        for (int c = 0; c < 3; ++c) {
            float error = colour[c] - wanted[c] + (wanted[3] - opacity) * background[c];
            float size = fabsf(error), huber = training.huber;
            losses.loss += size <= huber ? 0.5 * error * error : huber * (size - 0.5 * huber);
            squared_error += error * error;
            g[c] = fminf(fmaxf(error, -huber), huber) * scale;
            rest += g[c] * (colour[c] - opacity * background[c]);
        }
        training.errors[first_ + r] = squared_error / 3;
        // With v = g . (colour - background): dL/ddensity = dt (T_{i+1} v_i - sum over what lies behind of w v).
        for (int i = first_row_[r]; i >= 0; i = next_row_[i]) {
            float v = 0;
            for (int c = 0; c < 3; ++c) {
                float x = rgb_[size_t(i) * 16 + c];
                v += g[c] * (x - background[c]);
                to_rgb_[size_t(i) * 16 + c] = P::value(weight_[i] * g[c] * x * (1 - x));
            }
            rest -= weight_[i] * v;
            to_raw_[i] = dt_[i] * (behind_[i] * v - rest) * sigma_[i];
        }
    }
}

template <class P>
inline bool Tile<P>::backward(float* to_density, float* to_bias, float* to_colour, float* to_harmonic_weights, Arena& arena,
                              Trace**& trace) {
    if (!rows_) return true;
    const FusedField& field_ = packed_->field;
    const PackedNetwork<P>& colour_ = packed_->colour;
    int filled = (rows_ + W - 1) / W * W;
    Trace* here = static_cast<Trace*>(arena.take(sizeof(Trace)));
    here->next = nullptr, here->rows = rows_, here->near = nullptr;
    for (int d = 0; d < MAX_AXES; ++d) {
        here->x[d] = nullptr;
        if (!x_[d]) continue;
        here->x[d] = static_cast<float*>(arena.take(filled * 4));
        memcpy(here->x[d], x_[d], rows_ * 4);
        for (int i = rows_; i < filled; ++i) here->x[d][i] = 0.5f;
    }
    here->to_code = static_cast<float*>(arena.take(size_t(rows_) * field_.kept * 4));
    if (field_.radial && (to_rgb_ || field_.radial_codes())) keep_neighbours(*field_.radial, near_, shares_, arena, *here);
    float* ray_sums = room<float>(scratch_->work[3], size_t(TILE_RAYS) * colour_start_);
    memset(ray_sums, 0, size_t(count_) * colour_start_ * 4);
    float worst = 0;
    for (int i = 0; i < rows_; i += BLOCK)
        worst += block_backward(i, int(least(BLOCK, rows_ - i)), to_density, to_bias, to_colour, ray_sums, *here);
    *trace = here;
    trace = &here->next;
    if (!to_rgb_ || !colour_.count) return worst == 0;
    // The harmonics are the ray's, so one product a ray stands for all its samples.
    const int harmonics = field_.harmonics();
    product<Single>(colour_.out[0], harmonics, count_, Operand<Single>{ray_sums, 1, colour_start_}, harmonics_, harmonics,
                    FromZero{}, AddToFloats{to_harmonic_weights, harmonics});
    return worst == 0;
}

template <class P>
inline float Tile<P>::block_backward(int begin, int rows, float* to_density, float* to_bias, float* to_colour, float* ray_sums,
                                     Trace& trace) {
    const PackedNetwork<P>&density_ = packed_->density, &colour_ = packed_->colour;
    Buffer* room_of = scratch_->work + 6;
    if (packed_->field.plain()) return plain_backward(begin, rows, room_of[3], trace);
    Element* pairs = room<Element>(room_of[0], most(density_.pair_room(BLOCK), colour_.pair_room(BLOCK)));
    int widest = 16;
    for (int l = 0; l < density_.count; ++l) widest = int(most(widest, most(padded(density_.in[l]), padded(density_.out[l]))));
    for (int l = 0; l < colour_.count; ++l) widest = int(most(widest, most(padded(colour_.in[l]), padded(colour_.out[l]))));
    Value* to_out = room<Value>(room_of[1], size_t(BLOCK) * widest);
    Value* to_in = room<Value>(room_of[2], size_t(BLOCK) * widest);
    float* floats = room<float>(room_of[3], size_t(BLOCK) * most(code_width_, latent_width_));

    if (to_rgb_) memcpy(to_out, to_rgb_ + size_t(begin) * 16, size_t(rows) * 16 * sizeof(Value));
    else memset(floats, 0, size_t(rows) * latent_width_ * 4);
    for (int l = to_rgb_ ? colour_.count - 1 : -1; l >= 0; --l) {
        const Value* x = l ? hidden_colour_[l - 1] + size_t(begin) * padded(colour_.in[l])
                           : latent_ + size_t(begin) * latent_width_;
        if (l == 0) sum_by_ray(to_out, begin, rows, ray_sums);
        colour_.layer_to_weights(l, x, to_out, rows, pairs, to_colour + colour_.gradient_offset[l]);
        if (l) colour_.layer_to_inputs(l, to_out, rows, ToMasked<P>{to_in, x, padded(colour_.in[l])});
        else colour_.layer_to_inputs(l, to_out, rows, ToFloats{floats, latent_width_});
        Value* swap = to_out;
        to_out = to_in, to_in = swap;
    }
    for (int r = 0; r < rows; ++r) {
        float* row = floats + size_t(r) * latent_width_;
        if (trace.near && to_rgb_) keep_to_sums(packed_->field, row + 1, begin + r, trace);
        if (to_raw_) row[0] += to_raw_[begin + r];
        if (to_latent_)
            for (int k = 0; k < latent_width_; k += W)
                store(row + k, load(row + k) + load(to_latent_ + size_t(begin + r) * latent_width_ + k));
        for (int k = 0; k < latent_width_; k += W) P::store_values(to_out + size_t(r) * latent_width_ + k, load(row + k));
    }
    const int numbers = packed_->field.modulations();
    float* to_hidden = numbers ? room<float>(scratch_->work[10 + MAX_LAYERS], size_t(BLOCK) * (widest + numbers)) : nullptr;
    float* to_modulation = to_hidden + (numbers ? size_t(BLOCK) * widest : 0);
    for (int l = density_.count - 1; l >= 0; --l) {
        const Value* x = l ? hidden_[l - 1] + size_t(begin) * padded(density_.in[l])
                           : code_ + size_t(begin) * code_width_;
        density_.layer_to_weights(l, x, to_out, rows, pairs, to_density + density_.gradient_offset[l]);
        if (density_.bias[l]) density_.layer_to_bias(l, to_out, rows, to_bias + density_.bias_offset[l]);
        if (l && numbers) {
            density_.layer_to_inputs(l, to_out, rows, ToFloats{to_hidden, density_.in[l]});
            unmodulate(l - 1, begin, rows, to_hidden, to_modulation, to_in);
        } else if (l) {
            density_.layer_to_inputs(l, to_out, rows, ToMasked<P>{to_in, x, padded(density_.in[l])});
        } else if (packed_->field.groups || packed_->field.radial_codes()) {
            density_.layer_to_inputs(l, to_out, rows, ToFloats{floats, code_width_});
        }
        Value* swap = to_out;
        to_out = to_in, to_in = swap;
    }
    if (packed_->field.radial_codes())
        for (int r = 0; r < rows; ++r)
            keep_to_sums(packed_->field, floats + size_t(r) * code_width_ + packed_->field.radial_column, begin + r, trace);
    if (numbers) keep_rows(to_modulation, numbers, numbers, packed_->field.modulated->kept, begin, rows, trace);
    // Where no table wants gradients to codes, what is not finite is in the weights' gradients.
    return packed_->field.groups ? keep(floats, begin, rows, trace) : 0;
}

// Without networks, gradients to densities and through the harmonics are those to codes.
template <class P>
inline float Tile<P>::plain_backward(int begin, int rows, Buffer& room_of, Trace& trace) {
    const int harmonics = packed_->field.harmonics();
    const float* to_rgb = reinterpret_cast<const float*>(to_rgb_);
    float* floats = room<float>(room_of, size_t(BLOCK) * code_width_);
    memset(floats, 0, size_t(rows) * code_width_ * 4);
    for (int r = 0; r < rows; ++r) {
        const int i = begin + r;
        float* row = floats + size_t(r) * code_width_;
        if (to_rgb) {
            const float* of_ray = harmonics_ + size_t(ray_[i]) * harmonics;
            for (int c = 0; c < 3; ++c)
                for (int k = 0; k < harmonics; ++k) row[1 + c * harmonics + k] = to_rgb[size_t(i) * 16 + c] * of_ray[k];
        }
        if (to_raw_) row[0] += to_raw_[i];
        if (to_latent_)
            for (int k = 0; k < code_width_; k += W) store(row + k, load(row + k) + load(to_latent_ + size_t(i) * code_width_ + k));
    }
    return keep(floats, begin, rows, trace);
}

// Keeps gradients to codes. Returns as `block_backward`.
template <class P> inline float Tile<P>::keep(const float* to_codes, int begin, int rows, Trace& trace) {
    keep_gradients(packed_->field, to_codes, code_width_, begin, rows, scratch_->strip, trace);
    vf worst{};
    for (int k = 0; k < rows * code_width_; k += W) worst += load(to_codes + k) * 0.f;
    float sum = 0;
    for (int lane = 0; lane < W; ++lane) sum += worst[lane];
    return sum;
}

template <class P>
inline void Tile<P>::sum_by_ray(const Value* to_out, int begin, int rows, float* ray_sums) {
    for (int r = 0; r < rows; ++r) {
        float* sum = ray_sums + size_t(ray_[begin + r]) * colour_start_;
        for (int k = 0; k < colour_start_; k += W)
            store(sum + k, load(sum + k) + P::load_values(to_out + size_t(r) * colour_start_ + k));
    }
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
