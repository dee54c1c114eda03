// The stack's host side: derived weights, and rows shared out to threads.
#include <cmath>

#include "kernels.h"
#include "work.h"

using namespace mambats;

namespace {

constexpr int64_t BLOCK = 16;                  // rows of one piece of work
constexpr int64_t WORTH_A_THREAD = 1 << 21;    // multiplications of weights: a tenth of a millisecond or more

bool same(const float *one, const float *other, int64_t count) {
    return count == 0 || std::memcmp(one, other, sizeof(float) * count) == 0;
}

void copy(float *to, const float *from, int64_t count) {
    if (count) std::memcpy(to, from, sizeof(float) * count);
}

void turn(float *to, const float *from, int64_t rows, int64_t columns) {
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c) to[c * rows + r] = from[r * columns + c];
}

int64_t taps(const MambatsStack &s) { return s.taps > 1 ? s.taps : 0; }

float *copied_embedding(const MambatsStack &s) { return s.derived + 2 * s.layers * mambats_layer_floats(s); }

bool up_to_date(const MambatsStack &s) {
    for (int64_t k = 0; k < s.layers; ++k) {
        const MambatsDerived d = mambats_derived(s, k);
        const MambatsLayer &layer = s.layer[k];
        if (!same(d.A_log, layer.A_log, s.inner * s.states) || !same(d.conv_weight, layer.conv_weight, s.inner * taps(s)) ||
            !same(d.dt_proj, layer.dt_proj, s.inner * s.rank))
            return false;
    }
    return same(copied_embedding(s), s.embed, mambats_embed_floats(s));
}

}  // namespace

// Floats that `derived` needs.
MAMBATS_EXPORT int64_t mambats_stack_floats(const MambatsStack *stack) {
    return 2 * (stack->layers * mambats_layer_floats(*stack) + mambats_embed_floats(*stack));
}

// Fills `derived`. A is that of torch to the last bit or two, times log2(e): exponentials of base 2 are what is taken.
MAMBATS_EXPORT int mambats_stack_derive(const MambatsStack *stack) {
    const MambatsStack &s = *stack;
    for (int64_t k = 0; k < s.layers; ++k) {
        const MambatsDerived d = mambats_derived(s, k);
        const MambatsLayer &layer = s.layer[k];
        copy(d.A_log, layer.A_log, s.inner * s.states);
        copy(d.conv_weight, layer.conv_weight, s.inner * taps(s));
        copy(d.dt_proj, layer.dt_proj, s.inner * s.rank);
        for (int64_t i = 0; i < s.inner * s.states; ++i)
            d.A[i] = float(-std::exp(double(layer.A_log[i])) * 1.44269504088896340736);
        turn(d.conv, layer.conv_weight, s.inner, taps(s));
        turn(d.dt, layer.dt_proj, s.inner, s.rank);
    }
    copy(copied_embedding(s), s.embed, mambats_embed_floats(s));
    turn(copied_embedding(s) + mambats_embed_floats(s), s.embed, s.width, 2 * s.channels + 1);
    return 0;
}

// 0: done. 1: memory was short. 2: a weight that `derived` is made of has changed; nothing was written.
MAMBATS_EXPORT int mambats_stack_step(const MambatsStack *stack, const MambatsToken *token) {
    const MambatsStack &s = *stack;
    if (!up_to_date(s)) return 2;
    const MambatsKernels &chosen = kernels();
    const int64_t weights = s.layers * s.inner * (3 * s.width + s.rank + 3 * s.states);
    const int64_t threads = std::max<int64_t>(1, std::min(s.threads, s.batch * weights / WORTH_A_THREAD));
    const int64_t blocks = (s.batch + BLOCK - 1) / BLOCK;
    return on_threads(threads, blocks, chosen.stack_scratch(s), [&](int64_t k, float *scratch) {
        chosen.stack_step(s, *token, k * BLOCK, std::min(s.batch, (k + 1) * BLOCK), scratch);
    }) ? 0 : 1;
}

MAMBATS_EXPORT int mambats_stack_size() { return int(sizeof(MambatsStack)); }
