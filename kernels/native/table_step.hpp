// What becomes of gradients to codes: kept by tile, then added to the tables' gradients, or tables are moved by them at once.
// Every factor, level, and cache line's width of its columns, or part of its rows, has one owner, so sums run in an order that
// no number of threads changes.
#pragma once
#include "adam.hpp"
#include "codes.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

constexpr int64_t CHUNKS = 64;  // of a step's tiles at most, each with gradients of its own

constexpr int64_t SPLIT_BELOW = 4;  // slices

// What one task owns of a factor's table: rows [low, high) of a level, and `columns` of them from `column` on.
struct Slice {
    const Factor* factor;
    int tensor, level, column, columns;
    uint32_t low, high;
    bool whole;  // all rows of the level

    const Grid& grid() const { return factor->grid; }
    int64_t rows() const { return int64_t(ends_at()) - low; }
    int64_t at() const { return (grid().level[level].offset + low) * grid().features + column; }

private:
    // With its last rows a level's owner has those up to the next level, which no point reads.
    int64_t ends_at() const {
        const Level& here = grid().level[level];
        if (high < here.size) return high;
        return (level + 1 < grid().levels ? grid().level[level + 1].offset : grid().entries) - here.offset;
    }
};

// Wide rows are shared out in cache lines, others stay whole.
static inline int columns_of(const Grid& grid) { return grid.features % LINE ? grid.features : LINE; }
static inline int64_t slices_of(const Grid& grid) { return int64_t(grid.levels) * (grid.features / columns_of(grid)); }

static inline Slice slice_of(const FusedField& field, int64_t index, int64_t part, int64_t parts) {
    int f = 0;
    for (; index >= slices_of(field.factor[f].grid); ++f) index -= slices_of(field.factor[f].grid);
    const Grid& grid = field.factor[f].grid;
    const int columns = columns_of(grid), across = grid.features / columns, l = int(index / across);
    const int64_t size = grid.level[l].size;
    return {field.factor + f, f, l, int(index % across) * columns, columns,
            uint32_t(size * part / parts), uint32_t(size * (part + 1) / parts), parts == 1};
}

// Adds one trace's gradients to a slice's `rows`, `stride` apart, of which the first is the level's. The next points' rows are
// on their way to the cache while these points' gradients are added.
template <int D, int F>
static inline void add_trace(const Trace& trace, const Slice& slice, int stride, float* rows, uint8_t* touched) {
    const Level& level = slice.grid().level[slice.level];
    const uint32_t slots = uint32_t(stride / F), low = slice.low * slots, high = slice.high * slots;
    const int column = slice.factor->kept + slice.level * slice.grid().features + slice.column;
    const float* x[D];
    for (int d = 0; d < D; ++d) x[d] = trace.x[slice.factor->axis[d]];
    Corners<D> corners[2];
    auto find = [&](int i, Corners<D>& found) {
        find_slots<D>(level, int(slots), x, i, found);
        for (int c = 0; c < 1 << D; ++c)
            for (int p = 0; p < W; ++p) __builtin_prefetch(rows + ptrdiff_t(found.row[c][p]) * F, 1);
    };
    if (trace.rows) find(0, corners[0]);
    for (int i = 0, turn = 0; i < trace.rows; i += W, turn ^= 1) {
        if (i + W < trace.rows) find(i + W, corners[turn ^ 1]);
        for (int k = 0; k < slice.columns; k += F) {
            const float* gradient = trace.part(column + k) + size_t(i) * F;
            add_to_corners<D, F>(corners[turn], int(least(W, trace.rows - i)), slice.whole, low, high, rows + k,
                                 [&](int p) { return Row<F>::read(gradient + size_t(p) * F); }, touched, uint32_t(k));
        }
    }
}

