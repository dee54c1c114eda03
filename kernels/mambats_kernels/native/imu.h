// What Python hands over for preintegration of inertial samples. All tensors are contiguous, float64 if `wide`, else float32.
#pragma once
#include <stdint.h>

struct MambatsImu {
    int64_t rows, samples, threads, wide, errors;  // without errors the last two results are left alone
    double gyro, force, integration;               // densities of noise, squared
    const void *rates, *forces, *steps, *bias;     // (B, T, 3), (B, T, 3), (B, T), (B, 6)
    void *duration, *quaternion, *velocity, *position;  // (B), (B, 4) x y z w, (B, 3), (B, 3)
    void *jacobian, *covariance;                        // (B, 9, 6), (B, 9, 9): rotation, velocity, position
};
