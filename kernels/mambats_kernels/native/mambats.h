/* The native step of mambats for C and C++: link with libmambats_native.so.
 *
 * Two layers of it: a whole forecaster read from a file of a bundle (`mambats_open`, `mambats_step`), and the bare stack of
 * state-space layers (`mambats_stack_step`). Nothing is kept between calls but what the caller holds, and no lock is taken: a
 * model may be stepped in several threads at once, each with states of its own. `cpp-example/forecast.cpp` beside this file
 * is a program that does what `mambats run --bundle` does; `cpp-example/CMakeLists.txt` finds header and library. */
#ifndef MAMBATS_H
#define MAMBATS_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- A forecaster ---- */

#define MAMBATS_FORMAT 1       /* layout of `native.bin` */
#define MAMBATS_MOST_LAYERS 64

struct MambatsModel;

/* Layout that the library reads: compare with MAMBATS_FORMAT before use. */
int mambats_format(void);

struct MambatsFacts {
    int64_t channels, past;    /* a row holds the channels that are forecast, then covariates known up to now */
    int64_t horizon, levels;   /* rows forecast; quantiles of each, 0: one number */
    int64_t period_ns;         /* nanoseconds between two rows of a regular series */
};

/* Read `native.bin` of a bundle: from memory, or from a file. Sizes, sum and values are checked before use; nothing in it is
 * executed. Null if it cannot be used; then `why` (may be null) says why, as text of at most `room` bytes. */
struct MambatsModel *mambats_read(const void *bytes, int64_t size, char *why, int64_t room);
struct MambatsModel *mambats_open(const char *path, char *why, int64_t room);
void mambats_close(struct MambatsModel *model);
void mambats_facts(const struct MambatsModel *model, struct MambatsFacts *facts);

/* The state of `rows` robots in one piece of memory, which begins at a multiple of 8 bytes: its size in bytes, -1 if rows is
 * below 1 or too many; and the state before any row. One part behind another, each with rows first: int64 pending_ns;
 * float64 count, total, square (channels); float32 gap of the encoder's clock (sequences), then of each layer conv
 * (sequences, taps - 1, inner) and ssm (sequences, inner, states), then values of the history (lookback, channels); bytes
 * of 0 and 1: fresh, the clock's fresh (sequences), which values of the history there are. It may be copied, kept and
 * sent as it is. */
int64_t mambats_state_bytes(const struct MambatsModel *model, int64_t rows);
int mambats_start(const struct MambatsModel *model, int64_t rows, void *state);

/* One row of some robots. */
struct MambatsMoment {
    int64_t rows;
    const float *values;       /* (rows, channels + past), in the data's units */
    const uint8_t *observed;   /* (rows, channels + past) bytes of 0 and 1; null: all but NaN */
    const uint8_t *mask;       /* (rows) bytes: which robots have a row at all; null: all. Others keep their state. */
    const int64_t *stamp_ns;   /* (rows) nanoseconds since 1970 as in training; null for models without clock and calendar */
    const int64_t *elapsed_ns; /* (rows) since each robot's moment before, ignored at its first row; null: one period */
    const void *before;        /* state: is not changed, must not overlap the next one */
    void *after;               /* the next state */
    float *forecast;           /* (rows, horizon, channels[, levels]), in the data's units; 0 where there was no row */
};

/* 0 done, 1 memory was short: only models that need more than 64 KiB of buffers ask for any, up to 16 rows at a time. */
int mambats_step(const struct MambatsModel *model, const struct MambatsMoment *moment);

/* ---- The stack of layers alone ----
 * Everything is float32 and contiguous; matrices are (out, in), row by row, read where they lie. */

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
