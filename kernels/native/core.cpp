// The native extension as Python sees it, polyfield._core: arrays in, the kernels of the instruction set in use, arrays out.
//
// Arrays are taken as they are, never copied or converted; Python's wrappers in this folder see to shapes and types.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "kernels.hpp"
#include "pool.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace polyfield;

namespace {

typedef nb::ndarray<float, nb::c_contig, nb::device::cpu> Floats;
typedef nb::ndarray<int64_t, nb::c_contig, nb::device::cpu> Integers;
typedef nb::ndarray<uint16_t, nb::c_contig, nb::device::cpu> Halves;
typedef nb::ndarray<int32_t, nb::c_contig, nb::device::cpu> Integers32;
typedef nb::ndarray<uint8_t, nb::c_contig, nb::device::cpu> Bytes;
typedef std::vector<Floats> Layers;

Buffer limits_memory;  // that random reads and updates go to
std::mutex calls;  // kernels share threads and memory, so calls take turns

struct Call {  // holds them off each other, and lets Python's other threads run
    nb::gil_scoped_release released;
    std::lock_guard<std::mutex> turn{calls};
};

std::vector<const Kernels*> runnable() {
    std::vector<const Kernels*> found;
#if POLYFIELD_X86
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx512 && __builtin_cpu_supports("avx512bf16")) found.push_back(&kernels_avx512bf16);
    if (avx512) found.push_back(&kernels_avx512);
    if (avx2) found.push_back(&kernels_avx2);
#endif
    found.push_back(&kernels_generic);
    return found;
}

const Kernels* kernels = runnable().front();

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const Kernels* each : runnable()) names.push_back(each->name);
    return names;
}

bool use(const std::string& name) {
    for (const Kernels* each : runnable())
        if (name == each->name) return kernels = each, true;
    return false;
}

struct GridOf {
    std::vector<Level> levels;
    Grid grid;

    // Each level as (nodes, strides, hashed, offset, size).
    GridOf(const std::vector<std::tuple<std::vector<int>, std::vector<uint32_t>, bool, int64_t, int64_t>>& given,
           int features) {
        int64_t entries = 0;
        for (const auto& [nodes, strides, hashed, offset, size] : given) {
            Level level{};
            for (size_t d = 0; d < nodes.size(); ++d) level.nodes[d] = nodes[d], level.stride[d] = strides[d];
            level.hashed = hashed, level.offset = offset, level.size = size, level.mask = uint32_t(size - 1);
            levels.push_back(level);
            entries = offset + size;
        }
        grid = {int(levels.size()), int(std::get<0>(given[0]).size()), features, levels.data(), entries};
    }
};

struct OccupancyOf {
    std::vector<uint64_t> bricks, blocks;
    Occupancy grid;

    // The box round the first cascade's occupied bricks, in its frame and a little wider than rounding asks for.
    void bound() {
        int low[3] = {grid.bricks, grid.bricks, grid.bricks}, high[3] = {0, 0, 0};
        for (int i = 0; i < grid.bricks * grid.bricks * grid.bricks; ++i) {
            if (!grid.brick[i]) continue;
            int at[3] = {i % grid.bricks, i / grid.bricks % grid.bricks, i / grid.bricks / grid.bricks};
            for (int d = 0; d < 3; ++d) low[d] = std::min(low[d], at[d]), high[d] = std::max(high[d], at[d] + 1);
        }
        for (int d = 0; d < 3; ++d) {
            grid.low[d] = float(low[d]) * 8 / float(grid.cells) - 1 - 1e-4f;
            grid.high[d] = float(high[d]) * 8 / float(grid.cells) - 1 + 1e-4f;
        }
    }

