// The host side of preintegration: tiles of as many intervals as a register has lanes, on threads.
#include "kernels.h"
#include "work.h"

using namespace mambats;

namespace {
constexpr int64_t WORTH_A_THREAD = 1 << 14;  // samples: half a millisecond or more
}

// Gives 0, or 1 if memory was short.
MAMBATS_EXPORT int mambats_imu_forward(const MambatsImu *imu) {
    const MambatsImu &s = *imu;
    const MambatsKernels &chosen = kernels();
    const int64_t lanes = chosen.imu_lanes(s), tiles = (s.rows + lanes - 1) / lanes;
    const int64_t threads = std::max<int64_t>(1, std::min(s.threads, s.rows * s.samples / WORTH_A_THREAD));
    return on_threads(threads, tiles, chosen.imu_scratch(), [&](int64_t tile, float *scratch) {
        chosen.imu_tile(s, tile * lanes, scratch);
    }) ? 0 : 1;
}

MAMBATS_EXPORT int mambats_imu_size() { return int(sizeof(MambatsImu)); }
