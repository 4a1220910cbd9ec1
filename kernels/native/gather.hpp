// Rows picked from several arrays that stand for one: all of a task's rows are on their way before the first is copied.
#pragma once
#include "simd.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

constexpr int64_t PICKED = 1024;  // rows of a task

// Part k holds the rows before ends[k] that no earlier one holds.
static void gather(int parts, const uint8_t* const* data, const int64_t* ends, int64_t bytes, const int64_t* index,
                   int64_t count, uint8_t* out) {
    parallel_ranges(count, PICKED, [&](int64_t first, int64_t last, int) {
        const uint8_t* rows[PICKED];
        for (int64_t i = first; i < last; ++i) {
            int low = 0, high = parts - 1;
            while (low < high) {
                int middle = (low + high) / 2;
                if (index[i] < ends[middle]) high = middle;
                else low = middle + 1;
            }
            rows[i - first] = data[low] + (index[i] - (low ? ends[low - 1] : 0)) * bytes;
            __builtin_prefetch(rows[i - first]);
        }
        for (int64_t i = first; i < last; ++i) {
            if (bytes == 8) memcpy(out + i * 8, rows[i - first], 8);
            else if (bytes == 1) out[i] = *rows[i - first];
            else memcpy(out + i * bytes, rows[i - first], size_t(bytes));
        }
    });
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