    // occupied (K, G, G, G), 0 or 1.
    explicit OccupancyOf(const Bytes& occupied) {
        Call call;
        int64_t K = occupied.shape(0), G = occupied.shape(1), S = (G + 15) / 16, B = S * 4;
        const uint8_t* from = occupied.data();
        bricks.assign(K * B * B * B, 0), blocks.assign(K * S * S * S, 0);
        struct Pack {
            const uint8_t* from;
            uint64_t *bricks, *blocks;
            int64_t G, S, B;
            static void slab(void* context, int64_t index, int) {
                const Pack& p = *static_cast<Pack*>(context);
                int64_t k = index / p.S, bz = index % p.S;
                for (int64_t z = bz * 16; z < bz * 16 + 16 && z < p.G; ++z)
                    for (int64_t y = 0; y < p.G; ++y) {
                        const uint8_t* row = p.from + ((k * p.G + z) * p.G + y) * p.G;
                        uint64_t* words = p.bricks + ((k * p.B + z / 4) * p.B + y / 4) * p.B;
                        int64_t shift = (z & 3) << 4 | (y & 3) << 2;
                        for (int64_t x = 0; x < p.G; ++x) words[x >> 2] |= uint64_t(row[x] != 0) << (shift | (x & 3));
                    }
                for (int64_t z = bz * 4; z < bz * 4 + 4; ++z)
                    for (int64_t y = 0; y < p.B; ++y)
                        for (int64_t x = 0; x < p.B; ++x) {
                            bool any = p.bricks[((k * p.B + z) * p.B + y) * p.B + x] != 0;
                            p.blocks[((k * p.S + z / 4) * p.S + y / 4) * p.S + x / 4] |=
                                uint64_t(any) << ((z & 3) << 4 | (y & 3) << 2 | (x & 3));
                        }
            }
        } pack{from, bricks.data(), blocks.data(), G, S, B};
        run_tasks(K * S, Pack::slab, &pack);
        grid = {int(K), int(G), int(B), int(S), bricks.data(), blocks.data(), {}, {}};
        bound();
    }
};

Network network_of(const Layers& weights, const Layers& biases, bool sine) {
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

Rays rays_of(const Floats& origins, const Floats& directions, const Floats& near, const Floats& far,
             const Floats& jitter, float step, float cone) {
    return {int64_t(origins.shape(0)), origins.data(), directions.data(), near.data(), far.data(), jitter.data(), step,
            cone};
}

WorldRays world_rays_of(const Floats& origins, const Floats& directions, const Floats& jitter, float near, float step,
                        float cone) {
    return {int64_t(origins.shape(0)), origins.data(), directions.data(), jitter.data(), near, step, cone};
}

// Of every factor of a group its grid, its table, the table in half precision, which whoever changes the table keeps true,
// and its axes.
typedef std::vector<std::tuple<const GridOf*, Floats, Halves, std::vector<int>>> GroupOf;

// A radiance field whose tensors live elsewhere and may change between calls.
struct RadianceOf {
    std::vector<GroupOf> given;  // keeps the arrays
    Layers density, colour;
    std::vector<std::vector<Level>> levels;
    std::vector<Group> groups;
    std::vector<Factor> factors;
    std::vector<float*> tables;
    std::vector<uint16_t*> halves;
    RadianceField field{};

    RadianceOf(const std::vector<GroupOf>& given, bool summed, int frequencies, Layers density, Layers colour, int degree,
               const std::vector<float>& centre, const std::vector<float>& axes, bool contraction, float low, float high,
               float per_length, float least_transmittance, float least_share)
        : given(given), density(density), colour(colour) {
        int column = 0;
        for (const GroupOf& group : given) {
            groups.push_back({int(factors.size()), int(group.size()), column});
            int width = 0;
            for (const auto& [grid, table, half, axis] : group) {
                levels.push_back(grid->levels);
                Factor factor{grid->grid, table.data(), nullptr, {}, field.kept};
                factor.grid.level = levels.back().data();
                std::copy(axis.begin(), axis.end(), factor.axis);
                width = grid->grid.levels * grid->grid.features;
                if (!summed) field.kept += width;
                factors.push_back(factor);
                tables.push_back(const_cast<float*>(table.data())), halves.push_back(const_cast<uint16_t*>(half.data()));
            }
            if (summed) field.kept += width;
            column += width;
        }
        field.frequencies = frequencies, field.frequency_column = column;
        field.groups = int(groups.size()), field.group = groups.data(), field.summed = summed;
        field.factors = int(factors.size()), field.factor = factors.data();
        field.density = network_of(density, {}, false), field.colour = network_of(colour, {}, false);
        field.degree = degree, field.contraction = contraction;
        std::copy_n(centre.begin(), 3, field.centre), std::copy_n(axes.begin(), 9, field.axes);
        field.low = low, field.high = high, field.per_length = per_length;
        field.least_transmittance = least_transmittance, field.least_share = least_share;
    }

    // The field as it is read now: in half precision only if the instruction set in use does.
    const RadianceField& now() {
        for (size_t f = 0; f < factors.size(); ++f) factors[f].half_table = kernels->reads_half ? halves[f] : nullptr;
        return field;
    }

    // Of the tables and the layers, density network first.
    float* tensor(size_t index) {
        if (index < tables.size()) return tables[index];
        index -= tables.size();
        return index < density.size() ? density[index].data() : colour[index - density.size()].data();
    }

    void refresh() {
        for (size_t f = 0; f < factors.size(); ++f) {
            const Grid& grid = factors[f].grid;
            kernels->halve(grid.entries * grid.features, tables[f], halves[f]);
        }
    }
};

nb::dict figures(const Losses& losses) {
    nb::dict d;
    d["loss"] = losses.loss;
    d["evaluated"] = losses.evaluated, d["shaded"] = losses.shaded, d["finite"] = losses.finite;
    return d;
}

}  // namespace

