// Some rays and their samples, as rows of arrays: marched, looked up, evaluated and shaded.
//
// A tile is what one thread works on, and its rows go through the networks in blocks that stay in cache. What training adds
// to it is in tile_training.hpp, modulated layers are in tile_modulation.hpp, and radial basis functions in tile_radial.hpp.
#pragma once
#include <cmath>
#include <new>

#include "codes.hpp"
#include "harmonics.hpp"
#include "march.hpp"
#include "packed_field.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

constexpr int TILE_RAYS = 128;
constexpr int SAMPLES = 4;  // of a ray at a time at first: more would often lie behind the surface
constexpr int BLOCK = 192;  // rows that go through a network at once

static inline LocalRay local_ray(const FusedField& field, const float* origin, const float* direction) {
    float from[3], towards[3];
    for (int i = 0; i < 3; ++i) {
        const float* axis = field.axes + i * 3;
        from[i] = towards[i] = 0;
        for (int j = 0; j < 3; ++j) from[i] += axis[j] * (origin[j] - field.centre[j]), towards[i] += axis[j] * direction[j];
    }
    return LocalRay(from, towards);
}

// Some rays, and their samples so far as rows.
template <class P> class Tile {
public:
    typedef typename P::Value Value;
    typedef typename P::Element Element;

    void begin(const PackedField<P>& packed, const WorldRays& rays, const Occupancy& grid, int64_t first, int count, Scratch& scratch) {
        attach(packed, scratch);
        first_ = first, count_ = count;
        directions_ = rays.directions + first * 3;
        if (rays.times) times_ = rays.times + first;
        walks_ = room<Walk>(scratch_->rows[0], TILE_RAYS);
        const float reach = float(1 << (grid.cascades - 1)), low[3] = {-reach, -reach, -reach}, high[3] = {reach, reach, reach};
        for (int r = 0; r < count; ++r) {
            const LocalRay ray = local_ray(packed.field, rays.origins + (first + r) * 3, directions_ + r * 3);
            const Span span = ray.within(low, high, {rays.near, FARTHEST});
            new (walks_ + r) Walk(ray, span, rays.jitter[first + r], rays.step, rays.cone, grid);
            depth_[r] = 0, first_row_[r] = last_row_[r] = -1;
            alive_[going_++] = r;
        }
    }

    // Points (count, 3) themselves as rows, without rays. Of a field at rest, times are null.
    void begin(const PackedField<P>& packed, const float* points, const float* times, int count, Scratch& scratch) {
        attach(packed, scratch), reserve(count);
        times_ = times;
        for (; end_ < count; ++end_) place(end_, points + size_t(end_) * 3, end_);
    }

    // Their densities.
    const float* densities() {
        evaluate_rows(rows_, end_);
        return sigma_;
    }

    // At most TILE_RAYS points of the world as rows, each a ray of its own. Latent vectors follow, and colours where there are
    // directions.
    void begin(const PackedField<P>& packed, const QueryPoints& given, int64_t first, int count, Scratch& scratch);
    void evaluate_points();
    void copy_values(float* latent, float* colour) const;

    // Losses of the points, and the gradients to colours and latent vectors that follow from them.
    void compare(const PointTraining& training, int64_t points, Losses& losses);

    // Up to `samples` further ones of every ray that goes on, as rows [rows_, end_); no more rows than all rays have at first.
    void march(const Occupancy& grid, int samples) {
        if (samples * going_ > SAMPLES * TILE_RAYS) samples = SAMPLES * TILE_RAYS / going_;
        reserve(rows_ + going_ * samples);
        int left = 0;
        end_ = rows_;
        for (int k = 0; k < going_; ++k) {
            int r = alive_[k], taken = 0;
            for (; taken < samples && walks_[r].next(grid); ++taken, ++end_) add_row(end_, r, walks_[r]);
            if (taken == samples) alive_[left++] = r;
        }
        going_ = left;
        evaluated_ += end_ - rows_;
    }

    // The new rows' codes, as far as densities need them.
    void look_up() { look_up(0, packed_->field.groups - packed_->field.late, rows_, end_); }

    // Densities of the new rows, of which those that light reaches join their rays. Rays whose light is spent end.
    void evaluate() {
        evaluate_rows(rows_, end_);
        const float deepest = -logf(packed_->field.least_transmittance);
        for (; rows_ < end_; ++rows_) {
            const int r = ray_[rows_];
            if (depth_[r] < deepest) {
                depth_[r] += sigma_[rows_] * dt_[rows_];
                join(rows_, r);
            } else {
                weight_[rows_] = 0;  // drop_faint leaves it out
            }
        }
        int left = 0;
        for (int k = 0; k < going_; ++k)
            if (depth_[alive_[k]] < deepest) alive_[left++] = alive_[k];
        going_ = left;
    }

    bool found() const { return end_ > rows_; }  // whether there are new rows
    bool finite() const { return not_finite_ == 0; }  // whether all raw densities so far are
    int rows() const { return rows_; }
    int64_t evaluated() const { return evaluated_; }

    // Weighs all rows, and keeps those that weigh more than that share of their ray's mean. What is left out still takes
    // its light away.
    void drop_faint(float share) {
        weigh();
        float bound[TILE_RAYS];
        for (int r = 0; r < count_; ++r) {
            float sum = 0;
            int samples = 0;
            for (int i = first_row_[r]; i >= 0; i = next_row_[i]) sum += weight_[i], ++samples;
            bound[r] = samples ? share * sum / float(samples) : 0;
            first_row_[r] = last_row_[r] = -1;
        }
        int kept = 0;
        for (int i = 0; i < rows_; ++i) {
            if (!(weight_[i] > bound[ray_[i]])) continue;
            weight_[kept] = weight_[i], behind_[kept] = behind_[i];
            move_row(i, kept++);
        }
        rows_ = kept;
    }

    // Colours of all rows.
    void shade() {
        rgb_ = room<float>(scratch_->work[0], size_t(rows_ + 1) * 16);
        if (packed_->field.radial && !packed_->field.radial_codes()) add_radial_sums();
        if (packed_->field.plain()) sum_harmonics();
        else run_colour_network();
        for (int i = 0; i < rows_ * 16; i += 16)  // sixteen lanes, of which three matter
            for (int k = 0; k < 4; k += W) store(rgb_ + i + k, vsigmoid(load(rgb_ + i + k)));
    }

    void picture(const Picture& to) const {
        for (int r = 0; r < count_; ++r) {
            float sum[5] = {};
            for (int i = first_row_[r]; i >= 0; i = next_row_[i]) {
                for (int c = 0; c < 3; ++c) sum[c] += weight_[i] * rgb_[size_t(i) * 16 + c];
                sum[3] += weight_[i], sum[4] += weight_[i] * t_[i];
            }
            memcpy(to.colour + (first_ + r) * 3, sum, 12);
            to.opacity[first_ + r] = sum[3];
            to.depth[first_ + r] = sum[4];
        }
    }

    // Losses of the tile's rays, and the gradients to colours and raw densities that follow from them.
    void compare(const Training& training, float scale, Losses& losses);

    // Adds the weights' gradients to a chunk's, and leaves gradients to codes in the arena. False if not finite.
    bool backward(float* to_density, float* to_bias, float* to_colour, float* to_harmonic_weights, Arena& arena, Trace**& trace);

private:
    void attach(const PackedField<P>& packed, Scratch& scratch) {
        not_finite_ = 0;
        packed_ = &packed, scratch_ = &scratch;
        code_width_ = padded(packed.field.codes);
        latent_width_ = padded(packed.field.latents());
        colour_start_ = packed.colour.count ? padded(packed.colour.out[0]) : 0;
        rows_ = end_ = 0, evaluated_ = 0, going_ = 0;
        directions_ = times_ = nullptr, to_raw_ = to_latent_ = nullptr, to_rgb_ = nullptr;
    }

    // Room for that many rows; what is there stays.
    void reserve(int rows) {
        const PackedNetwork<P>& density = packed_->density;
        size_t n = size_t(rows) + BLOCK;
        Buffer* b = scratch_->rows + 1;
        for (int d = 0; d < MAX_AXES; ++d, ++b) x_[d] = d < 3 || packed_->field.timed ? room<float>(*b, n) : nullptr;
        t_ = room<float>(*b++, n), dt_ = room<float>(*b++, n), sigma_ = room<float>(*b++, n);
        passed_ = room<float>(*b++, n), weight_ = room<float>(*b++, n), behind_ = room<float>(*b++, n);
        ray_ = room<int32_t>(*b++, n), next_row_ = room<int32_t>(*b++, n);
        code_ = room<Value>(*b++, n * code_width_);
        if (packed_->field.plain()) return;
        latent_ = room<Value>(*b++, n * latent_width_);
        latent_floats_ = room<float>(*b++, size_t(BLOCK) * latent_width_);
        for (int l = 0; l + 1 < density.count; ++l) hidden_[l] = room<Value>(*b++, n * padded(density.out[l]));
        if (!packed_->field.modulated) return;
        modulation_ = room<float>(*b++, n * packed_->field.modulations());
        norm_factor_ = room<float>(*b++, n * density.count);
        for (int l = 0; l + 1 < density.count; ++l) normed_[l] = room<Value>(*b++, n * density.out[l]);
    }

    void add_row(int i, int r, const Walk& walk) {
        place(i, walk.p, r);
        t_[i] = walk.t, dt_[i] = walk.dt, ray_[i] = r;
    }

    // Row i, of ray r.
    void place(int i, const float* local, int r) {
        float reach = 1, scale = 0.5f;
        if (packed_->field.contraction) {  // unit = ((2 - 1 / n) local / n + 2) / 4 with n = max(|local|, 1)
            for (int d = 0; d < 3; ++d) reach = fmaxf(reach, fabsf(local[d]));
            scale = (2 - 1 / reach) / reach / 4;
        }
        for (int d = 0; d < 3; ++d) x_[d][i] = local[d] * scale + 0.5f;
        if (times_) x_[3][i] = times_[r];
    }

    void look_up(int first, int last, int begin, int end) {
        const Coordinates x(x_, begin);
        look_up_codes<P>(packed_->field, first, last, x, end - begin, code_ + size_t(begin) * code_width_, code_width_,
                         scratch_->strip);
        const Factor* modulated = packed_->field.modulated;
        if (first || !modulated) return;
        const int numbers = packed_->field.modulations();
        polyfield::POLYFIELD_VARIANT::look_up<Single>(*modulated, 0, x, end - begin, modulation_ + size_t(begin) * numbers, numbers);
    }

    void evaluate_rows(int begin, int end) {
        const FusedField& field_ = packed_->field;
        if (field_.plain()) {
            latent_floats_ = reinterpret_cast<float*>(code_);  // such fields are in single precision
            for (int i = begin; i < end; ++i) take_raw(i, latent_floats_[size_t(i) * code_width_]);
        } else {
            run_density_network(begin, end);
        }
        for (int i = begin; i < end; i += W) {
            vf raw = vmin(vmax(load(sigma_ + i), splat(field_.low)), splat(field_.high));
            store(sigma_ + i, vexp(raw) * field_.per_length);
        }
    }

    void take_raw(int i, float raw) {
        sigma_[i] = raw;
        not_finite_ += raw * 0;  // the clamp would make empty space of NaN
    }

    void run_density_network(int begin, int end) {
        const PackedNetwork<P>& density_ = packed_->density;
        for (int i = begin; i < end; i += BLOCK) {
            int rows = int(least(BLOCK, end - i));
            const Value* x = code_ + size_t(i) * code_width_;
            int last = density_.count - 1;
            for (int l = 0; l < last; ++l) {
                int width = padded(density_.out[l]);
                Value* y = hidden_[l] + size_t(i) * width;
                if (packed_->field.modulated) run_modulated_layer(l, x, i, rows);
                else density_.layer(l, x, rows, ToRelu<P>{y, width});
                x = y;
            }
            density_.layer(last, x, rows, ToFloats{latent_floats_, latent_width_});
            for (int r = 0; r < rows; ++r) {
                const float* latent = latent_floats_ + size_t(r) * latent_width_;
                take_raw(i + r, latent[0]);
                for (int k = 0; k < latent_width_; k += W)
                    P::store_values(latent_ + size_t(i + r) * latent_width_ + k, load(latent + k));
            }
        }
    }

    void run_modulated_layer(int l, const Value* x, int begin, int rows);
    const float* modulation_of(size_t i, int l) const;
    void move_modulation(int from, int to);
    template <class Body> void for_radial_sums(int rows, int first, int width, const Body& body);
    void add_radial_sums();
    void write_radial_codes(int rows);

    // Weights of all rows, and the light that is left behind each.
    void weigh() {
        for (int i = 0; i < rows_; i += W) store(passed_ + i, vexp(-(load(sigma_ + i) * load(dt_ + i))));
        for (int r = 0; r < count_; ++r) {
            float light = 1;
            for (int i = first_row_[r]; i >= 0; i = next_row_[i]) {
                weight_[i] = light * (1 - passed_[i]);
                behind_[i] = light *= passed_[i];
            }
        }
    }

    // Row i is the next of ray r.
    void join(int i, int r) {
        if (first_row_[r] < 0) first_row_[r] = i;
        else next_row_[last_row_[r]] = i;
        last_row_[r] = i;
        next_row_[i] = -1;
    }

    // Row `from` becomes row `to`, the next of its ray.
    void move_row(int from, int to) {
        int r = ray_[from];
        join(to, r);
        if (from == to) return;
        for (int d = 0; d < 3 + packed_->field.timed; ++d) x_[d][to] = x_[d][from];
        t_[to] = t_[from], dt_[to] = dt_[from], sigma_[to] = sigma_[from], ray_[to] = r;
        if (packed_->field.plain()) return;  // codes are looked up where there are colours
        copy(code_, code_width_, from, to);
        copy(latent_, latent_width_, from, to);
        const PackedNetwork<P>& density = packed_->density;
        for (int l = 0; l + 1 < density.count; ++l) copy(hidden_[l], padded(density.out[l]), from, to);
        if (packed_->field.modulated) move_modulation(from, to);
    }

    static void copy(Value* rows, int width, int from, int to) {  // widths are multiples of 16
        for (int k = 0; k < width; k += 16)
            memcpy(rows + size_t(to) * width + k, rows + size_t(from) * width + k, 16 * sizeof(Value));
    }

    void run_colour_network() {
        const PackedNetwork<P>& colour_ = packed_->colour;
        for (int l = 0; l + 1 < colour_.count; ++l)
            hidden_colour_[l] = room<Value>(scratch_->work[10 + l], size_t(rows_ + 1) * padded(colour_.out[l]));
        start_rows();
        for (int i = 0; i < rows_; i += BLOCK) {
            int rows = int(least(BLOCK, rows_ - i));
            const Value* x = latent_ + size_t(i) * latent_width_;
            for (int l = 0; l < colour_.count; ++l) {
                bool last = l == colour_.count - 1;
                int width = padded(colour_.out[l]);
                Value* y = last ? nullptr : hidden_colour_[l] + size_t(i) * width;
                if (l == 0 && !last)
                    colour_.layer(l, x, rows, FromRowOf{colour_start_rows_, ray_ + i, colour_start_}, ToRelu<P>{y, width});
                else if (l == 0)
                    colour_.layer(l, x, rows, FromRowOf{colour_start_rows_, ray_ + i, colour_start_},
                                  ToFloats{rgb_ + size_t(i) * width, width});
                else if (last)
                    colour_.layer(l, x, rows, FromZero{}, ToFloats{rgb_ + size_t(i) * width, width});
                else
                    colour_.layer(l, x, rows, FromZero{}, ToRelu<P>{y, width});
                x = y;
            }
        }
    }

    // Colours before their sigmoid as sums of harmonics, without a network. Those of order l are divided by (l + 1)^2.
    void sum_harmonics() {
        look_up(packed_->field.groups - packed_->field.late, packed_->field.groups, 0, rows_);
        ray_harmonics();
        const int count = packed_->field.harmonics();
        for (int r = 0; r < count_; ++r)
            for (int l = 1; l < packed_->field.degree; ++l)
                for (int k = l * l; k < (l + 1) * (l + 1); ++k) harmonics_[size_t(r) * count + k] /= float((l + 1) * (l + 1));
        const float* codes = reinterpret_cast<const float*>(code_);
        for (int i = 0; i < rows_; ++i) {
            const float *harmonics = harmonics_ + size_t(ray_[i]) * count, *part = codes + size_t(i) * code_width_ + 1;
            float* sum = rgb_ + size_t(i) * 16;
            for (int c = 0; c < 4; ++c) sum[c] = 0;
            for (int c = 0; c < 3; ++c, part += count)
                for (int k = 0; k < count; ++k) sum[c] += part[k] * harmonics[k];
        }
    }

    // One row a ray.
    void ray_harmonics() {
        harmonics_ = room<float>(scratch_->work[5], size_t(TILE_RAYS) * packed_->field.harmonics());
        spherical_harmonics(directions_, count_, packed_->field.degree, harmonics_);
    }

    // What the first colour layer's sums start from: the harmonics' share, one row a ray.
    void start_rows() {
        const int count = packed_->field.harmonics();
        ray_harmonics();
        colour_start_rows_ = room<float>(scratch_->work[4], size_t(TILE_RAYS) * colour_start_);
        Operand<Single> a{harmonics_, count, 1};
        product<Single>(count_, colour_start_, count, a, packed_->harmonic_weights, colour_start_, FromZero{},
                        ToFloats{colour_start_rows_, colour_start_});
    }

    // Returns 0, or NaN if a gradient is not finite.
    float block_backward(int begin, int rows, float* to_density, float* to_bias, float* to_colour, float* ray_sums, Trace& trace);

    void unmodulate(int l, int begin, int rows, float* to_hidden, float* to_modulation, Value* to_out);

    float plain_backward(int begin, int rows, Buffer& room_of, Trace& trace);
    float keep(const float* to_codes, int begin, int rows, Trace& trace);

    void sum_by_ray(const Value* to_out, int begin, int rows, float* ray_sums);

    const PackedField<P>* packed_;
    Scratch* scratch_;
    int code_width_, latent_width_, colour_start_;
    int64_t first_, evaluated_;
    const float *directions_, *times_;  // of the tile's rays, in the world
    int count_, rows_, end_, going_;
    float not_finite_;  // 0, or NaN
    Walk* walks_;
    int alive_[TILE_RAYS], first_row_[TILE_RAYS], last_row_[TILE_RAYS];
    float depth_[TILE_RAYS];  // optical, of each ray so far
    float *x_[MAX_AXES], *t_, *dt_, *sigma_, *passed_, *weight_, *behind_, *latent_floats_, *rgb_, *to_raw_, *to_latent_, *harmonics_, *colour_start_rows_;
    float *modulation_, *norm_factor_, *shares_;
    int32_t *ray_, *next_row_, *near_;
    Value *normed_[MAX_LAYERS], *code_, *latent_, *hidden_[MAX_LAYERS], *hidden_colour_[MAX_LAYERS], *to_rgb_;
};

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
