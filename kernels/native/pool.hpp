// The threads that share the work, and memory that outlives a call. Compiled once, for every instruction set.
#pragma once
#include <cstddef>
#include <cstdint>

namespace polyfield {

constexpr int MAX_THREADS = 256;

// As many as the process may keep busy: its CPUs, or less under a control group's quota.
int threads();
void set_threads(int count);

// Asks for huge pages under memory that is there already: without them, reading it at random is mostly finding its pages.
void settle(void* data, size_t bytes);

// Runs task(context, index, worker) for every index below count; worker is below threads(). Calls take turns: whoever
// calls a kernel holds them off each other. Rethrows bad_alloc.
void run_tasks(int64_t count, void (*task)(void* context, int64_t index, int worker), void* context);

// Memory on 64-byte boundaries that grows and keeps its contents. Throws bad_alloc.
class Buffer {
public:
    Buffer() = default;
    ~Buffer();
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    void* reserve(size_t bytes);

private:
    void* data_ = nullptr;
    size_t bytes_ = 0;
};

// Memory taken in pieces and given back all at once, kept for the next time.
class Arena {
public:
    Arena() = default;
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;
    void* take(size_t bytes);
    void clear();

private:
    struct Slab;
    Slab *first_ = nullptr, *current_ = nullptr;
    size_t used_ = 0;
};

}  // namespace polyfield
