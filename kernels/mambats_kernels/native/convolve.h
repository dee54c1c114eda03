// y_i = silu(bias + sum over lags of w_lag x_{i - lag}) along one row, and its gradients; steps i count in walking order.
#pragma once
#include "conv.h"
#include "lanes.h"

namespace MAMBATS_ISA {

// One row as it is walked, from channel `first` on.
struct Line {
    const MambatsConv &s;
    const MambatsConvPiece &piece;
    int64_t first, count;

    int64_t length() const { return piece.end - piece.begin; }
    int64_t stride() const { return s.reverse ? -s.width : s.width; }
    int64_t at(int64_t i) const { return (s.reverse ? piece.end - 1 - i : piece.begin + i) * s.width + first; }
    int64_t past(int64_t q) const { return (piece.row * (s.taps - 1) + q) * s.width + first; }
    // The input at step i; before the row's first step that of the initial state.
    Vec input(int64_t i) const {
        if (i >= 0) return load(s.x + at(i), count);
        return s.initial ? load(s.initial + past(i + s.taps - 1), count) : Vec{};
    }
};

// The filter lag by lag, each over all channels and padded to whole tiles: (W, padded).
static inline int64_t padded(const MambatsConv &s) { return (s.width + W - 1) / W * W; }

static void turn_filter(const MambatsConv &s, float *filter) {
    const int64_t wide = padded(s);
    for (int64_t lag = 0; lag < s.taps; ++lag)
        for (int64_t d = 0; d < wide; ++d)
            filter[lag * wide + d] = d < s.width ? s.weight[d * s.taps + s.taps - 1 - lag] : 0.0f;
}

// The sum before silu at step i. TAPS is W where it is known at compile time, else 0.
template <int TAPS>
static inline Vec sum_lags(const Line &line, const float *filter, Vec bias, int64_t i) {
    const int64_t taps = TAPS ? TAPS : line.s.taps, wide = padded(line.s), stride = line.stride();
    Vec v = bias;
    if (i >= taps - 1) {
        const float *x = line.s.x + line.at(i);
        for (int64_t lag = 0; lag < taps; ++lag)
            v += load(filter + lag * wide, W) * load(x - lag * stride, line.count);
    } else {
        for (int64_t lag = 0; lag < taps; ++lag) v += load(filter + lag * wide, W) * line.input(i - lag);
    }
    return v;
}

template <int TAPS>
static void forward_line(const Line &line, const float *filter) {
    const MambatsConv &s = line.s;
    const Vec bias = s.bias ? load(s.bias + line.first, line.count) : Vec{};
    for (int64_t i = line.piece.from; i < line.piece.to; ++i) {
        Vec v = sum_lags<TAPS>(line, filter + line.first, bias, i);
        if (s.silu) v *= logistic(v, tail(v));
        store(s.y + line.at(i), v, line.count);
    }
    if (line.piece.to < line.length()) return;
    for (int64_t q = 0; q < s.taps - 1; ++q)
        store(s.final + line.past(q), line.input(line.length() - s.taps + 1 + q), line.count);
}

static void keep_row(const Line &line) {
    const MambatsConv &s = line.s;
    for (int64_t i = line.piece.from; i < line.piece.to; ++i) store(s.y + line.at(i), Vec{}, line.count);
    for (int64_t q = 0; q < s.taps - 1; ++q) store(s.final + line.past(q), line.input(q - s.taps + 1), line.count);
}

// Slopes before silu of the steps from `piece.from` on, W - 1 beyond its end too: what later steps hand back to this piece's
// inputs. Those of this piece add to the filter's and the bias's.
template <int TAPS>
static void slopes_of_line(const Line &line, const float *filter, Vec *slopes, Vec *sums, Vec &dbias) {
    const MambatsConv &s = line.s;
    const int64_t taps = TAPS ? TAPS : s.taps, behind = line.piece.to + taps - 1;
    const Vec bias = s.bias ? load(s.bias + line.first, line.count) : Vec{};
    for (int64_t i = line.piece.from; i < behind; ++i) {
        Vec &dv = slopes[i - line.piece.from];
        dv = i < line.length() ? load(s.dy + line.at(i), line.count) : Vec{};
        if (s.silu && i < line.length()) {
            const Vec v = sum_lags<TAPS>(line, filter + line.first, bias, i), open = logistic(v, tail(v));
            dv *= open * (1.0f + v * (1.0f - open));
        }
        if (i >= line.piece.to) continue;
        dbias += dv;
        if (i >= taps - 1) {
            const float *x = s.x + line.at(i);
            for (int64_t lag = 0; lag < taps; ++lag) sums[lag] += dv * load(x - lag * line.stride(), line.count);
        } else {
            for (int64_t lag = 0; lag < taps; ++lag) sums[lag] += dv * line.input(i - lag);
        }
    }
}

// The slope of the input at step i, which may lie before the row's first: all later steps that it reached, and the final state.
template <int TAPS>
static inline Vec slope_of_input(const Line &line, const float *filter, const Vec *slopes, int64_t i) {
    const MambatsConv &s = line.s;
    const int64_t taps = TAPS ? TAPS : s.taps, wide = padded(s), kept = i - line.length() + taps - 1;
    Vec dx{};
    for (int64_t lag = i < 0 ? -i : 0; lag < taps; ++lag)
        dx += load(filter + line.first + lag * wide, W) * slopes[i - line.piece.from + lag];
    return kept >= 0 && s.dfinal ? dx + load(s.dfinal + line.past(kept), line.count) : dx;
}

template <int TAPS>
static void backward_line(const Line &line, const float *filter, Vec *scratch, float *dweight, float *dbias) {
    const MambatsConv &s = line.s;
    const int64_t taps = TAPS ? TAPS : s.taps;
    Vec own[TAPS ? TAPS : 1] = {}, *sums = TAPS ? own : scratch, *slopes = TAPS ? scratch : scratch + taps, added{};
    if (!TAPS) memset((void *)sums, 0, sizeof(Vec) * taps);
    slopes_of_line<TAPS>(line, filter, slopes, sums, added);
    for (int64_t i = line.piece.from; i < line.piece.to; ++i)
        store(s.dx + line.at(i), slope_of_input<TAPS>(line, filter, slopes, i), line.count);
    if (s.dinitial && line.piece.from == 0)
        for (int64_t q = 0; q < taps - 1; ++q)
            store(s.dinitial + line.past(q), slope_of_input<TAPS>(line, filter, slopes, q - taps + 1), line.count);
    for (int64_t k = 0; k < line.count; ++k) {
        for (int64_t lag = 0; lag < taps; ++lag)
            dweight[(line.first + k) * taps + taps - 1 - lag] += reinterpret_cast<const float *>(sums + lag)[k];
        dbias[line.first + k] += reinterpret_cast<const float *>(&added)[k];
    }
}

static int64_t conv_scratch(const MambatsConv &s, int64_t longest, bool backward) {
    return s.taps * padded(s) + (backward ? (longest + 2 * s.taps) * W : 0);
}

static void conv_forward(const MambatsConv &s, const MambatsConvPiece *pieces, int64_t count, float *scratch) {
    auto walk = s.taps == 4 ? forward_line<4> : s.taps == 3 ? forward_line<3> : s.taps == 2 ? forward_line<2> : forward_line<0>;
    turn_filter(s, scratch);
    for (int64_t p = 0; p < count; ++p)
        for (int64_t first = 0; first < s.width; first += W) {
            const Line line{s, pieces[p], first, s.width - first < W ? s.width - first : W};
            if (s.mask && !s.mask[pieces[p].row]) keep_row(line);
            else walk(line, scratch);
        }
}

// Adds to dweight (D, W) and dbias (D), which belong to these pieces alone.
static void conv_backward(const MambatsConv &s, const MambatsConvPiece *pieces, int64_t count, float *dweight, float *dbias,
                          float *scratch) {
    auto walk = s.taps == 4 ? backward_line<4> : s.taps == 3 ? backward_line<3> : s.taps == 2 ? backward_line<2> : backward_line<0>;
    turn_filter(s, scratch);
    Vec *behind = reinterpret_cast<Vec *>(scratch + s.taps * padded(s));
    for (int64_t p = 0; p < count; ++p)
        for (int64_t first = 0; first < s.width; first += W)
            walk(Line{s, pieces[p], first, s.width - first < W ? s.width - first : W}, scratch, behind, dweight, dbias);
}

}  // namespace MAMBATS_ISA
