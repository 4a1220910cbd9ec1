// Bindings of radial basis functions: the search for nearest centres, and the sums of kernels with their gradients.
#include <nanobind/stl/optional.h>

#include <optional>

#include "bindings.hpp"

using namespace polyfield;

namespace {

RadialBasis basis_of(const Floats& weights, const Floats& centres, const Floats& shapes, const std::optional<Floats>& multipliers,
                     const Integers32& neighbours, bool linear) {
    return {int64_t(weights.shape(0)), int(centres.shape(1)), int(neighbours.shape(1)), int(weights.shape(1)),
            int(shapes.shape(1)),      linear,                weights.data(),           centres.data(),
            shapes.data(),             multipliers ? multipliers->data() : nullptr};
}

}  // namespace

void polyfield::bind_rbf(nb::module_& m) {
    m.def("nearest", [](Floats leaves, Floats boxes, Floats points, Integers32 out) {
        Call call;
        const Branches tree{int64_t(leaves.shape(0)), leaves.data(), boxes.data()};
        kernels->nearest(tree, int(points.shape(1)), points.data(), int64_t(points.shape(0)), int(out.shape(1)), out.data());
    }, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert());
    m.def("rbf", [](Floats weights, Floats points, Integers32 neighbours, Floats centres, Floats shapes,
                    std::optional<Floats> multipliers, bool linear, Floats shares, Floats out) {
        Call call;
        kernels->rbf(basis_of(weights, centres, shapes, multipliers, neighbours, linear), points.data(), neighbours.data(),
                     int64_t(points.shape(0)), shares.data(), out.data());
    }, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(),
       nb::arg().noconvert().none(), nb::arg(), nb::arg().noconvert(), nb::arg().noconvert());
    m.def("rbf_backward", [](Floats weights, Floats points, Integers32 neighbours, Floats centres, Floats shapes,
                             std::optional<Floats> multipliers, bool linear, Floats shares, Floats gradient,
                             std::optional<Floats> to_weights, std::optional<Floats> to_points) {
        Call call;
        const RadialBasis basis = basis_of(weights, centres, shapes, multipliers, neighbours, linear);
        const int64_t count = int64_t(points.shape(0));
        if (to_weights)
            kernels->rbf_to_weights(basis, neighbours.data(), shares.data(), gradient.data(), count, to_weights->data());
        if (to_points)
            kernels->rbf_to_points(basis, points.data(), neighbours.data(), gradient.data(), count, to_points->data());
    }, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(),
       nb::arg().noconvert().none(), nb::arg(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert().none(),
       nb::arg().noconvert().none());
}
