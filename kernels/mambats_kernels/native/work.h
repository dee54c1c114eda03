// Buffers, and units of work shared out to threads; the host side of every kernel.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <thread>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace mambats {

// Numbers too small for a float's full precision become 0 while a unit runs: they cost a hundred times as much.
class FlushDenormals {
#if defined(__x86_64__)
    unsigned before = _mm_getcsr();

public:
    FlushDenormals() { _mm_setcsr(before | 0x8040u); }
    ~FlushDenormals() { _mm_setcsr(before); }
#elif defined(__aarch64__)
    uint64_t before;

public:
    FlushDenormals() {
        asm volatile("mrs %0, fpcr" : "=r"(before));
        asm volatile("msr fpcr, %0" : : "r"(before | (1ull << 24)));
    }
    ~FlushDenormals() { asm volatile("msr fpcr, %0" : : "r"(before)); }
#else
public:
    FlushDenormals() {}
#endif
};

// Memory that is given back on every way out; null if there was none to have.
template <class T>
struct Buffer {
    T *data;
    explicit Buffer(int64_t count)
        : data(static_cast<T *>(std::aligned_alloc(64, std::max<int64_t>((count * int64_t(sizeof(T)) + 63) / 64 * 64, 64)))) {}
    ~Buffer() { std::free(data); }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
};

// Calls work(unit, scratch) for every unit, on at most `threads` threads with `floats` of scratch each; false if memory
// was short. Threads end with the call: nothing survives it or a fork.
template <class Work>
bool on_threads(int64_t threads, int64_t units, int64_t floats, const Work &work) {
    std::atomic<int64_t> next{0};
    std::atomic<bool> starved{false};
    auto run = [&] {
        Buffer<float> scratch(floats);
        if (!scratch.data) {
            starved = true;
            return;
        }
        FlushDenormals flushed;
        for (int64_t k = next++; k < units; k = next++) work(k, scratch.data);
    };
    const int64_t helpers = std::min(threads, units) - 1;
    Buffer<std::thread> started(std::max<int64_t>(helpers, 0));
    int64_t count = 0;
    try {
        for (; started.data && count < helpers; ++count) new (started.data + count) std::thread(run);
    } catch (const std::system_error &) {
        // No more threads to have: those that started and this one share the work.
    }
    run();
    for (int64_t k = 0; k < count; ++k) started.data[k].join(), started.data[k].~thread();
    return !starved;
}

inline void zero_outside(float *tensor, int64_t tokens, int64_t first, int64_t last, int64_t each) {
    if (!tensor) return;
    std::memset(tensor, 0, sizeof(float) * first * each);
    std::memset(tensor + last * each, 0, sizeof(float) * (tokens - last) * each);
}

inline void add_parts(float *to, const float *parts, int64_t count, int64_t stride, int64_t from, int64_t until) {
    for (int64_t k = 0; k < count; ++k)
        for (int64_t i = from; i < until; ++i) to[i] += parts[k * stride + i];
}

}  // namespace mambats
