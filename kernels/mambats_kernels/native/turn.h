// Vectors of floats or doubles over intervals, small vectors and matrices of them, and what Exp needs of an angle.
#pragma once
#include <cmath>

#include "lanes.h"

namespace MAMBATS_ISA {

template <class Real>
struct Lanes {
    static constexpr int COUNT = W * sizeof(float) / sizeof(Real);
    typedef Real V __attribute__((vector_size(W * sizeof(float))));
};

// Row after row.
template <class V>
struct Three {
    V of[3];
};
template <class V>
struct Matrix {
    Three<V> row[3];
};

template <class V>
static inline Three<V> cross(const Three<V> &a, const Three<V> &b) {
    return {{a.of[1] * b.of[2] - a.of[2] * b.of[1], a.of[2] * b.of[0] - a.of[0] * b.of[2],
             a.of[0] * b.of[1] - a.of[1] * b.of[0]}};
}

template <class V>
static inline V dot(const Three<V> &a, const Three<V> &b) {
    return a.of[0] * b.of[0] + a.of[1] * b.of[1] + a.of[2] * b.of[2];
}

template <class V>
static inline Three<V> operator*(const Three<V> &a, V by) {
    return {{a.of[0] * by, a.of[1] * by, a.of[2] * by}};
}

template <class V>
static inline void operator+=(Three<V> &to, const Three<V> &more) {
    for (int i = 0; i < 3; ++i) to.of[i] += more.of[i];
}

template <class V>
static inline void operator-=(Three<V> &to, const Three<V> &less) {
    for (int i = 0; i < 3; ++i) to.of[i] -= less.of[i];
}

template <class V>
static inline Three<V> operator*(const Matrix<V> &m, const Three<V> &v) {
    return {{dot(m.row[0], v), dot(m.row[1], v), dot(m.row[2], v)}};
}

// hat(h) m: h x each column.
template <class V>
static inline Matrix<V> crossed(const Three<V> &h, const Matrix<V> &m) {
    Matrix<V> made;
    for (int j = 0; j < 3; ++j) {
        made.row[0].of[j] = h.of[1] * m.row[2].of[j] - h.of[2] * m.row[1].of[j];
        made.row[1].of[j] = h.of[2] * m.row[0].of[j] - h.of[0] * m.row[2].of[j];
        made.row[2].of[j] = h.of[0] * m.row[1].of[j] - h.of[1] * m.row[0].of[j];
    }
    return made;
}

// Of unit quaternions x y z w.
template <class V>
static inline Matrix<V> matrix(const V *q) {
    const V x = q[0] + q[0], y = q[1] + q[1], z = q[2] + q[2];
    const V xx = q[0] * x, yy = q[1] * y, zz = q[2] * z, xy = q[0] * y, xz = q[0] * z, yz = q[1] * z;
    const V wx = q[3] * x, wy = q[3] * y, wz = q[3] * z, one = V{} + 1;
    return {{{{one - (yy + zz), xy - wz, xz + wy}},
             {{xy + wz, one - (xx + zz), yz - wx}},
             {{xz - wy, yz + wx, one - (xx + yy)}}}};
}

// Of half an angle h = a / 2: sin(h) / h, cos(h), (1 - sin(h) / h) / a^2, (1 - cos(h)) / a^2.
template <class V>
struct Turn {
    V ratio, cosine, mu, fall;
};

// Polynomials (Cephes, S. Moshier) of h^2 up to (pi / 4)^2; sin(h) = h + h z P(z), cos(h) = 1 - z / 2 + z^2 Q(z).
static inline void series(const Lanes<float>::V &z, Lanes<float>::V &p, Lanes<float>::V &q) {
    p = (z * -1.9515295891e-4f + 8.3321608736e-3f) * z - 1.6666654611e-1f;
    q = (z * 2.443315711809948e-5f - 1.388731625493765e-3f) * z + 4.166664568298827e-2f;
}

static inline void series(const Lanes<double>::V &z, Lanes<double>::V &p, Lanes<double>::V &q) {
    p = z * 1.58962301576546568060e-10 - 2.50507477628578072866e-8;
    p = ((p * z + 2.75573136213857245213e-6) * z - 1.98412698295895385996e-4) * z + 8.33333333332211858878e-3;
    p = p * z - 1.66666666666666307295e-1;
    q = z * -1.13585365213876817300e-11 + 2.08757008419747316778e-9;
    q = ((q * z - 2.75573141792967388112e-7) * z + 2.48015872888517045348e-5) * z - 1.38888888888730564116e-3;
    q = q * z + 4.16666666666665929218e-2;
}

// Whether any bit of a comparison is set.
template <class V>
static inline bool any(V mask) {
#if defined(__AVX512F__)
    return _mm512_test_epi64_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX__)
    return !_mm256_testz_si256((__m256i)mask, (__m256i)mask);
#else
    int64_t bits[2];
    memcpy(bits, &mask, sizeof bits);
    return (bits[0] | bits[1]) != 0;
#endif
}

// Of squared angles. Turns of more than 90 degrees within one sample are rare: lane by lane.
template <class Real, class V = typename Lanes<Real>::V>
static inline Turn<V> half_turn(V square) {
    const V z = square * Real(0.25);
    V p, q;
    series(z, p, q);
    const V half = Real(0.5) - z * q;
    Turn<V> made{z * p + Real(1), Real(1) - z * half, p * Real(-0.25), half * Real(0.25)};
    if (__builtin_expect(any(z > Real(0.6168)), 0))
        for (int k = 0; k < Lanes<Real>::COUNT; ++k) {
            const double w = z[k], h = std::sqrt(w);
            if (!(w > 0.6168)) continue;
            made.ratio[k] = Real(std::sin(h) / h);
            made.cosine[k] = Real(std::cos(h));
            made.mu[k] = Real((1 - std::sin(h) / h) / (4 * w));
            made.fall[k] = Real((1 - std::cos(h)) / (4 * w));
        }
    return made;
}

}  // namespace MAMBATS_ISA
