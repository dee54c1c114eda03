// One token through a whole stack of gated state-space layers: what stays from step to step, and what changes. Everything is
// float32 and contiguous; matrices are (out, in), row by row, read where they lie, so that new values are seen at once.
#pragma once
#include "mambats.h"

// What changes from step to step. gap, observed and mask may be null: 1, all, all. Flags are bytes of 0 and 1.
struct MambatsToken {
    const float *x, *gap;  // (batch, channels), (batch)
    const uint8_t *observed, *mask;
    float *y;  // (batch, width)
    // The state before: pending (batch) and fresh (batch, flags) of the clock, that is the time since the last kept row and
    // whether there was none yet; then conv (batch, taps - 1, inner) and ssm (batch, inner, states) of each layer. After
    // it the state one token on, likewise.
    void *const state[];
};

struct MambatsClock {
    const float *pending;
    const uint8_t *fresh;
    float *pending_next;
    uint8_t *fresh_next;
};

struct MambatsCarry {
    const float *conv, *ssm;
    float *conv_next, *ssm_next;
};

static inline MambatsClock mambats_clock(const MambatsStack &s, const MambatsToken &t) {
    void *const *next = t.state + 2 + 2 * s.layers;
    return {(const float *)t.state[0], (const uint8_t *)t.state[1], (float *)next[0], (uint8_t *)next[1]};
}

static inline MambatsCarry mambats_carry(const MambatsStack &s, const MambatsToken &t, int64_t layer) {
    void *const *before = t.state + 2 + 2 * layer, *const *next = before + 2 + 2 * s.layers;
    return {(const float *)before[0], (const float *)before[1], (float *)next[0], (float *)next[1]};
}

// `derived` holds, layer after layer, copies of A_log, conv_weight and dt_proj, then A = -exp(A_log), conv_weight and dt_proj
// turned so that channels are innermost; at last a copy of the embedding and the embedding turned.
struct MambatsDerived {
    float *A_log, *conv_weight, *dt_proj, *A, *conv, *dt;
};

static inline int64_t mambats_layer_floats(const MambatsStack &s) { return s.inner * (s.states + s.taps + s.rank); }
static inline int64_t mambats_embed_floats(const MambatsStack &s) { return s.width * (2 * s.channels + 1); }

static inline MambatsDerived mambats_derived(const MambatsStack &s, int64_t layer) {
    MambatsDerived d;
    d.A_log = s.derived + 2 * layer * mambats_layer_floats(s);
    d.conv_weight = d.A_log + s.inner * s.states;
    d.dt_proj = d.conv_weight + s.inner * s.taps;
    d.A = d.dt_proj + s.inner * s.rank;
    d.conv = d.A + s.inner * s.states;
    d.dt = d.conv + s.inner * s.taps;
    return d;
}
