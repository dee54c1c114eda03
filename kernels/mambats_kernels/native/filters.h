// Kalman filters: many side by side, one a lane, or one alone, a row in vectors.
// Source: Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 5.2
// (Joseph's form); pivots as Gill, Murray and Wright, Practical Optimization, 1981, section 4.4.2.2.
#pragma once
#include <cmath>

#include "kalman.h"
#include "rows.h"

namespace MAMBATS_ISA {

// A matrix of the model: shared by all filters, whose zeros are skipped (most of F, H and R is zero), or one of each.
template <class Real, class Cell>
struct Model {
    const Real *shared;
    const Cell *each;
    int64_t rows, columns, pitch;
    uint64_t filled[64];  // by row: columns that are not zero

    Model(const Real *matrix, const Cell *cells, int64_t height, int64_t width, int64_t next)
        : shared(matrix), each(cells), rows(height), columns(width), pitch(next) {
        for (int64_t i = 0; i < rows; ++i) {
            uint64_t bits = each ? first_rows(columns) : 0;
            for (int64_t k = 0; !each && k < columns; ++k) bits |= uint64_t(shared[i * columns + k] != 0) << k;
            filled[i] = bits;
        }
    }

    Cell at(int64_t row, int64_t k) const { return each ? each[row * pitch + k] : Cell{} + shared[row * columns + k]; }
};

template <class Real, class Cell, class V>
struct Filters {
    typedef Rows<Real, Cell, V> R;
    const MambatsKalman &s;
    const int64_t n, m, first, count;  // n and m are at most 64
    Cell *next;  // scratch that is still free
    Cell *x, *p;
    Cell used;  // 1 or 0

    Cell *take(int64_t rows, int64_t columns) {
        Cell *taken = next;
        next += rows * R::pitch(columns);
        return taken;
    }

    Model<Real, Cell> model(const void *matrix, int64_t each, int64_t rows, int64_t columns) {
        if (!each || R::LANES == 1) return {static_cast<const Real *>(matrix) + first * each, nullptr, rows, columns, columns};
        Cell *cells = take(rows, columns);
        R::read(cells, matrix, rows, columns, first, count);
        return {nullptr, cells, rows, columns, R::pitch(columns)};
    }

    // to (rows of the model x columns) = model in, on and right of the diagonal if `upper`.
    void multiply(Cell *to, const Model<Real, Cell> &by, const Cell *in, int64_t columns, bool upper) {
        for (int64_t i = 0; i < by.rows; ++i)
            R::sum(to + i * R::pitch(columns), nullptr, by.filled[i], in, columns, upper ? i : 0,
                   [&](int64_t k) { return by.at(i, k); });
    }

    // to = model v, for a vector.
    void apply(Cell *to, const Model<Real, Cell> &by, const Cell *v) {
        for (int64_t i = 0; i < by.rows; ++i) {
            Cell sum{};
            for (uint64_t left = by.filled[i]; left; left &= left - 1) {
                const int64_t k = __builtin_ctzll(left);
                sum += by.at(i, k) * v[k];
            }
            to[i] = sum;
        }
    }

    // Adds a model's square matrix, on and right of the diagonal.
    void add(Cell *to, const Model<Real, Cell> &more) {
        const int64_t pitch = R::pitch(more.columns);
        for (int64_t i = 0; i < more.rows; ++i)
            for (uint64_t left = more.filled[i] >> i << i; left; left &= left - 1) {
                const int64_t j = __builtin_ctzll(left);
                to[i * pitch + j] += more.at(i, j);
            }
    }

    // Factors a matrix, after putting right what rounding made of it.
    void secure(Cell *matrix, Cell *factor, int64_t size) {
        Cell lost = R::factorise(matrix, factor, size);
        bool any = false;
        for (int64_t k = 0; k < count; ++k) any |= R::lane(lost, k) > 0;
        if (!any) return;
        R::mend(matrix, factor, size, lost);
        R::factorise(matrix, factor, size);
    }

    void predict() {
        Cell *const mark = next;
        Cell *moved = take(1, n), *half = take(n, n), *turned = take(n, n);
        const Model<Real, Cell> f = model(s.f, s.each_f, n, n), q = model(s.q, s.each_q, n, n);
        apply(moved, f, x);
        memcpy((void *)x, moved, sizeof(Cell) * n);
        multiply(half, f, p, n, false);
        R::transpose(turned, half, n, n);
        multiply(p, f, turned, n, true);
        add(p, q);
        secure(p, half, n);
        R::mirror(p, n);
        next = mark;
    }

