// A forecaster as the library holds it, read from a flat file by model.cpp: sizes, options and weights, all in one piece of
// memory that nobody writes to afterwards.
#pragma once
#include <vector>

#include "stack.h"

#define MAMBATS_INLINE __attribute__((always_inline)) inline

// The numbers that a file begins with, in this order; `mambats.streaming.engines.native_file` writes them.
struct MambatsSizes {
    int64_t version;
    int64_t channels, past, horizon, levels, middle;  // levels 0: a point
    int64_t mixing, period_ns, cycle, lookback, identity, patterns;  // cycle, lookback, patterns 0: there is none
    int64_t calendars, calendar[8];  // 2 * (hour of day, day of week, of month, of year) + 1 where it is one number
    int64_t layers, width, inner, states, taps, rank, hold, final_norm;
    int64_t stored;  // how matrices are: 0 float32, 1 bfloat16, 2 int8 with a scale a row
    double eps, half_life, norm_rows, norm_eps;
};

struct MambatsModel {
    MambatsSizes n;
    int64_t features, fold;  // columns of the calendar; sequences of a robot
    std::vector<float> numbers, derived;
    std::vector<MambatsLayer> layer;
    MambatsStack stack;
    const float *mean, *scale, *past_mean, *past_scale, *profile, *skip, *identity;
    const float *project, *project_bias, *pattern, *pattern_bias, *known, *known_bias;

    // Into its callers always: a copy of their own would be shared by all instruction sets.
    MAMBATS_INLINE int64_t outputs() const { return n.mixing ? n.channels : 1; }
    MAMBATS_INLINE int64_t levels() const { return n.levels ? n.levels : 1; }
    MAMBATS_INLINE int64_t inputs() const { return outputs() + n.past + features; }
    MAMBATS_INLINE int64_t conv_floats() const { return (n.taps - 1) * n.inner; }
    MAMBATS_INLINE int64_t layer_floats() const { return conv_floats() + n.inner * n.states; }
};

// Where the parts of the state of some robots lie; the order is that of mambats.h.
struct MambatsState {
    int64_t *pending;
    double *count, *total, *square;
    float *clock, *layers, *history;
    uint8_t *fresh, *clock_fresh, *seen;
    uint8_t *end;
};

static inline MambatsState mambats_state(const MambatsModel &m, int64_t rows, void *memory) {
    const int64_t sequences = rows * m.fold, values = rows * m.n.channels;
    MambatsState s;
    s.pending = static_cast<int64_t *>(memory);
    s.count = reinterpret_cast<double *>(s.pending + rows), s.total = s.count + values, s.square = s.total + values;
    s.clock = reinterpret_cast<float *>(s.square + values), s.layers = s.clock + sequences;
    s.history = s.layers + sequences * m.n.layers * m.layer_floats();
    s.fresh = reinterpret_cast<uint8_t *>(s.history + values * m.n.lookback), s.clock_fresh = s.fresh + rows;
    s.seen = s.clock_fresh + sequences, s.end = s.seen + values * m.n.lookback;
    return s;
}
