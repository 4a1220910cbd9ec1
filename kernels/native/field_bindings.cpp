// A fused field as Python sees it, polyfield._core.Field: it keeps a field's tensors, trains them and draws pictures.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

#include "bindings.hpp"
#include "occupancy.hpp"

namespace polyfield {
namespace {

const float* data_of(const std::optional<Floats>& given) { return given ? given->data() : nullptr; }

WorldRays world_rays_of(const Floats& origins, const Floats& directions, const Floats& jitter,
                        const std::optional<Floats>& times, float near, float step, float cone) {
    return {int64_t(origins.shape(0)), origins.data(), directions.data(), jitter.data(), data_of(times), near, step, cone};
}

// Of every factor of a group its grid, its table, the table in half precision, which whoever changes the table keeps true,
// and its axes.
typedef std::tuple<const GridOf*, Floats, Halves, std::vector<int>> TableOf;
typedef std::vector<TableOf> GroupOf;
// Of radial basis functions the weights, centres and shapes, the leaves and boxes of their tree, and whether they are linear.
typedef std::tuple<Floats, Floats, Floats, Floats, Floats, bool> RadialOf;

// A field whose tensors live elsewhere and may change between calls.
struct FieldOf {
    std::vector<GroupOf> given;  // keeps the arrays
    std::optional<TableOf> modulated;
    std::optional<RadialOf> functions;
    RadialBasis radial{};
    Layers density, biases, colour;
    std::vector<std::vector<Level>> levels;
    std::vector<Group> groups;
    std::vector<Factor> factors;
    std::vector<float*> tables;
    std::vector<uint16_t*> halves;
    FusedField field{};

    FieldOf(const std::vector<GroupOf>& given, const std::optional<TableOf>& modulated, bool normed,
            const std::optional<RadialOf>& functions, bool summed, int frequencies, Layers density, Layers biases, Layers colour, int degree,
               const std::vector<float>& centre, const std::vector<float>& axes, bool timed, bool contraction,
               float low, float high, float per_length, float least_transmittance, float least_share)
        : given(given), modulated(modulated), functions(functions), density(density), biases(biases), colour(colour) {
        int column = 0;
        for (const GroupOf& group : given) {
            groups.push_back({int(factors.size()), int(group.size()), column});
            int width = 0;
            for (const TableOf& each : group) {
                width = add_factor(each);
                if (!summed) field.kept += width;
            }
            if (summed) field.kept += width;
            column += width;
        }
        field.frequencies = frequencies, field.frequency_column = column;
        field.codes = column + (frequencies < 0 ? 0 : (int(centre.size()) + timed) * (1 + 2 * frequencies));
        field.late = density.empty() && degree ? int(given.size()) - 1 : 0;
        field.groups = int(groups.size()), field.group = groups.data(), field.summed = summed;
        if (modulated) field.kept += add_factor(*modulated);
        field.factors = int(factors.size()), field.factor = factors.data();
        field.density = network_of(density, biases, false), field.colour = network_of(colour, {}, false);
        field.modulated = modulated ? &factors.back() : nullptr;
        field.modulation = {nullptr, modulated ? field.modulations() / (2 * (field.density.layers - 1)) : 1, normed};
        if (functions) add_radial(*functions);
        if (field.radial_codes()) field.radial_column = field.codes, field.codes += radial.features;
        field.dimensions = int(centre.size()), field.timed = timed;
        field.degree = degree, field.contraction = contraction;
        for (int i = 0; i < field.dimensions; ++i) {
            field.centre[i] = centre[i];
            std::copy_n(axes.begin() + i * field.dimensions, field.dimensions, field.axes + i * 3);
        }
        field.low = low, field.high = high, field.per_length = per_length;
        field.least_transmittance = least_transmittance, field.least_share = least_share;
    }

    // Returns the numbers of its code.
    int add_factor(const TableOf& from) {
        const auto& [grid, table, half, axis] = from;
        levels.push_back(grid->levels);
        Factor factor{grid->grid, table.data(), nullptr, {}, field.kept};
        factor.grid.level = levels.back().data();
        std::copy(axis.begin(), axis.end(), factor.axis);
        factors.push_back(factor);
        tables.push_back(const_cast<float*>(table.data())), halves.push_back(const_cast<uint16_t*>(half.data()));
        return grid->grid.levels * grid->grid.features;
    }

