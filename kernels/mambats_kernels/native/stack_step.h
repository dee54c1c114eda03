// One token of some rows through all layers of a stack.
#pragma once
#include <math.h>

#include "lanes.h"
#include "stack.h"

namespace MAMBATS_ISA {

// Calls body(from, count) for lanes 0 .. size, with a count that the compiler knows wherever it is W.
template <class Body>
static inline void over_lanes(int64_t size, const Body &body) {
    int64_t i = 0;
    for (; i + W <= size; i += W) body(i, int64_t(W));
    if (i < size) body(i, size - i);
}

// y (R, out) = x (R, in) w^T for O rows of w, whose sums hide each other's latency.
template <int R, int O>
static inline void dot_rows(const float *w, int64_t in, const float *x, float *y, int64_t out) {
    Vec sums[R][O] = {};
    over_lanes(in, [&](int64_t i, int64_t count) {
        Vec v[R];
        for (int r = 0; r < R; ++r) v[r] = load(x + r * in + i, count);
        for (int o = 0; o < O; ++o) {
            const Vec weight = load(w + o * in + i, count);
            for (int r = 0; r < R; ++r) sums[r][o] += v[r] * weight;
        }
    });
    for (int r = 0; r < R; ++r) {
        if (O % 4 == 0)
            for (int o = 0; o + 4 <= O; o += 4) sum_four(sums[r] + o, y + r * out + o);
        else
            for (int o = 0; o < O; ++o) y[r * out + o] = sum(sums[r][o]);
    }
}

template <int R>
static void project(const float *w, int64_t out, int64_t in, const float *x, float *y) {
    constexpr int O = R == 1 ? 8 : W == 16 ? 4 : 2;  // no more sums than registers
    int64_t o = 0;
    for (; o + O <= out; o += O) dot_rows<R, O>(w + o * in, in, x, y + o, out);
    for (; o < out; ++o) dot_rows<R, 1>(w + o * in, in, x, y + o, out);
}

static void normalise(const float *x, const float *weight, int64_t width, double eps, float *y) {
    Vec squares{};
    over_lanes(width, [&](int64_t i, int64_t count) {
        const Vec v = load(x + i, count);
        squares += v * v;
    });
    const float scale = 1.0f / sqrtf(sum(squares) / float(width) + float(eps));
    over_lanes(width, [&](int64_t i, int64_t count) {
        store(y + i, load(x + i, count) * scale * load(weight + i, count), count);
    });
}

// u = silu(conv(x)), and the last inputs one token on.
static void convolve(const MambatsStack &s, const MambatsDerived &d, const float *bias, const float *x, const float *past,
                     float *next, float *u) {
    over_lanes(s.inner, [&](int64_t i, int64_t count) {
        const Vec now = load(x + i, count);
        Vec v = now;
        if (s.taps > 1) {
            v = load(bias + i, count) + now * load(d.conv + (s.taps - 1) * s.inner + i, count);
            for (int64_t k = 0; k < s.taps - 1; ++k) {
                const Vec before = load(past + k * s.inner + i, count);
                v += before * load(d.conv + k * s.inner + i, count);
                if (k) store(next + (k - 1) * s.inner + i, before, count);
            }
            store(next + (s.taps - 2) * s.inner + i, now, count);
        }
        store(u + i, v * logistic(v, tail(v)), count);
    });
}

// The states of one channel: lanes are states here, which lie side by side. Gives C h, still to be summed.
template <bool HOLD>
static inline Vec advance_channel(const float *a, const float *h, float *next, float span, float u, const float *b,
                                  const float *c, int64_t states) {
    Vec y{};
    over_lanes(states, [&](int64_t n, int64_t count) {
        const Vec t = span * load(a + n, count), e = exp2v(t);
        const Vec put = HOLD ? span * phi(t * LN2, e) * u : splat(u);
        const Vec after = e * load(h + n, count) + put * load(b + n, count);
        store(next + n, after, count);
        y += after * load(c + n, count);
    });
    return y;
}

// y = (C h + D u) silu(z). `select` holds the step sizes' ranks, B and C; `work` room for step sizes and inputs.
template <bool HOLD>
static void scan_token(const MambatsStack &s, const MambatsLayer &layer, const MambatsDerived &d, const float *select,
                       const float *u, const float *z, float gap, const float *h, float *next, float *work, float *y) {
    float *span = work, *put = work + s.inner;
    over_lanes(s.inner, [&](int64_t i, int64_t count) {
        Vec raw = load(layer.dt_bias + i, count);
        for (int64_t k = 0; k < s.rank; ++k) raw += select[k] * load(d.dt + k * s.inner + i, count);
        const Vec delta = softplus(raw, tail(raw)), x = load(u + i, count);
        store(span + i, delta * gap, count);
        store(put + i, HOLD ? x : delta * x, count);
    });
    const float *b = select + s.rank, *c = b + s.states;
    auto advance = [&](int64_t i) {
        return advance_channel<HOLD>(d.A + i * s.states, h + i * s.states, next + i * s.states, span[i], put[i], b, c, s.states);
    };
    int64_t channel = 0;
    for (; channel + 4 <= s.inner; channel += 4) {
        const Vec four[4] = {advance(channel), advance(channel + 1), advance(channel + 2), advance(channel + 3)};
        sum_four(four, y + channel);
    }
    for (; channel < s.inner; ++channel) y[channel] = sum(advance(channel));
    over_lanes(s.inner, [&](int64_t i, int64_t count) {
        const Vec gate = load(z + i, count);
        const Vec whole = load(y + i, count) + load(layer.D + i, count) * load(u + i, count);
        store(y + i, whole * gate * logistic(gate, tail(gate)), count);
    });
}

static void embed(const MambatsStack &s, const MambatsToken &t, int64_t row, float gap, float *token) {
    const float *turned = s.derived + 2 * s.layers * mambats_layer_floats(s) + mambats_embed_floats(s);
    const float *x = t.x + row * s.channels;
    const uint8_t *observed = t.observed ? t.observed + row * s.channels : nullptr;
    const float late = log1pf(gap) - LN2;
    over_lanes(s.width, [&](int64_t i, int64_t count) {
        Vec v = load(s.embed_bias + i, count);
        for (int64_t k = 0; k < s.channels; ++k) {
            if (!observed || observed[k]) v += x[k] * load(turned + k * s.width + i, count);
            else v += load(turned + (s.channels + k) * s.width + i, count);
        }
        store(token + i, v + late * load(turned + 2 * s.channels * s.width + i, count), count);
    });
}

// Gives the row's gap, and the clock one token on.
static float tick(const MambatsToken &t, const MambatsClock &clock, int64_t row) {
    const float passed = clock.pending[row] + (t.gap ? t.gap[row] : 1.0f), gap = clock.fresh[row] ? 1.0f : passed;
    const bool kept = !t.mask || t.mask[row], fresh = clock.fresh[row] && !kept;
    clock.fresh_next[row] = fresh;
    clock.pending_next[row] = kept || fresh ? 0.0f : passed;
    return gap;
}

// Floats for R rows.
static int64_t stack_scratch(const MambatsStack &s) {
    return 4 * (2 * s.width + 6 * s.inner + s.rank + 2 * s.states) + 16;
}

template <int R>
static void step_rows(const MambatsStack &s, const MambatsToken &t, const int64_t *rows, const float *gaps, float *scratch) {
    const int64_t picked = s.rank + 2 * s.states, past = (s.taps - 1) * s.inner, size = s.inner * s.states;
    float *token = scratch, *normed = token + R * s.width, *xz = normed + R * s.width, *u = xz + R * 2 * s.inner;
    float *y = u + R * s.inner, *work = y + R * s.inner, *select = work + 2 * s.inner;
    for (int r = 0; r < R; ++r) embed(s, t, rows[r], gaps[r], token + r * s.width);
    for (int64_t k = 0; k < s.layers; ++k) {
        const MambatsLayer &layer = s.layer[k];
        const MambatsCarry carry = mambats_carry(s, t, k);
        const MambatsDerived d = mambats_derived(s, k);
        for (int r = 0; r < R; ++r) normalise(token + r * s.width, layer.norm, s.width, s.eps, normed + r * s.width);
        project<R>(layer.in_proj, 2 * s.inner, s.width, normed, xz);
        for (int r = 0; r < R; ++r)
            convolve(s, d, layer.conv_bias, xz + r * 2 * s.inner, carry.conv + rows[r] * past, carry.conv_next + rows[r] * past,
                     u + r * s.inner);
        project<R>(layer.x_proj, picked, s.inner, u, select);
        for (int r = 0; r < R; ++r)
            (s.hold ? scan_token<true> : scan_token<false>)(
                s, layer, d, select + r * picked, u + r * s.inner, xz + (2 * r + 1) * s.inner, gaps[r],
                carry.ssm + rows[r] * size, carry.ssm_next + rows[r] * size, work, y + r * s.inner);
        project<R>(layer.out_proj, s.width, s.inner, y, normed);
        for (int64_t i = 0; i < R * s.width; ++i) token[i] += normed[i];
    }
    for (int r = 0; r < R; ++r) {
        float *y_row = t.y + rows[r] * s.width;
        if (s.norm) normalise(token + r * s.width, s.norm, s.width, s.eps, y_row);
        else memcpy(y_row, token + r * s.width, sizeof(float) * s.width);
    }
}

static void keep_rows(const MambatsStack &s, const MambatsToken &t, int64_t row) {
    const int64_t past = (s.taps - 1) * s.inner, size = s.inner * s.states;
    memset(t.y + row * s.width, 0, sizeof(float) * s.width);
    for (int64_t k = 0; k < s.layers; ++k) {
        const MambatsCarry carry = mambats_carry(s, t, k);
        if (past) memcpy(carry.conv_next + row * past, carry.conv + row * past, sizeof(float) * past);
        memcpy(carry.ssm_next + row * size, carry.ssm + row * size, sizeof(float) * size);
    }
}

// Four present rows at a time share the reading of weights.
static void stack_step(const MambatsStack &s, const MambatsToken &t, int64_t first, int64_t last, float *scratch) {
    int64_t rows[4], count = 0;
    float gaps[4];
    const MambatsClock clock = mambats_clock(s, t);
    for (int64_t row = first; row < last; ++row) {
        const float gap = tick(t, clock, row);
        if (t.mask && !t.mask[row]) {
            keep_rows(s, t, row);
            continue;
        }
        rows[count] = row, gaps[count++] = gap;
        if (count < 4) continue;
        step_rows<4>(s, t, rows, gaps, scratch);
        count = 0;
    }
    for (int64_t k = 0; k < count; ++k) step_rows<1>(s, t, rows + k, gaps + k, scratch);
}

}  // namespace MAMBATS_ISA
