// The host side of Kalman filters: tiles of as many filters as a register has lanes, on threads.
#include "kalman.h"

#include "kernels.h"
#include "work.h"

using namespace mambats;

namespace {
constexpr int64_t WORTH_A_THREAD = 1 << 21;  // multiplications: half a millisecond or more
constexpr int64_t ON_STACK = 1 << 15;        // floats: 128 KB
}

// Gives 0, or 1 if memory was short.
MAMBATS_EXPORT int mambats_kalman_forward(const MambatsKalman *kalman) {
    const MambatsKalman &s = *kalman;
    const MambatsKernels &chosen = kernels();
    const int64_t lanes = chosen.kalman_lanes(s), tiles = (s.rows + lanes - 1) / lanes;
    const int64_t work = s.rows * s.states * s.states * (s.states + 3 * s.measured);
    const int64_t threads = std::max<int64_t>(1, std::min(s.threads, work / WORTH_A_THREAD));
    const int64_t floats = chosen.kalman_scratch(s);
    if (threads == 1 && floats <= ON_STACK) {  // a tenth of a step of one filter is spared
        alignas(64) float scratch[ON_STACK];
        FlushDenormals flushed;
        for (int64_t tile = 0; tile < tiles; ++tile) chosen.kalman_tile(s, tile * lanes, scratch);
        return 0;
    }
    return on_threads(threads, tiles, floats, [&](int64_t tile, float *scratch) {
        chosen.kalman_tile(s, tile * lanes, scratch);
    }) ? 0 : 1;
}

// The same for a block that is prepared once and shared: what changes from call to call comes beside it.
MAMBATS_EXPORT int mambats_kalman_step(const MambatsKalman *prepared, int64_t rows, const void *x, const void *p,
                                       const void *z, const void *mask, void *mean, void *covariance) {
    MambatsKalman s = *prepared;
    s.rows = rows, s.x = x, s.p = p, s.z = z, s.mask = static_cast<const uint8_t *>(mask);
    s.mean = mean, s.covariance = covariance;
    return mambats_kalman_forward(&s);
}

// The same over a recording, one measurement after another: z (T, rows, m), and each step's mean and covariance.
MAMBATS_EXPORT int mambats_kalman_record(const MambatsKalman *prepared, int64_t rows, int64_t steps, const void *x,
                                         const void *p, const void *z, void *mean, void *covariance) {
    const int64_t size = prepared->wide ? 8 : 4, n = prepared->states;
    const int64_t state = rows * n * size, cells = state * n, seen = rows * prepared->measured * size;
    for (int64_t t = 0; t < steps; ++t) {
        char *next = static_cast<char *>(mean) + t * state, *wider = static_cast<char *>(covariance) + t * cells;
        const void *from = t ? next - state : x, *spread = t ? wider - cells : p;
        if (mambats_kalman_step(prepared, rows, from, spread, static_cast<const char *>(z) + t * seen, nullptr, next, wider))
            return 1;
    }
    return 0;
}

MAMBATS_EXPORT int mambats_kalman_size() { return int(sizeof(MambatsKalman)); }