// Moves a slice of the table by `count` gradients that are then cleared: where they were touched, or everywhere.
static inline void move_slice(const TensorStep& step, uint16_t* half, const Slice& slice, int64_t count, float* gradient,
                              uint8_t* touched) {
    constexpr int64_t AHEAD = 12;  // lines of table and moments that are on their way from main memory
    const Adam o = step.adam;      // here no store can change it
    float *table = step.parameter + slice.at(), *mean = step.mean + slice.at(), *square = step.square + slice.at();
    if (half) half += slice.at();
    const int64_t lines = count / LINE, pitch = slice.columns == slice.grid().features ? LINE : slice.grid().features;
    for (int64_t line = 0; line < lines; ++line) {
        if (line + AHEAD < lines && (!touched || touched[line + AHEAD])) {
            const int64_t i = (line + AHEAD) * pitch;
            __builtin_prefetch(table + i, 1);
            __builtin_prefetch(mean + i, 1);
            __builtin_prefetch(square + i, 1);
            if (half) __builtin_prefetch(half + i, 1);
        }
        if (touched) {
            if (!touched[line]) continue;
            touched[line] = 0;
        }
        const int64_t at = line * pitch;
        float* own = gradient + line * LINE;
        for (int64_t i = 0; i < LINE; i += W) {
            move(o, own + i, table + at + i, mean + at + i, square + at + i, half ? half + at + i : nullptr);
            store(own + i, vf{});
        }
    }
    if (count % LINE && (!touched || touched[lines])) {  // rows are whole then
        if (touched) touched[lines] = 0;
        for (int64_t i = lines * LINE; i < count; i += W)
            move_rest(o, int(least(W, count - i)), gradient + i, table + i, mean + i, square + i, half ? half + i : nullptr);
        memset(gradient + lines * LINE, 0, size_t(count % LINE) * 4);
    }
}

// Adds all traces' gradients to the tables', or moves tables by them slice by slice, so that gradients stay in cache.
static void traces_to_tables(const FusedField& field, Trace* const* traces, const Descent& descent, bool moves) {
    static Buffer gradients[MAX_THREADS], lines[MAX_THREADS];  // zero between calls
    int64_t slices = 0;
    for (int f = 0; f < field.factors; ++f) slices += slices_of(field.factor[f].grid);
    if (!slices || (descent.steps && !moves)) return;
    // One slice may have nearly all of the numbers, so few slices are split for all threads.
    const int64_t parts = slices < SPLIT_BELOW ? threads() : (threads() + slices - 1) / slices;
    if (descent.steps) {  // all memory first: a table must not stay half moved for want of it
        int64_t longest = 0;
        for (int64_t task = 0; task < slices * parts; ++task) {
            const Slice slice = slice_of(field, task / parts, task % parts, parts);
            longest = most(longest, slice.rows() * slice.columns);
        }
        for (int worker = 0; worker < threads(); ++worker) {
            room<float>(gradients[worker], longest);
            room<uint8_t>(lines[worker], (longest + LINE - 1) / LINE);
        }
    }
    parallel(slices * parts, [&](int64_t task, int worker) {
        const Slice slice = slice_of(field, task / parts, task % parts, parts);
        const int64_t count = slice.rows() * slice.columns;
        const int features = slice.grid().features, stride = descent.steps ? slice.columns : features;
        const TensorStep* step = descent.steps ? descent.steps + slice.tensor : nullptr;
        float* gradient;
        uint8_t* touched = nullptr;
        if (step) {
            gradient = room<float>(gradients[worker], count);
            if (step->adam.sparse) touched = room<uint8_t>(lines[worker], (count + LINE - 1) / LINE);
        } else {
            gradient = descent.to_table[slice.tensor] + slice.at();
            if (slice.columns == features) memset(gradient, 0, size_t(count) * 4);
            else for (int64_t row = 0; row < slice.rows(); ++row) memset(gradient + row * stride, 0, slice.columns * 4);
        }
        for_factor(slice.grid(), [&](auto axes, auto part) {
            constexpr int D = decltype(axes)::value, F = decltype(part)::value;
            for (int chunk = 0; chunk < CHUNKS; ++chunk)
                for (const Trace* trace = traces[chunk]; trace; trace = trace->next)
                    add_trace<D, F>(*trace, slice, stride, gradient - ptrdiff_t(slice.low) * stride, touched);
        });
        if (step) move_slice(*step, descent.half[slice.tensor], slice, count, gradient, touched);
    });
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
