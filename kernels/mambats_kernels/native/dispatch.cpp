// Which instruction set runs: the best that the processor has, or the one that a test asks for.
#include <atomic>

#include "kernels.h"

namespace mambats_baseline { extern const MambatsKernels kernels; }
#if defined(MAMBATS_X86)
namespace mambats_avx2 { extern const MambatsKernels kernels; }
namespace mambats_avx512 { extern const MambatsKernels kernels; }
#endif

namespace {

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

}  // namespace

const MambatsKernels &mambats::kernels() { return *chosen.load(); }

MAMBATS_EXPORT const char *mambats_instructions() { return chosen.load()->name + 8; }

// 0 baseline, 1 AVX2 and FMA, 2 AVX-512; anything else the best there is. Gives 1 where the processor lacks it.
MAMBATS_EXPORT int mambats_use_instructions(int64_t level) {
    const MambatsKernels *found = level < 0 ? best() : supported(level);
    if (found) chosen = found;
    return found ? 0 : 1;
}
