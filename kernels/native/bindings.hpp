// All bindings share this: Python's arrays, the grids and networks made of them, the instruction set in use, calls in turns.
//
// Arrays are taken as they are, never copied or converted; Python's wrappers in this folder see to shapes and types.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <mutex>
#include <optional>
#include <tuple>
#include <vector>

#include "kernels.hpp"

namespace polyfield {

namespace nb = nanobind;
using namespace nb::literals;

typedef nb::ndarray<float, nb::c_contig, nb::device::cpu> Floats;
typedef nb::ndarray<int64_t, nb::c_contig, nb::device::cpu> Integers;
typedef nb::ndarray<uint16_t, nb::c_contig, nb::device::cpu> Halves;
typedef nb::ndarray<int32_t, nb::c_contig, nb::device::cpu> Integers32;
typedef nb::ndarray<uint8_t, nb::c_contig, nb::device::cpu> Bytes;
typedef std::vector<Floats> Layers;

extern const Kernels* kernels;  // of the instruction set in use
extern std::mutex calls;  // kernels share threads and memory, so calls take turns

struct Call {  // holds them off each other, and lets Python's other threads run
    nb::gil_scoped_release released;
    std::lock_guard<std::mutex> turn{calls};
};

struct GridOf {
    std::vector<Level> levels;
    Grid grid;

    // Each level as (nodes, strides, hashed, offset, size). Whoever makes a grid keeps the index, which is one level's.
    GridOf(const std::vector<std::tuple<std::vector<int>, std::vector<uint32_t>, bool, int64_t, int64_t>>& given,
           int features, const std::optional<Integers32>& index) {
        int64_t entries = 0;
        for (const auto& [nodes, strides, hashed, offset, size] : given) {
            Level level{};
            for (size_t d = 0; d < nodes.size(); ++d) level.nodes[d] = nodes[d], level.stride[d] = strides[d];
            level.index = index ? index->data() : nullptr;
            level.hashed = hashed, level.offset = offset, level.size = size;
            while (level.mask + 1 < size) level.mask = level.mask << 1 | 1;
            levels.push_back(level);
            entries = offset + size;
        }
        grid = {int(levels.size()), int(std::get<0>(given[0]).size()), features, levels.data(), entries};
    }
};

inline Network network_of(const Layers& weights, const Layers& biases, bool sine) {
    Network network{};
    network.layers = int(weights.size());
    network.sine = sine;
    for (size_t l = 0; l < weights.size(); ++l) {
        network.sizes[l] = int(weights[l].shape(1)), network.sizes[l + 1] = int(weights[l].shape(0));
        network.weight[l] = weights[l].data();
        if (!biases.empty()) network.bias[l] = biases[l].data();
    }
    return network;
}

// numbers are (points, hidden layers, 2, channels).
inline Modulation modulation_of(const std::optional<Floats>& numbers, bool normed) {
    return {numbers ? numbers->data() : nullptr, numbers ? int(numbers->shape(3)) : 1, normed};
}

void bind_rbf(nb::module_& m);
void bind_field(nb::module_& m);  // after Grid, Occupancy, Adam and Muon, which it takes

}  // namespace polyfield
