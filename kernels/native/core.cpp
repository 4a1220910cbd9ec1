// The native extension as Python sees it, polyfield._core: arrays in, the kernels of the instruction set in use, arrays out.
//
// This file binds the single operations; field_bindings.cpp binds the fused radiance.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#if !defined(_WIN32)
#include <pthread.h>
#endif

#include <new>

#include "bindings.hpp"
#include "marched.hpp"
#include "occupancy.hpp"
#include "pool.hpp"

using namespace polyfield;

namespace {

Buffer limits_memory;  // that random reads and updates go to

// Those that this CPU can run, the fastest first.
std::vector<const Kernels*> runnable() {
    std::vector<const Kernels*> found;
#if POLYFIELD_X86
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    // AMD's chips multiply bfloat16 twice as fast as single precision, Intel's half as fast (but for their matrix units).
    const bool brain = avx512 && __builtin_cpu_supports("avx512bf16"), fast = __builtin_cpu_is("amd");
    if (brain && fast) found.push_back(&kernels_avx512bf16);
    if (avx512) found.push_back(&kernels_avx512);
    if (brain && !fast) found.push_back(&kernels_avx512bf16);
    if (avx2) found.push_back(&kernels_avx2);
#endif
    found.push_back(&kernels_generic);
    return found;
}

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

Rays rays_of(const Floats& origins, const Floats& directions, const Floats& near, const Floats& far,
             const Floats& jitter, float step, float cone) {
    return {int64_t(origins.shape(0)), origins.data(), directions.data(), near.data(), far.data(), jitter.data(), step,
            cone};
}

}  // namespace

const Kernels* polyfield::kernels = runnable().front();
std::mutex polyfield::calls;

// A child that is forked while another thread is in a kernel would wait for that thread, which it does not have.
static void renew_calls() { new (&calls) std::mutex; }

NB_MODULE(_core, m) {
#if !defined(_WIN32)
    pthread_atfork([] { calls.lock(); }, [] { calls.unlock(); }, renew_calls);
#endif
    m.doc() = "Native parts of polyfield.";
    m.attr("MAX_LAYERS") = MAX_LAYERS;
    m.attr("MAX_FACTORS") = MAX_FACTORS;
    m.def("instruction_sets", &instruction_sets, "The instruction sets that this CPU runs, widest first.");
    m.def("instruction_set", [] { return std::string(kernels->name); }, "The one in use.");
    m.def("use", &use, "name"_a, "Changes the instruction set; false if this CPU does not run it.");
    m.def("threads", &threads, "Threads in use.");
    m.def("set_threads", [](int count) { std::lock_guard<std::mutex> turn(calls); set_threads(count); }, "count"_a,
          "Changes them; 0 for as many as the process may keep busy.");

    nb::class_<GridOf>(m, "Grid")
        .def(nb::init<const std::vector<std::tuple<std::vector<int>, std::vector<uint32_t>, bool, int64_t, int64_t>>&,
                      int, const std::optional<Integers32>&>(),
             nb::arg(), nb::arg(), nb::arg().noconvert().none());
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

    m.def("mlp", [](Floats x, const Layers& weights, const Layers& biases, bool sine, std::optional<Floats> modulation,
                    bool normed, Floats out) {
        Call call;
        kernels->mlp(network_of(weights, biases, sine), modulation_of(modulation, normed), x.data(),
                     int64_t(x.shape(0)), out.data());
    }, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg(), nb::arg().noconvert().none(),
       nb::arg(), nb::arg().noconvert());
    m.def("mlp_backward", [](Floats x, const Layers& weights, const Layers& biases, bool sine,
                             std::optional<Floats> modulation, bool normed, Floats gradient, std::optional<Floats> to_x,
                             std::optional<Floats> to_modulation, const Layers& to_weights, const Layers& to_biases) {
        Call call;
        float *to_weight[MAX_LAYERS], *to_bias[MAX_LAYERS];
        for (size_t l = 0; l < to_weights.size(); ++l) to_weight[l] = to_weights[l].data();
        for (size_t l = 0; l < to_biases.size(); ++l) to_bias[l] = to_biases[l].data();
        kernels->mlp_backward(network_of(weights, biases, sine), modulation_of(modulation, normed), x.data(),
                              gradient.data(), int64_t(x.shape(0)), to_x ? to_x->data() : nullptr,
                              to_modulation ? to_modulation->data() : nullptr, to_weight,
                              to_biases.empty() ? nullptr : to_bias);
    }, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg(), nb::arg().noconvert().none(),
       nb::arg(), nb::arg().noconvert(), nb::arg().noconvert().none(), nb::arg().noconvert().none(),
       nb::arg().noconvert(), nb::arg().noconvert());

    bind_rbf(m);

    nb::class_<MarchOf>(m, "March")
        .def("__init__", [](MarchOf* self, Floats origins, Floats directions, Floats near, Floats far, Floats jitter,
                            float step, float cone, const OccupancyOf& grid, Integers counts) {
            new (self) MarchOf(*kernels, rays_of(origins, directions, near, far, jitter, step, cone), grid.grid,
                               counts.data());
        }, "origins"_a.noconvert(), "directions"_a.noconvert(), "near"_a.noconvert(), "far"_a.noconvert(),
           "jitter"_a.noconvert(), "step"_a, "cone"_a, "grid"_a, "counts"_a.noconvert())
        .def("write", [](const MarchOf& self, Floats t, Floats dt) {
            nb::gil_scoped_release released;
            self.write(t.data(), dt.data());
        },
             "t"_a.noconvert(), "dt"_a.noconvert());

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
    nb::class_<Muon>(m, "Muon").def("__init__", [](Muon* self, double learning_rate, double momentum) {
        new (self) Muon{float(learning_rate), float(momentum)};
    }, "learning_rate"_a, "momentum"_a);
    m.def("muon", [](const Muon& muon, Floats parameter, Floats gradient, Floats mean) {
        Call call;
        const int64_t rows = int64_t(parameter.shape(parameter.ndim() - 2)), columns = int64_t(parameter.shape(parameter.ndim() - 1));
        const int64_t bank = parameter.size() ? int64_t(parameter.size()) / (rows * columns) : 0;
        kernels->muon(muon, bank, int(rows), int(columns), gradient.data(), parameter.data(), mean.data());
    }, nb::arg(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert());
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

    bind_field(m);
}
