#include "pool.hpp"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sched.h>
#include <sys/mman.h>
#endif
#if !defined(_WIN32)
#include <unistd.h>
#endif
#if POLYFIELD_X86
#include <xmmintrin.h>
#endif

namespace polyfield {

namespace {

// CPUs that a control group's quota allows, or many if there is none.
double quota() {
    double allowed = 1e9;
#ifdef __linux__
    if (FILE* file = fopen("/sys/fs/cgroup/cpu.max", "r")) {  // version 2: "max 100000" or "200000 100000"
        double most = 0, period = 0;
        if (fscanf(file, "%lf %lf", &most, &period) == 2 && period > 0) allowed = most / period;
        fclose(file);
    } else {  // version 1
        double most = -1, period = 0;
        if (FILE* of = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r")) {
            if (fscanf(of, "%lf", &most) != 1) most = -1;
            fclose(of);
        }
        if (FILE* of = fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "r")) {
            if (fscanf(of, "%lf", &period) != 1) period = 0;
            fclose(of);
        }
        if (most > 0 && period > 0) allowed = most / period;
    }
#endif
    return allowed;
}

int available() {
    int cpus = int(std::thread::hardware_concurrency());
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = CPU_COUNT(&set);
#endif
    double allowed = quota();
    if (allowed < cpus) cpus = int(allowed + 0.5);
    return cpus < 1 ? 1 : cpus > MAX_THREADS ? MAX_THREADS : cpus;
}

// While it lives, its thread takes numbers that are too small for full precision for 0. Moments decay to such, and
// arithmetic with them is many times slower.
class FlushDenormals {
public:
#if POLYFIELD_X86
    FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }  // results, operands
    ~FlushDenormals() { _mm_setcsr(before_); }

private:
    unsigned before_;
#elif defined(__aarch64__)
    FlushDenormals() {
        __asm__ __volatile__("mrs %0, fpcr" : "=r"(before_));
        __asm__ __volatile__("msr fpcr, %0" : : "r"(before_ | (uint64_t(1) << 24)));
    }
    ~FlushDenormals() { __asm__ __volatile__("msr fpcr, %0" : : "r"(before_)); }

private:
    uint64_t before_;
#endif
};

class Pool {
public:
    // As many threads as there may be: where the system starts no more, those there are share the work.
    explicit Pool(int size) : size_(1) {
        try {
            for (; size_ < size; ++size_) threads_.emplace_back([this, worker = size_] { serve(worker); });
        } catch (const std::system_error&) {
        }
    }

    ~Pool() {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            ending_ = true;
        }
        wake_.notify_all();
        for (std::thread& thread : threads_) thread.join();
    }

    int size() const { return size_; }

    void run(int64_t count, void (*task)(void*, int64_t, int), void* context) {
        task_ = task, context_ = context, count_ = count;
        next_ = 0, failed_ = false;
        busy_ = size_ - 1;
        {
            std::lock_guard<std::mutex> lock(mutex_);
            ++round_;
        }
        if (size_ > 1) wake_.notify_all();
        work(0);
        if (!spin([this] { return busy_ == 0; })) {
            std::unique_lock<std::mutex> lock(mutex_);
            done_.wait(lock, [this] { return busy_ == 0; });
        }
        if (failed_) throw std::bad_alloc();
    }

private:
    // A step is many short loops: to wait awake for the next saves going to sleep and being woken, some 50 us each.
    template <class Condition> static bool spin(const Condition& condition) {
        for (int i = 0; i < 4000; ++i) {
            if (condition()) return true;
#if POLYFIELD_X86
            __builtin_ia32_pause();
#endif
        }
        return false;
    }

    void work(int worker) {
        const FlushDenormals flush;
        try {
            for (int64_t index; (index = next_.fetch_add(1)) < count_;) task_(context_, index, worker);
        } catch (const std::bad_alloc&) {
            failed_ = true;
            next_ = count_;
        }
    }

    void serve(int worker) {
        for (uint64_t seen = 0;;) {
            if (!spin([&] { return ending_ || round_ != seen; })) {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [&] { return ending_ || round_ != seen; });
            }
            if (ending_) return;
            seen = round_;
            work(worker);
            if (--busy_ == 0) {
                std::lock_guard<std::mutex> lock(mutex_);
                done_.notify_one();
            }
        }
    }

    int size_;
    std::vector<std::thread> threads_;
    std::mutex mutex_;
    std::condition_variable wake_, done_;
    void (*task_)(void*, int64_t, int) = nullptr;
    void* context_ = nullptr;
    int64_t count_ = 0;
    std::atomic<int64_t> next_{0};
    std::atomic<bool> failed_{false};
    std::atomic<int> busy_{0};
    std::atomic<uint64_t> round_{0};
    std::atomic<bool> ending_{false};
};

