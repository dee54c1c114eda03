// Vectors of as many channels as one register holds, and the few functions of them that the scan needs.
// Written with the vector types of GCC and Clang: one text for every instruction set, vectorised whatever the optimiser thinks.
#pragma once
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace MAMBATS_ISA {

#if defined(__AVX512F__)
constexpr int W = 16;
#elif defined(__AVX__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif

typedef float Vec __attribute__((vector_size(W * sizeof(float))));
typedef int32_t Ints __attribute__((vector_size(W * sizeof(float))));

constexpr float LOG2E = 1.44269504088896341f, LN2 = 0.693147180559945309f;

static inline Vec splat(float v) { return v - Vec{}; }

#if defined(__AVX__) && !defined(__AVX512F__)
static inline __m256i first_lanes(int64_t count) {
    return _mm256_castps_si256(_mm256_cmp_ps(_mm256_set_ps(7, 6, 5, 4, 3, 2, 1, 0), _mm256_set1_ps(float(count)), _CMP_LT_OQ));
}
#endif

// The first `count` channels from memory, zeros behind them; those behind are not touched. Masks, for a detour through the
// stack costs a step of the scan a third more.
static inline Vec load(const float *from, int64_t count) {
    if (count >= W) {
        Vec v;
        memcpy(&v, from, sizeof v);
        return v;
    }
#if defined(__AVX512F__)
    return (Vec)_mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), from);
#elif defined(__AVX__)
    return (Vec)_mm256_maskload_ps(from, first_lanes(count));
#else
    Vec v{};
    memcpy(&v, from, count * sizeof(float));
    return v;
#endif
}

static inline void store(float *to, Vec v, int64_t count) {
    if (count >= W) {
        memcpy(to, &v, sizeof v);
        return;
    }
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(to, __mmask16((1u << count) - 1), (__m512)v);
#elif defined(__AVX__)
    _mm256_maskstore_ps(to, first_lanes(count), (__m256)v);
#else
    memcpy(to, &v, count * sizeof(float));
#endif
}

// Lane by lane between `low` and `high`; NaN stays NaN (the second operand of x86's min and max).
static inline Vec clamp(Vec v, float low, float high) {
#if defined(__AVX512F__)
    return (Vec)_mm512_min_ps((__m512)splat(high), _mm512_max_ps((__m512)splat(low), (__m512)v));
#elif defined(__AVX__)
    return (Vec)_mm256_min_ps((__m256)splat(high), _mm256_max_ps((__m256)splat(low), (__m256)v));
#elif defined(__SSE__)
    return (Vec)_mm_min_ps((__m128)splat(high), _mm_max_ps((__m128)splat(low), (__m128)v));
#else
    v = v < splat(low) ? splat(low) : v;
    return v > splat(high) ? splat(high) : v;
#endif
}

static inline Vec absolute(Vec v) { return (Vec)((Ints)v & 0x7fffffff); }

// 2^t within 2 ulp; 0 below 2^-126, infinity from 2^128, NaN for NaN. Adding 1.5 * 2^23 rounds to the nearest whole number
// and leaves it in the low bits; the polynomial (Cephes, S. Moshier) is that of twice the value, so that 2^127 has a scale.
static inline Vec exp2v(Vec t) {
    t = clamp(t, -126.0f, 128.49f);
    const Vec moved = t + 12582912.0f;
    const Vec f = t - (moved - 12582912.0f);
    Vec p = splat(2 * 1.535336188319500e-4f);
    p = p * f + 2 * 1.339887440266574e-3f;
    p = p * f + 2 * 9.618437357674640e-3f;
    p = p * f + 2 * 5.550332471162809e-2f;
    p = p * f + 2 * 2.402264791363012e-1f;
    p = p * f + 2 * 6.931472028550421e-1f;
    p = p * f + 2.0f;
    return p * (Vec)(((Ints)moved << 23) + (126 << 23));
}

