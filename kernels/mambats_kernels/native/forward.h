// h = exp(span A) h + weight u B, y = (C h + D x) silu(z), for one unit of work.
#pragma once
#include "tokens.h"

namespace MAMBATS_ISA {

// One token of one tile: advances `h` and gives C h. `a` is A log2(e).
template <bool HOLD>
static inline Vec advance(const Vec *a, Vec *h, Vec span, Vec u, const float *b, const float *c, int64_t states) {
    Vec y{};
    for (int64_t n = 0; n < states; ++n) {
        const Vec t = span * a[n], e = exp2v(t);
        const Vec put = HOLD ? span * phi(t * LN2, e) * u : u;
        h[n] = e * h[n] + put * b[n];
        y += h[n] * c[n];
    }
    return y;
}

template <bool HOLD>
static void forward_tile(const Walk &walk, Tile tile, int64_t from, int64_t to, const Vec *a, Vec *h) {
    const MambatsScan &s = walk.s;
    const Vec bias = s.bias ? load(s.bias + tile.first, tile.count) : Vec{};
    const Vec skip = s.D ? load(s.D + tile.first, tile.count) : Vec{};
    const int64_t group = tile.first / (s.width / s.groups);
    for (int64_t i = from; i < to; ++i) {
        const int64_t token = walk.token(i), at = token * s.width + tile.first;
        const int64_t weights = (token * s.groups + group) * s.states;
        const Step step = read_step(s, token, tile, bias);
        const Vec span = step.delta * walk.gap(i), u = HOLD ? step.x : step.delta * step.x;
        Vec y = advance<HOLD>(a, h, span, u, s.B + weights, s.C + weights, s.states);
        if (s.D) y += skip * step.x;
        if (s.z) {
            const Vec z = load(s.z + at, tile.count);
            y *= z * logistic(z, tail(z));
        }
        store(s.y + at, y, tile.count);
    }
}

static void forward_unit(const MambatsScan &s, const MambatsRow *rows, const MambatsUnit &u, float *scratch) {
    const int64_t tiles = tiles_of(u.high - u.low), size = s.width * s.states;
    Vec *a = reinterpret_cast<Vec *>(scratch), *h = a + tiles * s.states;
    for (int64_t k = 0; k < tiles; ++k) gather(s.A, tile_of(s, u, k), s.states, LOG2E, a + k * s.states);
    for (int64_t r = u.first; r < u.last; ++r) {
        const Walk walk{s, rows[r]};
        for (int64_t k = 0; k < tiles; ++k)
            gather(s.initial ? s.initial + r * size : nullptr, tile_of(s, u, k), s.states, 1.0f, h + k * s.states);
        const bool absent = s.mask && !s.mask[r];
        for (int64_t from = 0, chunk = rows[r].chunk; from < walk.length(); from += s.chunk, ++chunk) {
            const int64_t to = from + s.chunk < walk.length() ? from + s.chunk : walk.length();
            for (int64_t k = 0; k < tiles; ++k) {
                const Tile tile = tile_of(s, u, k);
                if (absent) {
                    for (int64_t i = from; i < to; ++i) store(s.y + walk.token(i) * s.width + tile.first, Vec{}, tile.count);
                    continue;
                }
                Vec *state = h + k * s.states;
                if (s.saved)
                    for (int64_t n = 0; n < s.states; ++n)
                        store(s.saved + (chunk * s.states + n) * s.width + tile.first, state[n], tile.count);
                (s.hold ? forward_tile<true> : forward_tile<false>)(walk, tile, from, to, a + k * s.states, state);
            }
        }
        for (int64_t k = 0; k < tiles; ++k) scatter(h + k * s.states, tile_of(s, u, k), s.states, s.final + r * size);
    }
}

}  // namespace MAMBATS_ISA
