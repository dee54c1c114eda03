// Compiled once for every instruction set, each time under another name: -DMAMBATS_ISA=avx2 -mavx2 ...
#include "kernels.h"

#include "backward.h"
#include "convolve.h"
#include "filters.h"
#include "forecast_step.h"
#include "forward.h"
#include "preintegrate.h"
#include "stack_step.h"

#define MAMBATS_TEXT_(name) #name
#define MAMBATS_TEXT(name) MAMBATS_TEXT_(name)

namespace MAMBATS_ISA {

static int64_t scan_scratch(const MambatsScan &s, int64_t channels, bool backward) {
    Chunk k;
    Carried t;
    return backward ? layout(s, channels, nullptr, k, t) : 2 * tiles_of(channels) * s.states * W;
}

// External linkage, but hidden: dispatch.cpp finds it, other libraries do not.
extern const MambatsKernels kernels;
const MambatsKernels kernels = {MAMBATS_TEXT(MAMBATS_ISA), scan_scratch, forward_unit, backward_unit, conv_scratch,
                                conv_forward,              conv_backward, stack_scratch, stack_step,    forecast_scratch,
                                forecast_step,             imu_lanes,     imu_scratch,   imu_tile,      kalman_lanes,
                                kalman_scratch,            kalman_tile};

}  // namespace MAMBATS_ISA
