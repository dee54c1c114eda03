// What Python hands over, and how the work is cut. Everything is float32 and contiguous; a pointer may be null where an
// option is absent. Tokens of all rows are one axis: a dense row r has tokens r T .. (r + 1) T, a packed one those between
// its borders.
#pragma once
#include <stdint.h>

struct MambatsScan {
    int64_t rows, tokens, width, groups, states;  // tokens: T, of a row if dense, of all if packed
    int64_t chunk, threads;                       // states are kept for the backward pass every `chunk` tokens
    int64_t softplus, hold, reverse;
    const float *x, *dt, *A, *B, *C, *D, *z, *bias, *gaps, *initial;
    const int64_t *borders;  // rows + 1 of them, or null
    const uint8_t *mask;     // false: the row keeps its state and gives 0; forward only
    float *y, *final, *saved;
    const float *dy, *dfinal;
    float *dx, *ddt, *dA, *dB, *dC, *dD, *dz, *dbias, *dgaps, *dinitial;
};

struct MambatsRow {
    int64_t begin, end, chunk;  // tokens, and the first of its saved states
};

// One piece of work: some rows, and the neighbouring channels low .. high of one group. The gradients that several pieces
// share go to places of their own and are added up in a fixed order, so that threads change no bit.
struct MambatsUnit {
    int64_t first, last, group, low, high;
    float *dB, *dC, *dgaps, *dA, *dD, *dbias;
};
