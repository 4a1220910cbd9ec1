// A fully connected network on tiles of rows: forward, and backward to its inputs and weights.
#pragma once
#include "modulation.hpp"
#include "product.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

static inline int padded(int width) { return (width + 15) / 16 * 16; }

// The weights as the products read them, widths filled up with zeros to multiples of 16.
template <class P> class PackedNetwork {
public:
    typedef typename P::Element Element;
    typedef typename P::Value Value;

    // Of the first layer only the first `inputs` columns.
    PackedNetwork(const Network& network, int inputs) : count(network.layers), sine(network.sine) {
        size_t elements = 0, biases = 0;
        for (int l = 0; l < count; ++l) {
            in[l] = l ? network.sizes[l] : inputs;
            out[l] = network.sizes[l + 1];
            elements += 2 * size_t(padded(in[l])) * padded(out[l]);
            biases += padded(out[l]);
        }
        Element* at = static_cast<Element*>(elements_.reserve(elements * sizeof(Element)));
        float* bias_at = static_cast<float*>(biases_.reserve(biases * 4));
        gradient_size = bias_size = 0;
        for (int l = 0; l < count; ++l) {
            forward_[l] = at, at += size_t(padded(in[l])) * padded(out[l]);
            backward_[l] = at, at += size_t(padded(in[l])) * padded(out[l]);
            bias[l] = nullptr;
            if (network.bias[l]) {
                memcpy(bias_at, network.bias[l], out[l] * 4);
                for (int j = out[l]; j < padded(out[l]); ++j) bias_at[j] = 0;
                bias[l] = bias_at;
                bias_at += padded(out[l]);
                bias_offset[l] = bias_size, bias_size += padded(out[l]);
            }
            gradient_offset[l] = gradient_size;
            gradient_size += size_t(out[l]) * padded(in[l]);
        }
        auto fill = [&](int64_t task, int) {
            const int l = int(task / 2), columns = network.sizes[l];
            const float* w = network.weight[l];
            if (task % 2) pack(backward_[l], out[l], in[l], [&](int k, int j) { return w[k * columns + j]; });
            else pack(forward_[l], in[l], out[l], [&](int k, int j) { return w[j * columns + k]; });
        };
        constexpr size_t MANY = 1 << 15;  // elements that are worth the threads' attention
        if (elements > MANY) parallel(2 * count, fill);
        else for (int task = 0; task < 2 * count; ++task) fill(task, 0);
    }

    // One layer of rows x, of padded width, to whatever `end` does with the sums with their biases.
    template <class End> void layer(int l, const Value* x, int rows, const End& end) const {
        if (bias[l]) layer(l, x, rows, FromBias{bias[l]}, end);
        else layer(l, x, rows, FromZero{}, end);
    }

    // One layer, whose sums begin with `start`.
    template <class Start, class End>
    void layer(int l, const Value* x, int rows, const Start& start, const End& end) const {
        Operand<P> a{reinterpret_cast<const Element*>(x), padded(in[l]) / P::group, 1};
        product<P>(rows, padded(out[l]), (in[l] + P::group - 1) / P::group, a, forward_[l], padded(out[l]), start,
                   end);
    }

    // Gradient of rows to a layer's outputs, to its inputs.
    template <class End> void layer_to_inputs(int l, const Value* to_out, int rows, const End& end) const {
        Operand<P> a{reinterpret_cast<const Element*>(to_out), padded(out[l]) / P::group, 1};
        product<P>(rows, padded(in[l]), (out[l] + P::group - 1) / P::group, a, backward_[l], padded(in[l]), FromZero{},
                   end);
    }

    // Adds the rows' part of the gradient to a layer's weights, (out, padded in).
    void layer_to_weights(int l, const Value* x, const Value* to_out, int rows, Element* pairs, float* gradient) const {
        const Element *left, *right;
        int steps = rows_as_elements(to_out, rows, padded(out[l]), pairs, &left);
        rows_as_elements(x, rows, padded(in[l]), pairs + size_t(steps) * padded(out[l]), &right);
        Operand<P> a{left, 1, padded(out[l])};
        product<P>(out[l], padded(in[l]), steps, a, right, padded(in[l]), FromZero{},
                   AddToFloats{gradient, padded(in[l])});
    }

    // Adds the rows' part of the gradient to a layer's bias, of padded width.
    void layer_to_bias(int l, const Value* to_out, int rows, float* gradient) const {
        const int width = padded(out[l]);
        for (int r = 0; r < rows; ++r)
            for (int k = 0; k < width; k += W)
                store(gradient + k, load(gradient + k) + P::load_values(to_out + size_t(r) * width + k));
    }

    // Elements that layer_to_weights needs room for.
    size_t pair_room(int rows) const {
        int widest = 0;
        for (int l = 0; l < count; ++l) widest = int(most(widest, padded(in[l]) + padded(out[l])));
        return size_t(rows + 1) / 2 * widest;
    }

    const int count;
    const bool sine;
    int in[MAX_LAYERS], out[MAX_LAYERS];
    const float* bias[MAX_LAYERS];
    size_t gradient_offset[MAX_LAYERS], gradient_size;
    size_t bias_offset[MAX_LAYERS], bias_size;  // of gradients to biases; of a layer without one, nothing

private:
    template <class Weight> static void pack(Element* to, int in, int out, const Weight& weight) {
        const int rows = padded(in), columns = padded(out);
        for (int k = 0; k < rows; ++k) {
            Value* values = reinterpret_cast<Value*>(to) + size_t(k / P::group) * columns * P::group + k % P::group;
            for (int j = 0; j < columns; ++j) values[j * P::group] = P::value(k < in && j < out ? weight(k, j) : 0.f);
        }
    }

    Buffer elements_, biases_;
    Element *forward_[MAX_LAYERS], *backward_[MAX_LAYERS];
};

