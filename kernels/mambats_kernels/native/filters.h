// Kalman filters side by side, one a lane: every cell of a matrix is a vector of as many filters as a register has lanes.
// Zeros of matrices that all filters share are skipped: most of F, H and R is zero.
// Source: Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 5.2
// (Joseph's form); pivots as Gill, Murray and Wright, Practical Optimization, 1981, section 4.4.2.2.
#pragma once
#include <cmath>
#include <limits>

#include "kalman.h"
#include "turn.h"

namespace MAMBATS_ISA {

// A matrix of the model: shared by all filters, or one of each, spread to lanes.
template <class Real, class V>
struct Model {
    const Real *shared;
    const V *lanes;
};

// J cells of a row of a product with a model's matrix: sum over k of row[k] cells[k].
template <int J, class Real, class V>
static inline void model_cells(const Model<Real, V> &m, int64_t row, int64_t inner, const V *in, int64_t next_k,
                               int64_t next_i, V *out, int64_t out_i) {
    V sum[J] = {};
    for (int64_t k = 0; k < inner; ++k, in += next_k) {
        V factor;
        if (m.lanes) {
            factor = m.lanes[row * inner + k];
        } else {
            const Real shared = m.shared[row * inner + k];
            if (shared == 0) continue;
            factor = V{} + shared;
        }
        for (int j = 0; j < J; ++j) sum[j] += factor * in[j * next_i];
    }
    for (int j = 0; j < J; ++j) out[j * out_i] = sum[j];
}

// out[row][i] = sum over k of model[row][k] in[k][i], for i < count.
template <class Real, class V>
static inline void model_row(const Model<Real, V> &m, int64_t row, int64_t inner, const V *in, int64_t next_k,
                             int64_t next_i, V *out, int64_t out_i, int64_t count) {
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) model_cells<8>(m, row, inner, in + i * next_i, next_k, next_i, out + i * out_i, out_i);
    if (i + 4 <= count) {
        model_cells<4>(m, row, inner, in + i * next_i, next_k, next_i, out + i * out_i, out_i);
        i += 4;
    }
    if (i + 2 <= count) {
        model_cells<2>(m, row, inner, in + i * next_i, next_k, next_i, out + i * out_i, out_i);
        i += 2;
    }
    if (i < count) model_cells<1>(m, row, inner, in + i * next_i, next_k, next_i, out + i * out_i, out_i);
}

// J cells to the right of a row of to += sign a' b, for a and b of `inner` rows.
template <int J, class V>
static inline void outer_cells(V *to, const V *from, const V *a, const V *b, int64_t inner, int64_t width, V sign) {
    V sum[J];
    for (int j = 0; j < J; ++j) sum[j] = from[j];
    for (int64_t k = 0; k < inner; ++k, a += width, b += width) {
        const V factor = *a * sign;
        for (int j = 0; j < J; ++j) sum[j] += factor * b[j];
    }
    for (int j = 0; j < J; ++j) to[j] = sum[j];
}

// to (n x n) = from + sign a' b, for a and b (inner x n); on and above the diagonal only if `upper`.
template <class V>
static inline void outer(V *to, const V *from, const V *a, const V *b, int64_t inner, int64_t n, V sign, bool upper) {
    for (int64_t i = 0; i < n; ++i) {
        int64_t j = upper ? i : 0;
        V *row = to + i * n;
        const V *before = from + i * n;
        for (; j + 8 <= n; j += 8) outer_cells<8>(row + j, before + j, a + i, b + j, inner, n, sign);
        if (j + 4 <= n) outer_cells<4>(row + j, before + j, a + i, b + j, inner, n, sign), j += 4;
        if (j + 2 <= n) outer_cells<2>(row + j, before + j, a + i, b + j, inner, n, sign), j += 2;
        if (j < n) outer_cells<1>(row + j, before + j, a + i, b + j, inner, n, sign);
    }
}

// The least that a pivot may be. Below 250 times that, rounding of cells before it may hide that it is lost: of 10^5 random
// ill-conditioned updates in float32, a bound of 4 times left one covariance indefinite.
template <class Real, class V>
static inline V least_pivot(V diagonal, int64_t n) {
    const V share = diagonal * (4 * Real(n) * std::numeric_limits<Real>::epsilon());
    const V least = V{} + std::numeric_limits<Real>::min();
    return share < least ? least : share;
}