    // Residuals, and which numbers were measured, as 1 or 0; gives whether all were.
    bool look(const Model<Real, Cell> &h, Cell *residual, Cell *known) {
        Cell *z = take(1, m);
        R::read(z, s.z, 1, m, first, count);
        Cell on = R::cell(1), all = on;
        for (int64_t k = 0; s.mask && k < count; ++k) R::lane(on, k) = s.mask[first + k];
        apply(residual, h, x);
        for (int64_t i = 0; i < m; ++i) {
            known[i] = z[i] - z[i] == Cell{} ? on : Cell{};
            residual[i] = known[i] > Cell{} ? z[i] - residual[i] : Cell{};
            all *= known[i];
        }
        for (int64_t k = 0; k < count; ++k)
            if (R::lane(all, k) == 0) return false;
        return true;
    }

    // What was not measured says nothing: its rows of `seen` are 0, those of S the identity's.
    void forget(const Cell *known, Cell *seen, Cell *innovation) {
        for (int64_t i = 0; i < m; ++i) {
            Cell *row = seen + i * R::pitch(n), *other = innovation + i * R::pitch(m);
            for (int64_t j = 0; j < n; ++j) row[j] = known[i] > Cell{} ? row[j] : Cell{};
            for (int64_t j = i; j < m; ++j) other[j] = known[i] * known[j] > Cell{} ? other[j] : R::cell(i == j);
        }
    }

    // Normalised innovation squared and log likelihood; sets who is used.
    void judge(Cell *factor, const Cell *residual, const Cell *known) {
        const int64_t pitch = R::pitch(m);
        Cell *white = take(1, m);
        Cell nis{}, measured{}, likelihood{};
        for (int64_t i = 0; i < m; ++i) {
            white[i] = residual[i];
            for (int64_t j = 0; j < i; ++j) white[i] -= factor[j * pitch + i] * white[j];
            nis += white[i] * white[i] / factor[i * pitch + i];
            measured += known[i];
        }
        const Real *gate = static_cast<const Real *>(s.gate);
        for (int64_t k = 0; k < count; ++k) {
            const Real counted = R::lane(measured, k), square = R::lane(nis, k);
            R::lane(used, k) = counted > 0 && (!gate || square <= gate[int64_t(counted)]);
            if (!s.likelihood) continue;
            double product = 1, log = 0;  // one logarithm for many pivots
            for (int64_t i = 0; i < m; ++i) {
                product *= R::lane(factor[i * pitch + i], k);
                if (!(product > 1e-150 && product < 1e150)) log += std::log(product), product = 1;
            }
            R::lane(likelihood, k) = Real(-0.5 * (square + counted * 1.8378770664093453 + log + std::log(product)));
        }
        R::write(s.nis, &nis, 1, 1, first, count);
        R::write(s.likelihood, &likelihood, 1, 1, first, count);
    }

    // gain' = S^-1 seen, by the factors of S.
    void solve(const Cell *factor, Cell *gain) {
        const int64_t pitch = R::pitch(n), other = R::pitch(m);
        for (int64_t i = 1; i < m; ++i)
            R::sum(gain + i * pitch, gain + i * pitch, first_rows(i), gain, n, 0,
                   [&](int64_t k) { return -factor[k * other + i]; });
        for (int64_t i = m - 1; i >= 0; --i) {
            Cell *row = gain + i * pitch;
            const Cell inverse = Real(1) / factor[i * other + i];
            for (int64_t c = 0; c < n; ++c) row[c] *= inverse;
            R::sum(row, row, first_rows(m) & ~first_rows(i + 1), gain, n, 0,
                   [&](int64_t k) { return -factor[i * other + k]; });
        }
    }

    // Joseph's (I - K H) P (I - K H)' + K R K' is left + (K R - left H') K', for left = P - K H P; it comes to stand in left.
    void join(Cell *left, const Cell *gain, const Cell *seen, const Model<Real, Cell> &h, const Model<Real, Cell> &r) {
        const int64_t pitch = R::pitch(n);
        Cell *turned = take(n, n), *rest = take(m, n);
        for (int64_t i = 0; i < n; ++i)
            R::sum(left + i * pitch, p + i * pitch, first_rows(m), seen, n, 0,
                   [&](int64_t k) { return -gain[k * pitch + i]; });
        R::transpose(turned, left, n, n);
        multiply(rest, r, gain, n, false);
        for (int64_t j = 0; j < m; ++j)
            R::sum(rest + j * pitch, rest + j * pitch, h.filled[j], turned, n, 0, [&](int64_t k) { return -h.at(j, k); });
        for (int64_t i = 0; i < n; ++i)
            R::sum(left + i * pitch, left + i * pitch, first_rows(m), gain, n, i,
                   [&](int64_t k) { return rest[k * pitch + i]; });
        secure(left, turned, n);
    }

