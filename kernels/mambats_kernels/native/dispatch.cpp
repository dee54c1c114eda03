// The library's door: picks the instruction set, cuts the work into units, runs them on threads, adds up shared gradients.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <thread>

#include "scan.h"
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#define MAMBATS_EXPORT extern "C" __attribute__((visibility("default")))

namespace mambats_baseline { extern const MambatsKernels kernels; }
#if defined(MAMBATS_X86)
namespace mambats_avx2 { extern const MambatsKernels kernels; }
namespace mambats_avx512 { extern const MambatsKernels kernels; }
#endif

namespace {

constexpr int64_t BLOCKS = 32, UNITS = 16, SLAB = 16;  // fixed: results must not depend on the number of threads
constexpr int64_t WORTH_A_THREAD = 1 << 19;            // states times tokens: a fifth of a millisecond or more

const MambatsKernels *supported(int64_t level) {
#if defined(MAMBATS_X86)
    __builtin_cpu_init();
    if (level == 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma"))
        return &mambats_avx512::kernels;
    if (level == 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &mambats_avx2::kernels;
#endif
    return level == 0 ? &mambats_baseline::kernels : nullptr;
}

const MambatsKernels *best() {
    for (int64_t level = 2; level > 0; --level)
        if (const MambatsKernels *found = supported(level)) return found;
    return supported(0);
}

std::atomic<const MambatsKernels *> chosen{best()};

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

struct Cut {
    int64_t rows, blocks, slabs, slab, channels, groups;
    int64_t units() const { return blocks * groups * slabs; }
    MambatsUnit unit(int64_t index) const {
        const int64_t part = index % slabs, group = index / slabs % groups, block = index / slabs / groups;
        MambatsUnit u{};
        u.first = block * rows / blocks, u.last = (block + 1) * rows / blocks;
        u.group = group, u.low = part * slab, u.high = std::min(channels, u.low + slab);
        return u;
    }
    int64_t part(int64_t index) const { return index % slabs; }
    int64_t block(int64_t index) const { return index / slabs / groups; }
};

Cut cut_work(const MambatsScan &s) {
    Cut c{};
    c.rows = s.rows, c.groups = s.groups, c.channels = s.width / s.groups, c.blocks = std::min(s.rows, BLOCKS);
    const int64_t wanted = std::max<int64_t>(1, UNITS / std::max<int64_t>(1, c.blocks * c.groups));
    const int64_t pieces = (c.channels + SLAB - 1) / SLAB;
    c.slab = (pieces + std::min(wanted, pieces) - 1) / std::min(wanted, pieces) * SLAB;
    c.slabs = (c.channels + c.slab - 1) / c.slab;
    return c;
}

// Borders are made to lie in order within the tokens, whatever they were: a bad one may give a wrong row, never a fault.
void find_rows(const MambatsScan &s, MambatsRow *rows) {
    const int64_t chunks = (s.tokens + s.chunk - 1) / s.chunk;
    int64_t begin = s.borders ? std::clamp<int64_t>(s.borders[0], 0, s.tokens) : 0;
    for (int64_t r = 0; r < s.rows; ++r) {
        if (!s.borders) {
            rows[r] = {r * s.tokens, (r + 1) * s.tokens, r * chunks};
            continue;
        }
        const int64_t end = std::clamp<int64_t>(s.borders[r + 1], begin, s.tokens);
        rows[r] = {begin, end, begin / s.chunk + r};
        begin = end;
    }
}

template <class Work>
bool on_threads(const MambatsScan &s, const Cut &cut, bool backward, const Work &work) {
    const MambatsKernels &kernels = *chosen.load();
    const int64_t floats = kernels.scratch(s, cut.slab, backward);
    const int64_t all = s.tokens * (s.borders ? 1 : s.rows) * s.width * s.states;
    const int64_t count = std::max<int64_t>(1, std::min({s.threads, cut.units(), all / WORTH_A_THREAD}));
    std::atomic<int64_t> next{0};
    std::atomic<bool> starved{false};
    auto run = [&] {
        Buffer<float> scratch(floats);
        if (!scratch.data) {
            starved = true;
            return;
        }
        FlushDenormals flushed;
        for (int64_t k = next++; k < cut.units(); k = next++) work(kernels, k, scratch.data);
    };
    Buffer<std::thread> helpers(count);
    int64_t started = 0;
    try {
        for (; helpers.data && started < count - 1; ++started) new (helpers.data + started) std::thread(run);
    } catch (const std::system_error &) {
        // No more threads to have: those that started and this one share the work.
    }
    run();
    for (int64_t k = 0; k < started; ++k) helpers.data[k].join(), helpers.data[k].~thread();
    return !starved;
}

void zero_outside(float *tensor, int64_t tokens, int64_t first, int64_t last, int64_t each) {
    if (!tensor) return;
    std::memset(tensor, 0, sizeof(float) * first * each);
    std::memset(tensor + last * each, 0, sizeof(float) * (tokens - last) * each);
}

void add_parts(float *to, const float *parts, int64_t count, int64_t stride, int64_t from, int64_t until) {
    for (int64_t k = 0; k < count; ++k)
        for (int64_t i = from; i < until; ++i) to[i] += parts[k * stride + i];
}

}  // namespace

MAMBATS_EXPORT const char *mambats_instructions() { return chosen.load()->name + 8; }

// 0 baseline, 1 AVX2 and FMA, 2 AVX-512; anything else the best there is. Gives 1 where the processor lacks it.
MAMBATS_EXPORT int mambats_use_instructions(int64_t level) {
    const MambatsKernels *found = level < 0 ? best() : supported(level);
    if (found) chosen = found;
    return found ? 0 : 1;
}

// Both give 0, or 1 if memory was short.
MAMBATS_EXPORT int mambats_scan_forward(const MambatsScan *scan) {
    const MambatsScan &s = *scan;
    Buffer<MambatsRow> rows(s.rows);
    if (!rows.data) return 1;
    find_rows(s, rows.data);
    if (s.borders) {
        const int64_t first = s.rows ? rows.data[0].begin : 0, last = s.rows ? rows.data[s.rows - 1].end : 0;
        zero_outside(s.y, s.tokens, first, last, s.width);
    }
    if (s.rows == 0) return 0;
    const Cut cut = cut_work(s);
    return on_threads(s, cut, false, [&](const MambatsKernels &kernels, int64_t k, float *scratch) {
        kernels.forward(s, rows.data, cut.unit(k), scratch);
    }) ? 0 : 1;
}

MAMBATS_EXPORT int mambats_scan_backward(const MambatsScan *scan) {
    const MambatsScan &s = *scan;
    Buffer<MambatsRow> rows(s.rows);
    if (!rows.data) return 1;
    find_rows(s, rows.data);
    const int64_t tokens = s.borders ? s.tokens : s.rows * s.tokens, weights = s.groups * s.states;
    const int64_t first = s.rows ? rows.data[0].begin : 0, last = s.rows ? rows.data[s.rows - 1].end : 0;
    for (float *tensor : {s.dx, s.ddt, s.dz}) zero_outside(tensor, tokens, first, last, s.width);
    for (float *tensor : {s.dB, s.dC}) zero_outside(tensor, tokens, first, last, weights);
    zero_outside(s.dgaps, tokens, first, last, 1);
    const int64_t size = s.width * s.states, each = size + 2 * s.width;
    std::memset(s.dA, 0, sizeof(float) * size);
    for (float *tensor : {s.dD, s.dbias})
        if (tensor) std::memset(tensor, 0, sizeof(float) * s.width);
    if (s.rows == 0) return 0;
    const Cut cut = cut_work(s);
    // The first slab writes where the sums belong, the others beside it.
    const int64_t others = cut.slabs - 1, shares = cut.slabs * cut.groups - 1;
    Buffer<float> db(others * tokens * weights), dc(others * tokens * weights);
    Buffer<float> dgaps(s.dgaps ? shares * tokens : 0), blocks(cut.blocks * each);
    if (!db.data || !dc.data || !dgaps.data || !blocks.data) return 1;
    const bool done = on_threads(s, cut, true, [&](const MambatsKernels &kernels, int64_t k, float *scratch) {
        MambatsUnit u = cut.unit(k);
        const int64_t part = cut.part(k), share = u.group * cut.slabs + part;
        u.dB = part ? db.data + (part - 1) * tokens * weights : s.dB;
        u.dC = part ? dc.data + (part - 1) * tokens * weights : s.dC;
        if (s.dgaps) u.dgaps = share ? dgaps.data + (share - 1) * tokens : s.dgaps;
        u.dA = blocks.data + cut.block(k) * each, u.dD = u.dA + size, u.dbias = u.dD + s.width;
        kernels.backward(s, rows.data, u, scratch);
    });
    if (!done) return 1;
    add_parts(s.dB, db.data, others, tokens * weights, first * weights, last * weights);
    add_parts(s.dC, dc.data, others, tokens * weights, first * weights, last * weights);
    if (s.dgaps) add_parts(s.dgaps, dgaps.data, shares, tokens, first, last);
    add_parts(s.dA, blocks.data, cut.blocks, each, 0, size);
    if (s.dD) add_parts(s.dD, blocks.data + size, cut.blocks, each, 0, s.width);
    if (s.dbias) add_parts(s.dbias, blocks.data + size + s.width, cut.blocks, each, 0, s.width);
    return 0;
}

// So that Python can refuse a library built from another version of the argument block.
MAMBATS_EXPORT int mambats_scan_size() { return int(sizeof(MambatsScan)); }
