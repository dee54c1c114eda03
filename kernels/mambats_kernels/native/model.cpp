// Reads a forecaster from a flat file. Nothing in it is believed: the sum first, then every size, then that the tensors which
// follow from the sizes end where the file ends.
#include "model.h"

#include <cmath>
#include <cstdio>
#include <memory>
#include <new>

#include "kernels.h"
#include "sha256.h"

using namespace mambats;

namespace {

constexpr int64_t HEAD = 48, NUMBERS = sizeof(MambatsSizes), LARGEST = 1 << 20, LAYERS = MAMBATS_MOST_LAYERS;

struct Wrong {
    const char *why;
};

void need(bool right, const char *why) {
    if (!right) throw Wrong{why};
}

int64_t product(int64_t a, int64_t b) {
    int64_t made;
    need(!__builtin_mul_overflow(a, b, &made), "has sizes that no memory holds");
    return made;
}

bool flag(int64_t v) { return v == 0 || v == 1; }
bool size(int64_t v, int64_t least = 1, int64_t most = LARGEST) { return least <= v && v <= most; }
bool positive(double v) { return std::isfinite(v) && v > 0; }

void check(const MambatsSizes &n) {
    need(n.version == MAMBATS_FORMAT, "has a layout of another version: export again, or take that version's library");
    need(size(n.channels) && size(n.past, 0) && size(n.horizon) && size(n.levels, 0, 1024) && size(n.cycle, 0) &&
             size(n.lookback, 0) && size(n.patterns, 0) && size(n.layers, 1, LAYERS) && size(n.width) && size(n.inner) &&
             size(n.states) && size(n.taps) && size(n.rank) && size(n.calendars, 0, 8) && size(n.stored, 0, 2),
         "has a size out of range");
    need(size(n.period_ns, 1, int64_t(1) << 60) && size(n.middle, 0, n.levels ? n.levels - 1 : 0) && flag(n.mixing) &&
             flag(n.identity) && flag(n.hold) && flag(n.final_norm) && (n.calendars || !n.patterns) &&
             !(n.mixing && n.identity),
         "has an option out of range");
    for (int64_t k = 0; k < n.calendars; ++k) need(size(n.calendar[k], 0, 7), "has an unknown calendar feature");
    need(positive(n.eps) && positive(n.half_life) && positive(n.norm_rows) && positive(n.norm_eps),
         "has an option out of range");
}

// Takes tensors one after another; where each begins is told as an offset, for memory still moves.
class Tensors {
    const uint8_t *at, *end;
    int64_t stored;
    std::vector<float> &to;

    const uint8_t *take(int64_t bytes) {
        need(bytes <= end - at, "is cut off, or its sizes are not its own");
        const uint8_t *here = at;
        at += bytes;
        return here;
    }

public:
    Tensors(const uint8_t *from, const uint8_t *until, int64_t kind, std::vector<float> &numbers)
        : at(from), end(until), stored(kind), to(numbers) {}

    // Begins at a multiple of 16 floats: a vector's load then touches one line of the cache.
    int64_t begin(int64_t count) {
        to.resize((to.size() + 15) / 16 * 16);
        const int64_t begun = int64_t(to.size());
        to.resize(begun + count);
        return begun;
    }

    int64_t plain(int64_t count) {
        const uint8_t *from = take(product(count, sizeof(float)));
        const int64_t begun = begin(count);
        if (count) std::memcpy(to.data() + begun, from, sizeof(float) * count);
        return begun;
    }

    int64_t matrix(int64_t rows, int64_t columns) {
        const int64_t count = product(rows, columns);
        if (stored == 0 || count == 0) return plain(count);
        const uint8_t *scales = stored == 2 ? take(product(rows, sizeof(float))) : nullptr;
        const uint8_t *from = take((product(count, stored == 1 ? 2 : 1) + 3) / 4 * 4);
        const int64_t begun = begin(count);
        for (int64_t i = 0; i < count; ++i) {
            float value = 1;
            if (stored == 1) {
                uint16_t half;
                std::memcpy(&half, from + 2 * i, 2);
                const uint32_t bits = uint32_t(half) << 16;
                std::memcpy(&value, &bits, 4);
            } else {
                std::memcpy(&value, scales + 4 * (i / columns), 4);
                value *= float(int8_t(from[i]));
            }
            to[begun + i] = value;
        }
        return begun;
    }