// Factors a symmetric matrix, read on and above its diagonal, as L D L'. `factor` gets D on its diagonal, and L' above it.
// Gives 1 in lanes where a pivot may be lost.
template <class Real, class V>
static inline V factorise(const V *matrix, V *factor, int64_t n) {
    V lost{};
    for (int64_t i = 0; i < n; ++i)
        for (int64_t j = i; j < n; ++j) factor[i * n + j] = matrix[i * n + j];
    for (int64_t j = 0; j < n; ++j) {
        V *row = factor + j * n;
        lost = row[j] >= Real(250) * least_pivot<Real>(matrix[j * n + j], n) ? lost : V{} + 1;
        const V inverse = Real(1) / row[j];
        for (int64_t i = j + 1; i < n; ++i) {
            const V share = row[i] * inverse;
            for (int64_t l = i; l < n; ++l) factor[i * n + l] -= share * row[l];
        }
        for (int64_t i = j + 1; i < n; ++i) row[i] *= inverse;
    }
    return lost;
}

// Adds to the diagonal, in lanes of 1, what keeps every pivot: it is raised so far that none after it is lost by it.
template <class Real, class V>
static inline void mend(V *matrix, V *left, int64_t n, V lanes) {
    for (int64_t i = 0; i < n; ++i)
        for (int64_t j = i; j < n; ++j) left[i * n + j] = matrix[i * n + j];
    for (int64_t j = 0; j < n; ++j) {
        V *row = left + j * n;
        const V floor = least_pivot<Real>(matrix[j * n + j], n);
        V raised = row[j] > floor ? row[j] : floor;
        for (int64_t i = j + 1; i < n; ++i) {
            const V other = least_pivot<Real>(matrix[i * n + i], n), over = left[i * n + i] - other;
            const V needed = row[i] * row[i] / (over > other ? over : other);
            raised = raised > needed ? raised : needed;
        }
        matrix[j * n + j] += lanes > V{} ? raised - row[j] + floor : V{};
        const V inverse = Real(1) / raised;
        for (int64_t i = j + 1; i < n; ++i) {
            const V share = row[i] * inverse;
            for (int64_t l = i; l < n; ++l) left[i * n + l] -= share * row[l];
        }
    }
}

template <class V>
static inline void mirror(V *matrix, int64_t n) {
    for (int64_t i = 1; i < n; ++i)
        for (int64_t j = 0; j < i; ++j) matrix[i * n + j] = matrix[j * n + i];
}

// Rows of `each` numbers to lanes, and back.
template <class Real, class V>
static inline void to_lanes(V *to, const void *from, int64_t each, int64_t first, int64_t count) {
    const Real *rows = static_cast<const Real *>(from) + first * each;
    Real *cells = reinterpret_cast<Real *>(to);
    constexpr int64_t COUNT = sizeof(V) / sizeof(Real);
    if (count < COUNT) memset(cells, 0, sizeof(V) * each);
    for (int64_t k = 0; k < count; ++k)
        for (int64_t i = 0; i < each; ++i) cells[i * COUNT + k] = rows[k * each + i];
}

template <class Real, class V>
static inline void from_lanes(void *to, const V *from, int64_t each, int64_t first, int64_t count) {
    if (!to) return;
    Real *rows = static_cast<Real *>(to) + first * each;
    const Real *cells = reinterpret_cast<const Real *>(from);
    constexpr int64_t COUNT = sizeof(V) / sizeof(Real);
    for (int64_t k = 0; k < count; ++k)
        for (int64_t i = 0; i < each; ++i) rows[k * each + i] = cells[i * COUNT + k];
}

// One lane of a vector, or a number itself.
template <class Real, class V>
static inline Real &lane(V &v, int64_t k) {
    return reinterpret_cast<Real *>(&v)[k];
}

// V is a vector, or for few filters Real itself: then the compiler puts cells side by side that stand in a row.
template <class Real, class V>
struct Filters {
    const MambatsKalman &s;
    const int64_t n, m, first, count;
    V *next;  // scratch that is still free
    V *x, *p;
    V used;   // 1 or 0

    V *take(int64_t cells) {
        V *taken = next;
        next += cells;
        return taken;
    }

    Model<Real, V> model(const void *matrix, int64_t each, int64_t cells) {
        if (!each) return {static_cast<const Real *>(matrix), nullptr};
        V *lanes = take(cells);
        to_lanes<Real>(lanes, matrix, cells, first, count);
        return {nullptr, lanes};
    }

    // to (rows x columns, on and above the diagonal) += a model's matrix.
    void add(V *to, const Model<Real, V> &more, int64_t size) {
        for (int64_t i = 0; i < size; ++i)
            for (int64_t j = i; j < size; ++j) {
                if (more.lanes) to[i * size + j] += more.lanes[i * size + j];
                else to[i * size + j] += V{} + more.shared[i * size + j];
            }
    }

