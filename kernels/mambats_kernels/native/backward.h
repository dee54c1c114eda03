// Gradients of one unit of work, chunk by chunk from the last: states and decays of a chunk are computed again from the
// state saved before it, then g = exp(span A) g' + C dy walks back. Sums over channels are kept lane by lane until all
// tiles of a chunk are done.
#pragma once
#include "tokens.h"

namespace MAMBATS_ISA {

// Buffers of one chunk of K tokens: decay, weight, db, dc (K, N); state (K + 1, N); the rest (K).
struct Chunk {
    Vec *decay, *weight, *state, *db, *dc, *x, *delta, *slope, *span, *y, *dgap;
};

// Buffers of all tiles of a unit: a = A log2(e), what comes from behind, and dA, each (tiles, N); dD, dbias (tiles).
struct Carried {
    Vec *a, *carry, *da, *dskip, *dbias;
};

static int64_t layout(const MambatsScan &s, int64_t channels, float *scratch, Chunk &c, Carried &t) {
    const int64_t tiles = tiles_of(channels), N = s.states, K = s.chunk;
    Vec *begin = reinterpret_cast<Vec *>(scratch), *next = begin;
    auto take = [&](Vec *&where, int64_t count) { where = next, next += count; };
    take(t.a, tiles * N), take(t.carry, tiles * N), take(t.da, tiles * N), take(t.dskip, tiles), take(t.dbias, tiles);
    take(c.decay, K * N), take(c.weight, s.hold ? K * N : 0), take(c.state, (K + 1) * N);
    take(c.db, K * N), take(c.dc, K * N);
    take(c.x, K), take(c.delta, K), take(c.slope, K), take(c.span, K), take(c.y, K), take(c.dgap, K);
    return (next - begin) * W;
}

template <bool HOLD>
static void recompute(const Walk &walk, Tile tile, int64_t from, int64_t to, const Vec *a, Chunk &k) {
    const MambatsScan &s = walk.s;
    const Vec bias = s.bias ? load(s.bias + tile.first, tile.count) : Vec{};
    const int64_t group = tile.first / (s.width / s.groups), N = s.states;
    for (int64_t i = from, j = 0; i < to; ++i, ++j) {
        const int64_t token = walk.token(i), weights = (token * s.groups + group) * N;
        const Step step = read_step(s, token, tile, bias);
        const Vec span = step.delta * walk.gap(i), u = HOLD ? step.x : step.delta * step.x;
        k.x[j] = step.x, k.delta[j] = step.delta, k.slope[j] = step.slope, k.span[j] = span;
        const Vec *before = k.state + j * N;
        Vec *after = k.state + (j + 1) * N, *decay = k.decay + j * N, *weight = k.weight + j * N, y{};
        const float *b = s.B + weights, *c = s.C + weights;
        for (int64_t n = 0; n < N; ++n) {
            const Vec t = span * a[n], e = exp2v(t);
            Vec put = u;
            if (HOLD) weight[n] = span * phi(t * LN2, e), put = weight[n] * u;
            decay[n] = e;
            after[n] = e * before[n] + put * b[n];
            y += after[n] * c[n];
        }
        k.y[j] = y;
    }
}

// What one token hands back to its input and its time.
struct Slopes {
    Vec u, span;
};

template <bool HOLD>
static inline Slopes retreat(const MambatsScan &s, Chunk &k, int64_t j, Vec dy, Vec u, const float *b, const float *c,
                             const Vec *a, Vec *carry, Vec *da) {
    const int64_t N = s.states;
    const Vec *before = k.state + j * N, *after = before + N, *decay = k.decay + j * N, *weight = k.weight + j * N;
    Vec *db = k.db + j * N, *dc = k.dc + j * N, du{}, dexponent{}, dspan{};
    const Vec span = k.span[j];
    for (int64_t n = 0; n < N; ++n) {
        const Vec g = carry[n] + dy * c[n], e = decay[n], passed = g * e;
        dc[n] += dy * after[n];
        Vec q = passed * before[n];
        dexponent += q * a[n];
        q *= span;
        if (HOLD) {
            const Vec gb = g * b[n], dweight = gb * u;
            db[n] += g * weight[n] * u;
            du += gb * weight[n];
            dspan += dweight * e;
            q += dweight * span * span * psi(span * a[n] * LN2, e);
        } else {
            db[n] += g * u;
            du += g * b[n];
        }
        da[n] += q;
        carry[n] = passed;
    }
    return {du, dexponent * LN2 + dspan};
}

// A step that was gated: gives the gradient before the gate, and writes dz.
static inline Vec ungate(const MambatsScan &s, int64_t at, Tile tile, Vec dy, Vec y) {
    const Vec z = load(s.z + at, tile.count), open = logistic(z, tail(z));
    store(s.dz + at, dy * y * (open * (1.0f + z * (1.0f - open))), tile.count);
    return dy * (z * open);
}

template <bool HOLD>
static void backward_tile(const Walk &walk, Tile tile, int64_t from, int64_t to, Chunk &k, const Carried &t, int64_t index) {
    const MambatsScan &s = walk.s;
    const int64_t group = tile.first / (s.width / s.groups), N = s.states;
    const Vec skip = s.D ? load(s.D + tile.first, tile.count) : Vec{};
    Vec dskip{}, dbias{};
    for (int64_t i = to - 1; i >= from; --i) {
        const int64_t j = i - from, token = walk.token(i), at = token * s.width + tile.first;
        const int64_t weights = (token * s.groups + group) * N;
        const Vec x = k.x[j], delta = k.delta[j];
        Vec dy = load(s.dy + at, tile.count);
        if (s.z) dy = ungate(s, at, tile, dy, k.y[j] + skip * x);
        dskip += dy * x;
        const Slopes d = retreat<HOLD>(s, k, j, dy, HOLD ? x : delta * x, s.B + weights, s.C + weights, t.a + index * N,
                                       t.carry + index * N, t.da + index * N);
        k.dgap[j] += d.span * delta;
        Vec ddelta = d.span * walk.gap(i);
        if (!HOLD) ddelta += d.u * x;
        store(s.dx + at, (HOLD ? d.u : d.u * delta) + dy * skip, tile.count);
        ddelta *= k.slope[j];
        store(s.ddt + at, ddelta, tile.count);
        dbias += ddelta;
    }
    t.dskip[index] += dskip;
    t.dbias[index] += dbias;
}

// The sums over this unit's channels, once all its tiles have added to them.
static void write_sums(const Walk &walk, const MambatsUnit &u, int64_t from, int64_t to, const Chunk &k) {
    const MambatsScan &s = walk.s;
    for (int64_t i = from, j = 0; i < to; ++i, ++j) {
        const int64_t weights = (walk.token(i) * s.groups + u.group) * s.states;
        for (int64_t n = 0; n < s.states; ++n) {
            u.dB[weights + n] = sum(k.db[j * s.states + n]);
            u.dC[weights + n] = sum(k.dc[j * s.states + n]);
        }
        const int64_t gap = walk.gap_at(i);
        if (u.dgaps && gap >= 0) u.dgaps[gap] = sum(k.dgap[j]);
    }
}

static void backward_row(const Walk &walk, const MambatsUnit &u, Chunk &k, const Carried &t) {
    const MambatsScan &s = walk.s;
    const int64_t tiles = tiles_of(u.high - u.low), N = s.states, chunks = (walk.length() + s.chunk - 1) / s.chunk;
    if (u.dgaps && s.reverse && walk.length()) u.dgaps[walk.row.begin] = 0;  // the gap that a reverse walk never meets
    for (int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
        const int64_t from = chunk * s.chunk, to = from + s.chunk < walk.length() ? from + s.chunk : walk.length();
        memset((void *)k.db, 0, sizeof(Vec) * (to - from) * N);
        memset((void *)k.dc, 0, sizeof(Vec) * (to - from) * N);
        memset((void *)k.dgap, 0, sizeof(Vec) * (to - from));
        for (int64_t index = 0; index < tiles; ++index) {
            const Tile tile = tile_of(s, u, index);
            for (int64_t n = 0; n < N; ++n)
                k.state[n] = load(s.saved + ((walk.row.chunk + chunk) * N + n) * s.width + tile.first, tile.count);
            (s.hold ? recompute<true> : recompute<false>)(walk, tile, from, to, t.a + index * N, k);
            (s.hold ? backward_tile<true> : backward_tile<false>)(walk, tile, from, to, k, t, index);
        }
        write_sums(walk, u, from, to, k);
    }
}

static void backward_unit(const MambatsScan &s, const MambatsRow *rows, const MambatsUnit &u, float *scratch) {
    Chunk k;
    Carried t;
    layout(s, u.high - u.low, scratch, k, t);
    const int64_t tiles = tiles_of(u.high - u.low), N = s.states, size = s.width * N;
    memset((void *)t.da, 0, sizeof(Vec) * tiles * N);
    memset((void *)t.dskip, 0, sizeof(Vec) * tiles);
    memset((void *)t.dbias, 0, sizeof(Vec) * tiles);
    for (int64_t index = 0; index < tiles; ++index) gather(s.A, tile_of(s, u, index), N, LOG2E, t.a + index * N);
    for (int64_t r = u.first; r < u.last; ++r) {
        for (int64_t index = 0; index < tiles; ++index)
            gather(s.dfinal ? s.dfinal + r * size : nullptr, tile_of(s, u, index), N, 1.0f, t.carry + index * N);
        backward_row(Walk{s, rows[r]}, u, k, t);
        for (int64_t index = 0; index < tiles && s.dinitial; ++index)
            scatter(t.carry + index * N, tile_of(s, u, index), N, s.dinitial + r * size);
    }
    for (int64_t index = 0; index < tiles; ++index) {
        const Tile tile = tile_of(s, u, index);
        scatter(t.da + index * N, tile, N, u.dA);
        store(u.dD + tile.first, t.dskip[index], tile.count);
        store(u.dbias + tile.first, t.dbias[index], tile.count);
    }
}

}  // namespace MAMBATS_ISA