// exp(v) with the rounding error of v * log2(e) brought back in two parts, for arguments that are not tiny.
static inline Vec expv(Vec v) {
    v = clamp(v, -87.5f, 89.0f);
    const Vec whole = (v * LOG2E + 12582912.0f) - 12582912.0f;
    const Vec rest = (v - whole * 0.693359375f) - whole * -2.12194440e-4f;
    return exp2v(rest * LOG2E) * (Vec)(((Ints)(whole + 12582912.0f) << 23) + (127 << 23));
}

// log(1 + v) for 0 <= v <= 1, exact to rounding also where v is tiny: 2 atanh(v / (2 + v)).
static inline Vec log1pv(Vec v) {
    const Vec s = v / (v + 2.0f), q = s * s;
    Vec p = splat(1.0f / 17);
    p = p * q + 1.0f / 15;
    p = p * q + 1.0f / 13;
    p = p * q + 1.0f / 11;
    p = p * q + 1.0f / 9;
    p = p * q + 1.0f / 7;
    p = p * q + 1.0f / 5;
    p = p * q + 1.0f / 3;
    return 2.0f * (s + s * q * p);
}

// exp(-|v|), from which softplus and the logistic function are made without overflow.
static inline Vec tail(Vec v) { return expv(-absolute(v)); }

static inline Vec softplus(Vec v, Vec tail) {
    const Vec kept = v > Vec{} ? v : (v == v ? Vec{} : v);
    return kept + log1pv(tail);
}

static inline Vec logistic(Vec v, Vec tail) { return (v >= Vec{} ? splat(1.0f) : tail) / (tail + 1.0f); }

// (exp(z) - 1) / z, and its limit near 0, where the difference would cancel.
static inline Vec phi(Vec z, Vec e) {
    const Vec near = absolute(z);
    Vec p = splat(1.0f);
#pragma GCC unroll 10
    for (int k = 11; k > 1; --k) p = 1.0f + p * z * (1.0f / k);
    return near < splat(1.0f) ? p : (e - 1.0f) / z;
}

// (z exp(z) - exp(z) + 1) / z^2 = sum of z^k / (k! (k + 2)): what phi's derivative needs.
static inline Vec psi(Vec z, Vec e) {
    const float factor[11] = {0.5f, 1.0f / 3, 1.0f / 8, 1.0f / 30, 1.0f / 144, 1.0f / 840, 1.0f / 5760, 1.0f / 45360,
                              1.0f / 403200, 1.0f / 3991680, 1.0f / 43545600};
    Vec p = splat(factor[10]);
#pragma GCC unroll 10
    for (int k = 9; k >= 0; --k) p = p * z + factor[k];
    return absolute(z) < splat(1.0f) ? p : (z * e - e + 1.0f) / (z * z);
}

// The sum of all lanes, halves first: shuffles where the compiler knows them, for a way through memory stalls each sum.
static inline float sum(Vec v) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)v);
#elif defined(__AVX__)
    __m128 half = _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
#else
    return (v[0] + v[2]) + (v[1] + v[3]);
#endif
}

// Four sums at once, by a third of the shuffles.
static inline void sum_four(const Vec *v, float *to) {
#if defined(__AVX512F__)
    auto mix = [](__m512 a, __m512 b) { return _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)); };
    const __m512d one = (__m512d)mix((__m512)v[0], (__m512)v[1]), two = (__m512d)mix((__m512)v[2], (__m512)v[3]);
    const Vec all = (Vec)_mm512_unpacklo_pd(one, two) + (Vec)_mm512_unpackhi_pd(one, two);
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256((__m512)all),
                                      (__m256)_mm512_extractf64x4_pd((__m512d)all, 1));
    _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
#elif defined(__AVX__)
    const __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps((__m256)v[0], (__m256)v[1]), _mm256_hadd_ps((__m256)v[2], (__m256)v[3]));
    _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1)));
#else
    for (int k = 0; k < 4; ++k) to[k] = sum(v[k]);
#endif
}

}  // namespace MAMBATS_ISA
