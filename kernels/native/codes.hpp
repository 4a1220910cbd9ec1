// Points to codes, and gradients to codes back to those of every factor.
//
// A factor is a table over some of a point's axes. Codes of a group's factors are multiplied, or summed, a level and a strip
// of rows at a time; groups stand side by side, and behind them sines and cosines of the point, and sums of radial basis functions (tile_radial.hpp).
#pragma once
#include "interpolate.hpp"
#include "product.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

constexpr int STRIP = 64;  // rows of all factors of a group that are in cache together

// Gradients to codes of one tile's rows, and where they go.
struct Trace {
    Trace* next;
    int rows;
    float *x[MAX_AXES];  // (rows filled up to W,) unit coordinates
    float* to_code;  // (parts, rows, F): of every factor and level, F features after the other
    // Of radial basis functions: the rows' neighbours and their shares (rows, K), and gradients to their sums (rows, F).
    int32_t* near;
    float *shares, *to_sums;

    // Where the gradients of the F features from a factor's column on begin.
    float* part(int column) const { return to_code + size_t(column) * rows; }
};

// Calls body with the constants D and F of a factor; features go in as large parts as fill them.
template <class Body> static inline void for_factor(const Grid& grid, const Body& body) {
    auto with_features = [&](auto axes) {
        if (grid.features % 8 == 0) return body(axes, Constant<8>{});
        if (grid.features % 4 == 0) return body(axes, Constant<4>{});
        if (grid.features % 2 == 0) return body(axes, Constant<2>{});
        return body(axes, Constant<1>{});
    };
    switch (grid.axes) {
        case 1: return with_features(Constant<1>{});
        case 2: return with_features(Constant<2>{});
        case 3: return with_features(Constant<3>{});
        default: return with_features(Constant<4>{});
    }
}

// Corners round the W points whose coordinates stand from x[d] + i on, axis by axis.
template <int D>
static inline void find_slots(const Level& level, int slots, const float* const* x, int i, Corners<D>& to) {
    vf unit[D];
    for (int d = 0; d < D; ++d) unit[d] = load(x[d] + i);
    find_corners<D>(level, unit, to);
    count_in_slots<D>(slots, to);
}

// One level at `count` points: rows of `slots` times F features as T's values, `stride` apart.
template <class T, int D, int F, class Source>
static inline void look_up_level(const Level& level, int slots, const Source* table, const float* const* x, int count,
                                 typename T::Value* to, ptrdiff_t stride) {
    // The next points' rows are on their way to the cache while these points' are summed.
    Corners<D> corners[2];
    auto find = [&](int i, Corners<D>& found) {
        find_slots<D>(level, slots, x, i, found);
        for (int c = 0; c < 1 << D; c += 2)
            for (int p = 0; p < W; ++p) __builtin_prefetch(table + size_t(found.row[c][p]) * F);
    };
    if (count > 0) find(0, corners[0]);
    for (int i = 0, turn = 0; i < count; i += W, turn ^= 1) {
        if (i + W < count) find(i + W, corners[turn ^ 1]);
        for (int slot = 0; slot < slots; ++slot) {
            typename T::Value* row = to + i * stride + slot * F;
            sum_corners<D, F>(corners[turn], table + slot * F, int(least(W, count - i)),
                              [&](int p, typename Row<F>::Vector sum) {
                                  T::template store_row<F>(row + p * stride, (const float*)&sum);
                              });
        }
    }
}

template <class T>
static inline void look_up(const Factor& factor, int l, const float* const* x, int count, typename T::Value* to,
                           ptrdiff_t stride) {
    const Grid& grid = factor.grid;
    const Level& level = grid.level[l];
    const int64_t first = level.offset * grid.features;
    for_factor(grid, [&](auto axes, auto part) {
        constexpr int D = decltype(axes)::value, F = decltype(part)::value;
        const float* along[D];
        for (int d = 0; d < D; ++d) along[d] = x[factor.axis[d]];
        const int slots = grid.features / F;
        if (factor.half_table) look_up_level<T, D, F>(level, slots, factor.half_table + first, along, count, to, stride);
        else look_up_level<T, D, F>(level, slots, factor.table + first, along, count, to, stride);
    });
}

// One level of each of a group's factors: (factors, STRIP, features).
static inline void look_up_factors(const FusedField& field, const Group& group, int l, const float* const* x, int count,
                                   float* codes) {
    const int features = field.factor[group.first].grid.features;
    for (int f = 0; f < group.factors; ++f)
        look_up<Single>(field.factor[group.first + f], l, x, count, codes + size_t(f) * STRIP * features, features);
}

template <class P> static inline void store_numbers(typename P::Value* to, const float* from, int count) {
    int k = 0;
    for (; k + 8 <= count; k += 8) P::template store_row<8>(to + k, from + k);
    for (; k < count; ++k) to[k] = P::value(from[k]);
}

// Pointers to coordinates from row `first` on. Unused ones point to nothing.
struct Coordinates {
    Coordinates(const float* const* x, int64_t first) {
        for (int d = 0; d < MAX_AXES; ++d) at[d] = x[d] ? x[d] + first : nullptr;
    }
    operator const float* const*() const { return at; }
    const float* at[MAX_AXES];
};

// Calls body with the first row and the number of rows of every strip, and with pointers to its coordinates.
template <class Body> static inline void for_strips(const float* const* x, int count, const Body& body) {
    for (int i = 0; i < count; i += STRIP) body(i, int(least(STRIP, count - i)), Coordinates(x, i));
}

