// What Python hands over for a causal convolution, and how the work is cut. Everything is float32 and contiguous; a pointer
// may be null where an option is absent. Tokens lie as in scan.h.
#pragma once
#include <stdint.h>

struct MambatsConv {
    int64_t rows, tokens, width, taps;  // tokens: T, of a row if dense, of all if packed
    int64_t threads, silu, reverse;
    const float *x, *weight, *bias, *initial;  // weight (D, W); initial (rows, W - 1, D), oldest first
    const int64_t *borders;                    // rows + 1 of them, or null
    const uint8_t *mask;                       // false: the row keeps its state and gives 0; forward only
    float *y, *final;
    const float *dy, *dfinal;
    float *dx, *dweight, *dbias, *dinitial;
};

// Steps from .. to of the walk over one row, whose tokens are begin .. end. A row may be cut anywhere: what a piece needs of
// its neighbours it reads, or computes again. Every row has a piece, an empty one too.
struct MambatsConvPiece {
    int64_t row, begin, end, from, to;
};
