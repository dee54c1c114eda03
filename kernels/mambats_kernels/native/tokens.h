// Reading one token of some channels, and moving states between memory and tiles of W channels.
#pragma once
#include "lanes.h"
#include "scan.h"

namespace MAMBATS_ISA {

// A tile of channels: `count` of them from channel `first`; the lanes behind are zero and stay zero.
struct Tile {
    int64_t first, count;
};

// The order in which a row is walked.
struct Walk {
    const MambatsScan &s;
    const MambatsRow &row;

    int64_t length() const { return row.end - row.begin; }
    int64_t token(int64_t i) const { return s.reverse ? row.end - 1 - i : row.begin + i; }
    // Where the gap before step i is; -1 where it is 1. In reverse a token uses the gap of the one walked before it.
    int64_t gap_at(int64_t i) const {
        if (!s.gaps || (s.reverse && i == 0)) return -1;
        return s.reverse ? token(i) + 1 : token(i);
    }
    float gap(int64_t i) const {
        const int64_t at = gap_at(i);
        return at < 0 ? 1.0f : s.gaps[at];
    }
};

// Step size of one token and its derivative by dt.
struct Step {
    Vec x, delta, slope;
};

static inline Step read_step(const MambatsScan &s, int64_t token, Tile tile, Vec bias) {
    const int64_t at = token * s.width + tile.first;
    Step step{load(s.x + at, tile.count), load(s.dt + at, tile.count) + bias, splat(1.0f)};
    if (s.softplus) {
        const Vec tailed = tail(step.delta);
        step.slope = logistic(step.delta, tailed);
        step.delta = softplus(step.delta, tailed);
    }
    return step;
}

// (channels, N) in memory to (N, W) in a tile, times `factor`; nothing there means zeros.
static inline void gather(const float *from, Tile tile, int64_t states, float factor, Vec *to) {
    for (int64_t n = 0; n < states; ++n) to[n] = Vec{};
    if (!from) return;
    for (int64_t k = 0; k < tile.count; ++k) {
        const float *channel = from + (tile.first + k) * states;
        for (int64_t n = 0; n < states; ++n) reinterpret_cast<float *>(to + n)[k] = channel[n] * factor;
    }
}

static inline void scatter(const Vec *from, Tile tile, int64_t states, float *to) {
    for (int64_t k = 0; k < tile.count; ++k) {
        float *channel = to + (tile.first + k) * states;
        for (int64_t n = 0; n < states; ++n) channel[n] = reinterpret_cast<const float *>(from + n)[k];
    }
}

static inline Tile tile_of(const MambatsScan &s, const MambatsUnit &u, int64_t index) {
    const int64_t low = u.low + index * W, left = u.high - low;
    return {u.group * (s.width / s.groups) + low, left < W ? left : W};
}

static inline int64_t tiles_of(int64_t channels) { return (channels + W - 1) / W; }

}  // namespace MAMBATS_ISA
