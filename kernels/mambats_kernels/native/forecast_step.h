// One row of some robots through a whole forecaster: units, running mean, encoder, head, and back to units. The arithmetic is
// that of mambats.forecast.Forecaster.step, in its order.
#pragma once
#include "calendar.h"
#include "model.h"
#include "stack_step.h"

namespace MAMBATS_ISA {

// What a block of robots needs besides its state.
struct Workplace {
    float *x, *gap, *token, *values, *location, *scale, *base, *known, *future, *weight, *raw, *line, *stack;
    uint8_t *observed, *mask, *seen;  // of sequences; which sequences have a row; channels of the robot at work
};

// Lays it out; returns the floats that it takes.
static int64_t lay_out(const MambatsModel &m, int64_t rows, float *at, Workplace &w) {
    float *const begin = at;
    const int64_t sequences = rows * m.fold, values = rows * m.n.channels;
    auto part = [&](float *&to, int64_t count) { to = at, at += count; };
    part(w.x, sequences * m.inputs());
    part(w.gap, sequences);
    part(w.token, sequences * m.n.width);
    part(w.values, values);
    part(w.location, values);
    part(w.scale, values);
    part(w.base, values * m.n.horizon);
    part(w.known, rows * m.n.horizon * m.n.patterns);
    part(w.future, m.features);
    part(w.weight, m.n.patterns * m.outputs());
    part(w.raw, 8 * m.n.horizon * m.outputs() * m.levels());
    part(w.line, m.n.channels * m.n.lookback);
    part(w.stack, stack_scratch(m.stack));
    w.observed = reinterpret_cast<uint8_t *>(at), w.mask = w.observed + sequences * m.inputs();
    w.seen = w.mask + sequences;
    return at - begin + (sequences * (m.inputs() + 1) + m.n.channels + 3) / 4;
}

static int64_t forecast_scratch(const MambatsModel &m, int64_t rows) {
    Workplace w;
    return lay_out(m, rows, nullptr, w);
}

// y (count, out) = x (count, in) w^T.
static void project_all(const float *w, int64_t out, int64_t in, const float *x, float *y, int64_t count) {
    int64_t k = 0;
    for (; k + 4 <= count; k += 4) project<4>(w, out, in, x + k * in, y + k * out);
    for (; k < count; ++k) project<1>(w, out, in, x + k * in, y + k * out);
}

static int64_t features_at(const MambatsModel &m, int64_t stamp, float *to) {
    int64_t made = 0;
    for (int64_t k = 0; k < m.n.calendars; ++k) made += mambats::calendar_feature(m.n.calendar[k], stamp, to + made);
    return made;
}

// A batch of robots between two states, and where the block at work begins.
struct Between {
    const MambatsModel &m;
    const MambatsMoment &t;
    MambatsState before, after;
    int64_t first, rows;

