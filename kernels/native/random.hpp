// Random numbers, and rows drawn at random by their weights.
#pragma once
#include "simd.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

constexpr int64_t NUMBERS = 1 << 15;  // of a task
constexpr int64_t TRIES = 2048;       // of a task: their weights are on their way before the first is looked at

// Philox 4x32-10: kernels/philox.py has the reference. Block i holds the numbers 4 i to 4 i + 3.
static inline void random_block(const Stream& stream, int64_t block, uint32_t* words) {
    uint32_t c0 = uint32_t(block), c1 = uint32_t(block >> 32), c2 = stream.step, c3 = stream.name;
    uint32_t k0 = stream.seed[0], k1 = stream.seed[1];
    for (int round = 0; round < 10; ++round) {
        uint64_t p0 = uint64_t(c0) * 0xD2511F53u, p1 = uint64_t(c2) * 0xCD9E8D57u;
        c0 = uint32_t(p1 >> 32) ^ c1 ^ k0, c1 = uint32_t(p1);
        c2 = uint32_t(p0 >> 32) ^ c3 ^ k1, c3 = uint32_t(p0);
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    words[0] = c0, words[1] = c1, words[2] = c2, words[3] = c3;
}

static void random_bits(const Stream& stream, int64_t count, uint32_t* bits) {
    parallel_ranges(count, NUMBERS, [&](int64_t first, int64_t last, int) {  // NUMBERS is a multiple of 4
        for (int64_t i = first; i < last; i += 4) {
            uint32_t words[4];
            random_block(stream, i / 4, words);
            memcpy(bits + i, words, size_t(least(4, last - i)) * 4);
        }
    });
}

// By rejection: try i is for row (number i) * rows / 2^32, accepted if the top byte of number tries + i is below its weight.
static int64_t weighted(const Stream& stream, const uint8_t* weights, int64_t rows, int64_t tries, int64_t most,
                        int64_t* index, uint8_t* of_index) {
    static Buffer found_buffer, counts_buffer;  // calls take turns
    const int64_t tasks = (tries + TRIES - 1) / TRIES;
    uint32_t* found = static_cast<uint32_t*>(found_buffer.reserve(size_t(tasks * TRIES) * 4));
    int64_t* counts = static_cast<int64_t*>(counts_buffer.reserve(size_t(tasks) * 8));
    parallel_ranges(tries, TRIES, [&](int64_t first, int64_t last, int) {
        uint32_t row[TRIES], bound[TRIES];
        for (int64_t i = first; i < last; i += 4) {
            random_block(stream, i / 4, row + (i - first));
            random_block(stream, (tries + i) / 4, bound + (i - first));
            for (int64_t k = i - first; k < i - first + 4; ++k) {
                row[k] = uint32_t(uint64_t(row[k]) * uint64_t(rows) >> 32);
                __builtin_prefetch(weights + row[k]);
            }
        }
        int64_t kept = 0;
        for (int64_t k = 0; k < last - first; ++k) {
            found[first + kept] = row[k];
            kept += (bound[k] >> 24) < weights[row[k]];
        }
        counts[first / TRIES] = kept;
    });
    int64_t all = 0;
    for (int64_t task = 0; task < tasks; ++task)
        for (int64_t k = 0; k < counts[task]; ++k, ++all)
            if (all < most) {
                index[all] = found[task * TRIES + k];
                of_index[all] = weights[index[all]];
            }
    return all;
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
