// Which instruction set runs: the best that the processor has, or the one that a test asks for.
#include <atomic>

#include "kernels.h"
#if defined(MAMBATS_X86)
#include <cpuid.h>
#endif

namespace mambats_baseline { extern const MambatsKernels kernels; }
#if defined(MAMBATS_X86)
namespace mambats_avx2 { extern const MambatsKernels kernels; }
namespace mambats_avx512 { extern const MambatsKernels kernels; }
#endif

namespace {

#if defined(MAMBATS_X86)
// Asked of the processor itself: the __builtin_cpu_supports of some compilers' run-time libraries always says no.
struct Processor {
    bool avx2 = false, avx512 = false;

    Processor() {
        unsigned a, b, c, d, low, high;
        if (!__get_cpuid(1, &a, &b, &c, &d)) return;
        const bool fma = c >> 12 & 1, saves = c >> 27 & 1;
        if (!fma || !saves || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
        asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));  // which registers the system saves: 6 for AVX, 0xe0 for AVX-512
        avx2 = (low & 6) == 6 && (b >> 5 & 1);
        avx512 = avx2 && (low & 0xe6) == 0xe6 && (b >> 16 & 1) && (b >> 17 & 1) && (b >> 30 & 1) && (b >> 31 & 1);
    }
};
#endif

const MambatsKernels *supported(int64_t level) {
#if defined(MAMBATS_X86)
    const Processor processor;
    if (level == 2 && processor.avx512) return &mambats_avx512::kernels;
    if (level == 1 && processor.avx2) return &mambats_avx2::kernels;
#endif
    return level == 0 ? &mambats_baseline::kernels : nullptr;
}

const MambatsKernels *best() {
    for (int64_t level = 2; level > 0; --level)
        if (const MambatsKernels *found = supported(level)) return found;
    return supported(0);
}

std::atomic<const MambatsKernels *> chosen{best()};

}  // namespace

const MambatsKernels &mambats::kernels() { return *chosen.load(); }

MAMBATS_EXPORT const char *mambats_instructions() { return chosen.load()->name + 8; }

// 0 baseline, 1 AVX2 and FMA, 2 AVX-512; anything else the best there is. Gives 1 where the processor lacks it.
MAMBATS_EXPORT int mambats_use_instructions(int64_t level) {
    const MambatsKernels *found = level < 0 ? best() : supported(level);
    if (found) chosen = found;
    return found ? 0 : 1;
}