// The point itself, p = 2 x - 1, its sines and its cosines, sin(2^k pi p) and cos(2^k pi p), octave by octave.
template <class P>
static void frequency_code(const FusedField& field, const float* const* x, int count, typename P::Value* codes, int width) {
    const int axes = field.coordinates(), half = axes * field.frequencies;
    for (int i = 0; i < count; i += W) {
        auto put = [&](int column, vf v) {
            for (int p = 0; p < least(W, count - i); ++p) codes[size_t(i + p) * width + column] = P::value(v[p]);
        };
        for (int d = 0; d < axes; ++d) {
            const vf centred = load(x[d] + i) * 2.f - 1.f;
            int column = field.frequency_column + d;
            put(column, centred);
            float octave = 3.14159265f;
            for (int k = 0; k < field.frequencies; ++k, octave *= 2) {
                column += axes;
                put(column, vsin(centred * octave));
                put(column + half, vcos(centred * octave));
            }
        }
    }
}

// Codes of `count` points as rows of `width` values: of groups [begin, end), and the sines and cosines with the first. A value
// behind the last one is set to 0, if products read it together with the last one.
template <class P>
static void look_up_codes(const FusedField& field, int begin, int end, const float* const* x, int count,
                          typename P::Value* codes, int width, Buffer& strip) {
    if (field.frequencies >= 0 && !begin) frequency_code<P>(field, x, count, codes, width);
    if (field.codes % P::group)
        for (int r = 0; r < count; ++r) codes[size_t(r) * width + field.codes] = P::value(0);
    for (int g = begin; g < end; ++g) {
        const Group& group = field.group[g];
        const Factor& first = field.factor[group.first];
        const int features = first.grid.features;
        float* own = room<float>(strip, size_t(group.factors) * STRIP * features);
        for (int l = 0; l < first.grid.levels; ++l) {
            typename P::Value* to = codes + group.column + l * features;
            if (group.factors == 1) {
                look_up<P>(first, l, x, count, to, width);
                continue;
            }
            for_strips(x, count, [&](int i, int rows, const float* const* here) {
                look_up_factors(field, group, l, here, rows, own);
                for (int f = 1; f < group.factors; ++f) {
                    const float* other = own + size_t(f) * STRIP * features;
                    for (int k = 0; k < rows * features; k += W)
                        store(own + k, field.summed ? load(own + k) + load(other + k) : load(own + k) * load(other + k));
                }
                for (int r = 0; r < rows; ++r)
                    store_numbers<P>(to + size_t(i + r) * width, own + size_t(r) * features, features);
            });
        }
    }
}

// From gradients to a product, `numbers` of them, and its factors' codes, which lie `apart`: gradients to the codes, in
// their place. Each is the product of all others, of those before it and those behind it.
static inline void to_factors(const float* to_product, int factors, int numbers, size_t apart, float* codes) {
    for (int k = 0; k < numbers; k += W) {
        vf before[MAX_FACTORS], product = load(to_product + k);
        for (int f = 0; f < factors; ++f) before[f] = product, product *= load(codes + f * apart + k);
        vf behind = splat(1.f);
        for (int f = factors - 1; f >= 0; --f) {
            const vf code = load(codes + f * apart + k);
            store(codes + f * apart + k, before[f] * behind);
            behind *= code;
        }
    }
}

// Rows of `features` gradients, `stride` apart, as a trace keeps them from row `begin` on.
static inline void keep_rows(const float* from, int stride, int features, int column, int begin, int rows, Trace& trace) {
    auto keep = [&](auto part) {
        constexpr int F = decltype(part)::value;
        for (int k = 0; k < features; k += F) {
            float* to = trace.part(column + k) + size_t(begin) * F;
            const float* row = from + k;
            for (int r = 0; r < rows; ++r, to += F, row += stride) memcpy(to, row, F * 4);
        }
    };
    if (features % 8 == 0) keep(Constant<8>{});
    else if (features % 4 == 0) keep(Constant<4>{});
    else if (features % 2 == 0) keep(Constant<2>{});
    else keep(Constant<1>{});
}

// Keeps what gradients (rows, width) to codes mean for every factor's code. Factors' codes are looked up once more: few of the
// rows that are evaluated come so far.
static void keep_gradients(const FusedField& field, const float* to_codes, int width, int begin, int rows, Buffer& strip,
                           Trace& trace) {
    const Coordinates x(trace.x, begin);
    for (int g = 0; g < field.groups; ++g) {
        const Group& group = field.group[g];
        const Factor* factor = field.factor + group.first;
        const int features = factor->grid.features;
        const size_t apart = size_t(STRIP) * features;
        float* own = room<float>(strip, (group.factors + 1) * apart);
        float* to_product = own + group.factors * apart;
        for (int l = 0; l < factor->grid.levels; ++l) {
            const float* from = to_codes + group.column + l * features;
            if (group.factors == 1 || field.summed) {
                keep_rows(from, width, features, factor->kept + l * features, begin, rows, trace);
                continue;
            }
            for_strips(x, rows, [&](int i, int here, const float* const* at) {
                look_up_factors(field, group, l, at, here, own);
                for (int r = 0; r < here; ++r)
                    memcpy(to_product + size_t(r) * features, from + size_t(i + r) * width, features * 4);
                to_factors(to_product, group.factors, here * features, apart, own);
                for (int f = 0; f < group.factors; ++f)
                    keep_rows(own + f * apart, features, features, factor[f].kept + l * features, begin + i, here, trace);
            });
        }
    }
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