NB_MODULE(_core, m) {
    m.doc() = "Native parts of polyfield.";
    m.def("instruction_sets", &instruction_sets, "The instruction sets that this CPU runs, widest first.");
    m.def("instruction_set", [] { return std::string(kernels->name); }, "The one in use.");
    m.def("use", &use, "name"_a, "Changes the instruction set; false if this CPU does not run it.");
    m.def("threads", &threads, "Threads in use.");
    m.def("set_threads", [](int count) { std::lock_guard<std::mutex> turn(calls); set_threads(count); }, "count"_a,
          "Changes them; 0 for as many as the process may keep busy.");

    nb::class_<GridOf>(m, "Grid")
        .def(nb::init<const std::vector<std::tuple<std::vector<int>, std::vector<uint32_t>, bool, int64_t, int64_t>>&,
                      int>());
    nb::class_<OccupancyOf>(m, "Occupancy").def(nb::init<const Bytes&>(), nb::arg().noconvert());

    m.def("interpolate", [](const GridOf& grid, Floats table, Floats points, Floats out) {
        Call call;
        kernels->interpolate(grid.grid, table.data(), points.data(), int64_t(points.shape(0)), out.data());
    }, nb::arg(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert());
    m.def("interpolate_to_table", [](const GridOf& grid, Floats gradient, Floats points, Floats to_table) {
        Call call;
        kernels->interpolate_to_table(grid.grid, gradient.data(), points.data(), int64_t(points.shape(0)),
                                      to_table.data());
    }, nb::arg(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert());
    m.def("interpolate_to_points", [](const GridOf& grid, Floats table, Floats gradient, Floats points, Floats to) {
        Call call;
        kernels->interpolate_to_points(grid.grid, table.data(), gradient.data(), points.data(),
                                       int64_t(points.shape(0)), to.data());
    }, nb::arg(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert());

    m.def("mlp", [](Floats x, const Layers& weights, const Layers& biases, bool sine, Floats out) {
        Call call;
        kernels->mlp(network_of(weights, biases, sine), x.data(), int64_t(x.shape(0)), out.data());
    }, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg(), nb::arg().noconvert());
    m.def("mlp_backward", [](Floats x, const Layers& weights, const Layers& biases, bool sine, Floats gradient,
                             std::optional<Floats> to_x, const Layers& to_weights, const Layers& to_biases) {
        Call call;
        float *to_weight[MAX_LAYERS], *to_bias[MAX_LAYERS];
        for (size_t l = 0; l < to_weights.size(); ++l) to_weight[l] = to_weights[l].data();
        for (size_t l = 0; l < to_biases.size(); ++l) to_bias[l] = to_biases[l].data();
        kernels->mlp_backward(network_of(weights, biases, sine), x.data(), gradient.data(), int64_t(x.shape(0)),
                              to_x ? to_x->data() : nullptr, to_weight, to_biases.empty() ? nullptr : to_bias);
    }, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg(), nb::arg().noconvert(),
       nb::arg().noconvert().none(), nb::arg().noconvert(), nb::arg().noconvert());

    m.def("march", [](Floats origins, Floats directions, Floats near, Floats far, Floats jitter, float step, float cone,
                      const OccupancyOf& grid, Integers counts, std::optional<Integers> offsets,
                      std::optional<Floats> t, std::optional<Floats> dt) {
        Call call;
        kernels->march(rays_of(origins, directions, near, far, jitter, step, cone), grid.grid, counts.data(),
                       offsets ? offsets->data() : nullptr, t ? t->data() : nullptr, dt ? dt->data() : nullptr);
    }, "origins"_a.noconvert(), "directions"_a.noconvert(), "near"_a.noconvert(), "far"_a.noconvert(),
       "jitter"_a.noconvert(), "step"_a, "cone"_a, "grid"_a, "counts"_a.noconvert(),
       "offsets"_a.noconvert().none() = nb::none(), "t"_a.noconvert().none() = nb::none(),
       "dt"_a.noconvert().none() = nb::none());

    m.def("transmittance", [](Integers offsets, Integers counts, Floats density, Floats dt, Floats out) {
        Call call;
        kernels->transmittance(int64_t(counts.size()), offsets.data(), counts.data(), density.data(), dt.data(),
                               out.data());
    }, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(),
       nb::arg().noconvert());
    m.def("composite", [](Integers offsets, Integers counts, Floats t, Floats dt, Floats density, Floats colour,
                          Floats out, Floats weights) {
        Call call;
        kernels->composite(int64_t(counts.size()), offsets.data(), counts.data(), t.data(), dt.data(), density.data(),
                           colour.data(), out.data(), weights.data());
    }, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(),
       nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert());
    m.def("composite_backward", [](Integers offsets, Integers counts, Floats t, Floats dt, Floats density,
                                   Floats colour, Floats to_out, Floats to_weights, Floats to_density,
                                   Floats to_colour) {
        Call call;
        kernels->composite_backward(int64_t(counts.size()), offsets.data(), counts.data(), t.data(), dt.data(),
                                    density.data(), colour.data(), to_out.data(), to_weights.data(),
                                    to_density.data(), to_colour.data());
    }, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(),
       nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(),
       nb::arg().noconvert(), nb::arg().noconvert());

    nb::class_<Adam>(m, "Adam").def("__init__", [](Adam* self, double learning_rate, double mean_share,
                                                   double square_share, double mean_correction,
                                                   double square_correction, double eps, double decay, bool sparse) {
        new (self) Adam{float(learning_rate),     float(mean_share), float(square_share), float(mean_correction),
                        float(square_correction), float(eps),        float(decay),        sparse};
    }, "learning_rate"_a, "mean_share"_a, "square_share"_a, "mean_correction"_a, "square_correction"_a, "eps"_a,
       "decay"_a, "sparse"_a);
    m.def("adam", [](const Adam& adam, Floats parameter, Floats gradient, Floats mean, Floats square,
                     std::optional<Halves> half) {
        Call call;
        kernels->adam(adam, int64_t(parameter.size()), gradient.data(), parameter.data(), mean.data(), square.data(),
                      half ? half->data() : nullptr);
    }, nb::arg(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(),
       nb::arg().noconvert().none());
    m.def("random_bits", [](uint64_t seed, uint32_t name, uint32_t step, Integers32 bits) {
        Call call;
        Stream stream{{uint32_t(seed), uint32_t(seed >> 32)}, name, step};
        kernels->random_bits(stream, int64_t(bits.size()), reinterpret_cast<uint32_t*>(bits.data()));
    }, nb::arg(), nb::arg(), nb::arg(), nb::arg().noconvert());

    m.def("settle", [](Floats memory) { settle(memory.data(), memory.nbytes()); }, nb::arg().noconvert(),
          "Asks for huge pages under memory that will long be read at random.");
    m.def("weighted", [](uint64_t seed, uint32_t name, uint32_t step, Bytes weights, int64_t tries, Integers index,
                         Bytes of_index) {
        Call call;
        Stream stream{{uint32_t(seed), uint32_t(seed >> 32)}, name, step};
        return kernels->weighted(stream, weights.data(), int64_t(weights.size()), tries, int64_t(index.size()),
                                 index.data(), of_index.data());
    }, nb::arg(), nb::arg(), nb::arg(), nb::arg().noconvert(), nb::arg(), nb::arg().noconvert(), nb::arg().noconvert());
    m.def("gather", [](const std::vector<Bytes>& parts, const std::vector<int64_t>& sizes, Integers index, Bytes out) {
        Call call;
        std::vector<const uint8_t*> data;
        std::vector<int64_t> ends;
        for (size_t k = 0; k < parts.size(); ++k) {
            data.push_back(parts[k].data());
            ends.push_back(sizes[k] + (k ? ends.back() : 0));
        }
        int64_t count = int64_t(index.size());
        if (count)
            kernels->gather(int(parts.size()), data.data(), ends.data(), int64_t(out.size()) / count, index.data(), count,
                            out.data());
    }, nb::arg().noconvert(), nb::arg(), nb::arg().noconvert(), nb::arg().noconvert());

    m.def("brain", [] { return kernels->brain; }, "Whether Radiance multiplies in bfloat16.");
    m.def("reads_half", [] { return kernels->reads_half; }, "Whether it reads its table in half precision.");
    m.def("multiply_adds", [](int64_t count, bool brain) {
        Call call;
        return kernels->multiply_adds(count, brain);
    }, "count"_a, "brain"_a = false, "Does about so many from registers, on all threads; returns how many.");
    m.def("random_reads", [](int64_t bytes, int64_t count) {
        Call call;
        bytes = std::max<int64_t>(bytes, 64);
        return kernels->random_reads(limits_memory.reserve(bytes), bytes, count);
    }, "bytes"_a, "count"_a, "About so many, of 8 bytes each.");
    m.def("random_updates", [](int64_t bytes, int64_t count) {
        Call call;
        bytes = std::max<int64_t>(bytes, 64);
        return kernels->random_updates(limits_memory.reserve(bytes * threads()), bytes, count);
    }, "bytes"_a, "count"_a, "About so many, of 16 bytes each; every thread in as many bytes of its own.");

    nb::class_<RadianceOf>(m, "Radiance")
        .def(nb::init<const std::vector<GroupOf>&, bool, int, Layers, Layers, int, const std::vector<float>&,
                      const std::vector<float>&, bool, float, float, float, float, float>(),
             "groups"_a.noconvert(), "summed"_a, "frequencies"_a, "density"_a.noconvert(), "colour"_a.noconvert(),
             "degree"_a, "centre"_a, "axes"_a, "contraction"_a, "low"_a, "high"_a, "per_length"_a, "least_transmittance"_a,
             "least_share"_a)
        .def("train", [](RadianceOf& self, Floats origins, Floats directions, Floats jitter, float near, float step,
                         float cone, const OccupancyOf& grid, Floats target,
                         Floats background, float huber, Floats errors, const Layers& to_tables,
                         const std::vector<std::tuple<const Adam*, Floats, Floats>>& steps, const Layers& to_density,
                         const Layers& to_colour) {
            Losses losses;
            {
                Call call;
                Training training{};
                training.target = target.data(), training.background = background.data(), training.huber = huber;
                training.errors = errors.data();
                std::vector<float*> tables;
                for (const Floats& each : to_tables) tables.push_back(const_cast<float*>(each.data()));
                training.to_table = tables.data();
                std::vector<TensorStep> moves;
                for (const auto& [adam, mean, square] : steps)
                    moves.push_back({*adam, self.tensor(moves.size()), mean.data(), square.data()});
                training.steps = moves.empty() ? nullptr : moves.data();
                training.half = self.halves.data();
                for (size_t l = 0; l < to_density.size(); ++l) training.to_density[l] = to_density[l].data();
                for (size_t l = 0; l < to_colour.size(); ++l) training.to_colour[l] = to_colour[l].data();
                losses = kernels->train(self.now(), world_rays_of(origins, directions, jitter, near, step, cone), grid.grid,
                                        training);
            }
            return figures(losses);
        }, "origins"_a.noconvert(), "directions"_a.noconvert(), "jitter"_a.noconvert(), "near"_a, "step"_a, "cone"_a,
           "grid"_a, "target"_a.noconvert(),
           "background"_a.noconvert(), "huber"_a, "errors"_a.noconvert(), "to_tables"_a.noconvert(),
           "steps"_a.noconvert(), "to_density"_a.noconvert(),
           "to_colour"_a.noconvert())
        .def("refresh", [](RadianceOf& self) {
            Call call;
            self.refresh();
        }, "Takes note that tables have changed.")
        .def("density", [](RadianceOf& self, Floats points, Floats out) {
            Call call;
            kernels->density(self.now(), points.data(), int64_t(out.size()), out.data());
        }, "points"_a.noconvert(), "out"_a.noconvert())
        .def("render", [](RadianceOf& self, Floats origins, Floats directions, Floats jitter, float near, float step,
                          float cone, const OccupancyOf& grid, Floats colour, Floats opacity, Floats depth) {
            Losses losses;
            {
                Call call;
                Picture picture{colour.data(), opacity.data(), depth.data()};
                losses = kernels->render(self.now(), world_rays_of(origins, directions, jitter, near, step, cone), grid.grid,
                                         picture);
            }
            return figures(losses);
        }, "origins"_a.noconvert(), "directions"_a.noconvert(), "jitter"_a.noconvert(), "near"_a, "step"_a, "cone"_a,
           "grid"_a, "colour"_a.noconvert(), "opacity"_a.noconvert(), "depth"_a.noconvert());
}