    void update() {
        const int64_t pitch = R::pitch(n);
        Cell *residual = take(1, m), *known = take(1, m), *seen = take(m, n), *turned = take(n, m);
        Cell *innovation = take(m, m), *factor = take(m, m), *gain = take(m, n), *left = take(n, n);
        const Model<Real, Cell> h = model(s.h, s.each_h, m, n), r = model(s.r, s.each_r, m, m);
        const bool all = look(h, residual, known);
        multiply(seen, h, p, n, false);
        R::transpose(turned, seen, m, n);
        multiply(innovation, h, turned, m, true);
        add(innovation, r);
        if (!all) forget(known, seen, innovation);
        secure(innovation, factor, m);
        judge(factor, residual, known);
        memcpy((void *)gain, seen, sizeof(Cell) * m * pitch);
        solve(factor, gain);
        join(left, gain, seen, h, r);
        for (int64_t i = 0; i < n; ++i) {
            Cell moved = x[i];
            for (int64_t k = 0; k < m; ++k) moved += gain[k * pitch + i] * residual[k];
            x[i] = used > Cell{} ? moved : x[i];
            Cell *row = p + i * pitch;
            for (int64_t j = i; j < n; ++j) row[j] = used > Cell{} ? left[i * pitch + j] : row[j];
        }
        R::mirror(p, n);
        if (s.innovation) R::mirror(innovation, m);
        R::write(s.residual, residual, 1, m, first, count);
        R::write(s.innovation, innovation, m, m, first, count);
    }

    // Rows that nothing happened to are copied: not even the rounding of an unsymmetric cell may change.
    void put_back(int64_t k) {
        const int64_t at = first + k, cells = n * n;
        memcpy(static_cast<Real *>(s.mean) + at * n, static_cast<const Real *>(s.x) + at * n, sizeof(Real) * n);
        memcpy(static_cast<Real *>(s.covariance) + at * cells, static_cast<const Real *>(s.p) + at * cells,
               sizeof(Real) * cells);
    }

    void run() {
        x = take(1, n), p = take(n, n);
        R::read(x, s.x, 1, n, first, count);
        R::read(p, s.p, n, n, first, count);
        used = R::cell(1);
        if (s.predicts) predict();
        if (m) update();
        R::write(s.mean, x, 1, n, first, count);
        R::write(s.covariance, p, n, n, first, count);
        for (int64_t k = 0; k < count; ++k) {
            if (s.used) s.used[first + k] = R::lane(used, k) > 0;
            const bool moved = s.predicts && (m || !s.mask || s.mask[first + k]);
            if (!moved && !(m && R::lane(used, k) > 0)) put_back(k);
        }
    }
};

static int64_t kalman_lanes(const MambatsKalman &s) { return s.wide ? Lanes<double>::COUNT : Lanes<float>::COUNT; }

// In the larger of the two layouts, side by side.
static int64_t kalman_scratch(const MambatsKalman &s) {
    const int64_t n = s.states, m = s.measured;
    const int64_t predict = n + 4 * n * n, update = 3 * n * n + 5 * m * n + 3 * m * m + 4 * m;
    return (n + n * n + (predict > update ? predict : update)) * W;
}

template <class Real, class Cell, class V>
static void kalman_walk(const MambatsKalman &s, int64_t first, int64_t count, float *scratch) {
    Cell *cells = reinterpret_cast<Cell *>(scratch);
    Filters<Real, Cell, V> filters{s, s.states, s.measured, first, count, cells, nullptr, nullptr, {}};
    filters.run();
}

template <class Real, class V = typename Lanes<Real>::V>
static void kalman_rows(const MambatsKalman &s, int64_t first, float *scratch) {
    constexpr int64_t COUNT = Lanes<Real>::COUNT;
    const int64_t left = s.rows - first, count = left < COUNT ? left : COUNT;
    if (count > COUNT / 4) return kalman_walk<Real, V, V>(s, first, count, scratch);
    for (int64_t k = 0; k < count; ++k) kalman_walk<Real, Real, V>(s, first + k, 1, scratch);
}

static void kalman_tile(const MambatsKalman &s, int64_t first, float *scratch) {
    s.wide ? kalman_rows<double>(s, first, scratch) : kalman_rows<float>(s, first, scratch);
}

}  // namespace MAMBATS_ISA