    // Factors a matrix, after putting right what rounding made of it.
    void secure(V *matrix, V *factor, int64_t size) {
        V lost = factorise<Real>(matrix, factor, size);
        bool any = false;
        for (int64_t k = 0; k < count; ++k) any |= lane<Real>(lost, k) > 0;
        if (!any) return;
        mend<Real>(matrix, factor, size, lost);
        factorise<Real>(matrix, factor, size);
    }

    void predict() {
        V *const mark = next;
        V *moved = take(n), *half = take(n * n), *factor = take(n * n);
        const Model<Real, V> f = model(s.f, s.each_f, n * n), q = model(s.q, s.each_q, n * n);
        for (int64_t i = 0; i < n; ++i) {
            model_row(f, i, n, x, 1, 1, moved + i, 1, 1);
            model_row(f, i, n, p, n, 1, half + i * n, 1, n);
        }
        for (int64_t i = 0; i < n; ++i) {
            x[i] = moved[i];
            model_row(f, i, n, half, 1, n, p + i, n, i + 1);
        }
        add(p, q, n);
        secure(p, factor, n);
        mirror(p, n);
        next = mark;
    }

    // Residuals, and which numbers were measured, as 1 or 0; gives whether all were.
    bool look(const Model<Real, V> &h, V *residual, V *known) {
        V *z = take(m);
        to_lanes<Real>(z, s.z, m, first, count);
        V on = V{} + 1;
        for (int64_t k = 0; s.mask && k < count; ++k) lane<Real>(on, k) = s.mask[first + k];
        V all = V{} + 1;
        for (int64_t i = 0; i < m; ++i) {
            model_row(h, i, n, x, 1, 1, residual + i, 1, 1);
            known[i] = z[i] - z[i] == V{} ? on : V{};
            residual[i] = known[i] > V{} ? z[i] - residual[i] : V{};
            all *= known[i];
        }
        for (int64_t k = 0; k < count; ++k)
            if (lane<Real>(all, k) == 0) return false;
        return true;
    }

    // What was not measured says nothing: its rows of `seen` are 0, those of S the identity's.
    void forget(const V *known, V *seen, V *innovation) {
        for (int64_t i = 0; i < m; ++i) {
            for (int64_t j = 0; j < n; ++j) seen[i * n + j] = known[i] > V{} ? seen[i * n + j] : V{};
            for (int64_t j = i; j < m; ++j) {
                const V other = V{} + Real(i == j);
                innovation[i * m + j] = known[i] * known[j] > V{} ? innovation[i * m + j] : other;
            }
        }
    }

    // Normalised innovation squared and log likelihood; sets who is used.
    void judge(const V *factor, const V *residual, const V *known) {
        V *white = take(m);
        V nis{}, measured{}, likelihood{};
        for (int64_t i = 0; i < m; ++i) {
            white[i] = residual[i];
            for (int64_t j = 0; j < i; ++j) white[i] -= factor[j * m + i] * white[j];
            nis += white[i] * white[i] / factor[i * m + i];
            measured += known[i];
        }
        const Real *gate = static_cast<const Real *>(s.gate);
        for (int64_t k = 0; k < count; ++k) {
            const Real counted = lane<Real>(measured, k), square = lane<Real>(nis, k);
            lane<Real>(used, k) = counted > 0 && (!gate || square <= gate[int64_t(counted)]);
            if (!s.likelihood) continue;
            double product = 1, log = 0;  // one logarithm for many pivots
            for (int64_t i = 0; i < m; ++i) {
                product *= reinterpret_cast<const Real *>(factor + i * m + i)[k];
                if (!(product > 1e-150 && product < 1e150)) log += std::log(product), product = 1;
            }
            lane<Real>(likelihood, k) = Real(-0.5 * (square + counted * 1.8378770664093453 + log + std::log(product)));
        }
        from_lanes<Real>(s.nis, &nis, 1, first, count);
        from_lanes<Real>(s.likelihood, &likelihood, 1, first, count);
    }

    // gain' = S^-1 seen, by the factors of S.
    void solve(const V *factor, V *gain) {
        for (int64_t i = 0; i < m; ++i) {
            for (int64_t j = 0; j < i; ++j) {
                const V l = factor[j * m + i];
                for (int64_t c = 0; c < n; ++c) gain[i * n + c] -= l * gain[j * n + c];
            }
        }
        for (int64_t i = m - 1; i >= 0; --i) {
            const V inverse = Real(1) / factor[i * m + i];
            for (int64_t c = 0; c < n; ++c) gain[i * n + c] *= inverse;
            for (int64_t j = i + 1; j < m; ++j) {
                const V l = factor[i * m + j];
                for (int64_t c = 0; c < n; ++c) gain[i * n + c] -= l * gain[j * n + c];
            }
        }
    }