    bool here(int64_t row) const { return !t.mask || t.mask[row]; }
    int64_t stamp(int64_t row) const { return t.stamp_ns ? t.stamp_ns[row] : 0; }
    int64_t clock(int64_t row) const { return mambats::floor_divide(stamp(row), m.n.period_ns); }
    const float *usual(int64_t clock) const { return m.profile + mambats::modulo(clock, m.n.cycle) * m.n.channels; }
};

// Decayed sums of what was seen, and the mean and deviation that they make: mambats.scale.RunningNorm.
static void centre(const Between &b, int64_t row, float gap, const uint8_t *seen, const float *values, float *location,
                   float *scale) {
    const double decay = std::exp(double(gap) * (-0.693147180559945309417 / b.m.n.half_life));
    for (int64_t c = 0; c < b.m.n.channels; ++c) {
        const int64_t at = row * b.m.n.channels + c;
        const double there = seen[c], value = values[c];
        const double count = decay * b.before.count[at] + there, total = decay * b.before.total[at] + there * value;
        const double square = decay * b.before.square[at] + there * value * value, mean = total / count;
        b.after.count[at] = count, b.after.total[at] = total, b.after.square[at] = square;
        const double spread = square / count - mean * mean;
        location[c] = float(mean), scale[c] = float(std::sqrt((spread < 0 ? 0 : spread) + b.m.n.norm_eps));
    }
}

// Scales a row and writes what the encoder reads: one sequence a channel unless mixing, covariates beside.
static void enter(const Between &b, const Workplace &w, int64_t row, float gap) {
    const MambatsModel &m = b.m;
    const int64_t count = m.n.channels, columns = count + m.n.past, i = row - b.first, inputs = m.inputs();
    const float *raw = b.t.values + row * columns;
    const uint8_t *told = b.t.observed ? b.t.observed + row * columns : nullptr;
    auto seen = [&](int64_t c) { return told ? told[c] != 0 : raw[c] == raw[c]; };
    float *values = w.values + i * count, *location = w.location + i * count, *scale = w.scale + i * count;
    uint8_t *flags = w.observed + i * m.fold * inputs;
    const float *usual = m.n.cycle ? b.usual(b.clock(row)) : nullptr;
    uint8_t *own = w.seen;
    for (int64_t c = 0; c < count; ++c) {
        own[c] = seen(c);
        values[c] = (own[c] ? (raw[c] - m.mean[c]) / m.scale[c] : 0.0f) - (usual ? usual[c] : 0.0f);
    }
    centre(b, row, gap, own, values, location, scale);
    if (m.features) features_at(m, b.stamp(row), w.future);
    for (int64_t s = 0; s < m.fold; ++s) {
        float *x = w.x + (i * m.fold + s) * inputs;
        uint8_t *flag = flags + s * inputs;
        for (int64_t k = 0; k < m.outputs(); ++k) {
            const int64_t c = m.n.mixing ? k : s;
            x[k] = own[c] ? (values[c] - location[c]) / scale[c] : 0.0f;
            flag[k] = own[c];
        }
        x += m.outputs(), flag += m.outputs();
        for (int64_t p = 0; p < m.n.past; ++p)
            x[p] = seen(count + p) ? (raw[count + p] - m.past_mean[p]) / m.past_scale[p] : 0.0f;
        for (int64_t f = 0; f < m.features; ++f) x[m.n.past + f] = w.future[f];
        memset(flag, 1, m.n.past + m.features);
        w.gap[i * m.fold + s] = gap;
    }
}

// Moves the history on by as many places as periods passed, and maps it to the horizon: mambats.forecast.LinearSkip.
static void skip(const Between &b, const Workplace &w, int64_t row, float gap) {
    const MambatsModel &m = b.m;
    const int64_t count = m.n.channels, length = m.n.lookback, i = row - b.first, last = length - 1;
    const float *values = w.values + i * count, *past = b.before.history + row * length * count;
    const uint8_t *flags = w.seen, *seen = b.before.seen + row * length * count;
    float *next = b.after.history + row * length * count, *base = w.base + i * count * m.n.horizon;
    uint8_t *there = b.after.seen + row * length * count;
    const float whole = nearbyintf(gap);
    const int64_t places = whole >= float(length) ? length : whole > 0 ? int64_t(whole) : 0;
    for (int64_t l = 0; l < last; ++l) {
        const int64_t from = l + places < last ? l + places : last;
        memcpy(next + l * count, past + from * count, sizeof(float) * count);
        if (l + places < length) memcpy(there + l * count, seen + from * count, count);
        else memset(there + l * count, 0, count);
    }
    memcpy(next + last * count, values, sizeof(float) * count);
    memcpy(there + last * count, flags, count);
    for (int64_t c = 0; c < count; ++c) {
        float sum = 0, weight = 0;
        for (int64_t l = 0; l < length; ++l) {
            sum += there[l * count + c] ? next[l * count + c] : 0.0f;
            weight += there[l * count + c];
        }
        const float mean = sum / (weight > 1 ? weight : 1);
        w.location[i * count + c] = mean;  // the head's answer is added to this from here on
        for (int64_t l = 0; l < length; ++l)
            w.line[c * length + l] = there[l * count + c] ? next[l * count + c] - mean : 0.0f;
    }
    project_all(m.skip, m.n.horizon, length, w.line, base, count);
}

// Keeps a robot that has no row as it is; its time goes on.
static void keep(const Between &b, int64_t row) {
    const int64_t count = b.m.n.channels, history = b.m.n.lookback * count, at = row * count;
    memcpy(b.after.count + at, b.before.count + at, sizeof(double) * count);
    memcpy(b.after.total + at, b.before.total + at, sizeof(double) * count);
    memcpy(b.after.square + at, b.before.square + at, sizeof(double) * count);
    memcpy(b.after.history + row * history, b.before.history + row * history, sizeof(float) * history);
    memcpy(b.after.seen + row * history, b.before.seen + row * history, history);
    memset(b.t.forecast + row * b.m.n.horizon * count * b.m.levels(), 0,
           sizeof(float) * b.m.n.horizon * count * b.m.levels());
}

static void encode(const Between &b, const Workplace &w) {
    const MambatsModel &m = b.m;
    const int64_t begin = b.first * m.fold, sequences = b.rows * m.fold, all = b.t.rows * m.fold;
    void *places[5 + 2 * (2 + 2 * MAMBATS_MOST_LAYERS)];
    void **at = places;
    for (void *place : {(void *)w.x, (void *)w.gap, (void *)w.observed, (void *)(b.t.mask ? w.mask : nullptr), (void *)w.token})
        *at++ = place;
    for (const MambatsState *side : {&b.before, &b.after}) {
        *at++ = side->clock + begin, *at++ = side->clock_fresh + begin;
        for (int64_t k = 0; k < m.n.layers; ++k) {
            float *layer = side->layers + all * k * m.layer_floats();
            *at++ = layer + begin * m.conv_floats();
            *at++ = layer + all * m.conv_floats() + begin * m.n.inner * m.n.states;
        }
    }
    stack_step(m.stack, *reinterpret_cast<const MambatsToken *>(places), 0, sequences, w.stack);
    for (int64_t s = 0; s < sequences; ++s) {
        if (w.mask[s]) continue;
        b.after.clock[begin + s] = b.before.clock[begin + s];
        b.after.clock_fresh[begin + s] = b.before.clock_fresh[begin + s];
    }
}

// What the calendar of the horizon says of each pattern.
static void look_ahead(const Between &b, const Workplace &w, int64_t row) {
    const MambatsModel &m = b.m;
    float *known = w.known + (row - b.first) * m.n.horizon * m.n.patterns;
    for (int64_t k = 0; k < m.n.horizon; ++k, known += m.n.patterns) {
        features_at(m, b.stamp(row) + (k + 1) * m.n.period_ns, w.future);
        for (int64_t r = 0; r < m.n.patterns; ++r) {
            known[r] = m.known_bias[r];
            for (int64_t f = 0; f < m.features; ++f) known[r] += m.known[r * m.features + f] * w.future[f];
        }
    }
}

// The head's answer for one sequence, in the data's units: mambats.forecast.DirectHead.
static void answer(const Between &b, const Workplace &w, int64_t sequence, float *raw, const float *steps) {
    const MambatsModel &m = b.m;
    const int64_t count = m.n.channels, levels = m.levels(), middle = m.n.middle, i = sequence / m.fold, row = b.first + i;
    const int64_t outputs = m.outputs(), patterns = m.n.patterns;
    const int64_t clock = m.n.cycle ? b.clock(row) : 0;
    for (int64_t k = 0; k < m.n.horizon; ++k) {
        const float *usual = m.n.cycle ? b.usual(clock + k + 1) : nullptr;
        for (int64_t o = 0; o < outputs; ++o) {
            const int64_t c = m.n.mixing ? o : sequence % m.fold, at = (k * outputs + o) * levels;
            const float scale = w.scale[i * count + c];
            const float base = w.location[i * count + c] + (m.n.lookback ? w.base[(i * count + c) * m.n.horizon + k] : 0.0f);
            float *to = b.t.forecast + ((row * m.n.horizon + k) * count + c) * levels;
            auto leave = [&](float v) {
                return (base + scale * v + (usual ? usual[c] : 0.0f)) * m.scale[c] + m.mean[c];
            };
            float v = raw[at + middle];
            for (int64_t r = 0; r < patterns; ++r)
                v += w.known[(i * m.n.horizon + k) * patterns + r] * w.weight[o * patterns + r];
            to[middle] = leave(v);
            float sum = 0;
            for (int64_t q = middle + 1; q < levels; ++q) to[q] = leave(v + (sum += steps[at + q]));
            sum = 0;
            for (int64_t q = middle - 1; q >= 0; --q) to[q] = leave(v - (sum += steps[at + q]));
        }
    }
}

static void decode(const Between &b, const Workplace &w) {
    const MambatsModel &m = b.m;
    const int64_t size = m.n.horizon * m.outputs() * m.levels(), width = m.n.width, sequences = b.rows * m.fold;
    for (int64_t s = 0; s < sequences; ++s) {
        if (m.n.identity && w.mask[s])
            for (int64_t d = 0; d < width; ++d) w.token[s * width + d] += m.identity[(s % m.fold) * width + d];
    }
    for (int64_t from = 0; from < sequences; from += 4) {
        const int64_t some = sequences - from < 4 ? sequences - from : 4;
        float *raw = w.raw, *steps = w.raw + 4 * size;
        project_all(m.project, size, width, w.token + from * width, raw, some);
        for (int64_t s = 0; s < some; ++s) {
            if (!w.mask[from + s]) continue;
            float *own = raw + s * size, *up = steps + s * size;
            over_lanes(size, [&](int64_t i, int64_t count) {
                const Vec v = load(own + i, count) + load(m.project_bias + i, count);
                store(own + i, v, count);
                if (m.n.levels) store(up + i, softplus(v, tail(v)), count);
            });
            if (m.n.patterns) {
                project<1>(m.pattern, m.n.patterns * m.outputs(), width, w.token + (from + s) * width, w.weight);
                for (int64_t r = 0; r < m.n.patterns * m.outputs(); ++r) w.weight[r] += m.pattern_bias[r];
            }
            answer(b, w, from + s, own, up);
        }
    }
}

// Robots first .. last of a batch.
static void forecast_step(const MambatsModel &m, const MambatsMoment &t, int64_t first, int64_t last, float *scratch) {
    const Between b{m, t, mambats_state(m, t.rows, const_cast<void *>(t.before)), mambats_state(m, t.rows, t.after), first,
                    last - first};
    Workplace w;
    lay_out(m, b.rows, scratch, w);
    memset(w.gap, 0, sizeof(float) * b.rows * m.fold);
    for (int64_t row = first; row < last; ++row) {
        const bool fresh = b.before.fresh[row], here = b.here(row);
        const int64_t waited = fresh ? 0 : b.before.pending[row] + (t.elapsed_ns ? t.elapsed_ns[row] : m.n.period_ns);
        const float gap = fresh ? 1.0f : float(double(waited) / double(m.n.period_ns));
        b.after.pending[row] = here ? 0 : waited;
        b.after.fresh[row] = fresh && !here;
        memset(w.mask + (row - first) * m.fold, here, m.fold);
        if (here) enter(b, w, row, gap);
        else keep(b, row);
        if (here && m.n.lookback) skip(b, w, row, gap);
        if (here && m.n.patterns) look_ahead(b, w, row);
    }
    encode(b, w);
    decode(b, w);
}

}  // namespace MAMBATS_ISA