// Rows (rows, width) to rows of a padded width.
template <class Value> static inline void pad_rows(const float* from, int rows, int width, Value* to) {
    for (int i = 0; i < rows; ++i) {
        memcpy(to + size_t(i) * padded(width), from + size_t(i) * width, width * 4);
        for (int j = width; j < padded(width); ++j) to[size_t(i) * padded(width) + j] = 0;
    }
}

constexpr int MLP_TILE = 192;    // rows at once: activations stay in the second-level cache
constexpr int MLP_CHUNK = 3072;  // rows whose weight gradients are summed before the chunks are

// All of a network's activations for a tile: input of every layer, sums before a sine, norms before a modulation, and
// the outputs.
class MlpTile {
public:
    MlpTile(const PackedNetwork<Single>& network, const Modulation& modulation, int rows)
        : network_(network), modulation_(modulation) {
        size_t floats = size_t(rows) * network.count;
        for (int l = 0; l < network.count; ++l) floats += size_t(rows) * (padded(network.in[l]) + padded(network.out[l]));
        float* at = static_cast<float*>(buffer_.reserve(floats * 4));
        for (int l = 0; l < network.count; ++l) {
            input[l] = at, at += size_t(rows) * padded(network.in[l]);
            sum[l] = at, at += size_t(rows) * padded(network.out[l]);
            factor_[l] = at, at += rows;
        }
    }

    // From input[0] to sum[count - 1], for points from `first` on.
    void forward(int64_t first, int rows) {
        int last = network_.count - 1;
        for (int l = 0; l <= last; ++l) {
            int width = padded(network_.out[l]);
            if (l == last || network_.sine || modulation_.numbers) network_.layer(l, input[l], rows, ToFloats{sum[l], width});
            else network_.layer(l, input[l], rows, ToRelu<Single>{input[l + 1], width});
            if (l < last && modulation_.numbers)
                for (int r = 0; r < rows; ++r)
                    factor_[l][r] = modulate(modulation_, modulation_.numbers + of(first + r, l), network_.sine, network_.out[l],
                                             sum[l] + size_t(r) * width, input[l + 1] + size_t(r) * width);
            else if (l < last && network_.sine)
                for (int k = 0; k < rows * width; k += W) store(input[l + 1] + k, vsin(load(sum[l] + k)));
        }
    }

    // Gradient of rows to layer l's activations, to its outputs, in place.
    void activation_backward(int l, int64_t first, int rows, float* to, float* to_modulation) const {
        const int width = padded(network_.out[l]);
        if (modulation_.numbers)
            for (int r = 0; r < rows; ++r)
                modulate_backward(modulation_, modulation_.numbers + of(first + r, l), network_.sine, network_.out[l],
                                  sum[l] + size_t(r) * width, input[l + 1] + size_t(r) * width, factor_[l][r],
                                  to + size_t(r) * width, to_modulation + of(first + r, l));
        else
            for (int k = 0; k < rows * width; k += W) store(to + k, load(to + k) * vcos(load(sum[l] + k)));
    }

    float *input[MAX_LAYERS], *sum[MAX_LAYERS];

private:
    // Where the modulation's numbers of a point and a layer are.
    size_t of(int64_t point, int l) const {
        return (size_t(point) * (network_.count - 1) + l) * 2 * modulation_.channels;
    }

    const PackedNetwork<Single>& network_;
    const Modulation modulation_;
    float* factor_[MAX_LAYERS];
    Buffer buffer_;
};