    void update() {
        V *residual = take(m), *known = take(m), *seen = take(m * n), *innovation = take(m * m), *factor = take(m * m);
        V *gain = take(m * n), *left = take(n * n), *rest = take(m * n), *noisy = take(n), *work = take(n * n);
        const Model<Real, V> h = model(s.h, s.each_h, m * n), r = model(s.r, s.each_r, m * m);
        const bool all = look(h, residual, known);
        for (int64_t i = 0; i < m; ++i) model_row(h, i, n, p, n, 1, seen + i * n, 1, n);
        for (int64_t i = 0; i < m; ++i) model_row(h, i, n, seen, 1, n, innovation + i, m, i + 1);
        add(innovation, r, m);
        if (!all) forget(known, seen, innovation);
        secure(innovation, factor, m);
        judge(factor, residual, known);
        memcpy((void *)gain, seen, sizeof(V) * m * n);
        solve(factor, gain);
        // Joseph's (I - K H) P (I - K H)' + K R K' is left + (K R - left H') K', for left = P - K H P.
        outer(left, p, gain, seen, m, n, V{} - 1, false);
        for (int64_t i = 0; i < m; ++i) {
            model_row(h, i, n, left, 1, n, rest + i * n, 1, n);
            model_row(r, i, m, gain, n, 1, noisy, 1, n);
            for (int64_t c = 0; c < n; ++c) rest[i * n + c] = noisy[c] - rest[i * n + c];
        }
        outer(left, left, rest, gain, m, n, V{} + 1, true);
        secure(left, work, n);
        for (int64_t i = 0; i < n; ++i) {
            V moved = x[i];
            for (int64_t k = 0; k < m; ++k) moved += gain[k * n + i] * residual[k];
            x[i] = used > V{} ? moved : x[i];
            for (int64_t j = i; j < n; ++j) p[j * n + i] = p[i * n + j] = used > V{} ? left[i * n + j] : p[i * n + j];
        }
        mirror(innovation, m);
        from_lanes<Real>(s.residual, residual, m, first, count);
        from_lanes<Real>(s.innovation, innovation, m * m, first, count);
    }

    // Rows that nothing happened to are copied: not even the rounding of an unsymmetric cell may change.
    void put_back(int64_t k) {
        const int64_t at = first + k;
        memcpy(static_cast<Real *>(s.mean) + at * n, static_cast<const Real *>(s.x) + at * n, sizeof(Real) * n);
        memcpy(static_cast<Real *>(s.covariance) + at * n * n, static_cast<const Real *>(s.p) + at * n * n,
               sizeof(Real) * n * n);
    }

    void run() {
        x = take(n), p = take(n * n);
        to_lanes<Real>(x, s.x, n, first, count);
        to_lanes<Real>(p, s.p, n * n, first, count);
        used = V{} + 1;
        if (s.predicts) predict();
        if (m) update();
        from_lanes<Real>(s.mean, x, n, first, count);
        from_lanes<Real>(s.covariance, p, n * n, first, count);
        for (int64_t k = 0; k < count; ++k) {
            if (s.used) s.used[first + k] = lane<Real>(used, k) > 0;
            const bool moved = s.predicts && (m || !s.mask || s.mask[first + k]);
            if (!moved && !(m && lane<Real>(used, k) > 0)) put_back(k);
        }
    }
};

static int64_t kalman_lanes(const MambatsKalman &s) { return s.wide ? Lanes<double>::COUNT : Lanes<float>::COUNT; }

static int64_t kalman_scratch(const MambatsKalman &s) {
    const int64_t n = s.states, m = s.measured;
    const int64_t predict = n + 4 * n * n, update = 2 * n * n + 4 * m * n + 3 * m * m + 4 * m + n;
    return (n + n * n + (predict > update ? predict : update)) * W;
}

template <class Real, class V>
static void kalman_walk(const MambatsKalman &s, int64_t first, int64_t count, float *scratch) {
    Filters<Real, V> filters{s, s.states, s.measured, first, count, reinterpret_cast<V *>(scratch), nullptr, nullptr, {}};
    filters.run();
}

template <class Real>
static void kalman_rows(const MambatsKalman &s, int64_t first, float *scratch) {
    constexpr int64_t COUNT = Lanes<Real>::COUNT;
    const int64_t left = s.rows - first, count = left < COUNT ? left : COUNT;
    if (count > COUNT / 4) return kalman_walk<Real, typename Lanes<Real>::V>(s, first, count, scratch);
    for (int64_t k = 0; k < count; ++k) kalman_walk<Real, Real>(s, first + k, 1, scratch);
}

static void kalman_tile(const MambatsKalman &s, int64_t first, float *scratch) {
    s.wide ? kalman_rows<double>(s, first, scratch) : kalman_rows<float>(s, first, scratch);
}

}  // namespace MAMBATS_ISA
