/* The native step of a stack of gated state-space layers, for C and C++: link with libmambats_native.so.
 *
 * Everything is float32 and contiguous; matrices are (out, in), row by row, read where they lie. Nothing is kept between calls
 * but what the caller holds, no memory is left behind, and no lock is taken: several stacks run in several threads.
 * `kernels/example/step.cpp` reads the weights of a bundle and steps it. */
#ifndef MAMBATS_H
#define MAMBATS_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Weights of a layer. Sizes: norm (width), in_proj (2 inner, width), conv_weight (inner, taps) and conv_bias (inner) or null,
 * x_proj (rank + 2 states, inner), dt_proj (inner, rank), dt_bias (inner), A_log (inner, states), D (inner),
 * out_proj (width, inner). */
struct MambatsLayer {
    const float *norm, *in_proj, *conv_weight, *conv_bias, *x_proj, *dt_proj, *dt_bias, *A_log, *D, *out_proj;
};

struct MambatsStack {
    int64_t batch, channels, width, layers, inner, states, taps, rank; /* taps 1: no convolution, its weights are null */
    int64_t hold, threads;
    double eps;                     /* of every norm */
    const float *embed, *embed_bias; /* (width, 2 channels + 1): values, which are missing, the gap's logarithm */
    const float *norm;              /* of the last token, or null */
    const struct MambatsLayer *layer;
    float *derived;                 /* what is computed of small weights, with copies of them */
};

/* Bytes of MambatsStack as the library knows it: compare before use. */
int mambats_stack_size(void);
/* Floats that `derived` needs; and fill it, once, or again when weights have changed. */
int64_t mambats_stack_floats(const struct MambatsStack *stack);
int mambats_stack_derive(const struct MambatsStack *stack);
/* Take one token. `token` is a row of addresses: x (batch, channels), gap (batch) or null for 1, observed (batch, channels)
 * bytes of 0 and 1 or null for all, mask (batch) bytes or null for all, y (batch, width); then the state before: pending
 * (batch) floats and fresh (batch) bytes of the clock, and for each layer conv (batch, taps - 1, inner) and ssm (batch, inner,
 * states); then the state after, likewise. At the start all is 0 but fresh, which is 1.
 * Returns 0 done, 1 memory was short, 2 derive again: weights have changed. */
struct MambatsToken;
int mambats_stack_step(const struct MambatsStack *stack, const struct MambatsToken *token);

#ifdef __cplusplus
}
#endif
#endif