    void add_radial(const RadialOf& from) {
        const auto& [weights, centres, shapes, leaves, boxes, linear] = from;
        radial = {int64_t(weights.shape(0)), int(centres.shape(1)), 1 << centres.shape(1), int(weights.shape(1)),
                  int(shapes.shape(1)),      linear,                weights.data(),        centres.data(),
                  shapes.data(),             nullptr};
        field.radial = &radial, field.tree = {int64_t(leaves.shape(0)), leaves.data(), boxes.data()};
    }

    // The field as it is read now: in half precision only if the instruction set in use does. A modulation is not a table of
    // features, which files hold in half precision.
    const FusedField& now() {
        for (size_t f = 0; f < factors.size(); ++f)
            factors[f].half_table = kernels->reads_half && &factors[f] != field.modulated ? halves[f] : nullptr;
        return field;
    }

    // Of the tables and the layers, density network first, with its biases behind its weights, then weights of radial basis functions.
    float* tensor(size_t index) {
        if (index < tables.size()) return tables[index];
        index -= tables.size();
        for (Layers* part : {&density, &biases}) {
            if (index < part->size()) return (*part)[index].data();
            index -= part->size();
        }
        if (!functions) return colour[index].data();
        return index ? colour[index - 1].data() : const_cast<float*>(radial.weights);
    }

    void refresh() {
        for (size_t f = 0; f < factors.size(); ++f) {
            const Grid& grid = factors[f].grid;
            kernels->halve(grid.entries * grid.features, tables[f], halves[f]);
        }
    }
};

// What a step does with gradients: it returns them, or moves the tensors. Keeps what a Descent points to.
struct Moves {
    std::vector<float*> tables;
    std::vector<TensorStep> steps;

    // Settings and moments. Muon has no second moment. None where a tensor stays.
    typedef std::vector<std::optional<std::tuple<const Adam*, const Muon*, Floats, std::optional<Floats>>>> Given;

