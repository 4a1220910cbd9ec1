// The generic kernels on made-up numbers, their results printed: the same program is run on another kind of machine, or
// built by another compiler, and its numbers are compared (test_other_machines.py).
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "kernels.hpp"

using namespace polyfield;

static std::vector<float> numbers(size_t count, uint32_t name, float scale = 1) {
    std::vector<uint32_t> bits(count + 4);
    kernels_generic.random_bits({{7, 0}, name, 1}, int64_t(count), bits.data());
    std::vector<float> found(count);
    for (size_t i = 0; i < count; ++i) found[i] = (float(bits[i] >> 8) * 0x1p-24f * 2 - 1) * scale;
    return found;
}

template <class T> static void print(const char* name, const T* values, size_t count) {
    std::printf("%s", name);
    for (size_t i = 0; i < count; ++i) std::printf(" %.9g", double(values[i]));
    std::printf("\n");
}

int main() {
    const Kernels& kernels = kernels_generic;
    std::printf("reads_half %d\n", kernels.reads_half);
    uint32_t bits[8];
    kernels.random_bits({{7, 9}, 3, 5}, 8, bits);
    print("random_bits", bits, 8);

    // A dense level of 5^3 nodes and a hashed one, of four features.
    const Level levels[2] = {{{5, 5, 5, 1}, {1, 5, 25, 0}, 0, 0, 0, 128},
                             {{33, 33, 33, 1}, {1, 2654435761u, 805459861u, 0}, 255, 1, 128, 256}};
    const Grid grid{2, 3, 4, levels, 384};
    const int64_t count = 37;
    std::vector<float> table = numbers(384 * 4, 1), points = numbers(count * 3, 2, 0.5f), codes(count * 8);
    for (float& x : points) x += 0.5f;
    kernels.interpolate(grid, table.data(), points.data(), count, codes.data());
    print("interpolate", codes.data(), codes.size());
    std::vector<float> to_table(384 * 4);
    kernels.interpolate_to_table(grid, codes.data(), points.data(), count, to_table.data());
    print("interpolate_to_table", to_table.data(), 64);

    std::vector<float> first = numbers(16 * 8, 4), second = numbers(16 * 16, 5), out(count * 16);
    const Network network{2, {8, 16, 16}, {first.data(), second.data()}, {}, false};
    kernels.mlp(network, {}, codes.data(), count, out.data());
    print("mlp", out.data(), out.size());
    const Network sines{2, {8, 16, 16}, {first.data(), second.data()}, {}, true};
    kernels.mlp(sines, {}, codes.data(), count, out.data());
    print("sines", out.data(), out.size());

    std::vector<float> density = numbers(count, 6, 3), dt(count, 0.1f), t(count), colour = numbers(count * 3, 7);
    for (int i = 0; i < count; ++i) density[i] = std::fabs(density[i]), t[i] = 0.1f * float(i);
    const int64_t offsets[2] = {0, 20}, counts[2] = {20, 17};
    std::vector<float> composed(2 * 5), weights(count);
    kernels.composite(2, offsets, counts, t.data(), dt.data(), density.data(), colour.data(), composed.data(), weights.data());
    print("composite", composed.data(), composed.size());

    std::vector<float> parameter = numbers(40, 8), mean(40), square(40), gradient = numbers(40, 9);
    std::vector<uint16_t> half(40);
    const Adam adam{1e-2f, 0.1f, 0.01f, 10, 100, 1e-10f, 1e-3f, false};
    kernels.adam(adam, 40, gradient.data(), parameter.data(), mean.data(), square.data(), half.data());
    print("adam", parameter.data(), 40);
    print("half", half.data(), 40);

    // Densities of a field, by its table in half precision where that is read.
    std::vector<uint16_t> half_table(table.size());
    kernels.halve(int64_t(table.size()), table.data(), half_table.data());
    const Factor factor{grid, table.data(), kernels.reads_half ? half_table.data() : nullptr, {0, 1, 2}, 0};
    const Group group{0, 1, 0};
    FusedField field{};
    field.dimensions = 3;
    field.groups = field.factors = 1, field.group = &group, field.factor = &factor, field.kept = field.codes = 8, field.frequencies = -1;
    field.density = network, field.colour = {1, {32, 3}, {first.data()}, {}, false}, field.degree = 4;
    for (int d = 0; d < 3; ++d) field.centre[d] = 0.5f, field.axes[4 * d] = 2;
    field.low = -15, field.high = 15, field.per_length = 1, field.least_transmittance = 1e-4f;
    std::vector<float> densities(count);
    kernels.density(field, points.data(), nullptr, count, densities.data());
    print("density", densities.data(), densities.size());
    return 0;
}
