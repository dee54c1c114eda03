// What Python hands over for Kalman filters side by side. All tensors are contiguous, float64 if `wide`, else float32.
#pragma once
#include <stdint.h>

struct MambatsKalman {
    int64_t rows, states, measured, threads, wide;  // measured 0: predict only
    int64_t predicts;                               // whether F and Q come first
    int64_t each_f, each_q, each_h, each_r;         // numbers from one row's matrix to the next, 0 if all rows share one
    const void *x, *p, *z;                          // (B, n), (B, n, n), (B, m)
    const void *f, *q, *h, *r;                      // (n, n), (n, n), (m, n), (m, m), or one a row
    const void *gate;                               // (m + 1) or null
    const uint8_t *mask;                            // (B) or null: rows that measure, or that move if nothing is measured
    void *mean, *covariance;                        // (B, n), (B, n, n)
    void *residual, *innovation, *nis, *likelihood; // (B, m), (B, m, m), (B), (B); each may be null
    uint8_t *used;                                  // (B), or null
};