    Moves(FieldOf& field, const Layers& to_tables, const Given& given, const Layers& to_density, const Layers& to_biases,
          const Layers& to_radial, const Layers& to_colour, Descent& descent) {
        for (const Floats& each : to_tables) tables.push_back(const_cast<float*>(each.data()));
        for (const auto& step : given) {
            if (!step) {
                steps.push_back({});
                continue;
            }
            const auto& [adam, muon, mean, square] = *step;
            steps.push_back({adam ? *adam : Adam{}, field.tensor(steps.size()), mean.data(), square ? square->data() : nullptr,
                             muon ? *muon : Muon{}});
        }
        descent.to_table = tables.data();
        descent.steps = steps.empty() ? nullptr : steps.data();
        descent.half = field.halves.data();
        for (size_t l = 0; l < to_density.size(); ++l) descent.to_density[l] = to_density[l].data();
        descent.to_radial = to_radial.empty() ? nullptr : to_radial[0].data();
        for (size_t l = 0; l < to_biases.size(); ++l) descent.to_bias[l] = to_biases[l].data();
        for (size_t l = 0; l < to_colour.size(); ++l) descent.to_colour[l] = to_colour[l].data();
    }
};

QueryPoints points_of(const Floats& points, const std::optional<Floats>& directions, const std::optional<Floats>& times) {
    return {int64_t(points.shape(0)), points.data(), data_of(directions), data_of(times)};
}

nb::dict figures(const Losses& losses) {
    nb::dict d;
    d["loss"] = losses.loss;
    d["evaluated"] = losses.evaluated, d["shaded"] = losses.shaded, d["finite"] = losses.finite;
    return d;
}

}  // namespace

void bind_field(nb::module_& m) {
    nb::class_<FieldOf>(m, "Field")
        .def(nb::init<const std::vector<GroupOf>&, const std::optional<TableOf>&, bool, const std::optional<RadialOf>&, bool, int, Layers,
                      Layers, Layers, int,
                      const std::vector<float>&, const std::vector<float>&, bool, bool, float, float, float, float, float>(),
             "groups"_a.noconvert(), "modulation"_a.noconvert().none(), "normed"_a, "radial"_a.noconvert().none(), "summed"_a, "frequencies"_a,
             "density"_a.noconvert(), "biases"_a.noconvert(), "colour"_a.noconvert(),
             "degree"_a, "centre"_a, "axes"_a, "timed"_a, "contraction"_a, "low"_a, "high"_a, "per_length"_a, "least_transmittance"_a,
             "least_share"_a)
        .def("train", [](FieldOf& self, Floats origins, Floats directions, Floats jitter, std::optional<Floats> times,
                         float near, float step, float cone, const OccupancyOf& grid, Floats target,
                         Floats background, float huber, Floats errors, const Layers& to_tables,
                         const Moves::Given& steps, const Layers& to_density, const Layers& to_biases,
                         const Layers& to_radial, const Layers& to_colour) {
            Losses losses;
            {
                Call call;
                Training training{};
                training.target = target.data(), training.background = background.data(), training.huber = huber;
                training.errors = errors.data();
                Moves moves(self, to_tables, steps, to_density, to_biases, to_radial, to_colour, training);
                losses = kernels->train(self.now(), world_rays_of(origins, directions, jitter, times, near, step, cone),
                                        grid.grid, training);
            }
            return figures(losses);
        }, "origins"_a.noconvert(), "directions"_a.noconvert(), "jitter"_a.noconvert(), "times"_a.noconvert().none(), "near"_a,
           "step"_a, "cone"_a, "grid"_a, "target"_a.noconvert(),
           "background"_a.noconvert(), "huber"_a, "errors"_a.noconvert(), "to_tables"_a.noconvert(),
           "steps"_a.noconvert(), "to_density"_a.noconvert(), "to_biases"_a.noconvert(),
           "to_radial"_a.noconvert(), "to_colour"_a.noconvert())
        .def("train_points", [](FieldOf& self, Floats points, std::optional<Floats> directions, std::optional<Floats> times,
                                const std::vector<std::optional<Floats>>& targets,
                                const std::vector<std::tuple<int, int, float, float, float>>& terms, Floats errors,
                                const Layers& to_tables, const Moves::Given& steps, const Layers& to_density,
                                const Layers& to_biases, const Layers& to_radial, const Layers& to_colour) {
            Losses losses;
            {
                Call call;
                PointTraining training{};
                for (int part = 0; part < PARTS; ++part) training.target[part] = targets[part] ? targets[part]->data() : nullptr;
                std::vector<PointTerm> given;
                for (const auto& [part, measure, weight, low, high] : terms)
                    given.push_back({Part(part), Measure(measure), weight, low, high});
                training.terms = int(given.size()), training.term = given.data();
                training.errors = errors.data();
                Moves moves(self, to_tables, steps, to_density, to_biases, to_radial, to_colour, training);
                losses = kernels->train_points(self.now(), points_of(points, directions, times), training);
            }
            return figures(losses);
        }, "points"_a.noconvert(), "directions"_a.noconvert().none(), "times"_a.noconvert().none(), "targets"_a.noconvert(), "terms"_a, "errors"_a.noconvert(),
           "to_tables"_a.noconvert(), "steps"_a.noconvert(), "to_density"_a.noconvert(), "to_biases"_a.noconvert(),
           "to_radial"_a.noconvert(), "to_colour"_a.noconvert())
        .def("evaluate", [](FieldOf& self, Floats points, std::optional<Floats> directions, std::optional<Floats> times,
                            Floats latent, Floats colour) {
            Call call;
            kernels->evaluate(self.now(), points_of(points, directions, times), latent.data(), colour.data());
        }, "points"_a.noconvert(), "directions"_a.noconvert().none(), "times"_a.noconvert().none(), "latent"_a.noconvert(), "colour"_a.noconvert())
        .def("refresh", [](FieldOf& self) {
            Call call;
            self.refresh();
        }, "Takes note that tables have changed.")
        .def("density", [](FieldOf& self, Floats points, std::optional<Floats> times, Floats out) {
            Call call;
            kernels->density(self.now(), points.data(), data_of(times), int64_t(out.size()), out.data());
        }, "points"_a.noconvert(), "times"_a.noconvert().none(), "out"_a.noconvert())
        .def("render", [](FieldOf& self, Floats origins, Floats directions, Floats jitter, std::optional<Floats> times,
                          float near, float step, float cone, const OccupancyOf& grid, Floats colour, Floats opacity,
                          Floats depth) {
            Losses losses;
            {
                Call call;
                Picture picture{colour.data(), opacity.data(), depth.data()};
                losses = kernels->render(self.now(), world_rays_of(origins, directions, jitter, times, near, step, cone),
                                         grid.grid, picture);
            }
            return figures(losses);
        }, "origins"_a.noconvert(), "directions"_a.noconvert(), "jitter"_a.noconvert(), "times"_a.noconvert().none(), "near"_a,
           "step"_a, "cone"_a, "grid"_a, "colour"_a.noconvert(), "opacity"_a.noconvert(), "depth"_a.noconvert());
}

}  // namespace polyfield
