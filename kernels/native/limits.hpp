// What this machine does at most: multiply-adds from registers, and reads and updates of memory at random places.
// The benchmarks hold the kernels against these. Each does about `count` on all threads and returns how many.
#pragma once
#include "interpolate.hpp"
#include "product.hpp"

namespace polyfield {
namespace POLYFIELD_VARIANT {

constexpr int SHARES = 64;  // of the work a thread takes at a time, so that none waits long for another
constexpr int SUMS = 12;  // vectors summed at once: enough to hide the latency of a multiply-add
constexpr int ADDRESSES = 64;  // drawn together

// For the compiler, the value is read and changed here.
template <class T> static inline void keep(T& value) { asm volatile("" : "+m"(value)); }

// One step of a vector of sums; single precision begins with the product of the sum, which cannot be hoisted.
template <class P> struct Chain;
template <> struct Chain<Single> {
    static inline vf next(vf sum, const float* x) { return sum * load(x) + load(x); }
};
#if defined(__AVX512BF16__)
template <> struct Chain<Brain> {
    static inline vf next(vf sum, const uint32_t* x) { return Brain::multiply_add(x[0], x, sum); }
};
#endif

template <class P> static int64_t multiply_adds_of(int64_t count) {
    const int64_t shares = int64_t(threads()) * SHARES, each = int64_t(SUMS) * W * P::group;
    const int64_t rounds = most(1, count / shares / each);
    parallel(shares, [&](int64_t, int) {
        alignas(64) typename P::Value half[W * P::group];
        for (int k = 0; k < W * P::group; ++k) half[k] = P::value(0.5f);
        typename P::Element x[W];
        memcpy(x, half, sizeof x);
        keep(x);
        const int64_t last = rounds;
        vf sum[SUMS] = {};
        keep(sum);  // for all the compiler knows they differ
        for (int64_t round = 0; round < last; ++round)
            for (int k = 0; k < SUMS; ++k) sum[k] = Chain<P>::next(sum[k], x);
        keep(sum);
    });
    return shares * rounds * each;
}

static int64_t multiply_adds(int64_t count, bool brain) {
#if defined(__AVX512BF16__)
    if (brain) return multiply_adds_of<Brain>(count);
#endif
    return brain ? 0 : multiply_adds_of<Single>(count);
}

// Random numbers below 2^bits (Marsaglia's xorshift), each from a state of its own so that none waits for another.
struct Addresses {
    alignas(64) uint32_t state[ADDRESSES], row[ADDRESSES];

    explicit Addresses(int64_t seed) {
        for (int k = 0; k < ADDRESSES; ++k) state[k] = uint32_t(seed * ADDRESSES + k + 1) * 2654435761u;
    }

    void draw(int bits) {
        for (int k = 0; k < ADDRESSES; k += W) {
            vu x, at;
            memcpy(&x, state + k, sizeof x);
            x ^= x << 13, x ^= x >> 17, x ^= x << 5;
            at = x >> (32 - bits);
            memcpy(state + k, &x, sizeof x);
            memcpy(row + k, &at, sizeof at);
        }
        keep(row);
    }
};

// Calls visit with random places, of SIZE each, in `bytes` of memory; a worker's begin `apart` after the last one's.
template <int SIZE, class Visit>
static int64_t visit_at_random(char* memory, int64_t bytes, int64_t apart, int64_t count, const Visit& visit) {
    int bits = 1;
    while (int64_t(SIZE) << (bits + 1) <= bytes) ++bits;
    const int64_t shares = int64_t(threads()) * SHARES;
    const int64_t rounds = most(1, count / shares / ADDRESSES);
    parallel(shares, [&](int64_t share, int worker) {
        char* const base = memory + worker * apart;
        const int64_t last = rounds;
        const int drawn = bits;  // here, visits cannot change it
        Addresses addresses(share);
        for (int64_t round = 0; round < last; ++round) {
            addresses.draw(drawn);
            for (int k = 0; k < ADDRESSES; k += 8)
                for (int n = 0; n < 8; ++n) visit(base + size_t(addresses.row[k + n]) * SIZE);  // unrolled
        }
    });
    return shares * rounds * ADDRESSES;
}

// Of 8 bytes, four features in half precision, by all threads from the same memory, as levels are looked up.
static int64_t random_reads(void* memory, int64_t bytes, int64_t count) {
    return visit_at_random<8>(static_cast<char*>(memory), bytes, 0, count, [](const char* at) {
        uint64_t value;
        memcpy(&value, at, 8);
        asm volatile("" : : "r"(value));
    });
}

// Of 16 bytes, four features, by every thread in `bytes` of its own, as levels have one owner each.
static int64_t random_updates(void* memory, int64_t bytes, int64_t count) {
    return visit_at_random<16>(static_cast<char*>(memory), bytes, bytes, count, [](char* at) {
        float* row = reinterpret_cast<float*>(at);
        Row<4>::write(row, Row<4>::read(row) + 1.f);
    });
}

}  // namespace POLYFIELD_VARIANT
}  // namespace polyfield
