// Matrices of Kalman filters, row by row in vectors, in one of two layouts. Side by side: a cell is a vector of one number
// of many filters. Alone: a cell is a number, and a row of one filter fills vectors. What is written for rows and cells
// serves both: Cell is the one or the other, V is always the vector.
#pragma once
#include <limits>
#include <type_traits>

#include "turn.h"

namespace MAMBATS_ISA {

// The first `count` of 64 rows, as bits.
static inline uint64_t first_rows(int64_t count) { return count < 64 ? (uint64_t(1) << count) - 1 : ~uint64_t(0); }

template <class Real, class Cell, class V>
struct Rows {
    static constexpr int64_t WIDE = sizeof(V) / sizeof(Cell);   // cells of a vector
    static constexpr int64_t LANES = sizeof(Cell) / sizeof(Real);  // filters of a cell

    // Cells from one row to the next: rows begin with a vector.
    static int64_t pitch(int64_t columns) { return (columns + WIDE - 1) / WIDE * WIDE; }

    static V *vectors(Cell *cells) { return reinterpret_cast<V *>(cells); }
    static const V *vectors(const Cell *cells) { return reinterpret_cast<const V *>(cells); }

    static Cell cell(Real v) { return Cell{} + v; }

    // One filter's number of a cell.
    static Real &lane(Cell &v, int64_t k) { return reinterpret_cast<Real *>(&v)[k]; }

    template <int J, class Factor>
    static void sum_vectors(V *to, const V *from, uint64_t which, int64_t width, const V *rows, const Factor &factor) {
        V sum[J];
        for (int j = 0; j < J; ++j) sum[j] = from ? from[j] : V{};
        for (; which; which &= which - 1) {
            const int64_t k = __builtin_ctzll(which);
            const Cell by = factor(k);
            for (int j = 0; j < J; ++j) sum[j] += by * rows[k * width + j];
        }
        for (int j = 0; j < J; ++j) to[j] = sum[j];
    }

    // to = from + sum over the bits k of `which` of factor(k) row k, for `columns` columns from the vector on that holds
    // `first`; from may be null, or to.
    template <class Factor>
    static void sum(Cell *to, const Cell *from, uint64_t which, const Cell *rows, int64_t columns, int64_t first,
                    const Factor &factor) {
        const int64_t width = pitch(columns) / WIDE;
        V *out = vectors(to);
        const V *before = vectors(from), *in = vectors(rows);
        int64_t j = first / WIDE;
        auto some = [&](auto size) {
            constexpr int J = decltype(size)::value;
            sum_vectors<J>(out + j, before ? before + j : before, which, width, in + j, factor);
            j += J;
        };
        while (j + 8 <= width) some(std::integral_constant<int, 8>());
        if (j + 4 <= width) some(std::integral_constant<int, 4>());
        if (j + 2 <= width) some(std::integral_constant<int, 2>());
        if (j < width) some(std::integral_constant<int, 1>());
    }

    static void transpose(Cell *to, const Cell *from, int64_t rows, int64_t columns) {
        const int64_t there = pitch(rows), here = pitch(columns);
        for (int64_t i = 0; i < rows; ++i)
            for (int64_t j = 0; j < columns; ++j) to[j * there + i] = from[i * here + j];
    }

    static void mirror(Cell *matrix, int64_t n) {
        const int64_t next = pitch(n);
        for (int64_t i = 1; i < n; ++i)
            for (int64_t j = 0; j < i; ++j) matrix[i * next + j] = matrix[j * next + i];
    }

    // The least that a pivot may be. Below 250 times that, rounding of cells before it may hide that it is lost: of 10^5
    // random ill-conditioned updates in float32, a bound of 4 times left one covariance indefinite.
    static Cell least_pivot(Cell diagonal, int64_t n) {
        const Cell share = diagonal * (4 * Real(n) * std::numeric_limits<Real>::epsilon());
        const Cell least = cell(std::numeric_limits<Real>::min());
        return share < least ? least : share;
    }

    // Takes a row's share out of those below it, right of the diagonal: one step of elimination.
    static void eliminate(Cell *matrix, int64_t j, Cell inverse, int64_t n) {
        const int64_t next = pitch(n), width = next / WIDE;
        const V *row = vectors(matrix + j * next);
        for (int64_t i = j + 1; i < n; ++i) {
            const Cell share = matrix[j * next + i] * inverse;
            V *other = vectors(matrix + i * next);
            for (int64_t v = i / WIDE; v < width; ++v) other[v] -= share * row[v];
        }
    }

    // Factors a symmetric matrix, read on and above its diagonal, as L D L'. `factor` gets D on its diagonal, and L' above
    // it. Gives 1 for filters where a pivot may be lost.
    static Cell factorise(const Cell *matrix, Cell *factor, int64_t n) {
        const int64_t next = pitch(n);
        Cell lost{};
        memcpy((void *)factor, matrix, sizeof(Cell) * n * next);
        for (int64_t j = 0; j < n; ++j) {
            Cell *row = factor + j * next;
            lost = row[j] >= Real(250) * least_pivot(matrix[j * next + j], n) ? lost : cell(1);
            const Cell inverse = Real(1) / row[j];
            eliminate(factor, j, inverse, n);
            for (int64_t i = j + 1; i < n; ++i) row[i] *= inverse;
        }
        return lost;
    }

    // Adds to the diagonal, for filters of 1, what keeps every pivot: it is raised so far that none after it is lost by it.
    static void mend(Cell *matrix, Cell *left, int64_t n, Cell filters) {
        const int64_t next = pitch(n);
        memcpy((void *)left, matrix, sizeof(Cell) * n * next);
        for (int64_t j = 0; j < n; ++j) {
            const Cell *row = left + j * next;
            const Cell floor = least_pivot(matrix[j * next + j], n);
            Cell raised = row[j] > floor ? row[j] : floor;
            for (int64_t i = j + 1; i < n; ++i) {
                const Cell other = least_pivot(matrix[i * next + i], n), over = left[i * next + i] - other;
                const Cell needed = row[i] * row[i] / (over > other ? over : other);
                raised = raised > needed ? raised : needed;
            }
            matrix[j * next + j] += filters > Cell{} ? raised - row[j] + floor : Cell{};
            eliminate(left, j, Real(1) / raised, n);
        }
    }

    // Matrices of filters that follow one another in memory, to cells; what no filter fills is 0.
    static void read(Cell *to, const void *from, int64_t rows, int64_t columns, int64_t first, int64_t count) {
        const int64_t next = pitch(columns), each = rows * columns;
        const Real *numbers = static_cast<const Real *>(from) + first * each;
        if (count < LANES || next != columns) memset((void *)to, 0, sizeof(Cell) * rows * next);
        for (int64_t k = 0; k < count; ++k, numbers += each)
            for (int64_t i = 0; i < rows; ++i)
                for (int64_t j = 0; j < columns; ++j) lane(to[i * next + j], k) = numbers[i * columns + j];
    }

    static void write(void *to, const Cell *from, int64_t rows, int64_t columns, int64_t first, int64_t count) {
        if (!to) return;
        const int64_t next = pitch(columns), each = rows * columns;
        Real *numbers = static_cast<Real *>(to) + first * each;
        for (int64_t k = 0; k < count; ++k, numbers += each)
            for (int64_t i = 0; i < rows; ++i)
                for (int64_t j = 0; j < columns; ++j)
                    numbers[i * columns + j] = reinterpret_cast<const Real *>(from + i * next + j)[k];
    }
};

}  // namespace MAMBATS_ISA