    void finish() const {
        need(at == end, "is longer than its sizes say");
        for (float v : to) need(std::isfinite(v), "holds a weight that is not finite");
    }
};

struct LayerPlaces {
    int64_t norm, in_proj, conv, conv_bias, x_proj, dt_proj, dt_bias, A_log, D, out_proj;
};

void read_tensors(MambatsModel &m, Tensors &t) {
    const MambatsSizes &n = m.n;
    const int64_t count = n.channels, taps = n.taps > 1 ? n.taps : 0, picked = n.rank + 2 * n.states;
    const int64_t raw = product(product(n.horizon, m.outputs()), m.levels()), patterns = product(n.patterns, m.outputs());
    const int64_t mean = t.plain(count), scale = t.plain(count), past_mean = t.plain(n.past), past_scale = t.plain(n.past);
    const int64_t profile = t.plain(product(n.cycle, count)), skip = t.matrix(n.lookback ? n.horizon : 0, n.lookback);
    const int64_t identity = t.plain(n.identity ? product(count, n.width) : 0);
    const int64_t embed = t.matrix(n.width, 2 * m.inputs() + 1), embed_bias = t.plain(n.width);
    std::vector<LayerPlaces> places;
    for (int64_t k = 0; k < n.layers; ++k) {
        LayerPlaces p;
        p.norm = t.plain(n.width), p.in_proj = t.matrix(2 * n.inner, n.width);
        p.conv = t.plain(product(n.inner, taps)), p.conv_bias = t.plain(taps ? n.inner : 0);
        p.x_proj = t.matrix(picked, n.inner), p.dt_proj = t.plain(product(n.inner, n.rank)), p.dt_bias = t.plain(n.inner);
        p.A_log = t.plain(product(n.inner, n.states)), p.D = t.plain(n.inner), p.out_proj = t.matrix(n.width, n.inner);
        places.push_back(p);
    }
    const int64_t norm = t.plain(n.final_norm ? n.width : 0);
    const int64_t project = t.matrix(raw, n.width), project_bias = t.plain(raw);
    const int64_t pattern = t.matrix(patterns, n.width), pattern_bias = t.plain(patterns);
    const int64_t known = t.matrix(n.patterns, n.patterns ? m.features : 0), known_bias = t.plain(n.patterns);
    t.finish();
    const float *at = m.numbers.data();
    m.mean = at + mean, m.scale = at + scale, m.past_mean = at + past_mean, m.past_scale = at + past_scale;
    m.profile = at + profile, m.skip = at + skip, m.identity = at + identity, m.project = at + project;
    m.project_bias = at + project_bias, m.pattern = at + pattern, m.pattern_bias = at + pattern_bias;
    m.known = at + known, m.known_bias = at + known_bias;
    for (const LayerPlaces &p : places)
        m.layer.push_back({at + p.norm, at + p.in_proj, taps ? at + p.conv : nullptr, taps ? at + p.conv_bias : nullptr,
                           at + p.x_proj, at + p.dt_proj, at + p.dt_bias, at + p.A_log, at + p.D, at + p.out_proj});
    m.stack = {1, m.inputs(), n.width, n.layers, n.inner, n.states, n.taps, n.rank, n.hold, 1, n.eps,
               at + embed, at + embed_bias, n.final_norm ? at + norm : nullptr, m.layer.data(), nullptr};
}

std::unique_ptr<MambatsModel> read(const uint8_t *bytes, int64_t length) {
    need(length >= HEAD + NUMBERS && std::memcmp(bytes, "MAMBATSN", 8) == 0, "is no model of the native library");
    uint64_t told;
    std::memcpy(&told, bytes + 8, 8);
    need(told == uint64_t(length), "is cut off, or was written on a machine of another byte order");
    uint8_t sum[32];
    Sha256::of(bytes + HEAD, length - HEAD, sum);
    need(std::memcmp(sum, bytes + 16, 32) == 0, "was changed: its sha256 is not what it says. Copy it again");
    std::unique_ptr<MambatsModel> m(new MambatsModel{});
    std::memcpy(&m->n, bytes + HEAD, NUMBERS);
    check(m->n);
    for (int64_t k = 0; k < m->n.calendars; ++k) m->features += 2 - m->n.calendar[k] % 2;
    m->fold = m->n.mixing ? 1 : m->n.channels;
    Tensors tensors(bytes + HEAD + NUMBERS, bytes + length, m->n.stored, m->numbers);
    read_tensors(*m, tensors);
    m->derived.resize(mambats_stack_floats(&m->stack));
    m->stack.derived = m->derived.data();
    mambats_stack_derive(&m->stack);
    return m;
}

struct Closed {
    void operator()(FILE *file) const { std::fclose(file); }
};

std::unique_ptr<MambatsModel> open(const char *path) {
    std::unique_ptr<FILE, Closed> file(std::fopen(path, "rb"));
    need(file != nullptr, "cannot be opened");
    std::vector<uint8_t> bytes;
    uint8_t part[1 << 16];
    for (size_t got; (got = std::fread(part, 1, sizeof part, file.get()));) {
        need(bytes.size() < size_t(1) << 32, "is larger than 4 GiB");
        bytes.insert(bytes.end(), part, part + got);
    }
    return read(bytes.data(), int64_t(bytes.size()));
}

template <class Make>
MambatsModel *made(const Make &make, char *why, int64_t room) {
    const char *said = "";
    MambatsModel *model = nullptr;
    try {
        model = make().release();
    } catch (const Wrong &wrong) {
        said = wrong.why;
    } catch (const std::exception &) {
        said = "needs more memory than there is";
    }
    if (why && room > 0) std::snprintf(why, size_t(room), "%s", said);
    return model;
}

}  // namespace

MAMBATS_EXPORT int mambats_format() { return MAMBATS_FORMAT; }

MAMBATS_EXPORT MambatsModel *mambats_read(const void *bytes, int64_t length, char *why, int64_t room) {
    return made([&] { return read(static_cast<const uint8_t *>(bytes), length); }, why, room);
}

MAMBATS_EXPORT MambatsModel *mambats_open(const char *path, char *why, int64_t room) {
    return made([&] { return open(path); }, why, room);
}

MAMBATS_EXPORT void mambats_close(MambatsModel *model) { delete model; }

MAMBATS_EXPORT void mambats_facts(const MambatsModel *model, MambatsFacts *facts) {
    const MambatsSizes &n = model->n;
    *facts = {n.channels, n.past, n.horizon, n.levels, n.period_ns};
}
