// What becomes of gradients to codes: kept by tile, then added level by level to the table's gradient, or the table is moved
// by them at once. Every level, or part of its rows, has one owner, so sums run in an order that no number of threads changes.
#pragma once
#include "adam.hpp"
#include "interpolate.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

constexpr int64_t CHUNKS = 64;  // of a step's tiles at most, each with gradients of its own

// Gradients to codes of one tile's rows, and where they go.
struct Trace {
    Trace* next;
    int rows;
    float *x[3];    // (rows filled up to W,) unit coordinates
    float* to_code;  // (levels, rows, features)
};

// Adds one trace's gradients to rows [low, high) of a level. The next points' rows are on their way to the cache while
// these points' gradients are added.
template <int F>
static inline void add_trace(const Trace& trace, const Level& level, int l, bool whole, uint32_t low, uint32_t high,
                             float* rows, uint8_t* touched) {
    Corners<3> corners[2];
    auto find = [&](int i, Corners<3>& to) {
        vf x[3];
        for (int d = 0; d < 3; ++d) x[d] = load(trace.x[d] + i);
        find_corners<3>(level, x, to);
        for (int c = 0; c < 8; ++c)
            for (int p = 0; p < W; ++p) __builtin_prefetch(rows + ptrdiff_t(to.row[c][p]) * F, 1);
    };
    if (trace.rows) find(0, corners[0]);
    for (int i = 0, turn = 0; i < trace.rows; i += W, turn ^= 1) {
        if (i + W < trace.rows) find(i + W, corners[turn ^ 1]);
        const float* gradient = trace.to_code + (size_t(l) * trace.rows + i) * F;
        add_to_corners<3, F>(corners[turn], int(least(W, trace.rows - i)), whole, low, high, rows,
                             [&](int p) { return Row<F>::read(gradient + size_t(p) * F); }, touched);
    }
}

// Moves `count` numbers of the table from number `at` on, by gradients that are then cleared, where they were touched.
static inline void move_touched(const TensorStep& step, uint16_t* half, int64_t at, int64_t count, float* gradient, uint8_t* touched) {
    constexpr int64_t AHEAD = 12;  // lines of table and moments that are on their way from main memory
    const Adam o = step.adam;      // here no store can change it
    float *table = step.parameter + at, *mean = step.mean + at, *square = step.square + at;
    if (half) half += at;
    const int64_t lines = count / LINE;
    for (int64_t line = 0; line < lines; ++line) {
        if (line + AHEAD < lines && touched[line + AHEAD]) {
            const int64_t i = (line + AHEAD) * LINE;
            __builtin_prefetch(table + i, 1);
            __builtin_prefetch(mean + i, 1);
            __builtin_prefetch(square + i, 1);
            if (half) __builtin_prefetch(half + i, 1);
        }
        if (!touched[line]) continue;
        touched[line] = 0;
        for (int64_t i = line * LINE; i < (line + 1) * LINE; i += W) {
            move(o, gradient + i, table + i, mean + i, square + i, half ? half + i : nullptr);
            store(gradient + i, vf{});
        }
    }
    if (count % LINE && touched[lines]) {
        touched[lines] = 0;
        for (int64_t i = lines * LINE; i < count; i += W)
            move_rest(o, int(least(W, count - i)), gradient + i, table + i, mean + i, square + i, half ? half + i : nullptr);
        memset(gradient + lines * LINE, 0, size_t(count % LINE) * 4);
    }
}

// Adds all traces' gradients to the table's, or moves the table by them level by level, so that gradients stay in cache.
// One level, or a part of its rows, has one owner.
template <int F>
static void traces_to_table(const Grid& grid, Trace* const* traces, const Training& training, bool moves) {
    static Buffer gradients[MAX_THREADS], lines[MAX_THREADS];  // zero between calls
    const int parts = parts_of(grid);
    parallel(int64_t(grid.levels) * parts, [&](int64_t task, int worker) {
        int l = int(task / parts), part = int(task % parts);
        const Level& level = grid.level[l];
        uint32_t low = uint32_t(level.size * part / parts), high = uint32_t(level.size * (part + 1) / parts);
        const int64_t at = (level.offset + low) * F, count = int64_t(high - low) * F;
        float* gradient;
        uint8_t* touched = nullptr;
        if (!training.steps) {
            gradient = training.to_table + at;
            clear_rows(grid, l, low, high, training.to_table);
        } else {
            if (!moves) return;
            gradient = room<float>(gradients[worker], count);
            touched = room<uint8_t>(lines[worker], (count + LINE - 1) / LINE);
        }
        for (int chunk = 0; chunk < CHUNKS; ++chunk)
            for (const Trace* trace = traces[chunk]; trace; trace = trace->next)
                add_trace<F>(*trace, level, l, parts == 1, low, high, gradient - ptrdiff_t(low) * F, touched);
        if (touched) move_touched(training.steps[0], training.half, at, count, gradient, touched);
    });
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