Pool* pool = nullptr;
int wanted = 0;
long owner = 0;  // a forked child has none of its parent's threads

}  // namespace

int threads() { return wanted ? wanted : (wanted = available()); }

void set_threads(int count) { wanted = count < 1 ? available() : count > MAX_THREADS ? MAX_THREADS : count; }

void run_tasks(int64_t count, void (*task)(void*, int64_t, int), void* context) {
    long process = 0;
#if !defined(_WIN32)
    process = long(getpid());
#endif
    if (pool && process != owner) pool = nullptr;  // left where it is: its threads cannot be joined from here
    if (pool && pool->size() != threads()) delete pool, pool = nullptr;
    if (!pool) {
        pool = new Pool(threads()), owner = process;
        wanted = pool->size();
    }
    pool->run(count, task, context);
}

// Under a sanitizer no piece of memory has slack or a neighbour, so that every access beyond its end is seen.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool TIGHT = true;
#else
constexpr bool TIGHT = false;
#endif

constexpr size_t HUGE_PAGE = size_t(1) << 21;  // bytes of a huge page

void settle(void* data, size_t bytes) {
#ifdef __linux__
    constexpr int collapse = 25;  // MADV_COLLAPSE, which older headers do not have and older systems refuse
    uintptr_t begin = (uintptr_t(data) + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE, end = (uintptr_t(data) + bytes) / HUGE_PAGE * HUGE_PAGE;
    if (begin >= end) return;
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
    madvise(reinterpret_cast<void*>(begin), end - begin, collapse);
#endif
}

static void* allocate(size_t bytes) {
    bool large = bytes >= 2 * HUGE_PAGE;
    size_t boundary = large ? HUGE_PAGE : 64;
    void* data = nullptr;
    if (posix_memalign(&data, boundary, bytes)) throw std::bad_alloc();
#ifdef __linux__
    if (large) madvise(data, bytes, MADV_HUGEPAGE);
#endif
    return data;
}

Buffer::~Buffer() { free(data_); }

void* Buffer::reserve(size_t bytes) {
    bytes += !bytes;  // memset takes no null pointer, not even for nothing
    if (bytes > bytes_) {
        size_t size = TIGHT ? bytes : bytes + bytes / 2;
        void* data = allocate(size);
        if (data_) memcpy(data, data_, bytes_);
        memset(static_cast<char*>(data) + bytes_, 0, size - bytes_);
        free(data_);
        data_ = data, bytes_ = size;
    }
    return data_;
}

struct Arena::Slab {
    Slab* next;
    size_t bytes;
    void* data;
};

Arena::~Arena() {
    while (first_) {
        Slab* next = first_->next;
        free(first_->data);
        delete first_;
        first_ = next;
    }
}

void* Arena::take(size_t bytes) {
    constexpr size_t least = TIGHT ? 0 : size_t(1) << 20;
    bytes = (bytes + 63) / 64 * 64;
    while (!current_ || used_ + bytes > current_->bytes) {
        Slab** place = current_ ? &current_->next : &first_;
        if (!*place) {
            size_t size = bytes > least ? bytes : least;
            void* data = allocate(size);
            *place = new Slab{nullptr, size, data};
        }
        current_ = *place, used_ = 0;
    }
    void* data = static_cast<char*>(current_->data) + used_;
    used_ += bytes;
    return data;
}

void Arena::clear() { current_ = nullptr, used_ = 0; }

}  // namespace polyfield
