// The host side of a forecaster's step: memory, blocks of robots, the state before any row.
#include <cstring>

#include "kernels.h"
#include "work.h"

using namespace mambats;

namespace {

constexpr int64_t BLOCK = 16;                // robots of one piece of work
constexpr int64_t ON_STACK = (1 << 16) / 4;  // floats; 64 wide, 4 layers and 24 rows ahead need 4,000 of them

bool times(int64_t a, int64_t b, int64_t &made) { return !__builtin_mul_overflow(a, b, &made); }

}  // namespace

MAMBATS_EXPORT int64_t mambats_state_bytes(const MambatsModel *model, int64_t rows) {
    const MambatsModel &m = *model;
    // Bytes of a robot, each term bounded by the file that its weights were read from.
    int64_t history, layers, robot, all;
    if (rows < 1 || rows > 1 << 24 || !times(m.n.lookback * m.n.channels, 5, history) ||
        !times(m.fold, m.n.layers * m.layer_floats() * 4 + 5, layers) ||
        __builtin_add_overflow(history, layers, &robot) || !times(rows, robot + 9 + 24 * m.n.channels, all))
        return -1;
    return all;
}

MAMBATS_EXPORT int mambats_start(const MambatsModel *model, int64_t rows, void *state) {
    const int64_t bytes = mambats_state_bytes(model, rows);
    if (bytes < 0) return 1;
    std::memset(state, 0, size_t(bytes));
    const MambatsState s = mambats_state(*model, rows, state);
    for (int64_t i = 0; i < rows * model->n.channels; ++i) s.count[i] = s.square[i] = model->n.norm_rows;
    std::memset(s.fresh, 1, size_t(rows));
    std::memset(s.clock_fresh, 1, size_t(rows * model->fold));
    return 0;
}

MAMBATS_EXPORT int mambats_step(const MambatsModel *model, const MambatsMoment *moment) {
    const MambatsKernels &chosen = kernels();
    const int64_t rows = moment->rows, floats = chosen.forecast_scratch(*model, std::min(rows, BLOCK));
    alignas(64) float near[ON_STACK];
    float *scratch = near, *far = nullptr;
    if (floats > ON_STACK) {
        scratch = far = static_cast<float *>(std::aligned_alloc(64, size_t((floats * 4 + 63) / 64 * 64)));
        if (!far) return 1;
    }
    const FlushDenormals flushed;
    for (int64_t first = 0; first < rows; first += BLOCK)
        chosen.forecast_step(*model, *moment, first, std::min(rows, first + BLOCK), scratch);
    std::free(far);
    return 0;
}