static void mlp(const Network& network, const Modulation& modulation, const float* x, int64_t count, float* out) {
    PackedNetwork<Single> packed(network, network.sizes[0]);
    int wide_in = network.sizes[0], wide_out = network.sizes[network.layers];
    parallel_ranges(count, MLP_CHUNK, [&](int64_t first, int64_t last, int) {
        MlpTile tile(packed, modulation, MLP_TILE);
        for (int64_t i = first; i < last; i += MLP_TILE) {
            int rows = int(least(MLP_TILE, last - i));
            pad_rows(x + i * wide_in, rows, wide_in, tile.input[0]);
            tile.forward(i, rows);
            const float* result = tile.sum[network.layers - 1];
            for (int r = 0; r < rows; ++r)
                memcpy(out + (i + r) * wide_out, result + size_t(r) * padded(wide_out), wide_out * 4);
        }
    });
}

// Sums parts (parts, size) into the first, always in the same order.
static inline void add_parts(float* parts, int64_t count, size_t size) {
    constexpr int64_t NUMBERS = 1 << 12;
    parallel_ranges(int64_t(size), NUMBERS, [&](int64_t first, int64_t last, int) {
        for (int64_t part = 1; part < count; ++part)
            for (int64_t k = first; k < last; ++k) parts[k] += parts[part * int64_t(size) + k];
    });
}

// to_x may be null; so may to_bias. Activations are computed anew, which costs less than to keep them.
static void mlp_backward(const Network& network, const Modulation& modulation, const float* x, const float* gradient,
                         int64_t count, float* to_x, float* to_modulation, float* const* to_weight,
                         float* const* to_bias) {
    PackedNetwork<Single> packed(network, network.sizes[0]);
    int layers = network.layers, wide_in = network.sizes[0], wide_out = network.sizes[layers];
    size_t biases = 0;
    int widest = 0;
    for (int l = 0; l < layers; ++l) {
        biases += padded(packed.out[l]);
        widest = int(most(widest, most(padded(packed.in[l]), padded(packed.out[l]))));
    }
    int64_t chunks = most(1, (count + MLP_CHUNK - 1) / MLP_CHUNK);
    size_t size = packed.gradient_size + biases;
    Buffer parts_buffer;
    float* parts = static_cast<float*>(parts_buffer.reserve(chunks * size * 4));
    parallel_ranges(count, MLP_CHUNK, [&](int64_t first, int64_t last, int) {
        float* part = parts + first / MLP_CHUNK * size;
        memset(part, 0, size * 4);
        MlpTile tile(packed, modulation, MLP_TILE);
        Buffer room;
        float* to_out = static_cast<float*>(room.reserve(size_t(2) * MLP_TILE * widest * 4));
        float* to_in = to_out + size_t(MLP_TILE) * widest;
        for (int64_t i = first; i < last; i += MLP_TILE) {
            int rows = int(least(MLP_TILE, last - i));
            pad_rows(x + i * wide_in, rows, wide_in, tile.input[0]);
            tile.forward(i, rows);
            pad_rows(gradient + i * wide_out, rows, wide_out, to_out);
            float* bias_part = part + size;
            for (int l = layers - 1; l >= 0; --l) {
                int width = padded(packed.out[l]), below = padded(packed.in[l]);
                packed.layer_to_weights(l, tile.input[l], to_out, rows, nullptr, part + packed.gradient_offset[l]);
                bias_part -= width;
                packed.layer_to_bias(l, to_out, rows, bias_part);
                if (!l && !to_x) break;
                if (l && !network.sine && !modulation.numbers) {
                    packed.layer_to_inputs(l, to_out, rows, ToMasked<Single>{to_in, tile.input[l], below});
                } else {
                    packed.layer_to_inputs(l, to_out, rows, ToFloats{to_in, below});
                    if (l) tile.activation_backward(l - 1, i, rows, to_in, to_modulation);
                }
                float* swap = to_out;
                to_out = to_in, to_in = swap;
            }
            if (to_x)
                for (int r = 0; r < rows; ++r)
                    memcpy(to_x + (i + r) * wide_in, to_out + size_t(r) * padded(wide_in), wide_in * 4);
        }
    });
    if (!count) memset(parts, 0, size * 4);
    add_parts(parts, chunks, size);
    const float* bias_part = parts + packed.gradient_size;
    for (int l = 0; l < layers; ++l) {
        const float* from = parts + packed.gradient_offset[l];
        for (int j = 0; j < packed.out[l]; ++j)
            memcpy(to_weight[l] + size_t(j) * packed.in[l], from + size_t(j) * padded(packed.in[l]), packed.in[l] * 4);
        if (to_bias) memcpy(to_bias[l], bias_part, packed.out[l] * 4);
        bias_part += padded(packed.out[l]);
    }
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
