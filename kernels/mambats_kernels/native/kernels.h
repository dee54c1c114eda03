// What every instruction set offers, and the one that was chosen. dispatch.cpp holds the choice.
#pragma once
#include "conv.h"
#include "imu.h"
#include "kalman.h"
#include "model.h"
#include "scan.h"
#include "stack.h"

struct MambatsKernels {
    const char *name;
    int64_t (*scan_scratch)(const MambatsScan &, int64_t channels, bool backward);  // floats that a unit needs
    void (*scan_forward)(const MambatsScan &, const MambatsRow *, const MambatsUnit &, float *scratch);
    void (*scan_backward)(const MambatsScan &, const MambatsRow *, const MambatsUnit &, float *scratch);
    int64_t (*conv_scratch)(const MambatsConv &, int64_t longest, bool backward);  // `longest` piece, in tokens
    void (*conv_forward)(const MambatsConv &, const MambatsConvPiece *, int64_t count, float *scratch);
    void (*conv_backward)(const MambatsConv &, const MambatsConvPiece *, int64_t count, float *dweight, float *dbias,
                          float *scratch);
    int64_t (*stack_scratch)(const MambatsStack &);
    void (*stack_step)(const MambatsStack &, const MambatsToken &, int64_t first, int64_t last, float *scratch);
    int64_t (*forecast_scratch)(const MambatsModel &, int64_t rows);
    void (*forecast_step)(const MambatsModel &, const MambatsMoment &, int64_t first, int64_t last, float *scratch);
    int64_t (*imu_lanes)(const MambatsImu &);  // intervals of a tile
    int64_t (*imu_scratch)();
    void (*imu_tile)(const MambatsImu &, int64_t first, float *scratch);
    int64_t (*kalman_lanes)(const MambatsKalman &);  // filters of a tile
    int64_t (*kalman_scratch)(const MambatsKalman &);
    void (*kalman_tile)(const MambatsKalman &, int64_t first, float *scratch);
};

namespace mambats {
const MambatsKernels &kernels();
}

#define MAMBATS_EXPORT extern "C" __attribute__((visibility("default")))
